//! The stream of prompts: all rows, shuffled anew for every epoch, one epoch after another.
//!
//! Where a run stands in it is one number, the rows drawn so far; it is also what tells two draws of one row apart.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use wethink_model::{Prompt, Request};
use wethink_processor::{Encoded, Options, Processor};

use super::recipe::Data;
use crate::train::feed::order;
use crate::train::rows::Rows;

/// A row, ready to be asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Index of the row.
    pub row: usize,
    /// How many rows were drawn before it: its address in every random draw.
    pub drawn: u64,
    /// Ids, positions and patches.
    pub encoded: Arc<Encoded>,
}

impl Question {
    /// The prompt as the model takes it.
    pub fn prompt(&self) -> Prompt<'_> {
        let Encoded { ids, positions, pixel_values, grids, .. } = &*self.encoded;
        Prompt { ids, positions, patches: pixel_values, grids }
    }

    /// So many responses to it. The address of a draw has 32 bits for the prompt: a run that draws more rows than that uses
    /// them anew, at other steps.
    pub fn request(&self, samples: u32) -> Request<'_> {
        Request { prompt: self.prompt(), key: self.drawn as u32, samples }
    }

    /// Prompt and response as one sequence to train on. The ids are those that were sampled: text is never turned into ids
    /// again. The response carries on the prompt's positions.
    pub fn answered(&self, response: &[u32]) -> Result<Sequence> {
        let Encoded { ids, positions, rope_delta, .. } = &*self.encoded;
        let (start, mut ids, mut positions) = (ids.len(), ids.clone(), positions.clone());
        for place in start..start + response.len() {
            let position = u32::try_from(place as i64 + rope_delta).context("a position below 0")?;
            positions.push([position; 3]);
        }
        ids.extend_from_slice(response);
        Ok(Sequence { encoded: Arc::clone(&self.encoded), response: start..ids.len(), ids, positions })
    }
}

/// A prompt with a response.
#[derive(Debug, Clone)]
pub struct Sequence {
    encoded: Arc<Encoded>,
    ids: Vec<u32>,
    positions: Vec<[u32; 3]>,
    /// Places of the response within the ids.
    pub response: Range<usize>,
}

impl Sequence {
    /// The sequence as the model takes it.
    pub fn prompt(&self) -> Prompt<'_> {
        let Encoded { pixel_values, grids, .. } = &*self.encoded;
        Prompt { ids: &self.ids, positions: &self.positions, patches: pixel_values, grids }
    }

    /// Tokens, prompt and response together.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

/// Where the stream stands.
pub struct Stream<'a> {
    rows: &'a Rows,
    processor: &'a Processor,
    data: &'a Data,
    seed: u64,
    /// Rows drawn, those left out included.
    pub drawn: u64,
    /// Rows left out for their length.
    pub dropped: u64,
}

impl<'a> Stream<'a> {
    /// The stream after `drawn` rows.
    pub fn new(rows: &'a Rows, processor: &'a Processor, data: &'a Data, seed: u64, drawn: u64) -> Self {
        Self { rows, processor, data, seed, drawn, dropped: 0 }
    }

    /// The next `count` prompts that are not too long.
    pub fn next(&mut self, count: usize) -> Result<Vec<Question>> {
        let (start, limit) = (self.drawn, self.data.max_prompt_tokens);
        let options = options(self.data);
        let mut questions = Vec::with_capacity(count);
        while questions.len() < count {
            let wanted = (count - questions.len()) as u64;
            let drawn: Vec<(u64, usize)> =
                (self.drawn..self.drawn + wanted).zip(self.places(wanted)).collect();
            self.drawn += wanted;
            let (rows, processor) = (self.rows, self.processor);
            let made = drawn.into_par_iter().map(|(drawn, row)| {
                let pictures = rows.pictures(row)?;
                let encoded = processor.process(&rows.messages(row), &pictures, &options);
                let encoded = Arc::new(encoded.with_context(|| rows.place(row))?);
                anyhow::Ok(Question { row, drawn, encoded })
            });
            let made: Vec<Question> = made.collect::<Result<_>>()?;
            let before = questions.len() + made.len();
            questions.extend(made.into_iter().filter(|question| question.encoded.ids.len() <= limit));
            self.dropped += (before - questions.len()) as u64;
            // Any two epochs' worth of draws in a row hold a whole epoch.
            if questions.is_empty() && self.drawn - start >= 2 * self.rows.len() as u64 {
                bail!("every prompt is longer than data.max_prompt_tokens, {limit}; raise it");
            }
        }
        Ok(questions)
    }

    /// Rows of the next draws.
    fn places(&self, count: u64) -> Vec<usize> {
        let rows = self.rows.len() as u64;
        let mut epoch: Option<(u64, Vec<usize>)> = None;
        let draws = self.drawn..self.drawn + count;
        let row = draws.map(|draw| {
            let number = draw / rows;
            if epoch.as_ref().is_none_or(|(known, _)| *known != number) {
                epoch = Some((number, order(self.seed, number, self.rows.len())));
            }
            epoch.as_ref().map_or(0, |(_, order)| order[(draw % rows) as usize])
        });
        row.collect()
    }
}

/// How a recipe's prompts are made.
pub fn options(data: &Data) -> Options {
    Options { min_pixels: data.min_pixels, max_pixels: data.max_pixels, ..Options::default() }
}
