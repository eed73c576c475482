//! Multimodal rotary embedding of new queries and keys, and their append to the cache.

use bytemuck::{Pod, Zeroable};

use crate::case::{Case, Expected, Numbers, Slot, Values, words};
use crate::rope_vision::{bound, rotary_of};
use crate::twins::turn;
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("mrope_append.wgsl");

const WORKGROUP: u32 = 256;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "mrope_append",
    wgsl: WGSL,
    workgroup: WORKGROUP,
    bindings: &[
        Binding::read("q"),
        Binding::read("k"),
        Binding::read("v"),
        Binding::read("rotary"),
        Binding::read("spans"),
        Binding::written("turned"),
        Binding::updated("k_cache"),
        Binding::updated("v_cache"),
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
    /// T, new tokens a row with padding.
    pub tokens: u32,
    /// Hq.
    pub heads: u32,
    /// Hkv.
    pub kv_heads: u32,
    /// D, even.
    pub head_dim: u32,
    /// Tmax, positions a row of the cache holds.
    pub cache_len: u32,
}

impl Params {
    /// Heads of q, k and v together: the slots of one token.
    fn slots(&self) -> u32 {
        self.heads + 2 * self.kv_heads
    }
}

/// Workgroups to launch.
///
/// # Panics
///
/// If D is odd; from 2³² elements on, new tokens' or a cache's.
pub fn grid(params: &Params) -> [u32; 3] {
    assert!(params.head_dim.is_multiple_of(2), "head dim {} has no pairs", params.head_dim);
    elements(&[params.batch, params.kv_heads, params.cache_len, params.head_dim]);
    let pairs = elements(&[params.batch, params.tokens, params.slots(), params.head_dim]) / 2;
    fold(pairs.div_ceil(u64::from(WORKGROUP)))
}

/// What [`twin`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// q turned, `[B, T, Hq, D]`.
    pub turned: Vec<f64>,
    /// The key cache afterwards, `[B, Hkv, Tmax, D]`.
    pub k_cache: Vec<f64>,
    /// The value cache afterwards, `[B, Hkv, Tmax, D]`.
    pub v_cache: Vec<f64>,
}

/// The new tokens of a batch, as the kernel takes them.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// `[B, T, Hq, D]`.
    pub q: &'a [f32],
    /// `[B, T, Hkv, D]`.
    pub k: &'a [f32],
    /// `[B, T, Hkv, D]`.
    pub v: &'a [f32],
    /// `[B, T, 2, D/2]`: cosines, then sines.
    pub rotary: &'a [f32],
    /// `[B, 2]`: start and count of each row.
    pub spans: &'a [u32],
}

/// The definition. Token i < count of a row goes to position start + i of its cache rows, if there is such a position.
pub fn twin(params: &Params, tokens: &Tokens<'_>, k_cache: &[f32], v_cache: &[f32]) -> Appended {
    let (dim, kv_heads) = (params.head_dim as usize, params.kv_heads as usize);
    let mut out = Appended {
        turned: Vec::with_capacity(tokens.q.len()),
        k_cache: k_cache.iter().copied().map(f64::from).collect(),
        v_cache: v_cache.iter().copied().map(f64::from).collect(),
    };
    for row in 0..params.batch as usize {
        let (start, count) = (tokens.spans[2 * row] as usize, tokens.spans[2 * row + 1] as usize);
        for i in 0..params.tokens as usize {
            let token = row * params.tokens as usize + i;
            let rotary = &tokens.rotary[token * dim..][..dim];
            for head in 0..params.heads as usize {
                let q = &tokens.q[(token * params.heads as usize + head) * dim..][..dim];
                out.turned.extend(turn(q, rotary));
            }
            if i >= count || start + i >= params.cache_len as usize {
                continue;
            }
            for head in 0..kv_heads {
                let from = (token * kv_heads + head) * dim;
                let to = ((row * kv_heads + head) * params.cache_len as usize + start + i) * dim;
                out.k_cache[to..to + dim].copy_from_slice(&turn(&tokens.k[from..from + dim], rotary));
                for d in 0..dim {
                    out.v_cache[to + d] = f64::from(tokens.v[from + d]);
                }
            }
        }
    }
    out
}

