//! The best token and its probability on the device, so that a greedy token needs a read-back of four bytes.

use burn::tensor::{DType, Int, Tensor, TensorData, activation::log_softmax};
use wethink_shaders as shaders;

use crate::pointwise::upcast;
use crate::wgsl::{Buffer, Wgsl};
use crate::{Launches, cpu};

/// Index of the largest logit of each row, the lowest of equals: `[N, V]` to `[N]`. Two ids are never chosen.
///
/// NaN is never chosen by the kernel; the composed body's answer on NaN is unspecified.
pub fn argmax(logits: Tensor<2>, banned: [u32; 2], launches: &mut Launches) -> Tensor<1, Int> {
    let Some(device) = Wgsl::of(&logits) else {
        return argmax_composed(logits, banned, launches);
    };
    let [rows, vocab] = logits.dims();
    let params = shaders::argmax::Params {
        rows: rows as u32,
        vocab: vocab as u32,
        banned_a: banned[0],
        banned_b: banned[1],
    };
    let ids = device.empty_ids([rows]);
    let grid = shaders::argmax::grid(&params);
    device.launch(&shaders::argmax::KERNEL, &params, grid, &[&Buffer::read(logits), &ids], launches);
    ids.ids()
}

/// The definition of [`argmax`].
pub fn argmax_composed(logits: Tensor<2>, banned: [u32; 2], launches: &mut Launches) -> Tensor<1, Int> {
    launches.count("argmax_composed");
    let [_, vocab] = logits.dims();
    let columns: Tensor<1, Int> = Tensor::arange(0..vocab as i64, &logits.device());
    let [a, b] = banned.map(|id| columns.clone().equal_scalar(id as i32));
    let hidden = a.bool_or(b).unsqueeze_dim::<2>(0).expand(logits.dims());
    logits.mask_fill(hidden, f32::NEG_INFINITY).argmax(1).squeeze_dim(1)
}

/// How [`sample`] draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Divides the logits; above 0.
    pub temperature: f64,
    /// Best tokens kept, ties included.
    pub top_k: Option<usize>,
    /// Probability kept.
    pub top_p: Option<f64>,
    /// Ids that are never drawn.
    pub banned: [u32; 2],
}

/// One id drawn from each row of logits, `[N, V]` to `[N]`, by the row's own uniform number; `None` where no kernel runs,
/// and the caller, who defines what a draw is, does it with the logits at hand.
///
/// A row without a finite best logit gets all ones.
pub fn sample(
    logits: Tensor<2>,
    draw: Draw,
    uniform: &[f64],
    launches: &mut Launches,
) -> Option<Tensor<1, Int>> {
    let device = Wgsl::of(&logits)?;
    let [rows, vocab] = logits.dims();
    assert_eq!(uniform.len(), rows, "one number a row");
    let params = shaders::sample::Params {
        rows: rows as u32,
        vocab: vocab as u32,
        banned_a: draw.banned[0],
        banned_b: draw.banned[1],
        temperature: draw.temperature as f32,
        top_k: draw.top_k.map_or(0, |k| u32::try_from(k).unwrap_or(u32::MAX)),
        top_p: draw.top_p.map_or(1.0, |p| p as f32),
        pad: 0,
    };
    let uniform: Vec<f32> = uniform.iter().map(|&number| number as f32).collect();
    let uniform = Tensor::<1>::from_data(TensorData::new(uniform, [rows]), (&logits.device(), DType::F32));
    let ids = device.empty_ids([rows]);
    let grid = shaders::sample::grid(&params);
    let buffers = [&Buffer::read(logits), &Buffer::read(uniform), &ids];
    device.launch(&shaders::sample::KERNEL, &params, grid, &buffers, launches);
    Some(ids.ids())
}

/// log softmax(logits / temperature) at one id per row: `[N, V]` and `[N]` to `[N]`, float32.
pub fn logprobs(
    logits: Tensor<2>,
    ids: Tensor<1, Int>,
    temperature: f64,
    launches: &mut Launches,
) -> Tensor<1> {
    let Some(device) = Wgsl::of(&logits) else {
        return match cpu::logprobs(&logits, &ids, temperature) {
            Some(chosen) => launches.counted("logprobs_cpu", chosen),
            None => logprobs_composed(logits, ids, temperature, launches),
        };
    };
    let [rows, vocab] = logits.dims();
    let params = shaders::logprob_gather::Params {
        rows: rows as u32,
        vocab: vocab as u32,
        inverse_temperature: (1.0 / temperature) as f32,
        pad: 0,
    };
    let chosen = device.empty([rows]);
    let buffers = [&Buffer::read(logits), &Buffer::read_ids(ids), &chosen];
    let grid = shaders::logprob_gather::grid(&params);
    device.launch(&shaders::logprob_gather::KERNEL, &params, grid, &buffers, launches);
    chosen.tensor()
}

/// The definition of [`logprobs`].
pub fn logprobs_composed(
    logits: Tensor<2>,
    ids: Tensor<1, Int>,
    temperature: f64,
    launches: &mut Launches,
) -> Tensor<1> {
    launches.count("logprobs_composed");
    let all = log_softmax(upcast(logits).div_scalar(temperature), 1);
    all.gather(1, ids.unsqueeze_dim(1)).squeeze_dim(1)
}
