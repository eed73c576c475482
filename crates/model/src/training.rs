//! What training asks of the model: the log-probabilities of tokens that are known, each given all tokens before it.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use wethink_kernels::logprobs;

use crate::{Launches, Model, Prompt, PromptError};

impl Model {
    /// `log p(ids[t] | ids[..t])` under softmax(logits / temperature) for every `t` in `wanted[b]` of every row `b`.
    ///
    /// Rows are whole sequences, prompt and response in one; `wanted` are places within them, by which masks come from
    /// lengths and never from the values of tokens. Returns `[N]` in float32, the rows' places one after another, N the
    /// number of all places. Logits are computed for these places only: `[N, V]` is the largest tensor of a pass.
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
        assert_eq!(rows.len(), wanted.len(), "one range per row");
        let (hidden, _) = self.hidden(rows, launches, None)?;
        let [batch, width, channels] = hidden.dims();
        let mut places = Vec::new();
        let mut ids = Vec::new();
        for (row, (prompt, range)) in rows.iter().zip(wanted).enumerate() {
            assert!(range.start > 0 && range.end <= prompt.ids.len(), "{range:?} of {}", prompt.ids.len());
            places.extend(range.clone().map(|place| (row * width + place - 1) as i32));
            ids.extend(prompt.ids[range.clone()].iter().map(|&id| id as i32));
        }
        let device = self.device();
        let integers = |values: Vec<i32>| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
        };
        let before = hidden.reshape([batch * width, channels]).select(0, integers(places)); // [N, C]
        Ok(logprobs(self.head(before), integers(ids), temperature, launches))
    }
}
