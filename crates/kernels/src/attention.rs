//! Attention over a cache and within segments.
//!
//! The kernels hold no score matrix in device memory. The composed bodies go through the queries in chunks, so that the
//! scores held at once stay near [`SCORES`] values instead of growing with the square of the length.

use burn::tensor::{Int, Tensor, TensorData, activation::softmax};
use wethink_shaders as shaders;

use crate::pointwise::{downcast, upcast};
use crate::wgsl::{Buffer, Wgsl};
use crate::{Cache, Launches, Segments, Span, cpu};

/// Scores held at once by a composed body, in values: 64 MiB of float32.
const SCORES: usize = 1 << 24;

/// The widest head the kernels take; all of Qwen2.5-VL's are narrower or equal.
const MAX_HEAD: usize = 128;

/// Causal attention of a step's queries over the cache, with grouped query heads (Ainslie et al., arXiv 2305.13245).
///
/// `q` is `[B, T, Hq, D]`; the cache's keys and values are `[B, Hkv, capacity, D]` with the step's own already stored.
/// Query head `h` reads key head `h / (Hq / Hkv)`. Scores are scaled by `D^-1/2`; softmax is float32. Returns
/// `[B, T, Hq * D]`. Outputs of tokens beyond a row's count are unspecified, but finite.
pub fn attention_causal(q: Tensor<4>, cache: &Cache, span: &Span, launches: &mut Launches) -> Tensor<3> {
    let [_, width, _, dim] = q.dims();
    let tracked = cache.k.is_autodiff() || cache.v.is_autodiff();
    match Wgsl::of(&q).filter(|_| !tracked && dim <= MAX_HEAD && dim.is_multiple_of(2)) {
        None if tracked || q.is_autodiff() => attention_causal_composed(q, cache, span, launches),
        None => match cpu::cached(&q, cache, span) {
            Some(attended) => launches.counted("attention_cpu", attended),
            None => attention_causal_composed(q, cache, span, launches),
        },
        Some(device) if width == 1 => decode(&device, q, cache, span, launches),
        Some(device) => prefill(&device, q, cache, span, launches),
    }
}

/// Many queries a row: tiles of keys, online softmax.
fn prefill(device: &Wgsl, q: Tensor<4>, cache: &Cache, span: &Span, launches: &mut Launches) -> Tensor<3> {
    let [batch, tokens, heads, dim] = q.dims();
    let [_, kv_heads, capacity, _] = cache.k.dims();
    let params = shaders::attention_prefill::Params {
        batch: batch as u32,
        tokens: tokens as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: dim as u32,
        cache_len: capacity as u32,
        start_max: span.starts().iter().copied().max().unwrap_or(0) as u32,
        scale: (dim as f32).powf(-0.5),
    };
    let attended = device.empty([batch, tokens, heads * dim]);
    let (q, spans) = (Buffer::read(q), Buffer::read_ids(span.tensor()));
    let buffers = [&q, &Buffer::read(cache.k.clone()), &Buffer::read(cache.v.clone()), &spans, &attended];
    let grid = shaders::attention_prefill::grid(&params);
    device.launch(&shaders::attention_prefill::KERNEL, &params, grid, &buffers, launches);
    attended.tensor()
}

/// One query a row: the cache in splits, then their combination.
fn decode(device: &Wgsl, q: Tensor<4>, cache: &Cache, span: &Span, launches: &mut Launches) -> Tensor<3> {
    let [batch, _, heads, dim] = q.dims();
    let [_, kv_heads, capacity, _] = cache.k.dims();
    let splits = shaders::attention_decode::splits(span.longest() as u32);
    let params = shaders::attention_decode::Params {
        batch: batch as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: dim as u32,
        cache_len: capacity as u32,
        splits,
        scale: (dim as f32).powf(-0.5),
        pad: 0,
    };
    let sums = device.empty([batch, heads, splits as usize, dim]);
    let stats = device.empty([batch, heads, splits as usize, 2]);
    let (q, spans) = (Buffer::read(q), Buffer::read_ids(span.tensor()));
    let buffers = [&q, &Buffer::read(cache.k.clone()), &Buffer::read(cache.v.clone()), &spans, &sums, &stats];
    let grid = shaders::attention_decode::grid(&params);
    device.launch(&shaders::attention_decode::KERNEL, &params, grid, &buffers, launches);
    let params = shaders::attention_combine::Params {
        rows: (batch * heads) as u32,
        splits,
        head_dim: dim as u32,
        pad: 0,
    };
    let attended = device.empty([batch, 1, heads * dim]);
    let grid = shaders::attention_combine::grid(&params);
    device.launch(&shaders::attention_combine::KERNEL, &params, grid, &[&sums, &stats, &attended], launches);
    attended.tensor()
}

