//! The product of a few rows with a packed matrix, with the norm before and the sum after it: decoding's own product.

use bytemuck::{Pod, Zeroable};

use crate::case::{Case, Numbers, Slot, Values, words};
use crate::packed_case::{ALL, Matrix, bound, product, unpack};
use crate::packing::Packing;
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("packed_matvec.wgsl");

/// What K is a multiple of: x is read in vectors.
pub const WIDTH_UNIT: u32 = 4;

const GROUP: u32 = 16;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "packed_matvec",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[
        Binding::read("x"),
        Binding::read("norm"),
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
    /// K, values of a row of W, a multiple of [`WIDTH_UNIT`].
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
    /// 1: x is normed first.
    pub normed: u32,
    /// Added to the mean square.
    pub eps: f32,
    /// 1: the bias is added.
    pub biased: u32,
    /// 1: the product is added to y.
    pub added: u32,
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
    elements(&[params.first + params.out_rows, params.row_words]);
    elements(&[params.rows, params.out_width]);
    fold(u64::from(params.rows) * u64::from(params.out_rows.div_ceil(GROUP)))
}

/// What a launch reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[R, K]`.
    pub x: &'a [f32],
    /// `[K]`; read if normed.
    pub norm: &'a [f32],
    /// How W is packed.
    pub packing: Packing,
    /// W's words.
    pub words: &'a [u32],
    /// W's scales.
    pub scales: &'a [u32],
    /// `[N]`; read if biased.
    pub bias: &'a [f32],
}

/// The definition: y `[R, N]` afterwards, of y `before`; and the largest sum of absolute products.
pub fn twin(params: &Params, inputs: &Inputs<'_>, before: &[f32]) -> (Vec<f64>, f64) {
    let width = params.width as usize;
    let mut x: Vec<f64> = inputs.x.iter().copied().map(f64::from).collect();
    if params.normed == 1 {
        for row in x.chunks_exact_mut(width) {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
            let rms = (mean + f64::from(params.eps)).sqrt();
            row.iter_mut().zip(inputs.norm).for_each(|(x, &w)| *x *= f64::from(w) / rms);
        }
    }
    let w = unpack(inputs.packing, width, inputs.words, inputs.scales);
    let used = &w[params.first as usize * width..][..params.out_rows as usize * width];
    let (sums, mass) = product(&x, used, width);
    let mut y: Vec<f64> = before.iter().copied().map(f64::from).collect();
    for (r, sums) in sums.chunks_exact((params.out_rows as usize).max(1)).enumerate() {
        for (n, sum) in sums.iter().enumerate() {
            let column = params.start as usize + n;
            let bias = if params.biased == 1 { f64::from(inputs.bias[column]) } else { 0.0 };
            let at = r * params.out_width as usize + column;
            y[at] = sum + bias + if params.added == 1 { y[at] } else { 0.0 };
        }
    }
    (y, mass)
}

/// Which extras a case asks for.
#[derive(Clone, Copy)]
struct Extras {
    normed: bool,
    biased: bool,
    added: bool,
    /// Rows of W before and behind those in use, and columns of y likewise.
    around: usize,
}

const PLAIN: Extras = Extras { normed: false, biased: false, added: false, around: 0 };
const FULL: Extras = Extras { normed: true, biased: true, added: true, around: 3 };

fn case(
    name: &str,
    packing: Packing,
    [rows, out_rows, width]: [usize; 3],
    magnitude: f32,
    extras: Extras,
) -> Case {
    let mut numbers = Numbers::new((rows * 7919 + out_rows * 31 + width) as u64);
    let out_width = out_rows + 2 * extras.around;
    let x = numbers.floats(rows * width, magnitude);
    let norm = numbers.floats(width, 2.0);
    let w = Matrix::random(&mut numbers, packing, out_rows + 2 * extras.around, width, 1.0);
    let bias = numbers.floats(out_width, magnitude);
    let before = numbers.floats(rows * out_width, magnitude);
    let params = Params {
        rows: rows as u32,
        width: width as u32,
        out_rows: out_rows as u32,
        first: extras.around as u32,
        out_width: out_width as u32,
        start: extras.around as u32,
        per_word: packing.per_word(),
        row_words: packing.row_words(width) as u32,
        row_scales: packing.scale_words(width) as u32,
        normed: extras.normed.into(),
        eps: 1e-6,
        biased: extras.biased.into(),
        added: extras.added.into(),
        pad: 0,
    };
    let inputs = Inputs { x: &x, norm: &norm, packing, words: &w.words, scales: &w.scales, bias: &bias };
    let (want, mass) = twin(&params, &inputs, &before);
    let [packed, scales] = w.slots();
    // The second workgroup takes the next row of x, or where there is none the next rows of W.
    let second = match (rows > 1, out_rows > 16) {
        (true, _) => Some(out_width + extras.around),
        (false, true) => Some(extras.around + GROUP as usize),
        (false, false) => None,
    };
    Case {
        name: format!("{name}, {packing:?}"),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::F32(x)),
            Slot::Read(Values::F32(norm)),
            packed,
            scales,
            Slot::Read(Values::F32(bias)),
            Slot::Updated { before, want, second_group: second },
        ],
        bound: bound(width, mass + f64::from(magnitude)),
    }
}

/// The cases: every shape class of the released models, of rows cut to what a software adapter bears.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for packing in ALL {
        all.push(case("two workgroups and a prime", packing, [1, 29, 1012], 1.0, FULL));
        all.push(case("four values", packing, [1, 1, 4], 1.0, PLAIN));
        all.push(case("a block less a vector", packing, [2, 7, 28], 1.0, FULL));
        all.push(case("a block", packing, [3, 16, 32], 1.0, PLAIN));
        all.push(case("a block and a vector", packing, [8, 17, 36], 1.0, FULL));
        all.push(case("3B: from the stream", packing, [1, 21, 2048], 1.0, FULL));
        all.push(case("3B: back to it", packing, [2, 18, 11008], 1.0, PLAIN));
        all.push(case("7B: from the stream", packing, [1, 21, 3584], 1.0, FULL));
        all.push(case("7B: back to it", packing, [1, 19, 18944], 1.0, PLAIN));
        all.push(case("the tower's MLP", packing, [5, 11, 3420], 1.0, PLAIN));
        all.push(case("no rows of W", packing, [1, 0, 64], 1.0, PLAIN));
        all.push(case("no rows of x", packing, [0, 5, 64], 1.0, PLAIN));
        all.push(case("large magnitudes", packing, [1, 17, 1000], 1e14, FULL));
        all.push(case("small magnitudes", packing, [1, 17, 1000], 1e-20, PLAIN));
    }
    all
}
