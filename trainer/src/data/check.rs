//! `trainer data check`: every faulty row, with its reason.
//!
//! The file is read twice: once for the names of its rewards, then for everything else, a batch at a time on all cores.
//! The report is written as it arises, so that a file of nothing but faults takes no more memory than one without.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use wethink_data::{Fault, Format, Line, Pictures, Row};
use wethink_processor::{PreprocessorConfig, smart_resize};
use wethink_reward::RewardMap;

use super::rewards::{self, Rewards, Tried};
use super::source::{self, Source};
use crate::figures::peak_memory;

const EXAMPLE: &str = "\
Example:
  trainer data check --data rows.jsonl --images image.zip --report report.json

A row is faulty if it cannot be read, if a picture is absent, damaged or of a
size that the model cannot take, or if its truth, given as a response, does not
earn 1 by the row's own reward. Names of rewards that are no kind are given a
proposed one; confirm them:
  trainer data check --data rows.jsonl --reward-map FIB=text --reward-map DES=open

Without --images no picture is opened. Exit code 1: there are faulty rows.";

/// Find every faulty row.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Rows: JSON lines, a JSON list or CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Pictures: a folder, a zip, or any part of a split zip
    #[arg(long, value_name = "PATH")]
    images: Option<PathBuf>,
    /// What a dataset's own name of a reward means; may be repeated
    #[arg(long, value_name = "NAME=KIND")]
    reward_map: Vec<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Write the report as JSON to a file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Why a row is faulty.
struct Finding {
    /// A word for the kind of fault.
    what: &'static str,
    reason: String,
}

/// What one line gave.
struct Checked {
    number: u64,
    findings: Vec<Finding>,
    facts: Option<Facts>,
}

/// What a row that could be read is, faulty or not.
struct Facts {
    format: Format,
    reward: Option<(String, Tried)>,
    pictures: usize,
    notes: Vec<&'static str>,
    /// The same for rows that ask the same of the same pictures.
    key: u64,
}

