//! `trainer plan` of a GRPO recipe: beside what a run holds, by the allocator's own count and from the outside.

use std::collections::BTreeMap;
use std::process::Command;

use burn::tensor::{DType, Device};
use pollster::block_on;
use wethink_model::{Config, FinishReason, Launches, Model, Options, Prompt, Request, Rollout, Sampling};
use wethink_reward::{Kind, Policy, Record, score};
use wethink_trainer::grpo::gather::Response;
use wethink_trainer::grpo::line::Line;
use wethink_trainer::grpo::memory::{Memory, Size, memory};
use wethink_trainer::grpo::prompts::Question;
use wethink_trainer::grpo::recipe::Recipe;
use wethink_trainer::grpo::rewards::Scored;
use wethink_trainer::grpo::update::Batch;
use wethink_trainer::train::adamw::AdamW;
use wethink_trainer::train::memory::Arithmetic;

use crate::allocation::{alone, most_held};
use crate::commands::{own, run, stdout, trainer};
use crate::fixtures::Tiny;
use crate::memory::{config, model};
use crate::runs::Bench;

fn recipe(rollout: &str, train: &str, more: &str) -> Recipe {
    let text = format!(
        "checkpoint = 'c'\n[data]\nrows = 'r'\n[rollout]\n{rollout}\n[train]\nsteps = 1\n{train}\n{more}"
    );
    Recipe::parse(&text, &[]).expect("sound")
}

const ALL: &str = "[groups.vision]\nlearning_rate = 1e-3\n[groups.merger]\nlearning_rate = 1e-3\n\
    [groups.language]\nlearning_rate = 1e-3\n[groups.embeddings]\nlearning_rate = 1e-3\n\
    [groups.head]\nlearning_rate = 1e-3\n";

fn assert_near(what: &str, held: usize, planned: u64, memory: &Memory) {
    let (held, planned) = (held as f64, planned as f64);
    eprintln!("{what}: held {:.2} MB, planned {:.2} MB", held / 1e6, planned / 1e6);
    assert!((planned - held).abs() <= 0.15 * held, "{what}: held {held}, planned {planned}: {memory:?}");
}

/// The most that answering these prompts holds beside the weights, every response running to its limit.
fn sampled(model: &Model, prompts: &[Prompt], recipe: &Recipe) -> usize {
    let samples = recipe.rollout.group as u32;
    let requests: Vec<Request> =
        (0..).zip(prompts).map(|(key, prompt)| Request { prompt: *prompt, key, samples }).collect();
    let run = || {
        let options = Options {
            sampling: Sampling { temperature: 1.0, ..Sampling::default() },
            max_new_tokens: recipe.rollout.max_new_tokens,
            min_new_tokens: 0,
            stop_ids: Vec::new(),
            stop_strings: Vec::new(),
            seed: 1,
            step: 1,
        };
        let mut launches = Launches::new();
        let mut running =
            Rollout::new(model, &requests, recipe.rollout.rows, options, None, &mut launches).expect("sound");
        while block_on(running.next()).expect("sound").is_some() {}
    };
    // The first pass of a process fills caches that stay.
    run();
    most_held(run).1
}

fn sizes(prompts: &[Prompt]) -> Vec<Size> {
    let size = |prompt: &Prompt| Size { tokens: prompt.ids.len() as u64, grids: prompt.grids.to_vec() };
    prompts.iter().map(size).collect()
}

#[test]
fn what_sampling_holds_is_planned() {
    // Where the cache rules, where scores of long prompts do, and where logits do.
    let cases: [(&str, usize, &[usize], &str); 4] = [
        ("many rows", 256, &[40, 30], "group = 24\nrows = 48\nmax_new_tokens = 24"),
        ("a long prompt", 256, &[420, 40], "group = 2\nrows = 2\nmax_new_tokens = 4"),
        ("long responses", 256, &[24, 20], "group = 6\nrows = 12\nmax_new_tokens = 120"),
        ("a large vocabulary", 20_000, &[30, 20], "group = 8\nrows = 16\nmax_new_tokens = 8"),
    ];
    for (what, vocab, lengths, rollout) in cases {
        let config: Config = config(vocab);
        let model = model(&config);
        let rows: Vec<(Vec<u32>, Vec<[u32; 3]>)> = lengths
            .iter()
            .map(|&length| {
                let ids = (0..length).map(|i| 10 + (i * 7 % 50) as u32).collect();
                (ids, (0..length as u32).map(|p| [p; 3]).collect())
            })
            .collect();
        let prompts: Vec<Prompt> =
            rows.iter().map(|(ids, positions)| Prompt { ids, positions, patches: &[], grids: &[] }).collect();
        let recipe = recipe(rollout, "prompts = 2\nmini_batch = 2", ALL);
        let held = alone(|| sampled(&model, &prompts, &recipe));
        let memory = memory(&config, &recipe, &sizes(&prompts), Arithmetic::Cpu);
        assert_near(what, held, memory.sampled(), &memory);
    }
}

