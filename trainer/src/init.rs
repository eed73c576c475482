//! `trainer init`: a random checkpoint of Qwen2.5-VL's shape in the released layout, to train from nothing.
//!
//! The folder holds what the released one holds: configuration, generation and picture settings, chat template, tokenizer, and
//! weights in shards with their index. It appears under its name only when it is whole.

mod presets;
mod tokens;
mod weights;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Parser};
use serde_json::{Value, json};
use wethink_model::Config;

pub use presets::Preset;
pub use weights::Precision;

const EXAMPLE: &str = "\
Presets (parameters, vocabulary): XS (1.9 M, 512), S (7.7 M, 2,048),
M (20.7 M, 4,096), L (53.7 M, 4,096); 3b and 7b are the released shapes.

Examples:
  trainer scenes make --n 8000 --out train
  trainer init --preset XS --tokenizer-from train/rows.jsonl --out xs
  trainer ask --checkpoint xs --image train/images/000000.png --question '...'
  trainer init --preset 3b --tokenizer DIR --dtype bf16 --out random-3b

The same arguments give the same weights. Weights are drawn one tensor at a
time: memory stays near the size of the largest one.";

/// A random checkpoint to train from.
#[derive(Debug, Parser)]
#[command(
    after_help = EXAMPLE,
    override_usage = "trainer init <--preset SIZE | --config FILE>\n         <--tokenizer-from ROWS.jsonl | --tokenizer DIR> --out DIR [OPTIONS]",
    group(ArgGroup::new("shape").args(["preset", "config"]).required(true)),
    group(ArgGroup::new("vocabulary").args(["tokenizer_from", "tokenizer"]).required(true)),
)]
pub struct Args {
    /// A size
    #[arg(long, value_enum, ignore_case = true)]
    preset: Option<Preset>,
    /// A config.json instead; the ids in it are replaced by the tokenizer's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Train a byte-level BPE on the texts of these rows (JSON lines)
    #[arg(long, value_name = "ROWS.jsonl")]
    tokenizer_from: Option<PathBuf>,
    /// Take the tokenizer and the chat template of this checkpoint
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Decides every weight
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How weights are stored
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let out = args.out.display();
    if args.out.exists() {
        bail!("{out}: exists; --out takes a folder that does not");
    }
    let started = Instant::now();
    let mut shape = match (&args.preset, &args.config) {
        (Some(preset), _) => preset.config(),
        (None, Some(file)) => object(file)?,
        (None, None) => bail!("--preset or --config is needed"),
    };
    let vocabulary = shape.get("vocab_size").and_then(Value::as_u64).context("config: no `vocab_size`")?;
    let files = match (&args.tokenizer_from, &args.tokenizer) {
        (Some(rows), _) => tokens::train(rows, vocabulary as usize)?,
        (None, Some(dir)) => tokens::copy(dir)?,
        (None, None) => bail!("--tokenizer-from or --tokenizer is needed"),
    };
    if files.size as u64 > vocabulary {
        bail!(
            "the tokenizer has {} tokens, the model's vocabulary {vocabulary}; take a larger preset, or --tokenizer-from",
            files.size
        );
    }
    name_ids(&mut shape, &files, args.dtype)?;
    let config = Config::from_json(&shape.to_string()).context("config")?;

    let part = args.out.with_added_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("{}: cannot be removed", part.display()))?;
    }
    fs::create_dir_all(&part).with_context(|| format!("{}: cannot be made", part.display()))?;
    for (name, bytes) in &files.files {
        fs::write(part.join(name), bytes)?;
    }
    write_json(&part, "config.json", &shape)?;
    write_json(&part, "generation_config.json", &generation(&files)?)?;
    fs::write(part.join("preprocessor_config.json"), include_str!("init/released/preprocessor_config.json"))?;
    let parameters = weights::write(&part, &config, deviation(&shape)?, args.seed, args.dtype)?;
    fs::rename(&part, &args.out).with_context(|| format!("{out}: cannot be made"))?;
    writeln!(
        std::io::stdout(),
        "{:.1} million parameters, {} tokens, {:.1} s\n{out}",
        parameters as f64 / 1e6,
        files.size,
        started.elapsed().as_secs_f64()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the tokenizer's ids and the storage type into a configuration.
fn name_ids(config: &mut Value, files: &tokens::Files, dtype: Precision) -> Result<()> {
    let config = config.as_object_mut().context("config: not a JSON object")?;
    for (field, token) in [
        ("eos_token_id", tokens::IM_END),
        ("image_token_id", "<|image_pad|>"),
        ("video_token_id", "<|video_pad|>"),
        ("vision_start_token_id", "<|vision_start|>"),
        ("vision_end_token_id", "<|vision_end|>"),
        ("vision_token_id", "<|vision_pad|>"),
    ] {
        config.insert(field.into(), files.id(token)?.into());
    }
    config.insert("torch_dtype".into(), dtype.torch_name().into());
    Ok(())
}

/// The standard deviation of random weights; 0.02 where the configuration has none, as in transformers.
fn deviation(config: &Value) -> Result<f64> {
    let value = config.get("initializer_range").filter(|value| !value.is_null());
    let value = value.map_or(Some(0.02), Value::as_f64);
    let value = value.filter(|value| value.is_finite() && *value > 0.0);
    value.context("config: `initializer_range`: not a number above 0")
}

fn generation(files: &tokens::Files) -> Result<Value> {
    let (answer, text) = (files.id(tokens::IM_END)?, files.id(tokens::END_OF_TEXT)?);
    Ok(json!({ "do_sample": false, "eos_token_id": [answer, text], "pad_token_id": text }))
}

fn object(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{}: not JSON", path.display()))?;
    if !value.is_object() {
        bail!("{}: not a JSON object", path.display());
    }
    Ok(value)
}

fn write_json(folder: &Path, name: &str, value: &Value) -> Result<()> {
    fs::write(folder.join(name), serde_json::to_string_pretty(value)? + "\n")
        .with_context(|| format!("{}: cannot be written", folder.join(name).display()))
}
