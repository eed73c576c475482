//! `trainer grpo` as a user meets it: what a run leaves, the traps of the algorithm, alarms, resumption, and that it learns.

use serde_json::Value;

use crate::commands::{assert_fails, run, stdout, trainer};
use crate::runs::{Bench, assert_same, metrics, tensors};

pub(crate) fn number(line: &Value, pointer: &str) -> f64 {
    line.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {line}"))
}

pub(crate) fn rollouts(bench: &Bench, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path(name).join("rollouts.jsonl")).expect("rollouts.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn weights(bench: &Bench, name: &str) -> std::collections::BTreeMap<String, Vec<f32>> {
    tensors(&bench.path(name).join("checkpoints/last/weights.safetensors"))
}

fn timed(bench: &Bench, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(bench.path(name).join("metrics.jsonl")).expect("metrics.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn a_run_leaves_every_response_and_figure_that_its_folder_promises() {
    let bench = Bench::new();
    let rows = format!("validation.rows={}", bench.path("rows.jsonl").display());
    let measured = [&rows, "validation.every=3", "validation.answers=2", "validation.max_new_tokens=4"];
    bench.succeed(&mut bench.grpo("run", &measured));
    let lines = metrics(&bench.path("run"));
    let (validated, steps): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["validation"].is_object());
    assert_eq!((steps.len(), validated.len()), (4, 2));
    let told = rollouts(&bench, "run");
    assert_eq!(told.len(), 4 * 3 * 4);
    for line in &steps {
        // One update of a fresh policy: every ratio is 1, the loss is the mean of nothing, and the gradient is not.
        assert_eq!(
            (number(line, "/ratio"), number(line, "/clipped"), &line["first_ratio"]),
            (1.0, 0.0, &Value::Null)
        );
        assert!(number(line, "/loss").abs() < 0.2 && number(line, "/norm") > 1e-3, "{line}");
        assert!(number(line, "/mismatch_max") < 1e-4 && number(line, "/mismatch_max") > 0.0, "{line}");
        assert!(number(line, "/tokens") > 0.0 && number(line, "/trained") == 12.0, "{line}");
        assert_eq!(line["sampling"]["prefills"], 3);
        assert_eq!(line["kl_reference"], Value::Null);
        let of_step: Vec<&Value> = told.iter().filter(|one| one["step"] == line["step"]).collect();
        let rewards: Vec<f64> = of_step.iter().map(|one| number(one, "/reward")).collect();
        let mean = rewards.iter().sum::<f64>() / 12.0;
        assert!((number(line, "/reward/all/mean") - mean).abs() < 1e-9, "{line}");
        assert_eq!(
            number(line, "/sampling/tokens"),
            of_step.iter().map(|one| ids(one).len() as f64).sum::<f64>()
        );
        let entropy = of_step.iter().flat_map(|one| floats(&one["logprobs"])).map(|p| -p).sum::<f64>();
        assert!((number(line, "/entropy") - entropy / number(line, "/tokens")).abs() < 1e-3, "{line}");
    }
    for group in told.chunks(4) {
        let advantages: Vec<f64> = group.iter().map(|one| number(one, "/advantage")).collect();
        assert!(advantages.iter().sum::<f64>().abs() < 1e-6, "{advantages:?}");
        assert_eq!(group.iter().map(|one| &one["sample"]).collect::<Vec<_>>(), [0, 1, 2, 3]);
        for one in group {
            assert_eq!(ids(one).len(), floats(&one["logprobs"]).len());
            let cut = one["finish"] == "length";
            assert!(!cut || ids(one).len() == 6, "{one}");
            assert!(
                one["text"].is_string()
                    && one["verdict"]["reason"].is_string()
                    && one["parts"]["format"] == 0.0
            );
        }
    }
    // Passes that are not needed are not made.
    for line in timed(&bench, "run").iter().filter(|line| line["seconds"].is_object()) {
        assert_eq!((number(line, "/seconds/old"), number(line, "/seconds/reference")), (0.0, 0.0));
        assert!(number(line, "/seconds/rollout") > 0.0 && number(line, "/seconds/update") > 0.0);
    }
    for link in ["last", "best"] {
        assert!(bench.path("run").join("checkpoints").join(link).join("sums.json").is_file(), "{link}");
    }
    let mut export = trainer();
    export.arg("export").arg(bench.path("run")).arg("--out").arg(bench.path("exported"));
    bench.succeed(&mut export);
    assert!(bench.path("exported").join("model-00001-of-00001.safetensors").is_file());
}

