//! Rows answered greedily and judged by rule: what validation and `trainer eval` measure.

use anyhow::{Context, Result};
use pollster::block_on;
use serde::Serialize;
use serde_json::{Map, Value};
use wethink_data::Row;
use wethink_model::{
    FinishReason, Generation, Launches, Model, Options, Prompt, Request, Rollout, Row as Address, Sampling,
    Sequence,
};
use wethink_processor::{Encoded, Processor};
use wethink_reward::{Decision, Record, Response, RewardMap, verify};

use crate::train::rows::Rows;
use crate::verifier;

/// One answer and its verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Index of the row, from 0.
    pub row: usize,
    /// Question type, as the row has it.
    pub category: String,
    /// Whether the rule accepts it.
    pub accepted: bool,
    /// The rule's score, between 0 and 1.
    pub score: f64,
    /// What the rule says.
    pub verdict: Decision,
    /// Whether an answer could be found in the response.
    pub parsed: bool,
    /// Whether it was cut at the limit.
    pub truncated: bool,
    /// Tokens.
    pub tokens: usize,
    /// The response.
    pub response: String,
    /// The truth.
    pub truth: String,
    /// What became of responses drawn at random beside this one, if any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
}

/// Responses drawn at random to one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sampled {
    /// How many.
    pub drawn: u32,
    /// How many of them the rule accepts.
    pub accepted: u32,
}

/// How rows are answered.
pub struct Asker<'a> {
    /// The model, in one type throughout.
    pub model: &'a Model,
    /// Its tokenizer, template and picture settings.
    pub processor: &'a Processor,
    /// How samples are made.
    pub options: wethink_processor::Options,
    /// Ids that end an answer.
    pub stop_ids: &'a [u32],
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// Rows generated at once.
    pub batch: usize,
    /// The datasets' own names of reward kinds.
    pub rewards: &'a RewardMap,
}

impl Asker<'_> {
    /// Answers rows in batches. `done` is told the number of rows answered so far; when it returns false, the rest is left.
    pub fn answer(
        &self,
        rows: &Rows,
        indices: &[usize],
        done: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(indices.len());
        for part in indices.chunks(self.batch.max(1)) {
            answers.extend(self.part(rows, part)?);
            if !done(answers.len()) {
                break;
            }
        }
        Ok(answers)
    }

    /// Draws `samples` responses to each of the rows at this temperature, whatever else the sampling could filter left out,
    /// and counts those that the rule accepts. `done` is told the number of rows, as in [`Asker::answer`].
    pub fn sample(
        &self,
        rows: &Rows,
        indices: &[usize],
        samples: u32,
        temperature: f64,
        done: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Sampled>> {
        let mut counts = Vec::with_capacity(indices.len());
        for part in indices.chunks(self.batch.max(1)) {
            let encoded = self.encode(rows, part)?;
            let requests: Vec<Request> = encoded
                .iter()
                .zip(part)
                .map(|(encoded, &index)| Request { prompt: prompt(encoded), key: index as u32, samples })
                .collect();
            let sampling = Sampling { temperature, ..Sampling::default() };
            let mut launches = Launches::new();
            let at_once = part.len() * samples as usize;
            let mut rollout =
                Rollout::new(self.model, &requests, at_once, self.generating(sampling), None, &mut launches)?;
            let mut accepted = vec![0; part.len()];
            while let Some(ended) = block_on(rollout.next())? {
                for Sequence { request, ids, .. } in ended {
                    let index = part[request];
                    let text = self.text(&ids)?;
                    let answer =
                        judge(rows.row(index), text, self.rewards).with_context(|| rows.place(index))?;
                    accepted[request] += u32::from(answer.accepted);
                }
            }
            counts.extend(accepted.into_iter().map(|accepted| Sampled { drawn: samples, accepted }));
            if !done(counts.len()) {
                break;
            }
        }
        Ok(counts)
    }

    fn encode(&self, rows: &Rows, indices: &[usize]) -> Result<Vec<Encoded>> {
        let encode = |&index: &usize| {
            let pictures = rows.pictures(index)?;
            self.processor
                .process(&rows.messages(index), &pictures, &self.options)
                .with_context(|| rows.place(index))
        };
        indices.iter().map(encode).collect()
    }

    fn generating(&self, sampling: Sampling) -> Options {
        Options {
            sampling,
            max_new_tokens: self.max_new_tokens,
            min_new_tokens: 0,
            stop_ids: self.stop_ids.to_vec(),
            stop_strings: Vec::new(),
            seed: 0,
            step: 0,
        }
    }

    /// What ids say, without the one that ended them.
    fn text(&self, ids: &[u32]) -> Result<String> {
        let spoken = match ids {
            [before @ .., last] if self.stop_ids.contains(last) => before,
            _ => ids,
        };
        Ok(self.processor.tokenizer.decode(spoken, false)?)
    }

    fn part(&self, rows: &Rows, indices: &[usize]) -> Result<Vec<Answer>> {
        let encoded = self.encode(rows, indices)?;
        let prompts: Vec<Prompt> = encoded.iter().map(prompt).collect();
        let addresses: Vec<Address> =
            indices.iter().map(|&index| Address { prompt: index as u32, sample: 0 }).collect();
        let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        let mut cache = self.model.cache(prompts.len(), longest + self.max_new_tokens);
        let mut launches = Launches::new();
        let options = self.generating(Sampling::default());
        let mut generation =
            Generation::new(self.model, &prompts, &addresses, &mut cache, options, None, &mut launches)?;
        while block_on(generation.next())?.is_some() {}
        let answers = indices.iter().enumerate().map(|(place, &index)| {
            let ids = generation.ids(place);
            let text = self.text(ids)?;
            let truncated = generation.finish_reason(place) == FinishReason::Length;
            judge(rows.row(index), text, self.rewards)
                .map(|answer| Answer { row: index, truncated, tokens: ids.len(), ..answer })
                .with_context(|| rows.place(index))
        });
        answers.collect()
    }
}

fn prompt(encoded: &Encoded) -> Prompt<'_> {
    Prompt {
        ids: &encoded.ids,
        positions: &encoded.positions,
        patches: &encoded.pixel_values,
        grids: &encoded.grids,
    }
}

/// A response against its row's truth; row, length and truncation are the caller's to fill in.
fn judge(row: &Row, response: String, rewards: &RewardMap) -> Result<Answer> {
    let kind = row.reward.as_ref().context("field `reward` is missing, so no rule can judge the answer")?;
    let kind = kind.joined();
    let scene = verifier::scene(&kind, row).map_err(anyhow::Error::msg)?;
    let mut fields: Map<String, Value> = row.extra.clone();
    fields
        .insert("kind".into(), scene.as_ref().map_or(kind, |_| verifier::COMPARED.name().to_owned()).into());
    fields.insert("gold".into(), row.truth().into());
    fields.insert("pred".into(), response.as_str().into());
    let mut record = Record::from_json(&fields.into(), rewards)?;
    if let Some(scene) = &scene {
        verifier::admit(scene, &mut record);
    }
    let verdict = verify(&record)?;
    Ok(Answer {
        row: 0,
        category: row.category.as_ref().map(|category| category.joined()).unwrap_or_default(),
        accepted: verdict.accepted(),
        score: verdict.score,
        verdict: verdict.verdict,
        parsed: Response::parse(&response).earning(record.opts.extract).is_ok(),
        truncated: false,
        tokens: 0,
        truth: row.truth(),
        response,
        sampled: None,
    })
}
