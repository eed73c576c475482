//! Attention within segments: the vision tower's windows as blocks, or whole pictures.

use bytemuck::{Pod, Zeroable};

use crate::attention_prefill::{TILE, assert_heads, bound};
use crate::case::{Case, Expected, Numbers, Slot, Values, words};
use crate::twins::attend;
use crate::{Binding, Kernel, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("attention_vision.wgsl");

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "attention_vision",
    wgsl: WGSL,
    workgroup: 64,
    bindings: &[Binding::read("qkv"), Binding::read("bounds"), Binding::written("attended")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// S.
    pub segments: u32,
    /// Patches of the longest segment. Smaller, and patches are missed; larger costs time only.
    pub longest: u32,
    /// H.
    pub heads: u32,
    /// D, at most 128.
    pub head_dim: u32,
    /// Multiplies the scores, `1 / sqrt(D)`.
    pub scale: f32,
    /// Keeps the count of words even; 0.
    pub pad: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// If D is above [`MAX_DIM`](crate::attention_prefill::MAX_DIM).
pub fn grid(params: &Params) -> [u32; 3] {
    assert_heads(params.heads, params.heads, params.head_dim);
    let tiles = u64::from(params.longest.div_ceil(TILE));
    fold(tiles * u64::from(params.heads) * u64::from(params.segments))
}

/// The definition: `attended` `[P, H, D]` of `qkv` `[P, 3, H, D]` and `bounds` `[S + 1]`.
///
/// Patch p of segment s attends to patches `bounds[s] .. bounds[s + 1]`.
pub fn twin(params: &Params, qkv: &[f32], bounds: &[u32]) -> Vec<f64> {
    let (dim, heads) = (params.head_dim as usize, params.heads as usize);
    let element =
        |patch: usize, part: usize, head: usize| &qkv[((patch * 3 + part) * heads + head) * dim..][..dim];
    let mut out = Vec::with_capacity(qkv.len() / 3);
    for segment in bounds.windows(2) {
        let patches = segment[0] as usize..segment[1] as usize;
        for patch in patches.clone() {
            for head in 0..heads {
                let keys: Vec<&[f32]> = patches.clone().map(|p| element(p, 1, head)).collect();
                let values: Vec<&[f32]> = patches.clone().map(|p| element(p, 2, head)).collect();
                out.extend(attend(element(patch, 0, head), &keys, &values, params.scale));
            }
        }
    }
    out
}

fn case(name: &str, heads: usize, head_dim: usize, lengths: &[u32], magnitude: f32) -> Case {
    let mut bounds = vec![0];
    for length in lengths {
        bounds.push(bounds[bounds.len() - 1] + length);
    }
    let patches = bounds[bounds.len() - 1] as usize;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let params = Params {
        segments: lengths.len() as u32,
        longest,
        heads: heads as u32,
        head_dim: head_dim as u32,
        scale,
        pad: 0,
    };

    let mut numbers = Numbers::new((patches * 131 + head_dim) as u64);
    let part = heads * head_dim;
    let mut qkv = Vec::with_capacity(patches * 3 * part);
    for _ in 0..patches {
        qkv.extend(numbers.floats(2 * part, magnitude));
        qkv.extend(numbers.floats(part, 1.0));
    }
    let want = Expected::F64(twin(&params, &qkv, &bounds));

    let second = if lengths.first().is_some_and(|&length| length > TILE) {
        Some(TILE as usize * part) // the second tile
    } else if longest > TILE {
        None // the second tile of the first segment is empty
    } else if heads > 1 {
        Some(head_dim) // the second head
    } else {
        Some(bounds[1.min(lengths.len())] as usize * part) // the second segment
    };
    let groups = lengths.len() * heads * longest.div_ceil(TILE) as usize;
    let score = head_dim as f64 * f64::from(magnitude) * f64::from(magnitude) * f64::from(scale);
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(qkv)),
            Slot::Read(Values::U32(bounds)),
            Slot::Written { want, second_group: second.filter(|_| groups > 1) },
        ],
        bound: bound(score, 1.0, longest as usize),
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case(
            "windows of 64 with smaller ones at the edges",
            3,
            40,
            &[64, 64, 32, 64, 64, 32, 16, 16, 8],
            1.0,
        ),
        case("one patch", 1, 2, &[1], 1.0),
        case("a tile less one", 2, 16, &[31, 31], 1.0),
        case("a tile", 2, 16, &[32, 32], 1.0),
        case("a tile and one", 2, 16, &[33, 33], 1.0),
        case("a prime of patches, dims that fill no vector", 3, 18, &[61], 1.0),
        case("two pictures, heads of the released tower", 16, 80, &[100, 36], 1.0),
        case("an empty segment between others", 2, 128, &[4, 0, 40, 0], 1.0),
        case("no patches", 2, 80, &[], 1.0),
        case("large magnitudes", 2, 32, &[45, 77], 100.0),
        case("a whole picture of 2,116 patches", 1, 32, &[2116], 1.0),
    ]
}
