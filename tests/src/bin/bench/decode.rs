//! Decoding and prefill over packs of random weights: tokens a second, launches and bytes a token, and the share of the
//! bandwidth that a plain copy reaches on the same device; then each launch of a token by itself.
//!
//! Widths are those of the shapes throughout. A device of software gets one layer of the released ones and few tokens, and
//! four bits only: what its figures say of a layer and of the head holds for all layers. Bytes are what a token must read
//! once: the packed matrices of all layers and of the head, and the keys and values of its context. A share above 1 means
//! that data stayed in a cache.
//!
//! Where `WETHINK_PYTHON` names a Python with transformers, `generate` is timed there in bf16 with the same shapes, layers,
//! context and tokens.

mod parts;

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use pollster::block_on;
use serde_json::{Map, Value, json};
use wethink_model::{Generation, KvCache, Launches, Model, Options, Pack, Prompt, Row, Sampling};
use wethink_tests::fixtures::{Tiny, interop};
use wethink_tests::noise;
use wethink_trainer::device::{DeviceArg, open};
use wethink_trainer::init::Preset;
use wethink_trainer::pack::{Quantize, plan};

use crate::kernels::copy_bandwidth;

/// Tokens that are computed between two readings.
const AHEAD: usize = 8;

/// A shape, and how much of it a device is asked for.
struct Load {
    shape: &'static str,
    config: Value,
    context: usize,
    tokens: usize,
}

impl Load {
    fn layers(&self) -> u64 {
        self.config["num_hidden_layers"].as_u64().unwrap_or(0)
    }
}

/// Suite `decode`, on the CPU and on the WebGPU device, or on the one that the next argument names.
pub fn decode() -> Result<Value> {
    let mut report = Map::new();
    let mut loads = Vec::new();
    let devices = [("cpu", DeviceArg::Cpu), ("wgpu", DeviceArg::Wgpu)];
    let only = std::env::args().nth(2);
    if let Some(only) = &only
        && !devices.iter().any(|(name, _)| name == only)
    {
        bail!("bench decode {only}: cpu or wgpu");
    }
    for (name, argument) in
        devices.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        let opened = open(argument, None)?;
        let software = argument == DeviceArg::Cpu || opened.name.to_lowercase().contains("llvmpipe");
        let copy = copy_bandwidth(&opened.device, software, 5)?;
        let mut rows = Vec::new();
        loads = self::loads(software)?;
        for load in &loads {
            for quantize in if software { vec![Quantize::Q4] } else { vec![Quantize::Q4, Quantize::Q8] } {
                eprintln!("{name}: {} in {quantize:?}, {} layers", load.shape, load.layers());
                let row = row(load, quantize, &opened.device, copy)?;
                // A long suite says what it has: all comes once more at the end.
                eprintln!("{row}");
                rows.push(row);
            }
        }
        let device = json!({"device": opened.name, "copy_bytes_per_second": copy, "rows": rows});
        report.insert(name.into(), device);
    }
    report.insert("transformers".into(), transformers(&loads)?);
    Ok(report.into())
}

/// Every shape.
fn loads(software: bool) -> Result<Vec<Load>> {
    let tiny = Tiny::open()?.folder.read("config.json")?.context("config.json")?;
    let mut xs = Preset::Xs.config();
    // Its own come with a tokenizer.
    xs["image_token_id"] = 500.into();
    xs["video_token_id"] = 501.into();
    let small = [("tiny", serde_json::from_slice(&tiny)?), ("XS", xs)];
    let released = [("3b", noise::shape_3b()), ("7b", noise::shape_7b())];
    let small = small.map(|(shape, config)| Load { shape, config, context: 256, tokens: 32 });
    let released = released.map(|(shape, mut config)| match software {
        true => {
            config["num_hidden_layers"] = 1.into();
            Load { shape, config, context: 32, tokens: 4 }
        }
        false => Load { shape, config, context: 1024, tokens: 64 },
    });
    Ok(small.into_iter().chain(released).collect())
}

