//! `trainer grpo`: group-relative policy optimisation with WeThink's hybrid reward, from the recipe to the last checkpoint.
//!
//! ```text
//! prompts ─ G responses each ─ rewards ─ advantages ─ updates ─ saved, measured ─ again
//!                └── sampled by the weights being trained, in this process; rewards are computed meanwhile
//! ```
//!
//! The policy that sampled is always computed by the training path, never taken from sampling; how far the two are apart is
//! measured in every step, and ends the run where it is too far. Everything random follows from the recipe's seed, the step
//! and the rows drawn, so a run that is resumed goes on bit for bit, responses included (same binary, device and number of
//! threads; and a judge that gives the same reply again, which is why replies are kept).
//!
//! The reference is the checkpoint the run started from, held only where the divergence from it has a weight: a second, frozen
//! copy, or with adapters the very weights that they stand beside.

mod alarms;
pub mod gather;
pub mod line;
pub mod memory;
pub mod prompts;
pub mod recipe;
mod report;
pub mod rewards;
pub mod update;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::DType;
use clap::Parser;
use wethink_model::Model;
use wethink_processor::Processor;
use wethink_reward::RewardMap;

use crate::answers::{Answer, Asker};
use crate::device::{self, DeviceArg, DtypeArg};
use crate::figures::peak_memory;
use crate::folder::Folder;
use crate::interrupt::interrupt;
use crate::progress;
use crate::train::adamw::AdamW;
use crate::train::gradients::Values;
use crate::train::rows::Rows;
use crate::train::start;
use crate::train::store::{State, Store};
use crate::train::validation::Validated;
use gather::{Gathered, Gatherer};
use line::{Journal, Line};
use prompts::Stream;
use recipe::Recipe;
use rewards::Scorer;
use update::{Batch, Kept, cast, narrowed};

const EXAMPLES: &str = "\
Examples:
  trainer grpo trainer/recipes/scenes-xs.toml --out runs/grpo-xs
  trainer grpo trainer/recipes/scenes-xs.toml --set rollout.group=16 --out runs/b
  trainer grpo --resume --out runs/grpo-xs

The run folder holds recipe.toml (every value resolved), metrics.jsonl,
rollouts.jsonl (every response with its reward), answers.jsonl, tensorboard/,
report.html and checkpoints/, where `last` and `best` are links; `trainer gallery
RUN` makes a page of what was sampled. `trainer plan RECIPE.toml` says before
what a run holds and takes. Ctrl-C finishes the step, saves, and says how to go
on. Exit code 1 also when an alarm, or the end of the judge's budget, stopped
the run, which is saved then.";

/// Group-relative policy optimisation with the hybrid reward.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The recipe
    #[arg(value_name = "RECIPE.toml", required_unless_present = "resume")]
    recipe: Option<PathBuf>,
    /// Change a value of the recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Go on from the newest whole checkpoint of the run
    #[arg(long)]
    resume: bool,
    /// Where to run: auto, cpu, wgpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceArg,
    /// Type of the arithmetic; weights and moments that are trained stay float32 [default: bf16 on cuda, f32 elsewhere]
    #[arg(long, value_enum)]
    dtype: Option<DtypeArg>,
    /// The run folder
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
}

/// What does not change while the run goes on.
struct Setup<'a> {
    recipe: &'a Recipe,
    processor: &'a Processor,
    stop_ids: &'a [u32],
    rows: &'a Rows,
    held_out: Option<&'a Rows>,
    rewards: RewardMap,
    scorer: Scorer<'a>,
    store: Store,
    compute: DType,
    stop: Arc<AtomicBool>,
}

