//! A run of GRPO as one TOML file. Batches count prompts; the defaults are EasyR1's.
//!
//! What a run has in common with supervised fine-tuning has the same names and meanings as there ([`crate::train::recipe`]).

mod check;
mod judge;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use wethink_model::Sampling;
use wethink_reward::Policy as RewardPolicy;

pub use judge::Judge;

use super::alarms::Alarms;
use crate::train::advantage::Estimator;
use crate::train::changes;
use crate::train::economy::{Memory, Portion};
use crate::train::lora::Lora;
use crate::train::loss::Loss;
use crate::train::policy::Policy;
use crate::train::recipe::{
    self as supervised, Groups, Optimizer, Recipe as Supervised, Save, Schedule, Validation,
};
use crate::train::schedule::{Shape, factor};
use crate::train::trained::Trained;

/// A recipe of group-relative policy optimisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Folder of the checkpoint to start from, which is the reference too.
    pub checkpoint: PathBuf,
    /// Key of every random draw.
    #[serde(default)]
    pub seed: u64,
    /// What is asked.
    pub data: Data,
    /// How it is answered.
    #[serde(default)]
    pub rollout: Rollouts,
    /// What an answer is worth.
    #[serde(default)]
    pub reward: RewardPolicy,
    /// Who decides where no rule does.
    pub judge: Option<Judge>,
    /// Which prompts are learned from.
    #[serde(default)]
    pub filter: Filter,
    /// Steps and updates.
    pub train: Train,
    /// What is minimised.
    #[serde(default)]
    pub loss: Policy,
    /// AdamW.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The course of the learning rate.
    #[serde(default = "constant")]
    pub schedule: Schedule,
    /// What is trained, and how fast.
    #[serde(default)]
    pub groups: Groups,
    /// Low-rank adapters that are trained instead of any group; the reference is then the model without them.
    pub lora: Option<Lora>,
    /// How an update lies in memory.
    #[serde(default)]
    pub memory: Memory,
    /// Measurements on prompts that are not trained on.
    pub validation: Option<Validation>,
    /// When the run stops by itself.
    #[serde(default)]
    pub alarms: Alarms,
    /// When the state is saved.
    #[serde(default)]
    pub save: Save,
}

/// Rows and how they become prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// WeThink rows, JSON lines.
    pub rows: PathBuf,
    /// Folder that the rows' pictures are named from; the rows file's own when left out.
    pub images: Option<PathBuf>,
    /// Longest prompt in tokens. Rows with a longer one are left out and counted; a prompt is never cut.
    #[serde(default = "two_thousand")]
    pub max_prompt_tokens: usize,
    /// Enlarge pictures below this many pixels; the checkpoint's when left out.
    pub min_pixels: Option<usize>,
    /// Shrink pictures above this many pixels; the checkpoint's when left out.
    pub max_pixels: Option<usize>,
    /// The rows' own names of reward kinds, as `NAME=KIND`.
    #[serde(default)]
    pub reward_map: Vec<String>,
}

/// How prompts are answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollouts {
    /// Responses to a prompt, G.
    pub group: usize,
    /// Logits are divided by it, in sampling and in training alike.
    pub temperature: f64,
    /// Keeps only the best tokens of this mass. Off by default: training knows nothing of it, and would follow another policy.
    pub top_p: Option<f64>,
    /// Keeps only so many best tokens. Off by default, like `top_p`.
    pub top_k: Option<usize>,
    /// Tokens of a response at most.
    pub max_new_tokens: usize,
    /// Responses under way at a time: memory, never the result.
    pub rows: usize,
}

impl Default for Rollouts {
    fn default() -> Self {
        Self { group: 5, temperature: 1.0, top_p: None, top_k: None, max_new_tokens: 2048, rows: 64 }
    }
}

/// What is measured to keep a prompt or pass over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The mean reward of its responses.
    #[default]
    Reward,
    /// Their mean accuracy: the pass rate.
    Accuracy,
}

/// Dynamic sampling (DAPO, arXiv 2503.14476): prompts that teach nothing give way to others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Times that missing prompts are drawn anew, at most; 0 keeps whatever is drawn. What is still missing then makes the batch
    /// smaller; without any prompt left the update is skipped.
    pub rounds: u64,
    /// What is measured.
    pub by: Measure,
    /// A prompt is kept above this,
    pub low: f64,
    /// and below this.
    pub high: f64,
}

impl Default for Filter {
    fn default() -> Self {
        Self { rounds: 0, by: Measure::Reward, low: 0.01, high: 0.99 }
    }
}