fn row(load: &Load, quantize: Quantize, device: &Device, copy: f64) -> Result<Value> {
    let pack = plan(load.config.clone(), quantize, &[])?;
    let started = Instant::now();
    let model = noise::model(&pack, device)?;
    device.sync()?;
    let loaded = started.elapsed().as_secs_f64();
    let ids: Vec<u32> = (0..load.context as u32).map(|i| i * 7 % 400 + 20).collect();
    let positions: Vec<[u32; 3]> = (0..load.context as u32).map(|i| [i; 3]).collect();
    let prompt = Prompt { ids: &ids, positions: &positions, patches: &[], grids: &[] };
    let capacity = load.context + 2 * load.tokens + 1;
    let mut cache = model.cache(1, capacity);
    let mut prefill = f64::NAN;
    // Twice: the first pays for compiling.
    for _ in 0..2 {
        cache = model.cache(1, capacity);
        let started = Instant::now();
        block_on(model.prefill(&[prompt], &mut cache, &mut Launches::new())?.logits.into_data_async())?;
        prefill = started.elapsed().as_secs_f64();
    }
    let (_, fewer) = generated(&model, prompt, &mut cache, load.tokens)?;
    let (seconds, launches) = generated(&model, prompt, &mut cache, 2 * load.tokens)?;
    let bytes = bytes_a_token(&pack, &model, load.context);
    // What the prompt's end took is in both.
    let each = |(name, count)| (name, (count - fewer.of(name)) as f64 / load.tokens as f64);
    let launches: Vec<(&str, f64)> = launches.iter().map(each).collect();
    Ok(json!({
        "shape": load.shape,
        "weights": format!("{quantize:?}").to_lowercase(),
        "layers": load.layers(),
        "context": load.context,
        "pack_bytes": pack.bytes(),
        "load_seconds": loaded,
        "prefill_tokens_per_second": load.context as f64 / prefill,
        "decode_tokens_per_second": 1.0 / seconds,
        "launches_per_token": launches.iter().map(|(_, count)| count).sum::<f64>(),
        "launches_by_kernel": launches.iter().map(|&(name, count)| (name.into(), count.into())).collect::<Map<_, _>>(),
        "bytes_per_token": bytes,
        "share_of_copy_bandwidth": bytes as f64 / seconds / copy,
        "kernels": parts::parts(&model, load.context, copy)?,
        "peak_memory_bytes_so_far": noise::peak_memory(),
    }))
}

/// Seconds of each of `tokens` greedy tokens after the first, and the launches of all.
fn generated(model: &Model, prompt: Prompt, cache: &mut KvCache, tokens: usize) -> Result<(f64, Launches)> {
    let options = Options {
        sampling: Sampling::default(),
        max_new_tokens: tokens + 1,
        min_new_tokens: 0,
        stop_ids: Vec::new(),
        stop_strings: Vec::new(),
        seed: 0,
        step: 0,
    };
    let mut launches = Launches::new();
    let row = [Row { prompt: 0, sample: 0 }];
    let mut generation = Generation::new(model, &[prompt], &row, cache, options, None, &mut launches)?;
    block_on(generation.next())?;
    let started = Instant::now();
    generation.ahead(AHEAD);
    while block_on(generation.next())?.is_some() {}
    let seconds = started.elapsed().as_secs_f64() / tokens as f64;
    drop(generation);
    Ok((seconds, launches))
}

fn bytes_a_token(pack: &Pack, model: &Model, context: usize) -> u64 {
    let text = &model.config().text;
    let head = if model.lm_head.is_some() { "lm_head." } else { "model.embed_tokens." };
    let read = pack.tensors.iter().filter(|tensor| {
        tensor.name.starts_with("model.layers.")
            || tensor.name.starts_with("model.norm")
            || tensor.name.starts_with(head)
    });
    let weights: u64 = read
        .map(|tensor| {
            let (rows, width) = tensor.matrix();
            rows as u64 * (tensor.dtype.row_bytes(width) + tensor.dtype.scale_bytes(width))
        })
        .sum();
    let cache = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim() * context * 4;
    weights + cache as u64
}

/// The same in transformers, or how to get it.
fn transformers(loads: &[Load]) -> Result<Value> {
    let Some(python) = std::env::var_os("WETHINK_PYTHON") else {
        return Ok("WETHINK_PYTHON is not set; it may name a Python with torch and transformers".into());
    };
    let cases: Vec<Value> = loads
        .iter()
        .map(|load| {
            let Load { shape, config, context, tokens } = load;
            json!({"shape": shape, "config": config, "context": context, "tokens": 2 * tokens})
        })
        .collect();
    let script = interop().join("bench_decode.py");
    let output = Command::new(python).arg(script).arg(Value::from(cases).to_string()).output()?;
    if !output.status.success() {
        bail!("bench_decode.py: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("bench_decode.py")
}