/// What a step changes, and a checkpoint holds.
struct Learner {
    model: Model,
    optimizer: AdamW,
    state: State,
    /// What the divergence is measured from; no part of a checkpoint, since nothing changes it.
    reference: Option<Model>,
    /// What the frozen tower made of pictures; no part of a checkpoint, since it changes nothing.
    kept: Kept,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    // What is cheap to get wrong comes first.
    let recipe = recipe(args)?;
    let folder = Folder::open(&recipe.checkpoint)?;
    let config = folder.config()?;
    recipe.trained().check_against(&config, recipe.memory.features_mb > 0.0)?;
    let stop_ids = folder.stop_ids(&config)?;
    let processor = folder.processor()?;
    let rows = Rows::open(&recipe.data.rows, recipe.data.images.as_deref())?;
    let validation = recipe.validation.as_ref();
    let held_out = validation.map(|v| Rows::open(&v.rows, recipe.data.images.as_deref())).transpose()?;
    let rewards = RewardMap::from_entries(validation.map_or(&[][..], |v| &v.reward_map))?;
    let opened = device::open(args.device, args.dtype)?;
    let stop = interrupt()?;
    let scorer = Scorer::of(&recipe, &rows, &opened, &args.out, Arc::clone(&stop))?;

    let bar = progress::bytes("loading");
    let model = folder.load(&opened.device, DType::F32, &mut |done, total| bar.at(done, total))?;
    bar.finish();
    let setup = Setup {
        recipe: &recipe,
        processor: &processor,
        stop_ids: &stop_ids,
        rows: &rows,
        held_out: held_out.as_ref(),
        rewards,
        scorer,
        store: Store::new(&args.out),
        compute: opened.dtype,
        stop,
    };
    let learner = setup.learner(model, args.resume, &args.out)?;
    if !args.resume {
        start::keep(&recipe.to_toml()?, &args.out)?;
    }
    let ended = train(&setup, learner, &args.out);
    // A run that ends by an alarm, or for want of a judge, needs its report most.
    let reported = report::write(&args.out, &recipe, &rows, held_out.as_ref());
    let ended = ended?;
    reported?;
    if let Some(paid) = setup.scorer.paid() {
        eprintln!(
            "the judge has cost {} tokens in, {} out, {:.4} in all",
            paid.input, paid.output, paid.cost
        );
    }
    let State { step, dropped, skipped, .. } = ended.state;
    eprintln!(
        "{step} steps; {dropped} rows left out for their length, {skipped} updates skipped; the last checkpoint is {}",
        setup.store.path(step).display()
    );
    if ended.interrupted {
        eprintln!("interrupted; go on with: trainer grpo --resume --out {}", args.out.display());
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::SUCCESS)
}

/// How a run came to its end.
struct Ended {
    state: State,
    interrupted: bool,
}

/// Steps until the recipe's last one, until nothing gets better, until an alarm, or until Ctrl-C.
fn train(setup: &Setup, mut learner: Learner, run: &Path) -> Result<Ended> {
    let recipe = setup.recipe;
    let mut journal = Journal::open(run, learner.state.step)?;
    eprintln!("training from step {} to {}", learner.state.step, recipe.train.steps);
    let bar = progress::steps(learner.state.step, recipe.train.steps);
    let mut interrupted = false;
    while !setup.done(&learner.state) && !interrupted {
        let gathered = match setup.gather(&mut learner) {
            Ok(Some(gathered)) => gathered,
            gone => {
                // What was learned so far is kept; this step's responses come again on resumption.
                journal.flush()?;
                setup.save(&learner)?;
                gone?;
                interrupted = true;
                break;
            }
        };
        let line;
        let mut gathered = gathered;
        (learner, line) = setup.step(learner, &mut gathered)?;
        journal.step(&line, &gathered.responses)?;
        let mean = line.reward.all.mean.unwrap_or(f64::NAN);
        bar.at_reward(line.step, mean, line.length.mean, line.tokens_per_second.rollout);

        let mut due = line.step.is_multiple_of(recipe.save.every);
        if let Some(held_out) = setup.held_out_at(line.step) {
            let (validated, answers) = setup.validate(&learner.model, held_out)?;
            journal.measured(line.step, &validated, &answers)?;
            bar.say(&format!("step {}: {validated}", line.step));
            due |= validated.enter(&mut learner.state);
        }

        let alarm = setup.alarm(&learner.state, &line);
        interrupted = setup.stop.load(Ordering::Relaxed);
        if due || interrupted || alarm.is_some() || setup.done(&learner.state) {
            journal.flush()?;
            setup.save(&learner)?;
        }
        if let Some(alarm) = alarm {
            bar.finish();
            bail!(
                "step {}: ALARM: {alarm}. The run is saved; look at metrics.jsonl and rollouts.jsonl, and go on with --resume \
                 if this is meant to be",
                line.step
            );
        }
    }
    bar.finish();
    let interrupted = interrupted && !setup.done(&learner.state);
    Ok(Ended { state: learner.state, interrupted })
}