/// Steps and updates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Times that prompts are drawn, answered and learned from.
    pub steps: u64,
    /// Prompts of a step.
    #[serde(default = "five_hundred")]
    pub prompts: usize,
    /// Prompts of an update.
    #[serde(default = "hundred")]
    pub mini_batch: usize,
    /// Times that a step's responses are gone through.
    #[serde(default = "one")]
    pub epochs: usize,
    /// Responses computed at once: memory, never the result.
    #[serde(default = "one")]
    pub micro_batch: usize,
    /// Tokens computed at once, in place of a number of responses; needs the packed layout.
    pub micro_tokens: Option<usize>,
    /// How a reward becomes an advantage.
    #[serde(default)]
    pub advantage: Estimator,
    /// Responses cut at their limit are not trained on. They stay in their group's baseline.
    #[serde(default)]
    pub mask_truncated: bool,
    /// The gradient's norm is kept within this.
    #[serde(default = "whole")]
    pub clip: f64,
    /// Updates in a row that may be skipped for a loss or gradient that is no number; one more ends the run.
    #[serde(default = "ten")]
    pub max_skipped: u64,
}

fn constant() -> Schedule {
    Schedule { shape: Shape::Constant, ..Schedule::default() }
}

fn two_thousand() -> usize {
    2048
}

fn five_hundred() -> usize {
    512
}

fn hundred() -> usize {
    128
}

fn one() -> usize {
    1
}

fn whole() -> f64 {
    1.0
}

fn ten() -> u64 {
    10
}

impl Recipe {
    /// Reads a recipe; `changes` are `key=value`, with the value in TOML or else taken as text.
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

    /// What is trained, and how fast.
    pub fn trained(&self) -> Trained<'_> {
        Trained { groups: &self.groups, lora: self.lora.as_ref() }
    }

    /// How many responses a pass takes.
    pub fn portion(&self) -> Portion {
        self.train.micro_tokens.map_or(Portion::Rows(self.train.micro_batch), Portion::Tokens)
    }

    /// How tokens are chosen.
    pub fn sampling(&self) -> Sampling {
        let Rollouts { temperature, top_p, top_k, .. } = self.rollout;
        Sampling { temperature, top_p, top_k, repetition_penalty: 1.0 }
    }

    /// Updates of a step, if no prompt is passed over.
    pub fn updates(&self) -> usize {
        self.train.epochs * self.train.prompts.div_ceil(self.train.mini_batch)
    }

    /// What every learning rate is multiplied by at a step, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        let Schedule { shape, warmup, floor } = self.schedule;
        factor(shape, step, self.train.steps, warmup, floor)
    }

    /// What an update does, as a step of supervised training on the same sequences: it trains the same parameters by the same
    /// optimizer in the same layout, so it holds the same memory and takes the same operations.
    pub fn supervised(&self) -> Supervised {
        let Self { checkpoint, data, train, optimizer, schedule, groups, lora, memory, .. } = self;
        let Data { rows, images, max_prompt_tokens, min_pixels, max_pixels, .. } = data;
        Supervised {
            checkpoint: checkpoint.clone(),
            seed: self.seed,
            data: supervised::Data {
                rows: rows.clone(),
                images: images.clone(),
                max_tokens: max_prompt_tokens + self.rollout.max_new_tokens,
                overlong: supervised::Overlong::Drop,
                min_pixels: *min_pixels,
                max_pixels: *max_pixels,
            },
            train: supervised::Train {
                steps: train.steps,
                batch: train.mini_batch * self.rollout.group,
                micro_batch: train.micro_batch,
                micro_tokens: train.micro_tokens,
                loss: Loss::Nll,
                clip: train.clip,
                max_skipped: train.max_skipped,
            },
            optimizer: optimizer.clone(),
            schedule: schedule.clone(),
            groups: groups.clone(),
            lora: lora.clone(),
            memory: *memory,
            validation: None,
            save: self.save.clone(),
        }
    }

    /// The same with paths that hold in whatever folder a command runs.
    pub fn absolute(mut self) -> Result<Self> {
        let judge = self.judge.as_mut().and_then(|judge| judge.local.as_mut());
        let validation = self.validation.as_mut().map(|validation| &mut validation.rows);
        let paths = [Some(&mut self.checkpoint), Some(&mut self.data.rows), self.data.images.as_mut()];
        for path in paths.into_iter().chain([validation, judge]).flatten() {
            *path = std::path::absolute(&*path).with_context(|| path.display().to_string())?;
        }
        Ok(self)
    }

    /// The recipe with every value, as it is kept in the run folder.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("the recipe cannot be written as TOML")
    }
}

#[cfg(test)]
mod tests;
