//! Kernels on the WebGPU device: time beside the composed body, bytes that must move, and their share of the bandwidth
//! that a plain copy reaches on the same device.
//!
//! Shapes are those of the 3B and 7B models; a software adapter gets fewer tokens of them. Bytes are what the operation
//! must read and write once; a share above 1 means that data stayed in a cache. What the adapter cannot run has an error in
//! place of times.

use anyhow::Result;
use burn::tensor::{Device, Distribution, Tensor};
use serde_json::{Map, Value, json};
use wethink_kernels::{
    Cache, Launches, Segments, Span, add_rms_norm, add_rms_norm_composed, argmax, argmax_composed,
    attention_causal, attention_causal_composed, attention_segments, attention_segments_composed, logprobs,
    logprobs_composed, rms_norm, rms_norm_composed, rotate_append, rotate_append_composed, rotate_qkv,
    rotate_qkv_composed, silu_mul, silu_mul_composed,
};
use wethink_trainer::device::{DeviceArg, open};

use crate::milliseconds;

/// Widths of a released model.
struct Shape {
    name: &'static str,
    width: usize,
    heads: usize,
    kv_heads: usize,
    inner: usize,
    vocab: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { name: "3b", width: 2048, heads: 16, kv_heads: 2, inner: 11008, vocab: 151936 },
    Shape { name: "7b", width: 3584, heads: 28, kv_heads: 4, inner: 18944, vocab: 152064 },
];
const HEAD: usize = 128;
const VISION_HEADS: usize = 16;
const VISION_HEAD: usize = 80;

/// How much of a shape a device is asked for.
struct Load {
    prefill: usize,
    cached: usize,
    patches: usize,
    runs: usize,
}

/// A device and what has been measured on it.
struct Bench {
    device: Device,
    load: Load,
    copy: f64,
    rows: Vec<Value>,
}

pub fn kernels() -> Result<Value> {
    let opened = open(DeviceArg::Wgpu, None)?;
    let software = opened.name.to_lowercase().contains("llvmpipe");
    let load = match software {
        true => Load { prefill: 64, cached: 512, patches: 256, runs: 3 },
        false => Load { prefill: 1024, cached: 4096, patches: 4096, runs: 20 },
    };
    let copy = copy_bandwidth(&opened.device, software, load.runs)?;
    let mut bench = Bench { device: opened.device.clone(), load, copy, rows: Vec::new() };
    for shape in &SHAPES {
        bench.text(shape)?;
        bench.products(shape)?;
    }
    bench.vision()?;
    let mut report = Map::new();
    report.insert("device".into(), opened.name.into());
    report.insert("copy_bytes_per_second".into(), copy.into());
    report.insert("rows".into(), bench.rows.into());
    Ok(report.into())
}

/// Bytes a second of `x = x + 1` over 512 MiB: each value is read once and written once. They lie in four buffers, as large as
/// a binding of WebGPU's default limits. On a GPU several passes follow one another before it is waited for: a wait takes
/// as long as a buffer there.
pub fn copy_bandwidth(device: &Device, software: bool, runs: usize) -> Result<f64> {
    let (count, passes) = (1 << 25, if software { 1 } else { 8 });
    let mut buffers: Vec<Tensor<1>> = (0..4).map(|_| Tensor::zeros([count], device)).collect();
    device.sync()?;
    let time = milliseconds(runs, || {
        for _ in 0..passes {
            buffers.iter_mut().for_each(|x| x.inplace(|x| x + 1.0));
        }
        Ok(device.sync()?)
    })?;
    Ok(8.0 * (count * buffers.len() * passes) as f64 / median_seconds(&time))
}

fn median_seconds(time: &Value) -> f64 {
    time["median"].as_f64().unwrap_or(f64::NAN) / 1e3
}

