//! `trainer data stats`: how long, how large, of what kinds.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use wethink_data::{OneOrMany, Pictures, Row};
use wethink_processor::{Options, Picture, PreprocessorConfig, Processor, smart_resize};
use wethink_reward::RewardMap;

use super::rewards::{self, Rewards};
use super::source::{self, Source};
use super::{chat, plots};
use crate::folder::Folder;

const EXAMPLE: &str = "\
Examples:
  trainer data stats --data rows.jsonl
  trainer data stats --data rows.jsonl --images image.zip \\
      --checkpoint WeThink-Qwen2.5VL-7B --plots plots

Lengths are characters; with --checkpoint also tokens, of the prompt (system,
question, image tokens where --images is given) and of the response. The plots
are SVG files, one for each table.";

/// Values of a label that a table lists; the others are counted together.
const TOP: usize = 20;
/// Distinct values of a label that are counted; beyond it the field is no label.
const MAX_VALUES: usize = 10_000;

/// Count lengths, image tokens, categories and kinds.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Rows: JSON lines, a JSON list or CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Pictures: a folder, a zip, or any part of a split zip
    #[arg(long, value_name = "PATH")]
    images: Option<PathBuf>,
    /// Folder with the tokenizer's files
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// What a dataset's own name of a reward means; may be repeated
    #[arg(long, value_name = "NAME=KIND")]
    reward_map: Vec<String>,
    /// Folder for plots; it is made
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What rows are measured with.
struct Means {
    rewards: Rewards,
    pictures: Option<Pictures>,
    processor: Option<Processor>,
    sizes: PreprocessorConfig,
}

