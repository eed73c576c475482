//! What is refused of a recipe, with the field's name.

use anyhow::{Context, Result, bail};
use wethink_reward::Policy as RewardPolicy;

use super::Recipe;
use crate::train::economy::Layout;
use crate::train::policy::{Average, Objective, Policy};
use crate::train::recipe::{positive, within};

impl Recipe {
    /// Refuses values outside their range, and those that do not go together.
    pub(super) fn check(&self) -> Result<()> {
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
        check_reward(&self.reward)?;
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
}

fn check_reward(reward: &RewardPolicy) -> Result<()> {
    let cap = reward.judge_cap;
    within("reward.judge_cap", cap, (0.0..=1.0).contains(&cap), "in [0, 1]")?;
    for (field, weight) in [
        ("reward.accuracy", Some(reward.accuracy)),
        ("reward.format", Some(reward.format)),
        ("reward.overlong.weight", reward.overlong.map(|rule| rule.weight)),
        ("reward.repetition.weight", reward.repetition.map(|rule| rule.weight)),
    ] {
        within(field, weight.unwrap_or_default(), true, "a number")?;
    }
    Ok(())
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
