//! What is made, trained and asked, in order.
//!
//! Scenes are those of task A: 4 by 4 cells, one image token each, six colours, four kinds, questions that name one attribute and
//! whose answers are all as likely. Four pairs of colour and kind occur in no scene that trains.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::lab::{Lab, Stage};

/// Sets of held-out scenes: name, options of `trainer scenes make`, and what is said of it.
pub const SETS: [(&str, &str, &str); 5] = [
    ("annotated", "--objects 3-6", "3 to 6 shapes, as most annotated scenes"),
    ("rewarded", "--objects 8-10", "8 to 10 shapes, as the rewarded scenes"),
    ("more", "--objects 11-13", "11 to 13 shapes"),
    ("pairs", "--objects 8-10 --show-held-out", "8 to 10 shapes, every answer depends on an unseen pair"),
    ("clutter", "--objects 8-10 --clutter 20", "8 to 10 shapes over clutter of 20"),
];

/// The set that the verdict is about.
pub const HEADLINE: &str = "rewarded";

/// Scenes of a held-out set, and those of which several answers are drawn.
const HELD_OUT: u64 = 2000;
const SAMPLED: u64 = 500;
/// Answers drawn to a scene.
pub const SAMPLES: u64 = 8;

const LOOK: &str = "--task A --size 112 --square --cell 28 --shapes 4 --relations 0 \
                    --hold-out red-star,blue-circle,green-triangle,yellow-square";
const ANNOTATED: u64 = 4000;
const PARENT_STEPS: u64 = 3000;
/// Updates of reinforcement learning.
pub const STEPS: u64 = 100;

/// Validation scenes that are answered along a run.
pub const VALIDATED: u64 = 200;
/// Scenes that reinforcement learning draws its questions from.
const FRESH: u64 = 7200;

