//! The language model: Qwen2 (arXiv 2407.10671) with multimodal rotary positions.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use wethink_kernels::{
    Launches, Span, add_rms_norm, attention_causal, attention_sequences, packed_gather, rms_norm, rotate,
    rotate_append, silu_mul,
};

use crate::recompute::recomputed;
use crate::{KvCache, Linear, Weight};

/// Token embedding, layers and final norm; `model.*` of the checkpoint.
#[derive(Module, Debug)]
pub struct Decoder {
    /// The embedding.
    pub embed_tokens: Embedding,
    /// The layers, first to last.
    pub layers: Vec<DecoderLayer>,
    /// The norm after the last layer.
    pub norm: RmsNorm,
}

/// The table of token embeddings.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[V, C]`.
    pub weight: Weight,
}

impl Embedding {
    /// Rows of the table, `[ids]` to `[ids, C]`; `like` is any tensor of the model's device.
    pub fn forward(&self, ids: Tensor<1, Int>, like: &Tensor<1>, launches: &mut Launches) -> Tensor<2> {
        match &self.weight {
            Weight::Dense(weight) => weight.val().select(0, ids),
            Weight::Packed(packed) => packed_gather(ids, &packed.matrix, like, launches),
        }
    }
}

/// Root-mean-square norm with a learned scale.
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Added to the mean square.
    pub eps: f64,
}

impl RmsNorm {
    /// `[.., C]` to the same shape.
    pub fn forward<const R: usize>(&self, x: Tensor<R>, launches: &mut Launches) -> Tensor<R> {
        rms_norm(x, self.weight.val(), self.eps, launches)
    }

    /// Takes a residual stream `x` further by `delta`, if there is one yet, and norms it: (stream, normed).
    pub(crate) fn after<const R: usize>(
        &self,
        x: Tensor<R>,
        delta: Option<Tensor<R>>,
        launches: &mut Launches,
    ) -> (Tensor<R>, Tensor<R>) {
        match delta {
            Some(delta) => add_rms_norm(delta, x, self.weight.val(), self.eps, launches),
            None => (x.clone(), self.forward(x, launches)),
        }
    }
}

/// Attention and MLP, each behind a norm, each added to the stream.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Attention.
    pub self_attn: SelfAttention,
    /// Norm before the MLP.
    pub post_attention_layernorm: RmsNorm,
    /// MLP.
    pub mlp: Mlp,
}

/// Grouped-query attention; queries, keys and values have biases, the output has none.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// `[Hq * D, C]`.
    pub q_proj: Linear,
    /// `[Hkv * D, C]`.
    pub k_proj: Linear,
    /// `[Hkv * D, C]`.
    pub v_proj: Linear,
    /// `[C, Hq * D]`.
    pub o_proj: Linear,
    /// Biases of queries, keys and values side by side, where the three weights are packed so.
    #[module(skip)]
    pub(crate) joined_bias: Option<Tensor<1>>,
    /// D.
    pub head_dim: usize,
}

/// SwiGLU.
#[derive(Module, Debug)]
pub struct Mlp {
    /// Gate.
    pub gate_proj: Linear,
    /// Value.
    pub up_proj: Linear,
    /// Back to the stream's width.
    pub down_proj: Linear,
}

impl Mlp {
    /// `[.., C]` to the same shape.
    pub fn forward<const R: usize>(&self, x: Tensor<R>, launches: &mut Launches) -> Tensor<R> {
        let gate = self.gate_proj.forward(x.clone());
        self.down_proj.forward(silu_mul(gate, self.up_proj.forward(x), launches))
    }
}

/// What a pass over the layers needs beside the weights.
pub(crate) struct Pass<'a> {
    /// Angles of the step's tokens, `[B, T, 2, D/2]`.
    pub rotary: &'a Tensor<4>,
    /// What the step's tokens attend to.
    pub scope: Scope<'a>,
    /// Counts of what ran.
    pub launches: &'a mut Launches,
    /// Collects the input of every layer and the result, when wanted.
    pub trace: Option<&'a mut Vec<Tensor<3>>>,
}

/// What the tokens of a pass attend to.
pub(crate) enum Scope<'a> {
    /// The cache, in which their keys and values are stored at the places that the span names.
    Cached { span: &'a Span, cache: &'a mut KvCache },
    /// The tokens of the pass alone.
    Whole(&'a Sequences),
}

