//! `trainer data`: a dataset looked at, judged, converted and divided. One file per subcommand.
//!
//! All of them stream: memory holds some hundred rows whatever the file's size. A row at fault never ends a command; it is
//! reported with its line, left out of what is written, and makes the exit code 1.

mod chat;
mod check;
mod convert;
mod page;
mod plots;
mod rewards;
mod show;
mod source;
mod split;
mod stats;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

const ABOUT: &str = "\
Rows are read from JSON lines, a JSON list or CSV, plain or gzip, in WeThink's
form, LLaMA-Factory's ShareGPT or EasyR1's; each row's form is told from its
fields. Pictures are read in place from a folder, a zip, or the parts of a
split zip (image.zip.part-aa, …), which is neither merged nor unpacked.

A first look at WeThink's own data, once it lies in this folder:
  trainer data check --data WeThink_Multimodal_Reasoning_120K.jsonl \\
      --images image.zip
  trainer data show --data WeThink_Multimodal_Reasoning_120K.jsonl \\
      --images image.zip --checkpoint WeThink-Qwen2.5VL-7B --out rows.html";

/// Look at a dataset, judge, convert and divide it.
#[derive(Debug, Parser)]
#[command(after_help = ABOUT, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find every faulty row: fields, pictures, truths.
    Check(check::Args),
    /// Count lengths, image tokens, categories and kinds; tables and plots.
    Stats(stats::Args),
    /// Write the rows in another form.
    Convert(convert::Args),
    /// Divide the rows into parts that share no picture.
    Split(split::Args),
    /// Make one HTML page of some rows as the model will see them.
    Show(show::Args),
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Stats(args) => stats::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Split(args) => split::run(args),
        Command::Show(args) => show::run(args),
    }
}
