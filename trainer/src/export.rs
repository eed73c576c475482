//! `trainer export`: a run's weights as a checkpoint that anything reading Qwen2.5-VL can load.
//!
//! Weights go into safetensors shards under the names of the released layout; every other file (tokenizer, template,
//! generation and picture settings) is copied from the checkpoint that the run started from.
//!
//! With `--quantize` the weights go into a pack instead, of a run's or of any checkpoint folder's.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device, Tensor};
use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};
use wethink_model::{Config, Model, expected_tensors, weight_bytes};
use wethink_reward::RewardMap;

use crate::device::{self, DeviceArg, DtypeArg};
use crate::folder::{Folder, write_whole};
use crate::pack::{self, Override, Quantize, ReportRows, Source};
use crate::train::files::write_tensors;
use crate::train::lora::Lora;
use crate::train::rows::Rows;
use crate::train::store::Store;
use crate::{figures, peft, progress};

const EXAMPLES: &str = "\
Examples:
  trainer export runs/tiny --out checkpoints/tiny --dtype bf16
  trainer export runs/tiny-lora --adapter --out adapters/tiny
  trainer export WeThink-Qwen2.5VL-7B --quantize q4 --out packs/wethink-7b \\
    --override 'model.layers.0.*=q8' --report report.json --rows held-out.jsonl

Adapters are merged into the weights, or by --adapter written alone in PEFT's
layout. A pack that was interrupted is continued by the same command.

A checkpoint folder is packed shard by shard: memory does not grow with it.
A run's weights are put together first, and the report's --rows run the
unpacked model: both hold it whole, in float32 (33 GB for 7B).";

/// Bytes of a shard at most, unless one tensor is larger; as the released checkpoint has it.
const SHARD: usize = 5_000_000_000;

/// A run's weights as a checkpoint in the released layout, or as a pack.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The run folder; for a pack a checkpoint folder too
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
    /// Write the adapters of a LoRA run alone, in PEFT's layout and float32
    #[arg(long, conflicts_with_all = ["dtype", "quantize"])]
    adapter: bool,
    /// Write a pack with the language model's weights in this type
    #[arg(long, value_enum)]
    quantize: Option<Quantize>,
    /// Another type for the weights whose names fit, `*` standing for any text; may be repeated, the last that fits wins
    #[arg(long = "override", value_name = "PATTERN=TYPE", requires = "quantize")]
    overrides: Vec<Override>,
    /// Where to write what packing cost
    #[arg(long, value_name = "FILE", requires = "quantize")]
    report: Option<PathBuf>,
    /// WeThink rows to compare pack and whole model on, for the report; the models run one after the other
    #[arg(long, value_name = "FILE", requires = "report")]
    rows: Option<PathBuf>,
    /// Folder that the rows' pictures are named from [default: the rows' own]
    #[arg(long, value_name = "DIR", requires = "rows")]
    images: Option<PathBuf>,
    /// Only the first N rows
    #[arg(long, value_name = "N", requires = "rows")]
    limit: Option<usize>,
    /// Tokens of an answer at most, in the report
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "rows")]
    max_new_tokens: usize,
    /// Where the report's models run: auto, cpu, wgpu, cuda or cuda:N
    #[arg(long, default_value = "auto", requires = "rows")]
    device: DeviceArg,
}

