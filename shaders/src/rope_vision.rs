//! Two-dimensional rotary embedding of the vision tower's fused qkv.

use bytemuck::{Pod, Zeroable};

use crate::case::{Bound, Case, Expected, Numbers, ROUNDING, Slot, Values, words};
use crate::twins::turn;
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("rope_vision.wgsl");

const WORKGROUP: u32 = 256;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "rope_vision",
    wgsl: WGSL,
    workgroup: WORKGROUP,
    bindings: &[Binding::read("qkv"), Binding::read("rotary"), Binding::written("turned")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// P.
    pub patches: u32,
    /// H.
    pub heads: u32,
    /// D, even.
    pub head_dim: u32,
    /// Keeps the count of words even; 0.
    pub pad: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// If D is odd; from 2³² elements on.
pub fn grid(params: &Params) -> [u32; 3] {
    assert!(params.head_dim.is_multiple_of(2), "head dim {} has no pairs", params.head_dim);
    let pairs = elements(&[params.patches, 3, params.heads, params.head_dim]) / 2;
    fold(pairs.div_ceil(u64::from(WORKGROUP)))
}

/// The definition: `turned` `[P, 3, H, D]` of `qkv` `[P, 3, H, D]` and `rotary` `[P, 2, D/2]` (cosines, then sines).
pub fn twin(params: &Params, qkv: &[f32], rotary: &[f32]) -> Vec<f64> {
    let (heads, dim) = (params.heads as usize, params.head_dim as usize);
    let mut out = Vec::with_capacity(qkv.len());
    for (slot, x) in qkv.chunks_exact(dim).enumerate() {
        let patch = slot / (3 * heads);
        if slot % (3 * heads) < 2 * heads {
            out.extend(turn(x, &rotary[patch * dim..][..dim]));
        } else {
            out.extend(x.iter().copied().map(f64::from));
        }
    }
    out
}

/// `count` tokens' cosines and sines of arbitrary angles, `[count, 2, D/2]`.
pub(crate) fn rotary_of(numbers: &mut Numbers, count: usize, head_dim: usize) -> Vec<f32> {
    let mut rotary = Vec::with_capacity(count * head_dim);
    for _ in 0..count {
        let angles = numbers.floats(head_dim / 2, std::f32::consts::PI);
        rotary.extend(angles.iter().map(|angle| angle.cos()));
        rotary.extend(angles.iter().map(|angle| angle.sin()));
    }
    rotary
}

pub(crate) fn bound(magnitude: f32) -> Bound {
    Bound {
        abs: 4.0 * f64::from(magnitude) * ROUNDING,
        rel: 0.0,
        why: "two products and a sum of numbers no larger than the largest, each rounded once",
    }
}

fn case(name: &str, patches: usize, heads: usize, head_dim: usize, magnitude: f32) -> Case {
    let mut numbers = Numbers::new((patches * 31 + heads * 7 + head_dim) as u64);
    let qkv = numbers.floats(patches * 3 * heads * head_dim, magnitude);
    let rotary = rotary_of(&mut numbers, patches, head_dim);
    let params = Params { patches: patches as u32, heads: heads as u32, head_dim: head_dim as u32, pad: 0 };
    let want = Expected::F64(twin(&params, &qkv, &rotary));
    // Pair 256 is pair 256 % (D/2) of slot 256 / (D/2).
    let half = head_dim / 2;
    let pair = 256 / half * head_dim + 256 % half;
    let second_group = (qkv.len() > 512).then_some(pair);
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(qkv)),
            Slot::Read(Values::F32(rotary)),
            Slot::Written { want, second_group },
        ],
        bound: bound(magnitude),
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("a prime of patches", 61, 3, 16, 1.0),
        case("one patch, one pair", 1, 1, 2, 1.0),
        case("a workgroup less one", 85, 1, 2, 1.0),
        case("a workgroup", 1, 2, 86, 1.0),
        case("a workgroup and more", 86, 1, 2, 1.0),
        case("heads of the released tower", 5, 16, 80, 1.0),
        case("no patches", 0, 16, 80, 1.0),
        case("large magnitudes", 7, 2, 40, 1e30),
    ]
}
