//! Shapes: four small ones that keep every path of the real model, and the two released ones.
//!
//! The small ones keep patch 14, merger 2, windows of 112 pixels, heads of 64 and the proportions of Qwen2.5-VL; the
//! vocabulary is cut, since the released one alone would weigh 58 million parameters at a width of 384.

use clap::ValueEnum;
use serde_json::{Value, json};

/// A size of model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// 1.9 million parameters: learns on a CPU.
    #[value(name = "XS")]
    Xs,
    /// 7.7 million.
    #[value(name = "S")]
    S,
    /// 20.7 million.
    #[value(name = "M")]
    M,
    /// 53.7 million.
    #[value(name = "L")]
    L,
    /// Qwen2.5-VL-3B.
    #[value(name = "3b")]
    Released3b,
    /// Qwen2.5-VL-7B, which WeThink is.
    #[value(name = "7b")]
    Released7b,
}

struct Shape {
    vocab: usize,
    width: usize,
    layers: usize,
    heads: usize,
    key_heads: usize,
    inner: usize,
    positions: usize,
    tied: bool,
    /// `rope_theta`.
    theta: f64,
    /// `initializer_range`.
    deviation: f64,
    vision_width: usize,
    vision_depth: usize,
    vision_heads: usize,
    vision_inner: usize,
    /// Blocks that attend over the whole picture: the last of each quarter or half, as released.
    whole: &'static [usize],
}

impl Preset {
    fn shape(self) -> Shape {
        let small = |[vocab, width, layers, heads, key_heads, inner]: [usize; 6],
                     [vision_width, vision_depth, vision_inner]: [usize; 3],
                     whole: &'static [usize]| Shape {
            vocab,
            width,
            layers,
            heads,
            key_heads,
            inner,
            positions: 8192,
            tied: true,
            // With the released base a column of a picture turns its angles by a ten-thousandth of a radian: a large model
            // reads that, a small one never learns where anything stands.
            theta: 100.0,
            // 0.02 suits widths of thousands; below, products all but vanish and training stalls (Nguyen and Salazar,
            // arXiv 1910.05895, section 2.2), rounded to two digits.
            deviation: ((0.4 / width as f64).sqrt() * 100.0).round() / 100.0,
            vision_width,
            vision_depth,
            vision_heads: vision_width / 64,
            vision_inner,
            whole,
        };
        let released = |[vocab, width, layers, heads, key_heads, inner]: [usize; 6], tied| Shape {
            positions: 128_000,
            tied,
            theta: 1_000_000.0,
            deviation: 0.02,
            vision_heads: 16,
            ..small([vocab, width, layers, heads, key_heads, inner], [1280, 32, 3420], &[7, 15, 23, 31])
        };
        match self {
            Preset::Xs => small([512, 128, 4, 2, 1, 352], [128, 3, 352], &[2]),
            Preset::S => small([2048, 256, 6, 4, 2, 704], [192, 4, 512], &[3]),
            Preset::M => small([4096, 384, 8, 6, 2, 1024], [256, 6, 704], &[2, 5]),
            Preset::L => small([4096, 512, 12, 8, 2, 1408], [384, 8, 1024], &[3, 7]),
            Preset::Released3b => released([151_936, 2048, 36, 16, 2, 11_008], true),
            Preset::Released7b => released([152_064, 3584, 28, 28, 4, 18_944], false),
        }
    }

    /// Its `config.json`, without the ids that the tokenizer decides.
    pub fn config(self) -> Value {
        let s = self.shape();
        // Half of a head's dimensions: a quarter follows time, three eighths height, three eighths width.
        let half = s.width / s.heads / 2;
        let mrope = [half / 4, half * 3 / 8, half * 3 / 8];
        json!({
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "hidden_size": s.width,
            "initializer_range": s.deviation,
            "intermediate_size": s.inner,
            "max_position_embeddings": s.positions,
            "max_window_layers": s.layers,
            "model_type": "qwen2_5_vl",
            "num_attention_heads": s.heads,
            "num_hidden_layers": s.layers,
            "num_key_value_heads": s.key_heads,
            "rms_norm_eps": 1e-6,
            "rope_scaling": { "type": "mrope", "mrope_section": mrope },
            "rope_theta": s.theta,
            "sliding_window": 32_768,
            "tie_word_embeddings": s.tied,
            "use_cache": true,
            "use_sliding_window": false,
            "vision_config": {
                "depth": s.vision_depth,
                "fullatt_block_indexes": s.whole,
                "hidden_act": "silu",
                "hidden_size": s.vision_width,
                "in_chans": 3,
                "intermediate_size": s.vision_inner,
                "model_type": "qwen2_5_vl",
                "num_heads": s.vision_heads,
                "out_hidden_size": s.width,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "spatial_patch_size": 14,
                "temporal_patch_size": 2,
                "tokens_per_second": 2,
                "window_size": 112
            },
            "vocab_size": s.vocab
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wethink_model::{Config, expected_tensors};

    fn config(preset: Preset) -> Config {
        let mut json = preset.config();
        // The tokenizer's ids come later; the defaults lie outside a small vocabulary.
        json["image_token_id"] = 1.into();
        json["video_token_id"] = 2.into();
        Config::from_json(&json.to_string()).expect("a preset is a configuration")
    }

    fn parameters(preset: Preset) -> usize {
        expected_tensors(&config(preset)).values().map(|shape| shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn presets_have_the_parameters_they_are_named_for() {
        // Rounded figures, so within one part in a hundred.
        for (preset, millions) in [
            (Preset::Xs, 1.9),
            (Preset::S, 7.8),
            (Preset::M, 20.8),
            (Preset::L, 53.7),
            (Preset::Released3b, 3754.6),
        ] {
            let got = parameters(preset) as f64 / 1e6;
            assert!((got - millions).abs() < 0.01 * millions, "{preset:?}: {got} million");
        }
        // `total_size` in the released index of WeThink-7B is this many parameters of two bytes.
        assert_eq!(parameters(Preset::Released7b), 16_584_333_312 / 2);
    }

    #[test]
    fn small_presets_keep_the_real_models_proportions() {
        for preset in [Preset::Xs, Preset::S, Preset::M, Preset::L] {
            let config = config(preset);
            assert_eq!((config.text.head_dim(), config.vision.head_dim()), (64, 64), "{preset:?}");
            assert_eq!(config.text.mrope_section, [8, 12, 12]);
            assert_eq!(config.vision.fullatt_block_indexes.last(), Some(&(config.vision.depth - 1)));
        }
        assert_eq!(config(Preset::Released7b).text.mrope_section, [16, 24, 24]);
    }
}
