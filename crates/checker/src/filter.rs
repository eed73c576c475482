//! Which rows of a sheet are shown, and where the next one worth looking at is.

use serde::{Deserialize, Serialize};
use wethink_reward::{Choice, Decision};

use crate::sheet::{Outcome, Sheet};

/// What a verdict may be, a row at fault included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// The rule accepts.
    Accept,
    /// The rule rejects.
    Reject,
    /// No rule decides.
    Unsure,
    /// The row cannot be verified.
    Fault,
    /// Not scored yet.
    Pending,
}

impl Shown {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Unsure => "unsure",
            Self::Fault => "fault",
            Self::Pending => "pending",
        }
    }
}

impl From<Decision> for Shown {
    fn from(verdict: Decision) -> Self {
        match verdict {
            Decision::Accept => Self::Accept,
            Decision::Reject => Self::Reject,
            Decision::Unsure => Self::Unsure,
        }
    }
}

/// What a person may have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Given {
    /// Nothing yet.
    None,
    /// Anything.
    Any,
    /// The response is right.
    Accept,
    /// The response is wrong.
    Reject,
    /// Undecided.
    Unsure,
}

/// Who contradicts whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Differs {
    /// The person contradicts the rule.
    Verdict,
    /// Two people said different things.
    Second,
}

/// What is looked for from a row on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seek {
    /// A row on which somebody contradicts somebody.
    Differs,
    /// A row without a label.
    Unlabelled,
}

/// Conditions that all must hold; an absent one always does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// The kind it is verified as, or the file's own name where that is no kind.
    pub kind: Option<String>,
    /// The verdict.
    pub verdict: Option<Shown>,
    /// The person's label.
    pub label: Option<Given>,
    /// A disagreement.
    pub differs: Option<Differs>,
    /// Text in problem, truth, response or id, without regard to case.
    pub text: String,
}

impl Sheet {
    /// Shows the rows that fit; how many do.
    pub fn filter(&mut self, filter: Filter) -> usize {
        let needle = filter.text.trim().to_lowercase();
        self.filter = filter;
        let fits = |&index: &u32| self.fits(index as usize, &needle);
        self.shown = (0..self.rows.len() as u32).filter(fits).collect();
        self.shown.len()
    }

    fn fits(&self, index: usize, needle: &str) -> bool {
        let Filter { kind, verdict, label, differs, .. } = &self.filter;
        kind.as_ref().is_none_or(|kind| self.kind_name(index) == *kind)
            && verdict.is_none_or(|verdict| self.verdict(index) == verdict)
            && label.is_none_or(|given| self.given(index, given))
            && differs.is_none_or(|differs| match differs {
                Differs::Verdict => self.disputed(index),
                Differs::Second => self.split(index),
            })
            && (needle.is_empty() || self.rows[index].holds(needle))
    }

    pub(crate) fn kind_name(&self, index: usize) -> String {
        match self.kind(index) {
            Ok(kind) => kind.name().to_owned(),
            Err(_) => self.rows[index].kind.clone().unwrap_or_default(),
        }
    }

    pub(crate) fn verdict(&self, index: usize) -> Shown {
        match self.outcomes[index] {
            Outcome::Pending => Shown::Pending,
            Outcome::Fault(_) => Shown::Fault,
            Outcome::Scored { verdict, .. } => verdict.into(),
        }
    }

    fn given(&self, index: usize, given: Given) -> bool {
        let choice = self.marks[index].as_deref().map(|mark| mark.choice);
        match given {
            Given::None => choice.is_none(),
            Given::Any => choice.is_some(),
            Given::Accept => choice == Some(Choice::Accept),
            Given::Reject => choice == Some(Choice::Reject),
            Given::Unsure => choice == Some(Choice::Unsure),
        }
    }

    /// Rows shown.
    pub fn shown(&self) -> usize {
        self.shown.len()
    }

    /// The place among the rows shown of a row of the file.
    pub fn place(&self, row: usize) -> Option<usize> {
        self.shown.binary_search(&u32::try_from(row).ok()?).ok()
    }

    /// The next place among the rows shown, before or after `place`, that has what is looked for.
    pub fn seek(&self, place: usize, forward: bool, what: Seek) -> Option<usize> {
        let fits = |&place: &usize| {
            let index = self.shown[place] as usize;
            match what {
                Seek::Differs => self.disputed(index) || self.split(index),
                Seek::Unlabelled => self.marks[index].is_none(),
            }
        };
        let end = self.shown.len();
        if forward { (place + 1..end).find(fits) } else { (0..place.min(end)).rev().find(fits) }
    }
}
