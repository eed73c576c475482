//! The five groups of parameters that are trained or frozen, each with a learning rate and a decay of its own.

use serde::{Deserialize, Serialize};

/// A part of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The vision tower without its merger.
    Vision,
    /// The merger, which turns patches into tokens.
    Merger,
    /// The layers of the language model and its last norm.
    Language,
    /// The head. A tied head is the embedding and belongs to that group.
    Head,
    /// The token embedding.
    Embeddings,
}

impl Group {
    /// All of them, from the pixels to the logits.
    pub const ALL: [Self; 5] = [Self::Vision, Self::Merger, Self::Embeddings, Self::Language, Self::Head];

    /// The group of a parameter, by its name in the released layout.
    pub fn of(name: &str) -> Self {
        match name {
            _ if name.starts_with("visual.merger.") => Self::Merger,
            _ if name.starts_with("visual.") => Self::Vision,
            _ if name.starts_with("model.embed_tokens.") => Self::Embeddings,
            _ if name.starts_with("lm_head.") => Self::Head,
            _ => Self::Language,
        }
    }

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Merger => "merger",
            Self::Language => "language",
            Self::Head => "head",
            Self::Embeddings => "embeddings",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_released_layout_has_its_group() {
        for (name, group) in [
            ("visual.patch_embed.proj.weight", Group::Vision),
            ("visual.blocks.31.attn.qkv.bias", Group::Vision),
            ("visual.merger.mlp.0.weight", Group::Merger),
            ("model.embed_tokens.weight", Group::Embeddings),
            ("model.layers.0.self_attn.q_proj.weight", Group::Language),
            ("model.norm.weight", Group::Language),
            ("lm_head.weight", Group::Head),
        ] {
            assert_eq!(Group::of(name), group, "{name}");
        }
    }
}
