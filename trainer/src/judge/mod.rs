//! The judge of free answers: a server that speaks OpenAI's protocol, or a checkpoint at hand.
//!
//! What is asked, and what replies mean, is [`wethink_reward::judge`]'s; here is who answers. A [`Bench`] looks for a reply on
//! disk before it asks anybody, and stops asking altogether once asking has become pointless: the budget is spent, the server
//! refuses the key, nothing but failures come back, or the judge has accepted a canary.

pub mod budget;
pub mod endpoint;
pub mod local;
pub mod pace;
pub mod replies;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use wethink_reward::judge::{Ask, Form, Judge, Reply};

use budget::Ledger;
use endpoint::Endpoint;
use local::Local;
use replies::Replies;

/// Asks in a row that may fail, each after all its attempts, before the run stops asking.
const FAILURES_IN_A_ROW: usize = 8;

/// Why a judge gave no opinion. The case stays unscored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This ask failed; others may not.
    Ask(String),
    /// Nothing further is asked.
    Stopped(Stop),
}

/// Why nothing further is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The budget is spent.
    Budget,
    /// The judge accepted an answer that is known to be wrong.
    Canary,
    /// The judge cannot be used at all.
    Unusable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(reason) => write!(f, "the judge failed: {reason}"),
            Self::Stopped(stop) => stop.fmt(f),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget => f.write_str("the budget is spent"),
            Self::Canary => f.write_str("the judge accepted an answer that is known to be wrong"),
            Self::Unusable(reason) => write!(f, "the judge cannot be used: {reason}"),
        }
    }
}

/// Who answers.
#[derive(Debug)]
pub enum Member {
    /// A server.
    Endpoint(Box<Endpoint>),
    /// A checkpoint.
    Local(Box<Local>),
}

/// A judge with its memory.
#[derive(Debug)]
pub struct Bench {
    member: Member,
    replies: Replies,
    stopped: Mutex<Option<Stop>>,
    failures: AtomicUsize,
    /// Replies found on disk.
    found: AtomicUsize,
}

/// The bench before one case, with the pictures it is shown.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Who is asked.
    pub bench: Arc<Bench>,
    /// Picture files, whole.
    pub pictures: Arc<Vec<Vec<u8>>>,
}

impl Bench {
    /// A judge that has not been asked.
    pub fn new(member: Member, replies: Replies) -> Self {
        let (failures, found) = Default::default();
        Self { member, replies, stopped: Mutex::new(None), failures, found }
    }

    /// Who answers.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// The account, where asking costs anything.
    pub fn ledger(&self) -> Option<&Ledger> {
        match &self.member {
            Member::Endpoint(endpoint) => Some(endpoint.ledger()),
            Member::Local(_) => None,
        }
    }

    /// Questions that are worth asking at a time.
    pub fn width(&self) -> usize {
        match &self.member {
            Member::Endpoint(endpoint) => endpoint.ceiling(),
            Member::Local(_) => 1,
        }
    }

    /// What is known already.
    pub fn replies(&self) -> &Replies {
        &self.replies
    }

    /// Replies that were found on disk.
    pub fn found(&self) -> usize {
        self.found.load(Ordering::Relaxed)
    }

    /// Asks nothing further. The first reason stays.
    pub fn stop(&self, why: Stop) {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// Asks again after a stop, as after a pause in which a server may have come back.
    pub fn again(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Why nothing further is asked.
    pub fn stopped(&self) -> Option<Stop> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The reply to one ask: known, or asked for and kept.
    async fn reply(&self, ask: &Ask, pictures: &[Vec<u8>]) -> Result<Reply, Failure> {
        let read = |text: &str| ask.expect.read(text).map_err(|garbled| Failure::Ask(garbled.to_string()));
        let key = match &self.member {
            Member::Endpoint(endpoint) => endpoint.key(ask, pictures),
            Member::Local(local) => local.key(ask, pictures),
        };
        if let Some(text) = self.replies.get(&key) {
            self.found.fetch_add(1, Ordering::Relaxed);
            return read(&text);
        }
        if let Some(stop) = self.stopped() {
            return Err(Failure::Stopped(stop));
        }
        let answer = match &self.member {
            Member::Endpoint(endpoint) => endpoint.ask(ask, pictures, || self.stopped()).await,
            Member::Local(local) => local.ask(ask, pictures),
        };
        let text = answer.inspect_err(|failure| self.failed(failure))?;
        self.failures.store(0, Ordering::Relaxed);
        // What cannot be kept would be paid for again on every run.
        self.replies.put(&key, &text, self.ledger().map(Ledger::paid)).map_err(|error| {
            let stop = Stop::Unusable(format!("{error:#}"));
            self.stop(stop.clone());
            Failure::Stopped(stop)
        })?;
        read(&text)
    }

    fn failed(&self, failure: &Failure) {
        match failure {
            Failure::Stopped(stop) => self.stop(stop.clone()),
            Failure::Ask(reason) => {
                let row = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if row >= FAILURES_IN_A_ROW {
                    self.stop(Stop::Unusable(format!("{row} failures in a row, the last: {reason}")));
                }
            }
        }
    }
}

impl Judge for Seat {
    type Error = Failure;

    fn form(&self) -> Form {
        match self.bench.member {
            Member::Endpoint(_) => Form::Words,
            Member::Local(_) => Form::OneToken,
        }
    }

    fn answer(&self, ask: &Ask) -> impl Future<Output = Result<Reply, Failure>> + Send {
        self.bench.reply(ask, &self.pictures)
    }
}
