//! `trainer sft`: supervised fine-tuning, from the recipe to the last checkpoint.
//!
//! A step draws a batch, sums the gradient of its micro-batches, which several devices may share, clips it by its global
//! norm, and moves the weights by AdamW; now and then it measures on rows that are not trained on, and saves. Everything random
//! follows from the recipe's seed and the number of rows drawn, so a run that is resumed goes on bit for bit as if it had never
//! stopped (same binary, devices and number of threads).

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::DType;
use clap::Parser;
use wethink_processor::Processor;
use wethink_reward::RewardMap;

use crate::answers::{Answer, Asker};
use crate::device::{self, DeviceArg, DtypeArg, Opened};
use crate::figures::peak_memory;
use crate::folder::Folder;
use crate::interrupt::interrupt;
use crate::progress;
use crate::train::feed::{self, Batch};
use crate::train::gradients::clip_scale;
use crate::train::journal::{Journal, Step};
use crate::train::parallel::{Sum, Team};
use crate::train::recipe::Recipe;
use crate::train::replica::Replica;
use crate::train::report;
use crate::train::rows::Rows;
use crate::train::start;
use crate::train::store::{Saved, State, Store};
use crate::train::validation::{Validated, validate};

const EXAMPLES: &str = "\
Examples:
  trainer sft trainer/recipes/sft-scenes-xs.toml --out runs/xs
  trainer sft trainer/recipes/sft-scenes-xs.toml --set train.steps=50 --out runs/a
  trainer sft --resume --out runs/xs
  trainer sft RECIPE.toml --device cuda --devices 2 --out runs/b

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
    /// Share every step among so many devices, each with a copy of the model: CUDA's from N on, or threads of the CPU
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    devices: u8,
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
    folder: Folder,
    processor: Processor,
    stop_ids: Vec<u32>,
    rows: Rows,
    held_out: Option<Rows>,
    rewards: RewardMap,
    store: Store,
    devices: Vec<Opened>,
}

/// What a step changes, and a checkpoint holds.
struct Learner<'scope> {
    team: Team<'scope>,
    state: State,
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
    let devices = device::open_several(args.device, args.dtype, usize::from(args.devices))?;
    let store = Store::new(&args.out);
    let setup = Setup { recipe, folder, processor, stop_ids, rows, held_out, rewards, store, devices };

    let ended = train(&setup, args.resume, &args.out)?;
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
fn train(setup: &Setup, resume: bool, run: &Path) -> Result<Ended> {
    let recipe = &setup.recipe;
    let mut complain = |text: String| eprintln!("warning: {text}; an older checkpoint is tried");
    let saved = if resume { setup.store.newest(&mut complain)? } else { None };
    saved.iter().for_each(|saved| eprintln!("resuming from {}", saved.path.display()));
    let bar = progress::bytes("loading");
    let lead = setup.replica(0, saved.as_ref(), &mut |done, total| bar.at(done, total))?;
    bar.finish();
    if !resume {
        start::keep(&recipe.to_toml()?, run)?;
    }
    let features = recipe.memory.store(&lead.model, setup.compute(), run)?;
    let beside = |number: usize| features.as_ref().map(|store| store.beside(&setup.devices[number].device));
    let further = |number: usize| -> Result<Replica> {
        Ok(setup.replica(number, saved.as_ref(), &mut |_, _| {})?.with_features(beside(number)))
    };
    let state = saved.as_ref().map_or_else(State::default, |saved| saved.state.clone());
    let mut journal = Journal::open(run, state.step)?;
    let stop = interrupt()?;
    std::thread::scope(|scope| -> Result<Ended> {
        let (lead, count) = (lead.with_features(beside(0)), setup.devices.len() - 1);
        let team = Team::start(scope, recipe, lead, count, &further, setup.sum())?;
        let mut learner = Learner { team, state };
        eprintln!("training from step {} to {}", learner.state.step, recipe.train.steps);
        let bar = progress::steps(learner.state.step, recipe.train.steps);
        let mut interrupted = false;
        let batches = feed::batches(scope, &setup.rows, &setup.processor, recipe, learner.state.drawn);
        while !setup.done(&learner.state) && !interrupted {
            let batch = batches.recv().context("the maker of batches is gone")??;
            let line;
            (learner, line) = setup.step(learner, &Arc::new(batch))?;
            journal.step(&line)?;
            bar.at(line.step, line.loss, recipe.highest_rate(line.step - 1), line.tokens_per_second);
            setup.refuse_endless_skipping(&learner.state, &line)?;

            let mut due = line.step.is_multiple_of(recipe.save.every);
            if let Some(held_out) = setup.held_out_at(line.step) {
                let (validated, asked) = setup.validate(&learner.team.lead, held_out)?;
                journal.measured(line.step, &validated, &asked)?;
                bar.say(&format!("step {}: {validated}", line.step));
                due |= validated.enter(&mut learner.state);
            }

            interrupted = stop.load(Ordering::Relaxed);
            if due || interrupted || setup.done(&learner.state) {
                journal.flush()?;
                setup.save(&mut learner)?;
            }
        }
        bar.finish();
        let interrupted = interrupted && !setup.done(&learner.state);
        Ok(Ended { state: learner.state, interrupted })
    })
}

impl Setup {
    /// The type of the arithmetic.
    fn compute(&self) -> DType {
        self.devices[0].dtype
    }

    /// How several devices add up.
    fn sum(&self) -> Sum {
        if self.devices[0].name.starts_with("cuda:") { Sum::Nccl } else { Sum::InTurn }
    }

    /// A device's copy of a run's start, or of what was saved.
    fn replica(
        &self,
        number: usize,
        saved: Option<&Saved>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Replica> {
        let model = self.folder.load(&self.devices[number].device, DType::F32, progress)?;
        Replica::new(&self.recipe, model, saved, self.compute())
    }

    /// Whether the run has ended: by its last step, or because nothing got better for long enough.
    fn done(&self, state: &State) -> bool {
        let patience = self.recipe.validation.as_ref().map_or(0, |validation| validation.patience);
        state.step >= self.recipe.train.steps || (patience > 0 && state.since_best >= patience)
    }

    /// One update, or none where loss or gradient is no number.
    fn step<'scope>(&self, learner: Learner<'scope>, batch: &Arc<Batch>) -> Result<(Learner<'scope>, Step)> {
        let started = Instant::now();
        let Learner { mut team, mut state } = learner;
        let loss = team.compute(batch, state.step)?;
        let norm = team.lead.gradients.norm();
        let sound = loss.is_finite() && norm.is_finite();
        let team = team.update(state.step, sound.then(|| clip_scale(norm, self.recipe.train.clip)));
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
        Ok((Learner { team, state }, line))
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

    /// The rows to measure on after a step, if any.
    fn held_out_at(&self, step: u64) -> Option<&Rows> {
        let every = self.recipe.validation.as_ref()?.every;
        let due = step.is_multiple_of(every) || step >= self.recipe.train.steps;
        self.held_out.as_ref().filter(|_| due)
    }

    /// Measures on the held-out rows, with the weights as they would be exported.
    fn validate(&self, replica: &Replica, rows: &Rows) -> Result<(Validated, Vec<Answer>)> {
        let model = replica.whole();
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
    fn save(&self, learner: &mut Learner) -> Result<()> {
        let Learner { team, state } = learner;
        team.check()?;
        let trained = team.lead.trained(&self.recipe);
        self.store.save(&trained, &team.lead.optimizer, state).with_context(|| self.last_good())?;
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
