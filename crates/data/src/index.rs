//! An archive's members by name, kept in a small file beside it.
//!
//! The file is rebuilt when it is damaged, of another version, or of other parts than those there: it is a cache, and
//! nothing in it is believed that its checksum does not cover. Little-endian:
//!
//! ```text
//! "wethink index 1\n" · fingerprint of the parts · refused names · members sorted by name · CRC-32 of all before
//! ```

use std::io;
use std::path::Path;

use flate2::Crc;

use crate::checked_name;
use crate::directory::{Member, u16_at, u32_at, u64_at};

const MAGIC: &[u8] = b"wethink index 1\n";
/// Bytes of a member beside its name.
const FIXED: usize = 31;
/// Names of refused members that are kept; the others are counted.
const MAX_REFUSED: usize = 100;

/// Where a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    name_end: usize,
    pub header: u64,
    pub packed: u64,
    pub size: u64,
    pub crc: u32,
    pub method: u16,
    pub encrypted: bool,
}

/// Members sorted by name. Names lie in one string: 10^5 of them cost no allocations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    names: String,
    entries: Vec<Entry>,
    refused: Vec<String>,
}

impl Index {
    /// Sorts members; names that leave the root, that are no UTF-8 or that stand twice are refused.
    pub(crate) fn new(members: Vec<Member>) -> Self {
        let mut index = Self::default();
        let (mut kept, mut refused) = (Vec::with_capacity(members.len()), Vec::new());
        for member in members {
            match std::str::from_utf8(&member.name).map(|name| (name, checked_name(name))) {
                Err(_) => refused.push(format!("{:?} is not UTF-8", String::from_utf8_lossy(&member.name))),
                Ok((_, Err(fault))) => refused.push(fault.to_string()),
                // Folders are no pictures.
                Ok((name, Ok(_))) if name.ends_with('/') => {}
                Ok((_, Ok(clean))) => kept.push((clean, member)),
            }
        }
        kept.sort_by(|a, b| a.0.cmp(&b.0));
        for (i, (name, member)) in kept.iter().enumerate() {
            match kept.get(i + 1) {
                Some((next, _)) if next == name => {
                    refused.push(format!("{name:?} stands twice; the last one is read"));
                }
                _ => index.push(name, member),
            }
        }
        let more = refused.len().saturating_sub(MAX_REFUSED);
        refused.truncate(MAX_REFUSED);
        if more > 0 {
            refused.push(format!("and {more} more"));
        }
        index.refused = refused;
        index
    }

