//! Records to JSON lines, plain or gzip.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};

/// Writes a file beside its place; only [`Writer::finish`] puts it there, so that no reader meets half of it.
pub struct Writer {
    out: Output,
    path: PathBuf,
    part: PathBuf,
}

enum Output {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

impl Writer {
    /// Starts a file; gzip if its name ends in `.gz`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let part = path.with_added_extension("part");
        let file = BufWriter::new(File::create(&part)?);
        let out = match path.extension().is_some_and(|extension| extension == "gz") {
            true => Output::Gzip(Box::new(GzEncoder::new(file, Compression::default()))),
            false => Output::Plain(file),
        };
        Ok(Self { out, path: path.to_owned(), part })
    }

    /// Writes one record on a line of its own.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, record: &Map<String, Value>) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        match &mut self.out {
            Output::Plain(out) => out.write_all(&line),
            Output::Gzip(out) => out.write_all(&line),
        }
    }

    /// Completes the file and puts it in its place.
    ///
    /// # Errors
    /// The file cannot be written or renamed.
    pub fn finish(self) -> io::Result<()> {
        let file = match self.out {
            Output::Plain(out) => out,
            Output::Gzip(out) => out.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&self.part, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Line, Row, open};

    #[test]
    fn what_is_written_is_read_and_an_unfinished_file_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["rows.jsonl", "rows.jsonl.gz"] {
            let path = folder.path().join(name);
            let mut writer = Writer::create(&path).unwrap();
            let rows = ["a\nb", "ö"].map(|problem| Row::new(problem, "4"));
            for row in &rows {
                writer.write(&row.to_fields()).unwrap();
            }
            assert!(!path.exists());
            writer.finish().unwrap();
            let read: Vec<Line> = open(&path).unwrap().collect();
            let wanted = [1, 2].map(|number| Line { number, row: Ok(rows[number as usize - 1].clone()) });
            assert_eq!(read, wanted);
            let gzip = std::fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]);
            assert_eq!(gzip, name.ends_with(".gz"));
        }
    }
}
