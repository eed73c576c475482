//! Rewards per second, and the time of one verification by kind, on a corpus made here from a seed.
//!
//! `cargo run --release -p wethink-reward --example bench [-- --rows N --seed S]` prints one JSON object; with `--dump` the
//! corpus itself as JSON lines, for `trainer verify` and for the same rows in WASM. The mix is in [`corpus`].

mod corpus;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};
use wethink_reward::{Record, RewardMap, verify};

fn option(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|a| a != name);
    args.nth(1).and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Microseconds of every row, the better of two runs as in the comparison with other verifiers.
fn times(records: &[Record]) -> Vec<f64> {
    let once = |record: &Record| {
        let start = Instant::now();
        let _ = black_box(verify(black_box(record)));
        start.elapsed().as_secs_f64() * 1e6
    };
    let first: Vec<f64> = records.iter().map(once).collect();
    records.iter().zip(first).map(|(r, t)| t.min(once(r))).collect()
}

fn spread(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    let round = |t: f64| (t * 100.0).round() / 100.0;
    json!({ "rows": times.len(), "median_us": round(at(0.5)), "p99_us": round(at(0.99)), "max_us": round(at(1.0)) })
}

fn main() {
    let (rows, seed) = (option("--rows", 20_000) as usize, option("--seed", 1));
    let corpus = corpus::rows(rows, seed);
    if std::env::args().any(|a| a == "--dump") {
        for row in &corpus {
            println!("{row}");
        }
        return;
    }
    let map = RewardMap::default();
    let records: Vec<Record> =
        corpus.iter().map(|r| Record::from_json(r, &map).expect("a row of the corpus")).collect();
    let mut by_kind: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
    for record in &records {
        by_kind.entry(record.kind.name()).or_default().push(record.clone());
    }
    let wrong = corpus
        .iter()
        .zip(&records)
        .filter(|(row, record)| verify(record).map(|v| v.accepted()).ok() != row["expected"].as_bool())
        .count();
    let start = Instant::now();
    for record in &records {
        let _ = black_box(verify(record));
    }
    let one = records.len() as f64 / start.elapsed().as_secs_f64();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for part in records.chunks(records.len().div_ceil(cores)) {
            scope.spawn(move || part.iter().for_each(|r| drop(black_box(verify(r)))));
        }
    });
    let all = records.len() as f64 / start.elapsed().as_secs_f64();
    let kinds: serde_json::Map<String, Value> =
        by_kind.into_iter().map(|(kind, records)| (kind.to_owned(), spread(times(&records)))).collect();
    let report = json!({
        "bench": "reward",
        "rows": records.len(),
        "seed": seed,
        "mix": corpus::MIX,
        "wrong": wrong,
        "per_second_one_core": one.round(),
        "per_second_all_cores": all.round(),
        "cores": cores,
        "kinds": kinds,
    });
    println!("{}", serde_json::to_string_pretty(&report).expect("a JSON value"));
}
