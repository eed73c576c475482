//! Rows of a packed table by their numbers: the embedding of tokens.

use bytemuck::{Pod, Zeroable};

use crate::case::{Bound, Case, Numbers, ROUNDING, Slot, Values, words};
use crate::packed_case::{ALL, Matrix};
use crate::packing::Packing;
use crate::{Binding, Kernel, elements, fold};

/// The kernel's text.
pub const WGSL: &str = include_str!("packed_gather.wgsl");

const WORKGROUP: u32 = 256;

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "packed_gather",
    wgsl: WGSL,
    workgroup: WORKGROUP,
    bindings: &[Binding::read("ids"), Binding::read("words"), Binding::read("scales"), Binding::updated("y")],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The uniform block, field by field as in the text.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// R.
    pub rows: u32,
    /// K, values of a row.
    pub width: u32,
    /// Number of the part's first row.
    pub start: u32,
    /// Rows of the buffer before the part's.
    pub first: u32,
    /// Rows of the part.
    pub part_rows: u32,
    /// Values in a word, [`Packing::per_word`].
    pub per_word: u32,
    /// Words of a row.
    pub row_words: u32,
    /// Words of a row's scales.
    pub row_scales: u32,
}

/// Workgroups to launch.
///
/// # Panics
///
/// From 2³² elements on.
pub fn grid(params: &Params) -> [u32; 3] {
    elements(&[params.rows, params.width]);
    elements(&[params.first + params.part_rows, params.row_words]);
    fold(elements(&[params.rows, params.row_words]).div_ceil(u64::from(WORKGROUP)))
}

/// The definition: y `[R, K]` afterwards, of `ids` `[R]`, the buffer unpacked and y `before`.
pub fn twin(params: &Params, ids: &[u32], part: &[f32], before: &[f32]) -> Vec<f64> {
    let width = params.width as usize;
    let mut y: Vec<f64> = before.iter().copied().map(f64::from).collect();
    for (y, &id) in y.chunks_exact_mut(width.max(1)).zip(ids) {
        let row = id.checked_sub(params.start).filter(|&row| row < params.part_rows);
        if let Some(row) = row {
            let row = &part[(params.first + row) as usize * width..][..width];
            y.iter_mut().zip(row).for_each(|(y, &value)| *y = f64::from(value));
        }
    }
    y
}

fn case(name: &str, packing: Packing, [part_rows, width]: [usize; 2], start: u32, ids: Vec<u32>) -> Case {
    let mut numbers = Numbers::new((ids.len() * 7919 + part_rows * 31 + width) as u64);
    let first = 2;
    let table = Matrix::random(&mut numbers, packing, first + part_rows, width, 1.0);
    let before = numbers.floats(ids.len() * width, 1.0);
    let params = Params {
        rows: ids.len() as u32,
        width: width as u32,
        start,
        first: first as u32,
        part_rows: part_rows as u32,
        per_word: packing.per_word(),
        row_words: packing.row_words(width) as u32,
        row_scales: packing.scale_words(width) as u32,
    };
    let want = twin(&params, &ids, &table.dense(), &before);
    let [packed, scales] = table.slots();
    let second = WORKGROUP as usize / params.row_words.max(1) as usize;
    let place = WORKGROUP as usize % params.row_words.max(1) as usize * packing.per_word() as usize;
    let held = |r: usize| ids.get(r).is_some_and(|&id| id >= start && id - start < params.part_rows);
    let second_group = (held(second) && place < width).then_some(second * width + place);
    Case {
        name: format!("{name}, {packing:?}"),
        words: words(&params),
        grid: grid(&params),
        slots: vec![
            Slot::Read(Values::U32(ids)),
            packed,
            scales,
            Slot::Updated { before, want, second_group },
        ],
        bound: Bound { abs: 0.0, rel: ROUNDING, why: "one product of two exact numbers" },
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for packing in ALL {
        // Within the part, at its ends, before and behind it, and one row twice.
        let ids = [107, 100, 112, 99, 113, 107, 0, 101, u32::MAX, 102, 103, 104, 105, 106, 108, 109];
        all.push(case("a part", packing, [13, 257], 100, ids.repeat(2)));
        all.push(case("one value", packing, [1, 1], 0, vec![0]));
        all.push(case("a block less one", packing, [3, 31], 0, vec![2, 0]));
        all.push(case("a block", packing, [3, 32], 7, vec![9, 7]));
        all.push(case("a block and one", packing, [3, 33], 7, vec![9, 7]));
        all.push(case("7B", packing, [5, 3584], 150_000, vec![150_004, 150_000, 3]));
        all.push(case("no ids", packing, [3, 33], 0, Vec::new()));
    }
    all
}
