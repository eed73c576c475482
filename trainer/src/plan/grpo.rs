//! The plan of a recipe of `trainer grpo`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use toml::Table as Toml;
use wethink_model::Config;
use wethink_processor::Processor;

use super::{Args, MEASURED, Table, UNCOUNTED, rate, rate_of, room};
use crate::device::{self, Opened};
use crate::figures::resident_memory;
use crate::folder::Folder;
use crate::grpo::memory::{Memory, Operations, Size, memory, operations};
use crate::grpo::prompts;
use crate::grpo::recipe::Recipe;
use crate::train::changes;
use crate::train::feed::order;
use crate::train::memory::Memory as Update;
use crate::train::rows::Rows;

/// Sections and keys that a recipe of supervised training has not.
const ITS_OWN: [&str; 6] = ["rollout", "reward", "judge", "filter", "loss", "alarms"];

/// What is known of a run before it starts.
struct Plan {
    memory: Memory,
    /// The prompts of a step, with patches and features, in the process's own memory.
    prompts: u64,
    process: u64,
    prompt_tokens: f64,
    pictures: f64,
    overlong: usize,
    measured: usize,
    /// Seconds of sampling, of scoring and of updates.
    seconds: [f64; 3],
}

/// Whether a file is a recipe of `trainer grpo`: by what it has, since neither kind says what it is.
pub fn is_meant(path: &Path, changes: &[String]) -> Result<bool> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(name)?;
    let table: Toml = changes::parse(&text, changes).with_context(name)?;
    let has = |section: &str, key: &str| table.get(section).is_some_and(|section| section.get(key).is_some());
    Ok(ITS_OWN.iter().any(|section| table.contains_key(*section))
        || has("train", "prompts")
        || has("data", "max_prompt_tokens"))
}

