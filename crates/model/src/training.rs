//! What training asks of the model: the log-probabilities of tokens that are known, each given all tokens before it.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use wethink_kernels::{SCORES_AT_ONCE, argmax, logprobs};

use crate::model::places;
use crate::recompute::Bare;
use crate::{Launches, Linear, Model, Prompt, PromptError};

/// How a pass lies in memory. None of it changes a result beyond rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Economy {
    /// Rows lie one after another without padding, each with its own positions and attending to itself alone.
    pub packed: bool,
    /// A backward pass computes every tracked layer again from its input (arXiv 1604.06174) instead of keeping what happens
    /// within: a third more arithmetic.
    pub recompute_layers: bool,
    /// Values of float32 that one attention's scores, or the logits, may take at once. What needs more goes in chunks, and a
    /// backward pass computes each of them again: neither T x T nor N x V is ever held.
    pub at_once: usize,
}

impl Default for Economy {
    /// Padded rows, nothing computed twice but what exceeds 64 MiB.
    fn default() -> Self {
        Self { packed: false, recompute_layers: false, at_once: SCORES_AT_ONCE }
    }
}

/// A store of what a frozen tower makes of pictures. The features of a picture that is computed alone depend on nothing but
/// it, so that they are the same whether they were kept or not.
pub trait Features {
    /// The features, `[N, C]`, of the picture with these patch values and this grid (t, h, w): kept ones, or else those that
    /// `compute` gives.
    fn of(&mut self, patches: &[f32], grid: [usize; 3], compute: &mut dyn FnMut() -> Tensor<2>) -> Tensor<2>;
}

/// What a model says of tokens that are known.
#[derive(Debug, Clone)]
pub struct Forced {
    /// Log-probability of each, `[N]`.
    pub logprobs: Tensor<1>,
    /// The id that would have been best in its place, `[N]`.
    pub best: Tensor<1, Int>,
}

impl Model {
    /// `log p(ids[t] | ids[..t])` under softmax(logits / temperature) for every `t` in `wanted[b]` of every row `b`.
    ///
    /// Rows are whole sequences, prompt and response in one; `wanted` are places within them, by which masks come from
    /// lengths and never from the values of tokens. Returns `[N]` in float32, the rows' places one after another, N the
    /// number of all places. Logits are computed for these places only.
    ///
    /// Differentiable in every tracked parameter. Parts without a tracked parameter before them are computed as in
    /// generation, without a record: a frozen tower costs its forward pass and no memory.
    ///
    /// # Panics
    ///
    /// If a range starts at 0, where nothing comes before, or leaves its row: ranges are the caller's own counting.
    pub fn logprobs(
        &self,
        rows: &[Prompt],
        wanted: &[Range<usize>],
        temperature: f64,
        launches: &mut Launches,
    ) -> Result<Tensor<1>, PromptError> {
        self.logprobs_within(rows, wanted, temperature, &Economy::default(), None, launches)
    }

    /// As [`Model::logprobs`], laid out by `economy`. `features` keeps what the tower makes of pictures: it must be frozen.
    ///
    /// # Panics
    ///
    /// As [`Model::logprobs`].
    pub fn logprobs_within(
        &self,
        rows: &[Prompt],
        wanted: &[Range<usize>],
        temperature: f64,
        economy: &Economy,
        features: Option<&mut dyn Features>,
        launches: &mut Launches,
    ) -> Result<Tensor<1>, PromptError> {
        let (before, ids) = self.before(rows, wanted, economy, features, launches)?;
        let (count, head) = (ids.dims()[0], self.output());
        let rows = (economy.at_once / self.config().text.vocab_size).max(1);
        if count <= rows {
            return Ok(logprobs(head.forward(before), ids, temperature, launches));
        }
        let head = Bare::new(&head);
        let chunks = (0..count).step_by(rows).map(|from| {
            let rows = rows.min(count - from);
            let (before, ids) = (before.clone().narrow(0, from, rows), ids.clone().narrow(0, from, rows));
            let run = move |head: &Linear, before: Tensor<2>, launches: &mut Launches| {
                logprobs(head.forward(before), ids.clone(), temperature, launches)
            };
            head.recomputed(before, [rows], run, launches)
        });
        Ok(Tensor::cat(chunks.collect(), 0))
    }

    /// Forced decoding: log-probabilities of the wanted tokens at temperature 1 and the best token of each place.
    ///
    /// # Panics
    ///
    /// As [`Model::logprobs`].
    pub fn forced(
        &self,
        rows: &[Prompt],
        wanted: &[Range<usize>],
        launches: &mut Launches,
    ) -> Result<Forced, PromptError> {
        let (before, ids) = self.before(rows, wanted, &Economy::default(), None, launches)?;
        let logits = self.head(before, launches);
        let config = self.config();
        let banned = [config.image_token_id, config.video_token_id];
        let best = argmax(logits.clone(), banned, launches);
        Ok(Forced { logprobs: logprobs(logits, ids, 1.0, launches), best })
    }

    /// Hidden states that the wanted tokens follow from, `[N, C]`, and these tokens' ids.
    fn before(
        &self,
        rows: &[Prompt],
        wanted: &[Range<usize>],
        economy: &Economy,
        features: Option<&mut dyn Features>,
        launches: &mut Launches,
    ) -> Result<(Tensor<2>, Tensor<1, Int>), PromptError> {
        assert_eq!(rows.len(), wanted.len(), "one range per row");
        let (hidden, _) = self.hidden(rows, economy, features, launches, None)?;
        let [batch, width, channels] = hidden.dims();
        let counts: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
        let mut before = Vec::new();
        let mut ids = Vec::new();
        for ((prompt, range), first) in rows.iter().zip(wanted).zip(places(&counts, economy.packed)) {
            assert!(range.start > 0 && range.end <= prompt.ids.len(), "{range:?} of {}", prompt.ids.len());
            before.extend(range.clone().map(|place| (first + place - 1) as i32));
            ids.extend(prompt.ids[range.clone()].iter().map(|&id| id as i32));
        }
        let device = self.device();
        let integers = |values: Vec<i32>| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
        };
        let before = hidden.reshape([batch * width, channels]).select(0, integers(before));
        Ok((before, integers(ids)))
    }
}
