//! A file's bytes to fields, a step at a time, so that whoever drives it stays responsive.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wethink_data::{Line, Records};

/// Bytes of a file that is read; a page has 4 GB of memory at most, and the rows are kept in it.
pub const MAX_BYTES: usize = 1 << 30;

/// Records that are looked at for names of columns.
const SAMPLE: usize = 100;

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Beyond [`MAX_BYTES`].
    #[error("{name}: {bytes} bytes, at most {MAX_BYTES} are read; split the file")]
    TooLong {
        /// The file.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// No record has a field.
    #[error("{name}: no rows; JSON lines, a JSON list or CSV with a header are read{first}")]
    Empty {
        /// The file.
        name: String,
        /// The first fault, if there is one.
        first: String,
    },
    /// Its beginning cannot be unpacked.
    #[error("{name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

/// A line of the file that gives no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// From 1.
    pub line: u64,
    /// What is wrong with it, and the fix.
    pub problem: String,
}

/// A file on its way to rows: JSON lines, a JSON list or CSV, plain or gzip.
pub struct Source {
    records: Records<'static>,
    names: Vec<String>,
    csv: bool,
    total: usize,
    read: Arc<AtomicUsize>,
}

impl Source {
    /// Opens a file; its name decides between CSV and JSON.
    ///
    /// # Errors
    /// It is too long, or nothing in its beginning is a record.
    pub fn open(name: &str, bytes: Vec<u8>) -> Result<Self, SourceError> {
        let total = bytes.len();
        if total > MAX_BYTES {
            return Err(SourceError::TooLong { name: name.to_owned(), bytes: total });
        }
        let bytes = Arc::new(bytes);
        let records = |read: &Arc<AtomicUsize>| {
            let tape = Tape { bytes: bytes.clone(), at: 0, read: read.clone() };
            Records::named(name, tape).map_err(|source| SourceError::Read { name: name.to_owned(), source })
        };
        let mut names: Vec<String> = Vec::new();
        let mut first = None;
        for line in records(&Arc::default())?.take(SAMPLE) {
            match line.row {
                Ok(fields) => {
                    for field in fields.keys().filter(|field| !names.contains(field)).collect::<Vec<_>>() {
                        names.push(field.clone());
                    }
                }
                Err(fault) => {
                    first.get_or_insert_with(|| format!("; line {}: {fault}", line.number));
                }
            }
        }
        if names.is_empty() {
            return Err(SourceError::Empty { name: name.to_owned(), first: first.unwrap_or_default() });
        }
        let read = Arc::default();
        // As `Records::named` decides.
        let csv = name.to_lowercase().trim_end_matches(".gz").ends_with(".csv");
        Ok(Self { records: records(&read)?, names, csv, total, read })
    }

    /// Names of columns in the order they come up in the first records.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the file is CSV.
    pub fn is_csv(&self) -> bool {
        self.csv
    }

    /// Share of the bytes read so far, in [0, 1].
    pub fn progress(&self) -> f64 {
        self.read.load(Ordering::Relaxed) as f64 / self.total.max(1) as f64
    }
}

impl Iterator for Source {
    type Item = Line<Map<String, Value>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.next()
    }
}

/// Bytes that tell how far they are read.
struct Tape {
    bytes: Arc<Vec<u8>>,
    at: usize,
    read: Arc<AtomicUsize>,
}

impl Read for Tape {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        self.read.store(self.at, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_first_records_and_progress_ends_at_one() {
        let text = b"{\"a\": 1}\nnot JSON\n{\"b\": 2, \"a\": 3}\n";
        let mut source = Source::open("rows.jsonl", text.to_vec()).unwrap();
        assert_eq!(source.names(), ["a", "b"]);
        let lines: Vec<_> = source.by_ref().map(|line| (line.number, line.row.is_ok())).collect();
        assert_eq!(lines, [(1, true), (2, false), (3, true)]);
        assert_eq!(source.progress(), 1.0);
    }

    #[test]
    fn a_file_without_rows_says_what_is_read_and_what_stands_there() {
        for (name, text) in [("a.jsonl", ""), ("a.jsonl", "hello\n"), ("a.csv", "")] {
            let error = Source::open(name, text.into()).err().expect(text).to_string();
            assert!(error.starts_with(name) && error.contains("JSON lines"), "{error}");
            assert_eq!(error.contains("line 1"), !text.is_empty(), "{error}");
        }
    }
}
