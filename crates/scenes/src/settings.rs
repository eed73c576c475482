//! What random scenes may be like.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::count::{Color, Shape};
use crate::draws::Draws;
use crate::{Chart, Clock, Content, Count, Dice, Frame, Maze, Scene, Split, Sum, Task, count_make};

/// A colour with a shape, written `red-circle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pair {
    /// The colour.
    pub color: Color,
    /// The shape.
    pub shape: Shape,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.color.word(), self.shape.word())
    }
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs =
            Color::ALL.iter().flat_map(|&color| Shape::ALL.iter().map(move |&shape| Pair { color, shape }));
        pairs.into_iter().find(|pair| pair.to_string() == text).ok_or_else(|| {
            let words = |all: Vec<&str>| all.join(", ");
            format!(
                "`{text}` is not COLOR-SHAPE: one of {}, then one of {}",
                words(Color::ALL.iter().map(|c| c.word()).collect()),
                words(Shape::ALL.iter().map(|s| s.word()).collect())
            )
        })
    }
}

impl TryFrom<String> for Pair {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pair> for String {
    fn from(pair: Pair) -> Self {
        pair.to_string()
    }
}

/// What random scenes may be like. Ranges include both ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Tasks, each as likely as the others.
    pub tasks: Vec<Task>,
    /// Only scenes of this split; any if none.
    pub split: Option<Split>,
    /// Shortest and longest side in pixels.
    pub sides: [u16; 2],
    /// Width and height equal.
    pub square: bool,
    /// Dots and dashes under the drawing.
    pub clutter: u8,
    /// Largest change of a channel by noise.
    pub noise: u8,
    /// How many of the wordings of a question may be used, from the first.
    pub wordings: u8,
    /// A: about how many pixels a cell of the grid is wide and high.
    pub cell: u8,
    /// A: fewest and most objects.
    pub objects: [u8; 2],
    /// A: percentage of scenes with as many objects as `crowd` says instead.
    pub crowded: u8,
    /// A: fewest and most objects of a crowded scene.
    pub crowd: [u8; 2],
    /// A: how many of the colours are used, from the first.
    pub colors: u8,
    /// A: how many of the shapes are used, from the first.
    pub shapes: u8,
    /// A: percentage of questions about a side of another object; fewer where no side is clear.
    pub relations: u8,
    /// A: weights of questions that name one, two and three of colour, shape and size. No answer from none to all objects is
    /// then likelier than another. Without weights most questions name one or two, and most answers are 1 or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<[u8; 3]>,
    /// A: pairs that never occur.
    pub held_out: Vec<Pair>,
    /// A: instead of never, the pairs occur in every scene, and every answer depends on one.
    pub show_held_out: bool,
    /// A: rows have the short thoughts, see [`crate::Scene::terse_thought`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terse: bool,
    /// B: fewest and most numbers.
    pub terms: [u8; 2],
    /// B: fewest and most digits of a number.
    pub digits: [u8; 2],
    /// C: fewest and most columns and rows.
    pub maze: [u8; 2],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tasks: Task::ALL.to_vec(),
            split: None,
            sides: [112, 224],
            square: false,
            clutter: 0,
            noise: 0,
            wordings: Count::WORDINGS,
            cell: 24,
            objects: [3, 10],
            crowded: 0,
            crowd: [7, 12],
            colors: Color::ALL.len() as u8,
            shapes: Shape::ALL.len() as u8,
            relations: 40,
            asked: None,
            held_out: Vec::new(),
            show_held_out: false,
            terse: false,
            terms: [2, 4],
            digits: [1, 2],
            maze: [4, 7],
        }
    }
}

/// Settings under which there are no scenes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A setting outside its range, or at odds with another.
    #[error("scene settings: `{field}`: {problem}")]
    Field {
        /// The setting.
        field: &'static str,
        /// What is wrong with it, and what is accepted.
        problem: String,
    },
    /// No scene was found in as many attempts.
    #[error(
        "scene {index} of seed {seed}: no scene fits the settings in {attempts} attempts; widen the ranges, or take another split"
    )]
    Exhausted {
        /// The seed.
        seed: u64,
        /// The scene's index.
        index: u64,
        /// How often it was tried.
        attempts: u64,
    },
}

