//! Safetensors shards to a model, one shard at a time: a caller that maps files into memory, or fetches them, never holds
//! more than one.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};
use wethink_kernels::PackedMatrix;

use crate::linear::Packed;
use crate::shards::{CheckpointError, Ledger, canonical, parse};
use crate::text::{Decoder, DecoderLayer, Embedding, Mlp, RmsNorm, SelfAttention};
use crate::vision::{Block, Merger, PatchEmbed, VisionAttention, VisionTower};
use crate::{Config, Linear, Model, Weight};

/// Collects the tensors of a checkpoint on a device, shard by shard.
pub struct Loader {
    config: Config,
    device: Device,
    dtype: DType,
    ledger: Ledger,
    tensors: BTreeMap<String, Tensor<1>>,
}

impl Loader {
    /// Weights go to `device` and become `dtype` (F32, F16 or BF16), whatever the file holds.
    pub fn new(config: &Config, device: &Device, dtype: DType) -> Self {
        Self {
            config: config.clone(),
            device: device.clone(),
            dtype,
            ledger: Ledger::new(config),
            tensors: BTreeMap::new(),
        }
    }

    /// Moves one shard's tensors to the device. `progress` is told the bytes of each tensor as it is done.
    pub fn shard(
        &mut self,
        shard: &str,
        bytes: &[u8],
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), CheckpointError> {
        for (name, view) in parse(shard, bytes)?.tensors() {
            let name = canonical(&name);
            if self.ledger.enter(shard, &name, &view) {
                let data = convert(&view, self.dtype);
                let target = (&self.device, self.dtype);
                let tensor =
                    self.device.memory_persistent_allocations(data, |data| Tensor::from_data(data, target));
                self.tensors.insert(name, tensor);
            }
            progress(view.data().len());
        }
        Ok(())
    }

    /// The model, when every expected tensor has come.
    pub fn finish(self) -> Result<Model, CheckpointError> {
        let Self { config, ledger, tensors, .. } = self;
        ledger.close()?;
        let mut parts = Parts { tensors, packed: BTreeMap::new(), config: &config };
        Ok(parts.model())
    }
}

/// One tensor's values in the wanted type. Little-endian, as safetensors prescribes.
fn convert(view: &TensorView, dtype: DType) -> TensorData {
    let count = view.shape().iter().product::<usize>();
    match dtype {
        DType::BF16 => TensorData::new(values(view, bf16::from_f32), [count]),
        DType::F16 => TensorData::new(values(view, f16::from_f32), [count]),
        _ => TensorData::new(values(view, |x| x), [count]),
    }
}

