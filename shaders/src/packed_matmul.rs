//! The product of many rows with a packed matrix: prompts, and the patches of pictures.

use bytemuck::{Pod, Zeroable};

use crate::case::{Case, Numbers, Slot, Values, words};
use crate::packed_case::{ALL, Matrix, bound, product};
use crate::packing::Packing;
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("packed_matmul.wgsl");

/// Rows of x and of W of a workgroup.
const TILE: [u32; 2] = [128, 64];

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "packed_matmul",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[
        Binding::read("x"),
        Binding::read("words"),
        Binding::read("scales"),
        Binding::read("bias"),
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
    /// K, values of a row of W.
    pub width: u32,
    /// Rows of W in use.
    pub out_rows: u32,
    /// The first of them.
    pub first: u32,
    /// N, columns of y.
    pub out_width: u32,
    /// The first column of y.
    pub start: u32,
    /// Values in a word, [`Packing::per_word`].
    pub per_word: u32,
    /// Words of a row of W.
    pub row_words: u32,
    /// Words of a row's scales.
    pub row_scales: u32,
    /// 1: the bias is added.
    pub biased: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// From 2³² elements on.
pub fn grid(params: &Params) -> [u32; 3] {
    elements(&[params.first + params.out_rows, params.row_words]);
    elements(&[params.rows, params.out_width]);
    elements(&[params.rows, params.width]);
    fold(u64::from(params.rows.div_ceil(TILE[0])) * u64::from(params.out_rows.div_ceil(TILE[1])))
}

/// The definition: y `[R, N]` afterwards, of x `[R, K]`, W unpacked, the bias `[N]` and y `before`; and the largest sum of
/// absolute products.
pub fn twin(params: &Params, x: &[f32], w: &[f32], bias: &[f32], before: &[f32]) -> (Vec<f64>, f64) {
    let width = params.width as usize;
    let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
    let used = &w[params.first as usize * width..][..params.out_rows as usize * width];
    let (sums, mass) = product(&x, used, width);
    let mut y: Vec<f64> = before.iter().copied().map(f64::from).collect();
    for (at, sum) in sums.iter().enumerate() {
        let (r, n) = (at / params.out_rows as usize, at % params.out_rows as usize);
        let column = params.start as usize + n;
        let bias = if params.biased == 1 { f64::from(bias[column]) } else { 0.0 };
        y[r * params.out_width as usize + column] = sum + bias;
    }
    (y, mass)
}

fn case(
    name: &str,
    packing: Packing,
    [rows, out_rows, width]: [usize; 3],
    magnitude: f32,
    (biased, around): (bool, usize),
) -> Case {
    let mut numbers = Numbers::new((rows * 7919 + out_rows * 31 + width) as u64);
    let out_width = out_rows + 2 * around;
    let x = numbers.floats(rows * width, magnitude);
    let w = Matrix::random(&mut numbers, packing, out_width, width, 1.0);
    let bias = numbers.floats(out_width, magnitude);
    let before = numbers.floats(rows * out_width, magnitude);
    let params = Params {
        rows: rows as u32,
        width: width as u32,
        out_rows: out_rows as u32,
        first: around as u32,
        out_width: out_width as u32,
        start: around as u32,
        per_word: packing.per_word(),
        row_words: packing.row_words(width) as u32,
        row_scales: packing.scale_words(width) as u32,
        biased: biased.into(),
    };
    let (want, mass) = twin(&params, &x, &w.dense(), &bias, &before);
    let [packed, scales] = w.slots();
    // The second workgroup takes the next rows of x, or where there are none the next rows of W.
    let second = match (rows > 128, out_rows > 64) {
        (true, _) => Some(128 * out_width + around),
        (false, true) => Some(64 + around),
        (false, false) => None,
    };
    Case {
        name: format!("{name}, {packing:?}"),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(x)),
            packed,
            scales,
            Slot::Read(Values::F32(bias)),
            Slot::Updated { before, want, second_group: second },
        ],
        bound: bound(width, mass + f64::from(magnitude)),
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for packing in ALL {
        all.push(case("primes", packing, [131, 71, 101], 1.0, (true, 3)));
        all.push(case("one value", packing, [1, 1, 1], 1.0, (false, 0)));
        all.push(case("half a tile less one", packing, [63, 63, 31], 1.0, (true, 1)));
        all.push(case("half a tile", packing, [64, 64, 32], 1.0, (false, 0)));
        all.push(case("a tile", packing, [128, 64, 32], 1.0, (false, 0)));
        all.push(case("half a tile and one", packing, [65, 65, 33], 1.0, (true, 2)));
        all.push(case("the tower's MLP", packing, [9, 65, 3420], 1.0, (true, 0)));
        all.push(case("7B: from the stream", packing, [11, 66, 3584], 1.0, (true, 0)));
        all.push(case("no rows", packing, [0, 5, 64], 1.0, (false, 0)));
        all.push(case("large magnitudes", packing, [9, 17, 1000], 1e30, (true, 1)));
    }
    all
}
