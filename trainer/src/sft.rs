//! `trainer sft`: supervised fine-tuning, from the recipe to the last checkpoint.
//!
//! A step draws a batch, sums the gradient of its micro-batches, clips it by its global norm, and moves the weights by AdamW;
//! now and then it measures on rows that are not trained on, and saves. Everything random follows from the recipe's seed and
//! the number of rows drawn, so a run that is resumed goes on bit for bit as if it had never stopped (same binary, device and
//! number of threads).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, FloatDType, Tensor};
use clap::Parser;
use wethink_model::{Features, Model};
use wethink_processor::Processor;
use wethink_reward::RewardMap;

use crate::answers::{Answer, Asker};
use crate::device::{self, DeviceArg, DtypeArg};
use crate::figures::peak_memory;
use crate::folder::Folder;
use crate::interrupt::interrupt;
use crate::progress;
use crate::train::adamw::AdamW;
use crate::train::economy::passes;
use crate::train::features;
use crate::train::feed::{self, Batch};
use crate::train::gradients::{Gradients, Values, clip_scale, scalar};
use crate::train::journal::{Journal, Step};
use crate::train::loss::loss;
use crate::train::recipe::Recipe;
use crate::train::report;
use crate::train::rows::Rows;
use crate::train::samples::{Sample, logprobs_within};
use crate::train::start;
use crate::train::store::{State, Store};
use crate::train::validation::{Validated, validate};

const EXAMPLES: &str = "\
Examples:
  trainer sft trainer/recipes/sft-scenes-xs.toml --out runs/xs
  trainer sft trainer/recipes/sft-scenes-xs.toml --set train.steps=50 --out runs/a
  trainer sft --resume --out runs/xs

The run folder holds recipe.toml (every value resolved), metrics.jsonl,
answers.jsonl, tensorboard/, report.html and checkpoints/, where `last` and
`best` are links. Ctrl-C finishes the step, saves, and says how to go on.";

/// Supervised fine-tuning.
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
struct Setup {
    recipe: Recipe,
    processor: Processor,
    stop_ids: Vec<u32>,
    rows: Rows,
    held_out: Option<Rows>,
    rewards: RewardMap,
    store: Store,
    compute: DType,
}

/// What a step changes, and a checkpoint holds.
struct Learner {
    model: Model,
    optimizer: AdamW,
    state: State,
    /// What the frozen tower made of pictures; no part of a checkpoint, since it changes nothing.
    features: Option<features::Store>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    // What is cheap to get wrong comes first.
    let recipe = recipe(args)?;
    let folder = Folder::open(&recipe.checkpoint)?;
    let config = folder.config()?;
    recipe.check_against(&config)?;
    let stop_ids = folder.stop_ids(&config)?;
    let processor = folder.processor()?;
    let rows = Rows::open(&recipe.data.rows, recipe.data.images.as_deref())?;
    let validation = recipe.validation.as_ref();
    let held_out = validation.map(|v| Rows::open(&v.rows, recipe.data.images.as_deref())).transpose()?;
    let rewards = RewardMap::from_entries(validation.map_or(&[][..], |v| &v.reward_map))?;
    let opened = device::open(args.device, args.dtype)?;
    let store = Store::new(&args.out);
    let compute = opened.dtype;
    let setup = Setup { recipe, processor, stop_ids, rows, held_out, rewards, store, compute };

    let bar = progress::bytes("loading");
    let model = folder.load(&opened.device, DType::F32, &mut |done, total| bar.at(done, total))?;
    bar.finish();
    let learner = setup.learner(model, args.resume, &args.out)?;
    if !args.resume {
        start::keep(&setup.recipe.to_toml()?, &args.out)?;
    }
    let ended = train(&setup, learner, &args.out)?;
    report::write(&args.out, setup.held_out.as_ref())?;
    let State { step, dropped, skipped, .. } = ended.state;
    eprintln!(
        "{step} steps; {dropped} rows left out for their length, {skipped} updates skipped; the last checkpoint is {}",
        setup.store.path(step).display()
    );
    if ended.interrupted {
        eprintln!("interrupted; go on with: trainer sft --resume --out {}", args.out.display());
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::SUCCESS)
}

/// How a run came to its end.
struct Ended {
    state: State,
    interrupted: bool,
}

