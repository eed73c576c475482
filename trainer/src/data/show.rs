//! `trainer data show`: some rows as the model will see them, on one HTML page.
//!
//! A row is encoded as for supervised training: the prompt by the checkpoint's template, the response behind it encoded
//! apart, so that no token spans the border. The loss is taken over the response, `<|im_end|>` and the line break after it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use wethink_data::{Fault, OneOrMany, Pictures, Row};
use wethink_processor::{Options, Picture, PreprocessorConfig, Processor, resize, smart_resize};

use super::page::{self, Article, Run, Seen};
use super::source::{self, Source};
use super::{chat, rewards};
use crate::folder::Folder;

const EXAMPLE: &str = "\
Example:
  trainer data show --data rows.jsonl --images image.zip \\
      --checkpoint WeThink-Qwen2.5VL-7B --rows 12 --out rows.html

The page is one file without scripts and without anything from elsewhere: each
picture at the size at which the model gets it, each token, and the tokens that
the loss is taken over. Rows are drawn by seed from the whole file.";

/// Make one HTML page of some rows as the model will see them.
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
    checkpoint: PathBuf,
    /// How many rows
    #[arg(long, value_name = "N", default_value_t = 20)]
    rows: usize,
    /// Another seed, other rows
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Where to write the page
    #[arg(long, value_name = "HTML")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let processor = Folder::open(&args.checkpoint)?.processor()?;
    let pictures = args.images.as_deref().map(source::pictures).transpose()?;
    let drawn = draw(args)?;
    let article = |(line, row): (u64, Result<Row, Fault>)| {
        let row = row.map_err(anyhow::Error::from);
        let article = row.and_then(|row| article(line, &row, &processor, pictures.as_ref()));
        (line, article)
    };
    let articles: Vec<(u64, Result<Article>)> = drawn.into_par_iter().map(article).collect();
    let faulty = articles.iter().filter(|(_, article)| article.is_err()).count();
    let title = args.data.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let html = page::page(&title, &articles);
    std::fs::write(&args.out, html).with_context(|| format!("--out {}", args.out.display()))?;
    for (line, article) in &articles {
        if let Err(error) = article {
            writeln!(io::stderr(), "line {line}: {error:#}")?;
        }
    }
    writeln!(io::stderr(), "{} rows in {}, {faulty} of them faulty", articles.len(), args.out.display())?;
    Ok(if faulty == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rows whose numbers hash lowest under the seed, in the file's order: a draw without knowing how many there are.
fn draw(args: &Args) -> Result<Vec<(u64, Result<Row, Fault>)>> {
    let mut lowest = BTreeMap::new();
    let mut source = Source::open(&args.data, "drawing rows")?;
    let mut count = 0u64;
    loop {
        let batch = source.batch();
        if batch.is_empty() {
            break;
        }
        for line in batch {
            let seed = [args.seed.to_le_bytes(), count.to_le_bytes()].concat();
            count += 1;
            lowest.insert(<[u8; 32]>::from(Sha256::digest(seed)), line);
            if lowest.len() > args.rows {
                lowest.pop_last();
            }
        }
    }
    let row = |line: wethink_data::Line<_>| (line.number, line.row.and_then(source::row).map(|(_, row)| row));
    let mut drawn: Vec<_> = lowest.into_values().map(row).collect();
    drawn.sort_by_key(|&(line, _)| line);
    Ok(drawn)
}

fn article(line: u64, row: &Row, processor: &Processor, pictures: Option<&Pictures>) -> Result<Article> {
    if let Some(fault) = row.faults().into_iter().next() {
        return Err(fault.into());
    }
    let pictures = match pictures {
        Some(pictures) => source::decoded(row, pictures)?,
        None if row.images().is_empty() => Vec::new(),
        None => anyhow::bail!("the row has pictures; say with --images where they are"),
    };
    let options = Options::default();
    let prompt = processor.process(&chat::prompt(row), &pictures, &options)?;
    let rendered = processor.render(&chat::prompt(row), &options)?;
    let options = Options { add_generation_prompt: false, ..options };
    let whole = processor.render(&chat::whole(row), &options)?;
    let response =
        whole.strip_prefix(&rendered).context("the chat template rewrites the prompt once it is answered")?;
    let response = processor.tokenizer.encode(response)?;
    let labels = [
        ("category", row.category.as_ref().map(OneOrMany::joined)),
        ("abilities", row.abilities.as_ref().map(OneOrMany::joined)),
        ("reward", rewards::name(row)),
        ("answer", Some(row.truth())),
    ];
    Ok(Article {
        line,
        labels: labels.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        pictures: pictures
            .iter()
            .map(|picture| seen(picture, &processor.preprocessor))
            .collect::<Result<_>>()?,
        prompt: runs(processor, &prompt.ids),
        response: runs(processor, &response),
        prompt_tokens: prompt.ids.len(),
        response_tokens: response.len(),
    })
}

/// A picture at the model's size.
fn seen(picture: &Picture, sizes: &PreprocessorConfig) -> Result<Seen> {
    let factor = sizes.factor();
    let (height, width) =
        smart_resize(picture.height(), picture.width(), factor, sizes.min_pixels, sizes.max_pixels)
            .map_err(|reason| anyhow::anyhow!("picture {:?}: {reason}", picture.name()))?;
    let rgb = resize(picture.rgb(), picture.width(), picture.height(), width, height);
    let png = Picture::from_rgb(picture.name(), width, height, rgb)?.to_png()?;
    Ok(Seen {
        name: picture.name().to_owned(),
        source: (picture.width(), picture.height()),
        size: (width, height),
        grid: (width / factor, height / factor),
        png,
    })
}

/// Ids as text, token by token. A character that several tokens spell is one run; so are the tokens of a picture.
fn runs(processor: &Processor, ids: &[u32]) -> Vec<Run> {
    let mut stream = processor.tokenizer.stream(false);
    let mut runs: Vec<Run> = Vec::new();
    let mut pending = Vec::new();
    for &id in ids {
        let text = stream.push(id);
        pending.push(id);
        if text.is_empty() {
            continue;
        }
        let ids = std::mem::take(&mut pending);
        let same_picture =
            id == processor.image_token_id && runs.last().is_some_and(|run| run.ids.last() == Some(&id));
        match runs.last_mut() {
            Some(run) if same_picture => run.ids.extend(ids),
            _ => runs.push(Run { ids, text }),
        }
    }
    let text = stream.finish();
    if !pending.is_empty() || !text.is_empty() {
        runs.push(Run { ids: pending, text });
    }
    runs
}
