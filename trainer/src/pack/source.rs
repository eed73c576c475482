//! A checkpoint's tensors, row by row, as floats.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use wethink_model::{canonical, check_shards};

use crate::folder::{Folder, Shard};

/// Bytes of weights whose pages this process holds at most: pages of what has been read are given back, so that the memory
/// it takes does not grow towards the checkpoint's size.
const RESIDENT: usize = 256 << 20;

/// Mapped shards, and where in them each tensor lies. Pages come from disk as rows are asked for.
pub struct Source {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Place>,
    /// Bytes read since pages were given back.
    read: AtomicUsize,
}

struct Place {
    shard: usize,
    bytes: Range<usize>,
    dtype: Dtype,
}

impl Source {
    /// The weights of a checkpoint folder.
    ///
    /// # Errors
    /// Every fault of every shard, before anything else is done.
    pub fn open(folder: &Folder) -> Result<Self> {
        let shards = folder.shards()?;
        check_shards(&folder.config()?, shards.iter().map(|shard| (shard.name(), shard.bytes())))
            .with_context(|| folder.dir().display().to_string())?;
        let mut tensors = BTreeMap::new();
        for (index, shard) in shards.iter().enumerate() {
            let bytes = shard.bytes();
            for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
                let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
                let bytes = start..start + view.data().len();
                tensors.insert(canonical(&name), Place { shard: index, bytes, dtype: view.dtype() });
            }
        }
        Ok(Self { shards, tensors, read: AtomicUsize::new(0) })
    }

    /// What tells this checkpoint from another: names and lengths of its shards.
    pub fn identity(&self) -> Vec<(String, usize)> {
        self.shards.iter().map(|shard| (shard.name().to_owned(), shard.bytes().len())).collect()
    }

    /// Some rows of a tensor whose rows have `width` values; nothing for a tensor that is not there.
    pub fn rows(&self, name: &str, width: usize, rows: Range<usize>) -> Vec<f32> {
        let Some(place) = self.tensors.get(name) else { return Vec::new() };
        let bytes = &self.shards[place.shard].bytes()[place.bytes.clone()];
        let size = if place.dtype == Dtype::F32 { 4 } else { 2 };
        let bytes = &bytes[rows.start * width * size..rows.end * width * size];
        if self.read.fetch_add(bytes.len(), Ordering::Relaxed) > RESIDENT {
            self.read.store(0, Ordering::Relaxed);
            self.shards.iter().for_each(Shard::give_back);
        }
        let halves = || bytes.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half));
        match place.dtype {
            Dtype::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
            Dtype::BF16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            _ => bytes.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float)).collect(),
        }
    }
}
