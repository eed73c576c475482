//! Measures and prints one JSON object: medians of repeated runs, in milliseconds, with the smallest and largest.
//!
//! `bench` measures everything, `bench preprocess` or `bench model` one suite. Nothing is asserted: times belong to a machine.

use std::time::Instant;

use anyhow::{Result, bail};
use burn::tensor::Device;
use pollster::block_on;
use serde_json::{Map, Value, json};
use wethink_model::{Launches, Model};
use wethink_processor::{Patches, Picture};
use wethink_tests::fixtures::{Case, Tiny};

fn main() -> Result<()> {
    let suites: [(&str, fn() -> Result<Value>); 2] = [("preprocess", preprocess), ("model", model)];
    let wanted = std::env::args().nth(1);
    if let Some(name) = &wanted
        && !suites.iter().any(|(suite, _)| suite == name)
    {
        bail!(
            "no suite `{name}`; there are: {}",
            suites.map(|(suite, _)| suite).join(", ")
        );
    }
    let mut report = Map::new();
    report.insert(
        "threads".into(),
        std::thread::available_parallelism()?.get().into(),
    );
    for (suite, run) in suites {
        if wanted.as_deref().is_none_or(|name| name == suite) {
            report.insert(suite.into(), run()?);
        }
    }
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

/// Times `run` after one warm-up: median, smallest and largest of `runs`, in milliseconds.
fn milliseconds(runs: usize, mut run: impl FnMut() -> Result<()>) -> Result<Value> {
    run()?;
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let started = Instant::now();
        run()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(json!({ "median": times[runs / 2], "min": times[0], "max": times[runs - 1], "runs": runs }))
}

/// A 1920x1080 picture to patches: decoding, resizing, normalising.
fn preprocess() -> Result<Value> {
    let config = Tiny::open()?.processor.preprocessor;
    let (width, height) = (1920, 1080);
    let noise = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let rgb: Vec<u8> = (0..width * height * 3)
        .map(|i| (noise(i) >> 4) + (i / (width * 3) % 200) as u8)
        .collect();
    let picture = Picture::from_rgb("1920x1080", width, height, rgb)?;
    let patches = Patches::of(&picture, &config)?;
    let time = milliseconds(9, || Patches::of(&picture, &config).map(drop).map_err(Into::into))?;
    Ok(json!({ "picture": [width, height], "grid_thw": patches.grid, "milliseconds": time }))
}

/// Prefill and decode of the tiny model on the CPU, on the case with the most tokens.
fn model() -> Result<Value> {
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
