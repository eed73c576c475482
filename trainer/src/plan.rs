//! `trainer plan`: what a recipe will train, hold and take, without loading a weight.

mod grpo;

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use burn::tensor::{DType, Device, Tensor};
use clap::Parser;
use rayon::prelude::*;
use wethink_model::Config;

use crate::device::{self, DeviceArg, DtypeArg, Opened};
use crate::figures::resident_memory;
use crate::folder::Folder;
use crate::train::feed::{options, order};
use crate::train::groups::Group;
use crate::train::memory::{Memory, Shapes, adapters, memory, operations, parameters};
use crate::train::parallel;
use crate::train::recipe::Recipe;
use crate::train::rows::Rows;
use crate::train::samples::Sample;

const EXAMPLE: &str = "\
Examples:
  trainer plan trainer/recipes/sft-scenes-xs.toml --device cpu
  trainer plan trainer/recipes/wethink-7b.toml --device cuda --memory 80
  trainer plan trainer/recipes/sft-wethink-7b-lora.toml --devices 4 \\
    --device cuda --memory 80

The recipe is one of `trainer sft` or of `trainer grpo`. Sequences are measured
on the first rows of the first epoch; responses that are still to be sampled
count as long as allowed. Exit code 1 when the run cannot fit.";

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
    /// How many devices share every step, as for `trainer sft`: memory is that of one
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    devices: u8,
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
    if grpo::is_meant(&args.recipe, &args.changes)? {
        if args.devices > 1 {
            bail!("--devices {}: `trainer grpo` runs on one device", args.devices);
        }
        return grpo::run(args);
    }
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
    let shares = shares(&fitting, &recipe, usize::from(args.devices));
    let several = shares.iter().any(|share| share.len() > 1);
    let largest = shares.iter().flatten().map(|shapes| memory(&config, &recipe, shapes, arithmetic, several));
    // Threads of the CPU share its memory and its cores as well.
    let together = if opened.to_string() == device::CPU { usize::from(args.devices) } else { 1 };
    let busiest = shares.chunks(usize::from(args.devices)).map(|step| {
        let each = step.iter().map(|share| operations(&config, &recipe, share));
        if together > 1 { each.sum() } else { each.fold(0.0, f64::max) }
    });
    let batch = recipe.train.batch as f64;
    let a_batch = |of: fn(&Size) -> usize| {
        batch * fitting.iter().map(|size| of(size)).sum::<usize>() as f64 / fitting.len() as f64
    };
    let steps = fitting.len() as f64 / batch;
    let plan = Plan {
        memory: largest.max_by_key(Memory::total).unwrap_or_default().times(together as u64),
        process: process + UNCOUNTED + BATCHES_AHEAD * a_batch(|size| size.bytes) as u64,
        tokens: a_batch(|size| size.tokens),
        pictures: a_batch(|size| size.grids.len()),
        overlong: sizes.len() - fitting.len(),
        measured: sizes.len(),
        seconds: busiest.sum::<f64>() / steps / rate(&opened.device, opened.dtype),
    };
    let room = room(args, &opened);
    print!("{}", describe(&plan, &recipe, &config, &opened.to_string(), room));
    let fits = room.is_none_or(|room| plan.memory.total() <= room);
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Bytes that a run can have, if that is known.
fn room(args: &Args, opened: &Opened) -> Option<u64> {
    let here = args.device == DeviceArg::Cpu || opened.to_string() == device::CPU;
    let given = args.memory.map(|gigabytes| (gigabytes * 1e9) as u64);
    given.or_else(|| if here { free_memory() } else { None })
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

/// The passes of the first rows, as the run will make them: step by step, each device's.
fn shares(sizes: &[&Size], recipe: &Recipe, devices: usize) -> Vec<Vec<Shapes>> {
    let of = |pass: Vec<&Size>| Shapes {
        lengths: pass.iter().map(|size| size.tokens as u64).collect(),
        targets: pass.iter().map(|size| size.response as u64).sum(),
        grids: pass.iter().flat_map(|size| size.grids.clone()).collect(),
    };
    let of_batch = |batch: &[&Size]| {
        let tokens: Vec<usize> = batch.iter().map(|size| size.tokens).collect();
        let pass = |places: Vec<usize>| of(places.into_iter().map(|place| batch[place]).collect());
        let shares = parallel::shares(&tokens, recipe, devices).into_iter();
        shares.map(|share| share.into_iter().map(|(_, places)| pass(places)).collect()).collect::<Vec<_>>()
    };
    sizes.chunks(recipe.train.batch).flat_map(of_batch).collect()
}

/// Operations a second of a product of a size that training has.
fn rate(device: &Device, dtype: DType) -> f64 {
    rate_of(device, dtype, N)
}

/// Rows and columns of the products that are timed.
const N: usize = 1024;

/// Operations a second of a product of so many rows with a square.
fn rate_of(device: &Device, dtype: DType, rows: usize) -> f64 {
    let ones = |rows: usize| Tensor::<2>::ones([rows, N], (device, dtype));
    let (a, b) = (ones(rows), ones(N));
    let product = || drop(a.clone().matmul(b.clone()).slice([0..1, 0..1]).into_data());
    product();
    let started = Instant::now();
    const ROUNDS: usize = 4;
    (0..ROUNDS).for_each(|_| product());
    2.0 * (rows * N * N * ROUNDS) as f64 / started.elapsed().as_secs_f64()
}

/// Memory that the system can give, in bytes; known on Linux.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A table of names and values.
#[derive(Default)]
struct Table(String);

impl Table {
    fn line(&mut self, name: &str, value: impl fmt::Display) {
        let _ = writeln!(self.0, "{name:<28}{value}");
    }

    fn bytes(&mut self, of: &[(&str, u64)]) {
        of.iter().for_each(|(name, bytes)| self.line(name, megabytes(*bytes)));
    }

    /// What is trained, and how fast.
    fn trained(&mut self, recipe: &Recipe, config: &Config) {
        for group in Group::ALL {
            let count = parameters(config, group) as f64 / 1e6;
            let how = match recipe.rates(group) {
                _ if count == 0.0 => "tied to the embeddings".to_owned(),
                Some(rates) => {
                    format!("{count:.2} M trained at {:e}, decay {}", rates.learning_rate, rates.weight_decay)
                }
                None => format!("{count:.2} M frozen"),
            };
            self.line(group.name(), how);
        }
        if let Some(lora) = &recipe.lora {
            let count = adapters(config, recipe) as f64 / 1e6;
            self.line(
                "adapters",
                format!(
                    "{count:.2} M of rank {} trained at {:e}, decay {}",
                    lora.rank, lora.learning_rate, lora.weight_decay
                ),
            );
        }
    }

    /// Whether so much fits, and what to do if not.
    fn fits(&mut self, total: u64, room: Option<u64>, fix: &str) {
        match room {
            Some(room) if total > room => {
                self.line("does not fit", format!("{} are free; {fix}", megabytes(room)));
            }
            Some(room) => self.line("fits", format!("{} are free", megabytes(room))),
            None => self.line("fits?", "the device does not tell its memory; give it by --memory"),
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn describe(plan: &Plan, recipe: &Recipe, config: &Config, device: &str, room: Option<u64>) -> String {
    let mut table = Table::default();
    table.trained(recipe, config);
    let Memory { weights, moments, gradients, tower, layers, head } = plan.memory;
    table.bytes(&[
        ("weights", weights),
        ("moments", moments),
        ("gradients", gradients),
        ("activations of the tower", tower),
        ("activations of the layers", layers),
        ("logits", head),
        ("the process itself", plan.process),
        ("peak", plan.memory.total() + plan.process),
    ]);
    table.line("tokens a step", format!("{:.0}", plan.tokens));
    table.line("pictures a step", format!("{:.1}", plan.pictures));
    table.line("rows beyond max_tokens", format!("{} of {} measured", plan.overlong, plan.measured));
    let hours = plan.seconds * recipe.train.steps as f64 / 3600.0;
    table.line(
        "time on this device",
        format!(
            "about {:.2} s a step, {hours:.2} h in all, at the speed of its products ({device})",
            plan.seconds
        ),
    );
    let fix = "lower train.micro_batch, data.max_pixels or data.max_tokens, or freeze a group";
    table.fits(plan.memory.total(), room, fix);
    table.0
}
