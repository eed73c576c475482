//! What a checkpoint must hold, and what is wrong with one: names, shapes and types, from the headers of its shards.
//!
//! The names and shapes follow from the configuration, so every fault of every shard is found before a weight is moved,
//! and reported in one error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::Config;

/// Why a checkpoint cannot be loaded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    /// A shard is not a safetensors file.
    #[error("{shard}: not a safetensors file ({problem}); fetch it again")]
    Shard {
        /// Name of the shard.
        shard: String,
        /// What the parser met.
        problem: String,
    },
    /// Tensors are missing, superfluous, misshapen, doubled or of a type that holds no weights.
    #[error("the checkpoint does not fit its config.json:\n{0}")]
    Tensors(Faults),
}

/// Everything wrong with a checkpoint's tensors; names are those of the released layout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Expected, but in no shard.
    pub missing: Vec<String>,
    /// In a shard, but not expected, with the shard.
    pub superfluous: Vec<(String, String)>,
    /// In two places, with the second shard.
    pub doubled: Vec<(String, String)>,
    /// With another shape than expected: name, found, expected.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// With a type other than F32, F16 or BF16: name, type.
    pub mistyped: Vec<(String, String)>,
}

impl Faults {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        lines.extend(self.missing.iter().map(|name| format!("missing: {name}")));
        lines.extend(self.superfluous.iter().map(|(name, shard)| format!("superfluous: {name} in {shard}")));
        lines.extend(self.doubled.iter().map(|(name, shard)| format!("a second time: {name} in {shard}")));
        lines.extend(
            self.misshapen
                .iter()
                .map(|(name, got, want)| format!("misshapen: {name} is {got:?}, expected {want:?}")),
        );
        lines.extend(
            self.mistyped
                .iter()
                .map(|(name, kind)| format!("type {kind}: {name}; only F32, F16 and BF16 are read")),
        );
        f.write_str(&lines.join("\n"))
    }
}

/// Every tensor a checkpoint of this configuration holds, in the released layout's names, with its shape.
pub fn expected_tensors(config: &Config) -> BTreeMap<String, Vec<usize>> {
    let mut all = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| {
        all.insert(name, shape.to_vec());
    };
    let (v, t) = (&config.vision, &config.text);
    let mut affine = |name: String, out: usize, input: usize, bias: bool| {
        add(format!("{name}.weight"), &[out, input]);
        if bias {
            add(format!("{name}.bias"), &[out]);
        }
    };
    for i in 0..v.depth {
        let block = format!("visual.blocks.{i}");
        affine(format!("{block}.attn.qkv"), 3 * v.hidden_size, v.hidden_size, true);
        affine(format!("{block}.attn.proj"), v.hidden_size, v.hidden_size, true);
        affine(format!("{block}.mlp.gate_proj"), v.intermediate_size, v.hidden_size, true);
        affine(format!("{block}.mlp.up_proj"), v.intermediate_size, v.hidden_size, true);
        affine(format!("{block}.mlp.down_proj"), v.hidden_size, v.intermediate_size, true);
    }
    let square = v.hidden_size * v.merge_unit();
    affine("visual.merger.mlp.0".into(), square, square, true);
    affine("visual.merger.mlp.2".into(), v.out_hidden_size, square, true);
    let (q, kv) = (t.num_attention_heads * t.head_dim(), t.num_key_value_heads * t.head_dim());
    for i in 0..t.num_hidden_layers {
        let layer = format!("model.layers.{i}");
        affine(format!("{layer}.self_attn.q_proj"), q, t.hidden_size, true);
        affine(format!("{layer}.self_attn.k_proj"), kv, t.hidden_size, true);
        affine(format!("{layer}.self_attn.v_proj"), kv, t.hidden_size, true);
        affine(format!("{layer}.self_attn.o_proj"), t.hidden_size, q, false);
        affine(format!("{layer}.mlp.gate_proj"), t.intermediate_size, t.hidden_size, false);
        affine(format!("{layer}.mlp.up_proj"), t.intermediate_size, t.hidden_size, false);
        affine(format!("{layer}.mlp.down_proj"), t.hidden_size, t.intermediate_size, false);
    }
    affine("model.embed_tokens".into(), t.vocab_size, t.hidden_size, false);
    if !config.tie_word_embeddings {
        affine("lm_head".into(), t.vocab_size, t.hidden_size, false);
    }
    for i in 0..v.depth {
        for norm in ["norm1", "norm2"] {
            add(format!("visual.blocks.{i}.{norm}.weight"), &[v.hidden_size]);
        }
    }
    add(
        "visual.patch_embed.proj.weight".into(),
        &[v.hidden_size, v.in_channels, v.temporal_patch_size, v.patch_size, v.patch_size],
    );
    add("visual.merger.ln_q.weight".into(), &[v.hidden_size]);
    for i in 0..t.num_hidden_layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(format!("model.layers.{i}.{norm}.weight"), &[t.hidden_size]);
        }
    }
    add("model.norm.weight".into(), &[t.hidden_size]);
    all
}

