//! Many responses to many prompts: continuous batching over the rows of one cache.
//!
//! ```text
//! prompt ─ prefill, once ─┬─ copied ─ row 0 ─ decode … stop ─┐
//!                         ├─ copied ─ row 1 ─ decode … stop ─┼─ the row goes to the next sample at once
//!                         └─ copied ─ row 2 ─ decode … stop ─┘
//! ```
//!
//! A prompt is computed by itself, whatever else is under way, and its keys and values are copied to the row of each of its
//! samples; so its pictures are seen once. A row whose response has ended takes the next sample before the next step. When no
//! samples wait and half of the rows are idle, the others move together. Draws are addressed by prompt, sample and position
//! ([`crate::uniform`]), so a response does not depend on which others are under way, but for rounding.

use crate::generate::{RowState, read};
use crate::{Features, FinishReason, GenerateError, KvCache, Launches, Model, Options, Prompt, Row};

/// A prompt and the number of responses wanted.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The prompt.
    pub prompt: Prompt<'a>,
    /// Its part of the address of every draw.
    pub key: u32,
    /// Responses; their samples are counted from 0.
    pub samples: u32,
}

/// A finished response.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// Index of the request.
    pub request: usize,
    /// Which of its samples.
    pub sample: u32,
    /// Token ids; the id that ended it is the last.
    pub ids: Vec<u32>,
    /// log p of each, as [`crate::Token::logprob`].
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub reason: FinishReason,
}

/// What it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prompts computed.
    pub prefills: usize,
    /// Their tokens.
    pub prefill_tokens: usize,
    /// Their pictures.
    pub pictures: usize,
    /// Steps of the whole batch.
    pub steps: usize,
    /// Rows of all steps, idle ones included.
    pub rows: usize,
    /// Tokens of all responses.
    pub tokens: usize,
}

/// A prompt that has been computed.
struct Prefix {
    request: usize,
    cache: KvCache,
    /// Of the token after it, `[V]`.
    logits: Vec<f32>,
}

/// A row at work.
struct Slot {
    request: usize,
    sample: u32,
    state: RowState,
}

/// Responses on their way; the caller pulls them as they end, and stops by not asking.
pub struct Rollout<'a> {
    model: &'a Model,
    requests: &'a [Request<'a>],
    options: Options,
    features: Option<&'a mut dyn Features>,
    launches: &'a mut Launches,
    cache: KvCache,
    slots: Vec<Option<Slot>>,
    prefix: Option<Prefix>,
    /// Request and sample that come next.
    next: (usize, u32),
    counts: Counts,
}

