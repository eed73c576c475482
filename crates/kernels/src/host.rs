//! Packed weights on devices that do not read them: unpacked on the host, row by row, as they are needed.
//!
//! With one row of x the weight's memory traffic decides, so each block of the weight is unpacked in registers and
//! multiplied there. With a few, a row of the weight is unpacked for all of them. With many a range of the weight is
//! unpacked and burn's product, which blocks for the caches, does the rest. All go over the weight's rows in parallel.

mod blocks;

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use wethink_shaders::packing::{BLOCK, Packing};

use blocks::{Block, F16, Q4, Q8};

use crate::packed::{PackedMatrix, Store};

/// Rows of x up to which a product goes row by row of the weight.
const FEW: usize = 8;

/// Rows of the weight that are unpacked at once for many rows of x: some MB, as many as a product needs to be worth it.
const RANGE: usize = 512;

/// Multiplications below which threads cost more than they bring.
const SMALL: usize = 1 << 20;

/// `x · Wᵀ`: `[R, K]` to `[R, N]`. Differentiable in x.
pub(crate) fn product(x: Tensor<2>, weight: &PackedMatrix) -> Tensor<2> {
    let device = x.device();
    let [rows, width] = x.dims();
    let on_host = weight.parts().iter().all(|part| matches!(*part.store, Store::Host { .. }));
    if x.is_autodiff() || !on_host {
        // A constant of the graph; a device's own matrix is unpacked there.
        return x.matmul(weight.dense(&device.without_autodiff()).transpose());
    }
    if rows <= FEW {
        let x = floats(x);
        let columns = dot_rows(&x, rows, width, weight); // [N, R]
        let y = TensorData::new(columns, [weight.rows(), rows]);
        return Tensor::<2>::from_data(y, &device).transpose();
    }
    let ranges = (0..weight.rows()).step_by(RANGE).map(|from| {
        let range = from..weight.rows().min(from + RANGE);
        x.clone().matmul(unpacked(weight, range, &device).transpose())
    });
    Tensor::cat(ranges.collect(), 1)
}

/// The matrix, unpacked, `[N, K]`.
pub(crate) fn dense(weight: &PackedMatrix, device: &Device) -> Tensor<2> {
    unpacked(weight, 0..weight.rows(), device)
}

/// Rows by their numbers, unpacked: `[R]` to `[R, K]`.
pub(crate) fn gather(ids: Tensor<1, Int>, table: &PackedMatrix) -> Tensor<2> {
    let device = ids.device();
    let ids: Vec<i64> = read(ids.into_data_async()).iter::<i64>().collect();
    let mut out = vec![0.0; ids.len() * table.width()];
    for (&id, out) in ids.iter().zip(out.chunks_exact_mut(table.width())) {
        let (words, scales) = row_of(table, id as usize);
        table.packing().unpack(words, scales, out);
    }
    Tensor::from_data(TensorData::new(out, [ids.len(), table.width()]), &device)
}

fn unpacked(weight: &PackedMatrix, range: Range<usize>, device: &Device) -> Tensor<2> {
    let width = weight.width();
    let rows = range.len();
    let mut out = vec![0.0; rows * width];
    in_parallel(&mut out, width, rows * width, |first, out| {
        let first = range.start + first;
        pulp::Arch::new().dispatch(Unpacking { weight, first, out });
    });
    Tensor::from_data(TensorData::new(out, [rows, width]), device)
}

/// Rows of the weight from `first` on, unpacked. Compiled for several widths of vectors, as [`Dots`].
struct Unpacking<'a> {
    weight: &'a PackedMatrix,
    first: usize,
    out: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Unpacking<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Unpacking { weight, first, out } = self;
        for (n, out) in out.chunks_exact_mut(weight.width()).enumerate() {
            let (words, scales) = row_of(weight, first + n);
            match weight.packing() {
                Packing::Q4 => blocks::unpack::<Q4>(words, scales, out),
                Packing::Q8 => blocks::unpack::<Q8>(words, scales, out),
                Packing::F16 => blocks::unpack::<F16>(words, scales, out),
            }
        }
    }
}