fn ids(one: &Value) -> Vec<u64> {
    one["token_ids"].as_array().expect("ids").iter().filter_map(Value::as_u64).collect()
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
}

#[test]
fn several_updates_take_the_old_policy_from_the_training_path() {
    let bench = Bench::new();
    let changes = ["train.mini_batch=1", "train.epochs=2", "loss.kl_weight=0.05", "train.steps=2"];
    bench.succeed(&mut bench.grpo("run", &changes));
    let rates = ["merger", "language", "head"].map(|group| format!("groups.{group}.learning_rate=1e-2"));
    let fast: Vec<&str> = changes.into_iter().chain(rates.iter().map(String::as_str)).collect();
    bench.succeed(&mut bench.grpo("fast", &[&fast[..], &["alarms.kl=1e9"]].concat()));
    for line in timed(&bench, "run") {
        assert_eq!(number(&line, "/updates"), 6.0);
        // Before any weight has moved, both passes have the same weights: with and without a record they differ by rounding.
        assert!(number(&line, "/first_ratio") < 1e-5, "{line}");
        assert!(number(&line, "/ratio") != 1.0 && number(&line, "/kl_old").abs() > 0.0, "{line}");
        assert!(number(&line, "/seconds/old") > 0.0 && number(&line, "/seconds/reference") > 0.0, "{line}");
    }
    let lines = metrics(&bench.path("run"));
    assert_eq!(number(&lines[0], "/kl_reference"), 0.0, "the reference is the start");
    assert!(number(&lines[1], "/kl_reference") > 0.0);
    let clipped = metrics(&bench.path("fast")).iter().map(|line| number(line, "/clipped")).sum::<f64>();
    assert!(clipped > 0.0, "large steps are clipped");
}

#[test]
fn micro_batches_and_rows_at_a_time_change_nothing_but_rounding() {
    let bench = Bench::new();
    let runs = [
        ("whole", "train.micro_batch=12", "rollout.rows=12"),
        ("split", "train.micro_batch=1", "rollout.rows=3"),
    ];
    for (name, micro_batch, rows) in runs {
        bench.succeed(&mut bench.grpo(name, &[micro_batch, rows, "train.steps=1", "loss.average=sequence"]));
    }
    let [whole, split] = ["whole", "split"].map(|name| metrics(&bench.path(name)).remove(0));
    assert!((number(&whole, "/norm") - number(&split, "/norm")).abs() <= 1e-4 * number(&whole, "/norm"));
    let [whole, split] = ["whole", "split"].map(|name| rollouts(&bench, name));
    for (a, b) in whole.iter().zip(&split) {
        assert_eq!(a["token_ids"], b["token_ids"]);
    }
}

#[test]
fn equal_rewards_move_nothing_at_all() {
    let bench = Bench::new();
    let changes = ["reward={ accuracy = 0.0, format = 0.0 }", "train.steps=2"];
    bench.succeed(&mut bench.grpo("run", &changes));
    for line in metrics(&bench.path("run")) {
        assert_eq!((number(&line, "/norm"), number(&line, "/loss")), (0.0, 0.0), "{line}");
        assert_eq!(
            (number(&line, "/groups/without_signal"), number(&line, "/trained")),
            (3.0, 12.0),
            "{line}"
        );
    }
    let mut still = bench.grpo("still", &["train.steps=1", "groups.merger.learning_rate=0.0"]);
    bench.succeed(still.args([
        "--set",
        "groups.language.learning_rate=0.0",
        "--set",
        "groups.head.learning_rate=0.0",
    ]));
    assert_eq!(weights(&bench, "run"), weights(&bench, "still"), "the weights are those of the start");
}

