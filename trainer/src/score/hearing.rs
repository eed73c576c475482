//! Putting cases to a judge: each content once, canaries among them, many at a time.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use wethink_data::Pictures;
use wethink_reward::Verdict;
use wethink_reward::judge::{Opinion, Question, Route, canary_due, opinion, route};

use super::cases::Case;
use crate::judge::{Bench, Failure, Seat, Stop};
use crate::progress::Count;

/// What became of a case after its rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The rule's verdict stands, or the pre-filter's.
    Decided(Verdict),
    /// The judge's opinion of it.
    Judged(Verdict, Opinion),
    /// No reward, for this reason.
    Unscored(Verdict, String),
}

impl Outcome {
    /// The verdict, unsure where there is no reward.
    pub fn verdict(&self) -> &Verdict {
        match self {
            Self::Decided(verdict) | Self::Judged(verdict, _) | Self::Unscored(verdict, _) => verdict,
        }
    }
}

/// A question, who waits for its answer, and whether it is a canary.
struct Job {
    question: Question,
    images: Vec<String>,
    cases: Vec<usize>,
    canary: bool,
}

/// What a hearing saw of the judge.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Conduct {
    /// Questions it answered, canaries not counted.
    pub answered: usize,
    /// Of these, those whose two orders differ.
    pub swayed: usize,
    /// Canaries it answered.
    pub canaries: usize,
    /// Canaries that it gave any score: one is an alarm.
    pub accepted: usize,
}

impl Conduct {
    /// Adds what another hearing saw.
    pub fn add(&mut self, other: &Self) {
        let Self { answered, swayed, canaries, accepted } = *other;
        self.answered += answered;
        self.swayed += swayed;
        self.canaries += canaries;
        self.accepted += accepted;
    }
}

/// The questions of a run.
#[derive(Default)]
pub struct Hearing {
    /// Whether it is not the first one of its judge.
    further: bool,
    jobs: Vec<Job>,
    places: HashMap<(Question, Vec<String>), usize>,
}

impl Hearing {
    /// A further hearing of a judge who has been heard: its first question need not bring a canary.
    pub fn further() -> Self {
        Self { further: true, ..Self::default() }
    }

    /// Where a verdict goes; what goes to a judge is put on the list.
    pub fn enter(&mut self, index: usize, case: &Case, verdict: Verdict, seed: u64, shown: bool) -> Outcome {
        match route(&case.record, &case.problem, &verdict, seed) {
            Route::Final => Outcome::Decided(verdict),
            Route::Refused(reason) => Outcome::Decided(verdict.refused(reason)),
            Route::Nothing(reason) => Outcome::Unscored(verdict, reason.to_owned()),
            Route::Ask(question) => {
                let images = if shown { case.images.clone() } else { vec![] };
                // The first question brings one whatever its content: no run is without a canary.
                if (self.jobs.is_empty() && !self.further) || canary_due(case.key, seed) {
                    self.list(question.canary(seed), &images).canary = true;
                }
                self.list(question, &images).cases.push(index);
                Outcome::Unscored(verdict, "no judge was asked".to_owned())
            }
        }
    }

    /// The job of a question, the same for the same content.
    fn list(&mut self, question: Question, images: &[String]) -> &mut Job {
        let place = (question, images.to_vec());
        let next = self.jobs.len();
        let at = *self.places.entry(place.clone()).or_insert(next);
        if at == next {
            let (question, images) = place;
            self.jobs.push(Job { question, images, cases: vec![], canary: false });
        }
        &mut self.jobs[at]
    }

    /// Questions on the list, canaries not counted.
    pub fn questions(&self) -> usize {
        self.jobs.iter().filter(|job| !job.cases.is_empty()).count()
    }

    /// Asks everything, as many questions at a time as the judge takes, and tells `told` what came of each case.
    ///
    /// The first canary is heard before anything else, so that a judge that accepts everything is paid for nothing further.
    pub fn hold(
        self,
        bench: &Arc<Bench>,
        pictures: Option<Arc<Pictures>>,
        mut told: impl FnMut(usize, Result<Opinion, Failure>),
    ) -> Result<Conduct> {
        let width = bench.width();
        let mut conduct = Conduct::default();
        let bar = Count::new("asking", self.jobs.len() as u64);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.context("no threads for the judge")?;
        runtime.block_on(async {
            let mut running = JoinSet::new();
            for (at, job) in self.jobs.into_iter().enumerate() {
                let full = if at == 1 { 1 } else { width };
                while running.len() >= full
                    && let Some(done) = running.join_next().await
                {
                    settle(done, bench, &mut conduct, &mut told)?;
                    bar.step();
                }
                running.spawn(heard(Arc::clone(bench), pictures.clone(), job));
            }
            while let Some(done) = running.join_next().await {
                settle(done, bench, &mut conduct, &mut told)?;
                bar.step();
            }
            anyhow::Ok(())
        })?;
        bar.finish();
        bench.replies().sync()?;
        Ok(conduct)
    }
}

/// One question before the judge.
async fn heard(
    bench: Arc<Bench>,
    pictures: Option<Arc<Pictures>>,
    job: Job,
) -> (Job, Result<Opinion, Failure>) {
    let read = |name: &String| pictures.as_ref().map(|pictures| pictures.read(name));
    let shown: Result<Vec<_>, _> = job.images.iter().filter_map(read).collect();
    let outcome = match shown {
        Ok(shown) => opinion(&Seat { bench, pictures: Arc::new(shown) }, &job.question).await,
        // Nothing was asked: this is no failure of the judge's.
        Err(error) => Err(Failure::Ask(format!("a picture cannot be shown: {error}"))),
    };
    (job, outcome)
}

fn settle(
    done: Result<(Job, Result<Opinion, Failure>), tokio::task::JoinError>,
    bench: &Bench,
    conduct: &mut Conduct,
    told: &mut impl FnMut(usize, Result<Opinion, Failure>),
) -> Result<()> {
    let (job, outcome) = done.context("a question's task ended early")?;
    if let Ok(opinion) = &outcome {
        if job.canary {
            conduct.canaries += 1;
            if opinion.score > 0.0 {
                conduct.accepted += 1;
                bench.stop(Stop::Canary);
            }
        }
        if !job.cases.is_empty() {
            conduct.answered += 1;
            conduct.swayed += usize::from(!opinion.agreed);
        }
    }
    for index in job.cases {
        told(index, outcome.clone());
    }
    Ok(())
}
