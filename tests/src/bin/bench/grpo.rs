//! A step of GRPO here and in TRL's GRPOTrainer: same checkpoint (preset S), same prompts, same settings, float32, same cores,
//! one after the other.
//!
//! Weights are random, so nearly every response runs to its limit on both sides: the work is the same, which no trained policy
//! would grant. Needs a Python with the packages of `tests/interop/train/requirements-grpo.txt`, named by `WETHINK_PYTHON`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wethink_processor::WETHINK_SYSTEM_PROMPT;
use wethink_tests::fixtures::interop;
use wethink_trainer::folder::Folder;
use wethink_trainer::train::feed::order;
use wethink_trainer::train::metrics;
use wethink_trainer::train::rows::Rows;

use crate::train::run;

const PROMPTS: usize = 4;
const GROUP: usize = 8;
const STEPS: usize = 6;
const NEW_TOKENS: usize = 64;
/// Steps before anything is counted.
const WARM_UP: usize = 1;
const SEED: u64 = 3;

/// Runs both and compares.
pub fn grpo() -> Result<Value> {
    let python = std::env::var_os("WETHINK_PYTHON").context(
        "WETHINK_PYTHON is not set: make a virtual environment, install tests/interop/train/requirements-grpo.txt there, and \
         name its python",
    )?;
    let folder = std::env::temp_dir().join(format!("wethink-bench-grpo-{}", std::process::id()));
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::create_dir_all(&folder)?;
    let (data, rows, checkpoint) = (path("data"), path("data/rows.jsonl"), path("s"));
    let count = (PROMPTS * STEPS).to_string();
    let binary = std::env::current_exe()?.with_file_name(format!("trainer{}", std::env::consts::EXE_SUFFIX));
    let trainer = |arguments: &[&str]| {
        run(Command::new(&binary).args(arguments)).context("trainer; build it by `cargo build`")
    };
    trainer(&["scenes", "make", "--task", "A", "--n", &count, "--out", &data])?;
    trainer(&["init", "--preset", "S", "--tokenizer-from", &rows, "--out", &checkpoint])?;
    std::fs::write(path("recipe.toml"), recipe(&checkpoint, &rows))?;
    trainer(&["grpo", &path("recipe.toml"), "--device", "cpu", "--out", &path("run")])?;
    let ours = metrics::read(&folder.join("run/metrics.jsonl"))?.iter().map(step).collect::<Vec<_>>();

    std::fs::write(path("prompts.jsonl"), prompts(Path::new(&rows))?)?;
    let threads = std::thread::available_parallelism()?.get();
    let config = Folder::open(Path::new(&checkpoint))?.config()?;
    let settings = json!({
        "threads": threads, "prompts": PROMPTS, "group": GROUP, "steps": STEPS, "max_new_tokens": NEW_TOKENS,
        "out": path("trl"), "banned": [config.image_token_id, config.video_token_id],
    });
    std::fs::write(path("settings.json"), settings.to_string())?;
    let script = interop().join("bench_grpo.py");
    let mut command = Command::new(python);
    command.arg(script).args([&checkpoint, &path("prompts.jsonl"), &path("settings.json")]);
    let theirs: Value = serde_json::from_slice(&run(&mut command)?).context("bench_grpo.py")?;
    let theirs: Vec<Value> = theirs["steps"].as_array().cloned().unwrap_or_default();
    std::fs::remove_dir_all(&folder)?;

    let (ours, theirs) = (summary(&ours), summary(&theirs));
    let ratio = |phase: &str| {
        let of = |side: &Value| side["seconds"][phase].as_f64().unwrap_or(f64::NAN);
        of(&ours) / of(&theirs)
    };
    let ratios = json!({ "rollout": ratio("rollout"), "update": ratio("update"), "step": ratio("step") });
    Ok(json!({
        "preset": "S", "prompts": PROMPTS, "group": GROUP, "max_new_tokens": NEW_TOKENS, "steps": STEPS - WARM_UP,
        "trainer": ours, "trl": theirs, "times_trls_time": ratios,
    }))
}

fn recipe(checkpoint: &str, rows: &str) -> String {
    let mut text = format!(
        "checkpoint = {checkpoint:?}\nseed = {SEED}\n[data]\nrows = {rows:?}\n\
         [rollout]\ngroup = {GROUP}\nmax_new_tokens = {NEW_TOKENS}\nrows = {0}\n\
         [train]\nsteps = {STEPS}\nprompts = {PROMPTS}\nmini_batch = {PROMPTS}\nmicro_batch = {0}\nadvantage = \"group\"\n\
         [loss]\nkl_weight = 0.0\n[schedule]\nshape = \"constant\"\n[save]\nevery = 1000\n",
        PROMPTS * GROUP
    );
    for group in ["merger", "embeddings", "language"] {
        let _ = write!(text, "[groups.{group}]\nlearning_rate = 1e-5\n");
    }
    text
}

/// The prompts in the order that the run draws them in.
fn prompts(rows: &Path) -> Result<String> {
    let folder = rows.parent().context("rows lie in a folder")?;
    let rows = Rows::open(rows, None)?;
    let mut text = String::new();
    for place in order(SEED, 0, rows.len()) {
        let row = rows.row(place);
        let image = row.images().first().context("a scene has a picture")?;
        let line = json!({
            "system": row.system.as_deref().unwrap_or(WETHINK_SYSTEM_PROMPT),
            "problem": row.problem,
            "image": folder.join(image),
        });
        writeln!(text, "{line}")?;
    }
    Ok(text)
}

/// A line of our metrics in the form of the script's steps.
fn step(line: &Value) -> Value {
    let seconds = &line["seconds"];
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let prompts = number(&line["sampling"]["prompt_tokens"]);
    json!({
        "rollout": seconds["rollout"],
        "scoring": number(&seconds["reward"]) + number(&seconds["old"]) + number(&seconds["reference"]),
        "update": seconds["update"],
        "step": seconds["step"],
        "prompt_tokens": prompts,
        "sampled": line["sampling"]["tokens"],
        "trained": number(&line["sampling"]["tokens"]) + GROUP as f64 * prompts,
        "peak_memory_bytes": line["peak_memory_bytes"],
    })
}

/// Medians of the steps after warm-up.
fn summary(steps: &[Value]) -> Value {
    let counted = &steps[WARM_UP.min(steps.len())..];
    let median = |field: &str| {
        let mut values: Vec<f64> = counted.iter().filter_map(|step| step[field].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let speed = |tokens: &str, phase: &str| median(tokens) / median(phase);
    json!({
        "seconds": {
            "rollout": median("rollout"), "scoring": median("scoring"), "update": median("update"), "step": median("step"),
        },
        "rollout_tokens_per_second": speed("sampled", "rollout"),
        "update_tokens_per_second": speed("trained", "update"),
        "sampled_tokens": median("sampled"),
        "trained_tokens": median("trained"),
        "peak_memory_bytes": steps.last().map(|step| step["peak_memory_bytes"].clone()),
    })
}
