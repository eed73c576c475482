//! Measurements on rows that are not trained on, and which of them is the best.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use super::gradients::scalar;
use super::rows::Rows;
use super::samples::{Sample, logprobs};
use super::store::{Best, State};
use crate::answers::{Answer, Asker};

/// What a measurement says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validated {
    /// Mean over the targets of all held-out rows of `-log p`.
    pub loss: f32,
    /// Share of answers that the rule accepts, if any row was answered.
    pub accuracy: Option<f32>,
    /// Rows answered.
    pub answers: usize,
    /// Answers in which none could be found.
    pub unparsed: usize,
    /// Answers cut at their limit.
    pub truncated: usize,
}

/// Measures the loss on all `rows` but those beyond `max_tokens`, and answers the first `answers` of them.
pub fn validate(
    asker: &Asker,
    rows: &Rows,
    max_tokens: usize,
    answers: usize,
) -> Result<(Validated, Vec<Answer>)> {
    let (mut sum, mut targets) = (0.0, 0);
    let all: Vec<usize> = (0..rows.len()).collect();
    for part in all.chunks(asker.batch) {
        let samples = part.iter().map(|&row| rows.sample(asker.processor, row, &asker.options));
        let mut samples: Vec<Sample> = samples.collect::<Result<_>>()?;
        samples.retain(|sample| sample.tokens() <= max_tokens);
        if !samples.is_empty() {
            sum -= scalar(logprobs(asker.model, &samples)?.sum());
            targets += samples.iter().map(|sample| sample.response.len()).sum::<usize>();
        }
    }
    let answers = asker.answer(rows, &all[..answers.min(all.len())], &mut |_| true)?;
    Ok((Validated::of((sum / targets as f64) as f32, &answers), answers))
}

impl Validated {
    /// A loss, and what became of the answers.
    pub fn of(loss: f32, answers: &[Answer]) -> Self {
        let count = |holds: fn(&Answer) -> bool| answers.iter().filter(|answer| holds(answer)).count();
        let accepted = count(|answer| answer.accepted) as f32;
        Self {
            loss,
            accuracy: (!answers.is_empty()).then(|| accepted / answers.len() as f32),
            answers: answers.len(),
            unparsed: count(|answer| !answer.parsed),
            truncated: count(|answer| answer.truncated),
        }
    }

    /// Enters the measurement, and says whether it is the best so far: by accuracy where answers are judged, and by loss
    /// between equals. A loss that is no number is never the best.
    pub fn enter(&self, state: &mut State) -> bool {
        let &Self { loss, accuracy, .. } = self;
        let better = !loss.is_nan()
            && state.best.as_ref().is_none_or(|best| {
                let by_accuracy = accuracy.unwrap_or(0.0).total_cmp(&best.accuracy.unwrap_or(0.0));
                by_accuracy.then(best.loss.total_cmp(&loss)).is_gt()
            });
        state.since_best = if better { 0 } else { state.since_best + 1 };
        if better {
            state.best = Some(Best { step: state.step, accuracy, loss });
        }
        better
    }
}

impl fmt::Display for Validated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "validation loss {:.4}", self.loss)?;
        if let Some(accuracy) = self.accuracy {
            write!(f, ", {:.1} % of {} answers accepted", 100.0 * accuracy, self.answers)?;
            write!(f, " ({} unparsed, {} cut off)", self.unparsed, self.truncated)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_most_accurate_then_the_lowest_loss() {
        let mut state = State::default();
        let mut enter = |step, loss, accuracy| {
            state.step = step;
            let validated = Validated { loss, accuracy, answers: 9, unparsed: 0, truncated: 0 };
            let better = validated.enter(&mut state);
            (better, state.since_best)
        };
        assert_eq!(enter(1, f32::NAN, Some(0.5)), (false, 1));
        assert_eq!(enter(2, 2.0, Some(0.5)), (true, 0));
        assert_eq!(enter(3, 1.0, Some(0.4)), (false, 1));
        assert_eq!(enter(4, 2.0, Some(0.5)), (false, 2));
        assert_eq!(enter(5, 1.9, Some(0.5)), (true, 0));
        assert_eq!(enter(6, 3.0, Some(0.6)), (true, 0));
        assert_eq!(state.best.expect("the last").step, 6);
    }
}
