//! A zip that the person chose, read in place: the browser hands out the bytes that are asked for.

use std::io::{self, Read, Seek, SeekFrom};

use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use web_sys::{Blob, File};
use wethink_checker::Names;
use zip::ZipArchive;

/// Bytes of one picture; what unpacks to more is no photograph.
const MAX_PICTURE: u64 = 64 << 20;

/// Bytes that are asked for at once.
const BLOCK: usize = 1 << 16;

/// A zip and the names in it.
pub struct Archive {
    zip: ZipArchive<BlobReader>,
    names: Names,
    file: String,
}

impl Archive {
    /// Reads the directory of a zip.
    pub fn open(file: File) -> Result<Self, String> {
        let name = file.name();
        let reader = BlobReader::new(file.into()).map_err(|error| format!("{name}: {error}"))?;
        let zip = ZipArchive::new(reader).map_err(|error| format!("{name}: {error}"))?;
        let names = Names::new((0..zip.len()).map(|i| zip.name_for_index(i).unwrap_or_default().to_owned()));
        Ok(Self { zip, names, file: name })
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.zip.len()
    }

    /// The bytes of the file that a path means, if there is exactly one.
    pub fn picture(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(index) = self.names.find(path) else { return Ok(None) };
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {path}: {error}", self.file);
        let member = self.zip.by_index(index).map_err(|error| wrong(&error))?;
        let mut bytes = Vec::new();
        member.take(MAX_PICTURE + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
        if bytes.len() as u64 > MAX_PICTURE {
            return Err(wrong(&format_args!("more than {MAX_PICTURE} bytes")));
        }
        Ok(Some(bytes))
    }
}

#[wasm_bindgen]
extern "C" {
    /// Reads at once what everything else in a browser reads later; workers only.
    type FileReaderSync;

    #[wasm_bindgen(constructor, catch)]
    fn new() -> Result<FileReaderSync, JsValue>;

    #[wasm_bindgen(method, catch, js_name = readAsArrayBuffer)]
    fn read_as_array_buffer(this: &FileReaderSync, blob: &Blob) -> Result<JsValue, JsValue>;
}

/// A blob as a stream, a block in memory.
struct BlobReader {
    reader: FileReaderSync,
    blob: Blob,
    size: u64,
    at: u64,
    block: Vec<u8>,
    block_at: u64,
}

impl BlobReader {
    fn new(blob: Blob) -> io::Result<Self> {
        let reader =
            FileReaderSync::new().map_err(|_| io::Error::other("this browser cannot read it here"))?;
        let size = blob.size() as u64;
        Ok(Self { reader, blob, size, at: 0, block: Vec::new(), block_at: 0 })
    }

    fn fetch(&mut self) -> io::Result<()> {
        let end = self.size.min(self.at + BLOCK as u64);
        let slice = self.blob.slice_with_f64_and_f64(self.at as f64, end as f64);
        let slice = slice.map_err(|_| io::Error::other("it cannot be read"))?;
        let buffer = self.reader.read_as_array_buffer(&slice);
        let buffer = buffer.map_err(|_| io::Error::other("it was changed or moved; choose it again"))?;
        self.block = Uint8Array::new(&buffer).to_vec();
        self.block_at = self.at;
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size {
            return Ok(0);
        }
        let inside =
            |this: &Self| (this.block_at..this.block_at + this.block.len() as u64).contains(&this.at);
        if !inside(self) {
            self.fetch()?;
        }
        if !inside(self) {
            return Err(io::Error::other("it was changed or moved; choose it again"));
        }
        let rest = &self.block[(self.at - self.block_at) as usize..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(offset) => (self.size, offset),
            SeekFrom::Current(offset) => (self.at, offset),
        };
        self.at = base.checked_add_signed(offset).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
