//! Attention of one new token a row, second half: the splits of [`attention_decode`](crate::attention_decode) merged.

use bytemuck::{Pod, Zeroable};

use crate::attention_decode::LOWEST;
use crate::case::{Bound, Case, Expected, Numbers, ROUNDING, Slot, Values, words};
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("attention_combine.wgsl");

/// Dims of a workgroup.
const DIMS: u32 = 32;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "attention_combine",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[Binding::read("sums"), Binding::read("stats"), Binding::written("attended")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// N, rows times query heads.
    pub rows: u32,
    /// S.
    pub splits: u32,
    /// D.
    pub head_dim: u32,
    /// Keeps the count of words even; 0.
    pub pad: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// From 2³² elements on.
pub fn grid(params: &Params) -> [u32; 3] {
    elements(&[params.rows, params.splits, params.head_dim]);
    fold(u64::from(params.rows) * u64::from(params.head_dim.div_ceil(DIMS)))
}

/// The definition: `attended` `[N, D]` of `sums` `[N, S, D]` and `stats` `[N, S, 2]` (maximum, total).
///
/// A split weighs exp(its maximum - the largest); the weighted sums over the weighted totals; zeros where all totals
/// are 0.
pub fn twin(params: &Params, sums: &[f32], stats: &[f32]) -> Vec<f64> {
    let (splits, dim) = (params.splits as usize, params.head_dim as usize);
    let mut out = Vec::new();
    for row in 0..params.rows as usize {
        let stats = &stats[row * splits * 2..][..splits * 2];
        let maximum = stats.iter().step_by(2).copied().fold(LOWEST, f32::max);
        let weights: Vec<f64> =
            stats.iter().step_by(2).map(|&own| (f64::from(own) - f64::from(maximum)).exp()).collect();
        let total: f64 = (0..splits).map(|split| weights[split] * f64::from(stats[2 * split + 1])).sum();
        for d in 0..dim {
            let sum: f64 = (0..splits)
                .map(|split| weights[split] * f64::from(sums[(row * splits + split) * dim + d]))
                .sum();
            out.push(if total > 0.0 { sum / total } else { 0.0 });
        }
    }
    out
}

/// Splits as attention_decode leaves them: totals from 1 to 64, sums within them, empty ones at the end of every
/// second row.
fn case(name: &str, rows: usize, splits: usize, head_dim: usize, score: f32) -> Case {
    let mut numbers = Numbers::new((rows * 131 + splits * 17 + head_dim) as u64);
    let mut sums = numbers.floats(rows * splits * head_dim, 1.0);
    let mut stats = numbers.floats(rows * splits * 2, 1.0);
    for (at, pair) in stats.chunks_exact_mut(2).enumerate() {
        let sum = &mut sums[at * head_dim..][..head_dim];
        if (at / splits) % 2 == 1 && at % splits >= splits / 2 {
            pair.copy_from_slice(&[LOWEST, 0.0]);
            sum.fill(0.0);
        } else {
            pair[0] *= score;
            pair[1] = 32.5 + 31.5 * pair[1];
            sum.iter_mut().for_each(|sum| *sum *= pair[1]);
        }
    }
    let params = Params { rows: rows as u32, splits: splits as u32, head_dim: head_dim as u32, pad: 0 };
    let want = Expected::F64(twin(&params, &sums, &stats));
    let second_group = match head_dim {
        dim if rows > 0 && dim > DIMS as usize => Some(DIMS as usize),
        dim => (rows > 1).then_some(dim),
    };
    Case {
        name: name.to_string(),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(sums)),
            Slot::Read(Values::F32(stats)),
            Slot::Written { want, second_group },
        ],
        bound: Bound {
            abs: (splits as f64 / 8.0 + 100.0) * ROUNDING,
            rel: 0.0,
            why: "values within 1; sums of S/8 terms on eight lanes; exp(x) errs by 3 + 2|x| units in the last place, and \
                  terms with |x| above 20 weigh nothing",
        },
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        case("a prime of rows and of splits", 13, 61, 80, 10.0),
        case("one split, one row", 1, 1, 2, 1.0),
        case("splits less one than lanes", 3, 7, 31, 10.0),
        case("as many splits as lanes", 3, 8, 32, 10.0),
        case("one split more", 3, 9, 33, 10.0),
        case("heads of the released 7B model", 28, 40, 128, 10.0),
        case("no rows", 0, 3, 16, 1.0),
        case("rows without a key", 4, 1, 16, 1.0),
        case("large magnitudes", 5, 20, 40, 1e6),
    ]
}