/// Steps until the recipe's last one, until nothing gets better, or until Ctrl-C.
fn train(setup: &Setup, mut learner: Learner, run: &Path) -> Result<Ended> {
    let recipe = &setup.recipe;
    let mut journal = Journal::open(run, learner.state.step)?;
    let stop = interrupt()?;
    eprintln!("training from step {} to {}", learner.state.step, recipe.train.steps);
    let bar = progress::steps(learner.state.step, recipe.train.steps);
    std::thread::scope(|scope| -> Result<Ended> {
        let mut interrupted = false;
        let batches = feed::batches(scope, &setup.rows, &setup.processor, recipe, learner.state.drawn);
        while !setup.done(&learner.state) && !interrupted {
            let batch = batches.recv().context("the maker of batches is gone")??;
            let line;
            (learner, line) = setup.step(learner, &batch)?;
            journal.step(&line)?;
            bar.at(line.step, line.loss, recipe.highest_rate(line.step - 1), line.tokens_per_second);
            setup.refuse_endless_skipping(&learner.state, &line)?;

            let mut due = line.step.is_multiple_of(recipe.save.every);
            if let Some(held_out) = setup.held_out_at(line.step) {
                let (validated, asked) = setup.validate(&learner.model, held_out)?;
                journal.measured(line.step, &validated, &asked)?;
                bar.say(&format!("step {}: {validated}", line.step));
                due |= validated.enter(&mut learner.state);
            }

            interrupted = stop.load(Ordering::Relaxed);
            if due || interrupted || setup.done(&learner.state) {
                journal.flush()?;
                setup.save(&learner)?;
            }
        }
        bar.finish();
        let interrupted = interrupted && !setup.done(&learner.state);
        Ok(Ended { state: learner.state, interrupted })
    })
}

impl Setup {
    fn trained(&self, name: &str) -> bool {
        self.recipe.trains(name)
    }

