//! Generation by pull: the caller asks for the next token of every row when it wants one, and stops by not asking.

use std::collections::VecDeque;

use burn::tensor::{DType, Int, Tensor, TensorData, Transaction};
use wethink_kernels::{Draw, argmax, logprobs, runs_wgsl, sample};

use crate::sampling::{Choice, SamplingError};
use crate::{Config, KvCache, Launches, Model, Prefill, Prompt, PromptError, Sampling, uniform};

/// How long to generate, and how to choose.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How a token is chosen.
    pub sampling: Sampling,
    /// Tokens at most.
    pub max_new_tokens: usize,
    /// Tokens before a stop id may be chosen.
    pub min_new_tokens: usize,
    /// Ids that end a row; the id that ended it is the last of its tokens.
    pub stop_ids: Vec<u32>,
    /// Texts that end a row once they stand in its answer.
    pub stop_strings: Vec<String>,
    /// Key of every random draw.
    pub seed: u64,
    /// Training step, part of the key of every draw; 0 outside training.
    pub step: u32,
}

/// Which prompt and sample a row is: with seed, step and position the address of its random draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Index of the prompt within the run.
    pub prompt: u32,
    /// Index of the sample of that prompt.
    pub sample: u32,
}

/// Why a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// A stop id or a stop string.
    Stop,
    /// `max_new_tokens`.
    Length,
    /// Nobody asked further.
    Cancelled,
}

/// One generated token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    /// The row it belongs to.
    pub row: usize,
    /// Its id.
    pub id: u32,
    /// log p of it under softmax(logits / temperature), before penalty, bans and filters; temperature 1 when greedy.
    pub logprob: f32,
}

/// Why generation failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GenerateError {
    /// The prompt, or prompt and answer together, cannot be run.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The settings are wrong, or the logits.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Stop strings where ids are not turned into text.
    #[error("a rollout ends at stop ids alone; leave the stop strings out")]
    StopStrings,
    /// The device failed while logits were read.
    #[error("the device failed: {0}")]
    Device(String),
}

/// Ids to text, for stop strings.
pub type Detokenize<'a> = &'a dyn Fn(&[u32]) -> String;

/// A batch of rows being generated. Dropping it cancels it; the cache keeps what was computed.
pub struct Generation<'a> {
    model: &'a Model,
    cache: &'a mut KvCache,
    launches: &'a mut Launches,
    options: Options,
    detokenize: Option<Detokenize<'a>>,
    rows: Vec<RowState>,
    logits: Option<Tensor<2>>,
    /// Tokens at a time that the device chooses before anything is read back.
    ahead: usize,
    /// Choices of every row that have been read back and not been asked for yet.
    waiting: VecDeque<Vec<Choice>>,
    prefill: Prefill,
}

/// An answer on its way.
pub(crate) struct RowState {
    key: Row,
    prompt_len: usize,
    /// Prompt and answer: what the repetition penalty looks at.
    ids: Vec<u32>,
    /// Of every token of the answer.
    pub logprobs: Vec<f32>,
    /// Why it ended, if it has.
    pub reason: Option<FinishReason>,
}

impl RowState {
    pub fn new(key: Row, prompt: &[u32], options: &Options) -> Self {
        let reason = (options.max_new_tokens == 0).then_some(FinishReason::Length);
        Self { key, prompt_len: prompt.len(), ids: prompt.to_vec(), logprobs: Vec::new(), reason }
    }

    pub fn answer(&self) -> &[u32] {
        &self.ids[self.prompt_len..]
    }

    /// The token to compute the next one from; none when the row has ended.
    pub fn last(&self) -> Option<u32> {
        self.reason.is_none().then(|| self.ids.last().copied()).flatten()
    }

    /// Stop ids that the row must not choose yet.
    fn early<'o>(&self, options: &'o Options) -> &'o [u32] {
        let soon = self.answer().len() < options.min_new_tokens;
        if soon { &options.stop_ids } else { &[] }
    }

    /// Chooses the next token from its logits, `[V]`.
    pub fn choose(
        &self,
        options: &Options,
        config: &Config,
        logits: &[f32],
    ) -> Result<Choice, SamplingError> {
        let position = self.answer().len();
        let banned = [config.image_token_id, config.video_token_id];
        let banned = banned.into_iter().chain(self.early(options).iter().copied());
        let Row { prompt, sample } = self.key;
        let draw = || uniform(options.seed, options.step, prompt, sample, position as u32);
        options.sampling.choose(logits, &self.ids, banned, draw)
    }

    /// Appends a token, which may end the row.
    pub fn push(&mut self, options: &Options, detokenize: Option<Detokenize>, choice: Choice) {
        self.ids.push(choice.id);
        self.logprobs.push(choice.logprob);
        let text = || detokenize.map_or_else(String::new, |decode| decode(self.answer()));
        let stops = &options.stop_strings;
        if options.stop_ids.contains(&choice.id)
            || (!stops.is_empty() && {
                let text = text();
                stops.iter().any(|stop| text.contains(stop))
            })
        {
            self.reason = Some(FinishReason::Stop);
        } else if self.answer().len() >= options.max_new_tokens {
            self.reason = Some(FinishReason::Length);
        }
    }
}

