//! What a recipe trains, and how fast: whole groups of parameters, or adapters beside frozen weights.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use wethink_model::{Config, expected_tensors};

use super::adamw::Rate;
use super::groups::Group;
use super::lora::{Lora, of_adapter};
use super::recipe::{Groups, within};

/// The two sections of a recipe that say so.
#[derive(Debug, Clone, Copy)]
pub struct Trained<'a> {
    /// Groups of parameters.
    pub groups: &'a Groups,
    /// Adapters in place of any group.
    pub lora: Option<&'a Lora>,
}

impl Trained<'_> {
    /// Refuses rates outside their range, both kinds together, and none at all.
    pub fn check(&self) -> Result<()> {
        let groups = || Group::ALL.into_iter().filter_map(|group| Some((group, self.groups.rates(group)?)));
        for (group, rates) in groups() {
            let name = |field: &str| format!("groups.{}.{field}", group.name());
            within(&name("learning_rate"), rates.learning_rate, rates.learning_rate >= 0.0, "0 or more")?;
            within(&name("weight_decay"), rates.weight_decay, rates.weight_decay >= 0.0, "0 or more")?;
        }
        match (self.lora, groups().next()) {
            (Some(_), Some(_)) => bail!("[lora] trains adapters beside frozen weights; leave [groups] out"),
            (Some(lora), None) => lora.check(),
            (None, Some(_)) => Ok(()),
            (None, None) => bail!(
                "nothing is trained: write [groups.language] with a learning_rate, another group, or [lora]"
            ),
        }
    }

    /// Refuses what a checkpoint has no use for. `features` is whether what the tower makes of pictures is to be kept.
    pub fn check_against(&self, config: &Config, features: bool) -> Result<()> {
        if config.tie_word_embeddings && self.groups.head.is_some() {
            bail!(
                "groups.head: this checkpoint's head is its embedding; leave the group out, [groups.embeddings] trains both"
            );
        }
        if let Some(lora) = self.lora {
            lora.check_against(config)?;
        }
        if features && self.tower(config) {
            bail!(
                "memory.features_mb keeps what a frozen tower makes of pictures, but this recipe trains the tower"
            );
        }
        Ok(())
    }

    /// Whether anything of the tower or the merger is trained.
    fn tower(&self, config: &Config) -> bool {
        let adapted = |lora: &Lora| lora.shapes(config).keys().any(|name| name.starts_with("visual."));
        self.groups.vision.is_some() || self.groups.merger.is_some() || self.lora.is_some_and(adapted)
    }

    /// Whether a parameter is trained.
    pub fn holds(&self, name: &str) -> bool {
        match self.lora {
            Some(_) => of_adapter(name),
            None => self.groups.rates(Group::of(name)).is_some(),
        }
    }

    /// What the optimizer does with a parameter where every rate is multiplied by `factor`.
    pub fn rate(&self, name: &str, factor: f64) -> Rate {
        match self.lora {
            Some(lora) => lora.rate(factor),
            None => self.groups.rate(Group::of(name), factor),
        }
    }

    /// The parameters whose second moments can be factored: every matrix of more than one row and column, by name.
    pub fn matrices(&self, config: &Config) -> BTreeMap<String, [usize; 2]> {
        let whole = expected_tensors(config).into_iter().filter_map(|(name, shape)| {
            let (&out, rest) = shape.split_first()?;
            Some((name, [out, rest.iter().product()]))
        });
        let adapters = self.lora.into_iter().flat_map(|lora| lora.shapes(config));
        whole
            .chain(adapters)
            .filter(|(name, shape)| self.holds(name) && shape.iter().all(|&n| n > 1))
            .collect()
    }
}
