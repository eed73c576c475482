//! Keys and values of the tokens seen so far, preallocated.

use burn::tensor::{DType, Device, Tensor};
use wethink_kernels::Cache;

use crate::TextConfig;
use crate::prompt::Seen;

/// The cache of B rows of at most `capacity` tokens.
///
/// Besides keys and values it remembers which tokens and pictures it holds, so that a further turn computes only what is
/// new. Memory: `2 * layers * B * Hkv * capacity * D` values.
#[derive(Debug, Clone)]
pub struct KvCache {
    /// One per layer; `None` only while a step is writing to it.
    pub(crate) layers: Vec<Option<Cache>>,
    pub(crate) rows: Vec<Seen>,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for `batch` rows of at most `capacity` tokens, prompt and answer together.
    pub fn new(config: &TextConfig, batch: usize, capacity: usize, device: &Device, dtype: DType) -> Self {
        let shape = [batch, config.num_key_value_heads, capacity, config.head_dim()];
        let empty = || Tensor::zeros(shape, (device, dtype));
        let layers = (0..config.num_hidden_layers).map(|_| Some(Cache { k: empty(), v: empty() })).collect();
        Self { layers, rows: vec![Seen::default(); batch], capacity }
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.rows.len()
    }

    /// Tokens a row can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens row `b` holds.
    pub fn len(&self, row: usize) -> usize {
        self.rows[row].len()
    }

    /// Whether no row holds a token.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.len() == 0)
    }
}
