//! Root-mean-square norm: `x / sqrt(mean(x²) + eps) * weight`, a row at a time (Qwen2RMSNorm in transformers).

use bytemuck::{Pod, Zeroable};

use crate::case::{Bound, Case, Expected, Numbers, ROUNDING, Slot, Values, words};
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("rms_norm.wgsl");

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "rms_norm",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[Binding::read("x"), Binding::read("weight"), Binding::written("normed")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// N.
    pub rows: u32,
    /// C, elements of a row.
    pub width: u32,
    /// Added to the mean square.
    pub eps: f32,
    /// Keeps the count of words even; 0.
    pub pad: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// From 2³² elements on.
pub fn grid(params: &Params) -> [u32; 3] {
    elements(&[params.rows, params.width]);
    fold(u64::from(params.rows))
}

/// The definition: `normed` `[N, C]` of `x` `[N, C]` and `weight` `[C]`.
pub fn twin(params: &Params, x: &[f32], weight: &[f32]) -> Vec<f64> {
    let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
    normed(params, &x, weight)
}

pub(crate) fn normed(params: &Params, x: &[f64], weight: &[f32]) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(params.width.max(1) as usize) {
        let mean_square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
        let rms = (mean_square + f64::from(params.eps)).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, &w)| x / rms * f64::from(w)));
    }
    out
}

pub(crate) fn bound(width: usize) -> Bound {
    Bound {
        abs: 0.0,
        rel: (width as f64 / 512.0 + 20.0) * ROUNDING,
        why: "a sum of C/256 squares and eight tree steps, halved by the root; inverseSqrt errs by 2 units in the last \
              place; eight roundings for the rest",
    }
}

fn case(name: &str, rows: usize, width: usize, magnitude: f32) -> Case {
    let mut numbers = Numbers::new((rows * 7919 + width) as u64);
    let x = numbers.floats(rows * width, magnitude);
    let weight = numbers.floats(width, 2.0);
    let params = Params { rows: rows as u32, width: width as u32, eps: 1e-6, pad: 0 };
    let want = Expected::F64(twin(&params, &x, &weight));
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(x)),
            Slot::Read(Values::F32(weight)),
            Slot::Written { want, second_group: (rows > 1).then_some(width) },
        ],
        bound: bound(width),
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("a prime of rows and of elements", 13, 1009, 1.0),
        case("one element", 1, 1, 1.0),
        case("a workgroup less one", 2, 255, 1.0),
        case("a workgroup", 2, 256, 1.0),
        case("a workgroup and one", 2, 257, 1.0),
        case("width of the released 7B model", 3, 3584, 1.0),
        case("no rows", 0, 64, 1.0),
        case("large magnitudes", 3, 1000, 1e14),
        case("so small that eps rules", 3, 1000, 1e-5),
        case("more than 65,535 workgroups", 65_537, 2, 1.0),
    ]
}
