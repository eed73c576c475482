//! Attention, head by head, in blocks of queries: scores live in a buffer of one core's cache, and the backward pass computes
//! them again from queries, keys and the normaliser of each row (Dao et al., arXiv 2205.14135).
//!
//! One file beyond the usual length: forward pass, backward pass and the three layouts of heads are read against each other.

use std::ops::Range;

use burn::tensor::Tensor;

use super::product::{Matrix, product};
use super::{Operation, exp, run};
use crate::{Cache, Segments, Span};

/// Queries whose scores are held at once.
const BLOCK: usize = 64;

/// What attends to what, and where heads lie.
#[derive(Debug, Clone)]
struct Attention {
    /// Rows of tokens that attend within themselves, one after another.
    sequences: Vec<Range<usize>>,
    /// Whether a token sees only what comes before it, and itself.
    causal: bool,
    /// Hq and Hkv.
    heads: [usize; 2],
    /// D.
    dim: usize,
}

/// A head's rows among flat values: where its first row begins, and how far rows are apart.
#[derive(Clone, Copy)]
struct Head<'a> {
    values: &'a [f32],
    stride: usize,
}

impl<'a> Head<'a> {
    fn new(values: &'a [f32], start: usize, stride: usize) -> Self {
        Self { values: &values[start..], stride }
    }

    /// `rows` of its rows as a matrix, `[rows, D]`.
    fn rows(&self, rows: Range<usize>, dim: usize) -> Matrix<'a> {
        Matrix::new(&self.values[rows.start * self.stride..], [rows.len(), dim], self.stride)
    }
}

/// Causal attention of whole sequences: `[B, T, Hq, D]`, twice `[B, T, Hkv, D]` to `[B, T, Hq * D]`, each row one sequence, or
/// the one row sequences of these lengths.
pub(crate) fn causal(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    lengths: Option<&[usize]>,
) -> Option<Tensor<3>> {
    let [batch, width, heads, dim] = q.dims();
    let rows = vec![width; batch];
    let sequences = ranges(lengths.unwrap_or(&rows));
    let attention = Attention { sequences, causal: true, heads: [heads, k.dims()[2]], dim };
    let inputs = [q, k, v].map(|x| x.clone().reshape([x.shape().num_elements()]));
    run(attention, inputs, [batch, width, heads * dim])
}

/// Attention within segments in both directions: `[P, 3, H, D]` to `[P, H * D]`.
pub(crate) fn segments(qkv: &Tensor<4>, segments: &Segments) -> Option<Tensor<2>> {
    let [patches, _, heads, dim] = qkv.dims();
    let sequences = ranges(segments.lengths());
    let attention = Attention { sequences, causal: false, heads: [heads, heads], dim };
    run(Joined(attention), [qkv.clone().reshape([patches * 3 * heads * dim])], [patches, heads * dim])
}

/// Causal attention over a cache, as `attention_causal` has it, where nothing is tracked.
pub(crate) fn cached(q: &Tensor<4>, cache: &Cache, span: &Span) -> Option<Tensor<3>> {
    let [batch, width, heads, dim] = q.dims();
    let [_, kv_heads, capacity, _] = cache.k.dims();
    let inputs = [q, &cache.k, &cache.v].map(|x| x.clone().reshape([x.shape().num_elements()]));
    let rows = span.starts().iter().zip(span.counts()).map(|(&start, &count)| (start, count)).collect();
    let over = OverCache { rows, width, heads: [heads, kv_heads], dim, capacity };
    run(over, inputs, [batch, width, heads * dim])
}

fn ranges(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut end = 0;
    let range = |&length: &usize| {
        end += length;
        end - length..end
    };
    lengths.iter().map(range).collect()
}

/// The keys that a query sees.
#[derive(Clone, Copy)]
enum Seen {
    /// All of them.
    All(usize),
    /// Those up to the place of the first query plus its own number.
    UpTo(usize),
}

impl Seen {
    fn keys(self, query: usize) -> usize {
        match self {
            Seen::All(keys) => keys,
            Seen::UpTo(first) => first + query + 1,
        }
    }
}