#[test]
fn what_is_cut_off_is_masked_or_not_and_never_a_crash() {
    let bench = Bench::new();
    let all = ["rollout.max_new_tokens=2", "train.steps=1"];
    bench.succeed(&mut bench.grpo("kept", &all));
    bench.succeed(&mut bench.grpo("masked", &[&all[..], &["train.mask_truncated=true"]].concat()));
    let [kept, masked] = ["kept", "masked"].map(|name| metrics(&bench.path(name)).remove(0));
    let cut = number(&kept, "/length/truncated");
    assert!(cut > 0.5, "{kept}");
    assert_eq!(number(&kept, "/trained"), 12.0);
    assert_eq!(number(&masked, "/trained"), ((1.0 - cut) * 12.0).round(), "{masked}");
    for one in rollouts(&bench, "masked") {
        assert_eq!(one["advantage"].is_null(), one["finish"] == "length", "{one}");
    }
}

#[test]
fn prompts_that_teach_nothing_are_drawn_anew_up_to_the_cap() {
    let bench = Bench::new();
    // No group of equal rewards is ever kept: the cap ends the search, the update is left out, and the run goes on.
    let none = ["reward={ accuracy = 0.0, format = 0.0 }", "filter.rounds=2", "train.steps=2"];
    bench.succeed(&mut bench.grpo("none", &none));
    for line in metrics(&bench.path("none")) {
        assert_eq!((number(&line, "/groups/rounds"), number(&line, "/groups/sampled")), (3.0, 9.0), "{line}");
        assert_eq!((number(&line, "/groups/kept"), number(&line, "/updates")), (0.0, 0.0), "{line}");
    }
    // A band that some groups lie in.
    bench.succeed(&mut bench.grpo("all", &["train.steps=2"]));
    let mut means: Vec<f64> = rollouts(&bench, "all")
        .chunks(4)
        .map(|group| group.iter().map(|one| number(one, "/reward")).sum::<f64>() / 4.0)
        .collect();
    means.sort_by(f64::total_cmp);
    let low = format!("filter.low={:?}", (means[2] + means[3]) / 2.0);
    bench.succeed(&mut bench.grpo("some", &[&low, "filter.rounds=1", "train.steps=2"]));
    let lines = metrics(&bench.path("some"));
    let (sampled, kept): (Vec<f64>, Vec<f64>) =
        lines.iter().map(|line| (number(line, "/groups/sampled"), number(line, "/groups/kept"))).unzip();
    assert!(sampled.iter().sum::<f64>() > 6.0 && kept.iter().sum::<f64>() >= 1.0, "{sampled:?} {kept:?}");
    let trained: f64 = lines.iter().map(|line| number(line, "/trained")).sum();
    assert_eq!(trained, 4.0 * kept.iter().sum::<f64>());
    let told = rollouts(&bench, "some");
    let with = told.iter().filter(|one| one["advantage"].is_number()).count();
    assert_eq!(with as f64, trained, "what is passed over has no advantage");
    // A band above every reward of the first step, which is 0.7 of the accuracy: by accuracy the same groups lie in it.
    let low = format!("filter.low={:?}", 1.2 * number(&metrics(&bench.path("all"))[0], "/reward/all/mean"));
    for (by, below, kept) in [("reward", 3.0, 0.0), ("accuracy", 0.0, 3.0)] {
        let by_it = format!("filter.by={by:?}");
        bench.succeed(&mut bench.grpo(by, &[&by_it, &low, "filter.rounds=1", "train.steps=1"]));
        let line = metrics(&bench.path(by)).remove(0);
        let rounds = number(&line, "/groups/rounds");
        let of = |field: &str| number(&line, &format!("/groups/{field}"));
        assert_eq!((of("below"), of("kept")), (rounds * below, kept), "{line}");
        assert_eq!(rounds, if kept == 0.0 { 2.0 } else { 1.0 }, "{line}");
    }
}

