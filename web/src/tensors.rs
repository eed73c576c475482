//! A safetensors file that arrives in pieces, cut into one small file per tensor.
//!
//! A released shard is larger than the memory of a WebAssembly program. Cut this way, no more than one tensor of it is
//! ever there. Format: eight bytes of header length, a JSON header, the tensors' bytes one after the other.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The largest header read, that of the safetensors library.
const MAX_HEADER: u64 = 100_000_000;

/// Why a file cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorsError {
    /// It is no safetensors file, or not all of one.
    #[error("not a safetensors file ({0}); fetch it again")]
    Format(String),
    /// A tensor does not fit into memory.
    #[error(
        "tensor {tensor} of {bytes} bytes does not fit into memory; use a checkpoint with smaller tensors"
    )]
    Memory {
        /// Its name.
        tensor: String,
        /// Its size.
        bytes: usize,
    },
}

/// A tensor that is still to come.
struct Coming {
    name: String,
    /// A whole safetensors file, but for the bytes that have not arrived.
    file: Vec<u8>,
    /// Length of its header.
    header: usize,
    bytes: usize,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [usize; 2],
}

/// Cuts a file.
#[derive(Default)]
pub struct Tensors {
    /// Bytes before the header's end; afterwards empty.
    held: Vec<u8>,
    read_header: bool,
    coming: VecDeque<Coming>,
    done: VecDeque<Vec<u8>>,
}

impl Tensors {
    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// The header is malformed, bytes follow the last tensor, or a tensor does not fit into memory.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), TensorsError> {
        if self.read_header {
            return self.fill(piece);
        }
        self.held.extend_from_slice(piece);
        let Some((length, rest)) = self.held.split_first_chunk::<8>() else { return Ok(()) };
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER {
            return Err(format(format_args!("a header of {length} bytes")));
        }
        let Some(header) = rest.get(..length as usize) else { return Ok(()) };
        self.coming = plan(header)?;
        self.read_header = true;
        let held = std::mem::take(&mut self.held);
        self.fill(&held[8 + length as usize..])
    }

    fn fill(&mut self, mut piece: &[u8]) -> Result<(), TensorsError> {
        while let Some(tensor) = self.coming.front_mut() {
            if tensor.file.len() == tensor.header {
                let failed = tensor.file.try_reserve_exact(tensor.bytes);
                failed
                    .map_err(|_| TensorsError::Memory { tensor: tensor.name.clone(), bytes: tensor.bytes })?;
            }
            let wanted = tensor.header + tensor.bytes - tensor.file.len();
            let (now, rest) = piece.split_at(wanted.min(piece.len()));
            tensor.file.extend_from_slice(now);
            piece = rest;
            if now.len() < wanted {
                return Ok(());
            }
            self.done.extend(self.coming.pop_front().map(|tensor| tensor.file));
        }
        if piece.is_empty() {
            Ok(())
        } else {
            Err(format(format_args!("{} bytes after the last tensor", piece.len())))
        }
    }

    /// The next whole tensor, as a safetensors file of its own.
    pub fn next_file(&mut self) -> Option<Vec<u8>> {
        self.done.pop_front()
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Bytes are missing.
    pub fn finish(self) -> Result<(), TensorsError> {
        match self.coming.front() {
            _ if !self.read_header => Err(format(format_args!("it ends within its header"))),
            Some(tensor) => Err(format(format_args!("it ends within tensor {}", tensor.name))),
            None => Ok(()),
        }
    }
}

/// The tensors a header announces, in the order of their bytes, each with a header of its own.
fn plan(header: &[u8]) -> Result<VecDeque<Coming>, TensorsError> {
    let header: Map<String, Value> =
        serde_json::from_slice(header).map_err(|e| format(format_args!("header: {e}")))?;
    let mut entries = Vec::new();
    for (name, value) in header {
        if name != "__metadata__" {
            let entry =
                Entry::deserialize(value).map_err(|e| format(format_args!("header of {name}: {e}")))?;
            entries.push((name, entry));
        }
    }
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut end = 0;
    let mut coming = VecDeque::new();
    for (name, Entry { dtype, shape, data_offsets: [from, to] }) in entries {
        let bytes = to.checked_sub(from).filter(|_| from == end);
        let bytes =
            bytes.ok_or_else(|| format(format_args!("tensor {name} does not follow the one before it")))?;
        end = to;
        let own = json!({&name: {"dtype": dtype, "shape": shape, "data_offsets": [0, bytes]}}).to_string();
        let mut file = (own.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(own.as_bytes());
        coming.push_back(Coming { name, header: file.len(), file, bytes });
    }
    Ok(coming)
}

fn format(problem: std::fmt::Arguments) -> TensorsError {
    TensorsError::Format(problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tensors, the second named first, and an empty one.
    fn file() -> Vec<u8> {
        let header = json!({
            "__metadata__": {"format": "pt"},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [6, 10]},
            "a": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]},
            "none": {"dtype": "F32", "shape": [0], "data_offsets": [10, 10]},
        });
        let header = header.to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend(1..=10u8);
        file
    }

    fn cut(file: &[u8], size: usize) -> Result<Vec<Vec<u8>>, TensorsError> {
        let mut tensors = Tensors::default();
        let mut files = Vec::new();
        for piece in file.chunks(size) {
            tensors.push(piece)?;
            files.extend(std::iter::from_fn(|| tensors.next_file()));
        }
        tensors.finish()?;
        Ok(files)
    }

    #[test]
    fn every_tensor_comes_out_whole_however_the_file_arrives() {
        let file = file();
        for size in 1..=file.len() {
            let files = cut(&file, size).expect("sound");
            assert_eq!(files.len(), 3, "pieces of {size}");
            for (file, (name, bytes)) in
                files.iter().zip([("a", &[1, 2, 3, 4, 5, 6][..]), ("b", &[7, 8, 9, 10]), ("none", &[])])
            {
                let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
                let header: Value = serde_json::from_slice(&file[8..8 + length]).expect("JSON");
                assert_eq!(header[name]["data_offsets"], json!([0, bytes.len()]), "{header}");
                assert_eq!(&file[8 + length..], bytes);
            }
        }
    }

    #[test]
    fn a_file_cut_short_at_any_byte_is_refused() {
        let file = file();
        // Without its last byte the file also lacks the empty tensor behind it.
        for end in 0..file.len() {
            let error = cut(&file[..end], 7).expect_err("cut short").to_string();
            assert!(error.contains("it ends within"), "{error}");
        }
    }

    #[test]
    fn hostile_headers_are_refused_without_allocating_what_they_claim() {
        let with = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        let tensor = |from: u64, to: u64| {
            with(&json!({"a": {"dtype": "U8", "shape": [1], "data_offsets": [from, to]}}).to_string())
        };
        for (file, problem) in [
            (u64::MAX.to_le_bytes().to_vec(), "a header of"),
            (with("[]"), "header"),
            (with("{\"a\": 1}"), "header of a"),
            (tensor(4, 8), "does not follow"),
            (tensor(8, 0), "does not follow"),
            ([tensor(0, 1), vec![0, 0]].concat(), "after the last tensor"),
            ([tensor(0, u64::MAX >> 1), vec![0]].concat(), "does not fit into memory"),
        ] {
            let error = cut(&file, 64).expect_err(problem).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
