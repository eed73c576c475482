//! `trainer export`: a run's weights as a checkpoint that anything reading Qwen2.5-VL can load.
//!
//! Weights go into safetensors shards under the names of the released layout; every other file (tokenizer, template,
//! generation and picture settings) is copied from the checkpoint that the run started from.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device, Tensor};
use clap::Parser;
use serde_json::{Value, json};
use wethink_model::{Config, Model, expected_tensors};

use crate::device::DtypeArg;
use crate::folder::Folder;
use crate::train::files::write_tensors;
use crate::train::recipe::Recipe;
use crate::train::store::Store;

const EXAMPLE: &str = "\
Example:
  trainer export runs/tiny --out checkpoints/tiny --dtype bf16";

/// Bytes of a shard at most, unless one tensor is larger; as the released checkpoint has it.
const SHARD: usize = 5_000_000_000;

/// A run's weights as a checkpoint in the released layout.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Where to write; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the weights
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: DtypeArg,
    /// Which checkpoint: `best`, `last` or a step [default: best where there is one, else last]
    #[arg(long, value_name = "NAME")]
    which: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.out.exists() {
        bail!("{}: exists already; take another --out", args.out.display());
    }
    let recipe = Recipe::read(&args.run.join("recipe.toml"), &[])
        .with_context(|| format!("{}: no run folder", args.run.display()))?;
    let store = Store::new(&args.run);
    let saved = match &args.which {
        Some(step) if step.parse::<u64>().is_ok() => store.step(step.parse()?)?,
        Some(link) => store.linked(link)?,
        None => store.linked("best").or_else(|_| store.linked("last"))?,
    };
    let folder = Folder::open(&recipe.checkpoint)?;
    let model = saved.weights(folder.load(&Device::flex(), DType::F32, &mut |_, _| {})?)?;
    write(&folder, &model, args.dtype, SHARD, &args.out)?;
    eprintln!("{} written from {}", args.out.display(), saved.path.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes a checkpoint folder: beside its place first, so that no half of one is ever found there. A shard holds at most
/// `shard` bytes, or one tensor.
pub fn write(folder: &Folder, model: &Model, dtype: DtypeArg, shard: usize, out: &Path) -> Result<()> {
    let part = out.with_added_extension("part");
    let write = || -> Result<()> {
        fs::create_dir_all(&part)?;
        for entry in fs::read_dir(folder.dir())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let weights = name.contains(".safetensors") || name == "config.json";
            if entry.path().is_file() && !weights {
                fs::copy(entry.path(), part.join(&name)).with_context(|| name)?;
            }
        }
        let text = folder.read("config.json")?.context("config.json is gone")?;
        let mut config: Value = serde_json::from_slice(&text).context("config.json: not JSON")?;
        name_type(&mut config, dtype);
        fs::write(part.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        write_shards(&folder.config()?, model, dtype, shard, &part)?;
        fs::rename(&part, out)?;
        Ok(())
    };
    write()
        .inspect_err(|_| drop(fs::remove_dir_all(&part)))
        .with_context(|| format!("{}: cannot be written", out.display()))
}

fn write_shards(config: &Config, model: &Model, dtype: DtypeArg, limit: usize, out: &Path) -> Result<()> {
    let dtype = match dtype {
        DtypeArg::F32 => DType::F32,
        DtypeArg::Bf16 => DType::BF16,
    };
    let mut values = BTreeMap::new();
    model.each_parameter(&mut |name, value| drop(values.insert(name.to_owned(), value)));
    let tensors: Vec<(String, Vec<usize>, Tensor<1>)> = expected_tensors(config)
        .into_iter()
        .map(|(name, shape)| {
            let value = values.remove(&name).with_context(|| format!("the model has no {name}"))?;
            Ok((name, shape, value))
        })
        .collect::<Result<_>>()?;
    let bytes = |shape: &[usize]| shape.iter().product::<usize>() * dtype.size();
    let mut shards: Vec<Vec<&(String, Vec<usize>, Tensor<1>)>> = Vec::new();
    let mut room = 0;
    for tensor in &tensors {
        let size = bytes(&tensor.1);
        match shards.last_mut().filter(|_| size <= room) {
            Some(shard) => {
                shard.push(tensor);
                room -= size;
            }
            None => {
                shards.push(vec![tensor]);
                room = limit.saturating_sub(size);
            }
        }
    }
    let mut map = BTreeMap::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        let views = shard.iter().map(|(name, shape, value)| (name.clone(), shape.clone(), value));
        write_tensors(&out.join(&name), views, dtype)?;
        map.extend(shard.iter().map(|(tensor, _, _)| (tensor, name.clone())));
    }
    let total: usize = tensors.iter().map(|(_, shape, _)| bytes(shape)).sum();
    let index = json!({"metadata": {"total_size": total}, "weight_map": map});
    Ok(fs::write(out.join("model.safetensors.index.json"), serde_json::to_vec_pretty(&index)?)?)
}

/// Names the weights' type where the configuration does so already, and at its top where it does not.
fn name_type(config: &mut Value, dtype: DtypeArg) {
    let name = match dtype {
        DtypeArg::F32 => "float32",
        DtypeArg::Bf16 => "bfloat16",
    };
    let mut named = false;
    for pointer in ["", "/text_config", "/vision_config"] {
        let Some(map) = config.pointer_mut(pointer).and_then(Value::as_object_mut) else { continue };
        for field in ["torch_dtype", "dtype"] {
            if let Some(value) = map.get_mut(field) {
                *value = name.into();
                named = true;
            }
        }
    }
    if !named {
        config["torch_dtype"] = name.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_named_where_the_configuration_names_it() {
        let mut flat = json!({"torch_dtype": "float32", "vision_config": {}});
        name_type(&mut flat, DtypeArg::Bf16);
        assert_eq!(flat, json!({"torch_dtype": "bfloat16", "vision_config": {}}));
        let mut nested = json!({"dtype": "bfloat16", "text_config": {"dtype": "bfloat16"}});
        name_type(&mut nested, DtypeArg::F32);
        assert_eq!(nested, json!({"dtype": "float32", "text_config": {"dtype": "float32"}}));
        let mut silent = json!({});
        name_type(&mut silent, DtypeArg::F32);
        assert_eq!(silent, json!({"torch_dtype": "float32"}));
    }
}
