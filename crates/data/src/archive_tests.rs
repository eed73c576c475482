//! Archives as others write them, damage them and arm them. They are made here, by the `zip` crate.

use std::fs::File;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::{Archive, MAX_MEMBER, Parts, PictureError};

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn deflated() -> SimpleFileOptions {
    stored().compression_method(CompressionMethod::Deflated)
}

/// A member's contents, by its number: no two alike, from empty on.
fn contents(i: usize) -> Vec<u8> {
    (0..i * 37 % 3000).map(|j| (i * 31 + j / 3) as u8).collect()
}

fn name(i: usize) -> String {
    format!("root/folder-{}/picture-{i}.png", i % 7)
}

fn pack(count: usize) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for i in 0..count {
        zip.start_file(name(i), if i.is_multiple_of(2) { stored() } else { deflated() }).unwrap();
        zip.write_all(&contents(i)).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn one(member: &str, bytes: &[u8], options: SimpleFileOptions) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(member, options).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap().into_inner()
}

fn put(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("image.zip");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Writes `bytes` in parts of `size`.
fn split(folder: &Path, bytes: &[u8], size: usize) -> Vec<PathBuf> {
    let letter = |n: usize| char::from(b'a' + n as u8);
    let piece = |(i, chunk): (usize, &[u8])| {
        let path = folder.join(format!("image.zip.part-{}{}", letter(i / 26), letter(i % 26)));
        std::fs::write(&path, chunk).unwrap();
        path
    };
    bytes.chunks(size).enumerate().map(piece).collect()
}

fn opened(bytes: &[u8]) -> Result<Archive, PictureError> {
    let folder = tempfile::tempdir().unwrap();
    Archive::open(&put(folder.path(), bytes))
}

/// Where a signature stands last.
fn last(bytes: &[u8], signature: &[u8]) -> usize {
    bytes.windows(signature.len()).rposition(|window| window == signature).expect("the signature")
}

#[test]
fn members_across_parts_are_read_in_place_by_every_thread() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = pack(60);
    // Shorter than many members: some lie across three parts.
    let paths = split(folder.path(), &bytes, 900);
    assert!(paths.len() > 26, "the second letter changes too");
    let archive = Archive::open(&folder.path().join("image.zip")).unwrap();
    assert_eq!(archive.len(), 60);
    std::thread::scope(|scope| {
        for start in 0..4 {
            let archive = &archive;
            scope.spawn(move || {
                for i in (start..60).chain(0..start) {
                    assert_eq!(archive.read(&name(i)).unwrap(), contents(i), "{i}");
                }
            });
        }
    });
    let kept: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(kept.len(), paths.len() + 1, "nothing but the index is written");
    // The zip crate reads the same through the cursor.
    let parts = Arc::new(Parts::open(&paths[5]).unwrap());
    let theirs = ZipArchive::new(parts.cursor()).unwrap();
    let mut names: Vec<&str> = theirs.file_names().collect();
    names.sort_unstable();
    assert_eq!(archive.names().collect::<Vec<_>>(), names);
}

#[test]
fn one_folder_over_everything_may_be_left_out_of_a_name() {
    let archive = opened(&pack(3)).unwrap();
    assert_eq!(archive.read("folder-1/picture-1.png").unwrap(), contents(1));
    assert!(matches!(archive.read("picture-1.png"), Err(PictureError::Absent { .. })));
}

#[test]
fn a_missing_part_is_named_at_the_start_between_and_at_the_end() {
    for (missing, named) in [(0, "part-aa"), (3, "part-ad"), (7, "part-ag")] {
        let folder = tempfile::tempdir().unwrap();
        let bytes = pack(40);
        let paths = split(folder.path(), &bytes, bytes.len().div_ceil(8));
        std::fs::remove_file(&paths[missing]).unwrap();
        let error = Archive::open(&folder.path().join("image.zip")).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("missing"), "{missing}: {error}");
    }
}

#[test]
fn the_index_is_kept_and_rebuilt_when_parts_or_itself_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), &pack(3));
    let index = folder.path().join("image.zip.index");
    let open = || Archive::open(&path).unwrap();
    assert_eq!(open().index_problem(), None);
    let first = std::fs::read(&index).unwrap();
    let written = || std::fs::metadata(&index).unwrap().modified().unwrap();
    let before = written();
    assert_eq!(open().len(), 3);
    assert_eq!(written(), before, "the index of the same parts is not written again");
    std::fs::write(&index, &first[..first.len() - 1]).unwrap();
    assert_eq!(open().len(), 3);
    assert_eq!(std::fs::read(&index).unwrap(), first, "a damaged index is mended");
    put(folder.path(), &pack(5));
    assert_eq!(open().read(&name(4)).unwrap(), contents(4));
    std::fs::remove_file(&index).unwrap();
    std::fs::create_dir(&index).unwrap();
    let archive = open();
    assert!(archive.len() == 5 && archive.index_problem().unwrap().contains("image.zip.index"));
}

