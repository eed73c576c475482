//! What a run of `trainer grpo` says of itself: every figure by name, its report, its TensorBoard file.

use serde_json::Value;

use crate::commands::trainer;
use crate::runs::Bench;

/// Every figure that a step has, as a place in its line.
const FIGURES: [&str; 57] = [
    "/step",
    "/reward/all/mean",
    "/reward/all/std",
    "/reward/accuracy/mean",
    "/reward/accuracy/std",
    "/reward/format/mean",
    "/reward/format/std",
    "/reward/overlong/mean",
    "/reward/overlong/std",
    "/reward/repetition/mean",
    "/reward/repetition/std",
    "/reward/unscored",
    "/groups/sampled",
    "/groups/kept",
    "/groups/without_signal",
    "/groups/below",
    "/groups/above",
    "/groups/measured",
    "/groups/rounds",
    "/length/mean",
    "/length/min",
    "/length/max",
    "/length/truncated",
    "/sampling/prefills",
    "/sampling/prompt_tokens",
    "/sampling/pictures",
    "/sampling/steps",
    "/sampling/tokens",
    "/trained",
    "/tokens",
    "/updates",
    "/skipped",
    "/loss",
    "/norm",
    "/schedule",
    "/entropy",
    "/clipped",
    "/clipped_dual",
    "/ratio",
    "/first_ratio",
    "/kl_old",
    "/kl_reference",
    "/mismatch_mean",
    "/mismatch_max",
    "/judge/answered",
    "/judge/canaries",
    "/judge/canaries_accepted",
    "/seconds/rollout",
    "/seconds/reward",
    "/seconds/old",
    "/seconds/reference",
    "/seconds/update",
    "/seconds/step",
    "/tokens_per_second/rollout",
    "/tokens_per_second/old",
    "/tokens_per_second/reference",
    "/tokens_per_second/update",
];

#[test]
fn every_figure_is_in_the_metrics_the_tensorboard_file_and_the_report() {
    let bench = Bench::new();
    let rows = format!("validation.rows={}", bench.path("rows.jsonl").display());
    let changes = [
        &rows,
        "validation.every=2",
        "validation.answers=2",
        "validation.max_new_tokens=4",
        "train.mini_batch=1",
        "loss.kl_weight=0.01",
        "train.steps=2",
    ];
    bench.succeed(&mut bench.grpo("run", &changes));
    let text = std::fs::read_to_string(bench.path("run").join("metrics.jsonl")).expect("metrics.jsonl");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let events = std::fs::read(bench.path("run").join("tensorboard/events.out.tfevents.0.wethink"));
    let events = events.expect("the TensorBoard file");
    let has = |words: &str| events.windows(words.len()).any(|window| window == words.as_bytes());
    for figure in FIGURES {
        for line in lines.iter().filter(|line| line["validation"].is_null()) {
            let value = line.pointer(figure).and_then(Value::as_f64);
            assert!(value.is_some_and(f64::is_finite), "{figure} is not in {line}");
        }
        assert!(figure == "/step" || has(&figure[1..]), "{figure} is not in the TensorBoard file");
    }
    // Nobody was asked: a share of nothing is none, and nothing was paid.
    assert!(lines[0]["judge"]["disagreement"].is_null() && lines[0]["paid"].is_null());
    assert!(has("validation/accuracy"));

    let page = std::fs::read_to_string(bench.path("run").join("report.html")).expect("report.html");
    for words in [
        "Reward and accuracy",
        "Share of held-out answers accepted",
        "Entropy",
        "Divergence from the reference",
        "Norm of the gradient",
        "Tokens of a response",
        "Sampling against training",
        "Share of tokens clipped",
        "Tokens per second",
        "Answers after step 2",
        "Sampled at first and at last",
        "Step 1, row",
        "Step 2, row",
        "advantage",
        "data:image/",
        "max_new_tokens = 6",
    ] {
        assert!(page.contains(words), "`{words}` is not in the report");
    }
    assert!(!page.contains("<script") && page.matches("<svg").count() >= 10);
}

#[test]
fn a_run_that_an_alarm_ends_has_its_report() {
    let bench = Bench::new();
    let output = crate::commands::run(&mut bench.grpo("run", &["alarms.mismatch_max=1e-12"]));
    crate::commands::assert_fails(&output, 1, &["ALARM"]);
    let page = std::fs::read_to_string(bench.path("run").join("report.html")).expect("report.html");
    assert!(page.contains("Step 1, row"), "what was sampled before the alarm is shown");
    let mut gallery = trainer();
    gallery.arg("gallery").arg(bench.path("run")).arg("--out").arg(bench.path("g.html"));
    bench.succeed(&mut gallery);
}
