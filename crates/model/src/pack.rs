//! A pack: a model with its weights in few bits, as a folder that a browser fetches shard by shard.
//!
//! # The folder
//!
//! `pack.json`, the shards it names, and the checkpoint's small files (tokenizer, template, generation and picture
//! settings) under their released names. `pack.json` is one object:
//!
//! ```json
//! { "format": "wethink-pack", "version": 1,
//!   "config": { },
//!   "files":   [ {"name": "tokenizer.json", "bytes": 7031645, "sha256": "64 digits"} ],
//!   "shards":  [ {"file": "shard-0001.bin", "bytes": 67108864, "sha256": "64 digits"} ],
//!   "tensors": [ {"name": "model.layers.0.mlp.up_proj.weight", "dtype": "q4", "shape": [18944, 3584],
//!                 "parts": [ {"rows": 18944, "shard": 0, "offset": 0, "scales": 33947648} ]} ] }
//! ```
//!
//! - `config` is the checkpoint's `config.json`, whole.
//! - `files` lists every other file of the folder but the shards.
//! - `shards` stand in the order in which a forward pass uses them: the tower first, the head last. None is larger than
//!   64 MiB ([`SHARD_BYTES`]), so that one is a small part of a browser's memory.
//! - `tensors` lists what [`expected_tensors`] names, each once. A tensor is a matrix: `shape[0]` rows of the product of
//!   the other lengths (1 for a vector). It lies in `parts`, ranges of its rows in their order, each in one shard: `rows`
//!   is their count, `shard` an index into `shards`, `offset` the byte where the part's values begin and `scales` the byte
//!   where its scales do. Both are multiples of 16. Parts do not overlap. A part is small enough for one buffer of a device
//!   with WebGPU's default limits.
//!
//! # The types
//!
//! All numbers are little-endian. W is the length of a row, B = ⌈W / 32⌉ its blocks. Rows of `q4`, `q8` and `f16` are
//! padded with zeros to 32 B values, so that every row begins at a multiple of 16 bytes.
//!
//! | dtype | a row's values | value | a row's scales |
//! | --- | --- | --- | --- |
//! | `q4` | 4 B words; byte `b` of word `w` holds value 8w + b in its low and 8w + 4 + b in its high four bits | (n - 8) · scale of the block | f16 for each block, and one of padding where B is odd |
//! | `q8` | 8 B words; byte `b` of word `w` is value 4w + b, signed | n · scale of the block | as with `q4` |
//! | `f16` | 32 B halves | itself | none |
//! | `f32` | W floats | itself | none |
//!
//! `q4` and `q8` are for the matrices of the affine maps, the embedding and the head; `f16` for any matrix; `f32` for
//! everything. The layout is that of [`wethink_kernels::Packing`], whose kernels read it as it stands.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wethink_kernels::Packing;

use crate::{Config, ConfigError, expected_tensors};

/// The file that describes a pack.
pub const PACK: &str = "pack.json";
/// Value of the field `format`.
pub const FORMAT: &str = "wethink-pack";
/// The one version there is.
pub const VERSION: u32 = 1;
/// Bytes of a shard at most.
pub const SHARD_BYTES: u64 = 64 << 20;
/// Alignment of values and scales within a shard, in bytes.
pub const ALIGNMENT: u64 = 16;

/// `pack.json`, parsed and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The checkpoint's `config.json`.
    pub config: Value,
    /// The folder's small files.
    pub files: Vec<PackFile>,
    /// The shards, in order of use.
    pub shards: Vec<PackShard>,
    /// Every tensor.
    pub tensors: Vec<PackTensor>,
}

/// A small file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackFile {
    /// Its plain name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, 64 hexadecimal digits in lower case.
    pub sha256: String,
}

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackShard {
    /// Its plain name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, 64 hexadecimal digits in lower case.
    pub sha256: String,
}

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackType {
    /// Four bits and a scale for each 32.
    Q4,
    /// Eight bits and a scale for each 32.
    Q8,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// A tensor and where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackTensor {
    /// Its name in the released layout.
    pub name: String,
    /// How its values are stored.
    pub dtype: PackType,
    /// Its shape in the released layout.
    pub shape: Vec<usize>,
    /// Its rows, in ranges.
    pub parts: Vec<PackPart>,
}

/// A range of a tensor's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackPart {
    /// How many.
    pub rows: usize,
    /// Index of the shard.
    pub shard: usize,
    /// Where the values begin, in bytes.
    pub offset: u64,
    /// Where the scales begin, in bytes; absent for `f16` and `f32`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<u64>,
}

