//! CSV with a header to records: what spreadsheets export.
//!
//! A header cell that is a field of the record but for case and blanks around it is that field; others keep their name.
//! Cells are strings; an empty cell is an absent field.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

use crate::chunks::MAX_LINE;
use crate::{Fault, Line};

/// Fields whose names are matched without case; `pred` and its kin are those of files with responses.
const FIELDS: [&str; 16] = [
    "problem",
    "answer",
    "category",
    "abilities",
    "refined_cot",
    "image_path",
    "reward",
    "system",
    "id",
    "kind",
    "gold",
    "golds",
    "pred",
    "response",
    "choices",
    "expected",
];

pub(crate) struct CsvRecords<R> {
    reader: csv::Reader<Metered<io::Chain<R, &'static [u8]>>>,
    header: Option<Vec<String>>,
}

impl<R: BufRead> CsvRecords<R> {
    pub(crate) fn new(input: R) -> Self {
        // Every record then ends with a line feed, from which the line it starts on is counted back.
        let input = Metered { input: input.chain(&b"\n"[..]), left: MAX_LINE };
        let mut reader = csv::ReaderBuilder::new();
        reader.has_headers(false).flexible(true).terminator(csv::Terminator::Any(b'\n'));
        Self { reader: reader.from_reader(input), header: None }
    }

    pub(crate) fn next(&mut self) -> Option<Line<Map<String, Value>>> {
        if self.header.is_none() {
            match self.record()? {
                Line { row: Ok(cells), number } => match header(&cells) {
                    Ok(names) => self.header = Some(names),
                    Err(fault) => return Some(Line { number, row: Err(fault) }),
                },
                Line { row: Err(fault), number } => return Some(Line { number, row: Err(fault) }),
            }
        }
        let Line { number, row } = self.record()?;
        let names = self.header.as_deref().unwrap_or_default();
        Some(Line { number, row: row.and_then(|cells| fields(names, cells)) })
    }

    fn record(&mut self) -> Option<Line<Vec<String>>> {
        loop {
            self.reader.get_mut().left = MAX_LINE;
            let mut record = csv::ByteRecord::new();
            let found = self.reader.read_byte_record(&mut record);
            let next = self.reader.position().line();
            match found {
                Ok(false) => return None,
                // The reader stands inside a record that has no end: what follows cannot be told from its cells.
                Err(error) => return Some(Line { number: next, row: Err(Fault::Read(error.to_string())) }),
                Ok(true) if record.len() == 1 && &record[0] == b"\r" => {}
                Ok(true) => {
                    let inside = record.as_slice().iter().filter(|&&byte| byte == b'\n').count() as u64;
                    return Some(Line { number: next.saturating_sub(1 + inside), row: texts(&record) });
                }
            }
        }
    }
}

fn texts(record: &csv::ByteRecord) -> Result<Vec<String>, Fault> {
    let last = record.len().saturating_sub(1);
    let text = |(i, cell): (usize, &[u8])| {
        // Lines end with a line feed or a carriage return and one.
        let cell = if i == last { cell.strip_suffix(b"\r").unwrap_or(cell) } else { cell };
        let text = std::str::from_utf8(cell).map_err(|e| Fault::NotUtf8 { byte: e.valid_up_to() });
        text.map(str::to_owned)
    };
    record.iter().enumerate().map(text).collect()
}

/// A header at fault ends the file: without names no cell can be read.
fn header(cells: &[String]) -> Result<Vec<String>, Fault> {
    let name = |cell: &String| {
        let folded = cell.trim().to_lowercase().replace([' ', '-'], "_");
        FIELDS
            .iter()
            .find(|&&field| field == folded)
            .map_or_else(|| cell.trim().to_owned(), |&f| f.to_owned())
    };
    let names: Vec<String> = cells.iter().map(name).collect();
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() || names[..i].contains(name) {
            let problem = format!("column {} of the header is {name:?}, empty or there twice", i + 1);
            return Err(Fault::Read(problem));
        }
    }
    Ok(names)
}

fn fields(names: &[String], cells: Vec<String>) -> Result<Map<String, Value>, Fault> {
    if cells.len() != names.len() {
        return Err(Fault::Columns { found: cells.len(), wanted: names.len() });
    }
    let filled = names.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
    Ok(filled.map(|(name, cell)| (name.clone(), Value::String(cell))).collect())
}

/// Lets a record take so many bytes and no more: one forgotten quote would otherwise read the whole file into memory.
struct Metered<R> {
    input: R,
    left: usize,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(Fault::TooLong { max: MAX_LINE }));
        }
        let count = buffer.len().min(self.left);
        let read = self.input.read(&mut buffer[..count])?;
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Records, Row};

    fn rows(text: &str) -> Vec<Line> {
        Records::csv(text.as_bytes()).unwrap().rows().collect()
    }

    #[test]
    fn header_names_match_fields_and_others_are_kept() {
        let text = "\u{feff} Problem ,ANSWER,Refined CoT,Remark\r\n\"a, \"\"b\"\"\nc\",4,,x\nq,5,so,\n";
        let lines = rows(text);
        let mut first = Row::new("a, \"b\"\nc", "4");
        first.extra.insert("Remark".into(), "x".into());
        let mut second = Row::new("q", "5");
        second.refined_cot = Some("so".into());
        assert_eq!(lines[0], Line { number: 2, row: Ok(first) });
        assert_eq!(lines[1], Line { number: 4, row: Ok(second) });
    }

    #[test]
    fn faults_carry_their_line_and_the_rest_is_read() {
        let lines = rows("\nproblem,answer\r\nq,4,5\n\r\n,4\nq,4");
        assert_eq!(lines[0], Line { number: 3, row: Err(Fault::Columns { found: 3, wanted: 2 }) });
        assert!(lines[1].row.as_ref().unwrap_err().to_string().contains("`problem`"));
        assert_eq!(lines[2], Line { number: 6, row: Ok(Row::new("q", "4")) });
        let bytes = b"problem,answer\nq\xff,4\nq,4\n";
        let lines: Vec<Line> = Records::csv(&bytes[..]).unwrap().rows().collect();
        assert_eq!((lines[0].number, &lines[0].row), (2, &Err(Fault::NotUtf8 { byte: 1 })));
        assert!(lines[1].row.is_ok());
    }

    #[test]
    fn a_header_at_fault_and_a_quote_without_end_stop_the_file() {
        for text in ["problem,problem\nq,4\n", "problem,\nq,4\n"] {
            let lines = rows(text);
            assert!(lines.len() == 1 && lines[0].row.as_ref().unwrap_err().to_string().contains("column 2"));
        }
        let lines = rows(&format!("problem,answer\nq,4\n\"{}", "x".repeat(MAX_LINE * 2)));
        assert_eq!(lines.len(), 2);
        assert!(lines[1].row.as_ref().unwrap_err().to_string().contains("quote missing"), "{:?}", lines[1]);
    }
}
