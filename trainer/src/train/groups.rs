//! The five groups of parameters that are trained or frozen, each with a learning rate and a decay of its own: the names they
//! go by, and the recipe's section on them.

use serde::{Deserialize, Serialize};

use super::adamw::Rate;

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

/// The five groups. A group that is left out is frozen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Groups {
    /// The vision tower without its merger.
    pub vision: Option<Rates>,
    /// The merger.
    pub merger: Option<Rates>,
    /// The token embedding, and the head where it is tied.
    pub embeddings: Option<Rates>,
    /// The layers of the language model.
    pub language: Option<Rates>,
    /// The head, where it is not tied.
    pub head: Option<Rates>,
}

impl Groups {
    /// How a group is trained; `None` when it is frozen.
    pub fn rates(&self, group: Group) -> Option<Rates> {
        match group {
            Group::Vision => self.vision,
            Group::Merger => self.merger,
            Group::Embeddings => self.embeddings,
            Group::Language => self.language,
            Group::Head => self.head,
        }
    }

    /// What the optimizer does with a group's parameters where every rate is multiplied by `factor`.
    pub fn rate(&self, group: Group, factor: f64) -> Rate {
        let rates = self.rates(group).unwrap_or(Rates { learning_rate: 0.0, weight_decay: 0.0 });
        Rate { learning_rate: rates.learning_rate * factor, weight_decay: rates.weight_decay }
    }
}

/// How a group is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Learning rate at its highest.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    #[serde(default)]
    pub weight_decay: f64,
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