/// What every row is checked with.
struct Means {
    rewards: Rewards,
    pictures: Option<Pictures>,
    sizes: PreprocessorConfig,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let map = RewardMap::from_entries(&args.reward_map)?;
    let started = Instant::now();
    let context = Means {
        rewards: Rewards::survey(&args.data, &map)?,
        pictures: args.images.as_deref().map(source::pictures).transpose()?,
        sizes: PreprocessorConfig::from_json(b"{}")?,
    };
    let mut source = Source::open(&args.data, "checking")?;
    let mut report = Report::start(args)?;
    let mut tally = Tally::default();
    loop {
        let batch = source.batch();
        if batch.is_empty() {
            break;
        }
        let checked: Vec<Checked> = batch.into_par_iter().map(|line| check(line, &context)).collect();
        source.aside(|| checked.iter().try_for_each(|row| report.row(row)))?;
        checked.into_iter().for_each(|row| tally.count(row));
    }
    report.finish(&tally, &context, started.elapsed().as_secs_f64())?;
    Ok(if tally.faulty == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(line: Line<Map<String, Value>>, context: &Means) -> Checked {
    let number = line.number;
    let finding = |fault: Fault| Finding { what: fault.kind(), reason: fault.to_string() };
    let (format, row) = match line.row.and_then(source::row) {
        Ok(read) => read,
        Err(fault) => return Checked { number, findings: vec![finding(fault)], facts: None },
    };
    let mut findings: Vec<Finding> = row.faults().into_iter().map(finding).collect();
    findings.extend(vision_tokens(&row));
    let pictures = context.pictures.as_ref();
    findings
        .extend(pictures.into_iter().flat_map(|pictures| broken_pictures(&row, pictures, &context.sizes)));
    let reward = rewards::name(&row).and_then(|name| {
        let tried = rewards::tried(&row, context.rewards.of(&name)?.kind);
        Some((name, tried))
    });
    if let Some((_, Tried::Failed(reason))) = &reward {
        // An empty answer is a finding of its own already.
        if !row.truth().is_empty() {
            findings.push(Finding { what: "truth", reason: reason.clone() });
        }
    }
    let facts = Facts { format, reward, pictures: row.images().len(), notes: notes(&row), key: key(&row) };
    Checked { number, findings, facts: Some(facts) }
}

/// Texts that the tokenizer would read as a picture's place.
fn vision_tokens(row: &Row) -> Vec<Finding> {
    let mut findings = Vec::new();
    let texts = [
        ("problem", Some(&row.problem)),
        ("answer", Some(&row.answer)),
        ("refined_cot", row.refined_cot.as_ref()),
        ("system", row.system.as_ref()),
    ];
    for (field, text) in texts {
        for token in ["<|image_pad|>", "<|video_pad|>"] {
            if text.is_some_and(|text| text.contains(token)) {
                let reason =
                    format!("field `{field}`: it holds `{token}`, which stands for a picture; take it out");
                findings.push(Finding { what: "vision_token", reason });
            }
        }
    }
    findings
}

fn broken_pictures(row: &Row, pictures: &Pictures, sizes: &PreprocessorConfig) -> Vec<Finding> {
    // Refused names are findings of the row already.
    let named = row.images().iter().filter(|name| wethink_data::checked_name(name).is_ok());
    let judge = |name: &String| -> Result<()> {
        let picture = wethink_processor::Picture::decode(name, &pictures.read(name)?)?;
        smart_resize(picture.height(), picture.width(), sizes.factor(), sizes.min_pixels, sizes.max_pixels)
            .map_err(|reason| anyhow::anyhow!("picture {name:?}: {reason}"))?;
        Ok(())
    };
    let broken = named.filter_map(|name| judge(name).err());
    broken
        .map(|error| Finding { what: "picture", reason: format!("field `image_path`: {error:#}") })
        .collect()
}

/// What others found in the published rows; handled by the readers, and worth knowing.
fn notes(row: &Row) -> Vec<&'static str> {
    let thought = row.refined_cot.as_deref().unwrap_or_default();
    let texts = [row.problem.as_str(), thought, row.answer.as_str()];
    let holds = |words: &[&str]| texts.iter().any(|text| words.iter().any(|word| text.contains(word)));
    let all = [
        (
            "thoughts with tags, which are dropped",
            ["<think>", "</think>", "<answer>"].iter().any(|t| thought.contains(t)),
        ),
        ("texts with a literal <image>, <video> or <audio>", holds(&["<image>", "<video>", "<audio>"])),
        ("rows without a thought", row.thought().is_none()),
        ("rows without a reward", rewards::name(row).is_none()),
        ("rows without a picture", row.images().is_empty()),
        ("rows with several pictures", row.images().len() > 1),
    ];
    all.into_iter().filter(|&(_, found)| found).map(|(note, _)| note).collect()
}

fn key(row: &Row) -> u64 {
    let mut hasher = DefaultHasher::new();
    (row.problem.trim(), row.images()).hash(&mut hasher);
    hasher.finish()
}

/// Rows of one reward.
#[derive(Default)]
struct Truths {
    rows: u64,
    accepted: u64,
    judge: u64,
}

/// Counts over the file.
#[derive(Default)]
struct Tally {
    rows: u64,
    faulty: u64,
    pictures: u64,
    formats: BTreeMap<&'static str, u64>,
    rewards: BTreeMap<String, Truths>,
    notes: BTreeMap<&'static str, u64>,
    kinds: BTreeMap<&'static str, u64>,
    seen: HashSet<u64>,
}

impl Tally {
    fn count(&mut self, row: Checked) {
        self.rows += 1;
        self.faulty += u64::from(!row.findings.is_empty());
        for finding in &row.findings {
            *self.kinds.entry(finding.what).or_default() += 1;
        }
        let Some(facts) = row.facts else { return };
        *self.formats.entry(facts.format.name()).or_default() += 1;
        self.pictures += facts.pictures as u64;
        for note in facts.notes {
            *self.notes.entry(note).or_default() += 1;
        }
        if !self.seen.insert(facts.key) {
            *self.notes.entry("rows that repeat another one's question and pictures").or_default() += 1;
        }
        if let Some((name, tried)) = facts.reward {
            let truths = self.rewards.entry(name).or_default();
            truths.rows += 1;
            truths.accepted += u64::from(tried == Tried::Accepted);
            truths.judge += u64::from(tried == Tried::Judge);
        }
    }
}

/// Text on standard output unless JSON goes there; JSON to wherever it was asked for.
struct Report {
    file: String,
    text: bool,
    json: Vec<Box<dyn Write>>,
    first: bool,
}

impl Report {
    fn start(args: &Args) -> Result<Self> {
        let mut json: Vec<Box<dyn Write>> = Vec::new();
        if args.json {
            json.push(Box::new(BufWriter::new(io::stdout())));
        }
        if let Some(path) = &args.report {
            let file = File::create(path).with_context(|| format!("--report {}", path.display()))?;
            json.push(Box::new(BufWriter::new(file)));
        }
        let file = args.data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut report = Self { file, text: !args.json, json, first: true };
        report.put("{\"faults\": [")?;
        Ok(report)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.json.iter_mut().try_for_each(|out| out.write_all(text.as_bytes()))
    }

