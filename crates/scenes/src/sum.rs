//! Task B: numbers on digit cards, one number a row, added.

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, mix, polygon};
use crate::digits::{Glyph, STYLES};
use crate::draws::Draws;
use crate::scene::{is_number, partial_sums};
use crate::{Frame, SceneError, Settings};

/// A card with one digit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The digit, 0 to 9.
    pub digit: u8,
    /// Its style: 0 blocks, 1 round, 2 angular.
    #[serde(default)]
    pub style: u8,
    /// How far it leans to the right, in hundredths of its height, -20 to 20.
    #[serde(default)]
    pub slant: i8,
    /// How far it stands from the card's middle, right and down, in hundredths of the card's width, -10 to 10.
    #[serde(default)]
    pub shift: [i8; 2],
}

/// Task B.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// Sides, paper, clutter, noise.
    pub frame: Frame,
    /// Two to six numbers from top to bottom, each of one to four cards; none begins with a 0 but the number 0.
    pub numbers: Vec<Vec<Card>>,
    /// Which of the [`Sum::WORDINGS`] wordings, from 0.
    #[serde(default)]
    pub wording: u8,
}

impl Sum {
    /// Number of wordings of the question.
    pub const WORDINGS: u8 = 4;
    /// Fewest and most numbers.
    pub const TERMS: [u8; 2] = [2, 6];
    /// Fewest and most digits of a number.
    pub const DIGITS: [u8; 2] = [1, 4];

    pub(crate) fn check(&self) -> Result<(), SceneError> {
        let within = |n: usize, [low, high]: [u8; 2]| (usize::from(low)..=usize::from(high)).contains(&n);
        SceneError::unless(within(self.numbers.len(), Self::TERMS), "numbers", || {
            format!("{} numbers; two to six", self.numbers.len())
        })?;
        for number in &self.numbers {
            SceneError::unless(within(number.len(), Self::DIGITS), "numbers", || {
                format!("a number of {} cards; one to four", number.len())
            })?;
            SceneError::unless(number.len() == 1 || number[0].digit != 0, "numbers", || {
                "a number begins with 0".into()
            })?;
            for card in number {
                let fits = card.digit < 10
                    && card.style < STYLES
                    && card.slant.unsigned_abs() <= 20
                    && card.shift.iter().all(|s| s.unsigned_abs() <= 10);
                SceneError::unless(fits, "numbers", || {
                    format!("{card:?}; digit 0 to 9, style 0 to 2, slant within 20, shift within 10")
                })?;
            }
        }
        SceneError::unless(self.wording < Self::WORDINGS, "wording", || {
            format!("{}; 0 to {}", self.wording, Self::WORDINGS - 1)
        })
    }

    pub(crate) fn make(settings: &Settings, frame: Frame, draws: &mut Draws) -> Self {
        let terms: u8 = draws.between(settings.terms[0], settings.terms[1]);
        let number = |draws: &mut Draws| {
            let digits: u8 = draws.between(settings.digits[0], settings.digits[1]);
            (0..digits)
                .map(|i| Card {
                    digit: draws.between(u8::from(i == 0), 9),
                    style: draws.below(STYLES.into()) as u8,
                    slant: draws.between(-15, 15),
                    shift: [draws.between(-8, 8), draws.between(-8, 8)],
                })
                .collect()
        };
        let numbers = (0..terms).map(|_| number(draws)).collect();
        Self { frame, numbers, wording: draws.between(0, settings.wordings.min(Self::WORDINGS) - 1) }
    }

    fn terms(&self) -> Vec<u32> {
        let value = |number: &Vec<Card>| number.iter().fold(0, |n, card| 10 * n + u32::from(card.digit));
        self.numbers.iter().map(value).collect()
    }

    fn total(&self) -> u32 {
        self.terms().iter().sum()
    }

    /// Numbers stand flush right, as in column addition.
    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        let (width, height) = self.frame.size();
        let most = self.numbers.iter().map(Vec::len).max().unwrap_or(1) as f32;
        let row = height / self.numbers.len() as f32;
        let card = (0.9 * row / 1.3).min(0.92 * width / most).min(0.5 * self.frame.short());
        let (gap, tall) = (0.06 * card, 1.3 * card);
        let right = 0.5 * (width + most * (card + gap) - gap);
        for (r, number) in self.numbers.iter().enumerate() {
            let top = (r as f32 + 0.5) * row - 0.5 * tall;
            for (c, item) in number.iter().rev().enumerate() {
                let left = right - card - c as f32 * (card + gap);
                let (r, b) = (left + card, top + tall);
                let paper = polygon(&[(left, top), (r, top), (r, b), (left, b)]);
                canvas.fill(&paper, [255, 254, 248]);
                canvas.stroke(&paper, 0.03 * card, mix([0, 0, 0], [255, 255, 255], 120));
                let size = (0.46 * card, 0.92 * card);
                let [dx, dy] = item.shift.map(|s| f32::from(s) / 100.0 * card);
                let corner = (left + 0.5 * (card - size.0) + dx, top + 0.5 * (tall - size.1) + dy);
                let ink = [24, 26, 34];
                Glyph { digit: item.digit, style: item.style, slant: item.slant, corner, size, ink }
                    .draw(canvas);
            }
        }
    }

    pub(crate) fn question(&self) -> String {
        match self.wording {
            0 => "Each row of cards is a number. What is the sum of the numbers?",
            1 => "Add the numbers on the cards.",
            2 => "What do the numbers on the cards add up to?",
            _ => "Read each row of cards as a number and give the total.",
        }
        .into()
    }

    pub(crate) fn answer(&self) -> String {
        self.total().to_string()
    }

    pub(crate) fn thought(&self) -> String {
        partial_sums(&self.terms())
    }

    pub(crate) fn verify(&self, answer: &str) -> bool {
        is_number(answer, self.total())
    }

    /// The same numbers in another order are the same sum.
    pub(crate) fn shown(&self) -> String {
        let mut terms = self.terms();
        terms.sort_unstable();
        format!("{terms:?}")
    }
}
