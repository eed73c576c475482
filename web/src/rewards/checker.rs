//! The sheet of the file that is open, a step at a time: the script yields between steps.

use serde::Serialize;
use wasm_bindgen::prelude::*;
use wethink_checker::{Broken, Columns, Format, Names, Sheet, Source};
use wethink_reward::Kind;

use crate::archive::Archive;
use crate::calls::{from_js, request, to_js};

/// Rows between two messages: a few milliseconds of work.
const STEP: usize = 200;

/// What a file offers before its rows are read.
#[derive(Serialize)]
struct Opened<'a> {
    names: &'a [String],
    guess: Columns,
}

/// A file once its rows are read.
#[derive(Serialize)]
struct Read<'a> {
    key: String,
    rows: usize,
    names: Vec<(String, Option<Kind>, usize)>,
    broken: &'a [Broken],
    broken_count: usize,
}

/// A file, its rows, and the pictures they name. One per worker.
#[wasm_bindgen]
#[derive(Default)]
pub struct Checker {
    source: Option<Source>,
    sheet: Sheet,
    folder: Names,
    archive: Option<Archive>,
}

#[wasm_bindgen]
impl Checker {
    /// Without a file.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a file: names of its columns, and what each seems to be.
    pub fn open(&mut self, name: &str, bytes: Vec<u8>) -> Result<JsValue, JsValue> {
        let source = Source::open(name, bytes).map_err(request)?;
        let opened = to_js(&Opened { names: source.names(), guess: Columns::guess(source.names()) });
        self.source = Some(source);
        self.sheet = Sheet::default();
        opened
    }

    /// Begins to read the opened file's rows.
    pub fn begin(&mut self, setup: JsValue) -> Result<(), JsValue> {
        self.sheet = Sheet::new(from_js(setup)?);
        Ok(())
    }

    /// Reads some rows: how far it is, in [0, 1], or nothing at the end.
    pub fn read(&mut self) -> Option<f64> {
        let source = self.source.as_mut()?;
        for _ in 0..STEP {
            match source.next() {
                Some(line) => self.sheet.push(line),
                None => {
                    self.source = None;
                    return None;
                }
            }
        }
        Some(source.progress())
    }

    /// What was read.
    pub fn summary(&self) -> Result<JsValue, JsValue> {
        let (broken, broken_count) = self.sheet.broken();
        let (rows, names) = (self.sheet.len(), self.sheet.names());
        to_js(&Read { key: self.sheet.key().to_string(), rows, names, broken, broken_count })
    }

    /// Changes kinds and policy.
    pub fn set_up(&mut self, setup: JsValue) -> Result<(), JsValue> {
        self.sheet.set_up(from_js(setup)?);
        Ok(())
    }

    /// Scores some rows: how far it is, in [0, 1], or nothing at the end.
    pub fn score(&mut self) -> Option<f64> {
        let left = self.sheet.score(STEP);
        left.then(|| self.sheet.scored() as f64 / self.sheet.len().max(1) as f64)
    }

    /// Counts and agreement.
    pub fn stats(&self) -> Result<JsValue, JsValue> {
        to_js(&self.sheet.stats())
    }

    /// Shows the rows that fit; how many do.
    pub fn filter(&mut self, filter: JsValue) -> Result<usize, JsValue> {
        Ok(self.sheet.filter(from_js(filter)?))
    }

    /// Place of a row among those shown.
    pub fn place(&self, row: usize) -> Option<usize> {
        self.sheet.place(row)
    }

    /// The next place that has what is looked for.
    pub fn seek(&self, place: usize, forward: bool, what: JsValue) -> Result<Option<usize>, JsValue> {
        Ok(self.sheet.seek(place, forward, from_js(what)?))
    }

    /// Lines of the list.
    pub fn window(&self, from: usize, count: usize) -> Result<JsValue, JsValue> {
        to_js(&self.sheet.window(from, count))
    }

    /// Everything of the row at a place, or null.
    pub fn detail(&self, place: usize) -> Result<JsValue, JsValue> {
        to_js(&self.sheet.detail(place))
    }

    /// Verifies one row as another kind.
    pub fn set_kind(&mut self, row: usize, kind: JsValue) -> Result<(), JsValue> {
        self.sheet.set_kind(row, from_js(kind)?);
        Ok(())
    }

    /// Labels a row or takes its label back; the rows of the same case.
    pub fn mark(&mut self, row: usize, mark: JsValue) -> Result<JsValue, JsValue> {
        to_js(&self.sheet.mark(row, from_js(mark)?))
    }

    /// Puts stored labels back, lines of JSON; how many found a row.
    pub fn restore(&mut self, lines: Vec<String>) -> usize {
        // A line that this version cannot read is left where it is stored.
        let labels = lines.iter().filter_map(|line| wethink_reward::Label::from_line(line).ok());
        self.sheet.restore(labels.collect())
    }

    /// Takes a second annotator's labels.
    pub fn second(&mut self, name: &str, bytes: Vec<u8>) -> Result<JsValue, JsValue> {
        to_js(&self.sheet.second(name, bytes).map_err(request)?)
    }

    /// Drops the second annotator's labels.
    pub fn no_second(&mut self) {
        self.sheet.no_second();
    }

    /// The labelled rows as a file.
    pub fn export(&self, format: JsValue) -> Result<String, JsValue> {
        Ok(self.sheet.export(from_js::<Format>(format)?))
    }

    /// Takes the names of a folder's files, in the order that `picture` counts them in.
    pub fn folder(&mut self, names: Vec<String>) {
        self.folder = Names::new(names);
        self.archive = None;
    }

    /// Takes a zip; the number of its files.
    pub fn archive(&mut self, file: web_sys::File) -> Result<usize, JsValue> {
        let archive = Archive::open(file).map_err(request)?;
        let files = archive.len();
        self.archive = Some(archive);
        Ok(files)
    }

    /// The picture that a path means: its bytes from the zip, its number in the folder, or nothing.
    pub fn picture(&mut self, path: &str) -> Result<JsValue, JsValue> {
        match &mut self.archive {
            Some(archive) => {
                let bytes = archive.picture(path).map_err(request)?;
                Ok(bytes.map_or(JsValue::NULL, |bytes| js_sys::Uint8Array::from(&bytes[..]).into()))
            }
            None => Ok(self.folder.find(path).map_or(JsValue::NULL, Into::into)),
        }
    }
}