impl<'a> Generation<'a> {
    /// Runs the prompts, one per row of the cache, and stands ready to choose each row's first token.
    ///
    /// `rows` address the random draws. `detokenize` is needed for stop strings only. The cache must hold the longest
    /// prompt and `max_new_tokens` together: an answer is never cut short for want of room.
    pub fn new(
        model: &'a Model,
        prompts: &[Prompt],
        rows: &[Row],
        cache: &'a mut KvCache,
        options: Options,
        detokenize: Option<Detokenize<'a>>,
        launches: &'a mut Launches,
    ) -> Result<Self, GenerateError> {
        options.sampling.check()?;
        if rows.len() != prompts.len() {
            return Err(PromptError::Rows { prompts: prompts.len(), rows: rows.len() }.into());
        }
        for prompt in prompts {
            let tokens = prompt.ids.len().saturating_add(options.max_new_tokens);
            if tokens > cache.capacity() {
                return Err(PromptError::Capacity { tokens, capacity: cache.capacity() }.into());
            }
        }
        let prefill = model.prefill(prompts, cache, launches)?;
        let states = rows.iter().zip(prompts).map(|(&key, prompt)| RowState::new(key, prompt.ids, &options));
        let rows = states.collect();
        let logits = Some(prefill.logits.clone());
        let (ahead, waiting) = (1, VecDeque::new());
        Ok(Self { model, cache, launches, options, detokenize, rows, logits, ahead, waiting, prefill })
    }

    /// Lets a device that is far away compute `tokens` tokens before it is waited for, from the next reading on: ids stay
    /// there, and one reading brings all of them. What a row computes beyond its end is dropped. The tokens are the same for
    /// any number.
    pub fn ahead(&mut self, tokens: usize) {
        self.ahead = tokens.max(1);
    }

    /// Tokens of every row that have been read back and not been asked for yet: [`Generation::next`] waits for the device
    /// where there are none.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next token of every unfinished row, or `None` when all have ended.
    pub async fn next(&mut self) -> Result<Option<Vec<Token>>, GenerateError> {
        if self.rows.iter().all(|row| row.reason.is_some()) {
            return Ok(None);
        }
        if self.waiting.is_empty() {
            self.compute().await?;
        }
        let choices = self.waiting.pop_front().unwrap_or_default();
        let mut tokens = Vec::new();
        for (row, choice) in choices.into_iter().enumerate() {
            if self.rows[row].reason.is_some() {
                continue;
            }
            self.rows[row].push(&self.options, self.detokenize, choice);
            // Its keys and values are in the cache already if a token after it was computed.
            if self.rows[row].reason.is_none() && !self.waiting.is_empty() {
                self.cache.rows[row].push(choice.id);
            }
            tokens.push(Token { row, id: choice.id, logprob: choice.logprob });
        }
        if self.rows.iter().all(|row| row.reason.is_some()) {
            self.waiting.clear();
        }
        Ok(Some(tokens))
    }

    /// The next choices of every row: several on a device that can, else one.
    async fn compute(&mut self) -> Result<(), GenerateError> {
        let logits = match self.logits.take() {
            Some(logits) => logits,
            None => {
                let tokens: Vec<Option<u32>> = self.rows.iter().map(RowState::last).collect();
                self.model.step(&tokens, self.cache, self.launches)?
            }
        };
        let open: Vec<bool> = self.rows.iter().map(|row| row.reason.is_none()).collect();
        let many = self.on_device(logits.clone(), &open).await?;
        let early = |choices: &Vec<Choice>| {
            (0..open.len())
                .any(|row| open[row] && self.rows[row].early(&self.options).contains(&choices[row].id))
        };
        match many {
            Some(many) if !many.first().is_some_and(early) => self.waiting.extend(many),
            _ => self.waiting.push_back(self.choose_here(logits, &open).await?),
        }
        Ok(())
    }

