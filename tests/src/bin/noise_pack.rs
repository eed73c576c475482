//! Writes a pack of noise in the released widths, for tests and benchmarks that have no released weights.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::Value;
use wethink_tests::noise;
use wethink_trainer::folder::Folder;
use wethink_trainer::pack::{Quantize, plan};

/// A pack of noise in the widths of Qwen2.5-VL-7B.
#[derive(Debug, Parser)]
struct Args {
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Checkpoint whose tokenizer and settings the pack gets
    #[arg(long, value_name = "DIR")]
    files: PathBuf,
    /// Layers of the decoder
    #[arg(long, value_name = "N", default_value_t = 1)]
    layers: usize,
    /// Tokens of the vocabulary
    #[arg(long, value_name = "N", default_value_t = 152_064)]
    vocabulary: usize,
    /// Type of the language model's weights
    #[arg(long, value_enum, default_value = "q4")]
    quantize: Quantize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let files = Folder::open(&args.files)?;
    let own: Value = serde_json::from_slice(&files.read("config.json")?.context("config.json")?)?;
    let mut config = noise::shape_7b();
    config["num_hidden_layers"] = args.layers.into();
    config["vocab_size"] = args.vocabulary.into();
    for (name, id) in own.as_object().context("config.json: not an object")? {
        if name.ends_with("token_id") {
            config[name] = id.clone();
        }
    }
    let pack = noise::write(plan(config, args.quantize, &[])?, &files, &args.out)?;
    println!("{}: {} bytes in {} shards", args.out.display(), pack.bytes(), pack.shards.len());
    Ok(())
}
