//! A step's prompts, answered and rewarded: what an update learns from.

use std::sync::mpsc::channel;
use std::time::Instant;

use anyhow::{Context, Result};
use pollster::block_on;
use wethink_model::{Counts, Features, FinishReason, Launches, Model, Options, Request, Rollout};
use wethink_processor::Processor;

use super::prompts::{Question, Sequence, Stream};
use super::recipe::{Filter, Measure, Recipe};
use super::rewards::{Ended, Scored, Scorer, Scores};
use super::update::Kept;
use crate::score::hearing::Conduct;
use crate::train::advantage::{advantages, has_signal};

/// A response with everything that is known of it.
#[derive(Debug, Clone)]
pub struct Response {
    /// Index of its row.
    pub row: usize,
    /// Which of its prompt's samples.
    pub sample: u32,
    /// Prompt and response.
    pub sequence: Sequence,
    /// log p of each of its tokens, as it was sampled.
    pub logprobs: Vec<f32>,
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub finish: FinishReason,
    /// What it is worth.
    pub scored: Scored,
    /// `None` where it is not trained on: without a reward, passed over, or masked.
    pub advantage: Option<f64>,
}

impl Response {
    /// Token ids.
    pub fn ids(&self) -> &[u32] {
        &self.sequence.prompt().ids[self.sequence.response.clone()]
    }

    /// Whether it was cut at its limit.
    pub fn truncated(&self) -> bool {
        self.finish == FinishReason::Length
    }
}

/// Groups of responses to one prompt each, and what they took.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Every response, group after group.
    pub responses: Vec<Response>,
    /// Groups that are learned from, by their place.
    pub kept: Vec<usize>,
    /// Rows drawn.
    pub drawn: u64,
    /// Rows left out for their length.
    pub dropped: u64,
    /// Times that prompts were drawn.
    pub rounds: u64,
    /// Groups whose rewards are all equal.
    pub without_signal: usize,
    /// Groups passed over since they lie below the band, or nothing was measured of them.
    pub below: usize,
    /// Groups passed over since they lie above it.
    pub above: usize,
    /// What the band measures, of each group that has it.
    pub measured: Vec<f64>,
    /// What sampling took.
    pub counts: Counts,
    /// Seconds of sampling.
    pub sampling: f64,
    /// Seconds that rewards were waited for after sampling.
    pub waiting: f64,
    /// Of the judge.
    pub conduct: Conduct,
}

/// Who draws, answers and scores.
pub struct Gatherer<'a> {
    /// What a run was asked to do.
    pub recipe: &'a Recipe,
    /// Text of ids.
    pub processor: &'a Processor,
    /// Ids that end a response.
    pub stop_ids: &'a [u32],
    /// Who scores.
    pub scorer: &'a Scorer<'a>,
}

