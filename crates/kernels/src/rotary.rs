//! Rotary positions (Su et al., arXiv 2104.09864), together with what always follows: storing keys and values.
//!
//! A head's feature `i` is paired with `i + D/2` (transformers' `rotate_half`), so a table holds D/2 cosines, then D/2
//! sines, for each token.

use burn::tensor::Tensor;
use wethink_shaders as shaders;

use crate::pointwise::{downcast, upcast};
use crate::wgsl::{Buffer, Wgsl};
use crate::{Launches, Span, cpu};

/// Keys and values of one layer, `[B, Hkv, capacity, D]` each.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Keys, rotated.
    pub k: Tensor<4>,
    /// Values.
    pub v: Tensor<4>,
}

/// Rotates a step's queries and keys, and stores keys and values in the cache at the step's places.
///
/// `q` is `[B, T, Hq, D]`, `k` and `v` are `[B, T, Hkv, D]`, `table` is `[B, T, 2, D/2]` in float32. Returns the rotated
/// queries and the cache. Tokens beyond a row's count are not stored.
///
/// # Panics
///
/// If a row would outgrow the cache: its owner checks that first.
pub fn rotate_append(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    table: Tensor<4>,
    span: &Span,
    cache: Cache,
    launches: &mut Launches,
) -> (Tensor<4>, Cache) {
    assert!(span.longest() <= cache.k.dims()[2], "the step outgrows the cache");
    let Some(device) = Wgsl::of(&q) else {
        return match (cpu::rotate(&q, &table), cpu::rotate(&k, &table)) {
            (Some(q), Some(k)) => {
                launches.count("rotate_append_cpu");
                (q, stored(k, v, span, cache))
            }
            _ => rotate_append_composed(q, k, v, table, span, cache, launches),
        };
    };
    let [batch, tokens, heads, dim] = q.dims();
    let [_, kv_heads, capacity, _] = cache.k.dims();
    let params = shaders::mrope_append::Params {
        batch: batch as u32,
        tokens: tokens as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: dim as u32,
        cache_len: capacity as u32,
    };
    let turned = device.empty([batch, tokens, heads, dim]);
    let (keys, values) = (Buffer::update(cache.k), Buffer::update(cache.v));
    let (q, k, v) = (Buffer::read(q), Buffer::read(k), Buffer::read(v));
    let (table, spans) = (Buffer::read(table), Buffer::read_ids(span.tensor()));
    let buffers = [&q, &k, &v, &table, &spans, &turned, &keys, &values];
    device.launch(
        &shaders::mrope_append::KERNEL,
        &params,
        shaders::mrope_append::grid(&params),
        &buffers,
        launches,
    );
    (turned.tensor(), Cache { k: keys.tensor(), v: values.tensor() })
}

/// The definition of [`rotate_append`].
pub fn rotate_append_composed(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    table: Tensor<4>,
    span: &Span,
    cache: Cache,
    launches: &mut Launches,
) -> (Tensor<4>, Cache) {
    launches.count("rotate_append_composed");
    let q = rotate_composed(q, table.clone());
    (q, stored(rotate_composed(k, table), v, span, cache))
}

/// Writes rotated keys and values, `[B, T, Hkv, D]`, into the cache.
fn stored(k: Tensor<4>, v: Tensor<4>, span: &Span, cache: Cache) -> Cache {
    Cache { k: store(cache.k, k.swap_dims(1, 2), span), v: store(cache.v, v.swap_dims(1, 2), span) }
}

/// Writes each row's own tokens, `[B, Hkv, T, D]`, at their places.
fn store(mut cache: Tensor<4>, new: Tensor<4>, span: &Span) -> Tensor<4> {
    let [batch, heads, _, dim] = new.dims();
    let mut write = |rows: std::ops::Range<usize>, start: usize, count: usize| {
        let values = new.clone().slice([rows.clone(), 0..heads, 0..count, 0..dim]);
        cache.inplace(|cache| cache.slice_assign([rows, 0..heads, start..start + count, 0..dim], values));
    };
    match span.uniform() {
        Some((start, count)) => write(0..batch, start, count),
        None => {
            for (row, (&start, &count)) in span.starts().iter().zip(span.counts()).enumerate() {
                write(row..row + 1, start, count);
            }
        }
    }
    cache
}

/// Rotates the tower's queries and keys: `qkv` is `[P, 3, H, D]` (queries, keys, values), `table` `[P, 2, D/2]`.
pub fn rotate_qkv(qkv: Tensor<4>, table: Tensor<3>, launches: &mut Launches) -> Tensor<4> {
    let Some(device) = Wgsl::of(&qkv) else {
        return match cpu::rotate_joined(&qkv, &table) {
            Some(turned) => launches.counted("rotate_qkv_cpu", turned),
            None => rotate_qkv_composed(qkv, table, launches),
        };
    };
    let shape @ [patches, _, heads, dim] = qkv.dims();
    let params = shaders::rope_vision::Params {
        patches: patches as u32,
        heads: heads as u32,
        head_dim: dim as u32,
        pad: 0,
    };
    let turned = device.empty(shape);
    let buffers = [&Buffer::read(qkv), &Buffer::read(table), &turned];
    device.launch(
        &shaders::rope_vision::KERNEL,
        &params,
        shaders::rope_vision::grid(&params),
        &buffers,
        launches,
    );
    turned.tensor()
}

/// The definition of [`rotate_qkv`].
pub fn rotate_qkv_composed(qkv: Tensor<4>, table: Tensor<3>, launches: &mut Launches) -> Tensor<4> {
    launches.count("rotate_qkv_composed");
    let [patches, _, heads, dim] = qkv.dims();
    let turning = qkv.clone().narrow(1, 0, 2).reshape([1, patches, 2 * heads, dim]);
    let turned = rotate_composed(turning, table.unsqueeze_dim(0)).reshape([patches, 2, heads, dim]);
    Tensor::cat(vec![turned, qkv.narrow(1, 2, 1)], 1)
}

/// Rotates every head of `[B, T, H, D]` by its token's angles, `[B, T, 2, D/2]` in float32, as [`rotate_composed`] does.
pub fn rotate(x: Tensor<4>, table: Tensor<4>, launches: &mut Launches) -> Tensor<4> {
    match cpu::rotate(&x, &table) {
        Some(turned) => launches.counted("rotate_cpu", turned),
        None => rotate_composed(x, table),
    }
}

/// Rotates every head of `[B, T, H, D]` by its token's angles, `[B, T, 2, D/2]` in float32. The rotation is float32, the
/// result has `x`'s type.
pub fn rotate_composed(x: Tensor<4>, table: Tensor<4>) -> Tensor<4> {
    let dtype = x.dtype();
    let half = x.dims()[3] / 2;
    let x = upcast(x);
    let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half)); // [B, T, H, D/2]
    let (cos, sin) = (table.clone().narrow(2, 0, 1), table.narrow(2, 1, 1)); // [B, T, 1, D/2]
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    let second = b * cos + a * sin;
    downcast(Tensor::cat(vec![first, second], 3), dtype)
}
