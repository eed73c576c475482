//! The recipe's section on low-rank adapters: which maps get one, of what size, and how they are trained.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use wethink_model::{Adapter, Config, Dropout, LORA_A, LORA_B, Model, expected_tensors};

use super::adamw::Rate;

/// Low-rank adapters (arXiv 2106.09685), trained in place of the weights they stand beside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// r.
    pub rank: usize,
    /// The addition is multiplied by `alpha / r`.
    pub alpha: f64,
    /// By `alpha / sqrt(r)` instead (rsLoRA, arXiv 2312.03732).
    #[serde(default)]
    pub rslora: bool,
    /// Share of an adapter's input that is left out in training.
    #[serde(default)]
    pub dropout: f64,
    /// Maps with an adapter: their names in the released layout, or what those end in after a dot; `*` stands for anything.
    #[serde(default = "layers")]
    pub targets: Vec<String>,
    /// Learning rate at its highest.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    #[serde(default)]
    pub weight_decay: f64,
}

/// Every map of the language model's layers.
fn layers() -> Vec<String> {
    vec!["model.layers.*".into()]
}

impl Lora {
    /// Refuses values outside their range.
    pub fn check(&self) -> Result<()> {
        let Self { rank, alpha, dropout, targets, learning_rate, weight_decay, .. } = self;
        let within = |field: &str, value: f64, sound: bool, range: &str| {
            if sound && value.is_finite() {
                Ok(())
            } else {
                bail!("lora.{field} is {value}; it must be {range}")
            }
        };
        within("rank", *rank as f64, *rank > 0, "at least 1")?;
        within("alpha", *alpha, *alpha > 0.0, "positive")?;
        within("dropout", *dropout, (0.0..1.0).contains(dropout), "in [0, 1)")?;
        within("learning_rate", *learning_rate, *learning_rate >= 0.0, "0 or more")?;
        within("weight_decay", *weight_decay, *weight_decay >= 0.0, "0 or more")?;
        if targets.is_empty() {
            bail!("lora.targets is empty; leave it out for every map of the language model's layers");
        }
        Ok(())
    }

    /// Refuses targets that a checkpoint has no map for.
    pub fn check_against(&self, config: &Config) -> Result<()> {
        let maps = maps(config);
        for target in &self.targets {
            if !maps.keys().any(|map| matches(target, map)) {
                bail!(
                    "lora.targets: no map of this checkpoint is named {target:?}; names are like {:?}",
                    maps.keys().next().map_or("", String::as_str)
                );
            }
        }
        Ok(())
    }

    /// Whether the map of this name gets an adapter.
    pub fn targets(&self, map: &str) -> bool {
        self.targets.iter().any(|target| matches(target, map))
    }

    /// What the product of both matrices is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// The model with new adapters, which change nothing yet.
    pub fn adapt(&self, model: Model, seed: u64) -> Model {
        let device = model.device();
        model.adapt(&mut |name, place, dims| {
            let start = || Adapter::start(dims, self.rank, self.scale(), seed, place, &device);
            self.targets(name).then(start)
        })
    }

    /// What is left out in a pass of a step, if anything is.
    pub fn dropout(&self, seed: u64, step: u64, pass: usize) -> Option<Dropout> {
        let address =
            Dropout { probability: self.dropout, seed, step: step as u32, pass: pass as u32, map: 0 };
        (self.dropout > 0.0).then_some(address)
    }

    /// How adapters are trained where every rate is multiplied by `factor`.
    pub fn rate(&self, factor: f64) -> Rate {
        Rate { learning_rate: self.learning_rate * factor, weight_decay: self.weight_decay }
    }

    /// The shapes of all adapters' matrices by the names of the parameters.
    pub fn shapes(&self, config: &Config) -> BTreeMap<String, [usize; 2]> {
        let adapted = maps(config).into_iter().filter(|(name, _)| self.targets(name));
        let both = |(name, [out, input]): (String, [usize; 2])| {
            [(format!("{name}{LORA_A}"), [self.rank, input]), (format!("{name}{LORA_B}"), [out, self.rank])]
        };
        adapted.flat_map(both).collect()
    }
}

/// Whether a parameter belongs to an adapter.
pub fn of_adapter(name: &str) -> bool {
    name.ends_with(LORA_A) || name.ends_with(LORA_B)
}

/// The linear maps of a checkpoint, by name, with the `[out, in]` of their weights.
pub fn maps(config: &Config) -> BTreeMap<String, [usize; 2]> {
    let map = |(name, shape): (String, Vec<usize>)| match (name.strip_suffix(".weight"), &shape[..]) {
        (Some("model.embed_tokens"), _) => None,
        (Some(name), &[out, input]) => Some((name.to_owned(), [out, input])),
        _ => None,
    };
    expected_tensors(config).into_iter().filter_map(map).collect()
}

/// Whether a pattern is the name, or its end after a dot.
fn matches(pattern: &str, name: &str) -> bool {
    wildcard(pattern.as_bytes(), name.as_bytes())
        || name.match_indices('.').any(|(dot, _)| wildcard(pattern.as_bytes(), &name.as_bytes()[dot + 1..]))
}

/// Whether text is a pattern in which `*` stands for any text, the empty one included. Linear but for the last star: an
/// earlier one never has to take more than it first did.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (p, t) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lora(targets: &[&str]) -> Lora {
        Lora {
            rank: 4,
            alpha: 8.0,
            rslora: false,
            dropout: 0.0,
            targets: targets.iter().map(|&target| target.to_owned()).collect(),
            learning_rate: 1e-4,
            weight_decay: 0.0,
        }
    }

    #[test]
    fn targets_are_names_ends_and_patterns() {
        let q = "model.layers.11.self_attn.q_proj";
        for target in
            ["q_proj", "self_attn.q_proj", q, "model.layers.*", "layers.11.*", "*", "*q_proj", "q*j"]
        {
            assert!(lora(&[target]).targets(q), "{target}");
        }
        for target in ["proj", "model.layers.1.*", "q_pro", "_proj", "visual.*", "*x*", ""] {
            assert!(!lora(&[target]).targets(q), "{target}");
        }
        assert!(lora(&["nothing", "v_proj", "q_proj"]).targets(q));
    }

    #[test]
    fn scales_are_those_of_both_papers() {
        assert_eq!(lora(&["*"]).scale(), 2.0);
        assert_eq!(Lora { rslora: true, ..lora(&["*"]) }.scale(), 4.0);
    }

    #[test]
    fn values_outside_their_range_name_the_field() {
        lora(&["*"]).check().expect("sound");
        for (field, wrong) in [
            ("rank", Lora { rank: 0, ..lora(&["*"]) }),
            ("alpha", Lora { alpha: 0.0, ..lora(&["*"]) }),
            ("dropout", Lora { dropout: 1.0, ..lora(&["*"]) }),
            ("targets", lora(&[])),
            ("learning_rate", Lora { learning_rate: f64::NAN, ..lora(&["*"]) }),
            ("weight_decay", Lora { weight_decay: -1.0, ..lora(&["*"]) }),
        ] {
            let error = wrong.check().expect_err(field).to_string();
            assert!(error.contains(&format!("lora.{field}")), "{error}");
        }
    }
}
