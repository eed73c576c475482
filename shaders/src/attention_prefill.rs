//! Causal attention of new tokens over a key-value cache, with grouped query heads.

use bytemuck::{Pod, Zeroable};

use crate::case::{Bound, Case, Expected, Numbers, ROUNDING, Slot, Values, words};
use crate::twins::attend;
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("attention_prefill.wgsl");

/// The largest head dim of the attention kernels.
pub const MAX_DIM: u32 = 128;

/// Queries of a workgroup.
pub const TILE: u32 = 32;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "attention_prefill",
    wgsl: WGSL,
    workgroup: 64,
    bindings: &[
        Binding::read("q"),
        Binding::read("k_cache"),
        Binding::read("v_cache"),
        Binding::read("spans"),
        Binding::written("attended"),
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
    /// Tq, queries a row with padding.
    pub tokens: u32,
    /// Hq.
    pub heads: u32,
    /// Hkv, a divisor of Hq.
    pub kv_heads: u32,
    /// D, at most 128.
    pub head_dim: u32,
    /// Tmax, positions a row of the cache holds.
    pub cache_len: u32,
    /// The largest start of any row. Smaller, and later keys are missed; larger costs time only.
    pub start_max: u32,
    /// Multiplies the scores, `1 / sqrt(D)`.
    pub scale: f32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// If D is above [`MAX_DIM`] or Hkv no divisor of Hq; from 2³² elements on, the queries' or a cache's.
pub fn grid(params: &Params) -> [u32; 3] {
    assert_heads(params.heads, params.kv_heads, params.head_dim);
    elements(&[params.batch, params.kv_heads, params.cache_len, params.head_dim]);
    elements(&[params.batch, params.tokens, params.heads, params.head_dim]);
    let tiles = u64::from(params.tokens.div_ceil(TILE));
    fold(tiles * u64::from(params.heads) * u64::from(params.batch))
}

pub(crate) fn assert_heads(heads: u32, kv_heads: u32, head_dim: u32) {
    assert!(head_dim <= MAX_DIM, "head dim {head_dim} is above {MAX_DIM}");
    assert!(heads.is_multiple_of(kv_heads), "{heads} query heads do not share {kv_heads} cache heads evenly");
}

/// The definition: `attended` `[B, Tq, Hq, D]` of `q` `[B, Tq, Hq, D]`, both caches `[B, Hkv, Tmax, D]` and
/// `spans` `[B, 2]`.
///
/// Query i < count of a row attends to positions 0 ..= start + i; the queries beyond give zeros.
pub fn twin(params: &Params, q: &[f32], k_cache: &[f32], v_cache: &[f32], spans: &[u32]) -> Vec<f64> {
    let (dim, heads, cache_len) =
        (params.head_dim as usize, params.heads as usize, params.cache_len as usize);
    let group = heads / params.kv_heads as usize;
    let mut out = Vec::with_capacity(q.len());
    for row in 0..params.batch as usize {
        let (start, count) = (spans[2 * row] as usize, spans[2 * row + 1] as usize);
        for i in 0..params.tokens as usize {
            for head in 0..heads {
                if i >= count {
                    out.extend(vec![0.0; dim]);
                    continue;
                }
                let cache = (row * params.kv_heads as usize + head / group) * cache_len * dim;
                let q = &q[((row * params.tokens as usize + i) * heads + head) * dim..][..dim];
                let seen = cache..cache + (start + i + 1) * dim;
                let keys: Vec<&[f32]> = k_cache[seen.clone()].chunks_exact(dim).collect();
                let values: Vec<&[f32]> = v_cache[seen].chunks_exact(dim).collect();
                out.extend(attend(q, &keys, &values, params.scale));
            }
        }
    }
    out
}

/// The bound of every attention kernel. `score` is the largest scaled score that the inputs allow, `value` the largest
/// value, `keys` the most keys a query sees.
pub(crate) fn bound(score: f64, value: f64, keys: usize) -> Bound {
    let rel = (score + (keys as f64).sqrt() + 16.0) * ROUNDING;
    Bound {
        abs: value * rel,
        rel,
        why: "a weight is off by as much as its score, whose D roundings together stay within one at the largest \
              score's size; exp(x) errs by 3 + 2|x| units in the last place and small weights do not count; sums over \
              keys gather roundings of either sign",
    }
}

/// Caches of a batch with NaN wherever no key lies: a kernel that looks there is found out.
pub(crate) fn cache(
    numbers: &mut Numbers,
    row_heads: &[u32],
    cache_len: usize,
    dim: usize,
    magnitude: f32,
) -> Vec<f32> {
    let mut cache = Vec::with_capacity(row_heads.len() * cache_len * dim);
    for &filled in row_heads {
        cache.extend(numbers.floats(filled as usize * dim, magnitude));
        cache.resize(cache.len() + (cache_len - filled as usize) * dim, f32::NAN);
    }
    cache
}

fn case(name: &str, shape: [u32; 6], spans: &[u32], magnitude: f32) -> Case {
    let [batch, tokens, heads, kv_heads, head_dim, cache_len] = shape;
    let dim = head_dim as usize;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let start_max = spans.iter().step_by(2).copied().max().unwrap_or(0);
    let params = Params { batch, tokens, heads, kv_heads, head_dim, cache_len, start_max, scale };

    let filled: Vec<u32> =
        spans.chunks(2).flat_map(|span| vec![span[0] + span[1]; kv_heads as usize]).collect();
    let mut numbers = Numbers::new(u64::from(tokens * 131 + head_dim));
    let mut q = numbers.floats((batch * tokens * heads) as usize * dim, magnitude);
    let row_len = (tokens * heads) as usize * dim;
    for (row, span) in spans.chunks(2).enumerate() {
        let padding = (span[1] * heads) as usize * dim;
        q[row * row_len + padding..(row + 1) * row_len].fill(f32::NAN);
    }
    let k_cache = cache(&mut numbers, &filled, cache_len as usize, dim, magnitude);
    let v_cache = cache(&mut numbers, &filled, cache_len as usize, dim, 1.0);
    let want = Expected::F64(twin(&params, &q, &k_cache, &v_cache, spans));

    let second = if tokens > TILE {
        (TILE * heads * head_dim) as usize // the second tile
    } else if heads > 1 {
        dim // the second head
    } else {
        row_len // the second row
    };
    let groups = batch * heads * tokens.div_ceil(TILE);
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
            Slot::Written { want, second_group: (groups > 1).then_some(second) },
        ],
        bound: bound(score, 1.0, (start_max + tokens) as usize),
    }
}

