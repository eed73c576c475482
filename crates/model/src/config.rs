//! The shape of a Qwen2.5-VL, read from a checkpoint's `config.json`.
//!
//! Two layouts exist. The released one is flat: text fields stand beside `vision_config`. Newer exports nest them under
//! `text_config`. Both are read; where both places hold a field, the nested one wins. Absent keys take the defaults of
//! transformers' `Qwen2_5_VLConfig`. Anything that would change the arithmetic and is not built (another activation,
//! another rotary scaling, sliding windows) is refused by name instead of being ignored.

use serde_json::{Map, Value};

use crate::fields::{Fields, bad, id_of};

/// Why a configuration cannot be used. The caller adds the file's name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not JSON, or not an object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// A field holds a value of another type or outside its range.
    #[error("field `{field}`: {problem}")]
    Field {
        /// Path of the field, as in `vision_config.depth`.
        field: String,
        /// What is wrong with it, and what is accepted.
        problem: String,
    },
}

/// Text model, vision tower and the ids that join them.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The language model.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// Whether the head is the embedding, transposed.
    pub tie_word_embeddings: bool,
    /// The token that stands for one merged patch of a picture.
    pub image_token_id: u32,
    /// The token that stands for a merged patch of a video; never sampled.
    pub video_token_id: u32,
    /// End-of-sequence ids named by the configuration (often overridden by `generation_config.json`).
    pub eos_token_ids: Vec<u32>,
}

/// The language model: a Qwen2 decoder with multimodal rotary positions.
#[derive(Debug, Clone, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding; may exceed the tokenizer's size.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Longest sequence the positions were trained for.
    pub max_position_embeddings: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How many of the D/2 rotary frequencies follow time, height and width.
    pub mrope_section: [usize; 3],
}

impl TextConfig {
    /// Width of one head, `hidden_size / num_attention_heads`.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// The vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Width of the tower.
    pub hidden_size: usize,
    /// Width of a block's MLP.
    pub intermediate_size: usize,
    /// Number of heads.
    pub num_heads: usize,
    /// Colour channels.
    pub in_channels: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Frames in a patch.
    pub temporal_patch_size: usize,
    /// Side, in patches, of the square that the merger folds into one token.
    pub spatial_merge_size: usize,
    /// Side of an attention window in pixels.
    pub window_size: usize,
    /// Blocks that attend over the whole picture.
    pub fullatt_block_indexes: Vec<usize>,
    /// Width after the merger; equals the text model's.
    pub out_hidden_size: usize,
}

impl VisionConfig {
    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Values in one patch row: channels x frames x height x width.
    pub fn patch_len(&self) -> usize {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Patches folded into one token.
    pub fn merge_unit(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }

    /// Side of a window in merged tokens.
    pub fn window_tokens(&self) -> usize {
        self.window_size / self.spatial_merge_size / self.patch_size
    }
}

impl Config {
    /// Reads `config.json`.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let root: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| ConfigError::Json(e.to_string()))?;
        let section = |name: &str| match root.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(bad(name, "not an object")),
        };
        let nested = section("text_config")?;
        let vision = section("vision_config")?;
        let text = Fields { maps: [nested, Some(&root)], prefix: "" };
        if let Some(kind) = root.get("model_type").and_then(Value::as_str)
            && kind != "qwen2_5_vl"
        {
            return Err(bad("model_type", format!("`{kind}`, but only `qwen2_5_vl` is supported")));
        }
        let config = Self {
            text: TextConfig::read(&text)?,
            vision: VisionConfig::read(&Fields { maps: [vision, None], prefix: "vision_config." })?,
            // transformers reads the flag from the top; nested exports repeat it.
            tie_word_embeddings: text.flag("tie_word_embeddings", false)?,
            image_token_id: text.id("image_token_id", 151655)?,
            video_token_id: text.id("video_token_id", 151656)?,
            eos_token_ids: eos(&text)?,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (text, vision) = (&self.text, &self.vision);
        divides("num_attention_heads", text.num_attention_heads, "hidden_size", text.hidden_size)?;
        divides(
            "num_key_value_heads",
            text.num_key_value_heads,
            "num_attention_heads",
            text.num_attention_heads,
        )?;
        even("hidden_size / num_attention_heads", text.head_dim())?;
        let sections = text.mrope_section.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
        if sections != Some(text.head_dim() / 2) {
            return Err(bad(
                "rope_scaling.mrope_section",
                format!(
                    "{:?} does not add up to half the head dim, {}",
                    text.mrope_section,
                    text.head_dim() / 2
                ),
            ));
        }
        divides(
            "vision_config.num_heads",
            vision.num_heads,
            "vision_config.hidden_size",
            vision.hidden_size,
        )?;
        if !vision.head_dim().is_multiple_of(4) {
            return Err(bad(
                "vision_config.hidden_size / num_heads",
                "not a multiple of 4, as 2-D rotary needs",
            ));
        }
        if vision.window_tokens() == 0 {
            return Err(bad("vision_config.window_size", "smaller than one merged patch"));
        }
        if vision.out_hidden_size != text.hidden_size {
            return Err(bad(
                "vision_config.out_hidden_size",
                format!(
                    "{} differs from the text model's hidden_size {}",
                    vision.out_hidden_size, text.hidden_size
                ),
            ));
        }
        if let Some(&block) = vision.fullatt_block_indexes.iter().find(|&&block| block >= vision.depth) {
            return Err(bad(
                "vision_config.fullatt_block_indexes",
                format!("block {block} of a tower of {}", vision.depth),
            ));
        }
        for (field, id) in [("image_token_id", self.image_token_id), ("video_token_id", self.video_token_id)]
        {
            if id as usize >= text.vocab_size {
                return Err(bad(field, format!("{id} is outside the vocabulary of {}", text.vocab_size)));
            }
        }
        Ok(())
    }
}