#[test]
fn alarms_save_the_run_and_stop_it() {
    let bench = Bench::new();
    let alarm = |name: &str, changes: &[&str], key: &str| {
        let output = run(&mut bench.grpo(name, &[changes, &["save.every=100"]].concat()));
        assert_fails(&output, 1, &["ALARM", key, "step 1", "--resume"]);
        assert!(bench.path(name).join("checkpoints/step-00000001/sums.json").is_file(), "{name} is saved");
    };
    alarm("mismatch", &["alarms.mismatch_max=1e-12"], "alarms.mismatch_max");
    alarm("mean", &["alarms.mismatch_mean=1e-12"], "alarms.mismatch_mean");
    alarm("entropy", &["alarms.entropy=100.0"], "alarms.entropy");
    let far = ["train.mini_batch=1", "groups.head.learning_rate=1.0", "alarms.kl=1e-6"];
    alarm("far", &far, "alarms.kl");
    let output = run(&mut bench.grpo("lost", &["groups.language.learning_rate=1e30", "train.max_skipped=0"]));
    assert_eq!(output.status.code(), Some(1), "a model without a number is the end of the run");
}

#[test]
fn ctrl_c_and_resumption_end_where_an_uninterrupted_run_does() {
    let bench = Bench::new();
    let changes = ["train.steps=5", "save.every=2", "train.mini_batch=2"];
    bench.succeed(&mut bench.grpo("whole", &changes));
    let mut child =
        bench.grpo("stopped", &changes).stderr(std::process::Stdio::null()).spawn().expect("runs");
    let lines = bench.path("stopped").join("metrics.jsonl");
    for _ in 0..1200 {
        if std::fs::metadata(&lines).is_ok_and(|file| file.len() > 0) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let signal = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(signal.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    bench.succeed(&mut bench.resume_grpo("stopped"));
    assert_same(&bench.outcome("stopped"), &bench.outcome("whole"));
    bench.succeed(&mut bench.resume_grpo("stopped"));
    assert_same(&bench.outcome("stopped"), &bench.outcome("whole"));
}

#[test]
fn recipes_and_rows_that_do_not_fit_are_refused_with_the_fix() {
    let bench = Bench::new();
    let refused = |changes: &[&str], words: &[&str]| {
        assert_fails(&run(&mut bench.grpo("refused", changes)), 1, words);
        assert!(!bench.path("refused").join("recipe.toml").exists(), "{changes:?} begins no run");
    };
    refused(&["rollout.groop=4"], &["did you mean `group`?"]);
    refused(&["rollout.group=1"], &["rollout.group", "at least 2"]);
    let short = run(&mut bench.grpo("short", &["data.max_prompt_tokens=3"]));
    assert_fails(&short, 1, &["every prompt", "data.max_prompt_tokens"]);
    let open = "{\"problem\": \"What is there?\", \"answer\": \"a cat on a mat\", \"refined_cot\": \"x\", \"reward\": \"open\"}\n";
    std::fs::write(bench.path("open.jsonl"), open).expect("written");
    let rows = format!("data.rows={}", bench.path("open.jsonl").display());
    refused(&[&rows], &["[judge]", "line 1"]);
    let odd = open.replace("\"open\"", "\"count\"");
    std::fs::write(bench.path("open.jsonl"), odd).expect("written");
    refused(&[&rows], &["cannot be rewarded", "line 1"]);
    assert_fails(&run(&mut bench.resume_grpo("none")), 1, &["no run to resume"]);
    let mut help = trainer();
    assert!(stdout(&run(help.args(["grpo", "--help"]))).contains("rollouts.jsonl"));
}

/// A recipe with adapters in place of groups, and what a frozen tower makes of pictures kept.
fn with_adapters(bench: &Bench) {
    let recipe = std::fs::read_to_string(bench.path("grpo.toml")).expect("the recipe");
    let (before, rest) = recipe.split_once("[groups.merger]").expect("groups");
    let (_, save) = rest.split_once("[save]").expect("save");
    let lora = "[lora]\nrank = 4\nalpha = 8.0\nlearning_rate = 1e-2\n[memory]\nfeatures_mb = 8.0\n";
    std::fs::write(bench.path("grpo.toml"), format!("{before}{lora}[save]{save}")).expect("written");
}

#[test]
fn adapters_take_the_weights_beside_them_as_the_reference_and_a_picture_is_seen_once() {
    let bench = Bench::new();
    with_adapters(&bench);
    let changes =
        ["loss.kl_weight=0.05", "train.prompts=6", "train.mini_batch=3", "train.steps=3", "save.every=1"];
    bench.succeed(&mut bench.grpo("run", &changes));
    let lines = metrics(&bench.path("run"));
    assert_eq!(number(&lines[0], "/kl_reference"), 0.0, "new adapters change nothing");
    assert!(number(&lines[2], "/kl_reference") > 0.0, "{}", lines[2]);
    // Six rows hold every picture, twice over: sampling sees each once for all samples, and no update sees any.
    let pictures = number(&lines[0], "/sampling/pictures");
    assert!(
        number(&lines[0], "/towers") > 0.0 && number(&lines[0], "/towers") <= pictures / 2.0,
        "{}",
        lines[0]
    );
    for line in &lines {
        assert_eq!(number(line, "/sampling/prefills"), 6.0);
        assert!(number(line, "/mismatch_max") < 1e-4 && number(line, "/first_ratio") < 1e-5, "{line}");
    }
    for line in &lines[1..] {
        assert_eq!(number(line, "/towers"), 0.0, "kept features are not computed again");
    }
    let saved = weights(&bench, "run");
    assert!(saved.keys().all(|name| name.contains(".lora_")) && !saved.is_empty(), "{:?}", saved.keys());
    bench.succeed(
        &mut bench
            .grpo("packed", &[&changes[..], &["memory.layout=packed", "train.micro_tokens=300"]].concat()),
    );
    for (a, b) in lines.iter().zip(metrics(&bench.path("packed"))) {
        assert!((number(a, "/norm") - number(&b, "/norm")).abs() <= 2e-3 * number(a, "/norm"), "{a} {b}");
    }
    let mut export = trainer();
    export.arg("export").arg(bench.path("run")).arg("--out").arg(bench.path("exported"));
    bench.succeed(&mut export);
    let dropped = run(&mut bench.grpo("dropout", &["lora.dropout=0.1"]));
    assert_fails(&dropped, 1, &["lora.dropout", "sampled"]);
}

#[test]
fn a_gallery_is_one_page_that_shows_what_was_sampled_and_runs_none_of_it() {
    let bench = Bench::new();
    bench.succeed(&mut bench.grpo("run", &["train.steps=3"]));
    // What a policy may write, at its worst.
    let path = bench.path("run").join("rollouts.jsonl");
    let mut told = rollouts(&bench, "run");
    told[0]["text"] =
        "<think>a</think><answer><script>alert(1)</script><img src=x onerror=alert(2)></answer>".into();
    told[1]["reward"] = Value::Null;
    told[1]["unscored"] = "the judge failed: \"><b>".into();
    told[1]["advantage"] = Value::Null;
    let text: String = told.iter().map(|one| format!("{one}\n")).collect();
    std::fs::write(&path, text + "{\"step\": 3, \"cut o").expect("written");
    let mut gallery = trainer();
    gallery
        .arg("gallery")
        .arg(bench.path("run"))
        .arg("--out")
        .arg(bench.path("g.html"))
        .args(["--steps", "2"]);
    let output = bench.succeed(&mut gallery);
    assert!(String::from_utf8_lossy(&output.stderr).contains("6 prompts of 2 steps"));
    let page = std::fs::read_to_string(bench.path("g.html")).expect("the page");
    assert_eq!((page.matches("<article").count(), page.matches("<section").count()), (6, 24));
    assert_eq!(page.matches("<script").count(), 1, "its own script alone");
    assert!(
        page.contains("&lt;script&gt;alert(1)") && !page.contains("<img src=x") && !page.contains("\"><b>")
    );
    assert!(page.contains("data:image/") && page.contains("no reward") && page.contains("not trained on"));
    assert!(page.contains("Reward and accuracy") && page.contains("script-src 'sha256-"));
    assert!(
        !page.contains("http://")
            || page.matches("http://").count() == page.matches("http://www.w3.org").count()
    );
    let mut none = trainer();
    none.arg("gallery").arg(bench.path("none")).arg("--out").arg(bench.path("n.html"));
    assert_fails(&run(&mut none), 1, &["no run of `trainer grpo`"]);
}
