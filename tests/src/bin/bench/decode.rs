//! Decoding and prefill over packs of random weights: tokens a second, launches and bytes a token, and the share of the
//! bandwidth that a plain copy reaches on the same device.
//!
//! Widths are those of the released models throughout; a device of software gets one layer and few tokens of
//! them, and four bits only. Bytes are
//! what a token must read once: the packed matrices of all layers and of the head, and the keys and values of its context.
//! A share above 1 means that data stayed in a cache.

use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::Device;
use pollster::block_on;
use serde_json::{Map, Value, json};
use wethink_model::{Launches, Model, Pack, Prompt};
use wethink_tests::fixtures::Tiny;
use wethink_tests::noise;
use wethink_trainer::device::{DeviceArg, open};
use wethink_trainer::pack::{Quantize, plan};

use crate::kernels::copy_bandwidth;

/// How much of a shape a device is asked for.
struct Load {
    layers: usize,
    context: usize,
    tokens: usize,
}

/// Suite `decode`, on the CPU and on the WebGPU device.
pub fn decode() -> Result<Value> {
    let mut report = Map::new();
    for (name, argument) in [("cpu", DeviceArg::Cpu), ("wgpu", DeviceArg::Wgpu)] {
        let opened = open(argument, None)?;
        let software = argument == DeviceArg::Cpu || opened.name.to_lowercase().contains("llvmpipe");
        let copy = copy_bandwidth(&opened.device, software, 5)?;
        let mut rows = Vec::new();
        for (shape, config) in shapes()? {
            let released = config["num_hidden_layers"].as_u64().context("num_hidden_layers")? as usize;
            let load = match software {
                true => Load { layers: 1, context: 12, tokens: 3 },
                false => Load { layers: released, context: 1024, tokens: 64 },
            };
            for quantize in if software { vec![Quantize::Q4] } else { vec![Quantize::Q4, Quantize::Q8] } {
                rows.push(row(shape, config.clone(), quantize, &load, &opened.device, copy)?);
            }
        }
        let device = json!({"device": opened.name, "copy_bytes_per_second": copy, "rows": rows});
        report.insert(name.into(), device);
    }
    Ok(report.into())
}

/// Name and `config.json` of every shape.
fn shapes() -> Result<Vec<(&'static str, Value)>> {
    let tiny = Tiny::open()?.folder.read("config.json")?.context("config.json")?;
    Ok(vec![("tiny", serde_json::from_slice(&tiny)?), ("3b", noise::shape_3b()), ("7b", noise::shape_7b())])
}

fn row(
    shape: &str,
    mut config: Value,
    quantize: Quantize,
    load: &Load,
    device: &Device,
    copy: f64,
) -> Result<Value> {
    config["num_hidden_layers"] = load.layers.into();
    let pack = plan(config, quantize, &[])?;
    let started = Instant::now();
    let model = noise::model(&pack, device)?;
    device.sync()?;
    let loaded = started.elapsed().as_secs_f64();
    let ids: Vec<u32> = (0..load.context as u32).map(|i| i * 7 % 900 + 20).collect();
    let positions: Vec<[u32; 3]> = (0..load.context as u32).map(|i| [i; 3]).collect();
    let prompt = Prompt { ids: &ids, positions: &positions, patches: &[], grids: &[] };
    let mut cache = model.cache(1, load.context + 2 * load.tokens + 1);
    let mut prefill = f64::NAN;
    // Twice: the first pays for compiling.
    for _ in 0..2 {
        cache = model.cache(1, load.context + 2 * load.tokens + 1);
        let started = Instant::now();
        block_on(model.prefill(&[prompt], &mut cache, &mut Launches::new())?.logits.into_data_async())?;
        prefill = started.elapsed().as_secs_f64();
    }
    let mut seconds = f64::NAN;
    let mut launches = Launches::new();
    for _ in 0..2 {
        launches = Launches::new();
        let started = Instant::now();
        for _ in 0..load.tokens {
            let logits = model.step(&[Some(21)], &mut cache, &mut launches)?;
            block_on(logits.slice([0..1, 0..1]).into_data_async())?;
        }
        seconds = started.elapsed().as_secs_f64() / load.tokens as f64;
    }
    let bytes = bytes_a_token(&pack, &model, load.context);
    let counts: Map<String, Value> =
        launches.iter().map(|(name, count)| (name.into(), (count / load.tokens as u64).into())).collect();
    Ok(json!({
        "shape": shape,
        "weights": format!("{quantize:?}").to_lowercase(),
        "layers": load.layers,
        "context": load.context,
        "pack_bytes": pack.bytes(),
        "load_seconds": loaded,
        "prefill_tokens_per_second": load.context as f64 / prefill,
        "decode_tokens_per_second": 1.0 / seconds,
        "launches_per_token": launches.iter().map(|(_, count)| count).sum::<u64>() / load.tokens as u64,
        "launches_by_kernel": counts,
        "bytes_per_token": bytes,
        "share_of_copy_bandwidth": bytes as f64 / seconds / copy,
        "peak_memory_bytes": noise::peak_memory(),
    }))
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
