//! What a step of GRPO says in `metrics.jsonl`, and what each response says in `rollouts.jsonl`.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use wethink_model::FinishReason;
use wethink_reward::{Score, Verdict};

use super::gather::{Gathered, Response};
use super::rewards::Paid;
use crate::answers::Answer;
use crate::score::hearing::Conduct;
use crate::train::advantage::spread;
use crate::train::metrics::{self, Metrics};
use crate::train::tensorboard::Events;
use crate::train::validation::Validated;

/// Mean and unbiased deviation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Mean; null of no values.
    pub mean: Option<f64>,
    /// Deviation.
    pub std: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Self { mean: mean.is_finite().then_some(mean), std: spread(values) }
    }
}

/// Rewards of a step and their parts, over the responses that have one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rewards {
    /// The reward.
    pub all: Spread,
    /// The verdict's score.
    pub accuracy: Spread,
    /// The form.
    pub format: Spread,
    /// The length penalty.
    pub overlong: Spread,
    /// The repetition penalty.
    pub repetition: Spread,
    /// Responses without a reward.
    pub unscored: usize,
}

/// Prompts of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Groups {
    /// Answered.
    pub sampled: usize,
    /// Learned from.
    pub kept: usize,
    /// Whose rewards are all equal, or missing.
    pub without_signal: usize,
    /// Passed over for a mean at or below the band: too hard, or measured on nothing.
    pub below: usize,
    /// Passed over for a mean at or above the band: too easy.
    pub above: usize,
    /// Mean over all of them of what the band measures; null of none.
    pub measured: Option<f64>,
    /// Times that prompts were drawn.
    pub rounds: u64,
}

/// Tokens of the responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// Mean.
    pub mean: f64,
    /// Shortest.
    pub min: usize,
    /// Longest.
    pub max: usize,
    /// Share cut at their limit.
    pub truncated: f64,
}

/// What sampling took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sampling {
    /// Prompts computed.
    pub prefills: usize,
    /// Their tokens.
    pub prompt_tokens: usize,
    /// Their pictures.
    pub pictures: usize,
    /// Steps of all rows together.
    pub steps: usize,
    /// Tokens sampled.
    pub tokens: usize,
}

/// Seconds by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Sampling, with rewards computed meanwhile.
    pub rollout: f64,
    /// Rewards that sampling had to be followed by.
    pub reward: f64,
    /// Log-probabilities under the policy that sampled; 0 where one update needs none.
    pub old: f64,
    /// Log-probabilities under the reference; 0 where its weight is.
    pub reference: f64,
    /// Forward, backward, and the optimizer.
    pub update: f64,
    /// All of them.
    pub step: f64,
}

/// Tokens by the time of each phase; null where the phase is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Speeds {
    /// Tokens sampled.
    pub rollout: f64,
    /// Tokens of prompts and responses under the policy that sampled.
    pub old: Option<f64>,
    /// The same under the reference.
    pub reference: Option<f64>,
    /// The same in the updates, each epoch counted.
    pub update: Option<f64>,
}

/// Questions to the judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Judged {
    /// Questions it answered, canaries not counted.
    pub answered: usize,
    /// Share of them whose two orders disagree; null of none.
    pub disagreement: Option<f64>,
    /// Canaries it was asked.
    pub canaries: usize,
    /// Canaries it accepted.
    pub canaries_accepted: usize,
}

