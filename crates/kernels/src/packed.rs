//! Products with packed weights: few bits a value in memory, float32 in every sum.
//!
//! The definition of each operation is the same with the weight unpacked ([`PackedMatrix::dense`]) and ordinary burn
//! operations. On a device that compiles WGSL the weight stays packed and kernels unpack it as they read; elsewhere it
//! stays packed on the host ([`host`](crate::host)).

mod launch;

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use wethink_shaders as shaders;
use wethink_shaders::packing::Packing;

use crate::wgsl::{Buffer, Wgsl};
use crate::{
    Cache, Launches, Span, host, rms_norm, rms_norm_composed, rotate_append_composed, silu_mul,
    silu_mul_composed,
};
use launch::{few, gather, many};

/// Rows of x up to which a product is a matter of reading the weight.
const FEW: usize = 8;

/// Whether the kernels for few rows take x: they read it in vectors.
fn is_few([rows, width]: [usize; 2]) -> bool {
    rows <= FEW && width.is_multiple_of(shaders::packed_matvec::WIDTH_UNIT as usize)
}

/// A matrix `[N, K]` packed as [`Packing`] says, in parts: ranges of its rows in one buffer each.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    packing: Packing,
    width: usize,
    parts: Vec<PackedRows>,
}

/// Some rows of a packed matrix. Several of these may share one buffer; none copies it.
#[derive(Debug, Clone)]
pub struct PackedRows {
    pub(crate) store: Arc<Store>,
    /// The first row in the buffer that counts.
    pub(crate) first: usize,
    pub(crate) rows: usize,
}

/// Where words and scales lie.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each buffer, always behind an Arc")]
pub(crate) enum Store {
    /// In plain memory, for devices that do not read packed weights.
    Host { words: Vec<u32>, scales: Vec<u32> },
    /// On a device whose kernels do.
    Device { words: Tensor<1, Int>, scales: Tensor<1, Int> },
}

impl PackedRows {
    /// Moves rows to a device: `words` and `scales` are their bytes, little-endian, as [`Packing`] lays them out.
    ///
    /// # Panics
    /// If the bytes are not whole rows, as many in both: lengths are the caller's to check.
    pub fn new(packing: Packing, width: usize, words: &[u8], scales: &[u8], device: &Device) -> Self {
        let rows = words.len() / (4 * packing.row_words(width));
        assert_eq!(words.len(), 4 * rows * packing.row_words(width), "whole rows");
        assert_eq!(scales.len(), 4 * rows * packing.scale_words(width), "scales of every row");
        let store = if Wgsl::of(&Tensor::<1>::zeros([1], device)).is_some() {
            let upload = |bytes: &[u8]| {
                // A binding is never empty, and halves have no scales.
                let values: Vec<i32> =
                    if bytes.is_empty() { vec![0] } else { bytemuck::pod_collect_to_vec(bytes) };
                let count = values.len();
                device.memory_persistent_allocations(TensorData::new(values, [count]), |data| {
                    Tensor::from_data(data, device)
                })
            };
            Store::Device { words: upload(words), scales: upload(scales) }
        } else {
            Store::Host {
                words: bytemuck::pod_collect_to_vec(words),
                scales: bytemuck::pod_collect_to_vec(scales),
            }
        };
        Self { store: Arc::new(store), first: 0, rows }
    }

    /// Rows of several buffers, each used from its first to its last row, in one buffer: a kernel is launched once for all. Until
    /// the parts are dropped this takes their memory twice.
    pub fn concatenated(parts: &[Self], device: &Device) -> Self {
        let rows = parts.iter().map(|part| part.rows).sum();
        let (mut on_device, mut on_host) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for part in parts {
            match &*part.store {
                Store::Device { words, scales } => {
                    on_device.0.push(words.clone());
                    on_device.1.push(scales.clone());
                }
                Store::Host { words, scales } => {
                    on_host.0.extend_from_slice(words);
                    on_host.1.extend_from_slice(scales);
                }
            }
        }
        let store = if on_device.0.is_empty() {
            Store::Host { words: on_host.0, scales: on_host.1 }
        } else {
            let cat = |parts| device.memory_persistent_allocations(parts, |parts| Tensor::cat(parts, 0));
            Store::Device { words: cat(on_device.0), scales: cat(on_device.1) }
        };
        Self { store: Arc::new(store), first: 0, rows }
    }

    /// The same rows as consecutive ranges of `counts` rows, in the same buffer.
    ///
    /// # Panics
    /// If the counts do not add up to the rows.
    pub fn split(&self, counts: &[usize]) -> Vec<Self> {
        assert_eq!(counts.iter().sum::<usize>(), self.rows, "the ranges cover the rows");
        let mut first = self.first;
        let range = |&rows: &usize| {
            first += rows;
            Self { store: self.store.clone(), first: first - rows, rows }
        };
        counts.iter().map(range).collect()
    }
}

impl PackedMatrix {
    /// A matrix of rows of `width` values, its parts in order.
    pub fn new(packing: Packing, width: usize, parts: Vec<PackedRows>) -> Self {
        Self { packing, width, parts }
    }

