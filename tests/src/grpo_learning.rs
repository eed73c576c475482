//! What `trainer grpo` learns, on whole models in seconds: from a reward for short responses, from two strategies of which the
//! one that is tried less is right more often, and from rewards that have nothing to do with the answers, nothing.

use serde_json::{Value, json};

use crate::commands::{tiny, trainer};
use crate::grpo::{number, rollouts};
use crate::runs::{Bench, metrics};

/// A reward of −length, and nothing else: responses must come to their end earlier, down to the shortest there is.
#[test]
fn a_reward_for_short_responses_shortens_them() {
    let bench = Bench::new();
    let changes = [
        "reward={ accuracy = 0.0, format = 0.0, overlong = { limit = 12, margin = 12, weight = 1.0 } }",
        "rollout={ group = 24, max_new_tokens = 12, rows = 48, temperature = 1.0 }",
        "train={ steps = 20, prompts = 2, mini_batch = 2, micro_batch = 48, advantage = \"grpo\" }",
        "groups.head.learning_rate=1e-2",
        "groups.merger.learning_rate=0.0",
        "groups.language.learning_rate=1e-3",
        "save.every=100",
        "alarms.entropy=0.0",
    ];
    bench.succeed(&mut bench.grpo("short", &changes));
    let lengths: Vec<f64> =
        metrics(&bench.path("short")).iter().map(|line| number(line, "/length/mean")).collect();
    eprintln!("mean lengths: {lengths:?}");
    assert!(lengths[0] > 10.0, "a random model seldom stops: {}", lengths[0]);
    assert!(lengths[17..].iter().sum::<f64>() / 3.0 < 4.0, "{lengths:?}");
}

/// A row without a picture, under a system prompt of one word.
fn row(problem: &str, thought: &str, answer: &str) -> Value {
    json!({"problem": problem, "answer": answer, "refined_cot": thought, "reward": "text", "system": "Answer."})
}

fn write(bench: &Bench, name: &str, rows: &[Value]) {
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(bench.path(name), text).expect("written");
}

/// Teaches the tiny checkpoint these rows, so that it answers in their form.
fn taught(bench: &Bench, rows: &[Value], steps: u64) {
    write(bench, "taught.jsonl", rows);
    let groups = ["embeddings", "language", "head"]
        .map(|group| format!("[groups.{group}]\nlearning_rate = 3e-3\n"))
        .concat();
    let recipe = format!(
        "checkpoint = {:?}\nseed = 3\n[data]\nrows = {:?}\n[train]\nsteps = {steps}\nbatch = 10\nmicro_batch = 10\n\
         [schedule]\nwarmup = 5\n{groups}[save]\nevery = 1000\n",
        tiny("checkpoint"),
        bench.path("taught.jsonl"),
    );
    std::fs::write(bench.path("taught.toml"), recipe).expect("written");
    let mut sft = trainer();
    sft.arg("sft")
        .arg(bench.path("taught.toml"))
        .args(["--device", "cpu", "--out"])
        .arg(bench.path("taught"));
    bench.succeed(&mut sft);
    let mut export = trainer();
    export.arg("export").arg(bench.path("taught")).arg("--out").arg(bench.path("start"));
    bench.succeed(&mut export);
}

/// Goes on from there by rewards for what rows say, accuracy alone.
fn rewarded(bench: &Bench, name: &str, rows: &[Value], more: &str) -> Vec<Value> {
    write(bench, &format!("{name}.jsonl"), rows);
    let groups = ["embeddings", "language", "head"]
        .map(|group| format!("[groups.{group}]\nlearning_rate = 1e-3\n"))
        .concat();
    let recipe = format!(
        "checkpoint = {:?}\nseed = 4\n[data]\nrows = {:?}\n[rollout]\ngroup = 8\nmax_new_tokens = 40\nrows = 64\n\
         [reward]\naccuracy = 1.0\nformat = 0.0\n[loss]\nkl_weight = 0.0\n[alarms]\nentropy = 0.0\n\
         {more}\n{groups}[save]\nevery = 1000\n",
        bench.path("start"),
        bench.path(&format!("{name}.jsonl")),
    );
    std::fs::write(bench.path(&format!("{name}.toml")), recipe).expect("written");
    let mut grpo = trainer();
    grpo.arg("grpo").arg(bench.path(&format!("{name}.toml"))).args(["--device", "cpu", "--out"]);
    bench.succeed(grpo.arg(bench.path(name)));
    metrics(&bench.path(name))
}

