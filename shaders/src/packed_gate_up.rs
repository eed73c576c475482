//! The gated unit of SwiGLU (Shazeer, arXiv 2002.05202) with its norm and both of its packed products in one pass.

use bytemuck::{Pod, Zeroable};

use crate::case::{Bound, Case, Numbers, ROUNDING, Slot, Values, words};
use crate::packed_case::{ALL, Matrix, bound, product};
use crate::packed_matvec::WIDTH_UNIT;
use crate::packing::Packing;
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("packed_gate_up.wgsl");

const GROUP: u32 = 8;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "packed_gate_up",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[
        Binding::read("x"),
        Binding::read("norm"),
        Binding::read("gate_words"),
        Binding::read("gate_scales"),
        Binding::read("up_words"),
        Binding::read("up_scales"),
        Binding::updated("y"),
    ],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// R.
    pub rows: u32,
    /// K, values of a row of a matrix, a multiple of [`WIDTH_UNIT`].
    pub width: u32,
    /// Rows of a matrix.
    pub out_rows: u32,
    /// N, columns of y.
    pub out_width: u32,
    /// The first column of y.
    pub start: u32,
    /// Values in a word, [`Packing::per_word`].
    pub per_word: u32,
    /// Words of a row of a matrix.
    pub row_words: u32,
    /// Words of a row's scales.
    pub row_scales: u32,
    /// Added to the mean square.
    pub eps: f32,
    /// Keeps the count of words even.
    pub pad: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// If K is no multiple of [`WIDTH_UNIT`]; from 2³² elements on.
pub fn grid(params: &Params) -> [u32; 3] {
    assert!(params.width.is_multiple_of(WIDTH_UNIT), "a row of {} values", params.width);
    elements(&[params.out_rows, params.row_words]);
    elements(&[params.rows, params.out_width]);
    fold(u64::from(params.rows) * u64::from(params.out_rows.div_ceil(GROUP)))
}

/// The definition: y `[R, N]` afterwards, of x `[R, K]`, the norm's scale `[K]`, both matrices unpacked, and y `before`;
/// and the largest sum of absolute products.
pub fn twin(
    params: &Params,
    x: &[f32],
    norm: &[f32],
    [gate, up]: [&[f32]; 2],
    before: &[f32],
) -> (Vec<f64>, f64) {
    let width = params.width as usize;
    let mut normed: Vec<f64> = x.iter().copied().map(f64::from).collect();
    for row in normed.chunks_exact_mut(width) {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let rms = (mean + f64::from(params.eps)).sqrt();
        row.iter_mut().zip(norm).for_each(|(x, &w)| *x *= f64::from(w) / rms);
    }
    let (gate, mass) = product(&normed, gate, width);
    let (up, other) = product(&normed, up, width);
    let mut y: Vec<f64> = before.iter().copied().map(f64::from).collect();
    for (at, (g, u)) in gate.iter().zip(&up).enumerate() {
        let (r, n) = (at / params.out_rows as usize, at % params.out_rows as usize);
        y[r * params.out_width as usize + params.start as usize + n] = g / (1.0 + (-g).exp()) * u;
    }
    (y, mass.max(other))
}

fn case(name: &str, packing: Packing, [rows, out_rows, width]: [usize; 3], magnitude: f32) -> Case {
    let around = 2;
    let mut numbers = Numbers::new((rows * 7919 + out_rows * 31 + width) as u64);
    let out_width = out_rows + 2 * around;
    let x = numbers.floats(rows * width, magnitude);
    // The gate is of the order of 1 to 10, where its exponential matters.
    let norm = numbers.floats(width, 4.0 / (width as f32).sqrt());
    let gate = Matrix::random(&mut numbers, packing, out_rows, width, 1.0);
    let up = Matrix::random(&mut numbers, packing, out_rows, width, 1.0);
    let before = numbers.floats(rows * out_width, 1.0);
    let params = Params {
        rows: rows as u32,
        width: width as u32,
        out_rows: out_rows as u32,
        out_width: out_width as u32,
        start: around as u32,
        per_word: packing.per_word(),
        row_words: packing.row_words(width) as u32,
        row_scales: packing.scale_words(width) as u32,
        eps: 1e-6,
        pad: 0,
    };
    let (want, mass) = twin(&params, &x, &norm, [&gate.dense(), &up.dense()], &before);
    let [gate_words, gate_scales] = gate.slots();
    let [up_words, up_scales] = up.slots();
    // silu's slope is below 1.1 and either factor below the mass: errors of the sums come in multiplied by it.
    let sums = bound(width, mass);
    let bound = Bound {
        abs: 2.2 * (mass + 1.0) * sums.abs,
        rel: sums.rel + (2.0 * mass + 16.0) * 2.0 * ROUNDING,
        why: "two sums' bounds multiplied by the other factor; WGSL's exp(x) errs by 3 + 2|x| units in the last place",
    };
    // The second workgroup takes the next row of x, or where there is none the next rows of the matrices.
    let second = match (rows > 1, out_rows > 8) {
        (true, _) => Some(out_width + around),
        (false, true) => Some(around + GROUP as usize),
        (false, false) => None,
    };
    Case {
        name: format!("{name}, {packing:?}"),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(x)),
            Slot::Read(Values::F32(norm)),
            gate_words,
            gate_scales,
            up_words,
            up_scales,
            Slot::Updated { before, want, second_group: second },
        ],
        bound,
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for packing in ALL {
        all.push(case("two workgroups and a prime", packing, [1, 13, 1012], 1.0));
        all.push(case("four values", packing, [1, 1, 4], 1.0));
        all.push(case("a block less a vector", packing, [2, 3, 28], 1.0));
        all.push(case("a block", packing, [3, 8, 32], 1.0));
        all.push(case("a block and a vector", packing, [8, 9, 36], 1.0));
        all.push(case("3B", packing, [1, 11, 2048], 1.0));
        all.push(case("7B", packing, [2, 11, 3584], 1.0));
        all.push(case("no rows", packing, [1, 0, 64], 1.0));
        all.push(case("large magnitudes", packing, [1, 9, 1000], 1e14));
    }
    all
}