#[test]
fn what_sampling_of_pictures_holds_is_planned() {
    let tiny = Tiny::own().expect("the known answers can be read");
    let model = tiny.model(&Device::flex()).expect("the tiny checkpoint loads");
    let prompts: Vec<Prompt> = tiny.cases.iter().map(|case| case.prompt()).collect();
    let train = format!("prompts = {0}\nmini_batch = {0}", prompts.len());
    let recipe = recipe("group = 3\nrows = 6\nmax_new_tokens = 6", &train, ALL);
    let held = alone(|| sampled(&model, &prompts, &recipe));
    let memory = memory(model.config(), &recipe, &sizes(&prompts), Arithmetic::Cpu);
    assert_near("pictures", held, memory.sampled(), &memory);
}

/// A response of so many ids to a case, as sampling leaves it.
fn response(tiny: &Tiny, case: usize, sample: u32, count: usize) -> Response {
    let question = Question { row: case, drawn: 0, encoded: tiny.cases[case].encoded.clone().into() };
    let ids: Vec<u32> = (0..count as u32).map(|i| 20 + (i * 13 + sample * 7) % 300).collect();
    let policy = Policy::default();
    let score = score(&Record::new(Kind::Number, "1", "2"), &policy, None).expect("a sound truth");
    Response {
        row: case,
        sample,
        sequence: question.answered(&ids).expect("positions"),
        logprobs: vec![-7.0; count],
        text: String::new(),
        finish: FinishReason::Length,
        scored: Scored { score, unscored: None },
        advantage: Some(f64::from(sample) - 0.5),
    }
}

#[test]
fn what_an_update_holds_is_planned() {
    let tiny = Tiny::own().expect("the known answers can be read");
    let count = tiny.cases.len();
    let train = |more: &str| format!("prompts = {count}\nmini_batch = {count}\n{more}");
    let packed = "[memory]\nlayout = \"packed\"\nrecompute_layers = true\n";
    for (what, train, more) in [
        ("at once", train(&format!("micro_batch = {}", 2 * count)), ""),
        ("in parts", train("micro_batch = 3"), ""),
        ("beside a reference", train("micro_batch = 4"), "[loss]\nkl_weight = 0.1\n"),
        ("packed, computed again", train("micro_tokens = 700"), packed),
    ] {
        let more = if more.contains("[loss]") {
            more.to_owned()
        } else {
            format!("[loss]\nkl_weight = 0.0\n{more}")
        };
        let recipe = recipe("group = 2\nmax_new_tokens = 40", &train, &format!("{ALL}{more}"));
        let responses: Vec<Response> = (0..count)
            .flat_map(|case| (0..2).map(move |sample| (case, sample)))
            .map(|(case, sample)| response(&tiny, case, sample, 40))
            .collect();
        let kept: Vec<usize> = (0..count).collect();
        let batch = Batch::new(&recipe, DType::F32, &responses, &kept);
        let model = tiny.model(&Device::flex()).expect("the tiny checkpoint loads");
        let reference = (recipe.loss.kl_weight > 0.0).then(|| model.clone());
        let mut line = Line::default();
        let (model, most) = alone(|| {
            let (mut model, mut most) = (model, 0);
            let mut optimizer = AdamW::new(recipe.optimizer.settings());
            // The first update makes the moments, which stay.
            for step in 0..2 {
                let (updated, held) = most_held(|| {
                    batch.update(model, &mut optimizer, reference.as_ref(), &mut None, step, 0, &mut line)
                });
                (model, most) = (updated.expect("a sound update").model, held);
            }
            (model, most)
        });
        assert!(line.norm > 0.0 && line.updates == 1, "{line:?}");
        let prompts: Vec<Prompt> = tiny.cases.iter().map(|case| case.prompt()).collect();
        let memory = memory(model.config(), &recipe, &sizes(&prompts), Arithmetic::Cpu);
        assert_near(what, most, memory.update.held(), &memory);
        let copied = if reference.is_some() { memory.update.weights } else { 0 };
        assert_eq!(memory.reference, copied, "a reference is a second copy of what is trained");
    }
}

