//! `trainer data split`: the rows in parts that share no picture.
//!
//! Where a row goes depends on its own content and the seed alone: rows added, removed or reordered move no other. All
//! questions about one picture fall into one part, since a model that has seen the picture has seen half of the test.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Parser;
use rayon::prelude::*;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use wethink_data::{Line, Pictures, Writer};

use super::source::{self, Source};

const EXAMPLE: &str = "\
Example:
  trainer data split --data rows.jsonl --parts train=0.98,test=0.02 --seed 7 \\
      --out parts

writes parts/train.jsonl and parts/test.jsonl, each row as it was. Rows are
divided by the name of their (first) picture, or by its bytes with --images, so
that copies under two names stay together; rows without one by their question.
Shares hold on average. Rows at fault are listed and left out (exit code 1).";

/// Divide the rows into parts that share no picture.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Rows: JSON lines, a JSON list or CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Names and shares, which sum to 1
    #[arg(long, value_name = "NAME=SHARE,…", value_delimiter = ',', default_value = "train=0.98,test=0.02")]
    parts: Vec<Share>,
    /// Another seed, another division
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Divide by the pictures' bytes: a folder, a zip, or any part of a split zip
    #[arg(long, value_name = "PATH")]
    images: Option<PathBuf>,
    /// Folder to write into; it is made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// `train=0.98`.
#[derive(Debug, Clone, PartialEq)]
struct Share {
    name: String,
    share: f64,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, share) = text.split_once('=').ok_or("write NAME=SHARE, as in train=0.98")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("`{name}`: a name has letters, digits, - and _ only"));
        }
        match share.parse::<f64>() {
            Ok(share) if share > 0.0 && share <= 1.0 => Ok(Self { name: name.to_owned(), share }),
            _ => Err(format!("`{share}` is no share between 0 and 1")),
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let sum: f64 = args.parts.iter().map(|part| part.share).sum();
    if (sum - 1.0).abs() > 1e-9 {
        bail!("--parts: the shares sum to {sum}, not to 1");
    }
    let mut names: Vec<&str> = args.parts.iter().map(|part| part.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < args.parts.len() {
        bail!("--parts: a name stands twice");
    }
    let pictures = args.images.as_deref().map(source::pictures).transpose()?;
    let place = || format!("--out {}", args.out.display());
    std::fs::create_dir_all(&args.out).with_context(place)?;
    let file = |part: &Share| Writer::create(&args.out.join(format!("{}.jsonl", part.name)));
    let mut writers = args.parts.iter().map(file).collect::<io::Result<Vec<_>>>().with_context(place)?;
    let mut counts = vec![0u64; writers.len()];
    let mut left_out = 0u64;
    let mut source = Source::open(&args.data, "dividing")?;
    loop {
        let batch = source.batch();
        if batch.is_empty() {
            break;
        }
        let placed: Vec<_> =
            batch.into_par_iter().map(|line| (line.number, placed(line, args, pictures.as_ref()))).collect();
        for (number, placed) in placed {
            match placed {
                Ok((part, fields)) => {
                    writers[part].write(&fields).with_context(place)?;
                    counts[part] += 1;
                }
                Err(error) => {
                    left_out += 1;
                    source.aside(|| writeln!(io::stderr(), "line {number}: {error:#}"))?;
                }
            }
        }
    }
    for ((writer, part), count) in writers.into_iter().zip(&args.parts).zip(counts) {
        writer.finish().with_context(place)?;
        writeln!(io::stderr(), "{count:>10} rows in {}", part.name)?;
    }
    writeln!(io::stderr(), "{left_out:>10} rows left out")?;
    Ok(if left_out == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The part of a row, and its record as it came.
fn placed(
    line: Line<Map<String, Value>>,
    args: &Args,
    pictures: Option<&Pictures>,
) -> Result<(usize, Map<String, Value>)> {
    let fields = line.row?;
    let (_, row) = source::row(fields.clone())?;
    if let Some(fault) = row.faults().into_iter().next() {
        return Err(fault.into());
    }
    let content = match (row.images().first(), pictures) {
        (None, _) => [b"text\0", row.problem.trim().as_bytes()].concat(),
        (Some(name), None) => [b"name\0", wethink_data::checked_name(name)?.as_bytes()].concat(),
        (Some(name), Some(pictures)) => [&b"data\0"[..], &Sha256::digest(pictures.read(name)?)].concat(),
    };
    Ok((part_of(&content, args.seed, &args.parts), fields))
}

/// A number in [0, 1) from seed and content, and the part whose share it falls into.
fn part_of(content: &[u8], seed: u64, parts: &[Share]) -> usize {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(content).finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    let mut left = (u64::from_be_bytes(head) >> 11) as f64 / (1u64 << 53) as f64;
    for (index, part) in parts.iter().enumerate() {
        left -= part.share;
        if left < 0.0 {
            return index;
        }
    }
    parts.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hold_on_average_and_the_seed_matters() {
        let parts: Vec<Share> =
            ["a=0.7", "b=0.2", "c=0.1"].iter().map(|text| text.parse().unwrap()).collect();
        let place =
            |seed: u64| (0..20_000u32).map(|i| part_of(&i.to_le_bytes(), seed, &parts)).collect::<Vec<_>>();
        let first = place(1);
        for (index, part) in parts.iter().enumerate() {
            let share = first.iter().filter(|&&at| at == index).count() as f64 / 20_000.0;
            // Five standard deviations of a binomial share.
            assert!(
                (share - part.share).abs() < 5.0 * (part.share * (1.0 - part.share) / 20_000.0).sqrt(),
                "{share}"
            );
        }
        assert_eq!(first, place(1));
        let same = first.iter().zip(place(2)).filter(|(a, b)| **a == *b).count() as f64 / 20_000.0;
        assert!(
            (same - (0.49 + 0.04 + 0.01)).abs() < 0.02,
            "independent divisions agree by chance alone: {same}"
        );
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        for text in ["train", "train=2", "train=-1", "train=nan", "../x=0.5", "=0.5", "a/b=1"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
