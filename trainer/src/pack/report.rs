//! What packing cost: the error of every tensor, and on given rows what it does to the model.

use anyhow::{Context, Result};
use burn::tensor::DType;
use burn::tensor::Device;
use pollster::block_on;
use rayon::prelude::*;
use serde_json::{Value, json};
use wethink_model::{Launches, Model, Pack, PackTensor};
use wethink_reward::RewardMap;

use super::Values;
use crate::answers::Asker;
use crate::folder::Folder;
use crate::train::rows::Rows as Data;

/// Rows to compare the models on.
pub struct Rows<'a> {
    /// The rows, with their responses.
    pub data: &'a Data,
    /// How many of them.
    pub limit: usize,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// Where both models run.
    pub device: &'a Device,
    /// The datasets' own names of reward kinds.
    pub rewards: &'a RewardMap,
}

/// The report, as JSON.
///
/// For each tensor: bits a value with its scales, the root mean square of the error over that of the values, and the
/// largest error over the largest value. On rows, both models read prompt and given response (forced decoding): the mean and
/// largest difference of a response token's log-probability, and the share of tokens at which both have the same best one;
/// and both answer greedily, judged by rule.
///
/// Memory: errors of tensors take a few rows at a time. For the rows the models are loaded one after the other, the first
/// freed before the second comes; the first, unpacked in float32, is by far the larger ([`wethink_model::weight_bytes`]).
pub fn report(whole: &Folder, packed: &Folder, values: Values, rows: Option<&Rows>) -> Result<Value> {
    let pack = packed.pack().context("the report is about a pack")?;
    let tensors = pack.tensors.iter().map(|tensor| error_of(packed, pack, tensor, values));
    let tensors = tensors.collect::<Result<Vec<Value>>>()?;
    let compared = rows.map(|rows| compare(whole, packed, rows)).transpose()?;
    Ok(json!({ "bytes": pack.bytes(), "tensors": tensors, "rows": compared }))
}

/// Sums over the values of a tensor.
#[derive(Default)]
struct Sums {
    error: f64,
    value: f64,
    largest_error: f64,
    largest_value: f64,
}

fn error_of(folder: &Folder, pack: &Pack, tensor: &PackTensor, values: Values) -> Result<Value> {
    let (rows, width) = tensor.matrix();
    let mut first = 0;
    let mut sums = Sums::default();
    for part in &tensor.parts {
        let (own, scales) = tensor.ranges(part);
        let shard = folder.map(pack.shards[part.shard].file.clone())?;
        let bytes =
            |range: std::ops::Range<u64>| words(&shard.bytes()[range.start as usize..range.end as usize]);
        let (own, scales) = (bytes(own), scales.map(bytes).unwrap_or_default());
        let row = |n: usize| {
            let want = values(&tensor.name, width, first + n..first + n + 1);
            let mut got = vec![0.0; width];
            match tensor.dtype.packing() {
                Some(packing) => {
                    let (row_words, row_scales) = (packing.row_words(width), packing.scale_words(width));
                    let scales = &scales[n * row_scales..(n + 1) * row_scales];
                    packing.unpack(&own[n * row_words..(n + 1) * row_words], scales, &mut got);
                }
                None => {
                    let floats = own[n * width..(n + 1) * width].iter().map(|&bits| f32::from_bits(bits));
                    got = floats.collect();
                }
            }
            let mut sums = Sums::default();
            for (got, want) in got.iter().zip(&want) {
                let (error, want) = (f64::from((got - want).abs()), f64::from(want.abs()));
                sums.error += error * error;
                sums.value += want * want;
                sums.largest_error = sums.largest_error.max(error);
                sums.largest_value = sums.largest_value.max(want);
            }
            sums
        };
        let add = |a: Sums, b: Sums| Sums {
            error: a.error + b.error,
            value: a.value + b.value,
            largest_error: a.largest_error.max(b.largest_error),
            largest_value: a.largest_value.max(b.largest_value),
        };
        let part_sums = (0..part.rows).into_par_iter().map(row).reduce(Sums::default, add);
        sums = add(sums, part_sums);
        first += part.rows;
    }
    let of = |error: f64, value: f64| if value == 0.0 { 0.0 } else { error / value };
    let bytes = rows as u64 * (tensor.dtype.row_bytes(width) + tensor.dtype.scale_bytes(width));
    let shards: Vec<&str> = tensor.parts.iter().map(|part| pack.shards[part.shard].file.as_str()).collect();
    Ok(json!({
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shards": shards,
        "bits_per_value": 8.0 * bytes as f64 / (rows * width).max(1) as f64,
        "relative_error": of(sums.error, sums.value).sqrt(),
        "largest_relative_error": of(sums.largest_error, sums.largest_value),
    }))
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// What one model says of the rows.
struct Said {
    logprobs: Vec<f32>,
    best: Vec<i64>,
    accepted: Vec<bool>,
}

fn compare(whole: &Folder, packed: &Folder, rows: &Rows) -> Result<Value> {
    let plain = said(whole, rows).context("the whole model")?;
    let packed = said(packed, rows).context("the packed model")?;
    let count = plain.logprobs.len().max(1) as f64;
    let differences = || plain.logprobs.iter().zip(&packed.logprobs).map(|(a, b)| f64::from((a - b).abs()));
    let agreed = plain.best.iter().zip(&packed.best).filter(|(a, b)| a == b).count();
    let share = |accepted: &[bool]| match accepted.len() {
        0 => Value::Null,
        rows => json!(accepted.iter().filter(|&&accepted| accepted).count() as f64 / rows as f64),
    };
    Ok(json!({
        "rows": rows.limit,
        "tokens": plain.logprobs.len(),
        "logprob_difference_mean": differences().sum::<f64>() / count,
        "logprob_difference_max": differences().fold(0.0, f64::max),
        "top1_agreement": agreed as f64 / count,
        "judged_rows": plain.accepted.len(),
        "accuracy_whole": share(&plain.accepted),
        "accuracy_packed": share(&packed.accepted),
    }))
}

fn said(folder: &Folder, rows: &Rows) -> Result<Said> {
    let processor = folder.processor()?;
    let stop_ids = folder.stop_ids(&folder.config()?)?;
    let model: Model = folder.load(rows.device, DType::F32, &mut |_, _| {})?;
    let options = wethink_processor::Options::default();
    let mut said = Said { logprobs: Vec::new(), best: Vec::new(), accepted: Vec::new() };
    for index in 0..rows.limit {
        let sample = rows.data.sample(&processor, index, &options)?;
        let mut launches = Launches::new();
        let forced =
            model.forced(&[sample.prompt()], std::slice::from_ref(&sample.response), &mut launches)?;
        said.logprobs.extend(block_on(forced.logprobs.into_data_async())?.iter::<f32>());
        said.best.extend(block_on(forced.best.into_data_async())?.iter::<i64>());
    }
    let asker = Asker {
        model: &model,
        processor: &processor,
        options,
        stop_ids: &stop_ids,
        max_new_tokens: rows.max_new_tokens,
        batch: 1,
        rewards: rows.rewards,
    };
    // Rows without a reward have no answer that a rule could judge.
    let judged: Vec<usize> = (0..rows.limit).filter(|&i| rows.data.row(i).reward.is_some()).collect();
    let answers = asker.answer(rows.data, &judged, &mut |_| true)?;
    said.accepted = answers.iter().map(|answer| answer.accepted).collect();
    Ok(said)
}
