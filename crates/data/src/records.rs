//! Files to records: plain or gzip, JSON lines, a JSON list or CSV, told apart by their first bytes and their name.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::chunks::Chunks;
use crate::csv_records::CsvRecords;
use crate::{Fault, Format, Row};

type Input<'a> = Box<dyn BufRead + Send + 'a>;

/// What one line of a file gave. For a list or CSV it is the line on which the record starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<T = Row> {
    /// From 1.
    pub number: u64,
    /// The row, or why there is none.
    pub row: Result<T, Fault>,
}

/// The records of a file as JSON objects, whatever their fields; an iterator that never fails and never holds more than
/// one record.
pub struct Records<'a>(Kind<'a>);

enum Kind<'a> {
    Json { chunks: Chunks<Input<'a>>, record: Vec<u8> },
    Csv(Box<CsvRecords<Input<'a>>>),
    Ended,
}

impl<'a> Records<'a> {
    /// JSON lines or a JSON list, plain or gzip.
    ///
    /// # Errors
    /// The first bytes cannot be read.
    pub fn json(input: impl Read + Send + 'a) -> io::Result<Self> {
        Ok(Self(Kind::Json { chunks: Chunks::new(decoded(input)?), record: Vec::new() }))
    }

    /// CSV with a header, plain or gzip; every cell is a string, empty ones are absent.
    ///
    /// # Errors
    /// The first bytes cannot be read. A header that is no header is the first record's fault.
    pub fn csv(input: impl Read + Send + 'a) -> io::Result<Self> {
        Ok(Self(Kind::Csv(Box::new(CsvRecords::new(decoded(input)?)))))
    }

    /// CSV if the file's name ends in `.csv` or `.csv.gz`, else JSON.
    ///
    /// # Errors
    /// As [`Records::json`].
    pub fn named(name: &str, input: impl Read + Send + 'a) -> io::Result<Self> {
        let name = name.to_lowercase();
        match name.trim_end_matches(".gz").ends_with(".csv") {
            true => Self::csv(input),
            false => Self::json(input),
        }
    }

    /// The records as rows; each record's [`Format`] is told from its fields.
    pub fn rows(self) -> Rows<'a> {
        Rows(self)
    }
}

impl Iterator for Records<'_> {
    type Item = Line<Map<String, Value>>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match &mut self.0 {
            Kind::Json { chunks, record } => {
                let (number, found) = chunks.next(record)?;
                Line { number, row: found.and_then(|()| parse(record)) }
            }
            Kind::Csv(records) => records.next()?,
            Kind::Ended => return None,
        };
        if matches!(line.row, Err(Fault::Read(_))) {
            self.0 = Kind::Ended;
        }
        Some(line)
    }
}

/// The rows of a file.
pub struct Rows<'a>(Records<'a>);

impl Iterator for Rows<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let Line { number, row } = self.0.next()?;
        Some(Line { number, row: row.and_then(|fields| Format::of(&fields).read(fields)) })
    }
}

/// The rows of a file on disk.
///
/// # Errors
/// The file cannot be opened or its first bytes not read.
#[cfg(not(target_arch = "wasm32"))]
pub fn open(path: &std::path::Path) -> io::Result<Rows<'static>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Records::named(&name, std::fs::File::open(path)?).map(Records::rows)
}

/// Unpacks gzip, told by its magic bytes and never by a name, and drops a byte order mark.
fn decoded<'a>(mut input: impl Read + Send + 'a) -> io::Result<Input<'a>> {
    let head = head(&mut input, 2)?;
    let gzip = head == [0x1f, 0x8b];
    let raw = BufReader::with_capacity(1 << 16, Cursor::new(head).chain(input));
    let mut text: Input<'a> = match gzip {
        true => Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(raw))),
        false => Box::new(raw),
    };
    // A gzip stream that is cut in its first bytes is the first record's fault, like one that is cut later.
    match head_of_text(&mut text) {
        Ok(mark) if mark == [0xef, 0xbb, 0xbf] => Ok(text),
        Ok(start) => Ok(Box::new(Cursor::new(start).chain(text))),
        Err(error) if gzip => Ok(Box::new(BufReader::new(Broken(Some(error))))),
        Err(error) => Err(error),
    }
}

fn head_of_text(text: &mut Input<'_>) -> io::Result<Vec<u8>> {
    head(text, 3)
}

