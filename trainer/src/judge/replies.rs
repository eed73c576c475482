//! Replies on disk, by the content of what was asked: what is there is neither asked nor paid again.
//!
//! JSON lines, appended as replies come and never rewritten. A line is in the system's hands before its reply is used, so that
//! a killed process loses none, and on the disk within a batch, so that a power cut loses few. A last line that was cut off is
//! dropped when the file is opened; any other that cannot be read is passed over, and asked again. Replies in other words
//! than those asked for are kept like all others: they were paid for, and the same judge would give them again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::budget::Tokens;

/// Lines between two that wait for the disk.
const BATCH: usize = 64;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    reply: String,
    /// What all asking had cost by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paid: Option<Tokens>,
}

#[derive(Debug)]
struct Book {
    known: HashMap<String, String>,
    file: File,
    unsynced: usize,
}

/// The replies of one output file.
#[derive(Debug)]
pub struct Replies {
    path: PathBuf,
    book: Mutex<Book>,
    /// Lines that could not be read.
    pub unreadable: usize,
    /// The most that had been paid by any line.
    pub paid: Tokens,
}

/// The key of what is asked: SHA-256 over all that decides the reply, each part preceded by its length.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Replies {
    /// Opens or begins a file. Two runs on one file would pay for the same replies: the second is refused.
    pub fn open(path: &Path) -> Result<Self> {
        let name = || format!("{}: replies cannot be kept", path.display());
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).with_context(name)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{}: another run writes to it", path.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(name),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(name)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).with_context(name)?;
        }
        let mut known = HashMap::new();
        let (mut unreadable, mut total) = (0, Tokens::default());
        for line in bytes[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Line>(line) {
                Ok(Line { key, reply, paid }) => {
                    // Asks that end together may be written in another order than they were paid in.
                    let paid = paid.unwrap_or_default();
                    total.input = total.input.max(paid.input);
                    total.output = total.output.max(paid.output);
                    known.insert(key, reply);
                }
                Err(_) => unreadable += 1,
            }
        }
        let book = Mutex::new(Book { known, file, unsynced: 0 });
        Ok(Self { path: path.to_owned(), book, unreadable, paid: total })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing in this file panics while it holds the lock.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply that is known.
    pub fn get(&self, key: &str) -> Option<String> {
        self.book().known.get(key).cloned()
    }

    /// Keeps a reply, and what all asking has cost up to it, where asking costs anything.
    pub fn put(&self, key: &str, reply: &str, paid: Option<Tokens>) -> Result<()> {
        let line = Line { key: key.to_owned(), reply: reply.to_owned(), paid };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        let mut book = self.book();
        // One write: lines of a killed process are whole, or the last is cut off.
        let written = book.file.write_all(&bytes);
        book.unsynced += 1;
        let synced = if book.unsynced >= BATCH { book.sync() } else { Ok(()) };
        book.known.insert(line.key, line.reply);
        written.and(synced).with_context(|| format!("{}: a reply cannot be kept", self.path.display()))
    }

    /// Waits until everything is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.book().sync().with_context(|| format!("{}: cannot be written", self.path.display()))
    }
}

impl Book {
    fn sync(&mut self) -> std::io::Result<()> {
        self.unsynced = 0;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_outlive_the_run_and_a_cut_off_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("replies.jsonl");
        let replies = Replies::open(&path).expect("begun");
        let paid = |input| Some(Tokens { input, output: 1 });
        replies.put("a", "Yes", paid(5)).expect("kept");
        replies.put("b", "No\nand \"more\"", paid(9)).expect("kept");
        assert!(Replies::open(&path).expect_err("in use").to_string().contains("another run"));
        drop(replies);
        let whole = std::fs::read(&path).expect("the file");
        let half = br#"{"key":"c","rep"#;
        std::fs::write(&path, [&whole, b"not a line\n".as_slice(), half].concat()).expect("written");

        let replies = Replies::open(&path).expect("opened");
        assert_eq!(replies.unreadable, 1);
        assert_eq!(replies.get("a").as_deref(), Some("Yes"));
        assert_eq!(replies.get("b").as_deref(), Some("No\nand \"more\""));
        assert_eq!(replies.get("c"), None);
        assert_eq!(Some(replies.paid), paid(9));
        replies.put("c", "Yes", None).expect("kept");
        drop(replies);
        let replies = Replies::open(&path).expect("opened");
        assert_eq!((replies.get("c").as_deref(), replies.unreadable), (Some("Yes"), 1));
    }

    #[test]
    fn keys_tell_parts_apart() {
        let of = |parts: &[&str]| key(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_eq!(of(&["a"]).len(), 64);
    }
}
