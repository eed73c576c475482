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

use crate::answers::{Answer, Asker};
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
    let answers = asker.answer(&rows, &indices, &mut |done| {
        bar.at(done as u64);
        !stop.load(Ordering::Relaxed)
    })?;
    bar.finish();
    let mut lines = Vec::new();
    for answer in &answers {
        serde_json::to_writer(&mut lines, answer)?;
        lines.push(b'\n');
    }
    write_whole(&args.out, &lines)?;

    let mut out = std::io::stdout().lock();
    write!(out, "{}", table(&answers))?;
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
        }
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
