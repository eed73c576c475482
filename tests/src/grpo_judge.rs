//! A judge that costs something: what a run pays is counted, bounded, and never paid twice.

use serde_json::{Value, json};

use crate::commands::{assert_fails, run};
use crate::judge_server::{Act, Request, Server};
use crate::runs::{Bench, assert_same, metrics};

/// No to everything: what a random model says is never right, and a canary must be refused.
fn strict(_: &Request) -> Act {
    Act::Say("No")
}

/// Rows that no rule decides, and the recipe's changes for a judge there.
fn judged(bench: &Bench, server: &Server) -> Vec<String> {
    let row = |i: usize| {
        json!({"problem": format!("What stands on shelf {i}?"), "answer": format!("a copper kettle with {i} dents"),
            "refined_cot": "x", "reward": "open", "system": "Answer."})
    };
    let rows: String = (0..12).map(|i| format!("{}\n", row(i))).collect();
    std::fs::write(bench.path("open.jsonl"), rows).expect("written");
    vec![
        format!("data.rows={}", bench.path("open.jsonl").display()),
        format!("judge.server={}", server.url()),
        "judge.model=scripted".into(),
        "judge.price_in=2.0".into(),
        "judge.price_out=8.0".into(),
        "judge.concurrency=2".into(),
        // Something to learn from, though nothing is right.
        "reward.overlong={ limit = 12, margin = 12, weight = 1.0 }".into(),
        "rollout.max_new_tokens=12".into(),
        "save.every=1".into(),
    ]
}

fn paid(bench: &Bench, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path(name).join("metrics.jsonl")).expect("metrics.jsonl");
    text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["paid"].clone()).collect()
}

#[test]
fn a_spent_budget_saves_the_run_which_goes_on_with_a_larger_one_and_pays_nothing_twice() {
    let server = Server::start(strict);
    let bench = Bench::new();
    let changes = judged(&bench, &server);
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
    bench.succeed(&mut bench.grpo("whole", &changes));
    let whole = paid(&bench, "whole");
    let number =
        |value: &Value, field: &str| value[field].as_f64().unwrap_or_else(|| panic!("{field}: {value}"));
    // Every reply of this server takes 300 tokens in and 1 out.
    let requests = number(&whole[3], "requests");
    assert!(requests > 8.0 && requests as usize == server.log().len(), "{whole:?}");
    assert_eq!(number(&whole[3], "input"), 300.0 * requests);
    assert!((number(&whole[3], "cost") - requests * (300.0 * 2.0 + 8.0) / 1e6).abs() < 1e-9, "{whole:?}");
    let lines = metrics(&bench.path("whole"));
    assert!(lines.iter().map(|line| line["judge"]["answered"].as_u64().expect("a number")).sum::<u64>() > 4);
    assert!(
        lines[0]["judge"]["canaries"].as_u64() > Some(0) && lines[0]["judge"]["disagreement"].is_number()
    );

    // Enough for the first steps, and not for the last. A request sets aside more than it costs.
    let second = Server::start(strict);
    let changes = judged(&bench, &second);
    let before = number(&whole[2], "input") + number(&whole[2], "output");
    let budget = format!("judge.budget={}tokens", before as u64 + 700);
    let changes: Vec<&str> = changes.iter().map(String::as_str).chain([&*budget]).collect();
    let output = run(&mut bench.grpo("short", &changes));
    assert_fails(&output, 1, &["judge.budget is spent", "recipe.toml", "--resume"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let done = metrics(&bench.path("short")).len();
    assert!((1..4).contains(&done), "{done} steps are done, and kept: {said}");
    assert!(bench.path("short").join(format!("checkpoints/step-{done:08}/sums.json")).is_file());
    assert!(bench.path("short").join("report.html").is_file());
    // The same budget is spent at once, by what was paid before.
    let asked = second.log().len();
    assert_fails(&run(&mut bench.resume_grpo("short")), 1, &["judge.budget is spent"]);
    assert!(second.log().len() <= asked + 1, "{} requests after {asked}", second.log().len());

    let recipe = bench.path("short").join("recipe.toml");
    let text = std::fs::read_to_string(&recipe).expect("the recipe");
    let spent = text.lines().find(|line| line.starts_with("budget = ")).expect("a budget");
    std::fs::write(&recipe, text.replace(spent, "budget = 2.5")).expect("written");
    bench.succeed(&mut bench.resume_grpo("short"));
    let mut whole = bench.outcome("whole");
    whole.remove("answers");
    assert_same(&bench.outcome("short"), &whole);
    assert!(second.answered().iter().all(|&times| times == 1), "a reply is paid for once");
    assert_eq!(number(&paid(&bench, "short")[3], "input"), 300.0 * second.log().len() as f64);
}
