//! From responses to new weights: log-probabilities under old policy and reference, then the updates.

use std::ops::Range;
use std::time::Instant;

use anyhow::Result;
use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use wethink_model::{Features, Launches, Model};

use super::gather::Response;
use super::line::{Line, Seconds, Speeds};
use super::recipe::Recipe;
use crate::train::adamw::AdamW;
use crate::train::economy::passes;
use crate::train::features;
use crate::train::gradients::{Gradients, clip_scale, scalar};
use crate::train::policy::{Figures, Part, Totals, loss};

/// Log-probabilities of a response's tokens.
type Logprobs = Vec<f32>;

/// What a frozen tower made of pictures, if that is kept.
pub type Kept = Option<features::Store>;

/// What the updates of a step see.
pub struct Batch<'a> {
    /// What a run was asked to do.
    pub recipe: &'a Recipe,
    /// The type of the arithmetic.
    pub compute: DType,
    /// Responses that are trained on, in mini-batches.
    pub mini_batches: Vec<Vec<&'a Response>>,
}

/// What came of them.
pub struct Updated {
    /// The new weights.
    pub model: Model,
    /// Updates skipped in a row, up to now.
    pub skipped_in_a_row: u64,
}

/// Sums over updates.
#[derive(Default)]
struct Sums {
    loss: f64,
    norm: f64,
    updates: usize,
    skipped: usize,
    figures: Figures,
    first_ratio: Option<f64>,
}

