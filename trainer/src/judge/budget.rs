//! What a run may cost, and what it did.
//!
//! The most that a request can cost is set aside before it is sent, so that requests under way cannot together
//! overshoot. A token is at least a byte, which bounds a text; a picture is counted as the most that Qwen2.5-VL makes of one.
//! When too little is left, the next request waits for those under way to give back what they did not need; when none is,
//! the budget is spent. What an earlier start of the same run paid counts where its owner says so ([`Ledger::with_paid`]).

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::Notify;

/// `--budget`, or `judge.budget` of a recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// Tokens of prompts and replies together: `200000tokens`.
    Tokens(u64),
    /// Money, in the currency of `--price-in` and `--price-out`: `2.50`.
    Money(f64),
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither tokens, as in 200000tokens, nor money, as in 2.50");
        match text.strip_suffix("tokens") {
            Some(count) => count.trim().parse().map(Self::Tokens).map_err(|_| wrong()),
            None => {
                let money: f64 = text.parse().map_err(|_| wrong())?;
                (money.is_finite() && money >= 0.0).then_some(Self::Money(money)).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens(count) => write!(f, "{count}tokens"),
            Self::Money(money) => money.fmt(f),
        }
    }
}

/// As it is written: money as a number, tokens as text.
impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tokens(_) => to.collect_str(self),
            Self::Money(money) => to.serialize_f64(*money),
        }
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Budget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a budget: money, as in 2.50, or tokens, as in \"200000tokens\"")
            }

            fn visit_f64<E: Error>(self, money: f64) -> Result<Budget, E> {
                self.visit_str(&money.to_string())
            }

            fn visit_i64<E: Error>(self, money: i64) -> Result<Budget, E> {
                self.visit_str(&money.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Budget, E> {
                text.parse().map_err(|wrong: String| E::custom(format!("budget: {wrong}")))
            }
        }
        from.deserialize_any(Written)
    }
}

/// Tokens of one or many requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Of prompts.
    pub input: u64,
    /// Of replies.
    pub output: u64,
}

/// Prices per million tokens, in any currency.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prices {
    /// Of prompts.
    pub input: f64,
    /// Of replies.
    pub output: f64,
}

impl Prices {
    /// Whether these are prices at all.
    pub fn are_sound(&self) -> bool {
        [self.input, self.output].iter().all(|price| price.is_finite() && *price >= 0.0)
    }

    /// What `tokens` cost.
    pub fn cost(&self, tokens: Tokens) -> f64 {
        (self.input * tokens.input as f64 + self.output * tokens.output as f64) / 1e6
    }
}

/// The budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent;

#[derive(Debug, Default)]
struct State {
    paid: Tokens,
    set_aside: Tokens,
    requests: u64,
}

/// The account of a run.
#[derive(Debug)]
pub struct Ledger {
    budget: Option<Budget>,
    prices: Prices,
    state: Mutex<State>,
    changed: Notify,
}

/// What is set aside for one request. Dropping it unpaid gives it back: for requests that cost nothing.
#[derive(Debug)]
pub struct Held<'a> {
    ledger: &'a Ledger,
    most: Tokens,
}

impl Ledger {
    /// An account that has paid nothing.
    pub fn new(budget: Option<Budget>, prices: Prices) -> Self {
        Self { budget, prices, state: Mutex::default(), changed: Notify::new() }
    }

    /// The same account after so much was paid before.
    pub fn with_paid(self, paid: Tokens) -> Self {
        self.state().paid = paid;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in this file panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn within(&self, tokens: Tokens) -> bool {
        match self.budget {
            None => true,
            Some(Budget::Tokens(most)) => tokens.input.saturating_add(tokens.output) <= most,
            Some(Budget::Money(most)) => self.prices.cost(tokens) <= most,
        }
    }

    /// Sets `most` aside, as soon as it is there.
    pub async fn hold(&self, most: Tokens) -> Result<Held<'_>, Spent> {
        loop {
            // Made before the state is looked at, so that a change in between is not missed.
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                let then = state.paid.and(state.set_aside).and(most);
                if self.within(then) {
                    state.set_aside = state.set_aside.and(most);
                    return Ok(Held { ledger: self, most });
                }
                if state.set_aside == Tokens::default() {
                    return Err(Spent);
                }
            }
            changed.await;
        }
    }

    /// What has been paid for.
    pub fn paid(&self) -> Tokens {
        self.state().paid
    }

    /// Requests that were paid for, those paid before not counted.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// What has been paid, in the currency of the prices.
    pub fn cost(&self) -> f64 {
        self.prices.cost(self.paid())
    }

    /// What it may pay for at most.
    pub fn budget(&self) -> Option<Budget> {
        self.budget
    }
}