/// Numbers and labels of one row.
#[derive(Default)]
struct Measured {
    numbers: Vec<(&'static str, u32)>,
    labels: Vec<(&'static str, String)>,
}

/// Numbers and labels of all rows: four bytes a number.
#[derive(Default)]
struct Counts {
    rows: u64,
    left_out: u64,
    numbers: BTreeMap<&'static str, Vec<u32>>,
    labels: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let map = RewardMap::from_entries(&args.reward_map)?;
    let processor = args.checkpoint.as_deref().map(|dir| Folder::open(dir)?.processor()).transpose()?;
    let sizes = match &processor {
        Some(processor) => processor.preprocessor.clone(),
        None => PreprocessorConfig::from_json(b"{}")?,
    };
    let pictures = args.images.as_deref().map(source::pictures).transpose()?;
    let means = Means { rewards: Rewards::survey(&args.data, &map)?, pictures, processor, sizes };
    let mut counts = Counts::default();
    let mut source = Source::open(&args.data, "measuring")?;
    loop {
        let batch = source.batch();
        if batch.is_empty() {
            break;
        }
        let measure = |line: wethink_data::Line<Map<String, Value>>| {
            let measured = line.row.map_err(anyhow::Error::from).and_then(|fields| measure(fields, &means));
            (line.number, measured)
        };
        for (number, measured) in batch.into_par_iter().map(measure).collect::<Vec<_>>() {
            match measured {
                Ok(measured) => counts.add(measured),
                Err(error) => {
                    counts.left_out += 1;
                    source.aside(|| writeln!(io::stderr(), "line {number}: {error:#}"))?;
                }
            }
        }
    }
    counts.numbers.values_mut().for_each(|values| values.sort_unstable());
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{:#}", counts.to_json())?,
        false => counts.print(&mut out)?,
    }
    if let Some(folder) = &args.plots {
        counts.plot(folder).with_context(|| format!("--plots {}", folder.display()))?;
    }
    Ok(if counts.left_out == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(fields: Map<String, Value>, means: &Means) -> Result<Measured> {
    let (format, row) = source::row(fields)?;
    let mut found = Measured::default();
    let mut number =
        |name, value: usize| found.numbers.push((name, u32::try_from(value).unwrap_or(u32::MAX)));
    let characters = |text: &str| text.chars().count();
    number("question, characters", characters(&row.problem));
    number("answer, characters", characters(&row.truth()));
    if let Some(thought) = row.thought() {
        number("thought, characters", characters(&thought));
    }
    number("pictures", row.images().len());
    let mut image_tokens = 0;
    if let Some(pictures) = &means.pictures {
        for picture in source::decoded(&row, pictures)? {
            let tokens = features(&picture, &means.sizes)?;
            number("picture, tokens", tokens);
            number("picture, kilopixels", picture.width() * picture.height() / 1000);
            image_tokens += tokens;
        }
    }
    if let Some(processor) = &means.processor {
        let (prompt, response) = lengths(processor, &row)?;
        // The rendered prompt has one token for each picture already.
        let prompt = prompt + image_tokens.saturating_sub(row.images().len());
        number("prompt, tokens", prompt);
        number("response, tokens", response);
        number("both, tokens", prompt + response);
    }
    let mut label = |name, values: &Option<OneOrMany>| {
        let values = values.as_ref().map_or(&[][..], OneOrMany::as_slice);
        found.labels.extend(values.iter().map(|value| (name, value.clone())));
    };
    label("category", &row.category);
    label("abilities", &row.abilities);
    found.labels.push(("form", format.name().to_owned()));
    if let Some(name) = rewards::name(&row) {
        let kind = means.rewards.of(&name).map_or("unknown", |named| named.kind.name());
        found.labels.push(("kind", kind.to_owned()));
        found.labels.push(("reward", name));
    }
    Ok(found)
}

/// Tokens that the model gets for a picture.
fn features(picture: &Picture, sizes: &PreprocessorConfig) -> Result<usize> {
    let (height, width) =
        smart_resize(picture.height(), picture.width(), sizes.factor(), sizes.min_pixels, sizes.max_pixels)
            .map_err(|reason| anyhow::anyhow!("picture {:?}: {reason}", picture.name()))?;
    Ok(height / sizes.factor() * (width / sizes.factor()))
}

/// Tokens of the prompt, each picture being one, and of the response with what ends it.
fn lengths(processor: &Processor, row: &Row) -> Result<(usize, usize)> {
    let options = Options::default();
    let prompt = processor.render(&chat::prompt(row), &options)?;
    let options = Options { add_generation_prompt: false, ..options };
    let whole = processor.render(&chat::whole(row), &options)?;
    let response =
        whole.strip_prefix(&prompt).context("the chat template rewrites the prompt once it is answered")?;
    Ok((processor.tokenizer.encode(&prompt)?.len(), processor.tokenizer.encode(response)?.len()))
}

impl Counts {
    fn add(&mut self, row: Measured) {
        self.rows += 1;
        for (name, value) in row.numbers {
            self.numbers.entry(name).or_default().push(value);
        }
        for (name, value) in row.labels {
            let values = self.labels.entry(name).or_default();
            if values.len() < MAX_VALUES || values.contains_key(&value) {
                *values.entry(value).or_default() += 1;
            } else {
                *values.entry("(further values)".to_owned()).or_default() += 1;
            }
        }
    }

    fn to_json(&self) -> Value {
        let number = |(name, values): (&&str, &Vec<u32>)| {
            let [min, median, p95, p99, max] = quantiles(values);
            let value = json!({"n": values.len(), "min": min, "median": median, "mean": mean(values), "p95": p95,
                "p99": p99, "max": max});
            ((*name).to_owned(), value)
        };
        let numbers: Map<String, Value> = self.numbers.iter().map(number).collect();
        json!({"rows": self.rows, "left_out": self.left_out, "numbers": numbers, "labels": self.labels})
    }

    /// At most 80 columns.
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let head = ["n", "min", "median", "mean", "p95", "p99", "max"];
        write!(out, "{:<22}", "")?;
        head.iter().try_for_each(|cell| write!(out, "{cell:>8}"))?;
        writeln!(out)?;
        for (name, values) in &self.numbers {
            let [min, median, p95, p99, max] = quantiles(values);
            write!(out, "{name:<22}{:>8}{min:>8}{median:>8}{:>8.1}", values.len(), mean(values))?;
            writeln!(out, "{p95:>8}{p99:>8}{max:>8}")?;
        }
        for (name, values) in &self.labels {
            writeln!(out, "\n{name:<38}{:>10}{:>9}", "rows", "share")?;
            let (top, rest) = most_frequent(values);
            for (value, rows) in top {
                let share = rows as f64 / self.rows.max(1) as f64;
                let bar = "█".repeat((share * 20.0).round() as usize);
                writeln!(out, "{:<38}{rows:>10}{:>8.1}% {bar}", shortened(value, 37), share * 100.0)?;
            }
            if rest > 0 {
                writeln!(out, "and {rest} more values")?;
            }
        }
        writeln!(out, "\n{} rows measured, {} left out", self.rows, self.left_out)
    }

    fn plot(&self, folder: &std::path::Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let path = |name: &str| folder.join(format!("{}.svg", name.replace(", ", "-").replace(' ', "-")));
        for (name, values) in &self.numbers {
            plots::histogram(&path(name), name, values)?;
        }
        for (name, values) in &self.labels {
            plots::bars(&path(name), name, &most_frequent(values).0)?;
        }
        Ok(())
    }
}

/// The most frequent values, and how many are left.
fn most_frequent(values: &BTreeMap<String, u64>) -> (Vec<(&str, u64)>, usize) {
    let mut all: Vec<(&str, u64)> = values.iter().map(|(value, &rows)| (value.as_str(), rows)).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let rest = all.len().saturating_sub(TOP);
    all.truncate(TOP);
    (all, rest)
}

/// Smallest, median, 95th and 99th percentile, largest of sorted values (nearest rank).
pub(super) fn quantiles(sorted: &[u32]) -> [u32; 5] {
    let at = |share: f64| {
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    };
    [at(0.0), at(0.5), at(0.95), at(0.99), at(1.0)]
}

fn mean(values: &[u32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len().max(1) as f64
}

/// A value on one line of at most so many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.chars().count() > most {
        true => line.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occur() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(quantiles(&values), [1, 50, 95, 99, 100]);
        assert_eq!(quantiles(&[7]), [7; 5]);
        assert_eq!(quantiles(&[]), [0; 5]);
    }

    #[test]
    fn tables_stay_within_eighty_columns() {
        let mut counts = Counts { rows: 1_000_000, ..Counts::default() };
        counts.numbers.insert("question, characters", vec![1, 9_999_999]);
        let long = "é".repeat(200) + "\n";
        counts.labels.insert("category", BTreeMap::from([(long, 1_000_000), ("b".into(), 3)]));
        let mut out = Vec::new();
        counts.print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