impl<'a> Batch<'a> {
    /// The responses of a step that have an advantage, in mini-batches of so many prompts, whole groups each.
    pub fn new(recipe: &'a Recipe, compute: DType, responses: &'a [Response], kept: &[usize]) -> Self {
        let size = recipe.rollout.group;
        let mini_batch = |groups: &[usize]| -> Vec<&'a Response> {
            let responses = groups.iter().flat_map(|&group| &responses[group * size..(group + 1) * size]);
            responses.filter(|response| response.advantage.is_some()).collect()
        };
        let mini_batches = kept.chunks(recipe.train.mini_batch).map(mini_batch);
        let mini_batches = mini_batches.filter(|batch| !batch.is_empty()).collect();
        Self { recipe, compute, mini_batches }
    }

    /// Responses of all mini-batches.
    pub fn len(&self) -> usize {
        self.mini_batches.iter().map(Vec::len).sum()
    }

    /// Whether nothing is trained on.
    pub fn is_empty(&self) -> bool {
        self.mini_batches.is_empty()
    }

    /// Tokens of all their responses.
    pub fn tokens(&self) -> usize {
        self.mini_batches.iter().flatten().map(|response| response.sequence.response.len()).sum()
    }

    /// The responses of a mini-batch by pass, as places.
    fn passes(&self, batch: &[&Response]) -> Vec<Vec<usize>> {
        let tokens: Vec<usize> = batch.iter().map(|response| response.sequence.tokens()).collect();
        passes(&tokens, self.recipe.portion())
    }

    /// One pass over the responses, a row's tokens after another: `[N]`.
    fn logprobs(&self, model: &Model, part: &[&Response], kept: &mut Kept) -> Result<Tensor<1>> {
        let prompts: Vec<_> = part.iter().map(|response| response.sequence.prompt()).collect();
        let wanted: Vec<Range<usize>> =
            part.iter().map(|response| response.sequence.response.clone()).collect();
        let (temperature, economy) = (self.recipe.rollout.temperature, self.recipe.memory.economy());
        let features = kept.as_mut().map(|store| store as &mut dyn Features);
        let launches = &mut Launches::new();
        Ok(model.logprobs_within(&prompts, &wanted, temperature, &economy, features, launches)?)
    }

    /// Log-probabilities of every response under a model that nothing is tracked in, in the passes of the updates.
    pub fn scored(&self, model: &Model, kept: &mut Kept) -> Result<Vec<Vec<Logprobs>>> {
        let mut of_batch = |batch: &Vec<&Response>| -> Result<Vec<Logprobs>> {
            let mut all = vec![Logprobs::new(); batch.len()];
            for places in self.passes(batch) {
                let part: Vec<&Response> = places.iter().map(|&place| batch[place]).collect();
                put(&mut all, &places, &values(self.logprobs(model, &part, kept)?), &part);
            }
            Ok(all)
        };
        self.mini_batches.iter().map(&mut of_batch).collect()
    }

    /// All updates of a step. `line` gets its figures.
    pub fn update(
        &self,
        mut model: Model,
        optimizer: &mut AdamW,
        reference: Option<&Model>,
        kept: &mut Kept,
        step: u64,
        mut skipped_in_a_row: u64,
        line: &mut Line,
    ) -> Result<Updated> {
        let epochs = self.recipe.train.epochs;
        let mut seconds = Seconds::default();
        // One update needs no old policy: it is the policy itself.
        let mut old: Option<Vec<Vec<Logprobs>>> = None;
        if epochs * self.mini_batches.len() > 1 {
            let started = Instant::now();
            old = Some(self.scored(&cast(&model, self.compute), kept)?);
            seconds.old = started.elapsed().as_secs_f64();
        }
        let started = Instant::now();
        let reference = reference.map(|reference| self.scored(reference, kept)).transpose()?;
        seconds.reference = started.elapsed().as_secs_f64() * f64::from(u8::from(reference.is_some()));
        let started = Instant::now();
        let mut sums = Sums::default();
        for _ in 0..epochs {
            for (place, batch) in self.mini_batches.iter().enumerate() {
                let known = |all: &Option<Vec<Vec<Logprobs>>>| all.as_ref().map(|all| all[place].clone());
                let (before, apart) = (known(&old), known(&reference));
                let known = (before.as_deref(), apart.as_deref());
                let (value, gradients, new) = self.gradients(&model, batch, known, kept)?;
                let norm = gradients.norm();
                let sound = value.is_finite() && norm.is_finite();
                if sound {
                    let (trained, factor) = (self.recipe.trained(), self.recipe.factor(step));
                    let rate = |name: &str| trained.rate(name, factor);
                    model =
                        optimizer.step(model, &gradients, clip_scale(norm, self.recipe.train.clip), &rate);
                }
                skipped_in_a_row = if sound { 0 } else { skipped_in_a_row + 1 };
                sums.add(self, batch, value, norm, sound, before.as_ref().unwrap_or(&new), &new);
                // With one update the sampled tokens meet the training path here for the first time.
                old.get_or_insert_with(|| vec![new]);
            }
        }
        seconds.update = started.elapsed().as_secs_f64();
        sums.enter(line);
        self.compare(line, old.as_deref().unwrap_or_default(), reference.as_deref());
        let tokens: usize =
            self.mini_batches.iter().flatten().map(|response| response.sequence.tokens()).sum();
        let speed = |tokens: usize, seconds: f64| (seconds > 0.0).then(|| tokens as f64 / seconds);
        let (old, reference) = (speed(tokens, seconds.old), speed(tokens, seconds.reference));
        let update = speed(epochs * tokens, seconds.update);
        line.tokens_per_second = Speeds { old, reference, update, ..line.tokens_per_second };
        line.seconds = Seconds { rollout: line.seconds.rollout, reward: line.seconds.reward, ..seconds };
        Ok(Updated { model, skipped_in_a_row })
    }

    /// Loss, gradient and log-probabilities of a mini-batch, pass by pass. `known` are those under the old policy and under the
    /// reference.
    fn gradients(
        &self,
        model: &Model,
        batch: &[&Response],
        known: (Option<&[Logprobs]>, Option<&[Logprobs]>),
        kept: &mut Kept,
    ) -> Result<(f64, Gradients, Vec<Logprobs>)> {
        let totals = Totals {
            rows: batch.len(),
            tokens: batch.iter().map(|response| response.sequence.response.len()).sum(),
            longest: self.recipe.rollout.max_new_tokens,
        };
        let trained = self.recipe.trained();
        let mut gradients = Gradients::default();
        let (mut total, mut all) = (0.0, vec![Logprobs::new(); batch.len()]);
        for places in self.passes(batch) {
            let part: Vec<&Response> = places.iter().map(|&place| batch[place]).collect();
            let lengths: Vec<usize> = part.iter().map(|response| response.sequence.response.len()).collect();
            let advantages: Vec<f64> = part.iter().filter_map(|response| response.advantage).collect();
            let of_part = |known: Option<&[Logprobs]>| known.map(|known| constant(model, known, &places));
            let (old, reference) = (of_part(known.0), of_part(known.1));
            let (value, new) = gradients.add(model, &|name| trained.holds(name), self.compute, |model| {
                let logprobs = self.logprobs(model, &part, kept)?;
                let known = Part { lengths: &lengths, advantages: &advantages, old, reference };
                let new = values(logprobs.clone());
                let value = loss(logprobs, &known, totals, &self.recipe.loss);
                Ok((value.clone(), (scalar(value), new)))
            })?;
            total += value;
            put(&mut all, &places, &new, &part);
        }
        Ok((total, gradients, all))
    }

    /// How the training path's log-probabilities differ from the rollouts', and from the reference's.
    fn compare(&self, line: &mut Line, old: &[Vec<Logprobs>], reference: Option<&[Vec<Logprobs>]>) {
        let trained = self.mini_batches.iter().flatten().map(|response| &response.logprobs);
        let pairs = trained.flatten().zip(old.iter().flatten().flatten());
        let apart: Vec<f64> = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).collect();
        if !apart.is_empty() {
            line.mismatch_mean = Some(apart.iter().sum::<f64>() / apart.len() as f64);
            // `max` would pass over what is no number.
            line.mismatch_max = apart.iter().copied().max_by(f64::total_cmp);
        }
        if let Some(reference) = reference {
            let pairs = old.iter().flatten().flatten().zip(reference.iter().flatten().flatten());
            let k3 = |(new, apart): (&f32, &f32)| {
                let d = f64::from(*new) - f64::from(*apart);
                (-d).exp() - 1.0 + d
            };
            let far: Vec<f64> = pairs.map(k3).collect();
            line.kl_reference = Some(far.iter().sum::<f64>() / far.len().max(1) as f64);
        }
    }
}

