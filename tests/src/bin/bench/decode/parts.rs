//! The launches of one token, each by itself: what a token's time goes into.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use serde_json::{Value, json};
use wethink_kernels::{
    Cache, Draw, Launches, PackedMatrix, Span, argmax, attention_causal, logprobs, packed_add,
    packed_gate_up, packed_gather, packed_product, rms_norm, rotate_append_joined, runs_wgsl, sample,
};
use wethink_model::{Linear, Model, Weight};

/// One of them.
struct Part<'a> {
    name: &'static str,
    /// How often a greedy token takes it.
    times: usize,
    /// What it must read.
    bytes: usize,
    run: Box<dyn Fn() + 'a>,
}

/// For each: microseconds, how often a token takes it, its share of the sum of all, and of the copy bandwidth.
///
/// One after the other on a queue that is waited for at the end: where a device works on several at once, their sum exceeds
/// a token's time.
pub fn parts(model: &Model, context: usize, copy: f64) -> Result<Vec<Value>> {
    let device = model.device();
    let bench = Bench::new(model, context, &device)?;
    let parts = bench.layer()?.into_iter().chain(bench.around()?);
    let mut rows = Vec::new();
    for Part { name, times, bytes, run } in parts {
        rows.push((name, times, bytes, seconds(&device, &run)?));
    }
    let all: f64 = rows.iter().map(|(_, times, _, seconds)| *times as f64 * seconds).sum();
    let row = |(name, times, bytes, seconds): (&str, usize, usize, f64)| {
        json!({
            "name": name,
            "times_a_token": times,
            "microseconds": seconds * 1e6,
            "share_of_token": times as f64 * seconds / all,
            "bytes": bytes,
            "share_of_copy_bandwidth": bytes as f64 / seconds / copy,
        })
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Seconds of one run, the best of three rounds of some.
fn seconds(device: &Device, run: &dyn Fn()) -> Result<f64> {
    let round = |runs: usize| -> Result<f64> {
        let started = Instant::now();
        (0..runs).for_each(|_| run());
        device.sync()?;
        Ok(started.elapsed().as_secs_f64() / runs as f64)
    };
    round(1)?;
    let runs = ((0.05 / round(1)?) as usize).clamp(1, 50);
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        best = best.min(round(runs)?);
    }
    Ok(best)
}

struct Bench<'a> {
    model: &'a Model,
    device: &'a Device,
    context: usize,
    /// The stream, `[1, C]`.
    x: Tensor<2>,
    span: Span,
    /// Handed on from run to run, as the model does, so that it is written in place.
    cache: RefCell<Option<Cache>>,
}

fn matrix(weight: &Weight) -> Result<&PackedMatrix> {
    weight.packed().context("a packed weight")
}

