//! Attention of one new token a row over a key-value cache, first half: a partial softmax for each split of the cache.

use bytemuck::{Pod, Zeroable};

use crate::attention_prefill::{assert_heads, bound, cache};
use crate::case::{Case, Expected, Numbers, Slot, Values, words};
use crate::twins::dot;
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("attention_decode.wgsl");

/// Positions of a split.
pub const SPLIT: u32 = 64;

/// Query heads that share one reading of keys and values.
pub const PASS: u32 = 8;

/// The maximum of a split without a key.
pub const LOWEST: f32 = -1e30;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "attention_decode",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[
        Binding::read("q"),
        Binding::read("k_cache"),
        Binding::read("v_cache"),
        Binding::read("spans"),
        Binding::written("sums"),
        Binding::written("stats"),
    ],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// B.
    pub batch: u32,
    /// Hq.
    pub heads: u32,
    /// Hkv, a divisor of Hq.
    pub kv_heads: u32,
    /// D, even and at most 128.
    pub head_dim: u32,
    /// Tmax, positions a row of the cache holds.
    pub cache_len: u32,
    /// S: see [`splits`].
    pub splits: u32,
    /// Multiplies the scores, `1 / sqrt(D)`.
    pub scale: f32,
    /// Keeps the count of words even; 0.
    pub pad: u32,
}

/// Splits of a cache of which no row fills more than `filled` positions (its start + count): at least one, so that
/// a batch of finished rows still gets its zeros.
pub fn splits(filled: u32) -> u32 {
    filled.div_ceil(SPLIT).max(1)
}

/// Workgroups to launch.
///
/// # Panics
///
/// If D is odd or above [`MAX_DIM`](crate::attention_prefill::MAX_DIM), or Hkv no divisor of Hq; from 2³² elements on, a
/// cache's or the partial sums'.
pub fn grid(params: &Params) -> [u32; 3] {
    assert_heads(params.heads, params.kv_heads, params.head_dim);
    assert!(params.head_dim.is_multiple_of(2), "keys are read in pairs, head dim {} is odd", params.head_dim);
    elements(&[params.batch, params.kv_heads, params.cache_len, params.head_dim]);
    elements(&[params.batch, params.heads, params.splits, params.head_dim]);
    let passes = (params.heads / params.kv_heads).div_ceil(PASS);
    fold(u64::from(params.batch) * u64::from(params.kv_heads) * u64::from(passes) * u64::from(params.splits))
}

/// The definition: `(sums, stats)`, `[B, Hq, S, D]` and `[B, Hq, S, 2]`, of `q` `[B, Hq, D]`, both caches
/// `[B, Hkv, Tmax, D]` and `spans` `[B, 2]`.
///
/// Of the positions of a split below start + count (none if count is 0): the largest scaled score, the sum of
/// exp(score - largest), and the values summed with those weights.
pub fn twin(
    params: &Params,
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    spans: &[u32],
) -> (Vec<f64>, Vec<f64>) {
    let (dim, heads, cache_len) =
        (params.head_dim as usize, params.heads as usize, params.cache_len as usize);
    let group = heads / params.kv_heads as usize;
    let (mut sums, mut stats) = (Vec::new(), Vec::new());
    for row in 0..params.batch as usize {
        let (start, count) = (spans[2 * row], spans[2 * row + 1]);
        let filled = if count == 0 { 0 } else { start + count };
        for head in 0..heads {
            let q = &q[(row * heads + head) * dim..][..dim];
            let cache = (row * params.kv_heads as usize + head / group) * cache_len * dim;
            for split in 0..params.splits {
                let positions =
                    (split * SPLIT).min(filled) as usize..((split + 1) * SPLIT).min(filled) as usize;
                let at = |position: usize| cache + position * dim..cache + (position + 1) * dim;
                let scores: Vec<f64> = positions
                    .clone()
                    .map(|position| dot(q, &k_cache[at(position)]) * f64::from(params.scale))
                    .collect();
                let maximum = scores.iter().copied().fold(f64::from(LOWEST), f64::max);
                let mut sum = vec![0.0; dim];
                let mut total = 0.0;
                for (score, position) in scores.iter().zip(positions) {
                    let weight = (score - maximum).exp();
                    total += weight;
                    for (sum, &v) in sum.iter_mut().zip(&v_cache[at(position)]) {
                        *sum += weight * f64::from(v);
                    }
                }
                sums.extend(sum);
                stats.extend([maximum, total]);
            }
        }
    }
    (sums, stats)
}

