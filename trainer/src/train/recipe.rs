//! A training run as one TOML file: read, changed by `--set`, checked, and written back with every value resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use wethink_model::Config;

use super::adamw::{Rate, Settings};
use super::changes;
use super::economy::{Layout, Memory, Portion};
use super::groups::Group;
pub use super::groups::{Groups, Rates};
use super::lora::Lora;
use super::loss::Loss;
use super::schedule::{Shape, factor};
use super::trained::Trained;

/// A recipe of supervised fine-tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Folder of the checkpoint to start from, in the released layout.
    pub checkpoint: PathBuf,
    /// Key of every random draw.
    #[serde(default)]
    pub seed: u64,
    /// What is learned from.
    pub data: Data,
    /// Steps and batches.
    pub train: Train,
    /// AdamW.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The course of the learning rate.
    #[serde(default)]
    pub schedule: Schedule,
    /// What is trained, and how fast.
    #[serde(default)]
    pub groups: Groups,
    /// Low-rank adapters that are trained instead of any group.
    pub lora: Option<Lora>,
    /// How a step lies in memory.
    #[serde(default)]
    pub memory: Memory,
    /// Measurements on rows that are not trained on.
    pub validation: Option<Validation>,
    /// When the state is saved.
    #[serde(default)]
    pub save: Save,
}

/// Rows and how they become sequences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// WeThink rows, JSON lines.
    pub rows: PathBuf,
    /// Folder that the rows' pictures are named from; the rows file's own when left out.
    pub images: Option<PathBuf>,
    /// Longest sequence in tokens, prompt and response together.
    #[serde(default = "max_tokens")]
    pub max_tokens: usize,
    /// What becomes of longer ones. They are never cut: a cut picture is no picture.
    #[serde(default)]
    pub overlong: Overlong,
    /// Enlarge pictures below this many pixels; the checkpoint's when left out.
    pub min_pixels: Option<usize>,
    /// Shrink pictures above this many pixels; the checkpoint's when left out.
    pub max_pixels: Option<usize>,
}

/// What becomes of a sequence beyond `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlong {
    /// It is left out and counted; the next row takes its place.
    #[default]
    Drop,
    /// The run ends with the row's number.
    Refuse,
}

/// Steps and batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Updates of the weights.
    pub steps: u64,
    /// Sequences of an update.
    pub batch: usize,
    /// Sequences computed at once: memory, never the result.
    #[serde(default = "one")]
    pub micro_batch: usize,
    /// Tokens computed at once, in place of a number of sequences; needs the packed layout.
    pub micro_tokens: Option<usize>,
    /// How targets count.
    #[serde(default = "nll")]
    pub loss: Loss,
    /// The gradient's norm is kept within this.
    #[serde(default = "clip")]
    pub clip: f64,
    /// Updates in a row that may be skipped for a loss or gradient that is no number; one more ends the run.
    #[serde(default = "skips")]
    pub max_skipped: u64,
}

/// AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimizer {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Keep the second moments of matrices as one value a row and one a column (Adafactor, arXiv 1804.04235). With a
    /// `beta1` of 0 no first moment is kept either.
    pub factored: bool,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, factored: false }
    }
}

impl Optimizer {
    pub(crate) fn check(&self) -> Result<()> {
        let Self { beta1, beta2, eps, .. } = *self;
        within("optimizer.beta1", beta1, (0.0..1.0).contains(&beta1), "in [0, 1)")?;
        within("optimizer.beta2", beta2, (0.0..1.0).contains(&beta2), "in [0, 1)")?;
        within("optimizer.eps", eps, eps > 0.0, "positive")
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        let Self { beta1, beta2, eps, .. } = *self;
        Settings { beta1, beta2, eps }
    }
}

/// The course of the learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Its shape after warm-up.
    pub shape: Shape,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Part of the rate that is left at the end.
    pub floor: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { shape: Shape::Cosine, warmup: 0, floor: 0.0 }
    }
}

/// Measurements on rows that are not trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// WeThink rows, JSON lines.
    pub rows: PathBuf,
    /// Steps between two measurements; the last step is always measured.
    pub every: u64,
    /// Rows that are answered greedily and judged by rule; 0 measures the loss alone.
    #[serde(default)]
    pub answers: usize,
    /// The rows' own names of reward kinds, as `NAME=KIND`.
    #[serde(default)]
    pub reward_map: Vec<String>,
    /// Tokens of an answer at most.
    #[serde(default = "max_new_tokens")]
    pub max_new_tokens: usize,
    /// Measurements without a better one after which the run ends; 0 never ends it early.
    #[serde(default)]
    pub patience: u64,
}

/// When the state is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Save {
    /// Steps between two checkpoints; the last step is always saved.
    pub every: u64,
    /// Checkpoints kept besides the best one.
    pub keep: usize,
}

impl Default for Save {
    fn default() -> Self {
        Self { every: 100, keep: 2 }
    }
}

fn max_tokens() -> usize {
    4096
}

fn one() -> usize {
    1
}

fn nll() -> Loss {
    Loss::Nll
}

fn clip() -> f64 {
    1.0
}

fn skips() -> u64 {
    10
}

fn max_new_tokens() -> usize {
    1000
}

