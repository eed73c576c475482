//! One row to verify: what is asked of it, the truth, the response, and the switches of its dataset.
//!
//! Rows come from files of many hands, so the truth may be text, a number, a boolean or a list, and is read leniently;
//! what cannot be read is a [`TruthError`] that names the field. The response is never an error: whatever a model
//! wrote gets a verdict.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kind::{Kind, RewardMap};

/// Bytes of a truth, of a list of choices, of all truths together.
pub const MAX_TRUTH: usize = 256 * 1024;

/// The truth, or another field that the dataset supplies, is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TruthError {
    /// The row is not a JSON object.
    #[error("the row is not a JSON object: {0}")]
    NotAnObject(String),
    /// A field is absent.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A field has a wrong type or value.
    #[error("field `{field}`: {problem}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// The kind's name is unknown.
    #[error("{0}; or map it with --reward-map NAME=KIND")]
    Kind(#[from] crate::kind::UnknownKind),
    /// The truth is empty where an answer is needed.
    #[error("field `gold`: the truth is empty, so nothing can equal it")]
    Empty,
    /// The truth is not what the kind needs.
    #[error("field `gold`: {truth:?} is not {expected}")]
    Malformed {
        /// The beginning of the truth.
        truth: String,
        /// What the kind needs.
        expected: &'static str,
    },
    /// The truth is beyond the size that is verified.
    #[error("field `{field}`: {bytes} bytes, at most {MAX_TRUTH} are verified")]
    TooLong {
        /// Its name.
        field: &'static str,
        /// Its size.
        bytes: usize,
    },
}

impl TruthError {
    pub(crate) fn malformed(truth: &str, expected: &'static str) -> Self {
        Self::Malformed { truth: truth.chars().take(80).collect(), expected }
    }

    pub(crate) fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Field { field, problem: problem.into() }
    }
}

/// Where the answer may stand in the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extract {
    /// Tag, else box, else an anchor such as "the answer is", else the text.
    #[default]
    Any,
    /// Only the last balanced `\boxed{}` earns.
    Boxed,
    /// Only the one `<answer>` earns.
    AnswerTag,
    /// A `</think>` is required; what follows it is read as by `Any`.
    AfterThink,
}

/// What a missing or other unit means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// A unit on one side only is ignored; units on both sides must convert.
    #[default]
    Optional,
    /// If the truth has a unit, the answer must have one that converts.
    Required,
    /// Units are dropped unread.
    Ignore,
}

/// What a percent sign on one side only means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Percent {
    /// 28 % equals 0.28, and 28 where the other side has no sign.
    #[default]
    Either,
    /// 28 % equals 0.28 only.
    Exact,
    /// 28 % equals 28 only.
    Dropped,
}

/// When a text equals a truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// Equal words: case, articles, punctuation and number words aside.
    #[default]
    Normalised,
    /// Equal character by character, but for white space around.
    Exact,
    /// The truth's words stand in the answer, in order and together. An answer that says everything passes, and more text
    /// can turn a rejection into an accept: the one setting under which that holds.
    Contains,
}

/// The measure of overlap of two boxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Iou {
    /// Intersection over union.
    #[default]
    Iou,
    /// Generalised IoU, negative values scored 0 (Rezatofighi et al., CVPR 2019).
    Giou,
}

/// The switches of a dataset. Every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Opts {
    /// `latex`: only mathematics in a LaTeX environment counts; `expr`: plain expressions count too. Empty: both.
    pub match_types: Vec<String>,
    /// Decimals of a comparison with a written decimal (default 6).
    pub precision: Option<u32>,
    /// Variable names matter, and sets are no tuples (default true).
    pub strict: Option<bool>,
    /// An inequality in the answer may equal an interval in the truth.
    pub allow_set_relation_comp: bool,
    /// Where the answer may stand.
    pub extract: Extract,
    /// Numbers: relative tolerance. Points: the radius.
    pub tolerance: Option<f64>,
    /// Units.
    pub units: Units,
    /// Percent signs.
    pub percent: Percent,
    /// Letters' case matters (text kinds; default false but for the edit kinds, where it is true).
    pub case: Option<bool>,
    /// Score from which a graded kind accepts; for cer and wer the error rate up to which it does.
    pub threshold: Option<f64>,
    /// When a `text` equals a truth; the option is called `match`.
    #[serde(rename = "match")]
    pub matching: Matching,
    /// Measure of overlap.
    pub iou: Iou,
    /// ANLS divides by the lengths as written, not as normalised.
    pub raw_length: bool,
    /// Names this crate does not know, kept so that a caller can report them.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, Value>,
}

/// One row, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// How to compare.
    pub kind: Kind,
    /// The truths; any of them may be equalled (all annotators for `vqa`, all correct letters for `mcq`).
    pub golds: Vec<String>,
    /// The response, whole.
    pub pred: String,
    /// Options of a choice: letter and text. Texts may be empty.
    pub choices: Vec<(String, String)>,
    /// Switches.
    pub opts: Opts,
}

impl Record {
    /// A record without choices and with default switches.
    pub fn new(kind: Kind, gold: impl Into<String>, pred: impl Into<String>) -> Self {
        Self { kind, golds: vec![gold.into()], pred: pred.into(), choices: vec![], opts: Opts::default() }
    }