/// `[N, R]`: every row of the weight by every row of x.
fn dot_rows(x: &[f32], rows: usize, width: usize, weight: &PackedMatrix) -> Vec<f32> {
    let mut out = vec![0.0; weight.rows() * rows];
    let x = &*match weight.packing() {
        Packing::Q4 => blocks::arranged::<Q4>(x, width),
        Packing::Q8 => blocks::arranged::<Q8>(x, width),
        Packing::F16 => blocks::arranged::<F16>(x, width),
    };
    in_parallel(&mut out, rows, weight.rows() * width * rows, |first, out| {
        pulp::Arch::new().dispatch(Dots { x, rows, weight, first, out });
    });
    out
}

/// Rows of the weight from `first` by every row of x. Compiled for several widths of vectors, of which the processor's own is
/// taken: all of it must be inlined for that, functions that are passed on included.
struct Dots<'a> {
    x: &'a [f32],
    rows: usize,
    weight: &'a PackedMatrix,
    first: usize,
    out: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Dots { x, rows, weight, first, out } = self;
        let mut unpacked = vec![0.0; weight.width().next_multiple_of(BLOCK)];
        for (n, out) in out.chunks_exact_mut(rows).enumerate() {
            let (words, scales) = row_of(weight, first + n);
            match weight.packing() {
                Packing::Q4 => dots::<Q4>(words, scales, x, out, &mut unpacked),
                Packing::Q8 => dots::<Q8>(words, scales, x, out, &mut unpacked),
                Packing::F16 => dots::<F16>(words, scales, x, out, &mut unpacked),
            }
        }
    }
}

/// One row of the weight by every row of x, one of which needs no unpacked row in memory.
#[inline(always)]
fn dots<B: Block>(words: &[u32], scales: &[u32], x: &[f32], out: &mut [f32], unpacked: &mut [f32]) {
    if let [out] = out {
        *out = B::dot(words, scales, x);
        return;
    }
    blocks::unpack_arranged::<B>(words, scales, unpacked);
    for (out, x) in out.iter_mut().zip(x.chunks_exact(unpacked.len())) {
        *out = blocks::dot(x, unpacked);
    }
}

/// Words and scales of a row.
fn row_of(matrix: &PackedMatrix, mut row: usize) -> (&[u32], &[u32]) {
    let (packing, width) = (matrix.packing(), matrix.width());
    for part in matrix.parts() {
        if row < part.rows {
            let Store::Host { words, scales } = &*part.store else {
                unreachable!("matrices on a device are unpacked there")
            };
            let (row_words, row_scales) = (packing.row_words(width), packing.scale_words(width));
            let at = part.first + row;
            return (&words[at * row_words..][..row_words], &scales[at * row_scales..][..row_scales]);
        }
        row -= part.rows;
    }
    unreachable!("a row of the matrix")
}

/// Calls `each` with the number of the first item and the items of `out`, `len` values each, in as many pieces as there
/// are processors. `work` is the number of multiplications.
fn in_parallel(out: &mut [f32], len: usize, work: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    let threads = if work < SMALL { 1 } else { threads() };
    let items = out.len() / len.max(1);
    if threads < 2 || items < 2 {
        return each(0, out);
    }
    let share = items.div_ceil(threads);
    std::thread::scope(|scope| {
        for (piece, out) in out.chunks_mut(share * len).enumerate() {
            let each = &each;
            scope.spawn(move || each(piece * share, out));
        }
    });
}

/// Processors; 1 where there are no threads, as in a browser.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn floats(x: Tensor<2>) -> Vec<f32> {
    read(x.into_data_async()).iter::<f32>().collect()
}

/// What a device of the host gives at once; others are waited for, where waiting is possible.
pub(crate) fn read<E: std::fmt::Debug>(future: impl Future<Output = Result<TensorData, E>>) -> TensorData {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(data) = future.as_mut().poll(&mut context) {
            return data.expect("the device works");
        }
        std::thread::yield_now();
    }
}
