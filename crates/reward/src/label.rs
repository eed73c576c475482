//! What people say about cases: the file that the reward checker exports and `trainer score --labels` reads.
//!
//! JSON lines, one label each; a later line about the same case by the same annotator replaces an earlier one:
//!
//! ```json
//! {"key": "0123456789abcdef0123456789abcdef", "id": "row-17", "label": "accept", "note": "", "annotator": "kim", "time": "2026-01-31T12:00:00Z"}
//! ```
//!
//! `label` is `accept`, `reject` or `unsure`. `key` is the case's [`Key`], `id` the row's own; at least one is present, and `key`
//! decides where both are, since an id says nothing about which response was seen. `note`, `annotator` and `time` (ISO 8601) may
//! be missing; other fields are left alone.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Key;

/// One of a person's three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The response is right.
    Accept,
    /// The response is wrong.
    Reject,
    /// The person cannot tell; nothing is overridden.
    Unsure,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The case by content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The row's own id, a string or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// What the person says.
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

/// A line that is no label.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// Not JSON, or a field is missing or of a wrong type.
    #[error("not a label: {0}; write {{\"key\": …, \"label\": \"accept\" | \"reject\" | \"unsure\"}}")]
    Json(#[from] serde_json::Error),
    /// Nothing says which case is meant.
    #[error("neither `key` nor `id`: nothing says which case is meant")]
    Nameless,
}

impl Label {
    /// Reads one line.
    pub fn from_line(line: &str) -> Result<Self, LabelError> {
        let label: Self = serde_json::from_str(line)?;
        match (&label.key, &label.id) {
            (None, None) => Err(LabelError::Nameless),
            _ => Ok(label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_faults_are_named() {
        let key = Key::of("p", &["t"], "r");
        let line = format!(r#"{{"key": "{key}", "label": "reject", "other": [1]}}"#);
        let label = Label::from_line(&line).unwrap();
        assert_eq!((label.key, label.choice, label.annotator.as_str()), (Some(key), Choice::Reject, ""));
        assert_eq!(Label::from_line(&serde_json::to_string(&label).unwrap()).unwrap(), label);
        assert_eq!(Label::from_line(r#"{"id": 7, "label": "unsure"}"#).unwrap().id, Some(7.into()));
        for (line, word) in [
            (r#"{"label": "accept"}"#, "neither"),
            (r#"{"id": "a", "label": "yes"}"#, "yes"),
            (r#"{"id": "a"}"#, "label"),
            (r#"{"key": "12", "label": "accept"}"#, "32 hexadecimal"),
            ("{", "not a label"),
        ] {
            let error = Label::from_line(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