impl Judged {
    /// What a judge's conduct comes to.
    pub fn of(conduct: &Conduct) -> Self {
        let &Conduct { answered, swayed, canaries, accepted } = conduct;
        let disagreement = (answered > 0).then(|| swayed as f64 / answered as f64);
        Self { answered, disagreement, canaries, canaries_accepted: accepted }
    }
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Line {
    /// Steps done with it.
    pub step: u64,
    /// Rewards and their parts.
    pub reward: Rewards,
    /// Prompts.
    pub groups: Groups,
    /// Tokens of responses.
    pub length: Lengths,
    /// What sampling took.
    pub sampling: Sampling,
    /// Pictures that went through the tower in the whole step; null where features are not kept.
    pub towers: Option<u64>,
    /// Responses trained on, and their tokens.
    pub trained: usize,
    /// Tokens trained on, each once an epoch.
    pub tokens: usize,
    /// Updates of the weights.
    pub updates: usize,
    /// Updates left out for a loss or gradient that is no number.
    pub skipped: usize,
    /// Mean loss of the updates; near 0 where each is the first after sampling, which is no fault.
    pub loss: f64,
    /// Mean norm of their gradients, before clipping.
    pub norm: f64,
    /// What every learning rate was multiplied by.
    pub schedule: f64,
    /// Mean of `−log p` of what was sampled.
    pub entropy: f64,
    /// Share of tokens whose ratio is clipped.
    pub clipped: f64,
    /// Share of tokens at the dual clip.
    pub clipped_dual: f64,
    /// Mean ratio.
    pub ratio: f64,
    /// Most that a ratio is off 1 before any update; null where it is 1 by definition.
    pub first_ratio: Option<f64>,
    /// Mean of `log p_old − log p_new`.
    pub kl_old: f64,
    /// Mean divergence from the reference, `exp(−d) − 1 + d`; null where there is none.
    pub kl_reference: Option<f64>,
    /// Mean of `|log p_rollout − log p_train|`.
    pub mismatch_mean: Option<f64>,
    /// Its largest.
    pub mismatch_max: Option<f64>,
    /// The judge.
    pub judge: Judged,
    /// What the judge has cost up to now; null where there is none, or it costs nothing.
    pub paid: Option<Paid>,
    /// Rows of the step's prompts, counted from 0.
    pub rows: Vec<usize>,
    /// Rows left out for their length.
    pub dropped: u64,
    /// Time by phase.
    pub seconds: Seconds,
    /// Tokens by time, by phase.
    pub tokens_per_second: Speeds,
    /// Most memory the process has held, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
}

impl Line {
    /// What is known before an update.
    pub fn of(gathered: &Gathered, group: usize) -> Self {
        let responses = &gathered.responses;
        let scored: Vec<&Score> = responses
            .iter()
            .map(|response| &response.scored.score)
            .filter(|score| score.reward.is_some())
            .collect();
        let part = |part: fn(&Score) -> f64| Spread::of(&scored.iter().map(|s| part(s)).collect::<Vec<_>>());
        let lengths: Vec<usize> = responses.iter().map(|response| response.sequence.response.len()).collect();
        let of_all = |sum: usize| sum as f64 / responses.len().max(1) as f64;
        let counts = gathered.counts;
        Self {
            reward: Rewards {
                all: part(|score| score.reward.unwrap_or_default()),
                accuracy: part(|score| score.accuracy),
                format: part(|score| score.format),
                overlong: part(|score| score.overlong),
                repetition: part(|score| score.repetition),
                unscored: responses.len() - scored.len(),
            },
            groups: Groups {
                sampled: responses.len() / group,
                kept: gathered.kept.len(),
                without_signal: gathered.without_signal,
                below: gathered.below,
                above: gathered.above,
                measured: Spread::of(&gathered.measured).mean,
                rounds: gathered.rounds,
            },
            length: Lengths {
                mean: of_all(lengths.iter().sum()),
                min: lengths.iter().copied().min().unwrap_or(0),
                max: lengths.iter().copied().max().unwrap_or(0),
                truncated: of_all(responses.iter().filter(|response| response.truncated()).count()),
            },
            sampling: Sampling {
                prefills: counts.prefills,
                prompt_tokens: counts.prefill_tokens,
                pictures: counts.pictures,
                steps: counts.steps,
                tokens: counts.tokens,
            },
            judge: Judged::of(&gathered.conduct),
            rows: responses.iter().step_by(group).map(|response| response.row).collect(),
            dropped: gathered.dropped,
            ..Self::default()
        }
    }
}

/// One response, as `rollouts.jsonl` has it.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    /// Steps done with it.
    step: u64,
    /// Row of its prompt, counted from 0.
    prompt_id: usize,
    /// Which of the prompt's samples.
    sample: u32,
    token_ids: &'a [u32],
    /// As sampled.
    logprobs: &'a [f32],
    text: &'a str,
    /// Null where nobody decided.
    reward: Option<f64>,
    parts: Value,
    verdict: &'a Verdict,
    /// Why nobody decided.
    unscored: Option<&'a str>,
    /// Null where it was not trained on.
    advantage: Option<f64>,
    finish: FinishReason,
}

impl<'a> Told<'a> {
    /// What is told of a response.
    pub fn of(step: u64, response: &'a Response) -> Self {
        let Score { reward, accuracy, format, overlong, repetition, verdict } = &response.scored.score;
        Self {
            step,
            prompt_id: response.row,
            sample: response.sample,
            token_ids: response.ids(),
            logprobs: &response.logprobs,
            text: &response.text,
            reward: *reward,
            parts: json!({
                "accuracy": accuracy, "format": format, "overlong": overlong, "repetition": repetition,
            }),
            verdict,
            unscored: response.scored.unscored.as_deref(),
            advantage: response.advantage,
            finish: response.finish,
        }
    }
}

/// The files of a run, open for appending.
#[derive(Debug)]
pub struct Journal {
    metrics: Metrics,
    rollouts: Metrics,
    answers: Metrics,
    events: Events,
}

impl Journal {
    /// Opens the files of a run that has done `step` steps; what they hold of later ones is dropped.
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        let metrics = Metrics::open(&path, step)?;
        let rollouts = Metrics::open(&run.join("rollouts.jsonl"), step)?;
        let answers = Metrics::open(&run.join("answers.jsonl"), step)?;
        let events = Events::create(run, &metrics::read(&path)?)?;
        Ok(Self { metrics, rollouts, answers, events })
    }

    /// Enters a step.
    pub fn step(&mut self, line: &Line, responses: &[Response]) -> Result<()> {
        self.metrics.write(line)?;
        responses.iter().try_for_each(|response| self.rollouts.write(&Told::of(line.step, response)))?;
        self.events.write(&serde_json::to_value(line)?)
    }

    /// Enters a measurement and its answers.
    pub fn measured(&mut self, step: u64, validated: &Validated, answers: &[Answer]) -> Result<()> {
        let line = json!({"step": step, "validation": validated});
        self.metrics.write(&line)?;
        self.events.write(&line)?;
        let told = |answer: &Answer| -> Result<Value> {
            let mut told = serde_json::to_value(answer)?;
            told["step"] = step.into();
            Ok(told)
        };
        answers.iter().try_for_each(|answer| self.answers.write(&told(answer)?))
    }

    /// Makes sure that everything entered stays: a checkpoint must not be saved before what it has behind it.
    pub fn flush(&self) -> Result<()> {
        self.metrics.flush()?;
        self.rollouts.flush()?;
        self.answers.flush()
    }
}
