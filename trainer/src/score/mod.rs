//! `trainer score`: rows and responses to rewards.
//!
//! ```text
//! rows ─┐              ┌─ accept, reject ────────────────────────────┐
//!       ├─ case ─ rule ┤                                             ├─ label? ─ weights ─ OUT
//! responses ┘          └─ unsure ─ pre-filter ─ judge ─ or unscored ─┘
//! ```
//!
//! Every row gives one line of the output, in order:
//!
//! ```json
//! {"id": "a", "line": 1, "key": "…", "kind": "open", "reward": 0.86,
//!  "parts": {"accuracy": 0.8, "format": 1.0, "judge": 0.8, "overlong": 0.0, "repetition": 0.0},
//!  "verdict": {"verdict": "accept", "reason": "judged_right", …}, "label": null, "unscored": null}
//! ```
//!
//! `reward` is null where a judge is needed and gave no opinion, and `unscored` says why; `parts.judge` is what the judge's
//! opinion is worth, null where a rule decided. A row that cannot be read gives `{"id", "line", "error"}`.
//!
//! The one thing that is dear, a judge's reply, is on disk in `OUT.replies.jsonl` before it is used ([`crate::judge::replies`]); a
//! run that was killed, or stopped at its budget, is resumed by the same command. Rule verdicts are computed again: that takes
//! no longer than reading them back. The output appears whole or not at all.
//!
//! Deliberately absent: streaming. All cases are held in memory, about a kilobyte and the response each.

pub mod cases;
pub mod hearing;
mod output;
pub mod people;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use wethink_data::Pictures;
use wethink_reward::{Policy, RewardMap, Verdict, verify};

use crate::device::{self, DeviceArg, DtypeArg};
use crate::judge::budget::{Budget, Ledger, Prices};
use crate::judge::endpoint::{Endpoint, Settings};
use crate::judge::local::Local;
use crate::judge::replies::Replies;
use crate::judge::{Bench, Member, Stop};
use cases::{Case, Cases, Entry};
use hearing::{Conduct, Hearing, Outcome};
use people::{Agreement, Labels, Word};

/// Score from which a description is accepted, unless the row's `threshold` says otherwise.
pub const THRESHOLD: f64 = 0.5;

const EXAMPLES: &str = "\
Examples:
  trainer score --data rows.jsonl --responses rollouts.jsonl --out scored.jsonl
  trainer score --data rows.jsonl --out scored.jsonl \\
      --judge https://api.deepseek.com/v1 --judge-model deepseek-chat \\
      --price-in 0.27 --price-out 1.10 --budget 2.50
  trainer score --data rows.jsonl --out scored.jsonl --images coco \\
      --judge-local WeThink-Qwen2.5VL-7B --labels labels.jsonl

Exit codes: 0 done, 1 a row or a file is at fault, 2 misuse, 3 the budget is
spent, 4 the judge accepted a canary, 5 some rows got no opinion.";

