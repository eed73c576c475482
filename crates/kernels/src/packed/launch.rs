//! Launches over packed weights, one for each part that a binding holds.

use burn::tensor::{Int, Tensor};
use wethink_shaders as shaders;

use super::PackedMatrix;
use crate::Launches;
use crate::wgsl::{Buffer, Wgsl};

/// One launch for each part, for few rows; `y` is written, or added to.
pub(super) fn few(
    device: &Wgsl,
    x: Tensor<2>,
    weight: &PackedMatrix,
    norm: Option<(Tensor<1>, f64)>,
    bias: Option<Tensor<1>>,
    (y, added): (&Buffer, bool),
    launches: &mut Launches,
) {
    let [rows, width] = x.dims();
    let eps = norm.as_ref().map_or(0.0, |(_, eps)| *eps as f32);
    let (normed, biased) = (norm.is_some(), bias.is_some());
    // What is absent is a buffer of one vector that nobody reads; two bindings never name the same one.
    let absent = || device.empty([4]);
    let norm = norm.map_or_else(absent, |(norm, _)| Buffer::read(norm));
    let bias = bias.map_or_else(absent, Buffer::read);
    let x = Buffer::read(x);
    let mut start = 0;
    for part in &weight.parts {
        let params = shaders::packed_matvec::Params {
            rows: rows as u32,
            width: width as u32,
            out_rows: part.rows as u32,
            first: part.first as u32,
            out_width: weight.rows() as u32,
            start,
            per_word: weight.packing.per_word(),
            row_words: weight.packing.row_words(width) as u32,
            row_scales: weight.packing.scale_words(width) as u32,
            normed: normed.into(),
            eps,
            biased: biased.into(),
            added: added.into(),
            pad: 0,
        };
        let [words, scales] = PackedMatrix::buffers(part);
        let grid = shaders::packed_matvec::grid(&params);
        let buffers = [&x, &norm, &words, &scales, &bias, y];
        device.launch(&shaders::packed_matvec::KERNEL, &params, grid, &buffers, launches);
        start += part.rows as u32;
    }
}

/// One launch for each part, for any number of rows.
pub(super) fn many(
    device: &Wgsl,
    x: Tensor<2>,
    weight: &PackedMatrix,
    bias: Option<Tensor<1>>,
    y: &Buffer,
    launches: &mut Launches,
) {
    let [rows, width] = x.dims();
    let biased = bias.is_some();
    let bias = bias.map_or_else(|| device.empty([1]), Buffer::read);
    let x = Buffer::read(x);
    let mut start = 0;
    for part in &weight.parts {
        let params = shaders::packed_matmul::Params {
            rows: rows as u32,
            width: width as u32,
            out_rows: part.rows as u32,
            first: part.first as u32,
            out_width: weight.rows() as u32,
            start,
            per_word: weight.packing.per_word(),
            row_words: weight.packing.row_words(width) as u32,
            row_scales: weight.packing.scale_words(width) as u32,
            biased: biased.into(),
        };
        let [words, scales] = PackedMatrix::buffers(part);
        let grid = shaders::packed_matmul::grid(&params);
        let buffers = [&x, &words, &scales, &bias, y];
        device.launch(&shaders::packed_matmul::KERNEL, &params, grid, &buffers, launches);
        start += part.rows as u32;
    }
}

/// One launch for each part of the table.
pub(super) fn gather(
    device: &Wgsl,
    ids: Tensor<1, Int>,
    table: &PackedMatrix,
    launches: &mut Launches,
) -> Tensor<2> {
    let [rows] = ids.dims();
    let width = table.width;
    let ids = Buffer::read_ids(ids);
    let y = device.empty([rows, width]);
    let mut start = 0;
    for part in &table.parts {
        let params = shaders::packed_gather::Params {
            rows: rows as u32,
            width: width as u32,
            start,
            first: part.first as u32,
            part_rows: part.rows as u32,
            per_word: table.packing.per_word(),
            row_words: table.packing.row_words(width) as u32,
            row_scales: table.packing.scale_words(width) as u32,
        };
        let [words, scales] = PackedMatrix::buffers(part);
        let grid = shaders::packed_gather::grid(&params);
        device.launch(&shaders::packed_gather::KERNEL, &params, grid, &[&ids, &words, &scales, &y], launches);
        start += part.rows as u32;
    }
    y.tensor()
}
