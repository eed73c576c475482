//! `trainer sft` and `trainer grpo` killed at random moments, again and again: what comes out is what an uninterrupted run gives.
//!
//! Three kills run with every test. Fifty, with a log of where each landed:
//!
//! ```text
//! cargo test fifty_kills -- --ignored --nocapture
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use wethink_model::uniform;

use crate::runs::{Bench, assert_same};

/// Where a kill landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Before the first step: reading and loading.
    Start,
    /// Between two checkpoints: a forward pass, a backward pass, an update.
    Step,
    /// While a checkpoint was being written.
    Save,
    /// The run had ended already.
    End,
}

/// Starts a child and waits until it trains. Whether it does: it may have nothing left to do.
fn until_it_trains(child: &mut Child) -> bool {
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.contains("training from step") {
                let _ = sender.send(());
            }
        }
    });
    receiver.recv_timeout(Duration::from_secs(120)).is_ok()
}

/// Kills a child and says where it was.
fn kill(child: &mut Child, run: &Path, trained: bool) -> Place {
    child.kill().expect("killed, or ended already");
    let ended = child.wait().expect("waited for").success();
    let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten();
    let half = entries.flatten().any(|entry| entry.path().extension().is_some_and(|kind| kind == "part"));
    match (ended, half, trained) {
        (true, _, _) => Place::End,
        (_, true, _) => Place::Save,
        (_, _, true) => Place::Step,
        _ => Place::Start,
    }
}

/// A way to train.
struct Way {
    start: fn(&Bench, &str, &[&str]) -> Command,
    resume: fn(&Bench, &str) -> Command,
    changes: &'static [&'static str],
}

const SFT: Way = Way { start: Bench::sft, resume: Bench::resume, changes: &["train.batch=1"] };

/// Responses of a step are sampled anew after a kill, and must be the same.
const GRPO: Way = Way {
    start: Bench::grpo,
    resume: Bench::resume_grpo,
    changes: &[
        "train.prompts=2",
        "train.mini_batch=1",
        "filter.rounds=1",
        "filter.low=-5.0",
        "loss.kl_weight=0.1",
    ],
};

/// Kills one run `times` times, resumes it to its end, and compares it with an uninterrupted one.
fn killed_again_and_again(way: &Way, times: u32, steps: u64) -> BTreeMap<Place, u32> {
    let bench = Bench::new();
    let steps = format!("train.steps={steps}");
    let rows = format!("validation.rows={}", bench.path("rows.jsonl").display());
    let measured = [&rows, "validation.every=3", "validation.answers=1", "validation.max_new_tokens=4"];
    let changes = [&steps, "save.every=1"].into_iter().chain(measured).chain(way.changes.iter().copied());
    let changes = changes.collect::<Vec<_>>();
    let started = Instant::now();
    bench.succeed(&mut (way.start)(&bench, "whole", &changes));
    // Long enough for a few steps, short enough that no run gets far before it is killed.
    let reach = (started.elapsed().as_secs_f64() * 3.0 / f64::from(times)).clamp(0.1, 1.0);

    let mut landed = BTreeMap::new();
    for time in 0..times {
        let run = bench.path("killed");
        let mut command = if run.join("recipe.toml").exists() {
            (way.resume)(&bench, "killed")
        } else {
            (way.start)(&bench, "killed", &changes)
        };
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary runs");
        let trained = until_it_trains(&mut child);
        let wait = reach * uniform(17, time, 0, 0, 0);
        std::thread::sleep(Duration::from_secs_f64(wait));
        let place = kill(&mut child, &run, trained);
        eprintln!("kill {} after {wait:.3} s of training landed in: {place:?}", time + 1);
        *landed.entry(place).or_default() += 1;
    }
    bench.succeed(&mut (way.resume)(&bench, "killed"));
    assert_same(&bench.outcome("killed"), &bench.outcome("whole"));
    landed
}

#[test]
fn a_run_killed_three_times_ends_as_an_uninterrupted_one() {
    let landed = killed_again_and_again(&SFT, 3, 12);
    assert_eq!(landed.values().sum::<u32>(), 3);
}

#[test]
fn a_run_of_grpo_killed_three_times_ends_as_an_uninterrupted_one() {
    let landed = killed_again_and_again(&GRPO, 3, 8);
    assert_eq!(landed.values().sum::<u32>(), 3);
}

#[test]
#[ignore = "takes minutes; see the module's documentation"]
fn fifty_kills_of_grpo() {
    let landed = killed_again_and_again(&GRPO, 50, 60);
    eprintln!("{landed:?}");
    let of = |place| landed.get(&place).copied().unwrap_or(0);
    assert!(of(Place::Step) + of(Place::Save) >= 40, "{landed:?}");
}

#[test]
#[ignore = "takes minutes; see the module's documentation"]
fn fifty_kills() {
    let landed = killed_again_and_again(&SFT, 50, 120);
    eprintln!("{landed:?}");
    let of = |place| landed.get(&place).copied().unwrap_or(0);
    assert!(of(Place::Step) + of(Place::Save) >= 40, "{landed:?}");
    assert!(of(Place::Save) >= 5, "{landed:?}");
}
