//! A file of rows with a bar that shows how far it is read, and the pictures beside it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use wethink_data::{Archive, Format, Line, Pictures, Records, Row};
use wethink_processor::Picture;

use crate::progress::{self, Bytes};

/// Rows that are worked on at a time: enough for every core, few enough for any memory.
const BATCH: usize = 256;

/// Reads a file in batches.
pub(super) struct Source {
    records: Records<'static>,
    read: Arc<AtomicU64>,
    bytes: u64,
    bar: Bytes,
}

/// Counts the file's own bytes, which with gzip are fewer than those of its rows.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Source {
    /// Opens `--data`; `what` is written before the bar.
    pub fn open(path: &Path, what: &'static str) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            let read = Arc::new(AtomicU64::new(0));
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let records = Records::named(&name, Counted { file, read: Arc::clone(&read) })?;
            Ok(Self { records, read, bytes, bar: progress::bytes(what) })
        };
        open().with_context(|| format!("--data {}: cannot be read", path.display()))
    }

    /// The next rows; none at the end.
    pub fn batch(&mut self) -> Vec<Line<Map<String, Value>>> {
        let batch: Vec<_> = self.records.by_ref().take(BATCH).collect();
        self.bar.at(self.read.load(Ordering::Relaxed), self.bytes);
        if batch.is_empty() {
            self.bar.finish();
        }
        batch
    }

    /// Lets `print` write lines that the bar does not overwrite.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.aside(print)
    }
}

/// A record in the form that its fields tell, with that form.
pub(super) fn row(fields: Map<String, Value>) -> Result<(Format, Row), wethink_data::Fault> {
    let format = Format::of(&fields);
    format.read(fields).map(|row| (format, row))
}

/// Opens `--images`, with a bar while a large archive is read for the first time.
pub(super) fn pictures(path: &Path) -> Result<Pictures> {
    let open = || {
        if path.is_dir() {
            return Pictures::open(path);
        }
        let bar = progress::bytes("reading the archive's directory, once");
        let archive = Archive::open_with(path, &mut |done, all| bar.at(done, all));
        bar.finish();
        archive.map(|archive| Pictures::Archive(Box::new(archive)))
    };
    open().with_context(|| format!("--images {}", path.display()))
}

/// A row's pictures, decoded.
pub(super) fn decoded(row: &Row, pictures: &Pictures) -> Result<Vec<Picture>> {
    let one = |name: &String| Ok(Picture::decode(name, &pictures.read(name)?)?);
    row.images().iter().map(one).collect()
}
