//! One stream of bytes over the files that `split` cut it into.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::PictureError;

const FETCH: &str = "fetch the missing or damaged part again";

/// Files that follow each other without a gap, read as one. Reads carry their place, so any number of threads share it.
#[derive(Debug)]
pub struct Parts {
    parts: Vec<Part>,
    len: u64,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    start: u64,
    len: u64,
    modified: SystemTime,
}

impl Parts {
    /// The file at `path`, or the parts `NAME.part-aa`, `-ab`, … that it is one of or the name of.
    ///
    /// # Errors
    /// As [`Parts::of`]; nothing of that name exists.
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        let io = |source| PictureError::Io { path: path.to_owned(), source };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && suffix(&name).is_none() {
            return Self::of(&[path.to_owned()]);
        }
        let stem = suffix(&name).map_or(name.as_str(), |(stem, _)| stem);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            if suffix(&entry.file_name().to_string_lossy()).is_some_and(|(other, _)| other == stem) {
                found.push(entry.path());
            }
        }
        match found.is_empty() {
            true => Err(io(io::Error::new(io::ErrorKind::NotFound, "no such file, and no parts of it"))),
            false => Self::of(&found),
        }
    }

    /// The files given, in the order of their names whatever the order given.
    ///
    /// # Errors
    /// A part is missing between others or at the start, is not as long as the first (only the last may differ), or
    /// cannot be opened; by its path.
    pub fn of(paths: &[PathBuf]) -> Result<Self, PictureError> {
        let mut paths = paths.to_vec();
        // Suffixes of one length sort as letters do.
        paths.sort();
        let mut parts: Vec<Part> = Vec::with_capacity(paths.len());
        for (i, path) in paths.iter().enumerate() {
            if paths.len() > 1 || suffix(&name_of(path)).is_some() {
                check_sequence(path, i)?;
            }
            let io = |source| PictureError::Io { path: path.clone(), source };
            let file = File::open(path).map_err(io)?;
            let data = file.metadata().map_err(io)?;
            let modified = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let start = parts.last().map_or(0, |part| part.start + part.len);
            parts.push(Part { path: path.clone(), file, start, len: data.len(), modified });
        }
        let len = parts.last().map_or(0, |part| part.start + part.len);
        let inner = parts.split_last().map_or(&[][..], |(_, inner)| inner);
        if let Some(odd) = inner.iter().find(|part| part.len != inner[0].len) {
            let problem = format!("{} bytes where the first part has {}", odd.len, inner[0].len);
            return Err(PictureError::Archive { path: odd.path.clone(), problem, fix: FETCH });
        }
        Ok(Self { parts, len })
    }

    /// Bytes of all parts together.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last file, where an archive keeps its directory.
    pub(crate) fn last(&self) -> PathBuf {
        self.parts.last().map(|part| part.path.clone()).unwrap_or_default()
    }

    /// What the whole is called: the file, or the parts' common name.
    pub(crate) fn whole(&self) -> PathBuf {
        let first = self.parts.first().map(|part| part.path.clone()).unwrap_or_default();
        match suffix(&name_of(&first)) {
            Some((stem, _)) => first.with_file_name(stem),
            None => first,
        }
    }

    /// Name, length and time of change of every file: if none of it changed, neither did the bytes.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in &self.parts {
            let age = part.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            bytes.extend_from_slice(name_of(&part.path).as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&part.len.to_le_bytes());
            bytes.extend_from_slice(&age.as_nanos().to_le_bytes());
        }
        bytes
    }

    /// Reads at a place, across parts, as much as there is.
    ///
    /// # Errors
    /// The system's, naming no file.
    pub fn read_at(&self, mut buffer: &mut [u8], mut at: u64) -> io::Result<usize> {
        let mut done = 0;
        while !buffer.is_empty() && at < self.len {
            let index = self.parts.partition_point(|part| part.start + part.len <= at);
            let part = &self.parts[index];
            let inside = at - part.start;
            let count = buffer.len().min(usize::try_from(part.len - inside).unwrap_or(usize::MAX));
            let read = file_read_at(&part.file, &mut buffer[..count], inside)?;
            if read == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "a part became shorter while it was read",
                ));
            }
            (done, at) = (done + read, at + read as u64);
            buffer = &mut buffer[read..];
        }
        Ok(done)
    }

    /// Exactly `len` bytes at a place. Nothing is allocated for bytes that are not there.
    pub(crate) fn exactly(&self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        if at.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(cut());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| cut())?];
        match self.read_at(&mut bytes, at)? == bytes.len() {
            true => Ok(bytes),
            false => Err(cut()),
        }
    }

    /// A reader with a place of its own.
    pub fn cursor(self: &Arc<Self>) -> Cursor {
        Cursor { parts: Arc::clone(self), at: 0 }
    }
}