impl<'a> Bench<'a> {
    fn new(model: &'a Model, context: usize, device: &'a Device) -> Result<Self> {
        let text = &model.config().text;
        let shape = [1, text.num_key_value_heads, context + 1, text.head_dim()];
        let random = || Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), device);
        Ok(Self {
            model,
            device,
            context,
            x: Tensor::random([1, text.hidden_size], Distribution::Normal(0.0, 1.0), device),
            span: Span::new(vec![context], vec![1], 1, device),
            cache: RefCell::new(Some(Cache { k: random(), v: random() })),
        })
    }

    /// What every layer does.
    fn layer(&self) -> Result<Vec<Part<'_>>> {
        let layer = self.model.model.layers.first().context("a layer")?;
        let (attention, mlp) = (&layer.self_attn, &layer.mlp);
        let times = self.model.model.layers.len();
        let projections = [&attention.q_proj, &attention.k_proj, &attention.v_proj];
        let [q, k, v] = projections.map(|linear| matrix(&linear.weight));
        let qkv = PackedMatrix::joined(&[q?, k?, v?]).context("one matrix of three")?;
        let bias = |linear: &Linear| linear.bias.as_ref().map(|bias| bias.val());
        let bias: Option<Vec<_>> = projections.into_iter().map(bias).collect();
        let bias = Tensor::cat(bias.context("biases")?, 0);
        let (out, gate) = (matrix(&attention.o_proj.weight)?, matrix(&mlp.gate_proj.weight)?);
        let (up, down) = (matrix(&mlp.up_proj.weight)?, matrix(&mlp.down_proj.weight)?);
        let random = |width| Tensor::<2>::random([1, width], Distribution::Normal(0.0, 1.0), self.device);
        let (attended, inner, joined) = (random(out.width()), random(down.width()), random(qkv.rows()));
        let norm = |norm: &wethink_model::RmsNorm| (norm.weight.val(), norm.eps);
        let (first, second) = (norm(&layer.input_layernorm), norm(&layer.post_attention_layernorm));
        let head_dim = attention.head_dim;
        let table = Tensor::<4>::ones([1, 1, 2, head_dim / 2], self.device);
        let heads = out.width() / head_dim;
        let q = Tensor::<4>::ones([1, 1, heads, head_dim], self.device);
        let held = 8 * self.model.config().text.num_key_value_heads * head_dim * self.context;
        let (x, launches) = (&self.x, Launches::new);
        let part = |name, bytes, run| Part { name, times, bytes, run };
        let gated = gate.bytes() + up.bytes();
        let rotate = move || {
            let cache = self.cache.borrow_mut().take().expect("put back below");
            let qkv = joined.clone().unsqueeze_dim(1);
            let (_, cache) = rotate_append_joined(qkv, table.clone(), &self.span, cache, &mut launches());
            *self.cache.borrow_mut() = Some(cache);
        };
        let attend = move || {
            let cache = self.cache.borrow();
            let cache = cache.as_ref().expect("nobody else has it");
            drop(attention_causal(q.clone(), cache, &self.span, &mut launches()));
        };
        let qkv_bytes = qkv.bytes();
        let qkv = move || {
            drop(packed_product(x.clone(), &qkv, Some(first.clone()), Some(bias.clone()), &mut launches()));
        };
        Ok(vec![
            part("norm, queries, keys and values", qkv_bytes, Box::new(qkv)),
            part("rotation and append", 0, Box::new(rotate)),
            part("attention", held, Box::new(attend)),
            part(
                "output, added",
                out.bytes(),
                Box::new(move || drop(packed_add(attended.clone(), out, x.clone(), &mut launches()))),
            ),
            part(
                "norm, gate and value",
                gated,
                Box::new(move || {
                    drop(packed_gate_up(x.clone(), second.clone(), gate, up, &mut launches()));
                }),
            ),
            part(
                "down, added",
                down.bytes(),
                Box::new(move || drop(packed_add(inner.clone(), down, x.clone(), &mut launches()))),
            ),
        ])
    }

    /// What a token takes once.
    fn around(&self) -> Result<Vec<Part<'_>>> {
        let model = self.model;
        let table = matrix(&model.model.embed_tokens.weight)?;
        let head =
            matrix(model.lm_head.as_ref().map_or(&model.model.embed_tokens.weight, |head| &head.weight))?;
        let norm = &model.model.norm;
        let config = model.config();
        let banned = [config.image_token_id, config.video_token_id];
        let id = Tensor::<1, Int>::from_data(TensorData::new(vec![21i32], [1]), self.device);
        let logits = Tensor::<2>::random([1, head.rows()], Distribution::Normal(0.0, 1.0), self.device);
        let (x, launches) = (&self.x, Launches::new);
        let part = |name, bytes, run| Part { name, times: 1, bytes, run };
        let (own, scores, drawn) = (id.clone(), logits.clone(), logits.clone());
        let draw = Draw { temperature: 1.0, top_k: Some(50), top_p: Some(0.9), banned };
        let sampled = Part {
            name: "token of the best 50 and of 0.9, in place of the best",
            times: 0,
            bytes: 4 * head.rows(),
            run: Box::new(move || drop(sample(drawn.clone(), draw, &[0.5], &mut launches()))),
        };
        let parts = vec![
            part(
                "embedding",
                table.bytes() / table.rows(),
                Box::new(move || {
                    drop(packed_gather(own.clone(), table, &norm.weight.val(), &mut launches()));
                }),
            ),
            part(
                "norm",
                8 * x.dims()[1],
                Box::new(move || drop(rms_norm(x.clone(), norm.weight.val(), norm.eps, &mut launches()))),
            ),
            part(
                "head",
                head.bytes(),
                Box::new(move || drop(packed_product(x.clone(), head, None, None, &mut launches()))),
            ),
            part(
                "best token",
                4 * head.rows(),
                Box::new(move || drop(argmax(scores.clone(), banned, &mut launches()))),
            ),
            part(
                "log-probability",
                4 * head.rows(),
                Box::new(move || drop(logprobs(logits.clone(), id.clone(), 1.0, &mut launches()))),
            ),
        ];
        // Elsewhere tokens are drawn from logits that are read back.
        let sampled = Some(sampled).filter(|_| runs_wgsl(x));
        Ok(parts.into_iter().chain(sampled).collect())
    }
}