impl<'a> Rollout<'a> {
    /// Stands ready to answer the requests with at most `rows` responses at a time. `features` keeps what a frozen tower makes
    /// of pictures, for further use.
    ///
    /// # Errors
    /// The sampling settings are out of range. Faults of a prompt are found when it is its turn.
    pub fn new(
        model: &'a Model,
        requests: &'a [Request<'a>],
        rows: usize,
        options: Options,
        features: Option<&'a mut dyn Features>,
        launches: &'a mut Launches,
    ) -> Result<Self, GenerateError> {
        options.sampling.check()?;
        if !options.stop_strings.is_empty() {
            return Err(GenerateError::StopStrings);
        }
        let samples: usize = requests.iter().map(|request| request.samples as usize).sum();
        let rows = rows.clamp(1, samples.max(1));
        let longest = requests.iter().map(|request| request.prompt.ids.len()).max().unwrap_or(0);
        let cache = model.cache(rows, longest.saturating_add(options.max_new_tokens));
        let slots = (0..rows).map(|_| None).collect();
        let (prefix, counts) = Default::default();
        Ok(Self { model, requests, options, features, launches, cache, slots, prefix, next: (0, 0), counts })
    }

    /// What it took so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next responses to end, one or more; `None` when all have.
    pub async fn next(&mut self) -> Result<Option<Vec<Sequence>>, GenerateError> {
        loop {
            let mut ended = self.fill().await?;
            if ended.is_empty() {
                if self.slots.iter().all(Option::is_none) {
                    return Ok(None);
                }
                self.close_ranks();
                ended = self.step().await?;
            }
            if !ended.is_empty() {
                self.counts.tokens += ended.iter().map(|sequence| sequence.ids.len()).sum::<usize>();
                return Ok(Some(ended));
            }
        }
    }

    /// The next sample, if any waits.
    fn take(&mut self) -> Option<(usize, u32)> {
        let (request, sample) = self.next;
        if sample < self.requests.get(request)?.samples {
            self.next.1 += 1;
            return Some((request, sample));
        }
        self.next = (request + 1, 0);
        self.take()
    }

    /// Gives every idle row a sample, as long as any wait. A response may end with its first token.
    async fn fill(&mut self) -> Result<Vec<Sequence>, GenerateError> {
        let mut ended = Vec::new();
        for row in 0..self.slots.len() {
            while self.slots[row].is_none() {
                let Some((request, sample)) = self.take() else { return Ok(ended) };
                self.prepare(request).await?;
                let Some(prefix) = &self.prefix else { continue };
                let Request { prompt, key, .. } = self.requests[request];
                let mut state = RowState::new(Row { prompt: key, sample }, prompt.ids, &self.options);
                if state.reason.is_none() {
                    let choice = state.choose(&self.options, self.model.config(), &prefix.logits)?;
                    state.push(&self.options, None, choice);
                }
                let slot = Slot { request, sample, state };
                if slot.state.reason.is_some() {
                    ended.push(slot.end());
                } else {
                    self.cache.copy_row(row, &prefix.cache);
                    self.slots[row] = Some(slot);
                }
            }
        }
        Ok(ended)
    }

    /// Computes a request's prompt, unless that is the last thing that was computed.
    async fn prepare(&mut self, request: usize) -> Result<(), GenerateError> {
        if self.prefix.as_ref().is_some_and(|prefix| prefix.request == request) {
            return Ok(());
        }
        let prompt = self.requests[request].prompt;
        let mut cache = match self.prefix.take() {
            Some(prefix) if prefix.cache.capacity() >= prompt.ids.len() => prefix.cache,
            _ => self.model.cache(1, prompt.ids.len()),
        };
        cache.forget();
        let features = self.features.as_mut().map(|features| &mut **features as &mut dyn Features);
        let prefill = self.model.prefill_within(&[prompt], &mut cache, features, self.launches)?;
        self.counts.prefills += 1;
        self.counts.prefill_tokens += prefill.computed_tokens;
        self.counts.pictures += prefill.computed_pictures;
        let logits = read(prefill.logits).await?;
        self.prefix = Some(Prefix { request, cache, logits });
        Ok(())
    }

    /// Moves the rows that are at work together, once they are half of all and none can get other work.
    fn close_ranks(&mut self) {
        let working: Vec<usize> = (0..self.slots.len()).filter(|&row| self.slots[row].is_some()).collect();
        if 2 * working.len() <= self.slots.len() {
            self.cache.keep_rows(&working);
            self.slots.retain(Option::is_some);
        }
    }

    /// One more token for every row at work.
    async fn step(&mut self) -> Result<Vec<Sequence>, GenerateError> {
        let last = |slot: &Option<Slot>| slot.as_ref().and_then(|slot| slot.state.last());
        let tokens: Vec<Option<u32>> = self.slots.iter().map(last).collect();
        let logits = self.model.step(&tokens, &mut self.cache, self.launches)?;
        self.counts.steps += 1;
        self.counts.rows += tokens.len();
        let vocab = logits.dims()[1];
        let logits = read(logits).await?;
        let mut ended = Vec::new();
        for (row, place) in self.slots.iter_mut().enumerate() {
            let Some(slot) = place else { continue };
            let own = &logits[row * vocab..(row + 1) * vocab];
            let choice = slot.state.choose(&self.options, self.model.config(), own)?;
            slot.state.push(&self.options, None, choice);
            if slot.state.reason.is_some() {
                ended.extend(place.take().map(Slot::end));
            }
        }
        Ok(ended)
    }
}

impl Slot {
    fn end(self) -> Sequence {
        let Self { request, sample, state } = self;
        let reason = state.reason.unwrap_or(FinishReason::Cancelled);
        Sequence { request, sample, ids: state.answer().to_vec(), logprobs: state.logprobs, reason }
    }
}