/// The first element of q, key cache and value cache that the second workgroup writes.
fn second_groups(params: &Params, spans: &[u32]) -> [Option<usize>; 3] {
    let half = params.head_dim as usize / 2;
    let pairs = (params.batch * params.tokens * params.slots()) as usize * half;
    let mut first = [None; 3];
    for item in WORKGROUP as usize..pairs.min(2 * WORKGROUP as usize) {
        let (d, slot) = (item % half, (item / half) % params.slots() as usize);
        let token = item / half / params.slots() as usize;
        let (row, i) = (token / params.tokens as usize, token % params.tokens as usize);
        let dim = params.head_dim as usize;
        if slot < params.heads as usize {
            first[0] = first[0].or(Some((token * params.heads as usize + slot) * dim + d));
        } else if i < spans[2 * row + 1] as usize {
            let slot = slot - params.heads as usize;
            let (part, head) = (slot / params.kv_heads as usize, slot % params.kv_heads as usize);
            let position = spans[2 * row] as usize + i;
            let at = (row * params.kv_heads as usize + head) * params.cache_len as usize + position;
            first[1 + part] = first[1 + part].or(Some(at * dim + d));
        }
    }
    first
}

fn case(name: &str, params: Params, spans: &[u32], magnitude: f32) -> Case {
    let tokens = (params.batch * params.tokens) as usize;
    let (dim, kv_heads) = (params.head_dim as usize, params.kv_heads as usize);
    let cached = params.batch as usize * kv_heads * params.cache_len as usize * dim;
    let mut numbers = Numbers::new((tokens * 31 + dim) as u64);
    let q = numbers.floats(tokens * params.heads as usize * dim, magnitude);
    let k = numbers.floats(tokens * kv_heads * dim, magnitude);
    let v = numbers.floats(tokens * kv_heads * dim, magnitude);
    let rotary = rotary_of(&mut numbers, tokens, dim);
    let k_cache = numbers.floats(cached, magnitude);
    let v_cache = numbers.floats(cached, magnitude);
    let new = Tokens { q: &q, k: &k, v: &v, rotary: &rotary, spans };
    let want = twin(&params, &new, &k_cache, &v_cache);
    let [first_q, first_k, first_v] = second_groups(&params, spans);
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(q)),
            Slot::Read(Values::F32(k)),
            Slot::Read(Values::F32(v)),
            Slot::Read(Values::F32(rotary)),
            Slot::Read(Values::U32(spans.to_vec())),
            Slot::Written { want: Expected::F64(want.turned), second_group: first_q },
            Slot::Updated { before: k_cache, want: want.k_cache, second_group: first_k },
            Slot::Updated { before: v_cache, want: want.v_cache, second_group: first_v },
        ],
        bound: bound(magnitude),
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let params = |batch, tokens, heads, kv_heads, head_dim, cache_len| Params {
        batch,
        tokens,
        heads,
        kv_heads,
        head_dim,
        cache_len,
    };
    vec![
        case("ragged rows over older tokens", params(3, 17, 6, 2, 16, 37), &[0, 17, 20, 5, 3, 0], 1.0),
        case("one token, one pair", params(1, 1, 1, 1, 2, 1), &[0, 1], 1.0),
        case("a workgroup less one", params(1, 17, 1, 1, 10, 17), &[0, 17], 1.0),
        case("a workgroup", params(1, 8, 2, 1, 16, 9), &[1, 8], 1.0),
        case("a workgroup and more", params(1, 43, 4, 1, 2, 50), &[7, 43], 1.0),
        case("heads of the released 7B model", params(2, 3, 28, 4, 128, 11), &[8, 3, 0, 2], 1.0),
        case("no tokens", params(2, 0, 4, 2, 16, 5), &[2, 0, 3, 0], 1.0),
        case("a span beyond the cache", params(2, 5, 2, 1, 18, 7), &[4, 5, 9, 5], 1.0),
        case("large magnitudes", params(1, 5, 4, 2, 40, 8), &[3, 5], 1e30),
    ]
}
