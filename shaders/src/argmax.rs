//! The id of each row's largest logit: ties go to the lowest id, NaN and banned ids are never chosen.

use bytemuck::{Pod, Zeroable};

use crate::case::{Bound, Case, Expected, Numbers, Slot, Values, words};
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("argmax.wgsl");

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "argmax",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[Binding::read("logits"), Binding::written("ids")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// What stands for "no id": as a banned id it bans nothing, as an answer it says that no logit was left to choose.
pub const NONE: u32 = u32::MAX;

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// N.
    pub rows: u32,
    /// V.
    pub vocab: u32,
    /// An id that is never chosen, or [`NONE`].
    pub banned_a: u32,
    /// Another, or [`NONE`].
    pub banned_b: u32,
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

/// The definition: `ids` `[N]` of `logits` `[N, V]`. NaN is skipped, the first of equals wins, [`NONE`] where nothing is
/// left.
pub fn twin(params: &Params, logits: &[f32]) -> Vec<u32> {
    let vocab = params.vocab as usize;
    (0..params.rows as usize)
        .map(|row| {
            let mut best: Option<(u32, f32)> = None;
            for (id, &logit) in (0..).zip(&logits[row * vocab..][..vocab]) {
                let banned = id == params.banned_a || id == params.banned_b;
                if !banned && !logit.is_nan() && best.is_none_or(|(_, top)| logit > top) {
                    best = Some((id, logit));
                }
            }
            best.map_or(NONE, |(id, _)| id)
        })
        .collect()
}

fn case(name: &str, params: Params, logits: Vec<f32>) -> Case {
    let want = Expected::U32(twin(&params, &logits));
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(logits)),
            Slot::Written { want, second_group: (params.rows > 1).then_some(1) },
        ],
        bound: Bound::EXACT,
    }
}

fn random(name: &str, rows: u32, vocab: u32, magnitude: f32) -> Case {
    let logits = Numbers::new(u64::from(rows * 7919 + vocab)).floats((rows * vocab) as usize, magnitude);
    case(name, Params { rows, vocab, banned_a: NONE, banned_b: NONE }, logits)
}

/// Rows of 600 in which the answer hangs on one rule each.
fn rules() -> Case {
    let vocab = 600;
    let mut rows = Vec::new();
    let mut row = |fill: f32, special: &[(usize, f32)]| {
        let mut logits = vec![fill; vocab];
        for &(id, logit) in special {
            logits[id] = logit;
        }
        rows.extend(logits);
    };
    row(-1.0, &[(17, 2.0), (18, 2.0), (273, 2.0), (529, 2.0)]); // ties across invocations and strides
    row(0.0, &[(5, 9.0), (300, 8.0), (400, 7.0)]); // the two best are banned
    row(f32::NAN, &[(599, -3.0)]);
    row(f32::NAN, &[]);
    row(f32::NAN, &[(5, 1.0), (300, 2.0)]); // nothing but banned ids
    row(f32::NEG_INFINITY, &[(256, f32::MIN)]);
    row(f32::NEG_INFINITY, &[]);
    row(1.0, &[(511, f32::INFINITY), (512, f32::NAN)]);
    row(-0.0, &[(255, 0.0)]); // both zeros are equal: id 0
    row(-1.0, &[(599, -0.999_999_94)]);
    let params =
        Params { rows: (rows.len() / vocab) as u32, vocab: vocab as u32, banned_a: 5, banned_b: 300 };
    case("ties, bans, NaN and infinities", params, rows)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        random("a prime of rows and of ids", 13, 1009, 5.0),
        random("one id", 1, 1, 5.0),
        random("a workgroup less one", 2, 255, 5.0),
        random("a workgroup", 2, 256, 5.0),
        random("a workgroup and one", 2, 257, 5.0),
        random("vocabulary of the released model", 2, 152_064, 20.0),
        random("no rows", 0, 64, 5.0),
        random("no ids", 3, 0, 5.0),
        random("large magnitudes", 3, 1000, f32::MAX),
        rules(),
    ]
}