impl Recipe {
    /// Reads a recipe; `changes` are `key=value`, with the value in TOML or else taken as text.
    ///
    /// Paths are relative to the folder that the command runs in; [`Recipe::absolute`] fixes them.
    pub fn read(path: &Path, changes: &[String]) -> Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
        Self::parse(&text, changes).with_context(|| name)
    }

    /// As [`Recipe::read`], from the text.
    pub fn parse(text: &str, changes: &[String]) -> Result<Self> {
        let recipe: Self = changes::parse(text, changes)?;
        recipe.check()?;
        Ok(recipe)
    }

    fn check(&self) -> Result<()> {
        let Self { data, train, optimizer, schedule, validation, save, memory, .. } = self;
        positive("train.steps", train.steps)?;
        positive("train.batch", train.batch as u64)?;
        positive("train.micro_batch", train.micro_batch as u64)?;
        positive("data.max_tokens", data.max_tokens as u64)?;
        positive("save.every", save.every)?;
        positive("save.keep", save.keep as u64)?;
        within("train.clip", train.clip, train.clip > 0.0, "positive")?;
        optimizer.check()?;
        within("schedule.floor", schedule.floor, (0.0..=1.0).contains(&schedule.floor), "in [0, 1]")?;
        if let Some(validation) = validation {
            positive("validation.every", validation.every)?;
            positive("validation.max_new_tokens", validation.max_new_tokens as u64)?;
        }
        memory.check()?;
        if let Some(tokens) = train.micro_tokens {
            positive("train.micro_tokens", tokens as u64)?;
            if memory.layout != Layout::Packed {
                bail!(
                    "train.micro_tokens needs memory.layout = \"packed\"; padded rows go by train.micro_batch"
                );
            }
        }
        self.trained().check()
    }

    /// How a group is trained; `None` when it is frozen.
    pub fn rates(&self, group: Group) -> Option<Rates> {
        self.groups.rates(group)
    }

    /// Refuses what a checkpoint has no use for.
    pub fn check_against(&self, config: &Config) -> Result<()> {
        self.trained().check_against(config, self.memory.features_mb > 0.0)
    }

    /// What is trained, and how fast.
    pub fn trained(&self) -> Trained<'_> {
        Trained { groups: &self.groups, lora: self.lora.as_ref() }
    }

    /// Whether a parameter is trained.
    pub fn trains(&self, name: &str) -> bool {
        self.trained().holds(name)
    }

    /// What the optimizer does with a parameter at a step, counted from 0.
    pub fn rate_of(&self, step: u64, name: &str) -> Rate {
        self.trained().rate(name, self.factor(step))
    }

    /// The parameters whose second moments can be factored: every matrix of more than one row and column, by name.
    pub fn matrices(&self, config: &Config) -> BTreeMap<String, [usize; 2]> {
        self.trained().matrices(config)
    }

    /// How many sequences a pass takes.
    pub fn portion(&self) -> Portion {
        self.train.micro_tokens.map_or(Portion::Rows(self.train.micro_batch), Portion::Tokens)
    }

    /// The highest learning rate of a step, counted from 0.
    pub fn highest_rate(&self, step: u64) -> f64 {
        let groups = Group::ALL.into_iter().map(|group| self.rate_at(step, group));
        let adapters = self.lora.iter().map(|lora| lora.rate(self.factor(step)));
        groups.chain(adapters).map(|rate| rate.learning_rate).fold(0.0, f64::max)
    }

    /// What every learning rate is multiplied by at a step, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        let Schedule { shape, warmup, floor } = self.schedule;
        factor(shape, step, self.train.steps, warmup, floor)
    }

    /// What the optimizer does with a group's parameters at a step, counted from 0.
    pub fn rate_at(&self, step: u64, group: Group) -> Rate {
        self.groups.rate(group, self.factor(step))
    }

    /// The same with paths that hold in whatever folder a command runs.
    pub fn absolute(mut self) -> Result<Self> {
        let paths = [Some(&mut self.checkpoint), Some(&mut self.data.rows), self.data.images.as_mut()];
        let validation = self.validation.as_mut().map(|validation| &mut validation.rows);
        for path in paths.into_iter().chain([validation]).flatten() {
            *path = std::path::absolute(&*path).with_context(|| path.display().to_string())?;
        }
        Ok(self)
    }

    /// The optimizer's settings.
    pub fn settings(&self) -> Settings {
        self.optimizer.settings()
    }

    /// The recipe with every value, as it is kept in the run folder.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("the recipe cannot be written as TOML")
    }
}

pub(crate) fn positive(field: &str, value: u64) -> Result<()> {
    if value == 0 { bail!("{field} is 0; it must be at least 1") } else { Ok(()) }
}

pub(crate) fn within(field: &str, value: f64, sound: bool, range: &str) -> Result<()> {
    if sound && value.is_finite() { Ok(()) } else { bail!("{field} is {value}; it must be {range}") }
}

/// Fails where a recipe leaves a key to its default that `resolved` has.
#[cfg(test)]
pub(crate) fn assert_complete(name: &str, given: &str, resolved: &str) {
    use toml::{Table, Value};
    fn keys(table: &Table, path: &str, all: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                Value::Table(inner) => keys(inner, &format!("{path}{key}."), all),
                _ => all.push(format!("{path}{key}")),
            }
        }
    }
    let (mut there, mut all) = (Vec::new(), Vec::new());
    keys(&given.parse().expect("TOML"), "", &mut there);
    keys(&resolved.parse().expect("TOML"), "", &mut all);
    for key in all {
        assert!(there.contains(&key), "{name} leaves {key} to its default");
    }
}

#[cfg(test)]
mod tests;
