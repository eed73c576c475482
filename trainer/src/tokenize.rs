//! `trainer tokenize`: JSON lines `{"text"}` to `{"ids", "decoded"}`.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::folder::Folder;

const EXAMPLE: &str = "\
Example:
  echo '{\"text\": \"How many?\"}' | trainer tokenize --checkpoint DIR

Lines are read from standard input. Special tokens in the text become their
ids; `decoded` keeps them.";

/// Texts to token ids and back, as JSON lines.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Folder with the tokenizer's files
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

#[derive(Serialize)]
struct Tokens {
    ids: Vec<u32>,
    decoded: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let processor = Folder::open(&args.checkpoint)?.processor()?;
    let mut out = std::io::stdout().lock();
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let place = || format!("line {}", number + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line =
            serde_json::from_str(&line).with_context(|| format!("{}: want {{\"text\": …}}", place()))?;
        let ids = processor.tokenizer.encode(&line.text).with_context(place)?;
        let decoded = processor.tokenizer.decode(&ids, false).with_context(place)?;
        serde_json::to_writer(&mut out, &Tokens { ids, decoded })?;
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}