/// The case that shows that no score matrix is needed: `[1, 4096, 1, 16]` over its own keys.
pub fn long_case() -> Case {
    case("4,096 tokens", [1, 4096, 1, 1, 16, 4096], &[0, 4096], 1.0)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("ragged rows over older tokens", [3, 37, 14, 2, 40, 128], &[0, 37, 5, 1, 61, 0], 1.0),
        case("one query, one key", [1, 1, 1, 1, 2, 1], &[0, 1], 1.0),
        case("a tile less one", [1, 31, 4, 2, 16, 40], &[0, 31], 1.0),
        case("a tile", [1, 32, 4, 2, 16, 32], &[0, 32], 1.0),
        case("a tile and one", [2, 33, 2, 1, 32, 33], &[0, 33, 0, 33], 1.0),
        case("a prime of tokens, dims that fill no vector", [2, 61, 3, 3, 18, 131], &[70, 61, 67, 53], 1.0),
        case("heads of the released 7B model", [1, 67, 28, 4, 128, 97], &[30, 67], 1.0),
        case("no queries", [2, 0, 4, 2, 16, 8], &[5, 0, 3, 0], 1.0),
        case("large magnitudes", [1, 45, 4, 2, 80, 64], &[19, 45], 100.0),
        case("more than 65,535 workgroups", [1, 1, 65_537, 1, 2, 3], &[2, 1], 1.0),
        long_case(),
    ]
}