fn plan(bench: &Bench, changes: &[&str]) -> Command {
    let mut command = trainer();
    command.arg("plan").arg(bench.path("grpo.toml")).args(["--device", "cpu"]);
    command.args(changes.iter().flat_map(|change| ["--set", change]));
    command
}

/// Names and values of a plan.
fn planned(bench: &Bench, changes: &[&str]) -> BTreeMap<String, String> {
    let output = bench.succeed(&mut plan(bench, changes));
    let lines = stdout(&output).lines().map(|line| line.split_at(line.len().min(28)));
    lines.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

fn number(plan: &BTreeMap<String, String>, name: &str) -> f64 {
    let value = plan.get(name).unwrap_or_else(|| panic!("no `{name}` in {plan:?}"));
    value.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{name}: {value}"))
}

#[test]
fn a_plan_is_near_what_the_run_holds_and_names_what_it_trains() {
    let bench = Bench::new();
    for changes in [
        &["train.steps=2", "train.prompts=6", "train.mini_batch=6", "train.micro_batch=24"][..],
        &[
            "train.steps=2",
            "loss.kl_weight=0.1",
            "rollout.group=16",
            "rollout.rows=48",
            "rollout.max_new_tokens=40",
        ],
    ] {
        let plan = planned(&bench, changes);
        let name = format!("run-{}", changes.len());
        bench.succeed(&mut bench.grpo(&name, changes));
        let lines = std::fs::read_to_string(bench.path(&name).join("metrics.jsonl")).expect("metrics.jsonl");
        let last: serde_json::Value =
            serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
        let held = last["peak_memory_bytes"].as_f64().expect("known on Linux") / 1e6;
        let peak = number(&plan, "peak");
        eprintln!("{changes:?}: planned {peak} MB, held {held} MB");
        assert!((peak - held).abs() <= 0.15 * held, "planned {peak} MB, held {held} MB: {plan:?}");
        // Tokens and pictures of the rows that were drawn, and of those that were measured.
        let told = last["sampling"]["prompt_tokens"].as_f64().expect("a number");
        assert!((number(&plan, "tokens a step") - told).abs() <= 0.5 * told, "{told}: {plan:?}");
    }
    let plan = planned(&bench, &["loss.kl_weight=0.1"]);
    assert!(plan["vision"].contains("frozen") && plan["language"].contains("trained at 1e-4"), "{plan:?}");
    assert!(plan["responses a step"].contains("12 to 3 prompts, 1 updates"), "{plan:?}");
    assert!(plan["tokens a step"].contains("at most 72 sampled"), "{plan:?}");
    assert!(plan["time on this device"].contains("s a step"), "{plan:?}");
    assert!(number(&plan, "reference") > 0.0 && number(&plan, "KV cache of the rollout") > 0.0);
    assert!(number(&plan, "peak") >= number(&plan, "peak while updating"));
    assert_eq!(number(&planned(&bench, &[]), "reference"), 0.0);
    // Longer responses and more of them at once take more.
    let larger = planned(&bench, &["rollout.max_new_tokens=12", "rollout.rows=12"]);
    assert!(number(&larger, "KV cache of the rollout") > 2.0 * number(&plan, "KV cache of the rollout"));
}

#[test]
fn a_plan_loads_no_weight_and_refuses_what_cannot_fit() {
    let bench = Bench::new();
    let copy = bench.path("hollow");
    std::fs::create_dir(&copy).expect("made");
    for entry in std::fs::read_dir(own("checkpoint")).expect("the checkpoint") {
        let path = entry.expect("an entry").path();
        let weights = path.extension().is_some_and(|kind| kind == "safetensors");
        let bytes = if weights { Vec::new() } else { std::fs::read(&path).expect("read") };
        std::fs::write(copy.join(path.file_name().expect("a name")), bytes).expect("written");
    }
    let hollow = format!("checkpoint={}", copy.display());
    assert!(planned(&bench, &[&hollow]).contains_key("fits"));
    let small = run(plan(&bench, &[]).args(["--memory", "0.001"]));
    assert_eq!(small.status.code(), Some(1));
    let text = stdout(&small);
    assert!(text.contains("does not fit") && text.contains("rollout.rows"), "{text}");
    let odd = run(&mut plan(&bench, &["rollout.groop=3"]));
    crate::commands::assert_fails(&odd, 1, &["did you mean `group`?"]);
    let long = run(&mut plan(&bench, &["data.max_prompt_tokens=3"]));
    crate::commands::assert_fails(&long, 1, &["data.max_prompt_tokens"]);
    let several = run(plan(&bench, &[]).args(["--devices", "2"]));
    crate::commands::assert_fails(&several, 1, &["--devices 2", "one device"]);
}