impl TextConfig {
    fn read(f: &Fields) -> Result<Self, ConfigError> {
        let act = f.text("hidden_act")?.unwrap_or("silu");
        if act != "silu" {
            return Err(bad("hidden_act", format!("`{act}`, but only `silu` is supported")));
        }
        if f.flag("use_sliding_window", false)? {
            return Err(bad("use_sliding_window", "sliding windows are not supported; set it to false"));
        }
        // transformers 5 writes `rope_parameters` in place of `rope_scaling` and `rope_theta`.
        let rope = match f.object("rope_parameters")? {
            Some(map) => Some(("rope_parameters", map)),
            None => f.object("rope_scaling")?.map(|map| ("rope_scaling", map)),
        };
        let name = rope.map_or("rope_scaling", |(name, _)| name);
        let scaling = Fields { maps: [rope.map(|(_, map)| map), None], prefix: "" };
        for key in ["rope_type", "type"] {
            if let Some(kind) = scaling.text(key)?
                && !matches!(kind, "default" | "mrope")
            {
                return Err(bad(format!("{name}.{key}"), format!("`{kind}`, but only `mrope` is supported")));
            }
        }
        let heads = f.size("num_attention_heads", 64)?;
        // An explicit null means one key head per query head.
        let kv_heads = if f.is_null("num_key_value_heads") { heads } else { 8 };
        Ok(Self {
            vocab_size: f.size("vocab_size", 152064)?,
            hidden_size: f.size("hidden_size", 8192)?,
            intermediate_size: f.size("intermediate_size", 29568)?,
            num_hidden_layers: f.layers("num_hidden_layers", 80)?,
            num_attention_heads: heads,
            num_key_value_heads: f.size("num_key_value_heads", kv_heads)?,
            max_position_embeddings: f.size("max_position_embeddings", 32768)?,
            rms_norm_eps: f.positive("rms_norm_eps", 1e-5)?,
            rope_theta: match scaling.get("rope_theta") {
                Some(_) => scaling.positive("rope_theta", 1e6)?,
                None => f.positive("rope_theta", 1e6)?,
            },
            mrope_section: mrope_section(name, &scaling)?,
        })
    }
}

impl VisionConfig {
    fn read(f: &Fields) -> Result<Self, ConfigError> {
        let act = f.text("hidden_act")?.unwrap_or("silu");
        if act != "silu" {
            return Err(bad("vision_config.hidden_act", format!("`{act}`, but only `silu` is supported")));
        }
        // The released configuration says `in_chans`, transformers `in_channels`.
        let channels = f.size("in_chans", 3)?;
        Ok(Self {
            depth: f.layers("depth", 32)?,
            hidden_size: f.size("hidden_size", 3584)?,
            intermediate_size: f.size("intermediate_size", 3420)?,
            num_heads: f.size("num_heads", 16)?,
            in_channels: f.size("in_channels", channels)?,
            patch_size: f.size("patch_size", 14)?,
            temporal_patch_size: f.size("temporal_patch_size", 2)?,
            spatial_merge_size: f.size("spatial_merge_size", 2)?,
            window_size: f.size("window_size", 112)?,
            fullatt_block_indexes: f.sizes("fullatt_block_indexes", &[7, 15, 23, 31])?,
            out_hidden_size: f.size("out_hidden_size", 3584)?,
        })
    }
}

fn mrope_section(name: &str, scaling: &Fields) -> Result<[usize; 3], ConfigError> {
    let Some(value) = scaling.get("mrope_section") else {
        return Ok([16, 24, 24]);
    };
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let sizes: Vec<usize> = items.iter().filter_map(|item| item.as_u64()).map(|n| n as usize).collect();
    <[usize; 3]>::try_from(sizes)
        .ok()
        .filter(|_| items.len() == 3)
        .ok_or_else(|| bad(format!("{name}.mrope_section"), format!("{value} is not three whole numbers")))
}

fn eos(f: &Fields) -> Result<Vec<u32>, ConfigError> {
    match f.get("eos_token_id") {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| id_of("eos_token_id", item)).collect(),
        Some(item) => Ok(vec![id_of("eos_token_id", item)?]),
    }
}

fn divides(small: &str, n: usize, large: &str, m: usize) -> Result<(), ConfigError> {
    if m.is_multiple_of(n) { Ok(()) } else { Err(bad(small, format!("{n} does not divide {large} {m}"))) }
}

fn even(field: &str, n: usize) -> Result<(), ConfigError> {
    if n.is_multiple_of(2) {
        Ok(())
    } else {
        Err(bad(field, format!("{n} is odd; rotary positions need pairs")))
    }
}
