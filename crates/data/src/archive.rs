//! A zip, whole or in parts, whose members are read one at a time into memory and never onto the disk.
//!
//! Refused: names that leave the root, members larger than [`MAX_MEMBER`], members that unpack to more than they
//! claim or to more than [`MAX_RATIO`] times their bytes, encryption, methods other than stored and deflated, a wrong CRC.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use crate::directory::{self, u16_at};
use crate::index::{Entry, Index};
use crate::parts::Parts;
use crate::pictures::too_large;
use crate::{PictureError, checked_name};

/// Bytes of a picture's file. The largest of the published set are a few megabytes.
pub const MAX_MEMBER: u64 = 256 << 20;

/// Bytes that one byte of an archive may become, for members above a mebibyte. Pictures are compressed already; only a
/// bomb, or an uncompressed picture of one colour, comes near.
pub const MAX_RATIO: u64 = 200;

const RATIO_FROM: u64 = 1 << 20;
const LOCAL_HEADER_LEN: u64 = 30;

/// An archive, indexed.
#[derive(Debug)]
pub struct Archive {
    parts: Arc<Parts>,
    index: Index,
    /// The one folder that holds everything, with its slash; else empty.
    top: String,
    place: PathBuf,
    index_problem: Option<String>,
}

impl Archive {
    /// Opens a zip, or a split one by any of its parts or the name without `.part-aa`. Its directory is read once and kept
    /// as `NAME.index` beside it; where that cannot be written, it is read every time.
    ///
    /// # Errors
    /// A part is missing, out of sequence or too short, or the directory at the end cannot be read; by file.
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        Self::open_with(path, &mut |_, _| {})
    }

    /// [`Archive::open`] that tells the members read so far and all of them, if there is no index yet.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_with(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, PictureError> {
        let parts = Arc::new(Parts::open(path)?);
        let place = parts.whole();
        let file = place.with_added_extension("index");
        let fingerprint = parts.fingerprint();
        let mut index_problem = None;
        let index = match Index::load(&file, &fingerprint) {
            Some(index) => index,
            None => {
                let index = read_index(&parts, progress)?;
                let saved = index.save(&file, &fingerprint);
                index_problem = saved.err().map(|error| format!("{}: {error}", file.display()));
                index
            }
        };
        Ok(Self { top: top_folder(&index), parts, index, place, index_problem })
    }

    /// Members that can be read.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of all members, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.index.name(index))
    }

    /// Why members were left out, at most a hundred reasons.
    pub fn refused(&self) -> &[String] {
        self.index.refused()
    }

    /// Why the index could not be kept beside the archive, if it could not.
    pub fn index_problem(&self) -> Option<&str> {
        self.index_problem.as_deref()
    }

    /// The bytes of a member. Where everything lies in one folder, a name may leave it out. Any number of threads may read
    /// at once.
    ///
    /// # Errors
    /// The name is refused or absent, or the member is: see the module.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, PictureError> {
        let name = checked_name(name)?;
        let found = self.index.get(&name).or_else(|| match self.top.as_str() {
            "" => None,
            top => self.index.get(&format!("{top}{name}")),
        });
        let entry =
            found.ok_or_else(|| PictureError::Absent { name: name.clone(), place: self.place.clone() })?;
        check(&entry).map_err(|problem| PictureError::member(&name, problem))?;
        let packed = self.packed(&entry).map_err(|problem| PictureError::member(&name, problem))?;
        unpack(&entry, packed).map_err(|problem| PictureError::member(&name, problem))
    }

    /// A member's bytes as they lie in the archive.
    fn packed(&self, entry: &Entry) -> Result<Vec<u8>, String> {
        let damaged = |e: std::io::Error| format!("its bytes cannot be read: {e}");
        let header = self.parts.exactly(entry.header, LOCAL_HEADER_LEN).map_err(damaged)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(
                "it does not stand where the directory says; is a part damaged or of another archive?".into(),
            );
        }
        // Name and extra field, whose lengths may differ from those in the directory.
        let skip = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        self.parts.exactly(entry.header + LOCAL_HEADER_LEN + skip, entry.packed).map_err(damaged)
    }
}

fn read_index(parts: &Arc<Parts>, progress: &mut dyn FnMut(u64, u64)) -> Result<Index, PictureError> {
    let mut members = Vec::new();
    let mut each = |member, all| {
        members.push(member);
        if members.len().is_multiple_of(1024) {
            progress(members.len() as u64, all);
        }
    };
    match directory::members(parts, &mut each) {
        Ok(()) => Ok(Index::new(members)),
        Err(problem) => {
            let fix = "fetch it again and see that no part is missing";
            Err(PictureError::Archive { path: parts.last(), problem, fix })
        }
    }
}

/// The first and the last name share their first folder only if all do: they are sorted.
fn top_folder(index: &Index) -> String {
    let Some(last) = index.len().checked_sub(1) else { return String::new() };
    let top = index.name(0).split_inclusive('/').next().filter(|top| top.ends_with('/')).unwrap_or_default();
    if index.name(last).starts_with(top) { top.to_owned() } else { String::new() }
}

/// Judges what a member claims, before anything is allocated for it.
fn check(entry: &Entry) -> Result<(), String> {
    if entry.encrypted {
        return Err("it is encrypted; pack the archive without a password".to_owned());
    }
    if !matches!(entry.method, 0 | 8) {
        return Err(format!("compression method {}; pack it stored or deflated", entry.method));
    }
    if entry.size.max(entry.packed) > MAX_MEMBER {
        return Err(too_large(entry.size.max(entry.packed)));
    }
    if entry.size > RATIO_FROM && entry.size / entry.packed.max(1) > MAX_RATIO {
        return Err(format!(
            "{} bytes out of {}, more than {MAX_RATIO} to one; store the picture as PNG or JPEG",
            entry.size, entry.packed
        ));
    }
    Ok(())
}

fn unpack(entry: &Entry, packed: Vec<u8>) -> Result<Vec<u8>, String> {
    let bytes = match entry.method {
        0 => packed,
        _ => {
            let mut bytes = Vec::with_capacity(entry.size as usize);
            // One byte more than claimed shows that there is more.
            let mut input = DeflateDecoder::new(&packed[..]).take(entry.size + 1);
            input.read_to_end(&mut bytes).map_err(|e| format!("it cannot be unpacked: {e}"))?;
            bytes
        }
    };
    if bytes.len() as u64 != entry.size {
        let than = if bytes.len() as u64 > entry.size { "more" } else { "fewer" };
        return Err(format!("it unpacks to {than} than the {} bytes it claims", entry.size));
    }
    let mut crc = Crc::new();
    crc.update(&bytes);
    match crc.sum() == entry.crc {
        true => Ok(bytes),
        false => Err("its checksum is wrong; fetch the archive, or the part, again".to_owned()),
    }
}