/// Why a pack cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PackError {
    /// `pack.json` is not JSON of this form.
    #[error("{PACK}: {0}; export the pack again")]
    Json(String),
    /// A field holds what it must not.
    #[error("{PACK}: field `{field}`: {problem}")]
    Field {
        /// Path of the field, as in `tensors[3].parts[0].offset`.
        field: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The configuration describes no model that is supported.
    #[error("{PACK}: config: {0}")]
    Config(#[from] ConfigError),
    /// A shard's bytes are not those that `pack.json` describes.
    #[error("{file}: {problem}; fetch it again")]
    Shard {
        /// Name of the shard.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Shards have not been read.
    #[error("shards that never came: {}; fetch the rest of the pack", .0.join(", "))]
    Missing(Vec<String>),
}

fn bad(field: impl Into<String>, problem: impl Into<String>) -> PackError {
    PackError::Field { field: field.into(), problem: problem.into() }
}

impl PackType {
    /// The packing of the kernels; `None` for plain floats.
    pub fn packing(self) -> Option<Packing> {
        match self {
            Self::Q4 => Some(Packing::Q4),
            Self::Q8 => Some(Packing::Q8),
            Self::F16 => Some(Packing::F16),
            Self::F32 => None,
        }
    }

    /// Bytes of a row of `width` values.
    pub fn row_bytes(self, width: usize) -> u64 {
        4 * self.packing().map_or(width, |packing| packing.row_words(width)) as u64
    }

    /// Bytes of the scales of a row of `width` values.
    pub fn scale_bytes(self, width: usize) -> u64 {
        4 * self.packing().map_or(0, |packing| packing.scale_words(width)) as u64
    }
}

impl PackTensor {
    /// Rows and the length of one: the tensor as a matrix.
    pub fn matrix(&self) -> (usize, usize) {
        match self.shape.split_first() {
            Some((rows, rest)) => (*rows, rest.iter().product()),
            None => (0, 0),
        }
    }

    /// Byte ranges of a part's values and of its scales.
    pub fn ranges(&self, part: &PackPart) -> (std::ops::Range<u64>, Option<std::ops::Range<u64>>) {
        let (_, width) = self.matrix();
        let rows = part.rows as u64;
        let range = |from: u64, row: u64| from..from.saturating_add(rows.saturating_mul(row));
        let scales = part.scales.map(|from| range(from, self.dtype.scale_bytes(width)));
        (range(part.offset, self.dtype.row_bytes(width)), scales)
    }
}

impl Pack {
    /// Parses `pack.json` and checks all of it against itself and against its configuration.
    ///
    /// # Errors
    /// The first field that is wrong. Nothing that passes can make a reader look outside a shard of the right length.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        let json: Value = serde_json::from_slice(bytes).map_err(|e| PackError::Json(e.to_string()))?;
        // Another version may have other fields: it is told before they are looked at.
        if json.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(bad("format", format!("not `{FORMAT}`; this is no pack")));
        }
        if json.get("version").and_then(Value::as_u64) != Some(u64::from(VERSION)) {
            let problem =
                format!("not {VERSION}; export the pack again with this release's `trainer export`");
            return Err(bad("version", problem));
        }
        let pack: Self = serde_json::from_value(json).map_err(|e| PackError::Json(e.to_string()))?;
        pack.check()?;
        Ok(pack)
    }

    /// The model's shape.
    ///
    /// # Errors
    /// As [`Config::from_json`]; never after [`Pack::parse`].
    pub fn config(&self) -> Result<Config, PackError> {
        Ok(Config::from_json(&self.config.to_string())?)
    }

    /// Bytes of all shards.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }

    /// Holds the pack's fields against each other and against the configuration.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), PackError> {
        let config = self.config()?;
        self.check_files()?;
        let mut expected = expected_tensors(&config);
        let mut taken = vec![Vec::new(); self.shards.len()];
        for (index, tensor) in self.tensors.iter().enumerate() {
            let field = |name: &str| format!("tensors[{index}].{name}");
            let shape = expected.remove(&tensor.name);
            let shape = shape.ok_or_else(|| {
                bad(field("name"), format!("`{}` stands twice or is no tensor of this model", tensor.name))
            })?;
            if shape != tensor.shape {
                let problem = format!("{:?}, but {} is {shape:?}", tensor.shape, tensor.name);
                return Err(bad(field("shape"), problem));
            }
            let quantized = matches!(tensor.dtype, PackType::Q4 | PackType::Q8);
            if shape.len() == 1 && tensor.dtype != PackType::F32 || shape.len() > 2 && quantized {
                let problem = format!("{:?} of {}; norms and biases are f32", tensor.dtype, tensor.name);
                return Err(bad(field("dtype"), problem));
            }
            self.check_parts(index, tensor, &mut taken)?;
        }
        if let Some(name) = expected.keys().next() {
            return Err(bad("tensors", format!("{name} is missing")));
        }
        for (shard, mut ranges) in taken.into_iter().enumerate() {
            ranges.sort_unstable_by_key(|range: &std::ops::Range<u64>| (range.start, range.end));
            if let Some(pair) = ranges.windows(2).find(|pair| pair[1].start < pair[0].end) {
                let problem = format!("two parts share the bytes from {}", pair[1].start);
                return Err(bad(format!("shards[{shard}]"), problem));
            }
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), PackError> {
        let mut names = BTreeSet::from([PACK]);
        let files = self
            .files
            .iter()
            .enumerate()
            .map(|(i, file)| (format!("files[{i}]"), "name", file.name.as_str(), file.sha256.as_str()));
        let shards =
            self.shards.iter().enumerate().map(|(i, shard)| {
                (format!("shards[{i}]"), "file", shard.file.as_str(), shard.sha256.as_str())
            });
        for (entry, field, name, sum) in files.chain(shards) {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                return Err(bad(format!("{entry}.{field}"), format!("`{name}` is not a plain file name")));
            }
            if !names.insert(name) {
                return Err(bad(format!("{entry}.{field}"), format!("`{name}` stands twice")));
            }
            let digit = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
            if sum.len() != 64 || !sum.chars().all(digit) {
                return Err(bad(format!("{entry}.sha256"), "not 64 hexadecimal digits in lower case"));
            }
        }
        for (i, shard) in self.shards.iter().enumerate() {
            if shard.bytes == 0 || shard.bytes > SHARD_BYTES {
                let problem = format!("{}, but a shard has 1 to {SHARD_BYTES} bytes", shard.bytes);
                return Err(bad(format!("shards[{i}].bytes"), problem));
            }
        }
        Ok(())
    }

    fn check_parts(
        &self,
        index: usize,
        tensor: &PackTensor,
        taken: &mut [Vec<std::ops::Range<u64>>],
    ) -> Result<(), PackError> {
        let quantized = matches!(tensor.dtype, PackType::Q4 | PackType::Q8);
        let mut rows = 0usize;
        for (at, part) in tensor.parts.iter().enumerate() {
            let field = |name: &str| format!("tensors[{index}].parts[{at}].{name}");
            let Some(shard) = self.shards.get(part.shard) else {
                return Err(bad(field("shard"), format!("{} of {}", part.shard, self.shards.len())));
            };
            if part.rows == 0 {
                return Err(bad(field("rows"), "0"));
            }
            rows = rows.saturating_add(part.rows);
            if part.scales.is_some() != quantized {
                let problem = if quantized { "absent" } else { "there, but the type has none" };
                return Err(bad(field("scales"), problem));
            }
            let (values, scales) = tensor.ranges(part);
            for (name, range) in [("offset", Some(values)), ("scales", scales)] {
                let Some(range) = range else { continue };
                if !range.start.is_multiple_of(ALIGNMENT) {
                    let problem = format!("{} is no multiple of {ALIGNMENT}", range.start);
                    return Err(bad(field(name), problem));
                }
                if range.end > shard.bytes {
                    let problem = format!("ends at {} of {} bytes of {}", range.end, shard.bytes, shard.file);
                    return Err(bad(field(name), problem));
                }
                taken[part.shard].push(range);
            }
        }
        if rows != tensor.matrix().0 {
            let problem = format!("{rows} rows, but {} has {}", tensor.name, tensor.matrix().0);
            return Err(bad(format!("tensors[{index}].parts"), problem));
        }
        Ok(())
    }

    /// Parts of each shard: index of the tensor and of its part, in order of their bytes.
    pub fn parts_of_shards(&self) -> BTreeMap<usize, Vec<(usize, usize)>> {
        let mut all: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (t, tensor) in self.tensors.iter().enumerate() {
            for (p, part) in tensor.parts.iter().enumerate() {
                all.entry(part.shard).or_default().push((t, p));
            }
        }
        for parts in all.values_mut() {
            parts.sort_unstable_by_key(|&(t, p)| self.tensors[t].parts[p].offset);
        }
        all
    }
}

#[cfg(test)]
mod tests;