/// Whole sequences without a cache.
#[derive(Debug, Clone)]
pub(crate) struct Sequences {
    /// Lengths of the sequences that lie in one row one after another; absent where each row is one sequence.
    pub lengths: Option<Vec<usize>>,
    /// Scores of one attention that are held at once.
    pub scores: usize,
    /// Whether the backward pass computes each layer again from its input.
    pub recompute: bool,
}

impl Decoder {
    /// `[B, T, C]` through all layers and the final norm.
    ///
    /// What a sublayer adds to the stream is added by the norm that follows it: one pass over the data instead of two.
    pub(crate) fn forward(&self, mut x: Tensor<3>, mut pass: Pass) -> Tensor<3> {
        if let Scope::Whole(sequences) = &pass.scope
            && sequences.recompute
        {
            for layer in &self.layers {
                x = layer.recomputed(x, pass.rotary, sequences, pass.launches);
            }
            return self.norm.forward(x, pass.launches);
        }
        let mut delta = None;
        for (index, layer) in self.layers.iter().enumerate() {
            if let Some(trace) = &mut pass.trace {
                trace.push(delta.iter().cloned().fold(x.clone(), |x, delta: Tensor<3>| x + delta));
            }
            (x, delta) = match layer.fused(&x, &pass) {
                Some(fused) => {
                    (fused.forward(delta.into_iter().fold(x, Tensor::add), index, &mut pass), None)
                }
                None => {
                    let (x, added) = layer.forward(x, delta, index, &mut pass);
                    (x, Some(added))
                }
            };
        }
        let (_, normed) = self.norm.after(x, delta, pass.launches);
        if let Some(trace) = &mut pass.trace {
            trace.push(normed.clone());
        }
        normed
    }
}

impl DecoderLayer {
    /// The stream with everything that this layer adds to it, as a stretch that keeps its input alone.
    fn recomputed(
        &self,
        x: Tensor<3>,
        rotary: &Tensor<4>,
        sequences: &Sequences,
        launches: &mut Launches,
    ) -> Tensor<3> {
        let (rotary, sequences) = (rotary.clone(), sequences.clone());
        let shape = x.dims();
        let run = move |layer: &Self, x: Tensor<3>, launches: &mut Launches| {
            let scope = Scope::Whole(&sequences);
            let mut pass = Pass { rotary: &rotary, scope, launches, trace: None };
            let (x, added) = layer.forward(x, None, 0, &mut pass);
            added + x
        };
        recomputed(self, x, shape, run, launches)
    }

    /// The stream and what the sublayer before added to it; returns the same of this layer's MLP.
    fn forward(
        &self,
        x: Tensor<3>,
        delta: Option<Tensor<3>>,
        index: usize,
        pass: &mut Pass,
    ) -> (Tensor<3>, Tensor<3>) {
        let (x, normed) = self.input_layernorm.after(x, delta, pass.launches);
        let attended = self.self_attn.forward(normed, index, pass);
        let (x, normed) = self.post_attention_layernorm.after(x, Some(attended), pass.launches);
        (x, self.mlp.forward(normed, pass.launches))
    }
}

impl SelfAttention {
    fn forward(&self, x: Tensor<3>, index: usize, pass: &mut Pass) -> Tensor<3> {
        let [batch, width, _] = x.dims();
        let heads = |x: Tensor<3>| {
            let count = x.dims()[2] / self.head_dim;
            x.reshape([batch, width, count, self.head_dim])
        };
        let q = heads(self.q_proj.forward(x.clone())); // [B, T, Hq, D]
        let k = heads(self.k_proj.forward(x.clone())); // [B, T, Hkv, D]
        let v = heads(self.v_proj.forward(x));
        let rotary = pass.rotary.clone();
        let attended = match &mut pass.scope {
            Scope::Cached { span, cache } => {
                let slot = &mut cache.layers[index];
                let cache = slot.take().expect("a cache is away only while its own layer runs");
                let (q, cache) = rotate_append(q, k, v, rotary, span, cache, pass.launches);
                let attended = attention_causal(q, &cache, span, pass.launches);
                *slot = Some(cache);
                attended
            }
            Scope::Whole(Sequences { lengths, scores, .. }) => {
                let q = rotate(q, rotary.clone(), pass.launches);
                let k = rotate(k, rotary, pass.launches);
                attention_sequences(q, k, v, lengths.as_deref(), *scores, pass.launches)
            }
        };
        self.o_proj.forward(attended)
    }
}
