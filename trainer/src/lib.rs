//! The `trainer` command: one module per subcommand, each readable from top to bottom.
//!
//! Deliberately absent: anything of the browser, and any arithmetic of the model or the processor, which live in their own
//! crates.

pub mod ask;
pub mod device;
mod figures;
pub mod folder;
pub mod preprocess;
mod progress;
mod terminal;
pub mod tokenize;
pub mod verify;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Train, run and check WeThink: Qwen2.5-VL that reasons about any picture.
#[derive(Debug, Parser)]
#[command(name = "trainer", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask a question about pictures; the answer streams.
    Ask(ask::Args),
    /// Texts to token ids and back, as JSON lines.
    Tokenize(tokenize::Args),
    /// A picture to the patches the model sees, as safetensors.
    Preprocess(preprocess::Args),
    /// Compare responses with truths by rule, as JSON lines.
    Verify(verify::Args),
}

/// Runs the command. Errors are printed by the caller; exit code 2 is misuse, 1 everything else that failed.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Ask(args) => ask::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Preprocess(args) => preprocess::run(&args),
        Command::Verify(args) => verify::run(&args),
    }
}
