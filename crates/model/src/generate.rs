//! Generation by pull: the caller asks for the next token of every row when it wants one, and stops by not asking.

use burn::tensor::{DType, Int, Tensor, TensorData, Transaction};
use wethink_kernels::{argmax, logprobs, runs_wgsl};

use crate::sampling::{Choice, SamplingError};
use crate::{KvCache, Launches, Model, Prefill, Prompt, PromptError, Sampling, uniform};

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
    prefill: Prefill,
}

struct RowState {
    key: Row,
    prompt_len: usize,
    /// Prompt and answer: what the repetition penalty looks at.
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    reason: Option<FinishReason>,
}

impl RowState {
    fn answer(&self) -> &[u32] {
        &self.ids[self.prompt_len..]
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
        let states = rows.iter().zip(prompts).map(|(&key, prompt)| RowState {
            key,
            prompt_len: prompt.ids.len(),
            ids: prompt.ids.to_vec(),
            logprobs: Vec::new(),
            reason: (options.max_new_tokens == 0).then_some(FinishReason::Length),
        });
        let rows = states.collect();
        let logits = Some(prefill.logits.clone());
        Ok(Self { model, cache, launches, options, detokenize, rows, logits, prefill })
    }

    /// The next token of every unfinished row, or `None` when all have ended.
    pub async fn next(&mut self) -> Result<Option<Vec<Token>>, GenerateError> {
        if self.rows.iter().all(|row| row.reason.is_some()) {
            return Ok(None);
        }
        let logits = match self.logits.take() {
            Some(logits) => logits,
            None => {
                let last = |row: &RowState| row.reason.is_none().then(|| row.ids.last().copied()).flatten();
                let tokens: Vec<Option<u32>> = self.rows.iter().map(last).collect();
                self.model.step(&tokens, self.cache, self.launches)?
            }
        };
        let open: Vec<usize> = (0..self.rows.len()).filter(|&row| self.rows[row].reason.is_none()).collect();
        let choices = match self.best_on_device(&logits).await? {
            Some(choices) if open.iter().all(|&row| !self.early(row).contains(&choices[row].id)) => {
                open.iter().map(|&row| choices[row]).collect()
            }
            _ => self.choose_here(logits, &open).await?,
        };
        let mut tokens = Vec::with_capacity(open.len());
        for (&row, choice) in open.iter().zip(choices) {
            self.push(row, choice);
            tokens.push(Token { row, id: choice.id, logprob: choice.logprob });
        }
        Ok(Some(tokens))
    }

    /// The best token of every row, found on a device whose logits are far away: eight bytes a row come back instead of
    /// the whole vocabulary. Only greedy rows without a penalty can be decided there.
    async fn best_on_device(&mut self, logits: &Tensor<2>) -> Result<Option<Vec<Choice>>, GenerateError> {
        let sampling = &self.options.sampling;
        if !runs_wgsl(logits) || sampling.temperature != 0.0 || sampling.repetition_penalty != 1.0 {
            return Ok(None);
        }
        let config = self.model.config();
        let banned = [config.image_token_id, config.video_token_id];
        let ids: Tensor<1, Int> = argmax(logits.clone(), banned, self.launches);
        let chosen = logprobs(logits.clone(), ids.clone(), 1.0, self.launches);
        let read = Transaction::default().register(ids).register(chosen).execute_async().await;
        let mut read = read.map_err(|e| GenerateError::Device(e.to_string()))?.into_iter();
        let ids = integers(read.next().unwrap_or_else(empty))?;
        let chosen = floats(read.next().unwrap_or_else(empty))?;
        if ids.iter().any(|&id| id as usize >= config.text.vocab_size) {
            return Err(SamplingError::NotFinite.into());
        }
        Ok(Some(ids.into_iter().zip(chosen).map(|(id, logprob)| Choice { id, logprob }).collect()))
    }

    /// Reads the logits and chooses on the CPU.
    async fn choose_here(&self, logits: Tensor<2>, rows: &[usize]) -> Result<Vec<Choice>, GenerateError> {
        let vocab = logits.dims()[1];
        let data = logits.into_data_async().await.map_err(|e| GenerateError::Device(e.to_string()))?;
        let values = floats(data)?;
        rows.iter().map(|&row| Ok(self.choose(row, &values[row * vocab..(row + 1) * vocab])?)).collect()
    }

    /// Stop ids that a row must not choose yet.
    fn early(&self, row: usize) -> &[u32] {
        let soon = self.rows[row].answer().len() < self.options.min_new_tokens;
        if soon { &self.options.stop_ids } else { &[] }
    }

    fn choose(&self, row: usize, logits: &[f32]) -> Result<Choice, SamplingError> {
        let state = &self.rows[row];
        let position = state.answer().len();
        let config = self.model.config();
        let banned = [config.image_token_id, config.video_token_id];
        let banned = banned.into_iter().chain(self.early(row).iter().copied());
        let draw = || {
            uniform(self.options.seed, self.options.step, state.key.prompt, state.key.sample, position as u32)
        };
        self.options.sampling.choose(logits, &state.ids, banned, draw)
    }

    fn push(&mut self, row: usize, choice: Choice) {
        let state = &mut self.rows[row];
        state.ids.push(choice.id);
        state.logprobs.push(choice.logprob);
        let text =
            |state: &RowState| self.detokenize.map_or_else(String::new, |decode| decode(state.answer()));
        let stops = &self.options.stop_strings;
        if self.options.stop_ids.contains(&choice.id)
            || (!stops.is_empty() && {
                let text = text(state);
                stops.iter().any(|stop| text.contains(stop))
            })
        {
            state.reason = Some(FinishReason::Stop);
        } else if state.answer().len() >= self.options.max_new_tokens {
            state.reason = Some(FinishReason::Length);
        }
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