/// The definition of [`attention_causal`].
pub fn attention_causal_composed(
    q: Tensor<4>,
    cache: &Cache,
    span: &Span,
    launches: &mut Launches,
) -> Tensor<3> {
    launches.count("attention_composed");
    let [batch, width, heads, dim] = q.dims();
    let [_, kv_heads, _, _] = cache.k.dims();
    let length = span.longest();
    let group = heads / kv_heads;
    let dtype = q.dtype();
    let held = |x: &Tensor<4>| x.clone().slice([0..batch, 0..kv_heads, 0..length, 0..dim]);
    let (keys, values) = (held(&cache.k).swap_dims(2, 3), held(&cache.v)); // [B, Hkv, D, L], [B, Hkv, L, D]
    let q = q.reshape([batch, width, kv_heads, group, dim]).permute([0, 2, 3, 1, 4]); // [B, Hkv, G, T, D]
    let columns: Tensor<1, Int> = Tensor::arange(0..length as i64, &q.device());
    let columns = columns.reshape([1, 1, 1, 1, length]);
    // Nothing is hidden when the whole batch decodes at one position.
    let masked = width > 1 || span.uniform().is_none_or(|(start, _)| start + 1 < length);
    let chunk = (SCORES / (batch * heads * length).max(1)).clamp(1, width);
    let chunks = (0..width).step_by(chunk).map(|from| {
        let rows = chunk.min(width - from);
        let flat = [batch, kv_heads, group * rows, length];
        let q = q.clone().narrow(3, from, rows).reshape([batch, kv_heads, group * rows, dim]);
        let mut scores = upcast(q.matmul(keys.clone())).mul_scalar((dim as f64).powf(-0.5));
        if masked {
            let shape = [batch, kv_heads, group, rows, length];
            let positions = span.positions(from, rows).reshape([batch, 1, 1, rows, 1]);
            let future = columns.clone().expand(shape).greater(positions.expand(shape));
            scores = scores.reshape(shape).mask_fill(future, f32::NEG_INFINITY).reshape(flat);
        }
        let weights = downcast(softmax(scores, 3), dtype);
        weights.matmul(values.clone()).reshape([batch, kv_heads, group, rows, dim])
    });
    let attended = Tensor::cat(chunks.collect(), 3); // [B, Hkv, G, T, D]
    attended.permute([0, 3, 1, 2, 4]).reshape([batch, width, heads * dim])
}

/// Attention of every patch over the patches of its own segment, in both directions.
///
/// `qkv` is `[P, 3, H, D]` with queries and keys rotated; the segments cover the P patches. Scores are scaled by `D^-1/2`;
/// softmax is float32. Returns `[P, H * D]`.
pub fn attention_segments(qkv: Tensor<4>, segments: &Segments, launches: &mut Launches) -> Tensor<2> {
    let [patches, _, heads, dim] = qkv.dims();
    assert_eq!(segments.lengths().iter().sum::<usize>(), patches, "the segments cover the patches");
    let Some(device) = Wgsl::of(&qkv).filter(|_| dim <= MAX_HEAD && dim.is_multiple_of(2)) else {
        return match cpu::segments(&qkv, segments) {
            Some(attended) => launches.counted("attention_cpu", attended),
            None => attention_segments_composed(qkv, segments, launches),
        };
    };
    let params = shaders::attention_vision::Params {
        segments: segments.lengths().len() as u32,
        longest: segments.lengths().iter().copied().max().unwrap_or(0) as u32,
        heads: heads as u32,
        head_dim: dim as u32,
        scale: (dim as f32).powf(-0.5),
        pad: 0,
    };
    let attended = device.empty([patches, heads * dim]);
    let buffers = [&Buffer::read(qkv), &Buffer::read_ids(segments.bounds()), &attended];
    let grid = shaders::attention_vision::grid(&params);
    device.launch(&shaders::attention_vision::KERNEL, &params, grid, &buffers, launches);
    attended.tensor()
}

/// The definition of [`attention_segments`]. Segments of one length attend as one batch.
pub fn attention_segments_composed(
    qkv: Tensor<4>,
    segments: &Segments,
    launches: &mut Launches,
) -> Tensor<2> {
    launches.count("attention_composed");
    let [patches, _, heads, dim] = qkv.dims();
    let device = qkv.device();
    let groups = by_length(segments.lengths());
    if let [(length, _)] = groups[..] {
        return blocks(qkv, length);
    }
    let index = |rows: Vec<i32>| {
        let count = rows.len();
        Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device)
    };
    let mut back = vec![0i32; patches];
    let mut place = 0;
    let mut outputs = Vec::with_capacity(groups.len());
    for (length, starts) in &groups {
        let rows: Vec<i32> = starts.iter().flat_map(|&start| start as i32..(start + length) as i32).collect();
        for &row in &rows {
            back[row as usize] = place;
            place += 1;
        }
        outputs.push(blocks(qkv.clone().select(0, index(rows)), *length));
    }
    debug_assert_eq!(outputs.iter().map(|out| out.dims()).fold(0, |sum, [rows, _]| sum + rows), patches);
    Tensor::cat(outputs, 0).select(0, index(back)).reshape([patches, heads * dim])
}

/// `[S * length, 3, H, D]` to `[S * length, H * D]`.
fn blocks(qkv: Tensor<4>, length: usize) -> Tensor<2> {
    let [rows, _, heads, dim] = qkv.dims();
    let dtype = qkv.dtype();
    let count = rows / length;
    let part = |which: usize| {
        let x = qkv.clone().narrow(1, which, 1).reshape([count, length, heads, dim]);
        x.swap_dims(1, 2) // [S, H, length, D]
    };
    let (q, keys, values) = (part(0), part(1).swap_dims(2, 3), part(2));
    let chunk = (SCORES / (count * heads * length).max(1)).clamp(1, length);
    let chunks = (0..length).step_by(chunk).map(|from| {
        let q = q.clone().narrow(2, from, chunk.min(length - from));
        let scores = upcast(q.matmul(keys.clone())).mul_scalar((dim as f64).powf(-0.5));
        downcast(softmax(scores, 3), dtype).matmul(values.clone())
    });
    Tensor::cat(chunks.collect(), 2).swap_dims(1, 2).reshape([rows, heads * dim])
}

/// Starts of the segments of each length, lengths ascending. Empty segments are left out.
fn by_length(segments: &[usize]) -> Vec<(usize, Vec<usize>)> {
    let mut groups = std::collections::BTreeMap::<usize, Vec<usize>>::new();
    let mut start = 0;
    for &length in segments {
        if length > 0 {
            groups.entry(length).or_default().push(start);
        }
        start += length;
    }
    groups.into_iter().collect()
}