/// One head's outputs, `[queries, D]`, and, where wanted, the logarithm of the sum of exponentials of each row of scores.
fn attend(
    [q, k, v]: [Head; 3],
    queries: usize,
    seen: Seen,
    dim: usize,
    out: &mut [f32],
    mut normalisers: Option<&mut [f32]>,
) {
    let scale = (dim as f32).powf(-0.5);
    let mut scores = Vec::new();
    for from in (0..queries).step_by(BLOCK) {
        let rows = from..queries.min(from + BLOCK);
        let keys = seen.keys(rows.end - 1);
        scores.resize(rows.len() * keys, 0.0);
        product(
            &mut scores,
            keys,
            q.rows(rows.clone(), dim),
            k.rows(0..keys, dim).transposed(),
            scale,
            false,
        );
        for (query, row) in rows.clone().zip(scores.chunks_exact_mut(keys)) {
            let (visible, hidden) = row.split_at_mut(seen.keys(query));
            let top = visible.iter().fold(f32::NEG_INFINITY, |top, x| top.max(*x));
            let mut sum = 0.0;
            for x in visible.iter_mut() {
                *x = exp(*x - top);
                sum += *x;
            }
            let inverse = 1.0 / sum;
            visible.iter_mut().for_each(|x| *x *= inverse);
            hidden.fill(0.0);
            if let Some(normalisers) = &mut normalisers {
                normalisers[query] = top + sum.ln();
            }
        }
        let weights = Matrix::new(&scores, [rows.len(), keys], keys);
        let out = &mut out[rows.start * dim..rows.end * dim];
        product(out, dim, weights, v.rows(0..keys, dim), 1.0, false);
    }
}

/// Gradients of one head: those of its queries are set, those of keys and values, which other heads share, added to.
fn attend_backward(
    [q, k, v]: [Head; 3],
    upstream: Head,
    normalisers: &[f32],
    seen: Seen,
    dim: usize,
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let scale = (dim as f32).powf(-0.5);
    let queries = normalisers.len();
    let (mut weights, mut slopes) = (Vec::new(), Vec::new());
    for from in (0..queries).step_by(BLOCK) {
        let rows = from..queries.min(from + BLOCK);
        let keys = seen.keys(rows.end - 1);
        let shape = [rows.len(), keys];
        weights.resize(rows.len() * keys, 0.0);
        slopes.resize(rows.len() * keys, 0.0);
        let g = upstream.rows(rows.clone(), dim);
        product(
            &mut weights,
            keys,
            q.rows(rows.clone(), dim),
            k.rows(0..keys, dim).transposed(),
            scale,
            false,
        );
        product(&mut slopes, keys, g, v.rows(0..keys, dim).transposed(), 1.0, false);
        let blocks = weights.chunks_exact_mut(keys).zip(slopes.chunks_exact_mut(keys));
        for (query, (weights, slopes)) in rows.clone().zip(blocks) {
            let seen = seen.keys(query);
            let mut along = 0.0;
            for (weight, slope) in weights[..seen].iter_mut().zip(&slopes[..seen]) {
                *weight = exp(*weight - normalisers[query]);
                along += *weight * slope;
            }
            for (slope, weight) in slopes[..seen].iter_mut().zip(&weights[..seen]) {
                *slope = scale * weight * (*slope - along);
            }
            weights[seen..].fill(0.0);
            slopes[seen..].fill(0.0);
        }
        let weights = Matrix::new(&weights, shape, keys);
        let slopes = Matrix::new(&slopes, shape, keys);
        product(&mut dv[..keys * dim], dim, weights.transposed(), g, 1.0, true);
        let at = rows.start * dim..rows.end * dim;
        product(&mut dq[at], dim, slopes, k.rows(0..keys, dim), 1.0, false);
        product(&mut dk[..keys * dim], dim, slopes.transposed(), q.rows(rows, dim), 1.0, true);
    }
}

/// Runs a piece of work for every pair of a sequence and a key head, on all cores.
fn pieces<T: Send>(sequences: usize, heads: usize, work: impl Fn(usize, usize) -> T + Sync) -> Vec<T> {
    let each = |piece: usize| work(piece / heads, piece % heads);
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        (0..sequences * heads).into_par_iter().map(each).collect()
    }
    #[cfg(target_arch = "wasm32")]
    (0..sequences * heads).map(each).collect()
}

/// Copies a head's dense rows, `[rows, D]`, to where they lie among all heads'.
fn place(out: &mut [f32], start: usize, stride: usize, rows: &[f32], dim: usize) {
    for (row, values) in rows.chunks_exact(dim).enumerate() {
        out[start + row * stride..][..dim].copy_from_slice(values);
    }
}