#[test]
fn a_hundred_thousand_members_need_zip64_and_are_found() {
    const COUNT: usize = 100_000;
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for i in 0..COUNT {
        zip.start_file(format!("{:02}/{i}.bin", i % 97), stored()).unwrap();
        zip.write_all(&i.to_le_bytes()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), &zip.finish().unwrap().into_inner());
    let mut told = Vec::new();
    let built = Archive::open_with(&path, &mut |done, all| told.push((done, all))).unwrap();
    assert!(told.len() > 50 && told.iter().all(|&(done, all)| done <= all && all == COUNT as u64));
    let loaded = Archive::open_with(&path, &mut |_, _| panic!("the index is there")).unwrap();
    for archive in [built, loaded] {
        assert_eq!(archive.len(), COUNT);
        for i in (0..COUNT).step_by(991) {
            assert_eq!(archive.read(&format!("{:02}/{i}.bin", i % 97)).unwrap(), i.to_le_bytes());
        }
    }
}

/// Leaves zeros out of the file, as holes.
struct Sparse(File);

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match bytes.iter().all(|&byte| byte == 0) {
            true => self.0.seek(SeekFrom::Current(bytes.len() as i64)).map(|_| bytes.len()),
            false => self.0.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn members_beyond_four_gibibytes_are_read_and_larger_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.zip");
    let mut zip = ZipWriter::new(Sparse(File::create(&path).unwrap()));
    zip.start_file("huge.bin", stored().large_file(true)).unwrap();
    let block = vec![0; 1 << 22];
    for _ in 0..1025 {
        zip.write_all(&block).unwrap();
    }
    zip.start_file("behind.bin", deflated()).unwrap();
    zip.write_all(b"behind").unwrap();
    zip.finish().unwrap();
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.read("behind.bin").unwrap(), b"behind");
    let error = archive.read("huge.bin").unwrap_err().to_string();
    assert!(error.contains(&MAX_MEMBER.to_string()), "{error}");
}

#[test]
fn bombs_are_refused_by_what_they_claim_and_by_what_they_are() {
    let zeros = vec![0; 2 << 20];
    let bomb = one("bomb.png", &zeros, deflated());
    let error = opened(&bomb).unwrap().read("bomb.png").unwrap_err().to_string();
    assert!(error.contains("more than 200 to one"), "{error}");
    // The same with a lie about the size, in the directory.
    let mut lying = bomb.clone();
    let size_at = last(&bomb, b"PK\x01\x02") + 24;
    lying[size_at..size_at + 4].copy_from_slice(&100u32.to_le_bytes());
    let error = opened(&lying).unwrap().read("bomb.png").unwrap_err().to_string();
    assert!(error.contains("more than the 100 bytes it claims"), "{error}");
    let small = one("small.png", &zeros[..1 << 20], deflated());
    assert_eq!(opened(&small).unwrap().read("small.png").unwrap().len(), 1 << 20);
}

#[test]
fn damaged_encrypted_and_foreign_members_are_refused_with_a_reason() {
    let good = one("a.png", &contents(50), stored());
    let entry = last(&good, b"PK\x01\x02");
    for (at, value, reason) in [
        (last(&good, b"PK\x03\x04") + 40, 0xaa, "checksum is wrong"),
        (last(&good, b"PK\x03\x04"), b'X', "does not stand where"),
        (entry + 8, 1, "encrypted"),
        (entry + 10, 12, "compression method 12"),
        (entry + 24, 1, "than the"),
        (last(&good, b"PK\x03\x04") + 27, 0xff, "cannot be read"),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        let error = opened(&bad).unwrap().read("a.png").unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn names_that_leave_the_root_are_left_out_and_told() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for name in ["../up.png", "/etc/passwd", "a/../../b.png", "C:/x.png", "good.png"] {
        zip.start_file(name, stored()).unwrap();
        zip.write_all(b"x").unwrap();
    }
    let archive = opened(&zip.finish().unwrap().into_inner()).unwrap();
    assert_eq!(archive.names().collect::<Vec<_>>(), ["good.png"]);
    assert_eq!(archive.refused().len(), 4, "{:?}", archive.refused());
    assert!(archive.read("../up.png").unwrap_err().to_string().contains("`..`"));
}

#[test]
fn what_is_no_whole_zip_is_refused_with_the_file() {
    let good = pack(5);
    let end = last(&good, b"PK\x05\x06");
    let mut counted = good.clone();
    counted[end + 10] = 200;
    let mut volumes = good.clone();
    volumes[end + 4] = 1;
    let mut far = good.clone();
    far[last(&good, b"PK\x01\x02") + 45] = 0x7f;
    for (bytes, reason) in [
        (vec![], "cut short"),
        (b"not a zip at all, just text".to_vec(), "it is no zip"),
        (good[..good.len() - 1].to_vec(), "cut short"),
        ([b"junk", &good[..]].concat(), "bytes are missing or added"),
        (good[9..].to_vec(), "bytes are missing or added"),
        (counted, "entry 5 of its directory: it is cut short"),
        (volumes, "several volumes"),
        (far, "outside of the archive"),
    ] {
        let error = opened(&bytes).unwrap_err().to_string();
        assert!(error.contains("image.zip") && error.contains(reason), "{reason}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn archives_with_changed_bytes_are_judged(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = pack(4);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(archive) = opened(&bytes) {
            for name in archive.names() {
                let _ = archive.read(name);
            }
        }
    }
}
