//! The `trainer` command: one module per subcommand, each readable from top to bottom.
//!
//! Deliberately absent: anything of the browser, and any arithmetic of the model or the processor, which live in their own
//! crates.

pub mod answers;
pub mod ask;
pub mod data;
pub mod device;
pub mod eval;
pub mod examples;
pub mod export;
mod figures;
pub mod folder;
pub mod gallery;
pub mod grpo;
pub mod init;
mod interrupt;
pub mod judge;
pub mod pack;
pub mod peft;
mod picture;
pub mod plan;
pub mod preprocess;
mod progress;
pub mod scenes;
pub mod score;
pub mod sft;
pub mod statistics;
mod terminal;
pub mod tokenize;
pub mod train;
pub mod verifier;
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
    /// Supervised fine-tuning: a recipe to a run folder.
    Sft(sft::Args),
    /// Reinforcement learning on rewards: a recipe to a run folder.
    Grpo(grpo::Args),
    /// What a run of reinforcement learning sampled, as one page.
    Gallery(gallery::Args),
    /// A few responses of a run or an evaluation, as rows for the reward checker.
    Examples(examples::Args),
    /// What a recipe will train, hold and take, without loading a weight.
    Plan(plan::Args),
    /// A run's weights as a checkpoint in the released layout, or as a pack in few bits.
    Export(export::Args),
    /// Answer rows greedily and judge the answers by rule.
    Eval(eval::Args),
    /// Texts to token ids and back, as JSON lines.
    Tokenize(tokenize::Args),
    /// A picture to the patches the model sees, as safetensors.
    Preprocess(preprocess::Args),
    /// Compare responses with truths by rule, as JSON lines.
    Verify(verify::Args),
    /// Look at a dataset, judge, convert and divide it.
    Data(data::Args),
    /// Procedural rows with exact answers.
    Scenes(scenes::Args),
    /// A random checkpoint to train from.
    Init(init::Args),
    /// Score responses: by rule, and by a judge where no rule decides.
    Score(Box<score::Args>),
}

/// Runs the command. Errors are printed by the caller; exit code 2 is misuse, 1 everything else that failed.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Ask(args) => ask::run(&args),
        Command::Sft(args) => sft::run(&args),
        Command::Grpo(args) => grpo::run(&args),
        Command::Gallery(args) => gallery::run(&args),
        Command::Examples(args) => examples::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Preprocess(args) => preprocess::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Scenes(args) => scenes::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Score(args) => score::run(&args),
    }
}
