//! The rows of a file, with a verdict and a person's label for each.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wethink_data::Line;
use wethink_reward::{Choice, Decision, Key, Kind, Label, Policy, RewardMap, TruthError, score};

use crate::columns::Columns;
use crate::filter::Filter;
use crate::row::Row;
use crate::source::Broken;

/// Rows that are held; a list in a page can be no longer.
pub const MAX_ROWS: usize = 500_000;

/// Broken lines that are told one by one.
const MAX_BROKEN: usize = 1000;

/// How a file is read and scored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// Which column is what.
    pub columns: Columns,
    /// The kind of rows that name none.
    pub kind: Option<Kind>,
    /// The file's own names of kinds.
    pub map: BTreeMap<String, Kind>,
    /// How parts make a reward.
    pub policy: Policy,
}

/// What verifying a row gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was not its turn yet.
    Pending,
    /// The truth, the kind or a switch is wrong: somebody must mend the row.
    Fault(String),
    /// A verdict, its score, and the reward unless a judge must be heard.
    Scored {
        /// Accept, reject or unsure.
        verdict: Decision,
        /// In [0, 1].
        score: f64,
        /// The weighted sum.
        reward: Option<f64>,
    },
}

/// What a person said of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Accept, reject or unsure.
    #[serde(rename = "label")]
    pub choice: Choice,
    /// Anything the person adds.
    #[serde(default)]
    pub note: String,
    /// Who it is.
    #[serde(default)]
    pub annotator: String,
    /// When, in ISO 8601.
    #[serde(default)]
    pub time: String,
}

impl Mark {
    pub(crate) fn of(label: Label) -> Self {
        Self { choice: label.choice, note: label.note, annotator: label.annotator, time: label.time }
    }
}

/// The rows of a file.
#[derive(Debug, Default)]
pub struct Sheet {
    pub(crate) rows: Vec<Row>,
    pub(crate) outcomes: Vec<Outcome>,
    /// The person's own labels.
    pub(crate) marks: Vec<Option<Box<Mark>>>,
    /// A second annotator's.
    pub(crate) seconds: Vec<Option<Box<Mark>>>,
    /// Rows that the filter shows.
    pub(crate) shown: Vec<u32>,
    pub(crate) filter: Filter,
    /// Kinds chosen for single rows.
    pub(crate) kinds: BTreeMap<usize, Kind>,
    pub(crate) setup: Setup,
    pub(crate) map: RewardMap,
    broken: Vec<Broken>,
    broken_count: usize,
    by_key: HashMap<Key, Vec<u32>>,
    scored: usize,
}

impl Sheet {
    /// A sheet without rows.
    pub fn new(setup: Setup) -> Self {
        let mut sheet = Self::default();
        sheet.set_up(setup);
        sheet
    }

    /// Takes a line of the file; one that gives no row is kept as broken.
    pub fn push(&mut self, line: Line<Map<String, Value>>) {
        let Line { number, row } = line;
        let row = row.map_err(|fault| fault.to_string());
        let row = row.and_then(|fields| Row::read(number, fields, &self.setup.columns));
        match row {
            Ok(_) if self.rows.len() >= MAX_ROWS => {
                self.broke(number, format!("more than {MAX_ROWS} rows; split the file"));
            }
            Ok(row) => {
                let index = self.rows.len() as u32;
                self.by_key.entry(row.key).or_default().push(index);
                self.shown.push(index);
                self.rows.push(row);
                self.outcomes.push(Outcome::Pending);
                self.marks.push(None);
                self.seconds.push(None);
            }
            Err(problem) => self.broke(number, problem),
        }
    }

    fn broke(&mut self, line: u64, problem: String) {
        self.broken_count += 1;
        if self.broken.len() < MAX_BROKEN {
            self.broken.push(Broken { line, problem });
        }
    }