/// Score responses: by rule, and by a judge where no rule decides.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Rows as WeThink publishes them, with `response` in each or in --responses
    #[arg(long, value_name = "ROWS.jsonl")]
    data: PathBuf,
    /// JSON lines with `id` (the row's, or its line) and `response`; several for one row are several lines of the output
    #[arg(long, value_name = "FILE.jsonl")]
    responses: Option<PathBuf>,
    /// Where to write; replies of the judge are kept beside it, in OUT.replies.jsonl
    #[arg(long, value_name = "SCORED.jsonl")]
    out: PathBuf,
    /// Read a dataset's own name as a kind; may be repeated
    #[arg(long, value_name = "NAME=KIND")]
    reward_map: Vec<String>,
    /// Weights of the reward: a TOML file with accuracy, format, format_only_when_right, judge_cap, overlong, repetition
    #[arg(long, value_name = "FILE.toml")]
    policy: Option<PathBuf>,
    /// Labels by people: they override rewards, and rules and judge are measured against them
    #[arg(long, value_name = "LABELS.jsonl")]
    labels: Option<PathBuf>,
    /// A judge: the base URL of a server that speaks OpenAI's protocol, up to and including /v1
    #[arg(long, value_name = "URL", requires = "judge_model", conflicts_with = "judge_local")]
    judge: Option<String>,
    /// The judge's name on that server
    #[arg(long, value_name = "NAME", requires = "judge")]
    judge_model: Option<String>,
    /// The variable that holds the server's key [default: OPENAI_API_KEY; over plain http none unless named here]
    #[arg(long, value_name = "NAME", requires = "judge")]
    judge_key_env: Option<String>,
    /// Seconds one request may take
    #[arg(long, value_name = "S", default_value_t = 60.0, requires = "judge")]
    judge_timeout: f64,
    /// Requests at once, at most
    #[arg(long, value_name = "N", default_value_t = 16, requires = "judge")]
    judge_concurrency: usize,
    /// What this run may pay for: tokens, as in 200000tokens, or money in the currency of the prices, as in 2.50
    #[arg(long, value_name = "AMOUNT", requires = "judge")]
    budget: Option<Budget>,
    /// Price of a million tokens of prompts
    #[arg(long, value_name = "P", requires = "price_out")]
    price_in: Option<f64>,
    /// Price of a million tokens of replies
    #[arg(long, value_name = "P", requires = "price_in")]
    price_out: Option<f64>,
    /// A judge: a checkpoint's folder
    #[arg(long, value_name = "DIR")]
    judge_local: Option<PathBuf>,
    /// Where --judge-local runs: auto, cpu, wgpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceArg,
    /// Type of weights and activations of --judge-local [default: bf16 on cuda, f32 elsewhere]
    #[arg(long, value_enum)]
    dtype: Option<DtypeArg>,
    /// Where `image_path` starts: a folder or an archive; the judge is shown the pictures
    #[arg(long, value_name = "DIR|ZIP")]
    images: Option<PathBuf>,
    /// Key of fences and canaries
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// A case on its way: what became of it, and what a person says.
struct Scored<'a> {
    case: &'a Case,
    outcome: Outcome,
    word: Option<Word>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    // What is cheap to get wrong comes first.
    let map = RewardMap::from_entries(&args.reward_map)?;
    let policy = policy(args.policy.as_deref())?;
    let labels = args.labels.as_deref().map(Labels::read).transpose()?;
    let Cases { entries, without } = cases::read(&args.data, args.responses.as_deref(), &map)?;
    let pictures = args.images.as_deref().map(Pictures::open).transpose()?.map(Arc::new);
    let bench = bench(args)?;

    let verdicts: Vec<Result<Verdict, String>> = entries.par_iter().map(by_rule).collect();
    let (words, strays) = labels.as_ref().map(|labels| labels.about(&entries)).unwrap_or_default();
    let mut hearing = Hearing::default();
    let mut rows: Vec<Result<Scored, String>> = Vec::with_capacity(entries.len());
    for (i, (entry, verdict)) in entries.iter().zip(verdicts).enumerate() {
        let word = words.get(i).copied().flatten();
        rows.push(match (&entry.case, verdict) {
            (Ok(case), Ok(verdict)) => {
                let outcome = hearing.enter(i, case, verdict, args.seed, args.images.is_some());
                Ok(Scored { case, outcome, word })
            }
            (Err(error), _) => Err(error.clone()),
            (_, Err(error)) => Err(error),
        });
    }
    let waiting = hearing.questions();
    let conduct = match &bench {
        Some(bench) => Some(hear(pictures, hearing, bench, &policy, &mut rows)?),
        None => None,
    };
    output::write(&args.out, &entries, &rows, &policy)?;

    let mut agreement = Agreement::default();
    for row in rows.iter().flatten() {
        if let Some(word) = row.word {
            agreement.add(word, row.outcome.verdict());
        }
    }
    output::report(&entries, &rows, bench.as_deref().zip(conduct.as_ref()), waiting);
    if without > 0 {
        eprintln!("warning: {without} rows have no response in --responses and are left out");
    }
    if labels.is_some() {
        eprintln!("{}", agreement.report());
        if strays > 0 {
            eprintln!("warning: labels of {strays} cases are about no case here, or about several");
        }
    }
    Ok(output::code(&rows, bench.as_deref(), conduct.as_ref()))
}

