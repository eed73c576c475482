//! A question with its pictures and its answer as one sequence to train on.

use std::ops::Range;

use anyhow::{Context, Result};
use burn::tensor::Tensor;
use wethink_model::{Economy, Features, Launches, Model, Prompt};
use wethink_processor::{Encoded, Message, Options, Picture, Processor};

/// What ends the assistant's turn in the template of Qwen2.5: learned like the answer itself.
pub const END_OF_TURN: &str = "<|im_end|>\n";

/// One sequence: prompt, then response.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Index of the row it was made from.
    pub row: usize,
    encoded: Encoded,
    /// Places of the response within the ids.
    pub response: Range<usize>,
}

impl Sample {
    /// Makes a sequence of a chat and the text that answers it.
    ///
    /// Prompt and response are turned into ids apart: what is learned is the continuation of exactly the ids that generation
    /// starts from. The response carries on the positions of the prompt.
    pub fn new(
        processor: &Processor,
        row: usize,
        messages: &[Message],
        pictures: &[Picture],
        target: &str,
        options: &Options,
    ) -> Result<Self> {
        let mut encoded = processor.process(messages, pictures, options)?;
        let response = processor.tokenizer.encode(&format!("{target}{END_OF_TURN}"))?;
        let start = encoded.ids.len();
        for (place, id) in (start..).zip(&response) {
            let position = u32::try_from(place as i64 + encoded.rope_delta);
            encoded.positions.push([position.context("a position below 0")?; 3]);
            encoded.ids.push(*id);
        }
        Ok(Self { row, response: start..encoded.ids.len(), encoded })
    }

    /// The sequence as the model takes it.
    pub fn prompt(&self) -> Prompt<'_> {
        let Encoded { ids, positions, pixel_values, grids, .. } = &self.encoded;
        Prompt { ids, positions, patches: pixel_values, grids }
    }

    /// Tokens, prompt and response together.
    pub fn tokens(&self) -> usize {
        self.encoded.ids.len()
    }
}

/// Log-probabilities of the responses, row after row: `[N]`, N the number of all their tokens.
pub fn logprobs(model: &Model, samples: &[Sample]) -> Result<Tensor<1>> {
    logprobs_within(model, samples.iter(), &Economy::default(), None)
}

/// The same laid out by `economy`; `features` keeps what a frozen tower makes of pictures.
pub fn logprobs_within<'a>(
    model: &Model,
    samples: impl Iterator<Item = &'a Sample>,
    economy: &Economy,
    features: Option<&mut dyn Features>,
) -> Result<Tensor<1>> {
    let (prompts, wanted): (Vec<_>, Vec<_>) =
        samples.map(|sample| (sample.prompt(), sample.response.clone())).unzip();
    Ok(model.logprobs_within(&prompts, &wanted, 1.0, economy, features, &mut Launches::new())?)
}
