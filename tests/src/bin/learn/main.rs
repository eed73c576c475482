//! The experiment of `docs/scenes.md`: a small model that few annotated scenes start and rewards improve, with its controls.
//!
//! `learn` makes the scenes, trains, answers the held-out sets and writes the figures. What is done stays done: after an
//! interruption the same command goes on. Every run has one thread, and several are under way at a time.

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
    /// Runs under way at a time, each with one thread [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
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
    let lab = Lab::open(&args.out)?;
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
