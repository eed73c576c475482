//! `metrics.jsonl`: one object a line, in the order of steps. After a resume the file is what it would be without the
//! interruption, but for times.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

/// The file, open for appending.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file of a run that has done `step` steps: lines of later steps, and a last one cut short, are dropped.
    pub fn open(path: &Path, step: u64) -> Result<Self> {
        let open = || -> Result<File> {
            if path.exists() {
                keep_until(path, step)?;
            }
            Ok(OpenOptions::new().create(true).append(true).open(path)?)
        };
        let file = open().with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends one line.
    pub fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text).with_context(|| self.path.display().to_string())
    }

    /// Makes sure that what was written stays.
    pub fn flush(&self) -> Result<()> {
        self.file.sync_all().with_context(|| self.path.display().to_string())
    }
}

/// Lines of a metrics file; one cut short ends it.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let context = || path.display().to_string();
    let mut whole = Vec::new();
    for line in BufReader::new(File::open(path).with_context(context)?).split(b'\n') {
        let line = line.with_context(context)?;
        match serde_json::from_slice(&line) {
            Ok(value) => whole.push(value),
            Err(_) => break,
        }
    }
    Ok(whole)
}

/// Lines are copied as they stand: a number read and written again may differ in its last digit. One at a time: the responses
/// of a long run fill no memory.
fn keep_until(path: &Path, step: u64) -> Result<()> {
    let part = path.with_added_extension("part");
    let mut kept = BufWriter::new(File::create(&part)?);
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        let line = line?;
        let at = serde_json::from_slice(&line).ok().and_then(|value: Value| value["step"].as_u64());
        if at.is_none_or(|at| at > step) {
            break;
        }
        kept.write_all(&line)?;
        kept.write_all(b"\n")?;
    }
    kept.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    Ok(std::fs::rename(&part, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resumed_file_continues_after_the_checkpoint() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 0).expect("opened");
        for step in 1..=4 {
            metrics.write(&json!({"step": step, "loss": 0.1 + f64::from(step)})).expect("written");
        }
        let before = std::fs::read_to_string(&path).expect("the file");
        metrics.file.write_all(b"{\"step\": 5, \"lo").expect("written");
        drop(metrics);
        let mut metrics = Metrics::open(&path, 2).expect("opened");
        for step in 3..=4 {
            metrics.write(&json!({"step": step, "loss": 0.1 + f64::from(step)})).expect("written");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), before);
    }
}