    /// How it is packed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// N.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// K.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of words and scales: what a product with few rows reads.
    pub fn bytes(&self) -> usize {
        4 * self.rows() * (self.packing.row_words(self.width) + self.packing.scale_words(self.width))
    }

    pub(crate) fn parts(&self) -> &[PackedRows] {
        &self.parts
    }

    /// Matrices whose rows follow one another in one buffer, as one matrix.
    pub fn joined(matrices: &[&Self]) -> Option<Self> {
        let (first, rest) = matrices.split_first()?;
        let [whole] = &first.parts[..] else { return None };
        let mut whole = whole.clone();
        for matrix in rest {
            let [part] = &matrix.parts[..] else { return None };
            let next = Arc::ptr_eq(&part.store, &whole.store) && part.first == whole.first + whole.rows;
            if !next || matrix.packing != first.packing || matrix.width != first.width {
                return None;
            }
            whole.rows += part.rows;
        }
        Some(Self { packing: first.packing, width: first.width, parts: vec![whole] })
    }

    /// Unpacked, `[N, K]`, on `device`; the device must be the one that the matrix was made for.
    pub fn dense(&self, device: &Device) -> Tensor<2> {
        if self.on_device() {
            let rows = self.rows();
            let ids = Tensor::arange(0..rows as i64, device);
            let like = Tensor::<1>::zeros([1], device);
            let device = Wgsl::of(&like).expect("the matrix was moved to a device that compiles WGSL");
            return gather(&device, ids, self, &mut Launches::new());
        }
        host::dense(self, device)
    }

    fn on_device(&self) -> bool {
        self.parts.iter().all(|part| matches!(*part.store, Store::Device { .. }))
    }

    /// Buffers of a part.
    fn buffers(part: &PackedRows) -> [Buffer; 2] {
        match &*part.store {
            Store::Device { words, scales } => [words, scales].map(|x| Buffer::read_ids(x.clone())),
            Store::Host { .. } => unreachable!("kernels are launched for matrices on their device"),
        }
    }
}

/// A device for this matrix's kernels, if x is there.
fn kernels_of(x: &Tensor<2>, matrices: &[&PackedMatrix]) -> Option<Wgsl> {
    Wgsl::of(x).filter(|_| matrices.iter().all(|matrix| matrix.on_device()))
}

/// `norm(x) · Wᵀ + b`: `[R, K]` to `[R, N]`. The norm is [`rms_norm`] with the given weight `[K]` and epsilon.
pub fn packed_product(
    x: Tensor<2>,
    weight: &PackedMatrix,
    norm: Option<(Tensor<1>, f64)>,
    bias: Option<Tensor<1>>,
    launches: &mut Launches,
) -> Tensor<2> {
    let tracked =
        [norm.as_ref().map(|(norm, _)| norm), bias.as_ref()].into_iter().flatten().any(Tensor::is_autodiff);
    let Some(device) = kernels_of(&x, &[weight]).filter(|_| !tracked) else {
        return packed_product_composed(x, weight, norm, bias, launches);
    };
    let [rows, _] = x.dims();
    let y = device.empty([rows, weight.rows()]);
    if is_few(x.dims()) {
        few(&device, x, weight, norm, bias, (&y, false), launches);
    } else {
        let x = match norm {
            Some((norm, eps)) => rms_norm(x, norm, eps, launches),
            None => x,
        };
        many(&device, x, weight, bias, &y, launches);
    }
    y.tensor()
}