/// Where queries, keys and values, and gradients alike, lie: the first row of a head, and the distance of rows.
#[derive(Clone, Copy)]
struct Layout {
    /// Where the first head of the first token begins.
    first: usize,
    /// Between tokens.
    stride: usize,
}

/// Puts a head's rows: of queries, keys or values, by their layout, from this place on.
type Put<'a> = dyn FnMut(usize, Layout, usize, &[f32]) + 'a;

impl Attention {
    fn group(&self) -> usize {
        self.heads[0] / self.heads[1]
    }

    fn head<'a>(&self, values: &'a [f32], layout: Layout, sequence: usize, head: usize) -> Head<'a> {
        let token = self.sequences[sequence].start;
        Head::new(values, layout.first + token * layout.stride + head * self.dim, layout.stride)
    }

    fn seen(&self, length: usize) -> Seen {
        if self.causal { Seen::UpTo(0) } else { Seen::All(length) }
    }

    /// Outputs, `[tokens, Hq * D]`, and normalisers, head by head within each sequence.
    fn forward(&self, values: [&[f32]; 3], layouts: [Layout; 3]) -> (Vec<f32>, Vec<f32>) {
        let (dim, group, tokens) = (self.dim, self.group(), self.sequences.last().map_or(0, |last| last.end));
        let done = pieces(self.sequences.len(), self.heads[1], |sequence, kv_head| {
            let length = self.sequences[sequence].len();
            let (mut out, mut normalisers) = (vec![0.0; group * length * dim], vec![0.0; group * length]);
            for member in 0..group {
                let head =
                    |which: usize, number: usize| self.head(values[which], layouts[which], sequence, number);
                let heads = [head(0, kv_head * group + member), head(1, kv_head), head(2, kv_head)];
                let out = &mut out[member * length * dim..][..length * dim];
                let normalisers = &mut normalisers[member * length..][..length];
                attend(heads, length, self.seen(length), dim, out, Some(normalisers));
            }
            (out, normalisers)
        });
        let stride = self.heads[0] * dim;
        let mut all = vec![0.0; tokens * stride];
        let mut kept = Vec::with_capacity(tokens * self.heads[0]);
        for (piece, (out, normalisers)) in done.into_iter().enumerate() {
            let range = &self.sequences[piece / self.heads[1]];
            for member in 0..group {
                let head = piece % self.heads[1] * group + member;
                let rows = &out[member * range.len() * dim..][..range.len() * dim];
                place(&mut all, range.start * stride + head * dim, stride, rows, dim);
            }
            kept.extend(normalisers);
        }
        (all, kept)
    }

    /// Gradients of queries, keys and values, put where `layouts` say in `outs`.
    fn backward(
        &self,
        values: [&[f32]; 3],
        layouts: [Layout; 3],
        kept: &[f32],
        upstream: &[f32],
        put: &mut Put,
    ) {
        let (dim, group) = (self.dim, self.group());
        let stride = self.heads[0] * dim;
        let done = pieces(self.sequences.len(), self.heads[1], |sequence, kv_head| {
            let range = &self.sequences[sequence];
            let length = range.len();
            let mut dq = vec![0.0; group * length * dim];
            let (mut dk, mut dv) = (vec![0.0; length * dim], vec![0.0; length * dim]);
            for member in 0..group {
                let number = kv_head * group + member;
                let head =
                    |which: usize, number: usize| self.head(values[which], layouts[which], sequence, number);
                let heads = [head(0, number), head(1, kv_head), head(2, kv_head)];
                let g = self.head(upstream, Layout { first: 0, stride }, sequence, number);
                let normalisers =
                    &kept[range.start * self.heads[0] + (kv_head * group + member) * length..][..length];
                let dq = &mut dq[member * length * dim..][..length * dim];
                attend_backward(heads, g, normalisers, self.seen(length), dim, [dq, &mut dk, &mut dv]);
            }
            [dq, dk, dv]
        });
        for (piece, [dq, dk, dv]) in done.into_iter().enumerate() {
            let (sequence, kv_head) = (piece / self.heads[1], piece % self.heads[1]);
            let range = &self.sequences[sequence];
            let mut at = |which: usize, head: usize, rows: &[f32]| {
                let layout = layouts[which];
                put(which, layout, layout.first + range.start * layout.stride + head * dim, rows);
            };
            for member in 0..group {
                let rows = &dq[member * range.len() * dim..][..range.len() * dim];
                at(0, kv_head * group + member, rows);
            }
            at(1, kv_head, &dk);
            at(2, kv_head, &dv);
        }
    }

    fn layouts(&self) -> [Layout; 3] {
        let [heads, kv_heads] = self.heads;
        [heads, kv_heads, kv_heads].map(|heads| Layout { first: 0, stride: heads * self.dim })
    }
}

