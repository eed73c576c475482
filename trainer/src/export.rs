//! `trainer export`: a run's weights as a checkpoint that anything reading Qwen2.5-VL can load.
//!
//! Weights go into safetensors shards under the names of the released layout; every other file (tokenizer, template,
//! generation and picture settings) is copied from the checkpoint that the run started from. A checkpoint folder is written
//! anew in the same way, for another type of its weights.
//!
//! With `--quantize` the weights go into a pack instead, of a run's or of any checkpoint folder's.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device, Tensor};
use clap::{Parser, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};
use wethink_model::{Config, Model, expected_tensors, weight_bytes};
use wethink_reward::RewardMap;

use crate::device::{self, DeviceArg};
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
  trainer export checkpoints/tiny --out page/tiny --dtype f16 --max-pixels 50176
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
    /// The run folder, or a checkpoint folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Where to write; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Type of the weights
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Stored,
    /// The most pixels of a picture, in place of those that the checkpoint names
    #[arg(long, value_name = "N", conflicts_with_all = ["adapter", "quantize"])]
    max_pixels: Option<usize>,
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

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stored {
    /// Four bytes a weight
    F32,
    /// Two bytes, for weights below 65,504
    F16,
    /// Two bytes: the upper half of a float32
    Bf16,
}

impl Stored {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Its name in `config.json`.
    fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
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

/// Writes a run's or a checkpoint's weights as a checkpoint; where they came from.
fn export(args: &Args, dtype: Stored, out: &Path) -> Result<PathBuf> {
    if !args.run.join("recipe.toml").is_file() && args.run.join("config.json").is_file() {
        if args.which.is_some() || args.adapter {
            bail!("{}: a checkpoint folder; --which and --adapter choose from a run", args.run.display());
        }
        let folder = Folder::open(&args.run)?;
        let model = folder.load(&Device::flex(), DType::F32, &mut |_, _| {})?;
        write(&folder, &model, dtype, args.max_pixels, SHARD, out)?;
        return Ok(args.run.clone());
    }
    let recipe = std::fs::read_to_string(args.run.join("recipe.toml"))
        .map_err(anyhow::Error::from)
        .and_then(|text| Ok(toml::from_str::<Started>(&text)?))
        .with_context(|| format!("{}: no run folder and no checkpoint", args.run.display()))?;
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
        _ => write(&folder, &model.merge(), dtype, args.max_pixels, SHARD, out)?,
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
            export(args, Stored::F32, &whole)?;
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
fn write(
    folder: &Folder,
    model: &Model,
    dtype: Stored,
    max_pixels: Option<usize>,
    shard: usize,
    out: &Path,
) -> Result<()> {
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
        if let Some(most) = max_pixels {
            limit_pixels(&part.join("preprocessor_config.json"), most)?;
        }
        write_shards(&folder.config()?, model, dtype.dtype(), shard, &part)?;
        fs::rename(&part, out)?;
        Ok(())
    };
    write()
        .inspect_err(|_| drop(fs::remove_dir_all(&part)))
        .with_context(|| format!("{}: cannot be written", out.display()))
}

/// Names the most pixels of a picture where the file of picture settings does; the fewest stay below them.
fn limit_pixels(path: &Path, most: usize) -> Result<()> {
    let context = || path.display().to_string();
    let mut settings: Value =
        serde_json::from_slice(&fs::read(path).with_context(context)?).with_context(context)?;
    let fewest = settings["min_pixels"].as_u64().unwrap_or(0);
    if (most as u64) < fewest {
        bail!("--max-pixels {most} is below the checkpoint's min_pixels {fewest}");
    }
    settings["max_pixels"] = most.into();
    fs::write(path, serde_json::to_vec_pretty(&settings)?).with_context(context)
}

fn write_shards(config: &Config, model: &Model, dtype: DType, limit: usize, out: &Path) -> Result<()> {
    let mut values = BTreeMap::new();
    model.each_parameter(&mut |name, value| drop(values.insert(name.to_owned(), value)));
    let tensors: Vec<(String, Vec<usize>, Tensor<1>)> = expected_tensors(config)
        .into_iter()
        .map(|(name, shape)| {
            let value = values.remove(&name).with_context(|| format!("the model has no {name}"))?;
            if dtype == DType::F16 {
                fits_half(&name, &value)?;
            }
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

/// Refuses a weight that would become infinite in half precision.
fn fits_half(name: &str, value: &Tensor<1>) -> Result<()> {
    let most = half::f16::MAX.to_f32();
    let data = value.clone().into_data();
    let beyond = data.iter::<f32>().find(|value| value.is_nan() || value.abs() > most);
    beyond.map_or(Ok(()), |value| bail!("{name} holds {value}, beyond float16's {most}; take --dtype bf16"))
}

/// Names the weights' type where the configuration does so already, and at its top where it does not.
fn name_type(config: &mut Value, dtype: Stored) {
    let name = dtype.torch_name();
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
        name_type(&mut flat, Stored::Bf16);
        assert_eq!(flat, json!({"torch_dtype": "bfloat16", "vision_config": {}}));
        let mut nested = json!({"dtype": "bfloat16", "text_config": {"dtype": "bfloat16"}});
        name_type(&mut nested, Stored::F32);
        assert_eq!(nested, json!({"dtype": "float32", "text_config": {"dtype": "float32"}}));
        let mut silent = json!({});
        name_type(&mut silent, Stored::F16);
        assert_eq!(silent, json!({"torch_dtype": "float16"}));
    }

    #[test]
    fn what_half_precision_cannot_hold_is_refused_by_name() {
        let of =
            |values: [f32; 2]| fits_half("lm_head.weight", &Tensor::from_floats(values, &Device::flex()));
        assert!(of([65_504.0, -65_504.0]).is_ok());
        for value in [65_600.0, f32::NEG_INFINITY, f32::NAN] {
            let error = of([0.0, value]).expect_err("too large").to_string();
            assert!(error.contains("lm_head.weight") && error.contains("bf16"), "{error}");
        }
    }
}