impl Sums {
    fn add(
        &mut self,
        step: &Batch,
        batch: &[&Response],
        value: f64,
        norm: f64,
        sound: bool,
        old: &[Logprobs],
        new: &[Logprobs],
    ) {
        let lengths: Vec<usize> = batch.iter().map(|response| response.sequence.response.len()).collect();
        let advantages: Vec<f64> = batch.iter().filter_map(|response| response.advantage).collect();
        self.figures.add(&new.concat(), &old.concat(), &lengths, &advantages, &step.recipe.loss);
        // Only the very first update of several has an old policy that is the policy.
        if self.updates + self.skipped == 0 && step.recipe.train.epochs * step.mini_batches.len() > 1 {
            self.first_ratio = Some(self.figures.ratio_off_most);
        }
        self.loss += value;
        self.norm += norm;
        self.updates += usize::from(sound);
        self.skipped += usize::from(!sound);
    }

    fn enter(&self, line: &mut Line) {
        let all = (self.updates + self.skipped).max(1) as f64;
        (line.loss, line.norm) = (self.loss / all, self.norm / all);
        (line.updates, line.skipped, line.first_ratio) = (self.updates, self.skipped, self.first_ratio);
        let figures = &self.figures;
        (line.entropy, line.ratio, line.kl_old) = (figures.entropy(), figures.ratio(), figures.kl());
        (line.clipped, line.clipped_dual) = (figures.clipped(), figures.dual());
    }
}

/// The model in the type of the arithmetic, untracked.
pub fn cast(model: &Model, dtype: DType) -> Model {
    model.clone().map_parameters(&mut |_, value| narrowed(value, dtype))
}

/// Values in a type.
pub fn narrowed(value: Tensor<1>, dtype: DType) -> Tensor<1> {
    if value.dtype() == dtype { value } else { value.cast(FloatDType::from(dtype)) }
}

fn values(x: Tensor<1>) -> Vec<f32> {
    // The training path hands out float32; anything else is no log-probability.
    x.into_data().convert_dtype(DType::F32).try_into_vec().unwrap_or_default()
}

/// Known log-probabilities of a pass, `[N]`.
fn constant(model: &Model, known: &[Logprobs], places: &[usize]) -> Tensor<1> {
    let values: Vec<f32> = places.iter().flat_map(|&place| known[place].iter().copied()).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), (&model.device(), DType::F32))
}

/// Puts the values of a pass, one response after another, at the responses' places.
fn put(all: &mut [Logprobs], places: &[usize], values: &[f32], part: &[&Response]) {
    let mut rest = values;
    for (&place, response) in places.iter().zip(part) {
        let (own, others) = rest.split_at(response.sequence.response.len().min(rest.len()));
        all[place] = own.to_vec();
        rest = others;
    }
}