/// Up to `count` bytes, fewer only at the end.
fn head(input: &mut impl Read, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A stream that is nothing but its error.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

fn parse(record: &[u8]) -> Result<Map<String, Value>, Fault> {
    let text = std::str::from_utf8(record).map_err(|e| Fault::NotUtf8 { byte: e.valid_up_to() })?;
    let Fields(fields) =
        serde_json::from_str(text.trim_end()).map_err(|e| Fault::NotAnObject(e.to_string()))?;
    Ok(fields)
}

/// An object in which no field stands twice: of two answers neither is the truth.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("field `{name}` stands twice")));
                    }
                    fields.insert(name, value);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::MAX_LINE;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn rows(bytes: &[u8]) -> Vec<Line> {
        Records::json(bytes).unwrap().rows().collect()
    }

    fn fault(bytes: &[u8]) -> String {
        rows(bytes)[0].row.as_ref().unwrap_err().to_string()
    }

    const GOOD: &str = "{\"problem\": \"q\", \"answer\": \"4\"}";

    #[test]
    fn plain_and_gzip_in_several_members_with_marks_and_crlf_give_the_same_rows() {
        let plain = format!("\u{feff}{GOOD}\r\n\r\n{GOOD}\r\n");
        let wanted = [1, 3].map(|number| Line { number, row: Ok(Row::new("q", "4")) });
        assert_eq!(rows(plain.as_bytes()), wanted);
        assert_eq!(rows(&gzip(plain.as_bytes())), wanted);
        let (a, b) = plain.as_bytes().split_at(9);
        assert_eq!(rows(&[gzip(a), gzip(b)].concat()), wanted);
        assert_eq!(rows(&gzip(b"")), []);
    }

    #[test]
    fn a_cut_gzip_gives_its_rows_and_then_one_fault() {
        let whole = gzip(format!("{GOOD}\n").repeat(2000).as_bytes());
        for cut in [2, 5, whole.len() - 12] {
            let lines = rows(&whole[..cut]);
            let (last, before) = lines.split_last().expect("a fault");
            assert!(matches!(last.row, Err(Fault::Read(_))), "{cut}: {last:?}");
            assert!(before.iter().all(|line| line.row.is_ok()), "{cut}");
        }
    }

    #[test]
    fn hostile_lines_are_faults_with_a_reason_and_the_rest_is_read() {
        let deep = "[".repeat(100_000);
        let cases: [(&[u8], &str); 9] = [
            (b"{\"problem\": \"q\", \"ans", "EOF while parsing a string"),
            (b"{\"problem\": \"q\", \"answer\": 1e999}", "number out of range"),
            (b"{\"problem\": \"q\\u0000\0\", \"answer\": \"a\"}", "control character"),
            (b"{\"problem\": \"q\xff\", \"answer\": \"a\"}", "not UTF-8 from byte 14"),
            (b"{\"problem\": \"q\", \"problem\": \"r\", \"answer\": \"a\"}", "field `problem` stands twice"),
            (b"5", "invalid type: integer `5`, expected an object"),
            (b"{\"problem\": \"\\ud800\", \"answer\": \"a\"}", "unexpected end of hex escape"),
            (b"{} {}", "trailing characters"),
            (b"{\"problem\": \"q\", \"answer\": [", "EOF"),
        ];
        for (line, reason) in cases {
            let file = [line, b"\n", GOOD.as_bytes()].concat();
            let lines = rows(&file);
            let fault = lines[0].row.as_ref().unwrap_err().to_string();
            assert!(fault.contains(reason), "{}: {fault}", String::from_utf8_lossy(line));
            assert_eq!(lines[1], Line { number: 2, row: Ok(Row::new("q", "4")) });
        }
        assert!(fault(format!("{{\"problem\": {deep}").as_bytes()).contains("recursion"));
    }

    #[test]
    fn a_gzip_bomb_of_one_line_is_one_fault() {
        let bomb = gzip(&vec![b' '; MAX_LINE + 100]);
        let mut lines = Records::json(&bomb[..]).unwrap();
        assert!(lines.next().is_none(), "blanks are no record");
        let bomb = gzip(&vec![b'x'; 2 * MAX_LINE]);
        let lines = rows(&bomb);
        assert_eq!((lines.len(), lines[0].row.clone()), (1, Err(Fault::TooLong { max: MAX_LINE })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>) {
            for line in Records::json(&bytes[..]).unwrap().rows().chain(Records::csv(&bytes[..]).unwrap().rows()) {
                if let Ok(row) = line.row {
                    row.parts();
                    row.faults();
                }
            }
        }

        #[test]
        fn bytes_changed_in_a_good_file_are_judged(at in 0..200usize, byte: u8) {
            let mut file = format!("[{{\"conversations\": [{{\"from\": \"human\", \"value\": \"<image>q\"}}, {{\"from\": \"gpt\", \"value\": \"a\"}}], \"images\": [\"a.png\"]}},\n{GOOD}]").into_bytes();
            let at = at % file.len();
            file[at] = byte;
            for line in rows(&file) {
                if let Ok(row) = line.row { row.parts(); }
            }
        }
    }
}