impl Setup<'_> {
    /// A run's start, or its newest whole checkpoint.
    fn learner(&self, mut model: Model, resume: bool, run: &Path) -> Result<Learner> {
        let (recipe, trained) = (self.recipe, self.recipe.trained());
        let settings = recipe.optimizer.settings();
        let start = cast(&model, self.compute);
        if let Some(lora) = &recipe.lora {
            model = lora.adapt(model, recipe.seed);
        }
        let (mut optimizer, mut state) = (AdamW::new(settings), State::default());
        let mut complain = |text: String| eprintln!("warning: {text}; an older checkpoint is tried");
        if let Some(saved) = if resume { self.store.newest(&mut complain)? } else { None } {
            eprintln!("resuming from {}", saved.path.display());
            model = saved.weights(model)?;
            optimizer = saved.optimizer(settings, &model.device())?;
            state = saved.state;
        }
        // What is frozen needs no more digits than the arithmetic has.
        let model = model.map_parameters(&mut |name, value| match trained.holds(name) {
            true => value,
            false => narrowed(value, self.compute),
        });
        let reference = (recipe.loss.kl_weight > 0.0).then(|| match recipe.lora {
            Some(_) => model.clone().without_adapters(),
            None => start,
        });
        if recipe.optimizer.factored {
            optimizer.matrices = trained.matrices(model.config());
        }
        let kept = recipe.memory.store(&model, self.compute, run)?;
        Ok(Learner { model, optimizer, state, reference, kept })
    }

    /// Whether the run has ended: by its last step, or because nothing got better for long enough.
    fn done(&self, state: &State) -> bool {
        let patience = self.recipe.validation.as_ref().map_or(0, |validation| validation.patience);
        state.step >= self.recipe.train.steps || (patience > 0 && state.since_best >= patience)
    }

    /// The responses of the next step. `None` if Ctrl-C ended the wait for a judge.
    fn gather(&self, learner: &mut Learner) -> Result<Option<Gathered>> {
        let Self { recipe, processor, stop_ids, scorer, .. } = self;
        let State { step, drawn, .. } = learner.state;
        let stream = Stream::new(self.rows, processor, &recipe.data, recipe.seed, drawn);
        let gatherer = Gatherer { recipe, processor, stop_ids, scorer };
        gatherer.gather(&cast(&learner.model, self.compute), &mut learner.kept, stream, step)
    }

    /// Learns from the responses.
    fn step(&self, learner: Learner, gathered: &mut Gathered) -> Result<(Learner, Line)> {
        let started = Instant::now();
        let Learner { mut model, mut optimizer, mut state, reference, mut kept } = learner;
        let mut line = Line::of(gathered, self.recipe.rollout.group);
        line.schedule = self.recipe.factor(state.step);
        (line.seconds.rollout, line.seconds.reward) = (gathered.sampling, gathered.waiting);
        line.tokens_per_second.rollout = line.sampling.tokens as f64 / gathered.sampling;
        line.paid = self.scorer.paid();
        let batch = Batch::new(self.recipe, self.compute, &gathered.responses, &gathered.kept);
        line.trained = batch.len();
        line.tokens = batch.tokens();
        if !batch.is_empty() {
            let (step, skipped) = (state.step, state.skipped_in_a_row);
            let updated = batch.update(
                model,
                &mut optimizer,
                reference.as_ref(),
                &mut kept,
                step,
                skipped,
                &mut line,
            )?;
            (model, state.skipped_in_a_row) = (updated.model, updated.skipped_in_a_row);
        }
        state.step += 1;
        state.drawn += gathered.drawn;
        state.dropped += gathered.dropped;
        state.skipped += line.skipped as u64;
        state.targets += line.tokens as u64;
        line.step = state.step;
        line.seconds.step = gathered.sampling + gathered.waiting + started.elapsed().as_secs_f64();
        line.peak_memory_bytes = peak_memory();
        line.towers = kept.as_mut().map(|store| std::mem::take(&mut store.computed));
        Ok((Learner { model, optimizer, state, reference, kept }, line))
    }

    /// What is wrong with the run, if anything.
    fn alarm(&self, state: &State, line: &Line) -> Option<String> {
        let limit = self.recipe.train.max_skipped;
        let skipped = state.skipped_in_a_row;
        if skipped > limit {
            let rows: Vec<String> = line.rows.iter().take(5).map(|&row| self.rows.place(row)).collect();
            return Some(format!(
                "{skipped} updates in a row had a loss or gradient that is no number, more than train.max_skipped, {limit}; \
                 the last prompts are {}; lower the learning rates",
                rows.join(", ")
            ));
        }
        self.recipe.alarms.sound(line)
    }

    /// The rows to measure on after a step, if any.
    fn held_out_at(&self, step: u64) -> Option<&Rows> {
        let every = self.recipe.validation.as_ref()?.every;
        let due = step.is_multiple_of(every) || step >= self.recipe.train.steps;
        self.held_out.filter(|_| due)
    }

    /// Answers the first held-out rows greedily, with the weights as they would be exported. The loss of a measurement is what is
    /// missing of a perfect mean score.
    fn validate(&self, model: &Model, rows: &Rows) -> Result<(Validated, Vec<Answer>)> {
        let validation = self.recipe.validation.as_ref().context("nothing to measure on")?;
        let asker = Asker {
            model: &cast(model, self.compute),
            processor: self.processor,
            options: prompts::options(&self.recipe.data),
            stop_ids: self.stop_ids,
            max_new_tokens: validation.max_new_tokens,
            batch: self.recipe.rollout.rows,
            rewards: &self.rewards,
        };
        let indices: Vec<usize> = (0..validation.answers.min(rows.len())).collect();
        let answers = asker.answer(rows, &indices, &mut |_| true)?;
        let score = answers.iter().map(|answer| answer.score).sum::<f64>() / answers.len() as f64;
        Ok((Validated::of((1.0 - score) as f32, &answers), answers))
    }

    /// Saves the state, points the links at it, and removes what is no longer kept.
    fn save(&self, learner: &Learner) -> Result<()> {
        let state = &learner.state;
        let mut trained = Values::new();
        learner.model.each_parameter(&mut |name, value| {
            if self.recipe.trained().holds(name) {
                trained.insert(name.to_owned(), value);
            }
        });
        self.store.save(&trained, &learner.optimizer, state).context("make room and use --resume")?;
        let best = state.best.as_ref().map(|best| best.step);
        if best == Some(state.step) {
            self.store.link("best", state.step)?;
        }
        self.store.prune(self.recipe.save.keep, best)
    }
}

/// The recipe of a new run, or that of a run to resume.
fn recipe(args: &Args) -> Result<Recipe> {
    let given = match &args.recipe {
        Some(path) => Some(Recipe::read(path, &args.changes)?.absolute()?),
        None if args.changes.is_empty() => None,
        None => bail!("--set changes RECIPE.toml, which is not given; a run is resumed as it was started"),
    };
    start::recipe(&args.out, args.resume, given, |kept| Recipe::read(kept, &[]))
}
