//! How many requests run at once: one more for every round that goes well, half as many after a complaint.
//!
//! Additive increase, multiplicative decrease (Chiu and Jain, 1989), as in TCP: with `limit` requests running, each that
//! succeeds adds `1 / limit`. A complaint (429, 5xx, no answer in time) halves the limit once for everything that was
//! under way, since all of it left under the same load. `Retry-After` holds everybody back, not only who was told.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Requests at once when a run begins.
const START: usize = 2;

/// The state, without waiting; time is an argument.
#[derive(Debug)]
struct State {
    limit: f64,
    ceiling: usize,
    running: usize,
    /// Halvings so far. A request that began under an earlier one has been answered for.
    halvings: u64,
    not_before: Option<Instant>,
}

/// Why a request cannot begin.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    /// Until one that runs has ended.
    ForOthers,
    /// Until the server takes requests again.
    Until(Instant),
}

impl State {
    fn begin(&mut self, now: Instant) -> Result<u64, Wait> {
        match self.not_before {
            Some(until) if until > now => return Err(Wait::Until(until)),
            _ => self.not_before = None,
        }
        // Whole requests only; the limit is never below one.
        if self.running >= self.limit as usize {
            return Err(Wait::ForOthers);
        }
        self.running += 1;
        Ok(self.halvings)
    }

    fn went_well(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.ceiling as f64);
    }

    fn complained(&mut self, began_under: u64, retry_after: Option<Duration>, now: Instant) {
        if began_under == self.halvings {
            self.limit = (self.limit / 2.0).max(1.0);
            self.halvings += 1;
        }
        if let Some(until) = retry_after.and_then(|wait| now.checked_add(wait)) {
            self.not_before = Some(self.not_before.map_or(until, |before| before.max(until)));
        }
    }
}

/// Lets requests begin.
#[derive(Debug)]
pub struct Pace {
    state: Mutex<State>,
    changed: Notify,
}

/// Leave to run one request; dropping it makes room, whatever became of the request.
#[derive(Debug)]
pub struct Permit<'a> {
    pace: &'a Pace,
    began_under: u64,
}

impl Pace {
    /// Never more than `ceiling` requests at once.
    pub fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        let limit = START.min(ceiling) as f64;
        let state = State { limit, ceiling, running: 0, halvings: 0, not_before: None };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in this file panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests at once, at most.
    pub fn ceiling(&self) -> usize {
        self.state().ceiling
    }

    /// Waits until a request may begin.
    pub async fn permit(&self) -> Permit<'_> {
        loop {
            // Made before the state is looked at, so that a change in between is not missed.
            let changed = self.changed.notified();
            let wait = self.state().begin(Instant::now());
            match wait {
                Ok(began_under) => return Permit { pace: self, began_under },
                Err(Wait::ForOthers) => changed.await,
                Err(Wait::Until(until)) => tokio::time::sleep_until(until.into()).await,
            }
        }
    }
}

impl Permit<'_> {
    /// The request was answered.
    pub fn went_well(self) {
        self.pace.state().went_well();
    }

    /// The server is overloaded; nobody begins before `retry_after` is over.
    pub fn complained(self, retry_after: Option<Duration>) {
        self.pace.state().complained(self.began_under, retry_after, Instant::now());
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.pace.state().running -= 1;
        self.pace.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(ceiling: usize) -> State {
        State { limit: START.min(ceiling) as f64, ceiling, running: 0, halvings: 0, not_before: None }
    }

    /// Begins as many as may; their number.
    fn fill(state: &mut State, now: Instant) -> usize {
        while state.begin(now).is_ok() {}
        state.running
    }

    #[test]
    fn a_round_that_goes_well_adds_about_one_up_to_the_ceiling() {
        let (mut state, now) = (state(6), Instant::now());
        let mut widths = vec![];
        for _ in 0..8 {
            let width = fill(&mut state, now);
            widths.push(width);
            for _ in 0..width {
                state.running -= 1;
                state.went_well();
            }
        }
        // 2 → 2.9, 2 → 3.6 …: additive, never doubling, never above the ceiling.
        assert_eq!(widths[0], 2);
        assert!(widths.windows(2).all(|w| w[1] >= w[0] && w[1] <= w[0] + 1), "{widths:?}");
        assert_eq!(widths[7], 6, "{widths:?}");
    }

    #[test]
    fn complaints_about_one_round_halve_once() {
        let (mut state, now) = (state(16), Instant::now());
        state.limit = 12.0;
        let began: Vec<u64> = std::iter::from_fn(|| state.begin(now).ok()).collect();
        assert_eq!(began.len(), 12);
        for under in began {
            state.running -= 1;
            state.complained(under, None, now);
        }
        assert_eq!(fill(&mut state, now), 6);
        let halvings = state.halvings;
        state.complained(halvings, None, now);
        assert_eq!(state.limit, 3.0);
        for _ in 0..9 {
            let halvings = state.halvings;
            state.complained(halvings, None, now);
        }
        assert_eq!(state.limit, 1.0, "one request is always let through");
    }

    #[test]
    fn retry_after_holds_everybody_back_until_its_end() {
        let (mut state, now) = (state(4), Instant::now());
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(5));
        state.complained(0, Some(long), now);
        state.complained(0, Some(short), now);
        assert_eq!(state.begin(now), Err(Wait::Until(now + long)));
        assert_eq!(state.begin(now + short), Err(Wait::Until(now + long)));
        assert!(state.begin(now + long).is_ok());
    }
}
