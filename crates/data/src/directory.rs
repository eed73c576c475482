//! The directory at the end of a zip: who is in it and where (PKWARE APPNOTE 4.3.12 to 4.3.16, zip64 included).
//!
//! The `zip` crate's reader allocates for as many members as an archive claims and visits each member to index it, 140 GB
//! apart. This reads the directory alone, in one pass, and believes no count and no length before the bytes are there.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::parts::Parts;

/// One entry of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub name: Vec<u8>,
    /// Where its local header stands.
    pub header: u64,
    /// Bytes in the archive.
    pub packed: u64,
    /// Bytes it claims to be.
    pub size: u64,
    pub crc: u32,
    /// 0 stored, 8 deflated.
    pub method: u16,
    pub encrypted: bool,
}

const END: &[u8; 4] = b"PK\x05\x06";
const END_LEN: usize = 22;
const END64: &[u8; 4] = b"PK\x06\x06";
const END64_LEN: u64 = 56;
const LOCATOR: &[u8; 4] = b"PK\x06\x07";
const LOCATOR_LEN: usize = 20;
const ENTRY: &[u8; 4] = b"PK\x01\x02";
const ENTRY_LEN: usize = 46;

/// Where the directory lies.
struct Place {
    entries: u64,
    size: u64,
    offset: u64,
}

/// Gives every member to `each`, in the archive's order, with the number that the archive claims.
///
/// # Errors
/// What is wrong with the archive as a whole.
pub(crate) fn members(parts: &Arc<Parts>, each: &mut dyn FnMut(Member, u64)) -> Result<(), String> {
    let place = place(parts)?;
    let mut cursor = parts.cursor();
    cursor.seek(SeekFrom::Start(place.offset)).map_err(|e| e.to_string())?;
    let mut input = BufReader::with_capacity(1 << 20, cursor.take(place.size));
    for number in 0..place.entries {
        let member =
            entry(&mut input).map_err(|problem| format!("entry {number} of its directory: {problem}"))?;
        if member.header.checked_add(member.packed).is_none_or(|end| end > place.offset) {
            return Err(format!("entry {number} of its directory: the member lies outside of the archive"));
        }
        each(member, place.entries);
    }
    match input.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(format!("its directory holds more than the {} entries it claims", place.entries)),
        Err(error) => Err(error.to_string()),
    }
}

fn place(parts: &Parts) -> Result<Place, String> {
    let cut =
        "no end of a zip's directory: the file is cut short, parts after it are missing, or it is no zip";
    // The end record is followed by nothing but its own comment of at most 65,535 bytes.
    let tail_len = parts.len().min((END_LEN + LOCATOR_LEN + 0xffff) as u64);
    let tail_at = parts.len() - tail_len;
    let tail = parts.exactly(tail_at, tail_len).map_err(|e| e.to_string())?;
    let is_end = |at: &usize| {
        tail[*at..].starts_with(END) && usize::from(u16_at(&tail, at + 20)) == tail.len() - at - END_LEN
    };
    let at = (0..(tail.len() + 1).saturating_sub(END_LEN)).rev().find(is_end).ok_or(cut)?;
    let end = &tail[at..];
    let (mut disks, mut end_at) =
        (u64::from(u16_at(end, 4)) + u64::from(u16_at(end, 6)), tail_at + at as u64);
    let mut place = Place {
        entries: u16_at(end, 10).into(),
        size: u32_at(end, 12).into(),
        offset: u32_at(end, 16).into(),
    };
    if at >= LOCATOR_LEN && tail[at - LOCATOR_LEN..].starts_with(LOCATOR) {
        end_at = u64_at(&tail[at - LOCATOR_LEN..], 8);
        let end = parts.exactly(end_at, END64_LEN).map_err(|_| cut)?;
        if !end.starts_with(END64) {
            return Err("its zip64 end record is not where it says; bytes are missing or added".to_owned());
        }
        disks = u64::from(u32_at(&end, 16)) + u64::from(u32_at(&end, 20));
        place = Place { entries: u64_at(&end, 32), size: u64_at(&end, 40), offset: u64_at(&end, 48) };
    }
    if disks != 0 {
        return Err("a zip of several volumes; make one of it with `zip -s 0 IN --out OUT`".to_owned());
    }
    match place.offset.checked_add(place.size) {
        Some(end) if end == end_at => Ok(place),
        _ => Err("its directory is not where it says: bytes are missing or added, or a part is".to_owned()),
    }
}

fn entry(input: &mut impl Read) -> Result<Member, String> {
    let fixed = take(input, ENTRY_LEN)?;
    if !fixed.starts_with(ENTRY) {
        return Err("no entry stands there".to_owned());
    }
    let name = take(input, u16_at(&fixed, 28).into())?;
    let extra = take(input, u16_at(&fixed, 30).into())?;
    take(input, u16_at(&fixed, 32).into())?;
    let mut member = Member {
        name,
        header: u32_at(&fixed, 42).into(),
        packed: u32_at(&fixed, 20).into(),
        size: u32_at(&fixed, 24).into(),
        crc: u32_at(&fixed, 16),
        method: u16_at(&fixed, 10),
        encrypted: u16_at(&fixed, 8) & 1 == 1,
    };
    let mut long = zip64(&extra).chunks_exact(8).map(|chunk| u64_at(chunk, 0));
    for field in [&mut member.size, &mut member.packed, &mut member.header] {
        if *field == u64::from(u32::MAX) {
            *field = long.next().ok_or("a zip64 length is missing")?;
        }
    }
    Ok(member)
}

/// The zip64 block of an entry's extra fields; empty if there is none.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(block) = extra.get(4..4 + len) else { break };
        if id == 1 {
            return block;
        }
        extra = &extra[4 + len..];
    }
    &[]
}

/// At most 64 KiB: every length here is of 16 bits.
fn take(input: &mut impl Read, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    input.read_exact(&mut bytes).map_err(|_| "it is cut short".to_owned())?;
    Ok(bytes)
}

/// Little-endian numbers at a place that the caller knows to be there.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
