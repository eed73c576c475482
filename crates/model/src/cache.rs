//! Keys and values of the tokens seen so far, preallocated.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
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

    /// Holds nothing any more.
    pub(crate) fn forget(&mut self) {
        self.rows.fill(Seen::default());
    }

    /// Makes a row the copy of a cache of one row: what was computed once is there for another sample of the same prompt.
    pub(crate) fn copy_row(&mut self, row: usize, from: &Self) {
        let tokens = from.len(0);
        for (to, from) in self.layers.iter_mut().zip(&from.layers) {
            let (Some(to), Some(from)) = (to, from) else {
                unreachable!("a cache is away only while its own layer runs")
            };
            let [_, heads, _, dim] = from.k.dims();
            let copy = |to: &mut Tensor<4>, from: &Tensor<4>| {
                let held = from.clone().slice([0..1, 0..heads, 0..tokens, 0..dim]);
                to.inplace(|to| to.slice_assign([row..row + 1, 0..heads, 0..tokens, 0..dim], held));
            };
            copy(&mut to.k, &from.k);
            copy(&mut to.v, &from.v);
        }
        self.rows[row] = from.rows[0].clone();
    }

    /// Keeps these rows, in this order.
    pub(crate) fn keep_rows(&mut self, rows: &[usize]) {
        let places: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        for cache in self.layers.iter_mut().flatten() {
            let places = TensorData::new(places.clone(), [places.len()]);
            let places = Tensor::<1, Int>::from_data(places, &cache.k.device());
            cache.k.inplace(|k| k.select(0, places.clone()));
            cache.v.inplace(|v| v.select(0, places));
        }
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
    }
}
