//! What a run writes as it goes: `metrics.jsonl`, `answers.jsonl`, and the TensorBoard file made of the first.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::metrics::{self, Metrics};
use super::tensorboard::Events;
use super::validation::Validated;
use crate::answers::Answer;

/// One step, as `metrics.jsonl` has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Steps done with it.
    pub step: u64,
    /// Loss of the batch; null where it is no number.
    pub loss: f32,
    /// Norm of the gradient before clipping; null where it is no number.
    pub norm: f32,
    /// What every learning rate was multiplied by.
    pub schedule: f32,
    /// Targets of the batch.
    pub targets: usize,
    /// Tokens of the batch.
    pub tokens: usize,
    /// Pictures of the batch.
    pub pictures: usize,
    /// Rows of the batch, counted from 0.
    pub rows: Vec<usize>,
    /// Rows left out for their length on the way.
    pub dropped: u64,
    /// Whether the update was skipped.
    pub skipped: bool,
    /// Time of the step, its data apart.
    pub seconds: f64,
    /// Tokens of the batch by that time.
    pub tokens_per_second: f64,
    /// Most memory the process has held, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Asked<'a> {
    step: u64,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// The files, open for appending.
#[derive(Debug)]
pub struct Journal {
    metrics: Metrics,
    answers: Metrics,
    events: Events,
}

impl Journal {
    /// Opens the files of a run that has done `step` steps; what they hold of later ones is dropped.
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        let path = run.join("metrics.jsonl");
        let metrics = Metrics::open(&path, step)?;
        let answers = Metrics::open(&run.join("answers.jsonl"), step)?;
        let events = Events::create(run, &metrics::read(&path)?)?;
        Ok(Self { metrics, answers, events })
    }

    /// Enters a step.
    pub fn step(&mut self, line: &Step) -> Result<()> {
        self.metrics.write(line)?;
        self.events.write(&serde_json::to_value(line)?)
    }

    /// Enters a measurement and its answers.
    pub fn measured(&mut self, step: u64, validated: &Validated, answers: &[Answer]) -> Result<()> {
        let line = json!({"step": step, "validation": validated});
        self.metrics.write(&line)?;
        self.events.write(&line)?;
        answers.iter().try_for_each(|answer| self.answers.write(&Asked { step, answer }))
    }

    /// Makes sure that everything entered stays: a checkpoint must not be saved before what it has behind it.
    pub fn flush(&self) -> Result<()> {
        self.metrics.flush()?;
        self.answers.flush()
    }
}
