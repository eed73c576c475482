//! `trainer plan` beside the run that it foretells.

use std::process::Command;

use serde_json::Value;

use crate::commands::{run, stdout, trainer};
use crate::runs::Bench;

/// The plan of a recipe, from the outside: groups, memory by component, and whether it fits.
#[test]
fn a_plan_is_near_what_the_run_holds_and_refuses_what_cannot_fit() {
    let (full, lora) = (Bench::new(), Bench::new());
    lora.train_adapters();
    let packed = ["memory.layout=packed", "memory.recompute_layers=true", "memory.chunk_mb=0.1"];
    for (bench, more) in [(&full, &[][..]), (&full, &packed), (&lora, &[]), (&lora, &packed)] {
        let changes = ["train.steps=2", "train.batch=6", "train.micro_batch=6"];
        let changes: Vec<&str> = changes.iter().chain(more).copied().collect();
        let text = planned(bench, &changes);
        let peak =
            text.lines().find_map(|line| line.strip_prefix("peak")?.trim().strip_suffix(" MB")?.parse().ok());
        let planned: f64 = peak.unwrap_or_else(|| panic!("no peak in\n{text}"));
        let name = format!("run-{}", more.len());
        bench.succeed(&mut bench.sft(&name, &changes));
        let lines = std::fs::read_to_string(bench.path(&name).join("metrics.jsonl")).expect("metrics.jsonl");
        let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
        let held = last["peak_memory_bytes"].as_f64().expect("known on Linux") / 1e6;
        eprintln!("{more:?}: planned {planned} MB, held {held} MB");
        assert!(
            (planned - held).abs() <= 0.15 * held,
            "{more:?}: planned {planned} MB, held {held} MB:\n{text}"
        );
    }
    let text = planned(&full, &[]);
    for words in ["vision", "trained at 1e-4", "moments", "logits", "tokens a step", "s a step", "fits"] {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
    assert!(planned(&lora, &[]).contains("of rank 4 trained at 1e-2"));
    let weights = |more: &[&str]| {
        let text = stdout(&full.succeed(plan(&full, &[]).args(more))).to_owned();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("weights")?.trim().strip_suffix(" MB")?.parse().ok());
        line.unwrap_or_else(|| panic!("no weights in\n{text}"))
    };
    let (one, three): (f64, f64) = (weights(&[]), weights(&["--devices", "3"]));
    assert!((three - 3.0 * one).abs() < 0.2, "threads hold a copy each: {three}, one {one}");
    let small = run(plan(&full, &[]).args(["--memory", "0.001"]));
    assert_eq!(small.status.code(), Some(1));
    assert!(stdout(&small).contains("does not fit") && stdout(&small).contains("train.micro_batch"));
}

fn plan(bench: &Bench, changes: &[&str]) -> Command {
    let mut command = trainer();
    command.arg("plan").arg(bench.path("recipe.toml")).args(["--device", "cpu"]);
    command.args(changes.iter().flat_map(|change| ["--set", change]));
    command
}

fn planned(bench: &Bench, changes: &[&str]) -> String {
    stdout(&bench.succeed(&mut plan(bench, changes))).to_owned()
}
