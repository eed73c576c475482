//! `trainer plan`: what a recipe will train, hold and take, without loading a weight.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use burn::tensor::{DType, Device, Tensor};
use clap::Parser;
use rayon::prelude::*;
use wethink_model::Config;

use crate::device::{self, DeviceArg, DtypeArg};
use crate::figures::resident_memory;
use crate::folder::Folder;
use crate::train::economy::passes;
use crate::train::feed::{options, order};
use crate::train::groups::Group;
use crate::train::memory::{Memory, Shapes, adapters, memory, operations, parameters};
use crate::train::recipe::Recipe;
use crate::train::rows::Rows;
use crate::train::samples::Sample;

const EXAMPLE: &str = "\
Example:
  trainer plan trainer/recipes/sft-scenes-xs.toml --device cpu

Sequences are measured on the first rows of the first epoch. Exit code 1 when the run
cannot fit.";

/// Rows that are measured at most: enough for the mean and, with shuffled rows, nearly always for the longest.
const MEASURED: usize = 512;

/// What threads and the allocator hold beyond what is counted, as measured on Linux with small models.
const UNCOUNTED: u64 = 14_000_000;

/// Batches that are in memory at once: in use, waiting, and being made.
const BATCHES_AHEAD: u64 = 3;

/// What a recipe will train, hold and take, without loading a weight.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Change a value of the recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Where the run is to take place: auto, cpu, wgpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceArg,
    /// Type of the arithmetic [default: bf16 on cuda, f32 elsewhere]
    #[arg(long, value_enum)]
    dtype: Option<DtypeArg>,
    /// Memory of the device in gigabytes [default: what the system has free, on cpu]
    #[arg(long, value_name = "GB")]
    memory: Option<f64>,
}

/// What is known of a run before it starts.
struct Plan {
    memory: Memory,
    /// The process itself, with rows, tokenizer and a batch of pictures.
    process: u64,
    tokens: f64,
    pictures: f64,
    overlong: usize,
    measured: usize,
    seconds: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let recipe = Recipe::read(&args.recipe, &args.changes)?;
    let folder = Folder::open(&recipe.checkpoint)?;
    let config = folder.config()?;
    recipe.check_against(&config)?;
    let processor = folder.processor()?;
    let rows = Rows::open(&recipe.data.rows, recipe.data.images.as_deref())?;
    let opened = device::open(args.device, args.dtype)?;