fn case(name: &str, shape: [u32; 5], spans: &[u32], magnitude: f32) -> Case {
    let [batch, heads, kv_heads, head_dim, cache_len] = shape;
    let dim = head_dim as usize;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let filled: Vec<u32> = spans.chunks(2).map(|span| span[0] + span[1]).collect();
    let splits = splits(filled.iter().copied().max().unwrap_or(0));
    let params = Params { batch, heads, kv_heads, head_dim, cache_len, splits, scale, pad: 0 };

    let row_heads: Vec<u32> = filled.iter().flat_map(|&filled| vec![filled; kv_heads as usize]).collect();
    let mut numbers = Numbers::new(u64::from(cache_len * 131 + head_dim));
    let q = numbers.floats((batch * heads) as usize * dim, magnitude);
    let k_cache = cache(&mut numbers, &row_heads, cache_len as usize, dim, magnitude);
    let v_cache = cache(&mut numbers, &row_heads, cache_len as usize, dim, 1.0);
    let (sums, stats) = twin(&params, &q, &k_cache, &v_cache, spans);

    let group = heads / kv_heads;
    // In units of (head, split): the second split, or the first split of the second pass or cache head.
    let second = if splits > 1 { 1 } else { group.min(PASS) * splits } as usize;
    let groups = batch * kv_heads * group.div_ceil(PASS) * splits;
    let score = f64::from(head_dim) * f64::from(magnitude) * f64::from(magnitude) * f64::from(scale);
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(q)),
            Slot::Read(Values::F32(k_cache)),
            Slot::Read(Values::F32(v_cache)),
            Slot::Read(Values::U32(spans.to_vec())),
            Slot::Written { want: Expected::F64(sums), second_group: (groups > 1).then_some(second * dim) },
            Slot::Written { want: Expected::F64(stats), second_group: (groups > 1).then_some(second * 2) },
        ],
        bound: bound(score, SPLIT as f64, SPLIT as usize),
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case(
            "rows of different lengths, one finished",
            [4, 6, 2, 40, 301],
            &[299, 1, 0, 1, 150, 0, 63, 1],
            1.0,
        ),
        case("one key", [1, 1, 1, 2, 1], &[0, 1], 1.0),
        case("a split less one", [2, 4, 2, 16, 63], &[62, 1, 62, 1], 1.0),
        case("a split", [1, 4, 2, 16, 64], &[63, 1], 1.0),
        case("a split and one", [1, 4, 2, 16, 80], &[64, 1], 1.0),
        case("a prime of keys, dims that fill no lane", [1, 5, 5, 18, 1009], &[1008, 1], 1.0),
        case("heads of the released 7B model", [2, 28, 4, 128, 400], &[399, 1, 200, 1], 1.0),
        case("heads of the released 3B model", [1, 16, 2, 128, 130], &[129, 1], 1.0),
        case("a group of more than eight heads", [1, 22, 2, 32, 70], &[69, 1], 1.0),
        case("no rows", [0, 4, 2, 16, 8], &[], 1.0),
        case("finished rows only", [2, 4, 2, 16, 8], &[5, 0, 0, 0], 1.0),
        case("large magnitudes", [1, 4, 2, 80, 150], &[140, 1], 100.0),
    ]
}
