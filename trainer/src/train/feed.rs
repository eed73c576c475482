//! The stream of batches: all rows, shuffled anew for every epoch, one epoch after another.
//!
//! A batch depends on the seed and on how many rows were drawn before it, and on nothing else: where a run stands in its data
//! is one number. Batches are made by all cores while the device computes the one before.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use anyhow::{Result, bail};
use rayon::prelude::*;
use wethink_model::uniform;
use wethink_processor::{Options, Processor};

use super::recipe::{Overlong, Recipe};
use super::rows::Rows;
use super::samples::Sample;

/// Keeps the draws of shuffling apart from those of generation, whose samples are counted from 0.
const SHUFFLING: u32 = u32::MAX;

/// The samples of one step.
#[derive(Debug)]
pub struct Batch {
    /// The samples, in the order drawn.
    pub samples: Vec<Sample>,
    /// Rows drawn for it, those left out included.
    pub drawn: u64,
    /// Rows left out for their length.
    pub dropped: u64,
}

impl Batch {
    /// Targets of all samples.
    pub fn targets(&self) -> usize {
        self.samples.iter().map(|sample| sample.response.len()).sum()
    }

    /// Tokens of all samples.
    pub fn tokens(&self) -> usize {
        self.samples.iter().map(Sample::tokens).sum()
    }
}

/// The order of an epoch over `rows` rows: sorted by a draw for each row.
pub fn order(seed: u64, epoch: u64, rows: usize) -> Vec<usize> {
    let draw = |&row: &usize| uniform(seed, epoch as u32, row as u32, SHUFFLING, 0).to_bits();
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by_cached_key(draw);
    order
}

/// Where the stream stands.
struct Feed<'a> {
    rows: &'a Rows,
    processor: &'a Processor,
    recipe: &'a Recipe,
    drawn: u64,
    epoch: Option<(u64, Vec<usize>)>,
}

impl Feed<'_> {
    fn next_row(&mut self) -> usize {
        let count = self.rows.len() as u64;
        let (epoch, place) = (self.drawn / count, (self.drawn % count) as usize);
        self.drawn += 1;
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.epoch = Some((epoch, order(self.recipe.seed, epoch, self.rows.len())));
        }
        self.epoch.as_ref().map_or(place, |(_, order)| order[place])
    }

    fn next_batch(&mut self) -> Result<Batch> {
        let (data, start) = (&self.recipe.data, self.drawn);
        let options = options(self.recipe);
        let mut batch = Batch { samples: Vec::new(), drawn: 0, dropped: 0 };
        while batch.samples.len() < self.recipe.train.batch {
            let wanted = self.recipe.train.batch - batch.samples.len();
            let drawn: Vec<usize> = (0..wanted).map(|_| self.next_row()).collect();
            let samples: Vec<Sample> = drawn
                .into_par_iter()
                .map(|row| self.rows.sample(self.processor, row, &options))
                .collect::<Result<_>>()?;
            for sample in samples {
                if sample.tokens() <= data.max_tokens {
                    batch.samples.push(sample);
                    continue;
                }
                if data.overlong == Overlong::Refuse {
                    bail!(
                        "{}: {} tokens are more than data.max_tokens, {}; raise it, shrink pictures by \
                         data.max_pixels, or set data.overlong to \"drop\"",
                        self.rows.place(sample.row),
                        sample.tokens(),
                        data.max_tokens
                    );
                }
                batch.dropped += 1;
            }
            // Any two epochs' worth of draws in a row hold a whole epoch.
            if batch.samples.is_empty() && self.drawn - start >= 2 * self.rows.len() as u64 {
                bail!("every row is longer than data.max_tokens, {}; raise it", data.max_tokens);
            }
        }
        batch.drawn = self.drawn - start;
        Ok(batch)
    }
}

/// How a recipe's samples are made.
pub fn options(recipe: &Recipe) -> Options {
    let data = &recipe.data;
    Options { min_pixels: data.min_pixels, max_pixels: data.max_pixels, ..Options::default() }
}

/// The batches after `drawn` rows, made ahead of their use. The maker ends with the receiver, or with its first error.
pub fn batches<'scope>(
    scope: &'scope Scope<'scope, '_>,
    rows: &'scope Rows,
    processor: &'scope Processor,
    recipe: &'scope Recipe,
    drawn: u64,
) -> Receiver<Result<Batch>> {
    let (sender, receiver) = sync_channel(1);
    let mut feed = Feed { rows, processor, recipe, drawn, epoch: None };
    scope.spawn(move || {
        loop {
            let batch = feed.next_batch();
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                break;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_is_another_permutation_and_the_same_again() {
        let (first, second) = (order(7, 0, 100), order(7, 1, 100));
        for order in [&first, &second] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        }
        assert_ne!(first, second);
        assert_ne!(first, (0..100).collect::<Vec<_>>());
        assert_eq!(first, order(7, 0, 100));
        assert_ne!(first, order(8, 0, 100));
    }
}