    let process = resident_memory().unwrap_or(0);
    let count = rows.len().min(MEASURED);
    let first = &order(recipe.seed, 0, rows.len())[..count];
    let options = options(&recipe);
    let sizes: Vec<Size> = first
        .par_iter()
        .map(|&row| rows.sample(&processor, row, &options).map(|sample| Size::of(&sample)))
        .collect::<Result<_>>()?;
    let fitting: Vec<&Size> = sizes.iter().filter(|size| size.tokens <= recipe.data.max_tokens).collect();
    if fitting.is_empty() {
        bail!("every one of {count} rows is longer than data.max_tokens, {}", recipe.data.max_tokens);
    }
    let arithmetic = opened.arithmetic();
    let shapes = shapes(&fitting, &recipe);
    let several = shapes.len() > fitting.len().div_ceil(recipe.train.batch);
    let largest = shapes.iter().map(|shapes| memory(&config, &recipe, shapes, arithmetic, several));
    let batch = recipe.train.batch as f64;
    let a_batch = |of: fn(&Size) -> usize| {
        batch * fitting.iter().map(|size| of(size)).sum::<usize>() as f64 / fitting.len() as f64
    };
    let steps = fitting.len() as f64 / batch;
    let plan = Plan {
        memory: largest.max_by_key(Memory::total).unwrap_or_default(),
        process: process + UNCOUNTED + BATCHES_AHEAD * a_batch(|size| size.bytes) as u64,
        tokens: a_batch(|size| size.tokens),
        pictures: a_batch(|size| size.grids.len()),
        overlong: sizes.len() - fitting.len(),
        measured: sizes.len(),
        seconds: operations(&config, &recipe, &shapes) / steps / rate(&opened.device, opened.dtype),
    };
    let here =
        if args.device == DeviceArg::Cpu || opened.to_string() == "cpu" { free_memory() } else { None };
    let room = args.memory.map(|gigabytes| (gigabytes * 1e9) as u64).or(here);
    print!("{}", describe(&plan, &recipe, &config, &opened.to_string(), room));
    let fits = room.is_none_or(|room| plan.memory.total() <= room);
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a sample costs; the sample itself is not kept.
struct Size {
    tokens: usize,
    response: usize,
    grids: Vec<[usize; 3]>,
    bytes: usize,
}

impl Size {
    fn of(sample: &Sample) -> Self {
        let prompt = sample.prompt();
        Self {
            tokens: sample.tokens(),
            response: sample.response.len(),
            grids: prompt.grids.to_vec(),
            bytes: size_of_val(prompt.patches),
        }
    }
}

/// The passes of the first rows, as the run will make them.
fn shapes(sizes: &[&Size], recipe: &Recipe) -> Vec<Shapes> {
    let of = |pass: Vec<&Size>| Shapes {
        lengths: pass.iter().map(|size| size.tokens as u64).collect(),
        targets: pass.iter().map(|size| size.response as u64).sum(),
        grids: pass.iter().flat_map(|size| size.grids.clone()).collect(),
    };
    let of_batch = |batch: &[&Size]| {
        let tokens: Vec<usize> = batch.iter().map(|size| size.tokens).collect();
        let passes = passes(&tokens, recipe.portion()).into_iter();
        passes.map(|pass| of(pass.into_iter().map(|place| batch[place]).collect())).collect::<Vec<_>>()
    };
    sizes.chunks(recipe.train.batch).flat_map(of_batch).collect()
}

/// Operations a second of a product of a size that training has.
fn rate(device: &Device, dtype: DType) -> f64 {
    const N: usize = 1024;
    let ones = || Tensor::<2>::ones([N, N], (device, dtype));
    let (a, b) = (ones(), ones());
    let product = || drop(a.clone().matmul(b.clone()).slice([0..1, 0..1]).into_data());
    product();
    let started = Instant::now();
    const ROUNDS: usize = 4;
    (0..ROUNDS).for_each(|_| product());
    2.0 * (N * N * N * ROUNDS) as f64 / started.elapsed().as_secs_f64()
}

/// Memory that the system can give, in bytes; known on Linux.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn describe(plan: &Plan, recipe: &Recipe, config: &Config, device: &str, room: Option<u64>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<28}{value}");
    };
    for group in Group::ALL {
        let count = parameters(config, group) as f64 / 1e6;
        let how = match recipe.rates(group) {
            _ if count == 0.0 => "tied to the embeddings".to_owned(),
            Some(rates) => {
                format!("{count:.2} M trained at {:e}, decay {}", rates.learning_rate, rates.weight_decay)
            }
            None => format!("{count:.2} M frozen"),
        };
        line(group.name(), how);
    }
    if let Some(lora) = &recipe.lora {
        let count = adapters(config, recipe) as f64 / 1e6;
        line(
            "adapters",
            format!(
                "{count:.2} M of rank {} trained at {:e}, decay {}",
                lora.rank, lora.learning_rate, lora.weight_decay
            ),
        );
    }
    let Memory { weights, moments, gradients, tower, layers, head } = plan.memory;
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    for (name, bytes) in [
        ("weights", weights),
        ("moments", moments),
        ("gradients", gradients),
        ("activations of the tower", tower),
        ("activations of the layers", layers),
        ("logits", head),
        ("the process itself", plan.process),
    ] {
        line(name, megabytes(bytes));
    }
    line("peak", megabytes(plan.memory.total() + plan.process));
    line("tokens a step", format!("{:.0}", plan.tokens));
    line("pictures a step", format!("{:.1}", plan.pictures));
    line("rows beyond max_tokens", format!("{} of {} measured", plan.overlong, plan.measured));
    let hours = plan.seconds * recipe.train.steps as f64 / 3600.0;
    line(
        "time on this device",
        format!(
            "about {:.2} s a step, {hours:.2} h in all, at the speed of its products ({device})",
            plan.seconds
        ),
    );
    match room {
        Some(room) if plan.memory.total() > room => line(
            "does not fit",
            format!(
                "{} are free; lower train.micro_batch, data.max_pixels or data.max_tokens, or freeze a group",
                megabytes(room)
            ),
        ),
        Some(room) => line("fits", format!("{} are free", megabytes(room))),
        None => line("fits?", "the device does not tell its memory; give it by --memory".to_owned()),
    }
    text
}