fn policy(path: Option<&Path>) -> Result<Policy> {
    let Some(path) = path else { return Ok(Policy::default()) };
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{name}: cannot be read"))?;
    let policy: Policy = toml::from_str(&text).with_context(|| format!("{name}: no reward policy"))?;
    if !(0.0..=1.0).contains(&policy.judge_cap) {
        bail!("{name}: field `judge_cap`: {} is not within 0 and 1", policy.judge_cap);
    }
    Ok(policy)
}

/// The judge that was asked for, if any.
fn bench(args: &Args) -> Result<Option<Arc<Bench>>> {
    let replies = || Replies::open(&args.out.with_added_extension("replies.jsonl"));
    let (member, replies) = match (&args.judge, &args.judge_local) {
        (Some(base), _) => (Member::Endpoint(Box::new(endpoint(args, base)?)), replies()?),
        (None, Some(dir)) => {
            let opened = device::open(args.device, args.dtype)?;
            (Member::Local(Box::new(Local::open(dir, &opened)?)), replies()?)
        }
        (None, None) => return Ok(None),
    };
    if replies.unreadable > 0 {
        eprintln!("warning: {} kept replies cannot be read and are asked for again", replies.unreadable);
    }
    Ok(Some(Arc::new(Bench::new(member, replies))))
}

fn endpoint(args: &Args, base: &str) -> Result<Endpoint> {
    let prices = Prices { input: args.price_in.unwrap_or(0.0), output: args.price_out.unwrap_or(0.0) };
    if !prices.are_sound() {
        bail!("--price-in and --price-out are prices of a million tokens, 0 or more");
    }
    if matches!(args.budget, Some(Budget::Money(_))) && prices == Prices::default() {
        bail!("--budget in money needs --price-in and --price-out; or give it in tokens, as in 200000tokens");
    }
    let timeout = Duration::try_from_secs_f64(args.judge_timeout).ok().filter(|t| !t.is_zero());
    let settings = Settings {
        base: base.to_owned(),
        model: args.judge_model.clone().unwrap_or_default(),
        key: key(base, args.judge_key_env.as_deref())?,
        timeout: timeout.context("--judge-timeout is a number of seconds above 0")?,
        concurrency: args.judge_concurrency,
    };
    Endpoint::new(settings, Ledger::new(args.budget, prices))
}

/// The server's key. A key that was meant for another server is not sent to one in the clear.
pub(crate) fn key(base: &str, named: Option<&str>) -> Result<Option<String>> {
    let read = |name: &str| std::env::var(name).ok().filter(|key| !key.is_empty());
    match named {
        Some(name) => {
            read(name).map(Some).with_context(|| format!("--judge-key-env {name}: no such variable"))
        }
        None if base.starts_with("https://") => Ok(read("OPENAI_API_KEY")),
        None => Ok(None),
    }
}

fn by_rule(entry: &Entry) -> Result<Verdict, String> {
    let case = entry.case.as_ref().map_err(Clone::clone)?;
    verify(&case.record).map_err(|error| error.to_string())
}

/// Puts what is on the list to the judge and enters what it says. A judge that accepted a canary is believed in nothing.
fn hear(
    pictures: Option<Arc<Pictures>>,
    hearing: Hearing,
    bench: &Arc<Bench>,
    policy: &Policy,
    rows: &mut [Result<Scored, String>],
) -> Result<Conduct> {
    let conduct = hearing.hold(bench, pictures, |index, opinion| {
        let Some(Ok(row)) = rows.get_mut(index) else { return };
        let verdict = row.outcome.verdict().clone();
        row.outcome = match opinion {
            Ok(opinion) => {
                let threshold = row.case.record.opts.threshold.unwrap_or(THRESHOLD);
                Outcome::Judged(verdict.judged(&opinion, threshold, policy.judge_cap), opinion)
            }
            Err(failure) => Outcome::Unscored(verdict, failure.to_string()),
        };
    })?;
    if conduct.accepted > 0 {
        for row in rows.iter_mut().flatten().filter(|row| matches!(row.outcome, Outcome::Judged(..))) {
            if let Ok(verdict) = verify(&row.case.record) {
                row.outcome = Outcome::Unscored(verdict, Stop::Canary.to_string());
            }
        }
    }
    Ok(conduct)
}