impl Gatherer<'_> {
    /// Draws prompts until a step has enough that teach something, at most so often as the recipe says. `None` if Ctrl-C ended
    /// the wait for a judge.
    pub fn gather(
        &self,
        model: &Model,
        kept: &mut Kept,
        mut stream: Stream,
        step: u64,
    ) -> Result<Option<Gathered>> {
        let Filter { rounds, .. } = self.recipe.filter;
        let (wanted, start) = (self.recipe.train.prompts, stream.drawn);
        let mut gathered = Gathered::default();
        while gathered.kept.len() < wanted && gathered.rounds <= rounds {
            let questions = stream.next(wanted - gathered.kept.len())?;
            let Some(responses) = self.answer(model, kept, &questions, step, &mut gathered)? else {
                return Ok(None);
            };
            let first = gathered.responses.len() / self.recipe.rollout.group;
            for (place, group) in responses.chunks(self.recipe.rollout.group).enumerate() {
                let rewards: Vec<_> = group.iter().map(|response| response.scored.score.reward).collect();
                let signal = has_signal(&rewards);
                gathered.without_signal += usize::from(!signal);
                let within = self.within(group, &mut gathered);
                if rounds == 0 || (signal && within) {
                    gathered.kept.push(first + place);
                }
            }
            gathered.responses.extend(responses);
            gathered.rounds += 1;
        }
        (gathered.drawn, gathered.dropped) = (stream.drawn - start, stream.dropped);
        self.weigh(&mut gathered);
        Ok(Some(gathered))
    }

    /// Whether a group lies in the band. What is measured is entered, and where it lies if not within.
    fn within(&self, group: &[Response], gathered: &mut Gathered) -> bool {
        let Filter { by, rounds, low, high } = self.recipe.filter;
        let scored =
            group.iter().map(|response| &response.scored.score).filter(|score| score.reward.is_some());
        let measured: Vec<f64> = match by {
            Measure::Reward => scored.filter_map(|score| score.reward).collect(),
            Measure::Accuracy => scored.map(|score| score.accuracy).collect(),
        };
        let mean = measured.iter().sum::<f64>() / measured.len() as f64;
        gathered.measured.extend(mean.is_finite().then_some(mean));
        let (above, within) = (mean >= high, mean > low && mean < high);
        if rounds > 0 {
            gathered.above += usize::from(above);
            gathered.below += usize::from(!above && !within);
        }
        within
    }

    /// Advantages of the groups that are learned from. All of them count in a deviation over the batch, and only they.
    fn weigh(&self, gathered: &mut Gathered) {
        let size = self.recipe.rollout.group;
        let groups = || gathered.kept.iter().flat_map(|&group| group * size..(group + 1) * size);
        let rewards: Vec<_> = groups().map(|place| gathered.responses[place].scored.score.reward).collect();
        let places: Vec<usize> = groups().collect();
        let weighed = advantages(self.recipe.train.advantage, &rewards, size);
        for (place, advantage) in places.into_iter().zip(weighed) {
            let response = &mut gathered.responses[place];
            let masked = self.recipe.train.mask_truncated && response.truncated();
            response.advantage = advantage.filter(|_| !masked);
        }
    }

    /// Responses to the questions, G after G, each scored while others are still sampled.
    fn answer(
        &self,
        model: &Model,
        kept: &mut Kept,
        questions: &[Question],
        step: u64,
        gathered: &mut Gathered,
    ) -> Result<Option<Vec<Response>>> {
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            let scorer = scope.spawn(move || self.scorer.run(&receiver));
            let started = Instant::now();
            let sampled = self.sample(model, kept, questions, step, &mut gathered.counts, &|ended| {
                // A scorer that has ended says why when it is joined.
                let _ = sender.send(ended);
            });
            drop(sender);
            gathered.sampling += started.elapsed().as_secs_f64();
            let started = Instant::now();
            let scores = scorer.join().map_err(|_| anyhow::anyhow!("the scorer of responses ended early"))?;
            gathered.waiting += started.elapsed().as_secs_f64();
            let (mut sampled, Some(Scores { scored, conduct, .. })) = (sampled?, scores?) else {
                return Ok(None);
            };
            gathered.conduct.add(&conduct);
            for ((_, scored), response) in scored.into_iter().zip(&mut sampled) {
                response.scored = Some(scored);
            }
            let whole = |sampled: Sampled| sampled.whole();
            sampled.into_iter().map(whole).collect::<Result<_>>().map(Some)
        })
    }

    fn sample(
        &self,
        model: &Model,
        kept: &mut Kept,
        questions: &[Question],
        step: u64,
        counts: &mut Counts,
        ended: &dyn Fn(Ended),
    ) -> Result<Vec<Sampled>> {
        let rollout = &self.recipe.rollout;
        let group = rollout.group as u32;
        let requests: Vec<Request> = questions.iter().map(|question| question.request(group)).collect();
        let options = Options {
            sampling: self.recipe.sampling(),
            max_new_tokens: rollout.max_new_tokens,
            min_new_tokens: 0,
            stop_ids: self.stop_ids.to_vec(),
            stop_strings: Vec::new(),
            seed: self.recipe.seed,
            step: step as u32,
        };
        let mut launches = Launches::new();
        let features = kept.as_mut().map(|store| store as &mut dyn Features);
        let mut running = Rollout::new(model, &requests, rollout.rows, options, features, &mut launches)?;
        let mut sampled: Vec<Option<Sampled>> = vec![None; questions.len() * rollout.group];
        while let Some(sequences) = block_on(running.next())? {
            for sequence in sequences {
                let question = &questions[sequence.request];
                let place = sequence.request * rollout.group + sequence.sample as usize;
                let tokens = sequence.ids.len();
                let text = self.processor.tokenizer.decode(spoken(&sequence.ids, self.stop_ids), false)?;
                ended(Ended { place, row: question.row, text: text.clone(), tokens });
                sampled[place] = Some(Sampled {
                    row: question.row,
                    sample: sequence.sample,
                    sequence: question.answered(&sequence.ids)?,
                    logprobs: sequence.logprobs,
                    text,
                    finish: sequence.reason,
                    scored: None,
                });
            }
        }
        add(counts, running.counts());
        sampled.into_iter().map(|sampled| sampled.context("a response has not ended")).collect()
    }
}

/// A response that waits for its reward.
#[derive(Debug, Clone)]
struct Sampled {
    row: usize,
    sample: u32,
    sequence: Sequence,
    logprobs: Vec<f32>,
    text: String,
    finish: FinishReason,
    scored: Option<Scored>,
}

impl Sampled {
    fn whole(self) -> Result<Response> {
        let Self { row, sample, sequence, logprobs, text, finish, scored } = self;
        let scored = scored.context("a response was not scored")?;
        Ok(Response { row, sample, sequence, logprobs, text, finish, scored, advantage: None })
    }
}

/// What a response says: all of it but the id that ended it.
fn spoken<'a>(ids: &'a [u32], stop_ids: &[u32]) -> &'a [u32] {
    match ids {
        [before @ .., last] if stop_ids.contains(last) => before,
        _ => ids,
    }
}

fn add(sum: &mut Counts, counts: Counts) {
    let Counts { prefills, prefill_tokens, pictures, steps, rows, tokens } = counts;
    sum.prefills += prefills;
    sum.prefill_tokens += prefill_tokens;
    sum.pictures += pictures;
    sum.steps += steps;
    sum.rows += rows;
    sum.tokens += tokens;
}
