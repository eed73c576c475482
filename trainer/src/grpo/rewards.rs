//! What responses are worth, found out while others are still being sampled.
//!
//! A thread takes responses as they end: a rule decides at once, and what no rule decides goes to the judge, many at a time. A
//! judge that is down is waited for; one that accepts a canary ends the run. Nothing is made up for a response that gets no
//! reward: it stays without.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rayon::prelude::*;
use serde::Serialize;
use wethink_data::Pictures;
use wethink_reward::{Kind, Policy, RewardMap, Score, Verdict, verify, weigh};

use super::recipe::{Judge, Recipe};
use crate::device::Opened;
use crate::judge::budget::{Ledger, Tokens};
use crate::judge::endpoint::{Endpoint, Settings};
use crate::judge::local::Local;
use crate::judge::replies::Replies;
use crate::judge::{Bench, Member, Stop};
use crate::score::cases::{Case, reward_name};
use crate::score::hearing::{Conduct, Hearing, Outcome};
use crate::score::{THRESHOLD, key};
use crate::train::rows::Rows;
use crate::verifier::SCENE;

/// The first pause before a judge that is down is asked again; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(500);

/// The longest such pause.
const LONGEST: Duration = Duration::from_secs(60);

/// A response that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its place among the step's responses.
    pub place: usize,
    /// Index of its row.
    pub row: usize,
    /// Its text.
    pub text: String,
    /// Its tokens.
    pub tokens: usize,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The parts; the reward itself is `None` where nobody decided.
    pub score: Score,
    /// Why nobody did.
    pub unscored: Option<String>,
}

/// Everything that was scored, by place, and how the judge behaved.
#[derive(Debug, Default)]
pub struct Scores {
    /// In the order of the places.
    pub scored: Vec<(usize, Scored)>,
    /// Of the judge.
    pub conduct: Conduct,
    /// Seconds that a judge was waited for after it had failed.
    pub paused: f64,
}

/// What a judge has cost: requests of this start of the run, and what the whole run has paid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Paid {
    /// Requests.
    pub requests: u64,
    /// Tokens of prompts.
    pub input: u64,
    /// Tokens of replies.
    pub output: u64,
    /// In the currency of the recipe's prices.
    pub cost: f64,
}

/// Who scores.
pub struct Scorer<'a> {
    rows: &'a Rows,
    map: RewardMap,
    policy: Policy,
    seed: u64,
    bench: Option<Arc<Bench>>,
    pictures: Option<Arc<Pictures>>,
    patience: f64,
    /// Raised by Ctrl-C: a judge is waited for no longer.
    stop: Arc<AtomicBool>,
    /// Whether a canary was heard in this step already.
    heard: AtomicBool,
}

impl<'a> Scorer<'a> {
    /// Who scores as a recipe says. The run folder is made here: the judge's replies are kept in it.
    pub fn of(
        recipe: &Recipe,
        rows: &'a Rows,
        opened: &Opened,
        run: &Path,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let map = RewardMap::from_entries(&recipe.data.reward_map)?;
        let mut judge = None;
        let mut pictures = None;
        let made =
            || std::fs::create_dir_all(run).with_context(|| format!("{}: cannot be made", run.display()));
        if let Some(asked) = &recipe.judge {
            made()?;
            judge = Some((asked, bench(asked, run, opened)?));
            let own = recipe.data.rows.parent().filter(|folder| !folder.as_os_str().is_empty());
            let root = recipe.data.images.as_deref().or(own).unwrap_or(Path::new("."));
            pictures = asked.pictures.then(|| Pictures::open(root)).transpose()?.map(Arc::new);
        }
        let scorer = Self::new(rows, map, recipe.reward, recipe.seed, judge, pictures, stop)?;
        made()?;
        Ok(scorer)
    }