/// Plans it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let recipe = Recipe::read(&args.recipe, &args.changes)?;
    let folder = Folder::open(&recipe.checkpoint)?;
    let config = folder.config()?;
    recipe.trained().check_against(&config, recipe.memory.features_mb > 0.0)?;
    let processor = folder.processor()?;
    let rows = Rows::open(&recipe.data.rows, recipe.data.images.as_deref())?;
    let opened = device::open(args.device, args.dtype)?;
    let plan = plan(&recipe, &config, &processor, &rows, &opened)?;
    let room = room(args, &opened);
    // On the CPU prompts lie in the memory that the weights lie in.
    let held = plan.memory.total() + if opened.to_string() == device::CPU { plan.prompts } else { 0 };
    let mut table = Table::default();
    describe(&mut table, &plan, &recipe, &config, &opened.to_string());
    let fix = "lower rollout.rows, rollout.max_new_tokens, train.micro_batch, data.max_pixels or train.prompts, or train \
               adapters";
    table.fits(held, room, fix);
    print!("{}", table.0);
    Ok(if room.is_none_or(|room| held <= room) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(
    recipe: &Recipe,
    config: &Config,
    processor: &Processor,
    rows: &Rows,
    opened: &Opened,
) -> Result<Plan> {
    let process = resident_memory().unwrap_or(0);
    let count = rows.len().min(MEASURED);
    let options = prompts::options(&recipe.data);
    let first = &order(recipe.seed, 0, rows.len())[..count];
    let size = |&row: &usize| -> Result<Size> {
        let pictures = rows.pictures(row)?;
        let encoded = processor.process(&rows.messages(row), &pictures, &options);
        let encoded = encoded.with_context(|| rows.place(row))?;
        Ok(Size { tokens: encoded.ids.len() as u64, grids: encoded.grids })
    };
    let mut sizes: Vec<Size> = first.par_iter().map(size).collect::<Result<_>>()?;
    let (measured, limit) = (sizes.len(), recipe.data.max_prompt_tokens);
    sizes.retain(|size| size.tokens <= limit as u64);
    if sizes.is_empty() {
        bail!("every one of {measured} prompts is longer than data.max_prompt_tokens, {limit}");
    }
    let a_prompt =
        |of: &dyn Fn(&Size) -> usize| sizes.iter().map(of).sum::<usize>() as f64 / sizes.len() as f64;
    let prompts = recipe.train.prompts as f64;
    Ok(Plan {
        memory: memory(config, recipe, &sizes, opened.arithmetic()),
        prompts: kept(recipe, config, a_prompt(&patches)),
        process: process + UNCOUNTED,
        prompt_tokens: prompts * a_prompt(&|size| size.tokens as usize),
        pictures: prompts * a_prompt(&|size| size.grids.len()),
        overlong: measured - sizes.len(),
        measured,
        seconds: seconds(recipe, &operations(config, recipe, &sizes), sizes.len(), opened),
    })
}

/// Patches of a prompt's pictures.
fn patches(size: &Size) -> usize {
    size.grids.iter().map(|grid| grid.iter().product::<usize>()).sum()
}

/// Bytes of a step's prompts, of so many patches on average, as long as every drawing anew brings a whole step of others; and
/// of features that are kept.
fn kept(recipe: &Recipe, config: &Config, patches: f64) -> u64 {
    let drawn = (recipe.train.prompts as u64 * (1 + recipe.filter.rounds)) as f64;
    let [features, _] = recipe.memory.features();
    (4.0 * drawn * patches * config.vision.patch_len() as f64) as u64 + features
}

/// Seconds of sampling, scoring and updating a step, where so many prompts take `operations`.
fn seconds(recipe: &Recipe, operations: &Operations, measured: usize, opened: &Opened) -> [f64; 3] {
    let (device, dtype) = (&opened.device, opened.dtype);
    let many = rate(device, dtype);
    let few = rate_of(device, dtype, recipe.rollout.rows.min(recipe.rollout.group * recipe.train.prompts));
    let Operations { prompts, decode, scoring, update } = *operations;
    let steps = measured as f64 / recipe.train.prompts as f64;
    [prompts / many + decode / few, scoring / many, update / many].map(|seconds| seconds / steps)
}

fn describe(table: &mut Table, plan: &Plan, recipe: &Recipe, config: &Config, device: &str) {
    table.trained(&recipe.supervised(), config);
    let Update { weights, moments, gradients, tower, layers, head } = plan.memory.update;
    table.bytes(&[
        ("weights", weights),
        ("reference", plan.memory.reference),
        ("moments", moments),
        ("KV cache of the rollout", plan.memory.cache),
        ("sampling beside it", plan.memory.working),
        ("gradients", gradients),
        ("activations of the tower", tower),
        ("activations of the layers", layers),
        ("logits", head),
        ("prompts and features", plan.prompts),
        ("the process itself", plan.process),
    ]);
    let around = plan.prompts + plan.process;
    table.bytes(&[
        ("peak while sampling", plan.memory.sampling() + around),
        ("peak while updating", plan.memory.updating() + around),
        ("peak", plan.memory.total() + around),
    ]);
    let (prompts, group) = (recipe.train.prompts, recipe.rollout.group);
    let sampled = prompts * group * recipe.rollout.max_new_tokens;
    let trained = group as f64 * plan.prompt_tokens + sampled as f64;
    table.line(
        "responses a step",
        format!("{} to {prompts} prompts, {} updates", prompts * group, recipe.updates()),
    );
    table.line(
        "tokens a step",
        format!(
            "{:.0} of prompts, at most {sampled} sampled and {trained:.0} trained on",
            plan.prompt_tokens
        ),
    );
    table.line("pictures a step", format!("{:.1}", plan.pictures));
    table.line("prompts too long", format!("{} of {} measured", plan.overlong, plan.measured));
    let [sampling, scoring, update] = plan.seconds;
    let step = sampling + scoring + update;
    table.line(
        "time on this device",
        format!(
            "at most about {step:.2} s a step ({sampling:.2} sampling, {scoring:.2} scoring, {update:.2} updating), {:.2} h in \
             all, at the speed of its products ({device})",
            step * recipe.train.steps as f64 / 3600.0
        ),
    );
}
