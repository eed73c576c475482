//! Which type every tensor gets, and where it lies.

use std::str::FromStr;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use wethink_model::{
    ALIGNMENT, Config, FORMAT, Pack, PackPart, PackShard, PackTensor, PackType, SHARD_BYTES, VERSION,
    expected_tensors,
};

/// `--quantize`: the type of the language model's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Quantize {
    /// 4 bits; head and embedding 8.
    Q4,
    /// 8 bits.
    Q8,
}

/// `--override`: another type for the matrices whose names fit a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pattern: String,
    dtype: PackType,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not PATTERN=TYPE with TYPE one of q4, q8, f16, f32");
        let (pattern, dtype) = text.rsplit_once('=').filter(|(p, _)| !p.is_empty()).ok_or_else(wrong)?;
        let dtype = match dtype {
            "q4" => PackType::Q4,
            "q8" => PackType::Q8,
            "f16" => PackType::F16,
            "f32" => PackType::F32,
            _ => return Err(wrong()),
        };
        Ok(Self { pattern: pattern.into(), dtype })
    }
}

/// Whether a name fits a pattern, whose `*` stands for any run of characters.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(after, &rest[at..]))
        }),
    }
}

/// The type of a tensor. Vectors are f32 always: norms and biases are small and everything passes through them. The
/// merger is f32, because its activations are the widest of the model; the tower's matrices are halves.
fn dtype(name: &str, shape: &[usize], quantize: Quantize, overrides: &[Override]) -> Result<PackType> {
    if shape.len() == 1 {
        return Ok(PackType::F32);
    }
    if let Some(own) = overrides.iter().rev().find(|own| fits(&own.pattern, name)) {
        if shape.len() > 2 && matches!(own.dtype, PackType::Q4 | PackType::Q8) {
            bail!("--override {}: {name} can be f16 or f32 only", own.pattern);
        }
        return Ok(own.dtype);
    }
    Ok(match (name, quantize) {
        _ if name.starts_with("visual.merger.") => PackType::F32,
        _ if name.starts_with("visual.") => PackType::F16,
        ("model.embed_tokens.weight" | "lm_head.weight", _) | (_, Quantize::Q8) => PackType::Q8,
        (_, Quantize::Q4) => PackType::Q4,
    })
}

/// Where a tensor stands in a forward pass. Queries, keys and values follow one another, as do gate and value: a
/// reader puts each group together.
fn place(name: &str) -> (usize, usize, usize) {
    let number = |prefix: &str| {
        name.strip_prefix(prefix).and_then(|rest| rest.split('.').next()?.parse::<usize>().ok())
    };
    let within = [
        "patch_embed",
        "norm1",
        "input_layernorm",
        "attn.qkv",
        "q_proj",
        "k_proj",
        "v_proj",
        "attn.proj",
        "o_proj",
        "norm2",
        "post_attention_layernorm",
        "gate_proj",
        "up_proj",
        "down_proj",
        "ln_q",
        "mlp.0",
        "mlp.2",
    ];
    let part = within.iter().position(|part| name.contains(part)).unwrap_or(within.len());
    // Vectors first: they are small, and a matrix then ends where the next begins.
    let part = 2 * part + usize::from(!name.ends_with(".bias"));
    match (number("visual.blocks."), number("model.layers.")) {
        (Some(block), _) => (1, block, part),
        (_, Some(layer)) => (4, layer, part),
        _ if name.starts_with("visual.patch_embed") => (0, 0, part),
        _ if name.starts_with("visual.") => (2, 0, part),
        _ if name.starts_with("model.embed_tokens") => (3, 0, part),
        _ if name.starts_with("model.norm") => (5, 0, part),
        _ => (6, 0, part),
    }
}

/// A pack of this configuration with every byte's place settled and no sum yet.
///
/// `json` is the checkpoint's `config.json`. A tensor lies in one shard where one can hold it, else in as many as it needs,
/// from the beginning of a fresh one.
///
/// # Errors
/// An override asks for a type that a tensor cannot have, or fits nothing.
pub fn plan(json: Value, quantize: Quantize, overrides: &[Override]) -> Result<Pack> {
    let config = Config::from_json(&json.to_string())?;
    let mut shapes: Vec<(String, Vec<usize>)> = expected_tensors(&config).into_iter().collect();
    shapes.sort_by_key(|(name, _)| place(name));
    if let Some(own) = overrides.iter().find(|own| !shapes.iter().any(|(name, _)| fits(&own.pattern, name))) {
        bail!("--override {}: no tensor of this model fits it", own.pattern);
    }
    let mut room = Room { shards: Vec::new() };
    let mut tensors = Vec::new();
    for (name, shape) in shapes {
        let dtype = dtype(&name, &shape, quantize, overrides)?;
        let mut tensor = PackTensor { name, dtype, shape, parts: Vec::new() };
        room.place(&mut tensor);
        tensors.push(tensor);
    }
    let count = room.shards.len();
    let shard = |(index, bytes)| PackShard {
        file: format!("shard-{:04}-of-{count:04}.bin", index + 1),
        bytes,
        sha256: "0".repeat(64),
    };
    let shards = room.shards.into_iter().enumerate().map(shard).collect();
    let pack =
        Pack { format: FORMAT.into(), version: VERSION, config: json, files: Vec::new(), shards, tensors };
    Ok(pack)
}

/// Bytes of the shards so far.
struct Room {
    shards: Vec<u64>,
}

