//! What the cases of the packed products share: random packed matrices, and how far a sum may be off.

use half::f16;

use crate::case::{Bound, Numbers, ROUNDING, Slot, Values};
use crate::packing::{BLOCK, Packing};

/// Every packing, for cases that try all.
pub(crate) const ALL: [Packing; 3] = [Packing::Q4, Packing::Q8, Packing::F16];

/// A packed matrix.
pub(crate) struct Matrix {
    pub(crate) packing: Packing,
    pub(crate) width: usize,
    pub(crate) words: Vec<u32>,
    pub(crate) scales: Vec<u32>,
}

impl Matrix {
    /// Values up to `magnitude`. The padding of the last block holds noise where noise is finite: a kernel must not let
    /// it in.
    pub(crate) fn random(
        numbers: &mut Numbers,
        packing: Packing,
        rows: usize,
        width: usize,
        magnitude: f32,
    ) -> Self {
        let halves = |values: Vec<f32>| -> Vec<u32> {
            let bits = |x: f32| u32::from(f16::from_f32(x).to_bits());
            values.chunks_exact(2).map(|pair| bits(pair[0]) | bits(pair[1]) << 16).collect()
        };
        let count = rows * packing.row_words(width);
        let words = match packing {
            Packing::F16 => halves(numbers.floats(2 * count, magnitude)),
            _ => numbers.integers(count, u32::MAX),
        };
        let steps = if packing == Packing::Q4 { 8.0 } else { 128.0 };
        let mut scales = halves(numbers.floats(2 * rows * packing.scale_words(width), magnitude / steps));
        if scales.is_empty() {
            scales.push(0); // halves have none, but a binding is not empty
        }
        Self { packing, width, words, scales }
    }

    /// The values, row by row.
    pub(crate) fn dense(&self) -> Vec<f32> {
        unpack(self.packing, self.width, &self.words, &self.scales)
    }

    /// Words and scales as a kernel takes them.
    pub(crate) fn slots(&self) -> [Slot; 2] {
        [self.words.clone(), self.scales.clone()].map(|words| Slot::Read(Values::U32(words)))
    }
}

/// The values of a packed matrix, row by row.
pub(crate) fn unpack(packing: Packing, width: usize, words: &[u32], scales: &[u32]) -> Vec<f32> {
    let row_words = packing.row_words(width);
    let row_scales = packing.scale_words(width);
    let mut out = vec![0.0; words.len() / row_words * width];
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let scales = scales.get(row * row_scales..(row + 1) * row_scales).unwrap_or_default();
        packing.unpack(&words[row * row_words..][..row_words], scales, out);
    }
    out
}

/// `x · Wᵀ` of `[R, K]` and `[N, K]`, and the largest `Σ |x w|` of all sums.
pub(crate) fn product(x: &[f64], w: &[f32], width: usize) -> (Vec<f64>, f64) {
    let mut out = Vec::new();
    let mut largest = 0f64;
    for x in x.chunks_exact(width) {
        for w in w.chunks_exact(width) {
            let terms = || x.iter().zip(w).map(|(x, &w)| x * f64::from(w));
            out.push(terms().sum());
            largest = largest.max(terms().map(f64::abs).sum());
        }
    }
    (out, largest)
}

/// The bound of a sum over `width` products whose absolute values add up to `mass`.
pub(crate) fn bound(width: usize, mass: f64) -> Bound {
    let steps = width.div_ceil(BLOCK) + BLOCK + 16;
    Bound {
        abs: steps as f64 * ROUNDING * mass,
        rel: 32.0 * ROUNDING,
        why: "a sum rounds once for each of its steps, by a share of the sum of absolute products: at most a block at \
              once and one step a block, then a tree; norm, bias and gate round a few times more",
    }
}
