//! Residual add, then root-mean-square norm of the sum: what stands between any two blocks of the language model.

use crate::case::{Case, Expected, Numbers, Slot, Values, words};
pub use crate::rms_norm::{Params, grid};
use crate::{Binding, Kernel, rms_norm};

/// The kernel's text.
pub const WGSL: &str = include_str!("add_rms_norm.wgsl");

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "add_rms_norm",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[
        Binding::read("x"),
        Binding::read("residual"),
        Binding::read("weight"),
        Binding::written("stream"),
        Binding::written("normed"),
    ],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The definition: `(stream, normed)`, both `[N, C]`, of `x` and `residual` `[N, C]` and `weight` `[C]`.
pub fn twin(params: &Params, x: &[f32], residual: &[f32], weight: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let stream: Vec<f64> = x.iter().zip(residual).map(|(&x, &r)| f64::from(x) + f64::from(r)).collect();
    let normed = rms_norm::normed(params, &stream, weight);
    (stream, normed)
}

fn case(name: &str, rows: usize, width: usize, magnitude: f32) -> Case {
    let mut numbers = Numbers::new((rows * 7919 + width) as u64);
    let x = numbers.floats(rows * width, magnitude);
    let residual = numbers.floats(rows * width, magnitude);
    let weight = numbers.floats(width, 2.0);
    let params = Params { rows: rows as u32, width: width as u32, eps: 1e-6, pad: 0 };
    let (stream, normed) = twin(&params, &x, &residual, &weight);
    let second_group = (rows > 1).then_some(width);
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(x)),
            Slot::Read(Values::F32(residual)),
            Slot::Read(Values::F32(weight)),
            Slot::Written { want: Expected::F64(stream), second_group },
            Slot::Written { want: Expected::F64(normed), second_group },
        ],
        bound: rms_norm::bound(width),
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
    ]
}