/// What the recipe of every kind of run says.
#[derive(Deserialize)]
struct Started {
    /// The checkpoint that the run started from.
    checkpoint: PathBuf,
    /// Key of every random draw.
    #[serde(default)]
    seed: u64,
    /// The adapters, where only these were trained.
    lora: Option<Lora>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.out.exists() {
        bail!("{}: exists already; take another --out", args.out.display());
    }
    if let Some(quantize) = args.quantize {
        return pack(args, quantize);
    }
    let saved = export(args, args.dtype, &args.out)?;
    eprintln!("{} written from {}", args.out.display(), saved.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes a run's weights as a checkpoint; where they came from.
fn export(args: &Args, dtype: DtypeArg, out: &Path) -> Result<PathBuf> {
    let recipe = std::fs::read_to_string(args.run.join("recipe.toml"))
        .map_err(anyhow::Error::from)
        .and_then(|text| Ok(toml::from_str::<Started>(&text)?))
        .with_context(|| format!("{}: no run folder", args.run.display()))?;
    let store = Store::new(&args.run);
    let saved = match &args.which {
        Some(step) if step.parse::<u64>().is_ok() => store.step(step.parse()?)?,
        Some(link) => store.linked(link)?,
        None => store.linked("best").or_else(|_| store.linked("last"))?,
    };
    let folder = Folder::open(&recipe.checkpoint)?;
    let mut model = folder.load(&Device::flex(), DType::F32, &mut |_, _| {})?;
    if let Some(lora) = &recipe.lora {
        model = lora.adapt(model, recipe.seed);
    }
    let model = saved.weights(model)?;
    match &recipe.lora {
        Some(lora) if args.adapter => peft::write(&model, lora, folder.dir(), out)?,
        None if args.adapter => bail!("{}: no LoRA run; leave out --adapter", args.run.display()),
        _ => write(&folder, &model.merge(), dtype, SHARD, out)?,
    }
    Ok(saved.path)
}

/// Writes a pack. A run's weights pass through a checkpoint beside the pack, which is removed afterwards: a pack is read
/// row by row from files.
fn pack(args: &Args, quantize: Quantize) -> Result<ExitCode> {
    let whole = args.out.with_added_extension("whole");
    let is_run = args.run.join("recipe.toml").is_file();
    let folder = if is_run {
        if !whole.exists() {
            export(args, DtypeArg::F32, &whole)?;
        }
        Folder::open(&whole)?
    } else {
        Folder::open(&args.run)?
    };
    let source = Source::open(&folder)?;
    let text = folder.read("config.json")?.context("config.json is gone")?;
    let config: Value = serde_json::from_slice(&text).context("config.json: not JSON")?;
    let values = |name: &str, width: usize, rows: Range<usize>| source.rows(name, width, rows);
    let plan = pack::plan(config, quantize, &args.overrides)?;
    let identity = json!({"folder": folder.dir(), "shards": source.identity()});
    let bar = progress::bytes("packing");
    let pack =
        pack::write(plan, &values, &folder, &identity, &args.out, &mut |done, total| bar.at(done, total))?;
    bar.finish();
    let peak = figures::peak_memory()
        .map_or(String::new(), |bytes| format!(", {:.2} GB of memory at most", bytes as f64 / 1e9));
    eprintln!("{}: {} bytes in {} shards{peak}", args.out.display(), pack.bytes(), pack.shards.len());
    if let Some(path) = &args.report {
        let rewards = RewardMap::from_entries(&[] as &[&str])?;
        let data = args.rows.as_deref().map(|rows| Rows::open(rows, args.images.as_deref())).transpose()?;
        let opened = data.is_some().then(|| device::open(args.device, None)).transpose()?;
        if let Some(opened) = &opened {
            let whole = weight_bytes(&folder.config()?) as f64 / 1e9;
            eprintln!(
                "comparing on {opened}: the unpacked model takes {whole:.2} GB there, the pack comes after it"
            );
        }
        let rows = data.as_ref().zip(opened.as_ref()).map(|(data, opened)| ReportRows {
            limit: data.len().min(args.limit.unwrap_or(usize::MAX)),
            data,
            max_new_tokens: args.max_new_tokens,
            device: &opened.device,
            rewards: &rewards,
        });
        let report = pack::report(&folder, &Folder::open(&args.out)?, &values, rows.as_ref())?;
        write_whole(path, &serde_json::to_vec_pretty(&report)?)?;
        eprintln!("{} written", path.display());
    }
    if is_run {
        fs::remove_dir_all(&whole).with_context(|| whole.display().to_string())?;
    }
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