    fn row(&mut self, row: &Checked) -> io::Result<()> {
        for Finding { what, reason } in &row.findings {
            let comma = if self.first { "\n" } else { ",\n" };
            self.first = false;
            self.put(&format!("{comma}{}", json!({"line": row.number, "what": what, "reason": reason})))?;
            if self.text {
                writeln!(io::stdout(), "{}:{}: {reason}", self.file, row.number)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, tally: &Tally, context: &Means, seconds: f64) -> Result<()> {
        let summary = summary(&self.file, tally, context, seconds);
        let Value::Object(fields) = &summary else { return Ok(()) };
        let mut text = "\n]".to_owned();
        for (name, value) in fields {
            text += &format!(",\n\"{name}\": {value}");
        }
        self.put(&format!("{text}}}\n"))?;
        self.json.iter_mut().try_for_each(|out| out.flush())?;
        if self.text {
            print(&mut io::stdout().lock(), tally, context, seconds)?;
        }
        Ok(())
    }
}

fn summary(file: &str, tally: &Tally, context: &Means, seconds: f64) -> Value {
    let reward = |(name, truths): (&String, &Truths)| {
        let named = context.rewards.of(name);
        let value = json!({
            "rows": truths.rows,
            "kind": named.map(|named| named.kind.name()),
            "proposed": named.is_some_and(|named| named.proposed),
            "truths_accepted": truths.accepted,
            "truths_for_a_judge": truths.judge,
            "truths_failed": truths.rows - truths.accepted - truths.judge,
        });
        (name.clone(), value)
    };
    let archive = match &context.pictures {
        Some(Pictures::Archive(archive)) => {
            json!({"members": archive.len(), "refused": archive.refused(), "index_problem": archive.index_problem()})
        }
        _ => Value::Null,
    };
    json!({
        "file": file,
        "rows": tally.rows,
        "faulty_rows": tally.faulty,
        "faults_by_kind": tally.kinds,
        "formats": tally.formats,
        "rewards": tally.rewards.iter().map(reward).collect::<Map<String, Value>>(),
        "notes": tally.notes,
        "pictures": tally.pictures,
        "pictures_opened": context.pictures.is_some(),
        "archive": archive,
        "seconds": seconds,
        "rows_per_second": tally.rows as f64 / seconds.max(1e-9),
        "peak_memory_bytes": peak_memory(),
    })
}

fn print(out: &mut impl Write, tally: &Tally, context: &Means, seconds: f64) -> io::Result<()> {
    if !tally.rewards.is_empty() {
        writeln!(
            out,
            "{:<24}{:>10}  {:<12}{:<10}{:>10}{:>10}",
            "reward", "rows", "kind", "", "earn 1", "to judge"
        )?;
    }
    for (name, truths) in &tally.rewards {
        let Some(named) = context.rewards.of(name) else { continue };
        let said = if named.proposed { "proposed" } else { "" };
        let (kind, short) = (named.kind.name(), super::stats::shortened(name, 23));
        writeln!(
            out,
            "{short:<24}{:>10}  {kind:<12}{said:<10}{:>10}{:>10}",
            truths.rows, truths.accepted, truths.judge
        )?;
    }
    for (note, rows) in &tally.notes {
        writeln!(out, "{rows:>10} {note}")?;
    }
    if let Some(Pictures::Archive(archive)) = &context.pictures {
        for reason in archive.refused() {
            writeln!(out, "archive: a member is left out: {reason}")?;
        }
        if let Some(problem) = archive.index_problem() {
            writeln!(out, "archive: its index cannot be kept and is made anew every time: {problem}")?;
        }
    }
    let proposals = context.rewards.proposals();
    if !proposals.is_empty() {
        writeln!(out, "To confirm what is proposed, or to correct it:")?;
        proposals.iter().try_for_each(|entry| writeln!(out, "  --reward-map '{entry}'"))?;
    }
    let opened = if context.pictures.is_some() { "decoded" } else { "named, none opened (no --images)" };
    writeln!(
        out,
        "{} rows, {} faulty; {} pictures {opened}; {seconds:.1} s, {:.0} rows/s",
        tally.rows,
        tally.faulty,
        tally.pictures,
        tally.rows as f64 / seconds.max(1e-9)
    )
}
