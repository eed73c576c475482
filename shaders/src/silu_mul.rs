//! `gate * sigmoid(gate) * up`, elementwise.

use bytemuck::{Pod, Zeroable};

use crate::case::{Bound, Case, Expected, Numbers, ROUNDING, Slot, Values, words};
use crate::{Binding, Kernel, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("silu_mul.wgsl");

const WORKGROUP: u32 = 256;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "silu_mul",
    wgsl: WGSL,
    workgroup: WORKGROUP,
    bindings: &[Binding::read("gate"), Binding::read("up"), Binding::written("product")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Length of each buffer.
    pub elements: u32,
    /// Keeps the count of words even; 0.
    pub pad: u32,
}

/// Workgroups to launch.
pub fn grid(params: &Params) -> [u32; 3] {
    fold(u64::from(params.elements.div_ceil(WORKGROUP)))
}

/// The definition: `product` of `gate` and `up`, all of one length.
pub fn twin(gate: &[f32], up: &[f32]) -> Vec<f64> {
    gate.iter()
        .zip(up)
        .map(|(&g, &u)| {
            let g = f64::from(g);
            g / (1.0 + (-g).exp()) * f64::from(u)
        })
        .collect()
}

fn case(name: &str, elements: usize, gate_magnitude: f32, up_magnitude: f32) -> Case {
    let mut numbers = Numbers::new(elements as u64);
    let gate = numbers.floats(elements, gate_magnitude);
    let up = numbers.floats(elements, up_magnitude);
    let params = Params { elements: elements as u32, pad: 0 };
    let want = Expected::F64(twin(&gate, &up));
    // Below e^-87 f32 has no normal numbers: smaller results count as zero.
    let exponent = f64::from(gate_magnitude.min(87.0));
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(gate)),
            Slot::Read(Values::F32(up)),
            Slot::Written { want, second_group: (elements > 256).then_some(256) },
        ],
        bound: Bound {
            abs: 1e-36 * f64::from(gate_magnitude) * f64::from(up_magnitude),
            rel: (3.0 + 2.0 * exponent + 8.0) * 2.0 * ROUNDING,
            why: "WGSL's exp(x) errs by 3 + 2|x| units in the last place; eight more for the rest",
        },
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("two workgroups and a prime", 1009, 20.0, 3.0),
        case("one element", 1, 20.0, 3.0),
        case("a workgroup less one", 255, 20.0, 3.0),
        case("a workgroup", 256, 20.0, 3.0),
        case("a workgroup and one", 257, 20.0, 3.0),
        case("empty", 0, 20.0, 3.0),
        case("large magnitudes", 1000, 1000.0, 1e6),
        case("more than 65,535 workgroups", 65_536 * 256 + 3, 20.0, 3.0),
    ]
}