impl Bench {
    fn random<const R: usize>(&self, shape: [usize; R]) -> Tensor<R> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &self.device)
    }

    /// Times a kernel and, where there is one, its composed body; `values` are the float32 values that must move.
    fn row(
        &mut self,
        model: &str,
        name: &str,
        values: usize,
        kernel: impl Fn(),
        composed: Option<&dyn Fn()>,
    ) -> Result<()> {
        let device = self.device.clone();
        let time = |run: &dyn Fn()| {
            milliseconds(self.load.runs, || {
                run();
                Ok(device.sync()?)
            })
        };
        let own = time(&kernel)?;
        let composed = composed.map(time).transpose()?;
        let rate = 4.0 * values as f64 / median_seconds(&own);
        self.rows.push(json!({
            "model": model,
            "kernel": name,
            "milliseconds": own,
            "composed_milliseconds": composed,
            "bytes": 4 * values,
            "share_of_copy_bandwidth": rate / self.copy,
        }));
        Ok(())
    }

    fn text(&mut self, shape: &Shape) -> Result<()> {
        let (tokens, held) = (self.load.prefill, self.load.cached);
        let x = self.random([1, tokens, shape.width]);
        let residual = self.random([1, tokens, shape.width]);
        let weight = self.random([shape.width]);
        let launches = Launches::new;
        self.row(
            shape.name,
            "rms_norm",
            2 * tokens * shape.width,
            || drop(rms_norm(x.clone(), weight.clone(), 1e-6, &mut launches())),
            Some(&|| drop(rms_norm_composed(x.clone(), weight.clone(), 1e-6, &mut launches()))),
        )?;
        self.row(
            shape.name,
            "add_rms_norm",
            4 * tokens * shape.width,
            || drop(add_rms_norm(x.clone(), residual.clone(), weight.clone(), 1e-6, &mut launches())),
            Some(&|| {
                drop(add_rms_norm_composed(
                    x.clone(),
                    residual.clone(),
                    weight.clone(),
                    1e-6,
                    &mut launches(),
                ))
            }),
        )?;
        let (gate, up) = (self.random([tokens, shape.inner]), self.random([tokens, shape.inner]));
        self.row(
            shape.name,
            "silu_mul",
            3 * tokens * shape.inner,
            || drop(silu_mul(gate.clone(), up.clone(), &mut launches())),
            Some(&|| drop(silu_mul_composed(gate.clone(), up.clone(), &mut launches()))),
        )?;
        self.attention(shape, "prefill", tokens, 0)?;
        self.attention(shape, "decode", 1, held)?;
        let logits = self.random([1, shape.vocab]);
        let banned = [151655, 151656];
        let best = argmax(logits.clone(), banned, &mut launches());
        self.row(
            shape.name,
            "argmax",
            shape.vocab,
            || drop(argmax(logits.clone(), banned, &mut launches())),
            Some(&|| drop(argmax_composed(logits.clone(), banned, &mut launches()))),
        )?;
        self.row(
            shape.name,
            "logprob_gather",
            shape.vocab,
            || drop(logprobs(logits.clone(), best.clone(), 1.0, &mut launches())),
            Some(&|| drop(logprobs_composed(logits.clone(), best.clone(), 1.0, &mut launches()))),
        )
    }

    /// Rotation with storing, then attention, of `tokens` new tokens behind `held` ones.
    fn attention(&mut self, shape: &Shape, phase: &str, tokens: usize, held: usize) -> Result<()> {
        let (heads, kv) = (shape.heads, shape.kv_heads);
        let span = Span::new(vec![held], vec![tokens], tokens, &self.device);
        let (q, k) = (self.random([1, tokens, heads, HEAD]), self.random([1, tokens, kv, HEAD]));
        let table = self.random([1, tokens, 2, HEAD / 2]);
        let cache_shape = [1, kv, held + tokens, HEAD];
        let cache = Cache { k: self.random(cache_shape), v: self.random(cache_shape) };
        let own = std::cell::RefCell::new(Some(cache.clone()));
        let append = |composed: bool| {
            // The cache is handed on, as the model does, so that it is written in place.
            let cache = own.borrow_mut().take().expect("put back below");
            let mut launches = Launches::new();
            let (q, k, v, table) = (q.clone(), k.clone(), k.clone(), table.clone());
            let (_, cache) = match composed {
                false => rotate_append(q, k, v, table, &span, cache, &mut launches),
                true => rotate_append_composed(q, k, v, table, &span, cache, &mut launches),
            };
            *own.borrow_mut() = Some(cache);
        };
        let new = tokens * HEAD * (2 * heads + 4 * kv + 1);
        self.row(
            shape.name,
            &format!("mrope_append, {phase}"),
            new,
            || append(false),
            Some(&|| append(true)),
        )?;
        let moved = 2 * tokens * heads * HEAD + 2 * (held + tokens) * kv * HEAD;
        self.row(
            shape.name,
            &format!("attention_{phase}"),
            moved,
            || drop(attention_causal(q.clone(), &cache, &span, &mut Launches::new())),
            Some(&|| drop(attention_causal_composed(q.clone(), &cache, &span, &mut Launches::new()))),
        )
    }

    /// burn's float32 products of one layer at one token: what quantized products will be compared with.
    fn products(&mut self, shape: &Shape) -> Result<()> {
        let (attended, kv) = (shape.heads * HEAD, shape.kv_heads * HEAD);
        let products = [
            ("q_proj", attended, shape.width),
            ("k_proj", kv, shape.width),
            ("o_proj", shape.width, attended),
            ("up_proj", shape.inner, shape.width),
            ("down_proj", shape.width, shape.inner),
        ];
        for (name, out, input) in products {
            let (x, weight) = (self.random([1, input]), self.random([out, input]));
            let product = || x.clone().matmul(weight.clone().transpose());
            // A weight above the adapter's binding limit fails when it is read, not when it is launched.
            if let Err(error) = pollster::block_on(product().into_data_async()) {
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                self.rows.push(json!({ "model": shape.name, "kernel": name, "error": line }));
                continue;
            }
            let run = || drop(product());
            self.row(shape.name, name, out * input + out + input, run, None)?;
        }
        Ok(())
    }

    fn vision(&mut self) -> Result<()> {
        let patches = self.load.patches;
        let qkv = self.random([patches, 3, VISION_HEADS, VISION_HEAD]);
        let table = self.random([patches, 2, VISION_HEAD / 2]);
        let wide = patches * VISION_HEADS * VISION_HEAD;
        self.row(
            "vision",
            "rope_vision",
            6 * wide + patches * VISION_HEAD,
            || drop(rotate_qkv(qkv.clone(), table.clone(), &mut Launches::new())),
            Some(&|| drop(rotate_qkv_composed(qkv.clone(), table.clone(), &mut Launches::new()))),
        )?;
        for (name, length) in [("attention_vision, windows", 64), ("attention_vision, full", patches)] {
            let segments = Segments::new(vec![length; patches / length], &self.device);
            self.row(
                "vision",
                name,
                4 * wide,
                || drop(attention_segments(qkv.clone(), &segments, &mut Launches::new())),
                Some(&|| drop(attention_segments_composed(qkv.clone(), &segments, &mut Launches::new()))),
            )?;
        }
        Ok(())
    }
}
