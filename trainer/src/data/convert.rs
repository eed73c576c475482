//! `trainer data convert`: the rows in another form.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use wethink_data::{Fault, Format, OneOrMany, Row, Writer};
use wethink_processor::WETHINK_SYSTEM_PROMPT;

use super::source::{self, Source};

const EXAMPLE: &str = "\
Examples:
  trainer data convert --data rows.jsonl --to sharegpt --out train.jsonl
  trainer data convert --data llama.json --to wethink --out rows.jsonl.gz

wethink   problem, answer, refined_cot, image_path, …
sharegpt  LLaMA-Factory: conversations, images and WeThink's system prompt; the
          answer is written <think>…</think><answer>…</answer>
easyr1    EasyR1: problem with <image> where pictures stand, answer, images

Categories, rewards and unknown fields travel along. Rows at fault are listed
on standard error and left out; the exit code is then 1.";

/// Write the rows in another form.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Rows: JSON lines, a JSON list or CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// wethink, sharegpt or easyr1
    #[arg(long, value_name = "FORM")]
    to: Format,
    /// Where to write JSON lines; gzip if it ends in .gz
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Take this off the front of pictures' paths
    #[arg(long, value_name = "TEXT")]
    strip_prefix: Option<String>,
    /// Do not write WeThink's system prompt into sharegpt
    #[arg(long)]
    no_system: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut source = Source::open(&args.data, "converting")?;
    let place = || format!("--out {}", args.out.display());
    let mut writer = Writer::create(&args.out).with_context(place)?;
    let (mut written, mut left_out) = (0u64, 0u64);
    loop {
        let batch = source.batch();
        if batch.is_empty() {
            break;
        }
        for line in batch {
            let converted = line.row.and_then(source::row).and_then(|(_, row)| prepared(row, args));
            match converted {
                Ok(row) => {
                    writer.write(&args.to.write(&row)).with_context(place)?;
                    written += 1;
                }
                Err(fault) => {
                    left_out += 1;
                    source.aside(|| writeln!(io::stderr(), "line {}: {fault}", line.number))?;
                }
            }
        }
    }
    writer.finish().with_context(place)?;
    writeln!(io::stderr(), "{written} rows written as {}, {left_out} left out", args.to)?;
    Ok(if left_out == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The row as it is to be written, or the first thing that makes it unusable.
fn prepared(mut row: Row, args: &Args) -> Result<Row, Fault> {
    if let Some(prefix) = &args.strip_prefix {
        let strip = |path: &String| match path.strip_prefix(prefix.as_str()) {
            Some(rest) => rest.trim_start_matches('/').to_owned(),
            None => path.clone(),
        };
        row.image_path = row.image_path.map(|paths| match paths {
            OneOrMany::One(path) => OneOrMany::One(strip(&path)),
            OneOrMany::Many(paths) => OneOrMany::Many(paths.iter().map(strip).collect()),
        });
    }
    // WeThink's prompt goes without saying everywhere but in LLaMA-Factory's files.
    let ours = row.system.as_deref() == Some(WETHINK_SYSTEM_PROMPT);
    match args.to {
        Format::ShareGpt if row.system.is_none() && !args.no_system => {
            row.system = Some(WETHINK_SYSTEM_PROMPT.to_owned());
        }
        Format::WeThink | Format::EasyR1 if ours => row.system = None,
        _ => {}
    }
    match row.faults().into_iter().next() {
        None => Ok(row),
        Some(fault) => Err(fault),
    }
}