/// Name in the released layout, whichever of the two layouts a shard uses.
pub fn canonical(name: &str) -> String {
    match (name.strip_prefix("model.visual."), name.strip_prefix("model.language_model.")) {
        (Some(rest), _) => format!("visual.{rest}"),
        (_, Some(rest)) => format!("model.{rest}"),
        _ => name.to_owned(),
    }
}

pub(crate) fn parse<'a>(shard: &str, bytes: &'a [u8]) -> Result<SafeTensors<'a>, CheckpointError> {
    SafeTensors::deserialize(bytes)
        .map_err(|e| CheckpointError::Shard { shard: shard.into(), problem: e.to_string() })
}

/// The book kept over shards: what is expected, what was seen, what is wrong.
pub(crate) struct Ledger {
    expected: BTreeMap<String, Vec<usize>>,
    /// A tied head that is stored nevertheless; transformers ignores it too.
    ignored: Option<&'static str>,
    seen: BTreeSet<String>,
    faults: Faults,
}

impl Ledger {
    pub fn new(config: &Config) -> Self {
        Self {
            expected: expected_tensors(config),
            ignored: config.tie_word_embeddings.then_some("lm_head.weight"),
            seen: BTreeSet::new(),
            faults: Faults::default(),
        }
    }

    /// Enters a tensor; true when it is wanted and sound.
    pub fn enter(&mut self, shard: &str, name: &str, view: &TensorView) -> bool {
        if self.ignored == Some(name) {
            return false;
        }
        let Some(shape) = self.expected.get(name) else {
            self.faults.superfluous.push((name.into(), shard.into()));
            return false;
        };
        if !self.seen.insert(name.into()) {
            self.faults.doubled.push((name.into(), shard.into()));
            return false;
        }
        if shape != view.shape() {
            self.faults.misshapen.push((name.into(), view.shape().to_vec(), shape.clone()));
            return false;
        }
        if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            self.faults.mistyped.push((name.into(), format!("{:?}", view.dtype())));
            return false;
        }
        true
    }

    pub fn close(mut self) -> Result<(), CheckpointError> {
        self.faults.missing = self.expected.into_keys().filter(|name| !self.seen.contains(name)).collect();
        if self.faults.is_empty() { Ok(()) } else { Err(CheckpointError::Tensors(self.faults)) }
    }
}

/// Checks all shards by their headers, given as (name, whole file). Reports every fault at once.
pub fn check_shards<'a>(
    config: &Config,
    shards: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), CheckpointError> {
    let mut ledger = Ledger::new(config);
    for (shard, bytes) in shards {
        for (name, view) in parse(shard, bytes)?.tensors() {
            ledger.enter(shard, &canonical(&name), &view);
        }
    }
    ledger.close()
}
