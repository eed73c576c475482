//! `trainer eval`: rows answered greedily, judged by rule, counted by category.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;
use wethink_reward::RewardMap;

use crate::answers::{Answer, Asker, Sampled};
use crate::device::{self, DeviceArg, DtypeArg};
use crate::folder::{Folder, write_whole};
use crate::interrupt::interrupt;
use crate::peft::Adapters;
use crate::progress;
use crate::statistics::{mcnemar, wilson};
use crate::train::rows::Rows;

const EXAMPLES: &str = "\
Examples:
  trainer eval --checkpoint checkpoints/tiny --data held-out.jsonl --out tiny.jsonl
  trainer eval --checkpoint checkpoints/other --data held-out.jsonl --out other.jsonl \\
    --against tiny.jsonl

E.jsonl gets one object per row: response, truth, verdict. The table shows the share
accepted with its 95 % interval (Wilson); --against adds McNemar's exact test over the
rows that both files hold.";

/// Answer rows greedily and judge the answers by rule.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Folder with config.json, tokenizer files and safetensors shards
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Folder with LoRA adapters in PEFT's layout, to be put beside the weights
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// WeThink rows, JSON lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder that the rows' pictures are named from [default: the rows' own]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Where the answers go
    #[arg(long, value_name = "E.jsonl")]
    out: PathBuf,
    /// Another evaluation of the same rows to compare with
    #[arg(long, value_name = "OTHER.jsonl")]
    against: Option<PathBuf>,
    /// Only the first N rows
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Rows generated at once
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    /// Responses drawn at random besides, of which the table shows the mean and how often one of them is right (pass@K)
    #[arg(long, value_name = "K", default_value_t = 0)]
    samples: u32,
    /// Divides the logits of responses drawn at random
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_new_tokens: usize,
    /// Read a dataset's own name as a reward kind; may be repeated
    #[arg(long, value_name = "NAME=KIND")]
    reward_map: Vec<String>,
    /// Where to run: auto, cpu, wgpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceArg,
    /// Type of weights and activations [default: bf16 on cuda, f32 elsewhere]
    #[arg(long, value_enum)]
    dtype: Option<DtypeArg>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let rewards = RewardMap::from_entries(&args.reward_map)?;
    let folder = Folder::open(&args.checkpoint)?;
    let config = folder.config()?;
    let stop_ids = folder.stop_ids(&config)?;
    let adapters = args.adapter.as_deref().map(|dir| Adapters::open(dir, &config)).transpose()?;
    let processor = folder.processor()?;
    let rows = Rows::open(&args.data, args.images.as_deref())?;
    let other = args.against.as_deref().map(accepted_of).transpose()?;
    let opened = device::open(args.device, args.dtype)?;
    let bar = progress::bytes("loading");
    let model = folder.load(&opened.device, opened.dtype, &mut |done, total| bar.at(done, total))?;
    bar.finish();
    let model = match adapters {
        Some(adapters) => adapters.put(model),
        None => model,
    };

    let indices: Vec<usize> = (0..rows.len().min(args.limit.unwrap_or(usize::MAX))).collect();
    let asker = Asker {
        model: &model,
        processor: &processor,
        options: wethink_processor::Options::default(),
        stop_ids: &stop_ids,
        max_new_tokens: args.max_new_tokens,
        batch: args.batch,
        rewards: &rewards,
    };
    let stop = interrupt()?;
    let bar = progress::rows("answering", indices.len() as u64);
    let mut answers = asker.answer(&rows, &indices, &mut |done| {
        bar.at(done as u64);
        !stop.load(Ordering::Relaxed)
    })?;
    bar.finish();
    if args.samples > 0 {
        let bar = progress::rows("sampling", answers.len() as u64);
        let drawn =
            asker.sample(&rows, &indices[..answers.len()], args.samples, args.temperature, &mut |done| {
                bar.at(done as u64);
                !stop.load(Ordering::Relaxed)
            })?;
        bar.finish();
        // What was interrupted is left out whole: a file holds one kind of row.
        answers.truncate(drawn.len());
        for (answer, drawn) in answers.iter_mut().zip(drawn) {
            answer.sampled = Some(drawn);
        }
    }
    let mut lines = Vec::new();
    for answer in &answers {
        serde_json::to_writer(&mut lines, answer)?;
        lines.push(b'\n');
    }
    write_whole(&args.out, &lines)?;

    let mut out = std::io::stdout().lock();
    write!(out, "{}", table(&answers))?;
    if args.samples > 0 {
        writeln!(out, "{}", drawn_at_random(&answers, args.samples))?;
    }
    if let Some(other) = other {
        writeln!(out, "{}", comparison(&answers, &other))?;
    }
    if answers.len() < indices.len() {
        writeln!(out, "interrupted: {} of {} rows", answers.len(), indices.len())?;
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows of another evaluation, and whether each was accepted.
fn accepted_of(path: &Path) -> Result<BTreeMap<usize, bool>> {
    let name = path.display().to_string();
    let mut accepted = BTreeMap::new();
    for (number, line) in (1..).zip(BufReader::new(File::open(path).with_context(|| name.clone())?).lines()) {
        let value: Value = serde_json::from_str(&line?).with_context(|| format!("{name} line {number}"))?;
        match (value["row"].as_u64(), value["accepted"].as_bool()) {
            (Some(row), Some(was)) => accepted.insert(row as usize, was),
            _ => bail!("{name} line {number}: no fields `row` and `accepted`; is it of `trainer eval`?"),
        };
    }
    Ok(accepted)
}

/// Shares by category, and over all.
fn table(answers: &[Answer]) -> String {
    let categories: BTreeSet<&str> = answers.iter().map(|answer| answer.category.as_str()).collect();
    let mut text = format!(
        "{:<24}{:>7}{:>10}{:>18}{:>10}{:>9}\n",
        "category", "rows", "accepted", "95 %", "unparsed", "cut off"
    );
    let mut line = |name: &str, answers: &[&Answer]| {
        let share = |holds: fn(&Answer) -> bool| answers.iter().filter(|answer| holds(answer)).count();
        let percent = |count: usize| 100.0 * count as f64 / answers.len().max(1) as f64;
        let accepted = share(|answer| answer.accepted);
        let [low, high] = wilson(accepted, answers.len()).map(|share| 100.0 * share);
        text += &format!(
            "{name:<24}{:>7}{:>8.1} %{:>18}{:>8.1} %{:>7.1} %\n",
            answers.len(),
            percent(accepted),
            format!("{low:.1} – {high:.1} %"),
            percent(share(|answer| !answer.parsed)),
            percent(share(|answer| answer.truncated)),
        );
    };
    for category in categories.iter().filter(|_| categories.len() > 1) {
        let of: Vec<&Answer> = answers.iter().filter(|answer| answer.category == *category).collect();
        line(if category.is_empty() { "(none)" } else { category }, &of);
    }
    line("all", &answers.iter().collect::<Vec<_>>());
    text
}

/// The share of responses drawn at random that were accepted, and of rows with one of them.
fn drawn_at_random(answers: &[Answer], samples: u32) -> String {
    let sampled: Vec<Sampled> = answers.iter().filter_map(|answer| answer.sampled).collect();
    let rows = sampled.len().max(1) as f64;
    let mean = sampled.iter().map(|s| f64::from(s.accepted) / f64::from(s.drawn.max(1))).sum::<f64>() / rows;
    let any = sampled.iter().filter(|s| s.accepted > 0).count() as f64 / rows;
    format!(
        "{samples} drawn at random a row: pass@1 {:.1} %, pass@{samples} {:.1} %",
        100.0 * mean,
        100.0 * any
    )
}

/// How two evaluations differ on the rows that both hold.
fn comparison(answers: &[Answer], other: &BTreeMap<usize, bool>) -> String {
    let pairs: Vec<(bool, bool)> =
        answers.iter().filter_map(|answer| Some((answer.accepted, *other.get(&answer.row)?))).collect();
    let here = pairs.iter().filter(|(here, there)| *here && !there).count();
    let there = pairs.iter().filter(|(here, there)| !here && *there).count();
    format!(
        "against the other, over {} rows: {here} accepted only here, {there} only there; McNemar p = {:.4}",
        pairs.len(),
        mcnemar(here, there)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use wethink_reward::Decision;

    fn answer(row: usize, category: &str, accepted: bool) -> Answer {
        Answer {
            row,
            category: category.into(),
            accepted,
            score: f64::from(u8::from(accepted)),
            verdict: if accepted { Decision::Accept } else { Decision::Reject },
            parsed: accepted,
            truncated: !accepted,
            tokens: 3,
            response: String::new(),
            truth: String::new(),
            sampled: None,
        }
    }

    #[test]
    fn responses_drawn_at_random_give_a_mean_and_a_best() {
        let accepted = [0, 1, 8, 3].into_iter().enumerate();
        let answers: Vec<_> = accepted
            .map(|(row, accepted)| Answer {
                sampled: Some(Sampled { drawn: 8, accepted }),
                ..answer(row, "", false)
            })
            .collect();
        assert_eq!(drawn_at_random(&answers, 8), "8 drawn at random a row: pass@1 37.5 %, pass@8 75.0 %");
    }

    #[test]
    fn shares_are_counted_by_category_and_over_all() {
        let mut answers: Vec<_> = (0..20).map(|row| answer(row, "MC", false)).collect();
        let one = table(&answers);
        assert_eq!(one.lines().count(), 2, "one category is all:\n{one}");
        answers.push(answer(20, "FIB", true));
        let text = table(&answers);
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).expect(name).to_owned();
        assert!(line("MC").contains("0.0 – 16.1 %") && line("MC").contains("100.0 %"), "{text}");
        assert!(line("FIB").contains("100.0 %"), "{text}");
        assert!(line("all").contains("21") && line("all").contains("4.8 %"), "{text}");
    }

    #[test]
    fn evaluations_are_compared_row_by_row() {
        let answers: Vec<_> = (0..12).map(|row| answer(row, "", row < 8)).collect();
        let other = (2..12).map(|row| (row, row >= 10)).collect();
        let text = comparison(&answers, &other);
        assert!(text.contains("10 rows: 6 accepted only here, 2 only there; McNemar p = 0.2891"), "{text}");
    }
}
