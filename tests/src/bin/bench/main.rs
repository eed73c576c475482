//! Measures and prints one JSON object: medians of repeated runs, in milliseconds, with the smallest and largest.
//!
//! `bench` measures everything, `bench NAME` one suite. Nothing is asserted: times belong to a machine.

mod compiled;
mod data;
mod decode;
mod device;
mod grpo;
mod kernels;
mod model;
mod scenes;
mod train;

use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

type Suite = (&'static str, fn() -> Result<Value>);

const SUITES: &[Suite] = &[
    ("preprocess", model::preprocess),
    ("model", model::model),
    ("kernels", kernels::kernels),
    ("data", data::data),
    ("scenes", scenes::scenes),
];

/// Suites that need more than Rust, or more than a minute: only by name.
const BY_NAME: &[Suite] = &[
    ("train", train::train),
    ("grpo", grpo::grpo),
    ("decode", decode::decode),
    ("compiled", compiled::compiled),
    ("device", device::device),
];

fn main() -> Result<()> {
    let wanted = std::env::args().nth(1);
    let all = || SUITES.iter().chain(BY_NAME);
    if let Some(name) = &wanted
        && !all().any(|(suite, _)| suite == name)
    {
        let suites: Vec<&str> = all().map(|(suite, _)| *suite).collect();
        bail!("no suite `{name}`; there are: {}", suites.join(", "));
    }
    let mut report = Map::new();
    report.insert("threads".into(), std::thread::available_parallelism()?.get().into());
    let chosen = all().filter(|(suite, _)| wanted.as_deref() == Some(*suite));
    let run: Vec<&Suite> = if wanted.is_some() { chosen.collect() } else { SUITES.iter().collect() };
    for (suite, run) in run {
        report.insert((*suite).into(), run()?);
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