    fn push(&mut self, name: &str, member: &Member) {
        self.names.push_str(name);
        let Member { header, packed, size, crc, method, encrypted, .. } = *member;
        self.entries.push(Entry { name_end: self.names.len(), header, packed, size, crc, method, encrypted });
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The n-th name in order.
    pub(crate) fn name(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].name_end);
        &self.names[start..self.entries[index].name_end]
    }

    pub(crate) fn refused(&self) -> &[String] {
        &self.refused
    }

    pub(crate) fn get(&self, name: &str) -> Option<Entry> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from.midpoint(to);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return Some(self.entries[middle]),
            }
        }
        None
    }

    fn to_bytes(&self, fingerprint: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, fingerprint);
        out.extend_from_slice(&(self.refused.len() as u32).to_le_bytes());
        self.refused.iter().for_each(|reason| put(&mut out, reason.as_bytes()));
        out.extend_from_slice(&(self.len() as u64).to_le_bytes());
        for (i, entry) in self.entries.iter().enumerate() {
            out.extend_from_slice(&entry.header.to_le_bytes());
            out.extend_from_slice(&entry.packed.to_le_bytes());
            out.extend_from_slice(&entry.size.to_le_bytes());
            out.extend_from_slice(&entry.crc.to_le_bytes());
            out.extend_from_slice(&entry.method.to_le_bytes());
            out.push(entry.encrypted.into());
            put(&mut out, self.name(i).as_bytes());
        }
        let sum = checksum(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// `None` if the file is of other parts, or not as it was written.
    fn from_bytes(bytes: &[u8], fingerprint: &[u8]) -> Option<Self> {
        let (mut rest, sum) = bytes.split_last_chunk::<4>()?;
        if checksum(rest) != u32::from_le_bytes(*sum) {
            return None;
        }
        rest = rest.strip_prefix(MAGIC)?;
        if get(&mut rest)? != fingerprint {
            return None;
        }
        let mut index = Self::default();
        for _ in 0..u32_at(rest.split_off(..4)?, 0) {
            index.refused.push(String::from_utf8(get(&mut rest)?.to_vec()).ok()?);
        }
        for _ in 0..u64_at(rest.split_off(..8)?, 0) {
            let fixed = rest.split_off(..FIXED)?;
            let name = std::str::from_utf8(get(&mut rest)?).ok()?;
            if index.len() > 0 && index.name(index.len() - 1) >= name {
                return None;
            }
            index.names.push_str(name);
            index.entries.push(Entry {
                name_end: index.names.len(),
                header: u64_at(fixed, 0),
                packed: u64_at(fixed, 8),
                size: u64_at(fixed, 16),
                crc: u32_at(fixed, 24),
                method: u16_at(fixed, 28),
                encrypted: fixed[30] == 1,
            });
        }
        rest.is_empty().then_some(index)
    }

    /// The index in a file, if it is there and of these parts.
    pub(crate) fn load(path: &Path, fingerprint: &[u8]) -> Option<Self> {
        Self::from_bytes(&std::fs::read(path).ok()?, fingerprint)
    }

    /// Writes the file beside its place and renames it, so that no reader meets half of it.
    pub(crate) fn save(&self, path: &Path, fingerprint: &[u8]) -> io::Result<()> {
        let part = path.with_added_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&part, self.to_bytes(fingerprint))
            .and_then(|()| std::fs::rename(&part, path))
            .inspect_err(|_| drop(std::fs::remove_file(&part)))
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn get<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32_at(rest.split_off(..4)?, 0);
    rest.split_off(..len as usize)
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(name: &str, header: u64) -> Member {
        let name = name.as_bytes().to_vec();
        Member { name, header, packed: 5, size: 9, crc: 3, method: 8, encrypted: false }
    }

    #[test]
    fn members_are_found_by_name_and_bad_names_are_refused() {
        let mut members: Vec<Member> = ["b/", "b/x", "../up", "/root", "a", "b/x", "./c"]
            .iter()
            .zip(0..)
            .map(|(n, i)| member(n, i))
            .collect();
        members.push(Member { name: vec![0xff], ..member("", 9) });
        let index = Index::new(members);
        assert_eq!((0..index.len()).map(|i| index.name(i)).collect::<Vec<_>>(), ["a", "b/x", "c"]);
        assert_eq!(index.get("b/x").map(|entry| entry.header), Some(5));
        assert_eq!((index.get("b"), index.get("")), (None, None));
        assert_eq!(index.refused().len(), 4, "{:?}", index.refused());
        let many = Index::new((0..300).map(|i| member("../x", i)).collect());
        assert_eq!((many.refused().len(), many.refused()[100].as_str()), (101, "and 200 more"));
    }

    #[test]
    fn the_file_gives_back_the_index_and_nothing_else_does() {
        let index = Index::new(vec![member("a", 1), member("ö/b", 2), member("../c", 3)]);
        let bytes = index.to_bytes(b"parts");
        assert_eq!(Index::from_bytes(&bytes, b"parts"), Some(index));
        assert_eq!(Index::from_bytes(&bytes, b"other"), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Index::from_bytes(&damaged, b"parts"), None, "byte {at}");
            assert_eq!(Index::from_bytes(&bytes[..at], b"parts"), None, "cut at {at}");
        }
    }

    proptest! {
        /// The checksum is no signature: bytes behind a right one are judged too.
        #[test]
        fn any_bytes_with_a_right_checksum_are_judged(mut bytes: Vec<u8>) {
            let mut file = MAGIC.to_vec();
            put(&mut file, b"p");
            file.append(&mut bytes);
            let sum = checksum(&file);
            file.extend_from_slice(&sum.to_le_bytes());
            let _ = Index::from_bytes(&file, b"p");
        }
    }
}
