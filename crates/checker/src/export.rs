//! Labels as files: JSON lines, which `trainer score --labels` reads, and CSV for spreadsheets.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::sheet::{Outcome, Sheet};

/// The two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON lines.
    Jsonl,
    /// CSV with a header.
    Csv,
}

/// Columns of the CSV, and fields of the JSON lines.
pub const COLUMNS: [&str; 11] =
    ["key", "id", "line", "kind", "verdict", "score", "reward", "label", "note", "annotator", "time"];

impl Sheet {
    /// The labelled rows in the order of the file.
    pub fn export(&self, format: Format) -> String {
        let labelled = (0..self.len()).filter_map(|index| self.labelled(index));
        match format {
            Format::Jsonl => labelled.map(|row| format!("{row}\n")).collect(),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                let header = std::iter::once(COLUMNS.map(str::to_owned));
                let cell = |value: &Value| match value {
                    Value::Null => String::new(),
                    Value::String(text) => guarded(text),
                    other => other.to_string(),
                };
                let cells = labelled.map(|row| COLUMNS.map(|name| cell(&row[name])));
                for record in header.chain(cells) {
                    // Writing to memory cannot fail, and every record has the same length.
                    let _ = writer.write_record(&record);
                }
                let bytes = writer.into_inner().unwrap_or_default();
                String::from_utf8(bytes).unwrap_or_default()
            }
        }
    }

    fn labelled(&self, index: usize) -> Option<Value> {
        let mark = self.marks[index].as_deref()?;
        let row = &self.rows[index];
        let (score, reward) = match self.outcomes[index] {
            Outcome::Scored { score, reward, .. } => (Some(score), reward),
            _ => (None, None),
        };
        let mut fields = json!({
            "key": row.key.to_string(),
            "line": row.line,
            "kind": self.kind_name(index),
            "verdict": self.verdict(index).name(),
            "score": score,
            "reward": reward,
            "label": mark.choice,
            "note": mark.note,
            "annotator": mark.annotator,
            "time": mark.time,
        });
        if let Some(id) = &row.id {
            fields["id"] = id.clone();
        }
        Some(fields)
    }
}

/// Whether a spreadsheet would run it as a formula, once apostrophes before it are gone.
fn formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// An apostrophe before what looks like a formula makes it text.
fn guarded(text: &str) -> String {
    if formula(text) { format!("'{text}") } else { text.to_owned() }
}

/// A cell as it was before [`guarded`].
pub(crate) fn unguarded(text: String) -> String {
    match text.strip_prefix('\'') {
        Some(rest) if formula(rest) => rest.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_looks_like_a_formula_comes_back_as_it_was() {
        for note in ["=1+1", "-1", "'=quoted", "plain", "'tis", "'", ""] {
            assert_eq!(unguarded(guarded(note)), note);
        }
        assert_eq!(guarded("=HYPERLINK(1)"), "'=HYPERLINK(1)");
    }
}