    /// Tokens chosen on a device whose logits are far away, one after the other without waiting: eight bytes a token and row
    /// come back instead of the whole vocabulary. A penalty needs the answer so far, which is here; so does the ban on an
    /// early end, while it lasts.
    async fn on_device(
        &mut self,
        mut logits: Tensor<2>,
        open: &[bool],
    ) -> Result<Option<Vec<Vec<Choice>>>, GenerateError> {
        if !runs_wgsl(&logits) || self.options.sampling.repetition_penalty != 1.0 {
            return Ok(None);
        }
        let place = self.rows.iter().filter(|row| row.reason.is_none()).map(|row| row.answer().len()).max();
        let place = place.unwrap_or(0);
        let bound = self.options.stop_ids.is_empty() || place >= self.options.min_new_tokens;
        let left = self.options.max_new_tokens.saturating_sub(place).max(1);
        let count = if bound { self.ahead.min(left) } else { 1 };
        let mut read = Transaction::default();
        for step in 0..count {
            let Some((ids, chosen)) = self.choose_there(logits.clone(), place + step) else {
                return Ok(None);
            };
            if step + 1 < count {
                logits = self.model.step_on(ids.clone(), open, step, self.cache, self.launches);
            }
            read = read.register(ids).register(chosen);
        }
        let read = read.execute_async().await.map_err(|e| GenerateError::Device(e.to_string()))?;
        let mut read = read.into_iter();
        let mut many = Vec::with_capacity(count);
        for _ in 0..count {
            let ids = integers(read.next().unwrap_or_else(empty))?;
            let chosen = floats(read.next().unwrap_or_else(empty))?;
            let vocab = self.model.config().text.vocab_size;
            if ids.iter().zip(open).any(|(&id, &open)| open && id as usize >= vocab) {
                return Err(SamplingError::NotFinite.into());
            }
            many.push(ids.into_iter().zip(chosen).map(|(id, logprob)| Choice { id, logprob }).collect());
        }
        Ok(Some(many))
    }

    /// Each row's token at a place of its answer and its log-probability, both on the device.
    fn choose_there(&mut self, logits: Tensor<2>, place: usize) -> Option<(Tensor<1, Int>, Tensor<1>)> {
        let config = self.model.config();
        let banned = [config.image_token_id, config.video_token_id];
        let Sampling { temperature, top_k, top_p, .. } = self.options.sampling;
        if temperature == 0.0 {
            let ids = argmax(logits.clone(), banned, self.launches);
            let chosen = logprobs(logits, ids.clone(), 1.0, self.launches);
            return Some((ids, chosen));
        }
        let (seed, step) = (self.options.seed, self.options.step);
        let draw = |row: &RowState| uniform(seed, step, row.key.prompt, row.key.sample, place as u32);
        let draws: Vec<f64> = self.rows.iter().map(draw).collect();
        let how = Draw { temperature, top_k, top_p, banned };
        let ids = sample(logits.clone(), how, &draws, self.launches)?;
        let chosen = logprobs(logits, ids.clone(), temperature, self.launches);
        Some((ids, chosen))
    }

    /// Reads the logits and chooses on the CPU.
    ///
    /// A row that has ended gets a choice that nobody looks at.
    async fn choose_here(&self, logits: Tensor<2>, open: &[bool]) -> Result<Vec<Choice>, GenerateError> {
        let vocab = logits.dims()[1];
        let values = read(logits).await?;
        let config = self.model.config();
        let choose = |(row, &open): (usize, &bool)| match open {
            true => {
                let logits = &values[row * vocab..(row + 1) * vocab];
                Ok(self.rows[row].choose(&self.options, config, logits)?)
            }
            false => Ok(Choice { id: 0, logprob: 0.0 }),
        };
        open.iter().enumerate().map(choose).collect()
    }

    /// What the prompts cost.
    pub fn prefill(&self) -> &Prefill {
        &self.prefill
    }

    /// Tokens of a row's answer so far.
    pub fn ids(&self, row: usize) -> &[u32] {
        self.rows[row].answer()
    }

    /// Log-probability of each of them.
    pub fn logprobs(&self, row: usize) -> &[f32] {
        &self.rows[row].logprobs
    }

    /// Why a row ended; an unfinished one counts as cancelled.
    pub fn finish_reason(&self, row: usize) -> FinishReason {
        self.rows[row].reason.unwrap_or(FinishReason::Cancelled)
    }
}

/// Reads values as float32, whatever the model computes in.
pub(crate) async fn read<const R: usize>(values: Tensor<R>) -> Result<Vec<f32>, GenerateError> {
    floats(values.into_data_async().await.map_err(|e| GenerateError::Device(e.to_string()))?)
}

/// What a read-back that brought nothing is taken for.
fn empty() -> TensorData {
    TensorData::new(Vec::<f32>::new(), [0])
}

/// Read-back ids; where no token could be chosen, the kernel wrote all ones.
fn integers(data: TensorData) -> Result<Vec<u32>, GenerateError> {
    let ids: Vec<i32> = data.try_into_vec().map_err(|e| GenerateError::Device(format!("{e:?}")))?;
    Ok(ids.into_iter().map(|id| id as u32).collect())
}

/// Read-back values as float32, whatever the model computes in.
fn floats(data: TensorData) -> Result<Vec<f32>, GenerateError> {
    data.convert_dtype(DType::F32).try_into_vec().map_err(|e| GenerateError::Device(format!("{e:?}")))
}