/// Reads and seeks in [`Parts`].
#[derive(Clone, Debug)]
pub struct Cursor {
    parts: Arc<Parts>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.parts.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.parts.len.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(unix)]
fn file_read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn file_read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `image.zip.part-ab` to `image.zip` and `ab`.
fn suffix(name: &str) -> Option<(&str, &str)> {
    let (stem, letters) = name.rsplit_once(".part-")?;
    let good = (1..=8).contains(&letters.len()) && letters.bytes().all(|byte| byte.is_ascii_lowercase());
    (good && !stem.is_empty()).then_some((stem, letters))
}

/// Fails unless the part at place `index` has the suffix of that place; what it names is the part that is not there.
fn check_sequence(path: &Path, index: usize) -> Result<(), PictureError> {
    let name = name_of(path);
    let archive = |path: PathBuf, problem: String, fix| Err(PictureError::Archive { path, problem, fix });
    let Some((stem, letters)) = suffix(&name) else {
        let fix = "name the parts NAME.part-aa, NAME.part-ab, … as `split` does";
        return archive(path.to_owned(), "it is no part of a split file".to_owned(), fix);
    };
    let mut rest = index;
    let mut wanted = vec![b'a'; letters.len()];
    for letter in wanted.iter_mut().rev() {
        *letter += (rest % 26) as u8;
        rest /= 26;
    }
    let wanted = String::from_utf8_lossy(&wanted);
    if letters == wanted {
        return Ok(());
    }
    let missing = path.with_file_name(format!("{stem}.part-{wanted}"));
    archive(missing, format!("this part is missing, the next one there is {name}"), FETCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes `bytes` in parts of `size`; their paths.
    fn cut(folder: &Path, bytes: &[u8], size: usize) -> Vec<PathBuf> {
        let piece = |(i, chunk): (usize, &[u8])| {
            let path = folder.join(format!("x.zip.part-a{}", char::from(b'a' + i as u8)));
            std::fs::write(&path, chunk).unwrap();
            path
        };
        bytes.chunks(size).enumerate().map(piece).collect()
    }

    #[test]
    fn a_missing_part_is_named_wherever_it_is() {
        for (missing, named) in [(0, "part-aa"), (2, "part-ac")] {
            let folder = tempfile::tempdir().unwrap();
            let paths = cut(folder.path(), &[7; 50], 10);
            std::fs::remove_file(&paths[missing]).unwrap();
            let error = Parts::open(&folder.path().join("x.zip")).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("this part is missing"), "{error}");
        }
    }

    #[test]
    fn a_short_part_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let paths = cut(folder.path(), &[7; 45], 10);
        std::fs::write(&paths[1], [7; 9]).unwrap();
        let error = Parts::open(&paths[3]).unwrap_err().to_string();
        assert!(error.contains("part-ab: 9 bytes where the first part has 10"), "{error}");
    }

    #[test]
    fn what_is_no_part_is_refused_or_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let paths = cut(folder.path(), &[7; 15], 10);
        for other in ["x.zip.part-aB", "x.zip.part-", "y.zip.part-aa", "x.zip.part-ab.tmp"] {
            std::fs::write(folder.path().join(other), b"x").unwrap();
        }
        assert_eq!(Parts::open(&paths[0]).unwrap().len(), 15);
        assert!(Parts::of(&[paths[0].clone(), folder.path().join("y")]).is_err());
        assert!(
            Parts::open(&folder.path().join("z.zip")).unwrap_err().to_string().contains("no parts of it")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn parts_in_any_order_read_as_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 1..200), size in 10..60usize, order: Vec<prop::sample::Index>, reads: Vec<(u8, u8)>,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut paths = cut(folder.path(), &bytes, size);
            for (i, with) in order.iter().enumerate() {
                let (i, with) = (i % paths.len(), with.index(paths.len()));
                paths.swap(i, with);
            }
            let parts = Arc::new(Parts::of(&paths).unwrap());
            let mut whole = Vec::new();
            parts.cursor().read_to_end(&mut whole).unwrap();
            prop_assert_eq!(&whole, &bytes);
            for (at, len) in reads {
                let mut cursor = parts.cursor();
                cursor.seek(SeekFrom::Start(u64::from(at))).unwrap();
                let mut got = Vec::new();
                cursor.take(u64::from(len)).read_to_end(&mut got).unwrap();
                let from = usize::from(at).min(bytes.len());
                prop_assert_eq!(&got[..], &bytes[from..(from + usize::from(len)).min(bytes.len())]);
            }
        }
    }
}