/// The definition of [`packed_product`].
pub fn packed_product_composed(
    x: Tensor<2>,
    weight: &PackedMatrix,
    norm: Option<(Tensor<1>, f64)>,
    bias: Option<Tensor<1>>,
    launches: &mut Launches,
) -> Tensor<2> {
    launches.count("packed_product_composed");
    let x = match norm {
        Some((norm, eps)) => rms_norm_composed(x, norm, eps, launches),
        None => x,
    };
    let y = host::product(x, weight);
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// `stream + x · Wᵀ`: `[R, K]` and `[R, N]` to `[R, N]`, in the stream's place if nobody else holds it.
pub fn packed_add(
    x: Tensor<2>,
    weight: &PackedMatrix,
    stream: Tensor<2>,
    launches: &mut Launches,
) -> Tensor<2> {
    let few_rows = is_few(x.dims()) && !stream.is_autodiff();
    let Some(device) = kernels_of(&x, &[weight]).filter(|_| few_rows) else {
        return stream + packed_product(x, weight, None, None, launches);
    };
    let y = Buffer::update(stream);
    few(&device, x, weight, None, None, (&y, true), launches);
    y.tensor()
}

/// `silu(norm(x) · Gᵀ) * (norm(x) · Uᵀ)`: `[R, K]` to `[R, N]`, the first half of a gated MLP with its norm.
pub fn packed_gate_up(
    x: Tensor<2>,
    (norm, eps): (Tensor<1>, f64),
    gate: &PackedMatrix,
    up: &PackedMatrix,
    launches: &mut Launches,
) -> Tensor<2> {
    let [rows, width] = x.dims();
    let alike = gate.packing == up.packing
        && gate.parts.iter().map(|part| part.rows).eq(up.parts.iter().map(|part| part.rows))
        && gate.parts.iter().chain(&up.parts).all(|part| part.first == 0);
    let Some(device) = kernels_of(&x, &[gate, up]).filter(|_| !norm.is_autodiff()) else {
        return packed_gate_up_composed(x, (norm, eps), gate, up, launches);
    };
    if !alike || !is_few(x.dims()) {
        let normed = rms_norm(x, norm, eps, launches);
        let g = packed_product(normed.clone(), gate, None, None, launches);
        return silu_mul(g, packed_product(normed, up, None, None, launches), launches);
    }
    let (x, norm) = (Buffer::read(x), Buffer::read(norm));
    let y = device.empty([rows, gate.rows()]);
    let mut start = 0;
    for (gate_part, up_part) in gate.parts.iter().zip(&up.parts) {
        let params = shaders::packed_gate_up::Params {
            rows: rows as u32,
            width: width as u32,
            out_rows: gate_part.rows as u32,
            out_width: gate.rows() as u32,
            start,
            per_word: gate.packing.per_word(),
            row_words: gate.packing.row_words(width) as u32,
            row_scales: gate.packing.scale_words(width) as u32,
            eps: eps as f32,
            pad: 0,
        };
        let [gate_words, gate_scales] = PackedMatrix::buffers(gate_part);
        let [up_words, up_scales] = PackedMatrix::buffers(up_part);
        let buffers = [&x, &norm, &gate_words, &gate_scales, &up_words, &up_scales, &y];
        let grid = shaders::packed_gate_up::grid(&params);
        device.launch(&shaders::packed_gate_up::KERNEL, &params, grid, &buffers, launches);
        start += gate_part.rows as u32;
    }
    y.tensor()
}

/// The definition of [`packed_gate_up`].
pub fn packed_gate_up_composed(
    x: Tensor<2>,
    (norm, eps): (Tensor<1>, f64),
    gate: &PackedMatrix,
    up: &PackedMatrix,
    launches: &mut Launches,
) -> Tensor<2> {
    let normed = rms_norm_composed(x, norm, eps, launches);
    let g = packed_product_composed(normed.clone(), gate, None, None, launches);
    silu_mul_composed(g, packed_product_composed(normed, up, None, None, launches), launches)
}

/// Rows of a packed table, unpacked: `[R]` to `[R, K]`. Every id is below N; `like` is any tensor of the device.
pub fn packed_gather(
    ids: Tensor<1, Int>,
    table: &PackedMatrix,
    like: &Tensor<1>,
    launches: &mut Launches,
) -> Tensor<2> {
    match Wgsl::of(like).filter(|_| table.on_device()) {
        Some(device) => gather(&device, ids, table, launches),
        None => packed_gather_composed(ids, table, launches),
    }
}

/// The definition of [`packed_gather`].
pub fn packed_gather_composed(
    ids: Tensor<1, Int>,
    table: &PackedMatrix,
    launches: &mut Launches,
) -> Tensor<2> {
    launches.count("packed_gather_composed");
    host::gather(ids, table)
}

/// [`rotate_append`](crate::rotate_append) of queries, keys and values that lie side by side, `[B, T, (Hq + 2 Hkv) * D]`:
/// what one product over all three leaves.
pub fn rotate_append_joined(
    qkv: Tensor<3>,
    table: Tensor<4>,
    span: &Span,
    cache: Cache,
    launches: &mut Launches,
) -> (Tensor<4>, Cache) {
    let [batch, tokens, width] = qkv.dims();
    let [_, kv_heads, capacity, dim] = cache.k.dims();
    assert!(span.longest() <= capacity, "the step outgrows the cache");
    let heads = width / dim - 2 * kv_heads;
    let Some(device) = Wgsl::of(&qkv) else {
        let part = |from: usize, heads: usize| {
            qkv.clone().narrow(2, from * dim, heads * dim).reshape([batch, tokens, heads, dim])
        };
        let (q, k, v) = (part(0, heads), part(heads, kv_heads), part(heads + kv_heads, kv_heads));
        return rotate_append_composed(q, k, v, table, span, cache, launches);
    };
    let params = shaders::mrope_append_joined::Params {
        batch: batch as u32,
        tokens: tokens as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: dim as u32,
        cache_len: capacity as u32,
    };
    let turned = device.empty([batch, tokens, heads, dim]);
    let (keys, values) = (Buffer::update(cache.k), Buffer::update(cache.v));
    let (qkv, table, spans) = (Buffer::read(qkv), Buffer::read(table), Buffer::read_ids(span.tensor()));
    let buffers = [&qkv, &table, &spans, &turned, &keys, &values];
    let grid = shaders::mrope_append_joined::grid(&params);
    device.launch(&shaders::mrope_append_joined::KERNEL, &params, grid, &buffers, launches);
    (turned.tensor(), Cache { k: keys.tensor(), v: values.tensor() })
}