    /// Reads `{kind | reward, gold | golds, pred | response, choices?, opts?}`; other fields are left alone.
    pub fn from_json(row: &Value, map: &RewardMap) -> Result<Self, TruthError> {
        let Value::Object(fields) = row else {
            return Err(TruthError::NotAnObject(shorten(&row.to_string())));
        };
        let name = match fields.get("kind").or_else(|| fields.get("reward")) {
            Some(Value::String(name)) => name,
            Some(other) => return Err(TruthError::field("kind", format!("{other} is not a name"))),
            None => return Err(TruthError::Missing("kind")),
        };
        let kind = match map.resolve(name) {
            Some(kind) => kind,
            None => name.parse()?,
        };
        let pred = match fields.get("pred").or_else(|| fields.get("response")) {
            Some(value) => text_of(value),
            None => return Err(TruthError::Missing("pred")),
        };
        let golds = golds(fields, kind)?;
        let choices = fields.get("choices").map_or(Ok(vec![]), choices)?;
        let opts = match fields.get("opts") {
            None | Some(Value::Null) => Opts::default(),
            Some(value) => Opts::deserialize(value).map_err(|e| TruthError::field("opts", e.to_string()))?,
        };
        opts.check()?;
        Ok(Self { kind, golds, pred, choices, opts })
    }
}

impl Opts {
    fn check(&self) -> Result<(), TruthError> {
        let finite = |name: &str, value: Option<f64>| match value {
            Some(v) if !(v.is_finite() && v >= 0.0) => {
                Err(TruthError::field("opts", format!("`{name}` must be a finite number ≥ 0, not {v}")))
            }
            _ => Ok(()),
        };
        finite("tolerance", self.tolerance)?;
        finite("threshold", self.threshold)?;
        match self.match_types.iter().find(|m| !matches!(m.as_str(), "latex" | "expr" | "string")) {
            Some(m) => Err(TruthError::field("opts", format!("match type {m:?} is neither latex nor expr"))),
            None => Ok(()),
        }
    }

    /// Plain text outside LaTeX environments counts.
    pub(crate) fn plain(&self) -> bool {
        self.match_types.is_empty() || self.match_types.iter().any(|m| m == "expr")
    }
}

fn golds(fields: &serde_json::Map<String, Value>, kind: Kind) -> Result<Vec<String>, TruthError> {
    let golds = match (fields.get("golds"), fields.get("gold")) {
        (Some(Value::Array(items)), _) => items.iter().map(text_of).collect(),
        (Some(other), _) => {
            return Err(TruthError::field("golds", format!("{} is no list", shorten(&other.to_string()))));
        }
        // A list of texts is several truths; a list of numbers or lists is one (a box, a set of boxes, a tuple).
        (None, Some(Value::Array(items))) if !items.is_empty() && items.iter().all(Value::is_string) => {
            items.iter().map(text_of).collect()
        }
        (None, Some(Value::Null) | None) if matches!(kind, Kind::Format | Kind::Open) => vec![],
        (None, Some(Value::Null) | None) => return Err(TruthError::Missing("gold")),
        (None, Some(value)) => vec![text_of(value)],
    };
    let bytes = golds.iter().map(String::len).sum();
    match bytes > MAX_TRUTH {
        true => Err(TruthError::TooLong { field: "gold", bytes }),
        false => Ok(golds),
    }
}

fn choices(value: &Value) -> Result<Vec<(String, String)>, TruthError> {
    let letter = |i: usize| char::from(b'A' + (i % 26) as u8).to_string();
    let pairs: Vec<(String, String)> = match value {
        Value::Null => vec![],
        Value::Object(map) => map.iter().map(|(k, v)| (k.trim().to_owned(), text_of(v))).collect(),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(text_of).collect();
            // Bare letters name the options; anything else is their texts, lettered in order.
            let bare =
                |t: &String| t.trim().chars().count() == 1 && t.trim().chars().all(char::is_alphabetic);
            match texts.iter().all(bare) {
                true => texts.into_iter().map(|t| (t.trim().to_owned(), String::new())).collect(),
                false => texts.into_iter().enumerate().map(|(i, t)| labelled(&letter(i), t)).collect(),
            }
        }
        other => {
            return Err(TruthError::field("choices", format!("{other} is neither a list nor an object")));
        }
    };
    let bytes = pairs.iter().map(|(a, b)| a.len() + b.len()).sum();
    match bytes > MAX_TRUTH || pairs.len() > 64 {
        true => Err(TruthError::TooLong { field: "choices", bytes }),
        false => Ok(pairs),
    }
}

/// `"(B) a dog"` and `"B. a dog"` carry their letter; the text is what follows it.
fn labelled(letter: &str, text: String) -> (String, String) {
    let rest = text.trim().trim_start_matches('(');
    let stripped = rest
        .strip_prefix(letter)
        .and_then(|r| r.strip_prefix([')', '.', ':']))
        .filter(|r| r.starts_with(' '))
        .map(|r| r.trim().to_owned());
    (letter.to_owned(), stripped.unwrap_or(text))
}

/// Text as it is; anything else as its JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}
