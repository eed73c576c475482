//! The kinds of reward, and the map from a dataset's own names to them.
//!
//! A name that is neither a kind nor mapped is an error, collected over all rows and reported once: a run must not
//! start with rows whose reward nobody defined.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// How a row's response is compared with its truth.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The name used in rows and recipes.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// Mathematics in LaTeX or plain text.
    Math = "math",
    /// One number, units and words around it allowed.
    Number = "number",
    /// A whole number of things, also in words; two different numbers are refused.
    Count = "count",
    /// Letters of options, or their texts; several correct letters as a set.
    Mcq = "mcq",
    /// Yes or no.
    YesNo = "yes_no",
    /// Words after normalisation, any of several truths.
    Text = "text",
    /// Average normalised Levenshtein similarity (DocVQA).
    Anls = "anls",
    /// `Levenshtein.ratio`: 2 · LCS / (a + b).
    EditRatio = "edit_ratio",
    /// Character error rate; the score is 1 − CER.
    Cer = "cer",
    /// Word error rate; the score is 1 − WER.
    Wer = "wer",
    /// F1 over words (SQuAD).
    F1 = "f1",
    /// Within 5 % for numbers, equal words otherwise (ChartQA).
    Relaxed = "relaxed",
    /// Agreement with several annotators (VQA).
    Vqa = "vqa",
    /// One box by intersection over union.
    Box = "box",
    /// A set of boxes, matched one to one.
    Boxes = "boxes",
    /// A point near a point, or in a box.
    Point = "point",
    /// The tags of the response.
    Format = "format",
    /// Free text, for a judge.
    Open = "open",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown reward kind {name:?}: one of {}", Kind::ALL.iter().map(|k| k.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownKind {
    /// The name as written.
    pub name: String,
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let folded = fold(name);
        Kind::ALL
            .iter()
            .copied()
            .find(|k| k.name() == folded)
            .ok_or_else(|| UnknownKind { name: name.to_owned() })
    }
}

/// Names are compared without case, and with `-` and blanks as `_`: datasets are not consistent about either.
fn fold(name: &str) -> String {
    name.trim().to_lowercase().replace(['-', ' '], "_")
}

/// A dataset's reward names to kinds. Kinds' own names always resolve, unless mapped to something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewardMap(BTreeMap<String, Kind>);

/// Why a reward map could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// An entry is not `NAME=KIND`.
    #[error("reward map entry {0:?}: write NAME=KIND, for example --reward-map MCQ_single=mcq")]
    Shape(String),
    /// The right-hand side is no kind.
    #[error("reward map entry for {name:?}: {source}")]
    Kind {
        /// The dataset's name.
        name: String,
        /// The unknown kind.
        source: UnknownKind,
    },
    /// Names in the data that nothing maps, with the number of rows of each.
    #[error("unknown reward names: {}; map each with NAME=KIND", list(.0))]
    Unknown(BTreeMap<String, usize>),
}

fn list(counts: &BTreeMap<String, usize>) -> String {
    counts.iter().map(|(name, n)| format!("{name:?} ({n} rows)")).collect::<Vec<_>>().join(", ")
}

impl RewardMap {
    /// Parses `NAME=KIND` entries, as on the command line.
    pub fn from_entries<S: AsRef<str>>(entries: &[S]) -> Result<Self, MapError> {
        let mut map = Self::default();
        for entry in entries {
            let (name, kind) =
                entry.as_ref().rsplit_once('=').ok_or_else(|| MapError::Shape(entry.as_ref().to_owned()))?;
            map.insert(name, kind)?;
        }
        Ok(map)
    }

    /// Adds one entry, as from a recipe's `[reward.map]`.
    pub fn insert(&mut self, name: &str, kind: &str) -> Result<(), MapError> {
        let kind = kind.parse().map_err(|source| MapError::Kind { name: name.to_owned(), source })?;
        self.0.insert(fold(name), kind);
        Ok(())
    }

    /// The kind of a row's name; `None` if it is unknown.
    pub fn resolve(&self, name: &str) -> Option<Kind> {
        self.0.get(&fold(name)).copied().or_else(|| name.parse().ok())
    }

    /// Checks all names of a dataset at once: one error that lists every unknown name with its count.
    pub fn check<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<(), MapError> {
        let mut unknown = BTreeMap::new();
        for name in names {
            if self.resolve(name).is_none() {
                *unknown.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        if unknown.is_empty() { Ok(()) } else { Err(MapError::Unknown(unknown)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_one_error_with_counts() {
        let map = RewardMap::from_entries(&["MC single=mcq", "DES=open"]).unwrap();
        assert_eq!(map.resolve("mc_single"), Some(Kind::Mcq));
        assert_eq!(map.resolve("Yes-No"), Some(Kind::YesNo));
        let error = map.check(["des", "FIB", "math", "FIB", "IoU"]).unwrap_err().to_string();
        assert!(error.contains("\"FIB\" (2 rows)") && error.contains("\"IoU\" (1 rows)"), "{error}");
        assert!(!error.contains("des") && !error.contains("math"), "{error}");
    }

    #[test]
    fn malformed_entries_are_refused() {
        assert!(matches!(RewardMap::from_entries(&["mcq"]), Err(MapError::Shape(_))));
        assert!(matches!(RewardMap::from_entries(&["a=b"]), Err(MapError::Kind { .. })));
    }
}