impl Operation<3> for Attention {
    fn forward(&self, inputs: [&[f32]; 3]) -> (Vec<f32>, Vec<f32>) {
        Attention::forward(self, inputs, self.layouts())
    }

    fn backward(&self, inputs: [&[f32]; 3], kept: &[f32], upstream: &[f32], _: [bool; 3]) -> [Vec<f32>; 3] {
        let mut outs = inputs.map(|x| vec![0.0; x.len()]);
        Attention::backward(
            self,
            inputs,
            self.layouts(),
            kept,
            upstream,
            &mut |which, layout, start, rows| {
                place(&mut outs[which], start, layout.stride, rows, self.dim);
            },
        );
        outs
    }
}

/// The same with queries, keys and values of a token side by side in one input.
#[derive(Debug, Clone)]
struct Joined(Attention);

impl Joined {
    fn layouts(&self) -> [Layout; 3] {
        let width = self.0.heads[0] * self.0.dim;
        [0, 1, 2].map(|which| Layout { first: which * width, stride: 3 * width })
    }
}

impl Operation<1> for Joined {
    fn forward(&self, [qkv]: [&[f32]; 1]) -> (Vec<f32>, Vec<f32>) {
        self.0.forward([qkv; 3], self.layouts())
    }

    fn backward(&self, [qkv]: [&[f32]; 1], kept: &[f32], upstream: &[f32], _: [bool; 1]) -> [Vec<f32>; 1] {
        let mut out = vec![0.0; qkv.len()];
        self.0.backward([qkv; 3], self.layouts(), kept, upstream, &mut |_, layout, start, rows| {
            place(&mut out, start, layout.stride, rows, self.0.dim);
        });
        [out]
    }
}

/// Queries of a step over caches of different lengths.
#[derive(Debug, Clone)]
struct OverCache {
    /// Tokens that each row of the cache held before, and the step's own.
    rows: Vec<(usize, usize)>,
    /// T.
    width: usize,
    /// Hq and Hkv.
    heads: [usize; 2],
    /// D.
    dim: usize,
    /// Tokens that a row of the cache can hold.
    capacity: usize,
}

impl Operation<3> for OverCache {
    /// Outputs of tokens beyond a row's own are 0.
    fn forward(&self, [q, k, v]: [&[f32]; 3]) -> (Vec<f32>, Vec<f32>) {
        let Self { width, heads: [heads, kv_heads], dim, capacity, .. } = *self;
        let group = heads / kv_heads;
        let stride = heads * dim;
        let done = pieces(self.rows.len(), kv_heads, |row, kv_head| {
            let (start, count) = self.rows[row];
            let mut out = vec![0.0; group * count * dim];
            let held = |values| Head::new(values, (row * kv_heads + kv_head) * capacity * dim, dim);
            for member in 0..group {
                let first = row * width * stride + (kv_head * group + member) * dim;
                let heads = [Head::new(q, first, stride), held(k), held(v)];
                let out = &mut out[member * count * dim..][..count * dim];
                attend(heads, count, Seen::UpTo(start), dim, out, None);
            }
            out
        });
        let mut all = vec![0.0; self.rows.len() * width * stride];
        for (piece, out) in done.into_iter().enumerate() {
            let (row, kv_head) = (piece / kv_heads, piece % kv_heads);
            let count = self.rows[row].1;
            for member in 0..group {
                let start = row * width * stride + (kv_head * group + member) * dim;
                place(&mut all, start, stride, &out[member * count * dim..][..count * dim], dim);
            }
        }
        (all, Vec::new())
    }

    fn backward(&self, _: [&[f32]; 3], _: &[f32], _: &[f32], _: [bool; 3]) -> [Vec<f32>; 3] {
        unreachable!("a cache is not tracked")
    }
}
