//! Preprocessing, and the tiny model on the CPU.

use anyhow::Result;
use burn::tensor::Device;
use pollster::block_on;
use serde_json::{Value, json};
use wethink_model::{Launches, Model};
use wethink_processor::{Patches, Picture};
use wethink_tests::fixtures::{Case, Tiny};

use crate::milliseconds;

/// A 1920x1080 picture to patches: decoding, resizing, normalising.
pub fn preprocess() -> Result<Value> {
    let config = Tiny::open()?.processor.preprocessor;
    let (width, height) = (1920, 1080);
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let rgb: Vec<u8> =
        (0..width * height * 3).map(|i| (noise(i) >> 4) + (i / (width * 3) % 200) as u8).collect();
    let picture = Picture::from_rgb("1920x1080", width, height, rgb)?;
    let patches = Patches::of(&picture, &config)?;
    let time = milliseconds(9, || Patches::of(&picture, &config).map(drop).map_err(Into::into))?;
    Ok(json!({ "picture": [width, height], "grid_thw": patches.grid, "milliseconds": time }))
}

/// Prefill and decode of the tiny model on the CPU, on the case with the most tokens.
pub fn model() -> Result<Value> {
    let tiny = Tiny::open()?;
    let model = tiny.model(&Device::flex())?;
    let longest = tiny.cases.iter().max_by_key(|case| case.encoded.ids.len());
    let case = longest.expect("a set has cases");
    let tokens = case.encoded.ids.len();
    let prefill = milliseconds(9, || run(&model, case, 0))?;
    let steps = 64;
    let whole = milliseconds(9, || run(&model, case, steps))?;
    let of = |value: &Value| value["median"].as_f64().unwrap_or(f64::NAN);
    Ok(json!({
        "case": case.name,
        "prompt_tokens": tokens,
        "prefill_milliseconds": prefill,
        "prefill_tokens_per_second": tokens as f64 / of(&prefill) * 1e3,
        "decode_tokens_per_second": steps as f64 / (of(&whole) - of(&prefill)) * 1e3,
    }))
}

fn run(model: &Model, case: &Case, steps: usize) -> Result<()> {
    let mut launches = Launches::new();
    let mut cache = model.cache(1, case.encoded.ids.len() + steps);
    let mut logits = model.prefill(&[case.prompt()], &mut cache, &mut launches)?.logits;
    for _ in 0..steps {
        block_on(logits.into_data_async())?;
        logits = model.step(&[Some(1)], &mut cache, &mut launches)?;
    }
    block_on(logits.into_data_async())?;
    Ok(())
}
