//! A second annotator's labels: the file that the checker itself exports, from somebody else.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wethink_reward::Label;

use crate::export::unguarded;
use crate::row::text_of;
use crate::sheet::{Mark, Sheet};
use crate::source::{Source, SourceError};

/// What an import gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// Labels that found a row.
    pub matched: usize,
    /// Labels that found none.
    pub unmatched: usize,
    /// The annotators they name.
    pub annotators: Vec<String>,
    /// Lines that are no labels, the first of them with what is wrong.
    pub broken: usize,
    /// The first such line and its fault.
    pub first: Option<(u64, String)>,
}

impl Sheet {
    /// Takes a second annotator's labels, JSON lines or CSV, in place of those before. A later line about a case replaces
    /// an earlier one.
    ///
    /// # Errors
    /// Nothing in the file is a record.
    pub fn second(&mut self, name: &str, bytes: Vec<u8>) -> Result<Imported, SourceError> {
        let source = Source::open(name, bytes)?;
        let csv = source.is_csv();
        self.seconds.fill(None);
        let mut imported = Imported::default();
        let ids = self.ids();
        for line in source {
            let label = line.row.map_err(|fault| fault.to_string()).and_then(|fields| {
                let text = Value::Object(fields).to_string();
                Label::from_line(&text).map_err(|error| error.to_string())
            });
            let label = match label {
                Ok(label) => label,
                Err(problem) => {
                    imported.broken += 1;
                    imported.first.get_or_insert((line.number, problem));
                    continue;
                }
            };
            let rows = match (&label.key, &label.id) {
                (Some(key), _) => self.rows_of(*key).to_vec(),
                (None, Some(id)) => ids.get(&text_of(id.clone())).cloned().unwrap_or_default(),
                (None, None) => Vec::new(),
            };
            match rows.is_empty() {
                true => imported.unmatched += 1,
                false => imported.matched += 1,
            }
            if !label.annotator.is_empty() && !imported.annotators.contains(&label.annotator) {
                imported.annotators.push(label.annotator.clone());
            }
            let mut mark = Mark::of(label);
            if csv {
                mark.note = unguarded(mark.note);
            }
            for index in rows {
                self.seconds[index as usize] = Some(Box::new(mark.clone()));
            }
        }
        Ok(imported)
    }

    /// Drops the second annotator's labels.
    pub fn no_second(&mut self) {
        self.seconds.fill(None);
    }

    fn ids(&self) -> HashMap<String, Vec<u32>> {
        let mut ids = HashMap::<String, Vec<u32>>::new();
        for (index, row) in self.rows.iter().enumerate() {
            if let Some(id) = &row.id {
                ids.entry(text_of(id.clone())).or_default().push(index as u32);
            }
        }
        ids
    }
}
