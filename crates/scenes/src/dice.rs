//! Task D: dice, added.

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, Point, Rgb, polygon, turn};
use crate::draws::Draws;
use crate::scene::{is_number, partial_sums};
use crate::{Frame, SceneError, Settings};

/// A die, seen from above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Die {
    /// Its pips, 1 to 6.
    pub pips: u8,
    /// How far it is turned clockwise, in degrees, -45 to 45.
    #[serde(default)]
    pub turned: i8,
    /// Its colours: 0 white with black pips, 1 red with white, 2 dark with white.
    #[serde(default)]
    pub style: u8,
}

/// Task D: dice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dice {
    /// Sides, paper, clutter, noise.
    pub frame: Frame,
    /// Two to nine dice in reading order.
    pub dice: Vec<Die>,
    /// Which of the [`Dice::WORDINGS`] wordings, from 0.
    #[serde(default)]
    pub wording: u8,
}

const STYLES: [(Rgb, Rgb); 3] =
    [([255, 255, 252], [24, 24, 30]), ([196, 36, 44], [255, 255, 255]), ([44, 48, 66], [255, 255, 255])];

/// Pips of a face, in thirds of the way from the middle to the edge.
const PIPS: [&[Point]; 6] = [
    &[(0.0, 0.0)],
    &[(-1.0, -1.0), (1.0, 1.0)],
    &[(-1.0, -1.0), (0.0, 0.0), (1.0, 1.0)],
    &[(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)],
    &[(-1.0, -1.0), (1.0, -1.0), (0.0, 0.0), (-1.0, 1.0), (1.0, 1.0)],
    &[(-1.0, -1.0), (-1.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 0.0), (1.0, 1.0)],
];

impl Dice {
    /// Number of wordings of the question.
    pub const WORDINGS: u8 = 3;

    pub(crate) fn check(&self) -> Result<(), SceneError> {
        SceneError::unless((2..=9).contains(&self.dice.len()), "dice", || {
            format!("{} dice; two to nine", self.dice.len())
        })?;
        for die in &self.dice {
            let fits = (1..=6).contains(&die.pips)
                && die.turned.unsigned_abs() <= 45
                && usize::from(die.style) < STYLES.len();
            SceneError::unless(fits, "dice", || {
                format!("{die:?}; pips 1 to 6, turned within 45, style 0 to 2")
            })?;
        }
        SceneError::unless(self.wording < Self::WORDINGS, "wording", || {
            format!("{}; 0 to {}", self.wording, Self::WORDINGS - 1)
        })
    }

    pub(crate) fn make(settings: &Settings, frame: Frame, draws: &mut Draws) -> Self {
        let n = draws.between(2u8, 6);
        let die = |draws: &mut Draws| Die {
            pips: draws.between(1, 6),
            turned: draws.between(-40, 40),
            style: draws.below(STYLES.len() as u32) as u8,
        };
        let dice = (0..n).map(|_| die(draws)).collect();
        Self { frame, dice, wording: draws.between(0, settings.wordings.min(Self::WORDINGS) - 1) }
    }

    fn pips(&self) -> Vec<u32> {
        self.dice.iter().map(|die| die.pips.into()).collect()
    }

    fn total(&self) -> u32 {
        self.pips().iter().sum()
    }

    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        let (width, height) = self.frame.size();
        let n = self.dice.len();
        // The number of columns that leaves the dice largest.
        let side = |columns: usize| (width / columns as f32).min(height / n.div_ceil(columns) as f32);
        let columns = (1..=n).max_by(|&a, &b| side(a).total_cmp(&side(b)).then(b.cmp(&a))).unwrap_or(1);
        let rows = n.div_ceil(columns);
        let half = 0.5 * (0.66 * side(columns)).min(0.45 * self.frame.short());
        for (i, die) in self.dice.iter().enumerate() {
            let (column, row) = (i % columns, i / columns);
            let centre =
                ((column as f32 + 0.5) * width / columns as f32, (row as f32 + 0.5) * height / rows as f32);
            let (sin, cos) = turn(die.turned.into(), 360);
            let at = |x: f32, y: f32| -> Point {
                (centre.0 + half * (x * cos - y * sin), centre.1 + half * (x * sin + y * cos))
            };
            let (body, ink) = STYLES[usize::from(die.style)];
            let face = polygon(&[at(-1.0, -1.0), at(1.0, -1.0), at(1.0, 1.0), at(-1.0, 1.0)]);
            canvas.fill(&face, body);
            canvas.stroke(&face, 0.12 * half, [70, 72, 84]);
            for &(x, y) in PIPS[usize::from(die.pips - 1)] {
                canvas.disc(at(0.55 * x, 0.55 * y), 0.19 * half, ink);
            }
        }
    }

    pub(crate) fn question(&self) -> String {
        match self.wording {
            0 => "What is the total of the dice?",
            1 => "How many pips do the dice show together?",
            _ => "Add up the dice.",
        }
        .into()
    }

    pub(crate) fn answer(&self) -> String {
        self.total().to_string()
    }

    pub(crate) fn thought(&self) -> String {
        partial_sums(&self.pips())
    }

    pub(crate) fn verify(&self, answer: &str) -> bool {
        is_number(answer, self.total())
    }

    /// The same pips in another order are the same throw.
    pub(crate) fn shown(&self) -> String {
        let mut pips = self.pips();
        pips.sort_unstable();
        format!("{pips:?}")
    }
}