    /// Lines that gave no row, the first of them one by one, and how many there are.
    pub fn broken(&self) -> (&[Broken], usize) {
        (&self.broken, self.broken_count)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The file by content: the keys of its rows in order.
    pub fn key(&self) -> Key {
        let keys: Vec<String> = self.rows.iter().map(|row| row.key.to_string()).collect();
        Key::of("", &keys, "")
    }

    /// Changes kinds and policy; everything is to be scored again. Columns stay as the rows were read.
    pub fn set_up(&mut self, setup: Setup) {
        let mut map = RewardMap::default();
        for (name, kind) in &setup.map {
            map.insert(name, kind.name()).expect("a kind's own name is a kind");
        }
        self.map = map;
        self.setup = setup;
        self.outcomes.fill(Outcome::Pending);
        self.scored = 0;
    }

    /// Scores up to `count` further rows; whether some are left.
    pub fn score(&mut self, count: usize) -> bool {
        let end = self.rows.len().min(self.scored + count);
        for index in self.scored..end {
            self.outcomes[index] = self.outcome(index);
        }
        self.scored = end;
        end < self.rows.len()
    }

    /// Rows scored so far.
    pub fn scored(&self) -> usize {
        self.scored
    }

    fn outcome(&self, index: usize) -> Outcome {
        let row = &self.rows[index];
        let kind = match self.kind(index) {
            Ok(kind) => kind,
            Err(problem) => return Outcome::Fault(problem),
        };
        match row.record(kind).and_then(|record| score(&record, &self.setup.policy, row.tokens)) {
            Ok(score) => {
                let verdict = score.verdict.verdict;
                Outcome::Scored { verdict, score: score.verdict.score, reward: score.reward }
            }
            Err(error) => Outcome::Fault(shown_fault(&error)),
        }
    }

    /// The kind a row is verified as.
    pub(crate) fn kind(&self, index: usize) -> Result<Kind, String> {
        match self.kinds.get(&index) {
            Some(&kind) => Ok(kind),
            None => self.rows[index].kind(&self.map, self.setup.kind),
        }
    }

    /// Verifies one row as another kind; `None` goes back to the file's. A row that is not there changes nothing.
    pub fn set_kind(&mut self, index: usize, kind: Option<Kind>) {
        if index >= self.rows.len() {
            return;
        }
        match kind {
            Some(kind) => self.kinds.insert(index, kind),
            None => self.kinds.remove(&index),
        };
        self.outcomes[index] = self.outcome(index);
    }

    /// The file's own names of kinds with what they mean and how many rows carry them, in order of name.
    pub fn names(&self) -> Vec<(String, Option<Kind>, usize)> {
        let mut counts = BTreeMap::<&str, usize>::new();
        for name in self.rows.iter().filter_map(|row| row.kind.as_deref()) {
            *counts.entry(name).or_default() += 1;
        }
        counts.into_iter().map(|(name, rows)| (name.to_owned(), self.map.resolve(name), rows)).collect()
    }

    /// Labels a row, and every row that is the same case; `None` takes the label back. The rows that changed.
    pub fn mark(&mut self, index: usize, mark: Option<Mark>) -> Vec<u32> {
        let Some(row) = self.rows.get(index) else { return Vec::new() };
        let same = self.by_key.get(&row.key).cloned().unwrap_or_default();
        for &index in &same {
            self.marks[index as usize] = mark.clone().map(Box::new);
        }
        same
    }

    /// Puts stored labels back; how many found a row.
    pub fn restore(&mut self, labels: Vec<Label>) -> usize {
        self.marks.fill(None);
        let mut found = 0;
        for label in labels {
            let rows = label.key.and_then(|key| self.by_key.get(&key)).cloned().unwrap_or_default();
            found += usize::from(!rows.is_empty());
            let mark = Mark::of(label);
            for index in rows {
                self.marks[index as usize] = Some(Box::new(mark.clone()));
            }
        }
        found
    }

    /// Rows of a case.
    pub(crate) fn rows_of(&self, key: Key) -> &[u32] {
        self.by_key.get(&key).map_or(&[], Vec::as_slice)
    }

    /// What the person and the rule say, where both decide.
    pub(crate) fn decided(&self, index: usize) -> Option<(bool, bool)> {
        let person = decides(self.marks[index].as_deref()?.choice)?;
        match self.outcomes[index] {
            Outcome::Scored { verdict: Decision::Accept, .. } => Some((person, true)),
            Outcome::Scored { verdict: Decision::Reject, .. } => Some((person, false)),
            _ => None,
        }
    }

    /// Whether the person contradicts the rule.
    pub(crate) fn disputed(&self, index: usize) -> bool {
        self.decided(index).is_some_and(|(person, rule)| person != rule)
    }

    /// Whether two people said different things.
    pub(crate) fn split(&self, index: usize) -> bool {
        let choice = |mark: &Option<Box<Mark>>| mark.as_deref().map(|mark| mark.choice);
        matches!((choice(&self.marks[index]), choice(&self.seconds[index])), (Some(a), Some(b)) if a != b)
    }
}

/// Accept or reject; `None` for unsure.
pub(crate) fn decides(choice: Choice) -> Option<bool> {
    match choice {
        Choice::Accept => Some(true),
        Choice::Reject => Some(false),
        Choice::Unsure => None,
    }
}

/// A fault of a row for people who see a page, not a command line.
pub(crate) fn shown_fault(error: &TruthError) -> String {
    match error {
        TruthError::Kind(unknown) => unknown.to_string(),
        other => other.to_string(),
    }
}