/// Where reinforcement learning starts.
pub struct Start {
    /// What it is called.
    pub name: &'static str,
    /// What its parent has learned by.
    pub after: &'static str,
    /// Its models: the parent, what rewards make of it, and what as much continued SFT does.
    pub models: [&'static str; 3],
    /// Prompts of an update; a step has up to 24.
    mini_batch: u64,
}

/// The second start is where continued SFT has led from the first, and brings little more.
pub const STARTS: [Start; 2] = [
    Start {
        name: "early",
        after: "3,000 steps of SFT",
        models: ["parent", "grpo", "control"],
        mini_batch: 24,
    },
    Start {
        name: "late",
        after: "continued SFT",
        models: ["control", "grpo-late", "control-late"],
        mini_batch: 6,
    },
];

/// Variants of the first seed's late run: name, changed values, and what is said of it.
pub const VARIANTS: [(&str, &[&str], &str); 6] = [
    ("single", &["train.mini_batch=24"], "one update a step, in place of one for six prompts"),
    ("rule", &["reward.accuracy=1.0", "reward.format=0.0"], "accuracy alone, without the format"),
    ("std", &["train.advantage=\"grpo\""], "advantages divided by their deviation"),
    (
        "dapo",
        &["train.advantage=\"grpo\"", "loss.average=\"token\"", "filter.rounds=3"],
        "DAPO: divided, averaged by token, filled up with prompts that teach",
    ),
    ("unfiltered", &["filter.rounds=0"], "prompts as they come"),
    ("kl", &["loss.kl_weight=0.01"], "a divergence from the parent that costs 0.01"),
];

/// The run that variants vary.
pub fn varied() -> String {
    format!("{}-1", STARTS[1].models[1])
}

/// The run of a variant.
pub fn variant(name: &str) -> String {
    format!("{}-{name}", varied())
}

/// The baseline whose annotated scenes never end, the rewarded kind among them: its name, and what is said of it.
pub const ENDLESS: (&str, &str) =
    ("endless", "SFT from the base on 20,000 annotated scenes of 3 to 10 shapes, each once");
const ENDLESS_STEPS: u64 = 5000;

const SFT: &str = "trainer/recipes/sft-scenes-xs-marks.toml";
const GRPO: &str = "trainer/recipes/scenes-xs.toml";

/// Every stage, those that others wait for first.
pub fn all(seeds: &[u64], variants: bool) -> Vec<Stage> {
    let mut stages = vec![
        rows("base-rows", "--terse --objects 3-6", 48_000, 0, "train"),
        rows("base-val", "--terse --objects 3-6", 300, 0, "val"),
        rows("val-annotated", "--asked 1,0,0 --objects 3-6", 300, 0, "val"),
        rows("val-rewarded", "--asked 1,0,0 --objects 8-10", 300, 0, "val"),
    ];
    for (set, options, _) in SETS {
        stages.push(rows(&format!("test-{set}"), &format!("--asked 1,0,0 {options}"), HELD_OUT, 0, "test"));
    }
    stages.push(stage("start", &["base-rows"], |lab| {
        let tokenizer = lab.path("rows/base-rows/rows.jsonl").display().to_string();
        let out = lab.path("checkpoints/start").display().to_string();
        lab.trainer("start", &words("init --preset XS --tokenizer-from {} --out {}", &[&tokenizer, &out]))
    }));
    stages.push(trained("base", &["start", "base-rows", "base-val"], |lab| {
        let recipe = "trainer/recipes/sft-scenes-xs.toml";
        lab.train(
            "base",
            "sft",
            recipe,
            3000,
            &[
                checkpoint(lab, "start"),
                data(lab, "base-rows"),
                validation(lab, "base-val"),
                "validation.answers=60".into(),
                "validation.max_new_tokens=150".into(),
            ],
        )
    }));
    for &seed in seeds {
        stages.extend(of_seed(seed));
    }
    if variants {
        let (endless, rows_of) = (ENDLESS.0, "endless-rows");
        stages.push(rows(rows_of, "--asked 1,0,0 --objects 3-10", 4 * ENDLESS_STEPS, 30, "train"));
        stages.push(trained(endless, &["base", rows_of, "val-rewarded"], move |lab| {
            supervised(lab, endless, "base", rows_of, "val-rewarded", ENDLESS_STEPS, 1, &[])
        }));
        stages.extend(SETS.map(|(set, ..)| asked(endless, set)));
        stages.push(sampled(endless));
        for (variant, set, _) in VARIANTS {
            let (name, from) = (self::variant(variant), format!("{}-1", STARTS[1].models[0]));
            stages.push(trained(&name, &[&from, "fresh-1", "val-rewarded"], {
                let (name, from) = (name.clone(), from.clone());
                move |lab| rewarded(lab, &name, &from, 1, STARTS[1].mini_batch, set)
            }));
            stages.push(asked(&name, HEADLINE));
        }
    }
    stages
}

/// A parent from one draw of annotated scenes; from each start reinforcement learning and its control.
fn of_seed(seed: u64) -> Vec<Stage> {
    let named = |name: &str| format!("{name}-{seed}");
    let [annotated, fresh, parent] = ["annotated", "fresh", "parent"].map(named);
    let sparse = "--asked 1,0,0 --objects 3-6 --crowded 1 --crowd 7-10";
    let mut stages = vec![
        rows(&annotated, sparse, ANNOTATED, 10 + seed, "train"),
        rows(&fresh, "--asked 1,0,0 --objects 8-10", FRESH, 20 + seed, "train"),
    ];
    stages.push(trained(&parent, &["base", &annotated, "val-annotated"], {
        let (name, annotated) = (parent.clone(), annotated.clone());
        move |lab: &Lab| supervised(lab, &name, "base", &annotated, "val-annotated", PARENT_STEPS, seed, &[])
    }));
    let mut models = vec![parent.clone()];
    for Start { models: start, mini_batch, .. } in STARTS {
        let [from, grpo, control] = start.map(named);
        stages.push(trained(&grpo, &[&from, &fresh, "val-rewarded"], {
            let (name, from) = (grpo.clone(), from.clone());
            move |lab| rewarded(lab, &name, &from, seed, mini_batch, &[])
        }));
        stages.push(trained(&control, &[&from, &grpo, &annotated, "val-rewarded"], {
            let (name, from, parent, grpo, annotated) =
                (control.clone(), from.clone(), parent.clone(), grpo.clone(), annotated.clone());
            move |lab: &Lab| {
                let step = work(lab, &parent)? / PARENT_STEPS as f64;
                let steps = (work(lab, &grpo)? / step).ceil() as u64;
                let rates = ["vision", "merger", "embeddings", "language"].map(|group| {
                    format!(
                        "groups.{group}.learning_rate={}",
                        if group == "vision" { "1.2e-4" } else { "3e-4" }
                    )
                });
                supervised(lab, &name, &from, &annotated, "val-rewarded", steps, seed, &rates)
            }
        }));
        models.extend([grpo, control]);
    }
    // What the verdict is about comes first.
    stages.extend(models.iter().map(|model| asked(model, HEADLINE)));
    stages.extend(models.iter().map(|model| sampled(model)));
    for (set, ..) in SETS.into_iter().filter(|&(set, ..)| set != HEADLINE) {
        stages.extend(models.iter().map(|model| asked(model, set)));
    }
    stages
}

#[allow(clippy::too_many_arguments)]
fn supervised(
    lab: &Lab,
    name: &str,
    from: &str,
    annotated: &str,
    held_out: &str,
    steps: u64,
    seed: u64,
    more: &[String],
) -> Result<()> {
    let mut set = vec![
        checkpoint(lab, from),
        data(lab, annotated),
        validation(lab, held_out),
        format!("seed={seed}"),
        format!("validation.answers={VALIDATED}"),
        "validation.max_new_tokens=180".into(),
        format!("validation.every={}", steps.div_ceil(5)),
        format!("save.every={}", steps.div_ceil(10)),
    ];
    if lab.training().is_gpu() {
        // Rows that are answered at a time; a step has fewer.
        set.push("train.micro_batch=100".into());
    }
    set.extend_from_slice(more);
    lab.train(name, "sft", SFT, steps, &set)
}

fn rewarded(lab: &Lab, name: &str, from: &str, seed: u64, mini_batch: u64, more: &[&str]) -> Result<()> {
    let mut set = vec![
        checkpoint(lab, from),
        data(lab, &format!("fresh-{seed}")),
        validation(lab, "val-rewarded"),
        format!("seed={seed}"),
        "rollout.max_new_tokens=180".into(),
        "train.prompts=24".into(),
        format!("train.mini_batch={mini_batch}"),
        "filter.rounds=1".into(),
        "memory.layout=\"packed\"".into(),
        format!("validation.answers={VALIDATED}"),
        "validation.max_new_tokens=180".into(),
        "validation.every=20".into(),
        "save.every=20".into(),
    ];
    if lab.training().is_gpu() {
        set.extend(["rollout.rows=512".into(), "train.micro_batch=192".into()]);
    }
    let groups = ["merger", "embeddings", "language"];
    set.extend(groups.map(|group| format!("groups.{group}.learning_rate=1.5e-4")));
    set.extend(more.iter().map(|&value| value.into()));
    lab.train(name, "grpo", GRPO, STEPS, &set)
}

/// Floating-point operations of a run, by its own counts: twice the parameters a token going forward, six times where it is
/// trained on. A step of reinforcement learning goes forward over what it samples.
pub fn work(lab: &Lab, run: &str) -> Result<f64> {
    let [tower, language] = parameters(lab, run)?;
    let mut sum = 0.0;
    for line in lab.lines(&format!("runs/{run}/metrics.jsonl"))? {
        let count = |path: &str| line.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
        let sampling = count("/sampling/prefills");
        sum += if sampling > 0.0 {
            let prompt = count("/sampling/prompt_tokens") / sampling;
            let sampled = count("/sampling/prompt_tokens") + count("/sampling/tokens");
            let trained = count("/tokens") + prompt * count("/trained");
            2.0 * (tower * PATCHES * count("/sampling/pictures") + language * (sampled + 3.0 * trained))
        } else {
            6.0 * (tower * PATCHES * count("/pictures") + language * count("/tokens"))
        };
    }
    Ok(sum)
}

/// Patches of a picture of 112 by 112 pixels.
const PATCHES: f64 = 64.0;

/// Parameters of the vision tower with its merger, and of the language model.
fn parameters(lab: &Lab, run: &str) -> Result<[f64; 2]> {
    let path = lab.path(&format!("checkpoints/{run}/model-00001-of-00001.safetensors"));
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let tensors =
        safetensors::SafeTensors::deserialize(&bytes).with_context(|| path.display().to_string())?;
    let mut counts = [0.0; 2];
    for (name, tensor) in tensors.iter() {
        let all: usize = tensor.shape().iter().product();
        counts[usize::from(!name.starts_with("visual."))] += all as f64;
    }
    Ok(counts)
}

/// A training stage whose weights are exported as a checkpoint.
fn trained(name: &str, after: &[&str], train: impl Fn(&Lab) -> Result<()> + Send + Sync + 'static) -> Stage {
    let own = name.to_owned();
    stage(name, after, move |lab| {
        train(lab)?;
        // The last checkpoint, not the best on the validation set: no run is helped by what it is measured with.
        let [run, out] = ["runs", "checkpoints"].map(|folder| lab.path(&format!("{folder}/{own}")));
        if out.exists() {
            std::fs::remove_dir_all(&out)?;
        }
        let [run, out] = [run, out].map(|path| path.display().to_string());
        lab.trainer(&own, &words("export {} --which last --dtype f32 --out {}", &[&run, &out]))
    })
}

/// A model's greedy answers to a held-out set.
fn asked(model: &str, set: &str) -> Stage {
    answered(&format!("{model}-on-{set}"), model, set, "")
}

/// Several answers drawn to each of the first scenes of the set that the verdict is about.
fn sampled(model: &str) -> Stage {
    let name = format!("{model}-on-{HEADLINE}-sampled");
    answered(&name, model, HEADLINE, &format!(" --limit {SAMPLED} --samples {SAMPLES}"))
}

fn answered(name: &str, model: &str, set: &str, more: &str) -> Stage {
    let (own, model, set, more) = (name.to_owned(), model.to_owned(), set.to_owned(), more.to_owned());
    let after = [model.clone(), format!("test-{set}")];
    stage(name, &after.each_ref().map(String::as_str), move |lab| {
        let checkpoint = lab.path(&format!("checkpoints/{model}")).display().to_string();
        let rows = lab.path(&format!("rows/test-{set}/rows.jsonl")).display().to_string();
        let out = lab.path(&format!("answers/{own}.jsonl")).display().to_string();
        let batch = if lab.answering().is_gpu() { 256 } else { 32 };
        let device = lab.answering().arguments().join(" ");
        let eval = format!(
            "eval --checkpoint {{}} --data {{}} --out {{}} --max-new-tokens 250 --batch {batch} {device}{more}"
        );
        lab.trainer(&own, &words(&eval, &[&checkpoint, &rows, &out]))
    })
}

fn rows(name: &str, options: &str, n: u64, seed: u64, split: &str) -> Stage {
    let (own, options, split) = (name.to_owned(), options.to_owned(), split.to_owned());
    stage(name, &[], move |lab| {
        let out = lab.path(&format!("rows/{own}")).display().to_string();
        let made = format!("scenes make {LOOK} {options} --n {n} --seed {seed} --split {split} --out {{}}");
        lab.trainer(&own, &words(&made, &[&out]))
    })
}

fn stage(name: &str, after: &[&str], run: impl Fn(&Lab) -> Result<()> + Send + Sync + 'static) -> Stage {
    let after = after.iter().map(|&name| name.to_owned()).collect();
    Stage { name: name.to_owned(), after, run: Box::new(run) }
}

/// The words of a command line; each `{}` is the next value, which may hold spaces.
fn words(line: &str, values: &[&str]) -> Vec<String> {
    let mut values = values.iter();
    let word = |word: &str| match word {
        "{}" => (*values.next().expect("as many values as places")).to_owned(),
        word => word.to_owned(),
    };
    line.split_whitespace().map(word).collect()
}

fn checkpoint(lab: &Lab, name: &str) -> String {
    format!("checkpoint={}", lab.path(&format!("checkpoints/{name}")).display())
}

fn data(lab: &Lab, name: &str) -> String {
    format!("data.rows={}", lab.path(&format!("rows/{name}/rows.jsonl")).display())
}

fn validation(lab: &Lab, name: &str) -> String {
    format!("validation.rows={}", lab.path(&format!("rows/{name}/rows.jsonl")).display())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_stage_has_a_name_of_its_own_and_follows_what_it_needs() {
        let mut before = BTreeSet::new();
        for Stage { name, after, .. } in all(&[1, 2], true) {
            for needed in &after {
                assert!(before.contains(needed), "{name} waits for {needed}, which comes later or never");
            }
            assert!(before.insert(name.clone()), "{name} is there twice");
        }
        for name in
            ["grpo-late-2", "control-late-2-on-clutter", "grpo-late-1-kl-on-rewarded", "endless-on-more"]
        {
            assert!(before.contains(name), "{name}");
        }
    }
}