fn values<T>(view: &TensorView, to: impl Fn(f32) -> T) -> Vec<T> {
    let bytes = view.data();
    let halves = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match view.dtype() {
        Dtype::F16 => halves().map(|bits| to(f16::from_bits(bits).to_f32())).collect(),
        Dtype::BF16 => halves().map(|bits| to(bf16::from_bits(bits).to_f32())).collect(),
        _ => bytes.chunks_exact(4).map(|b| to(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
    }
}

/// Tensors by name, taken as the model is put together. Whoever collected them has proved that all are there.
pub(crate) struct Parts<'a> {
    pub tensors: BTreeMap<String, Tensor<1>>,
    pub packed: BTreeMap<String, PackedMatrix>,
    pub config: &'a Config,
}

impl Parts<'_> {
    fn take(&mut self, name: &str) -> Tensor<1> {
        self.tensors.remove(name).expect("every tensor has come")
    }

    fn matrix(&mut self, name: &str, columns: usize) -> Param<Tensor<2>> {
        let flat = self.take(name);
        let rows = flat.dims()[0] / columns;
        Param::from_tensor(flat.reshape([rows, columns]))
    }

    fn linear(&mut self, name: &str, input: usize) -> Linear {
        let weight = self.weight(&format!("{name}.weight"), input);
        let bias = self.tensors.remove(&format!("{name}.bias")).map(Param::from_tensor);
        Linear { weight, bias, adapter: None }
    }

    fn weight(&mut self, name: &str, input: usize) -> Weight {
        match self.packed.remove(name) {
            Some(matrix) => Weight::Packed(Packed::new(matrix)),
            None => Weight::Dense(self.matrix(name, input)),
        }
    }

    fn norm(&mut self, name: &str, eps: f64) -> RmsNorm {
        RmsNorm { weight: Param::from_tensor(self.take(&format!("{name}.weight"))), eps }
    }

    fn mlp(&mut self, name: &str, width: usize, inner: usize) -> Mlp {
        Mlp {
            gate_proj: self.linear(&format!("{name}.gate_proj"), width),
            up_proj: self.linear(&format!("{name}.up_proj"), width),
            down_proj: self.linear(&format!("{name}.down_proj"), inner),
        }
    }

    fn block(&mut self, i: usize) -> Block {
        let v = &self.config.vision;
        let name = format!("visual.blocks.{i}");
        Block {
            norm1: self.norm(&format!("{name}.norm1"), VISION_EPS),
            norm2: self.norm(&format!("{name}.norm2"), VISION_EPS),
            attn: VisionAttention {
                qkv: self.linear(&format!("{name}.attn.qkv"), v.hidden_size),
                proj: self.linear(&format!("{name}.attn.proj"), v.hidden_size),
                head_dim: v.head_dim(),
            },
            mlp: self.mlp(&format!("{name}.mlp"), v.hidden_size, v.intermediate_size),
        }
    }

    fn layer(&mut self, i: usize) -> DecoderLayer {
        let t = &self.config.text;
        let name = format!("model.layers.{i}");
        DecoderLayer {
            input_layernorm: self.norm(&format!("{name}.input_layernorm"), t.rms_norm_eps),
            self_attn: SelfAttention {
                q_proj: self.linear(&format!("{name}.self_attn.q_proj"), t.hidden_size),
                k_proj: self.linear(&format!("{name}.self_attn.k_proj"), t.hidden_size),
                v_proj: self.linear(&format!("{name}.self_attn.v_proj"), t.hidden_size),
                o_proj: self
                    .linear(&format!("{name}.self_attn.o_proj"), t.num_attention_heads * t.head_dim()),
                joined_bias: None,
                head_dim: t.head_dim(),
            },
            post_attention_layernorm: self.norm(&format!("{name}.post_attention_layernorm"), t.rms_norm_eps),
            mlp: self.mlp(&format!("{name}.mlp"), t.hidden_size, t.intermediate_size),
        }
    }

    pub fn model(&mut self) -> Model {
        let (v, t) = (&self.config.vision, &self.config.text);
        let square = v.hidden_size * v.merge_unit();
        let visual = VisionTower {
            patch_embed: PatchEmbed { proj: self.matrix("visual.patch_embed.proj.weight", v.patch_len()) },
            blocks: (0..v.depth).map(|i| self.block(i)).collect(),
            merger: Merger {
                ln_q: self.norm("visual.merger.ln_q", VISION_EPS),
                mlp_0: self.linear("visual.merger.mlp.0", square),
                mlp_2: self.linear("visual.merger.mlp.2", square),
            },
            fullatt_block_indexes: v.fullatt_block_indexes.clone(),
        };
        let model = Decoder {
            embed_tokens: Embedding { weight: self.weight("model.embed_tokens.weight", t.hidden_size) },
            layers: (0..t.num_hidden_layers).map(|i| self.layer(i)).collect(),
            norm: self.norm("model.norm", t.rms_norm_eps),
        };
        let lm_head = (!self.config.tie_word_embeddings).then(|| self.linear("lm_head", t.hidden_size));
        Model::new(self.config.clone(), visual, model, lm_head)
    }
}

/// Epsilon of the tower's norms: not configurable in transformers.
const VISION_EPS: f64 = 1e-6;