impl Settings {
    const ATTEMPTS: u64 = 2000;

    /// Says what is wrong, before any scene is made.
    pub fn check(&self) -> Result<(), SettingsError> {
        let require = |holds: bool, field: &'static str, problem: &dyn Fn() -> String| {
            if holds { Ok(()) } else { Err(SettingsError::Field { field, problem: problem() }) }
        };
        let range = |field, [low, high]: [u16; 2], [least, most]: [u16; 2]| {
            require(least <= low && low <= high && high <= most, field, &|| {
                format!("{low} to {high}; a range within {least} to {most}")
            })
        };
        let wide = |pair: [u8; 2]| pair.map(u16::from);
        require(!self.tasks.is_empty(), "tasks", &|| "none".into())?;
        range("sides", self.sides, Frame::SIDES)?;
        range("noise", [0, self.noise.into()], [0, Frame::MAX_NOISE.into()])?;
        range("wordings", [1, self.wordings.into()], [1, Count::WORDINGS.into()])?;
        range("cell", [self.cell.into(), self.cell.into()], [16, 64])?;
        let (columns, rows) = Count::grid(self.sides[0], self.sides[0], self.cell);
        let cells = u16::from(columns) * u16::from(rows);
        range("objects", wide(self.objects), [1, cells])?;
        range("crowded", [0, self.crowded.into()], [0, 100])?;
        if self.crowded > 0 {
            range("crowd", wide(self.crowd), [1, cells])?;
        }
        range("colors", [1, self.colors.into()], [1, Color::ALL.len() as u16])?;
        range("shapes", [1, self.shapes.into()], [1, Shape::ALL.len() as u16])?;
        range("relations", [0, self.relations.into()], [0, 100])?;
        if let Some(asked) = self.asked {
            require(asked != [0; 3], "asked", &|| "every weight is 0; one at least must not be".into())?;
            require(self.relations == 0, "asked", &|| {
                format!("is for questions without a side, and `relations` is {}; set it to 0", self.relations)
            })?;
        }
        require(!self.show_held_out || !self.held_out.is_empty(), "show_held_out", &|| {
            "no pairs are held out".into()
        })?;
        range("terms", wide(self.terms), wide(Sum::TERMS))?;
        range("digits", wide(self.digits), wide(Sum::DIGITS))?;
        range("maze", wide(self.maze), wide(Maze::CELLS))
    }

    /// Scene `index` of a seed. It depends on the settings, the seed and the index alone.
    pub fn scene(&self, seed: u64, index: u64) -> Result<Scene, SettingsError> {
        self.check()?;
        // Drawn apart from the attempts: a task that is refused more often does not become rarer.
        let mut draws = Draws::at(seed, index, u64::MAX);
        let task = *draws.pick(&self.tasks);
        let instrument = draws.below(3);
        (0..Self::ATTEMPTS)
            .filter_map(|attempt| self.attempt(task, instrument, &mut Draws::at(seed, index, attempt)))
            .find(|scene| self.split.is_none_or(|split| split == scene.split()))
            .ok_or(SettingsError::Exhausted { seed, index, attempts: Self::ATTEMPTS })
    }

    fn attempt(&self, task: Task, instrument: u32, draws: &mut Draws) -> Option<Scene> {
        let [low, high] = self.sides;
        let width = draws.between(low, high);
        let height = if self.square { width } else { draws.between(low, high) };
        let frame = Frame::draw(draws, [width, height], self.clutter, self.noise);
        let content = match (task, instrument) {
            (Task::A, _) => Content::Count(count_make::make(self, frame, draws)?),
            (Task::B, _) => Content::Sum(Sum::make(self, frame, draws)),
            (Task::C, _) => Content::Maze(Maze::make(self, frame, draws)?),
            (Task::D, 0) => Content::Chart(Chart::make(frame, draws)?),
            (Task::D, 1) => Content::Clock(Clock::make(self, frame, draws)),
            (Task::D, _) => Content::Dice(Dice::make(self, frame, draws)),
        };
        Some(Scene::new(content).expect("generators keep the rules of their task"))
    }
}