    /// Looks at every row: a truth that cannot be compared with, or a row that only a judge can decide where there is none, is
    /// refused before anything is trained.
    pub fn new(
        rows: &'a Rows,
        map: RewardMap,
        policy: Policy,
        seed: u64,
        judge: Option<(&Judge, Arc<Bench>)>,
        pictures: Option<Arc<Pictures>>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self> {
        let names = (0..rows.len()).filter_map(|row| reward_name(rows.row(row)));
        let names: Vec<String> = names.filter(|name| name != SCENE).collect();
        map.check(names.iter().map(String::as_str))?;
        let judged = judge.is_some();
        let fault = |row: usize| {
            let fault = match Case::new(rows.row(row), "", None, &map) {
                Err(fault) => Some(fault),
                Ok(case) if case.record.kind == Kind::Open && !judged => {
                    Some("no rule decides a description; write [judge], or leave the row out".to_owned())
                }
                Ok(case) => verify(&case.record).err().map(|fault| fault.to_string()),
            };
            fault.map(|fault| format!("{}: {fault}", rows.place(row)))
        };
        let faults: Vec<String> = (0..rows.len()).into_par_iter().filter_map(fault).collect();
        if !faults.is_empty() {
            let shown = faults.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
            bail!("{} rows cannot be rewarded; mend or remove them:\n{shown}", faults.len());
        }
        let patience = judge.as_ref().map_or(0.0, |(judge, _)| judge.patience);
        let bench = judge.map(|(_, bench)| bench);
        let heard = AtomicBool::new(false);
        Ok(Self { rows, map, policy, seed, bench, pictures, patience, stop, heard })
    }

    /// What the judge has cost so far, if it costs anything.
    pub fn paid(&self) -> Option<Paid> {
        let ledger = self.bench.as_ref()?.ledger()?;
        let Tokens { input, output } = ledger.paid();
        Some(Paid { requests: ledger.requests(), input, output, cost: ledger.cost() })
    }

    /// Scores what comes, until nothing comes any more. `None` if Ctrl-C ended the wait for a judge.
    pub fn run(&self, ended: &Receiver<Ended>) -> Result<Option<Scores>> {
        let mut scores = Scores::default();
        self.heard.store(false, Ordering::Relaxed);
        while let Ok(first) = ended.recv() {
            // What has piled up meanwhile is asked about together.
            let batch: Vec<Ended> = std::iter::once(first).chain(ended.try_iter()).collect();
            if !self.batch(&batch, &mut scores)? {
                return Ok(None);
            }
        }
        scores.scored.sort_by_key(|(place, _)| *place);
        Ok(Some(scores))
    }

    /// Scores some responses. Whether to go on.
    fn batch(&self, batch: &[Ended], scores: &mut Scores) -> Result<bool> {
        let case = |ended: &Ended| -> Result<(Case, Verdict)> {
            let row = self.rows.row(ended.row);
            let case =
                Case::new(row, &ended.text, Some(ended.tokens), &self.map).map_err(|fault| anyhow!(fault));
            let case = case.with_context(|| self.rows.place(ended.row))?;
            let verdict = verify(&case.record).with_context(|| self.rows.place(ended.row))?;
            Ok((case, verdict))
        };
        let cases: Vec<(Case, Verdict)> = batch.par_iter().map(case).collect::<Result<_>>()?;
        let mut outcomes: Vec<Outcome> =
            cases.iter().map(|(_, verdict)| Outcome::Unscored(verdict.clone(), String::new())).collect();
        let everything: Vec<usize> = (0..cases.len()).collect();
        if !self.hear(&cases, everything, &mut outcomes, scores)? {
            return Ok(false);
        }
        for ((ended, (case, _)), outcome) in batch.iter().zip(&cases).zip(outcomes) {
            let unscored = match &outcome {
                Outcome::Unscored(_, reason) => Some(reason.clone()),
                _ => None,
            };
            scores.scored.push((ended.place, self.weigh(case, outcome.verdict(), unscored)));
        }
        Ok(true)
    }

    /// Without a judge, rules are all there is: what none accepts earns no accuracy. With one, what it did not decide has no
    /// reward.
    fn weigh(&self, case: &Case, verdict: &Verdict, unscored: Option<String>) -> Scored {
        let weigh = |verdict| weigh(&case.record, &self.policy, case.tokens, verdict);
        if self.bench.is_some() || unscored.is_none() {
            return Scored { score: weigh(verdict.clone()), unscored };
        }
        let refused = weigh(verdict.clone().refused(verdict.reason));
        Scored { score: Score { verdict: verdict.clone(), ..refused }, unscored: None }
    }

    /// Lets the judge decide what no rule does, and waits for one that is down. Whether to go on.
    fn hear(
        &self,
        cases: &[(Case, Verdict)],
        mut open: Vec<usize>,
        outcomes: &mut [Outcome],
        scores: &mut Scores,
    ) -> Result<bool> {
        let (started, mut pause) = (Instant::now(), PAUSE);
        // What failed while a judge was down is asked once more when it is back.
        let mut again = false;
        loop {
            // The first questions of a step bring a canary.
            let heard = self.heard.load(Ordering::Relaxed);
            let mut hearing = if heard { Hearing::further() } else { Hearing::default() };
            for &at in &open {
                let (case, verdict) = &cases[at];
                outcomes[at] = hearing.enter(at, case, verdict.clone(), self.seed, self.pictures.is_some());
            }
            let Some(bench) = self.bench.as_ref().filter(|_| hearing.questions() > 0) else {
                return Ok(true);
            };
            self.heard.store(true, Ordering::Relaxed);
            let conduct = hearing.hold(bench, self.pictures.clone(), |at, opinion| {
                let (case, verdict) = &cases[at];
                outcomes[at] = match opinion {
                    Ok(opinion) => {
                        let threshold = case.record.opts.threshold.unwrap_or(THRESHOLD);
                        let judged = verdict.clone().judged(&opinion, threshold, self.policy.judge_cap);
                        Outcome::Judged(judged, opinion)
                    }
                    Err(failure) => Outcome::Unscored(verdict.clone(), failure.to_string()),
                };
            })?;
            scores.conduct.add(&conduct);
            let Some(stop) = bench.stopped() else {
                if !std::mem::take(&mut again) {
                    return Ok(true);
                }
                open.retain(|&at| matches!(outcomes[at], Outcome::Unscored(..)));
                continue;
            };
            again = true;
            let reason = match &stop {
                Stop::Unusable(reason) => reason,
                Stop::Canary => bail!(
                    "{stop}; nothing that it said is learned from. Mend the judge, then go on with --resume"
                ),
                Stop::Budget => {
                    let spent = bench.ledger().map(ToString::to_string).unwrap_or_default();
                    bail!(
                        "judge.budget is spent ({spent}), and further answers would cost more. Raise it in recipe.toml of the \
                         run, then go on with --resume: no reply is paid for again"
                    )
                }
            };
            let waited = started.elapsed().as_secs_f64();
            if waited >= self.patience {
                bail!(
                    "the judge has been down for {waited:.0} s: {reason}. Go on with --resume once it is back"
                );
            }
            eprintln!(
                "warning: the judge is down, and asked again in {:.1} s: {reason}",
                pause.as_secs_f64()
            );
            if !self.sleep(pause.min(Duration::from_secs_f64(self.patience - waited))) {
                return Ok(false);
            }
            scores.paused += pause.as_secs_f64();
            pause = (2 * pause).min(LONGEST);
            bench.again();
            open.retain(|&at| matches!(outcomes[at], Outcome::Unscored(..)));
        }
    }

    /// Waits. Whether Ctrl-C has not been pressed.
    fn sleep(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50).min(pause));
        }
        !self.stop.load(Ordering::Relaxed)
    }
}

/// The judge that a recipe asks for. Its replies are kept in `replies.jsonl` of the run: what is there is not asked again.
pub fn bench(judge: &Judge, run: &Path, opened: &Opened) -> Result<Arc<Bench>> {
    let replies = Replies::open(&run.join("replies.jsonl"))?;
    let member = match (&judge.server, &judge.local) {
        (Some(base), _) => {
            let settings = Settings {
                base: base.clone(),
                model: judge.model.clone().unwrap_or_default(),
                key: key(base, judge.key_env.as_deref())?,
                timeout: Duration::try_from_secs_f64(judge.timeout).context("judge.timeout")?,
                concurrency: judge.concurrency,
            };
            let ledger = Ledger::new(judge.budget, judge.prices()).with_paid(replies.paid);
            Member::Endpoint(Box::new(Endpoint::new(settings, ledger)?))
        }
        (None, Some(folder)) => Member::Local(Box::new(Local::open(folder, opened)?)),
        (None, None) => bail!("[judge] names neither a server nor a checkpoint"),
    };
    Ok(Arc::new(Bench::new(member, replies)))
}