    /// A run's start, or its newest whole checkpoint.
    fn learner(&self, mut model: Model, resume: bool, run: &Path) -> Result<Learner> {
        let settings = self.recipe.settings();
        if let Some(lora) = &self.recipe.lora {
            model = lora.adapt(model, self.recipe.seed);
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
        let model = model.map_parameters(&mut |name, value| match self.trained(name) {
            true => value,
            false => cast(value, self.compute),
        });
        if self.recipe.optimizer.factored {
            optimizer.matrices = self.recipe.matrices(model.config());
        }
        let features = self.recipe.memory.store(&model, self.compute, run)?;
        Ok(Learner { model, optimizer, state, features })
    }

    /// Whether the run has ended: by its last step, or because nothing got better for long enough.
    fn done(&self, state: &State) -> bool {
        let patience = self.recipe.validation.as_ref().map_or(0, |validation| validation.patience);
        state.step >= self.recipe.train.steps || (patience > 0 && state.since_best >= patience)
    }

    /// One update, or none where loss or gradient is no number.
    fn step(&self, learner: Learner, batch: &Batch) -> Result<(Learner, Step)> {
        let started = Instant::now();
        let Learner { mut model, mut optimizer, mut state, mut features } = learner;
        let (loss, gradients) = self.gradients(&model, batch, state.step, &mut features)?;
        let norm = gradients.norm();
        let sound = loss.is_finite() && norm.is_finite();
        if sound {
            let rate = |name: &str| self.recipe.rate_of(state.step, name);
            model = optimizer.step(model, &gradients, clip_scale(norm, self.recipe.train.clip), &rate);
        }
        let schedule = self.recipe.factor(state.step) as f32;
        state.step += 1;
        state.drawn += batch.drawn;
        state.dropped += batch.dropped;
        state.skipped += u64::from(!sound);
        state.skipped_in_a_row = if sound { 0 } else { state.skipped_in_a_row + 1 };
        let seconds = started.elapsed().as_secs_f64();
        let line = Step {
            step: state.step,
            loss: loss as f32,
            norm: norm as f32,
            schedule,
            targets: batch.targets(),
            tokens: batch.tokens(),
            pictures: batch.samples.iter().map(|sample| sample.prompt().grids.len()).sum(),
            rows: batch.samples.iter().map(|sample| sample.row).collect(),
            dropped: batch.dropped,
            skipped: !sound,
            seconds,
            tokens_per_second: batch.tokens() as f64 / seconds,
            peak_memory_bytes: peak_memory(),
        };
        Ok((Learner { model, optimizer, state, features }, line))
    }

    /// One update without numbers may be the rows' fault; many in a row are the run's.
    fn refuse_endless_skipping(&self, state: &State, last: &Step) -> Result<()> {
        if state.skipped_in_a_row <= self.recipe.train.max_skipped {
            return Ok(());
        }
        let rows: Vec<_> = last.rows.iter().map(|&row| self.rows.place(row)).collect();
        bail!(
            "step {}: loss {}, gradient norm {}; {} updates in a row were skipped, more than train.max_skipped. The last \
             rows: {}. Lower the learning rate, or look at these rows",
            state.step,
            last.loss,
            last.norm,
            state.skipped_in_a_row,
            rows.join(", ")
        )
    }

    /// Loss and gradient of a batch, pass by pass.
    fn gradients(
        &self,
        model: &Model,
        batch: &Batch,
        step: u64,
        features: &mut Option<features::Store>,
    ) -> Result<(f64, Gradients)> {
        let (recipe, targets) = (&self.recipe, batch.targets());
        let economy = recipe.memory.economy();
        let tokens: Vec<usize> = batch.samples.iter().map(Sample::tokens).collect();
        let mut gradients = Gradients::default();
        let mut total: Option<Tensor<1>> = None;
        for (pass, places) in passes(&tokens, recipe.portion()).iter().enumerate() {
            let dropout = recipe.lora.as_ref().and_then(|lora| lora.dropout(recipe.seed, step, pass));
            let model = model.clone().with_dropout(dropout);
            let value = gradients.add(&model, &|name| self.trained(name), self.compute, |model| {
                let samples = places.iter().map(|&place| &batch.samples[place]);
                let store = features.as_mut().map(|store| store as &mut dyn Features);
                let value =
                    loss(logprobs_within(model, samples, &economy, store)?, targets, recipe.train.loss);
                Ok((value.clone(), value.inner()))
            })?;
            total = Some(match total {
                Some(total) => total + value,
                None => value,
            });
        }
        Ok((total.map_or(f64::NAN, scalar), gradients))
    }

    /// The rows to measure on after a step, if any.
    fn held_out_at(&self, step: u64) -> Option<&Rows> {
        let every = self.recipe.validation.as_ref()?.every;
        let due = step.is_multiple_of(every) || step >= self.recipe.train.steps;
        self.held_out.as_ref().filter(|_| due)
    }

    /// Measures on the held-out rows, with the weights as they would be exported.
    fn validate(&self, model: &Model, rows: &Rows) -> Result<(Validated, Vec<Answer>)> {
        let model = model.clone().map_parameters(&mut |_, value| cast(value, self.compute));
        let validation = self.recipe.validation.as_ref();
        let asker = Asker {
            model: &model,
            processor: &self.processor,
            options: feed::options(&self.recipe),
            stop_ids: &self.stop_ids,
            max_new_tokens: validation.map_or(1, |validation| validation.max_new_tokens),
            batch: self.recipe.train.micro_batch,
            rewards: &self.rewards,
        };
        let answers = validation.map_or(0, |validation| validation.answers);
        validate(&asker, rows, self.recipe.data.max_tokens, answers)
    }

    /// Saves the state, points the links at it, and removes what is no longer kept.
    fn save(&self, learner: &Learner) -> Result<()> {
        let state = &learner.state;
        let mut trained = Values::new();
        learner.model.each_parameter(&mut |name, value| {
            if self.trained(name) {
                trained.insert(name.to_owned(), value);
            }
        });
        self.store.save(&trained, &learner.optimizer, state).with_context(|| self.last_good())?;
        let best = state.best.as_ref().map(|best| best.step);
        if best == Some(state.step) {
            self.store.link("best", state.step)?;
        }
        self.store.prune(self.recipe.save.keep, best)
    }

    /// What is left when a checkpoint could not be written.
    fn last_good(&self) -> String {
        match self.store.newest(&mut |_| {}) {
            Ok(Some(saved)) => {
                format!("the last good checkpoint is {}; make room and use --resume", saved.path.display())
            }
            _ => "there is no checkpoint yet; make room and start again with --resume".to_owned(),
        }
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

fn cast(value: Tensor<1>, dtype: DType) -> Tensor<1> {
    if value.dtype() == dtype { value } else { value.cast(FloatDType::from(dtype)) }
}