/// Six of ten responses are a glance, which is right three times of ten; the others count, which is right seven times of ten.
/// The greedy answer is the glance. Which of the two is right in a row cannot be told from its question.
#[test]
fn a_model_of_two_strategies_finds_the_better_one() {
    let bench = Bench::new();
    let glance = row("Which?", "glance", "A");
    let count = row("Which?", "count", "B");
    let mixture = [vec![glance.clone(); 6], vec![count.clone(); 4]].concat();
    taught(&bench, &mixture, 60);
    let truths = [vec![glance; 3], vec![count; 7]].concat();
    let more = "[train]\nsteps = 25\nprompts = 8\nmini_batch = 8\nmicro_batch = 64\n";
    rewarded(&bench, "run", &truths, more);
    let told = rollouts(&bench, "run");
    let counted = |steps: std::ops::RangeInclusive<u64>| {
        let of_steps = || told.iter().filter(|one| steps.contains(&one["step"].as_u64().expect("a step")));
        let counts = of_steps().filter(|one| one["text"].as_str().is_some_and(|text| text.contains("count")));
        counts.count() as f64 / of_steps().count() as f64
    };
    let (before, after) = (counted(1..=2), counted(23..=25));
    eprintln!("the better strategy: {before:.2} of the first responses, {after:.2} of the last");
    assert!((0.2..0.6).contains(&before), "the mixture that was taught: {before}");
    assert!(after > 0.9, "{after}");
}

/// Questions name a colour, which alone decides the answer, and a shelf, which decides nothing. Held-out questions name other
/// shelves. From the right answers the model learns to look at the colour; from the same answers, shuffled, it learns nothing
/// that holds there.
#[test]
fn true_rewards_teach_what_holds_elsewhere_and_shuffled_ones_do_not() {
    let bench = Bench::new();
    let question = |i: usize, red: bool| format!("Shelf {i}, {}", if red { "red" } else { "blue" });
    let truth = |red: bool| if red { "A" } else { "B" };
    // The form alone: either answer to either colour.
    let form: Vec<Value> = (0..40).map(|i| row(&question(i, i % 2 == 0), "so", truth(i % 4 < 2))).collect();
    taught(&bench, &form, 80);
    let held_out: Vec<Value> =
        (200..240).map(|i| row(&question(i, i % 2 == 0), "so", truth(i % 2 == 0))).collect();
    write(&bench, "held-out.jsonl", &held_out);
    let more = format!(
        "[train]\nsteps = 30\nprompts = 16\nmini_batch = 16\nmicro_batch = 64\n\
         [validation]\nrows = {:?}\nevery = 30\nanswers = 40\nmax_new_tokens = 40\n",
        bench.path("held-out.jsonl")
    );
    let accuracy = |name: &str, right: &dyn Fn(usize) -> bool| {
        let rows: Vec<Value> =
            (40..200).map(|i| row(&question(i, i % 2 == 0), "so", truth(right(i)))).collect();
        let lines = rewarded(&bench, name, &rows, &more);
        let last = lines.iter().rfind(|line| line["validation"].is_object()).expect("measured");
        let rewards: Vec<f64> = lines
            .iter()
            .filter(|line| line["reward"].is_object())
            .map(|line| number(line, "/reward/all/mean"))
            .collect();
        eprintln!("{name}: rewards {rewards:?}");
        number(last, "/validation/accuracy")
    };
    let learned = accuracy("true", &|i| i % 2 == 0);
    // As many of each answer, by lot.
    let drawn = accuracy("shuffled", &|i| wethink_model::uniform(7, 0, i as u32, 0, 0) < 0.5);
    eprintln!("held out: {learned} from true rewards, {drawn} from shuffled ones");
    assert!(learned > 0.85, "{learned}");
    assert!((drawn - 0.5).abs() < 0.2, "{drawn}");
}
