//! A checked scene, and what follows from it whatever its task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Chart, Clock, Count, Dice, Maze, Picture, Sum};

/// What a scene shows and asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Task A: coloured shapes, counted under a filter.
    Count(Count),
    /// Task B: numbers on digit cards, added.
    Sum(Sum),
    /// Task C: a maze, walked.
    Maze(Maze),
    /// Task D: a bar chart, read.
    Chart(Chart),
    /// Task D: a clock, read.
    Clock(Clock),
    /// Task D: dice, added.
    Dice(Dice),
}

/// A [`Content`] that holds together: everything asked about is there, nothing lies outside the picture, the answer is
/// unique. JSON is read through the same check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Content", into = "Content")]
pub struct Scene(Content);

/// Why a content is no scene.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scene: field `{field}`: {problem}")]
pub struct SceneError {
    /// Path of the field within the content.
    pub field: &'static str,
    /// What is wrong with it, and what is accepted.
    pub problem: String,
}

impl SceneError {
    pub(crate) fn unless(
        holds: bool,
        field: &'static str,
        problem: impl FnOnce() -> String,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { field, problem: problem() }) }
    }
}

/// The tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Task {
    /// Counting shapes.
    A,
    /// Adding numbers on cards.
    B,
    /// Walking a maze.
    C,
    /// Reading a chart, a clock, dice.
    D,
}

impl Task {
    /// Every task.
    pub const ALL: [Task; 4] = [Task::A, Task::B, Task::C, Task::D];
}

/// What a scene may be used for; see [`Scene::split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Eight scenes of ten.
    Train,
    /// One of ten: for choosing settings and checkpoints.
    Val,
    /// One of ten: for figures that are reported.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Split::Train, Split::Val, Split::Test]
            .into_iter()
            .find(|split| split.to_string() == name)
            .ok_or_else(|| format!("unknown split `{name}`: train, val or test"))
    }
}

impl TryFrom<Content> for Scene {
    type Error = SceneError;

    fn try_from(content: Content) -> Result<Self, SceneError> {
        Self::new(content)
    }
}

impl From<Scene> for Content {
    fn from(scene: Scene) -> Self {
        scene.0
    }
}

/// The same method of whatever the content is.
macro_rules! each {
    ($content:expr, $item:ident => $body:expr) => {
        match $content {
            Content::Count($item) => $body,
            Content::Sum($item) => $body,
            Content::Maze($item) => $body,
            Content::Chart($item) => $body,
            Content::Clock($item) => $body,
            Content::Dice($item) => $body,
        }
    };
}

impl Scene {
    /// Checks a content.
    pub fn new(content: Content) -> Result<Self, SceneError> {
        each!(&content, item => {
            item.frame.check()?;
            item.check()?;
        });
        Ok(Self(content))
    }

    /// What it shows and asks.
    pub fn content(&self) -> &Content {
        &self.0
    }

    /// The task it belongs to.
    pub fn task(&self) -> Task {
        match self.0 {
            Content::Count(_) => Task::A,
            Content::Sum(_) => Task::B,
            Content::Maze(_) => Task::C,
            Content::Chart(_) | Content::Clock(_) | Content::Dice(_) => Task::D,
        }
    }

    /// Its kind in a row's `category`: `count`, `sum`, `maze`, `chart`, `clock` or `dice`.
    pub fn category(&self) -> &'static str {
        match self.0 {
            Content::Count(_) => "count",
            Content::Sum(_) => "sum",
            Content::Maze(_) => "maze",
            Content::Chart(_) => "chart",
            Content::Clock(_) => "clock",
            Content::Dice(_) => "dice",
        }
    }

    /// The picture, `frame.width` by `frame.height` pixels; the same bytes on every platform.
    pub fn draw(&self) -> Picture {
        each!(&self.0, item => {
            let mut canvas = item.frame.canvas();
            item.draw(&mut canvas);
            item.frame.finish(canvas)
        })
    }

    /// The question, in English.
    pub fn question(&self) -> String {
        each!(&self.0, item => item.question())
    }

    /// The answer; for a maze one of its shortest paths.
    pub fn answer(&self) -> String {
        each!(&self.0, item => item.answer())
    }

    /// The chain of thought that leads to [`Self::answer`], without tags: what is seen and where, then the working.
    pub fn thought(&self) -> String {
        each!(&self.0, item => item.thought())
    }

    /// A shorter one where there is one, for task A: what is seen and whether it counts, without the words asked about.
    pub fn terse_thought(&self) -> String {
        match &self.0 {
            Content::Count(count) => count.terse_thought(),
            _ => self.thought(),
        }
    }

    /// Whether an answer is right: the content of the response's `<answer>`, or the whole of an untagged response. Case,
    /// surrounding blanks and a final full stop do not matter. Any path that leads through a maze is right.
    pub fn verify(&self, answer: &str) -> bool {
        let answer = answer.trim().trim_end_matches('.').trim_end();
        each!(&self.0, item => item.verify(answer))
    }

    /// The reward method of its rows: `number` and `text` are kinds of `wethink-reward`; `maze` is [`Self::verify`].
    pub fn reward(&self) -> &'static str {
        match &self.0 {
            Content::Count(_) | Content::Sum(_) | Content::Dice(_) => "number",
            Content::Maze(_) => "maze",
            Content::Chart(chart) if chart.asks_for_a_color() => "text",
            Content::Chart(_) => "number",
            Content::Clock(_) => "text",
        }
    }

    /// SHA-256 of what the picture shows, so that scenes that differ only in wording, question, style, jitter, paper,
    /// clutter, noise or size have the same hash.
    pub fn content_hash(&self) -> [u8; 32] {
        let shown = each!(&self.0, item => item.shown());
        Sha256::digest(format!("{} {shown}", self.category())).into()
    }

    /// What the scene may be used for, decided by [`Self::content_hash`].
    pub fn split(&self) -> Split {
        let [a, b, c, d, ..] = self.content_hash();
        match u32::from_le_bytes([a, b, c, d]) % 10 {
            0 => Split::Test,
            1 => Split::Val,
            _ => Split::Train,
        }
    }
}

/// Whether an answer is this whole number, written in digits.
pub(crate) fn is_number(answer: &str, truth: u32) -> bool {
    !answer.is_empty() && answer.bytes().all(|b| b.is_ascii_digit()) && answer.parse() == Ok(truth)
}

/// The working of a sum: `47 + 25 + 8`, then each partial sum on its own line.
pub(crate) fn partial_sums(terms: &[u32]) -> String {
    let terms_text: Vec<String> = terms.iter().map(u32::to_string).collect();
    let mut text = terms_text.join(" + ");
    let mut total = terms[0];
    for term in &terms[1..] {
        text += &format!("\n{total} + {term} = {}", total + term);
        total += term;
    }
    text
}
