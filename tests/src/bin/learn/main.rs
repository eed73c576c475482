//! The experiment of `docs/scenes.md`: a small model that few annotated scenes start and rewards improve, with its controls.
//!
//! `learn` makes the scenes, trains, answers the held-out sets and writes the figures. What is done stays done: after an
//! interruption the same command goes on. Several runs are under way at a time.

mod figures;
mod lab;
mod picture;
mod stages;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use lab::Lab;

/// Train a small model by annotated scenes, then by rewards, and measure what each gave.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask learn", max_term_width = 100, after_help = AFTER)]
struct Args {
    /// Folder of the whole experiment
    #[arg(long, value_name = "DIR", default_value = "runs/learn")]
    out: PathBuf,
    /// How often all of it is done, each time from other annotated scenes
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Runs under way at a time [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Threads of the CPU that a run may use
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Where runs compute, in float32: cpu, wgpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Where held-out scenes are answered [default: as --device]
    #[arg(long, value_name = "DEVICE")]
    eval_device: Option<String>,
    /// Leave out the variants of the reward and the objective, which are run once
    #[arg(long)]
    without_variants: bool,
    /// Do not train: write the figures of what is there
    #[arg(long)]
    figures: bool,
}

const AFTER: &str = "\
Several hours on two cores, of which the model that all start from takes the
first 40 minutes. Ctrl-C stops every run after its step; the same command goes
on.

DIR gets rows/, runs/ (a run folder each, with report.html), checkpoints/,
answers/, logs/, and at the end figures.json, figures.md and curves.svg.";

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let answering = args.eval_device.as_ref().unwrap_or(&args.device);
    let lab = Lab::open(&args.out, [&args.device, answering], args.threads)?;
    let seeds: Vec<u64> = (1..=args.seeds.max(1)).collect();
    if !args.figures {
        ctrlc::set_handler(|| eprintln!("stopping; runs under way finish their step and are saved"))?;
        let jobs = args.jobs.map_or_else(std::thread::available_parallelism, |jobs| {
            std::num::NonZero::new(jobs).ok_or_else(|| std::io::Error::other("--jobs 0: 1 at least"))
        })?;
        lab.run(&stages::all(&seeds, !args.without_variants), jobs.get())?;
    }
    figures::write(&lab, &seeds)
}