impl Room {
    fn place(&mut self, tensor: &mut PackTensor) {
        let (rows, width) = tensor.matrix();
        let (value, scale) = (tensor.dtype.row_bytes(width), tensor.dtype.scale_bytes(width));
        let sizes = |rows: usize| {
            let values = (rows as u64 * value).next_multiple_of(ALIGNMENT);
            (values, values + (rows as u64 * scale).next_multiple_of(ALIGNMENT))
        };
        let most = ((SHARD_BYTES - 2 * ALIGNMENT) / (value + scale)) as usize;
        let mut left = rows;
        while left > 0 {
            let part_rows = left.min(most);
            let (values, whole) = sizes(part_rows);
            let fits = self.shards.last().is_some_and(|used| used + whole <= SHARD_BYTES);
            // What needs several shards begins a fresh one, so that matrices of one shape are cut alike.
            if !fits || (rows > most && left == rows) {
                self.shards.push(0);
            }
            let shard = self.shards.len() - 1;
            let offset = self.shards[shard];
            let scales = (scale > 0).then_some(offset + values);
            tensor.parts.push(PackPart { rows: part_rows, shard, offset, scales });
            self.shards[shard] = offset + whole;
            left -= part_rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(layers: usize, tied: bool) -> Value {
        json!({
            "model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944,
            "num_hidden_layers": layers, "num_attention_heads": 28, "num_key_value_heads": 4,
            "vocab_size": 152064, "tie_word_embeddings": tied,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "vision_config": {"hidden_size": 1280, "depth": 2, "fullatt_block_indexes": [1]},
        })
    }

    #[test]
    fn a_pack_of_the_7b_shape_is_sound_in_both_types_and_of_the_size_its_bits_say() {
        for (quantize, least, most) in [(Quantize::Q4, 5.06e9, 5.12e9), (Quantize::Q8, 8.32e9, 8.38e9)] {
            let pack = plan(config(28, false), quantize, &[]).expect("a plan");
            pack.check().expect("sound");
            // 6.53e9 values in 4.5 or 8.5 bits, 1.09e9 in 8.5, 4.5e7 in 32, and two blocks of the tower.
            let bytes = pack.bytes() as f64;
            assert!(bytes > least && bytes < most, "{quantize:?}: {bytes}");
            // Queries, keys and values share a shard; gate and value are cut alike.
            let parts = |name: &str| {
                let tensor = pack.tensors.iter().find(|tensor| tensor.name == name).expect("a tensor");
                tensor.parts.iter().map(|part| part.rows).collect::<Vec<_>>()
            };
            assert_eq!(parts("model.layers.3.self_attn.q_proj.weight"), [3584]);
            let gate = parts("model.layers.3.mlp.gate_proj.weight");
            assert_eq!(gate, parts("model.layers.3.mlp.up_proj.weight"));
            assert_eq!(gate.len(), if quantize == Quantize::Q4 { 1 } else { 2 });
            assert!(parts("lm_head.weight").len() > 4);
        }
    }

    #[test]
    fn shards_follow_the_forward_pass() {
        let pack = plan(config(12, false), Quantize::Q4, &[]).expect("a plan");
        let names: Vec<&str> = pack.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let at = |name: &str| names.iter().position(|other| *other == name).expect(name);
        let order = [
            "visual.patch_embed.proj.weight",
            "visual.blocks.0.attn.qkv.weight",
            "visual.blocks.1.norm1.weight",
            "visual.merger.mlp.2.weight",
            "model.embed_tokens.weight",
            "model.layers.2.self_attn.q_proj.weight",
            "model.layers.2.self_attn.k_proj.weight",
            "model.layers.2.mlp.down_proj.weight",
            "model.layers.10.self_attn.q_proj.weight",
            "model.norm.weight",
            "lm_head.weight",
        ];
        assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{names:?}");
        let shards: Vec<usize> = pack.tensors.iter().flat_map(|t| t.parts.iter().map(|p| p.shard)).collect();
        assert!(shards.is_sorted());
    }

    #[test]
    fn overrides_go_by_pattern_and_the_last_that_fits_wins() {
        let own = |text: &str| text.parse::<Override>().expect(text);
        let all = [own("model.layers.*=q8"), own("*.1.mlp.down_proj.*=f16"), own("visual.merger.mlp.0*=q8")];
        let pack = plan(config(2, true), Quantize::Q4, &all).expect("a plan");
        pack.check().expect("sound");
        let dtype = |name: &str| pack.tensors.iter().find(|t| t.name == name).expect(name).dtype;
        assert_eq!(dtype("model.layers.0.mlp.down_proj.weight"), PackType::Q8);
        assert_eq!(dtype("model.layers.1.mlp.down_proj.weight"), PackType::F16);
        assert_eq!(dtype("model.layers.1.self_attn.q_proj.bias"), PackType::F32);
        assert_eq!(dtype("visual.merger.mlp.0.weight"), PackType::Q8);
        assert_eq!(dtype("visual.merger.mlp.2.weight"), PackType::F32);
        assert_eq!(dtype("visual.blocks.0.attn.qkv.weight"), PackType::F16);
        for wrong in ["", "=q4", "a=q5", "a"] {
            assert!(wrong.parse::<Override>().expect_err(wrong).contains("PATTERN=TYPE"));
        }
        let error =
            |text: &str| plan(config(2, true), Quantize::Q4, &[own(text)]).expect_err(text).to_string();
        assert!(error("model.layer.*=q8").contains("no tensor"));
        assert!(error("visual.patch*=q8").contains("patch_embed"));
    }
}
