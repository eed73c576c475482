//! A run of GRPO as one TOML file. Batches count prompts; the defaults are EasyR1's.
//!
//! What a run has in common with supervised fine-tuning has the same names and meanings as there ([`crate::train::recipe`]).
//! One file, since it is one format: settings, their defaults and what is refused of each.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use wethink_model::Sampling;
use wethink_reward::Policy as RewardPolicy;

use super::alarms::Alarms;
use crate::train::advantage::Estimator;
use crate::train::changes;
use crate::train::economy::{Layout, Memory, Portion};
use crate::train::lora::Lora;
use crate::train::policy::{Average, Objective, Policy};
use crate::train::recipe::{Groups, Optimizer, Save, Schedule, Validation, positive, within};
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

/// Who decides where no rule does: a server, or a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// Base URL of a server that speaks OpenAI's protocol, up to and including /v1.
    pub server: Option<String>,
    /// The judge's name there.
    pub model: Option<String>,
    /// The variable that holds the server's key; OPENAI_API_KEY over https, none over plain http when left out.
    pub key_env: Option<String>,
    /// A checkpoint's folder in place of a server.
    pub local: Option<PathBuf>,
    /// Seconds one request may take.
    #[serde(default = "a_minute")]
    pub timeout: f64,
    /// Requests at once, at most.
    #[serde(default = "sixteen")]
    pub concurrency: usize,
    /// Whether the judge is shown the pictures.
    #[serde(default)]
    pub pictures: bool,
    /// Seconds a step waits for a judge that is down before the run saves and ends.
    #[serde(default = "an_hour")]
    pub patience: f64,
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

fn a_minute() -> f64 {
    60.0
}

fn an_hour() -> f64 {
    3600.0
}

fn sixteen() -> usize {
    16
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

    fn check(&self) -> Result<()> {
        let Self { data, rollout, judge, filter, train, loss, schedule, save, .. } = self;
        for (field, value) in [
            ("train.steps", train.steps),
            ("train.prompts", train.prompts as u64),
            ("train.mini_batch", train.mini_batch as u64),
            ("train.epochs", train.epochs as u64),
            ("train.micro_batch", train.micro_batch as u64),
            ("data.max_prompt_tokens", data.max_prompt_tokens as u64),
            ("rollout.max_new_tokens", rollout.max_new_tokens as u64),
            ("rollout.rows", rollout.rows as u64),
            ("save.every", save.every),
            ("save.keep", save.keep as u64),
        ] {
            positive(field, value)?;
        }
        if rollout.group < 2 {
            bail!(
                "rollout.group is {}; a response is compared with others, so it must be at least 2",
                rollout.group
            );
        }
        if train.mini_batch > train.prompts {
            bail!("train.mini_batch is {}, more than train.prompts, {}", train.mini_batch, train.prompts);
        }
        // A temperature of 0 has no probabilities to train on.
        let temperature = rollout.temperature;
        within("rollout.temperature", temperature, temperature > 0.0, "positive")?;
        self.sampling().check().context("rollout")?;
        within("train.clip", train.clip, train.clip > 0.0, "positive")?;
        within("schedule.floor", schedule.floor, (0.0..=1.0).contains(&schedule.floor), "in [0, 1]")?;
        within("filter.low", filter.low, filter.low < filter.high, "below filter.high")?;
        within("filter.high", filter.high, true, "a number")?;
        within(
            "reward.judge_cap",
            self.reward.judge_cap,
            (0.0..=1.0).contains(&self.reward.judge_cap),
            "in [0, 1]",
        )?;
        check_loss(loss)?;
        self.optimizer.check()?;
        self.alarms.check()?;
        if let Some(validation) = &self.validation {
            positive("validation.every", validation.every)?;
            positive("validation.answers", validation.answers as u64)?;
            positive("validation.max_new_tokens", validation.max_new_tokens as u64)?;
        }
        if let Some(judge) = judge {
            judge.check()?;
        }
        self.memory.check()?;
        if let Some(tokens) = train.micro_tokens {
            positive("train.micro_tokens", tokens as u64)?;
            if self.memory.layout != Layout::Packed {
                bail!(
                    "train.micro_tokens needs memory.layout = \"packed\"; padded rows go by train.micro_batch"
                );
            }
        }
        if self.lora.as_ref().is_some_and(|lora| lora.dropout > 0.0) {
            bail!("lora.dropout: the policy that is trained must be the one that sampled; leave it at 0");
        }
        self.trained().check()
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

fn check_loss(loss: &Policy) -> Result<()> {
    for (field, value, least) in [
        ("loss.clip_low", loss.clip_low, 0.0),
        ("loss.clip_high", loss.clip_high, 0.0),
        ("loss.tau_positive", loss.tau_positive, f64::MIN_POSITIVE),
        ("loss.tau_negative", loss.tau_negative, f64::MIN_POSITIVE),
        ("loss.kl_weight", loss.kl_weight, 0.0),
        ("loss.entropy_weight", loss.entropy_weight, 0.0),
    ] {
        within(field, value, value >= least, if least == 0.0 { "0 or more" } else { "positive" })?;
    }
    // These may be `inf`, which switches them off.
    let above = |field: &str, value: f64, least: f64| match value > least {
        true => Ok(()),
        false => bail!("{field} is {value}; it must be above {least}, and `inf` switches it off"),
    };
    above("loss.clip_dual", loss.clip_dual, 1.0)?;
    above("loss.log_ratio_limit", loss.log_ratio_limit, 0.0)?;
    if matches!(loss.objective, Objective::Gspo | Objective::GspoToken) && loss.average == Average::Fixed {
        bail!("loss.average = \"fixed\" and loss.objective = \"gspo\" undo each other; take \"sequence\"");
    }
    Ok(())
}

impl Judge {
    fn check(&self) -> Result<()> {
        match (&self.server, &self.model, &self.local) {
            (Some(_), Some(_), None) | (None, None, Some(_)) => {}
            (Some(_), None, None) => bail!("judge.model is missing: the judge's name on its server"),
            _ => bail!("[judge] takes either `server` and `model`, or `local`"),
        }
        within("judge.timeout", self.timeout, self.timeout > 0.0, "positive")?;
        within("judge.patience", self.patience, self.patience >= 0.0, "0 or more")?;
        positive("judge.concurrency", self.concurrency as u64)
    }
}

#[cfg(test)]
mod tests;
