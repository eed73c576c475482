//! `log softmax(logits * inverse_temperature)` at one chosen id a row.

use bytemuck::{Pod, Zeroable};

use crate::case::{Bound, Case, Expected, Numbers, ROUNDING, Slot, Values, words};
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("logprob_gather.wgsl");

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "logprob_gather",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[Binding::read("logits"), Binding::read("ids"), Binding::written("logprobs")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// What an id outside the vocabulary gives: below the logarithm of any probability.
pub const LOWEST: f32 = -1e30;

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// N.
    pub rows: u32,
    /// V.
    pub vocab: u32,
    /// Logits are multiplied by it; 1 for the model's own distribution.
    pub inverse_temperature: f32,
    /// Keeps the count of words even; 0.
    pub pad: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// From 2³² logits on.
pub fn grid(params: &Params) -> [u32; 3] {
    elements(&[params.rows, params.vocab]);
    fold(u64::from(params.rows))
}

/// The definition: `logprobs` `[N]` of `logits` `[N, V]` and `ids` `[N]`.
pub fn twin(params: &Params, logits: &[f32], ids: &[u32]) -> Vec<f64> {
    let vocab = params.vocab as usize;
    let mut out = Vec::with_capacity(ids.len());
    for (row, &id) in ids.iter().enumerate() {
        let scaled: Vec<f64> = logits[row * vocab..][..vocab]
            .iter()
            .map(|&logit| f64::from(logit) * f64::from(params.inverse_temperature))
            .collect();
        let maximum = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scaled.iter().map(|x| (x - maximum).exp()).sum();
        out.push(scaled.get(id as usize).map_or(f64::from(LOWEST), |x| x - maximum - total.ln()));
    }
    out
}

fn case(
    name: &str,
    rows: u32,
    vocab: u32,
    magnitude: f32,
    inverse_temperature: f32,
    ids: Option<Vec<u32>>,
) -> Case {
    let mut numbers = Numbers::new(u64::from(rows * 7919 + vocab));
    let logits = numbers.floats((rows * vocab) as usize, magnitude);
    let ids = ids.unwrap_or_else(|| numbers.integers(rows as usize, vocab));
    let params = Params { rows, vocab, inverse_temperature, pad: 0 };
    let want = Expected::F64(twin(&params, &logits, &ids));
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(logits)),
            Slot::Read(Values::U32(ids)),
            Slot::Written { want, second_group: (rows > 1).then_some(1) },
        ],
        bound: Bound {
            abs: (f64::from(vocab) / 256.0 + 100.0) * ROUNDING,
            rel: 4.0 * ROUNDING,
            why: "a sum of V/256 terms and eight tree steps; exp(x) errs by 3 + 2|x| units in the last place, and terms \
                  with |x| above 20 weigh nothing; log errs by 2^-21",
        },
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("a prime of rows and of ids", 13, 1009, 5.0, 1.0, None),
        case("one id", 1, 1, 5.0, 1.0, None),
        case("a workgroup less one", 2, 255, 5.0, 1.0, None),
        case("a workgroup", 2, 256, 5.0, 1.0, None),
        case("a workgroup and one", 2, 257, 5.0, 1.0, None),
        case("vocabulary of the released model", 2, 152_064, 20.0, 1.0, None),
        case("no rows", 0, 64, 5.0, 1.0, None),
        case("hot", 3, 1000, 5.0, 0.5, None),
        case("cold", 3, 1000, 5.0, 100.0, None),
        case("large magnitudes", 3, 1000, 1e6, 1.0, None),
        case("first, last and foreign ids", 4, 300, 5.0, 1.0, Some(vec![0, 299, 300, u32::MAX])),
    ]
}
