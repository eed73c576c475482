//! Measures and prints one JSON object: medians of repeated runs, in milliseconds, with the smallest and largest.
//!
//! `bench` measures everything, `bench NAME` one suite. Nothing is asserted: times belong to a machine.

mod kernels;
mod model;

use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

type Suite = (&'static str, fn() -> Result<Value>);

const SUITES: [Suite; 3] =
    [("preprocess", model::preprocess), ("model", model::model), ("kernels", kernels::kernels)];

fn main() -> Result<()> {
    let wanted = std::env::args().nth(1);
    if let Some(name) = &wanted
        && !SUITES.iter().any(|(suite, _)| suite == name)
    {
        bail!("no suite `{name}`; there are: {}", SUITES.map(|(suite, _)| suite).join(", "));
    }
    let mut report = Map::new();
    report.insert("threads".into(), std::thread::available_parallelism()?.get().into());
    for (suite, run) in SUITES {
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
