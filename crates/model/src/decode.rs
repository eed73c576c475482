//! One layer of the decoder over packed weights with everything around a product in the product's own launch.
//!
//! Seven launches a layer: norm, queries, keys and values with their biases; rotation and append; attention, in two
//! halves; output added to the stream; norm, gate and value with their product; the way back added to the stream. At
//! decode the cost of a launch is that of some hundred kB of weights, so their number matters. The arithmetic is that of
//! [`DecoderLayer`]; where weights are plain, or a step has many tokens, that runs.

use burn::tensor::Tensor;
use wethink_kernels::{
    PackedMatrix, attention_causal, packed_add, packed_gate_up, packed_product, rotate_append_joined,
    runs_wgsl,
};

use crate::text::{Pass, Scope};
use crate::{DecoderLayer, Linear};

/// Rows that the fused kernels take: more are a prefill, whatever they are called.
const ROWS: usize = 8;

/// A layer's matrices.
pub(crate) struct Fused<'a> {
    layer: &'a DecoderLayer,
    qkv: PackedMatrix,
    bias: Tensor<1>,
    out: &'a PackedMatrix,
    gate: &'a PackedMatrix,
    up: &'a PackedMatrix,
    down: &'a PackedMatrix,
}

/// The weight of a map that is its packed weight and nothing more.
fn plain(linear: &Linear) -> Option<&PackedMatrix> {
    linear.weight.packed().filter(|_| linear.adapter.is_none())
}

impl DecoderLayer {
    /// The layer's fused form, if its weights and this step have one: one token a row, a cache, kernels to run.
    pub(crate) fn fused<'a>(&'a self, x: &Tensor<3>, pass: &Pass) -> Option<Fused<'a>> {
        let [batch, width, _] = x.dims();
        if width != 1
            || batch > ROWS
            || matches!(pass.scope, Scope::Whole(_))
            || pass.trace.is_some()
            || !runs_wgsl(x)
        {
            return None;
        }
        let attention = &self.self_attn;
        let [q, k, v] = [&attention.q_proj, &attention.k_proj, &attention.v_proj].map(plain);
        Some(Fused {
            layer: self,
            qkv: PackedMatrix::joined(&[q?, k?, v?])?,
            bias: attention.joined_bias.clone()?,
            out: plain(&attention.o_proj)?,
            gate: plain(&self.mlp.gate_proj)?,
            up: plain(&self.mlp.up_proj)?,
            down: plain(&self.mlp.down_proj)?,
        })
    }
}

impl Fused<'_> {
    /// The stream through the layer, `[B, 1, C]`.
    pub fn forward(self, x: Tensor<3>, index: usize, pass: &mut Pass) -> Tensor<3> {
        let [batch, _, channels] = x.dims();
        let x = x.reshape([batch, channels]);
        let norm = &self.layer.input_layernorm;
        let norm = (norm.weight.val(), norm.eps);
        let qkv = packed_product(x.clone(), &self.qkv, Some(norm), Some(self.bias), pass.launches);
        let Scope::Cached { span, cache } = &mut pass.scope else {
            unreachable!("a fused layer has a cache")
        };
        let slot = &mut cache.layers[index];
        let cache = slot.take().expect("a cache is away only while its own layer runs");
        let qkv = qkv.unsqueeze_dim(1); // [B, 1, (Hq + 2 Hkv) * D]
        let (q, cache) = rotate_append_joined(qkv, pass.rotary.clone(), span, cache, pass.launches);
        let attended = attention_causal(q, &cache, span, pass.launches); // [B, 1, Hq * D]
        *slot = Some(cache);
        let x = packed_add(attended.squeeze_dim(1), self.out, x, pass.launches);
        let norm = &self.layer.post_attention_layernorm;
        let norm = (norm.weight.val(), norm.eps);
        let inner = packed_gate_up(x.clone(), norm, self.gate, self.up, pass.launches);
        packed_add(inner, self.down, x, pass.launches).unsqueeze_dim(1)
    }
}