impl Tokens {
    fn and(self, other: Self) -> Self {
        let add = u64::saturating_add;
        Self { input: add(self.input, other.input), output: add(self.output, other.output) }
    }
}

impl Held<'_> {
    /// The request cost so much; what it cost is not known where the server does not say, and then is the most it can be.
    pub fn pay(self, tokens: Option<Tokens>) -> Tokens {
        let tokens = tokens.unwrap_or(self.most);
        let mut state = self.ledger.state();
        state.paid = state.paid.and(tokens);
        state.requests += 1;
        tokens
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.ledger.state();
        state.set_aside.input -= self.most.input;
        state.set_aside.output -= self.most.output;
        drop(state);
        self.ledger.changed.notify_waiters();
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let Tokens { input, output } = state.paid;
        write!(f, "{} requests, {input} tokens in, {output} out", state.requests)?;
        match self.prices == Prices::default() {
            true => Ok(()),
            false => write!(f, ", cost {:.4}", self.prices.cost(state.paid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: u64, output: u64) -> Tokens {
        Tokens { input, output }
    }

    #[test]
    fn budgets_name_their_unit() {
        assert_eq!("200000tokens".parse(), Ok(Budget::Tokens(200_000)));
        assert_eq!("2.50".parse(), Ok(Budget::Money(2.5)));
        for wrong in ["", "tokens", "-1", "-1tokens", "inf", "NaN", "1.5tokens", "2 euros"] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn recipes_write_money_as_a_number_and_tokens_as_text() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Judge {
            budget: Budget,
        }
        for (text, budget) in
            [("budget = 2.5\n", Budget::Money(2.5)), ("budget = \"200000tokens\"\n", Budget::Tokens(200_000))]
        {
            let judge: Judge = toml::from_str(text).expect("sound");
            assert_eq!(judge, Judge { budget });
            assert_eq!(toml::to_string(&judge).expect("TOML"), text);
        }
        assert_eq!(toml::from_str("budget = 3").map(|judge: Judge| judge.budget), Ok(Budget::Money(3.0)));
        for wrong in ["budget = -1.0", "budget = \"much\"", "budget = true"] {
            let error = toml::from_str::<Judge>(wrong).expect_err(wrong).to_string();
            assert!(error.contains("budget") && error.contains("2.50"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_was_paid_before_counts() {
        let ledger = Ledger::new(Some(Budget::Tokens(100)), Prices::default()).with_paid(tokens(60, 10));
        pollster::block_on(async {
            assert_eq!(ledger.hold(tokens(31, 0)).await.map(drop), Err(Spent));
            ledger.hold(tokens(30, 0)).await.expect("just so").pay(None);
        });
        assert_eq!((ledger.paid(), ledger.requests()), (tokens(90, 10), 1));
    }

    #[test]
    fn what_is_under_way_is_set_aside_and_waited_for() {
        let ledger = Ledger::new(Some(Budget::Tokens(100)), Prices::default());
        pollster::block_on(async {
            let first = ledger.hold(tokens(50, 10)).await.expect("100 are left");
            let second = ledger.hold(tokens(30, 10)).await.expect("40 are left");
            // The third fits only once the first has cost less than was set aside for it.
            let third = ledger.hold(tokens(30, 10));
            let settle = async { first.pay(Some(tokens(20, 0))) };
            let mut third = std::pin::pin!(third);
            let waker = std::task::Waker::noop();
            assert!(third.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
            settle.await;
            let third = third.await.expect("20 + 40 + 40 are within 100");
            drop(second);
            third.pay(None);
            assert_eq!(ledger.paid(), tokens(50, 10));
            assert_eq!(ledger.hold(tokens(41, 0)).await.map(drop), Err(Spent));
            assert!(ledger.hold(tokens(40, 0)).await.is_ok());
        });
    }

    #[test]
    fn money_is_counted_by_its_prices() {
        let prices = Prices { input: 2.0, output: 10.0 };
        assert_eq!(prices.cost(tokens(1_000_000, 500_000)), 7.0);
        let ledger = Ledger::new(Some(Budget::Money(0.001)), prices);
        pollster::block_on(async {
            assert_eq!(ledger.hold(tokens(0, 101)).await.map(drop), Err(Spent));
            ledger.hold(tokens(0, 100)).await.expect("just so").pay(None);
        });
        assert_eq!(ledger.to_string(), "1 requests, 0 tokens in, 100 out, cost 0.0010");
    }
}
