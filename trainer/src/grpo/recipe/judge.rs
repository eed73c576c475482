//! The recipe's judge: who decides where no rule does, and what that may cost.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::judge::budget::{Budget, Prices};
use crate::train::recipe::{positive, within};

/// Who decides where no rule does: a server, or a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// Base URL of a server that speaks OpenAI's protocol, up to and including /v1.
    pub server: Option<String>,
    /// The judge's name there.
    pub model: Option<String>,
    /// The variable that holds the server's key; OPENAI_API_KEY over https, none over plain http when left out.
    pub key_env: Option<String>,
    /// A checkpoint's folder in place of a server.
    pub local: Option<PathBuf>,
    /// Seconds one request may take.
    #[serde(default = "a_minute")]
    pub timeout: f64,
    /// Requests at once, at most.
    #[serde(default = "sixteen")]
    pub concurrency: usize,
    /// Whether the judge is shown the pictures.
    #[serde(default)]
    pub pictures: bool,
    /// Seconds a step waits for a judge that is down before the run saves and ends.
    #[serde(default = "an_hour")]
    pub patience: f64,
    /// Price of a million tokens of prompts, in any currency.
    #[serde(default)]
    pub price_in: f64,
    /// Price of a million tokens of replies.
    #[serde(default)]
    pub price_out: f64,
    /// What the whole run may pay for, every resumption included: tokens, as in "200000tokens", or money in the currency of
    /// the prices, as in 2.50. At its end the run saves and stops.
    pub budget: Option<Budget>,
}

fn a_minute() -> f64 {
    60.0
}

fn an_hour() -> f64 {
    3600.0
}

fn sixteen() -> usize {
    16
}

impl Judge {
    pub(super) fn check(&self) -> Result<()> {
        match (&self.server, &self.model, &self.local) {
            (Some(_), Some(_), None) | (None, None, Some(_)) => {}
            (Some(_), None, None) => bail!("judge.model is missing: the judge's name on its server"),
            _ => bail!("[judge] takes either `server` and `model`, or `local`"),
        }
        within("judge.timeout", self.timeout, self.timeout > 0.0, "positive")?;
        within("judge.patience", self.patience, self.patience >= 0.0, "0 or more")?;
        within("judge.price_in", self.price_in, self.price_in >= 0.0, "0 or more")?;
        within("judge.price_out", self.price_out, self.price_out >= 0.0, "0 or more")?;
        match self.budget {
            Some(_) if self.server.is_none() => {
                bail!("judge.budget: a judge at hand costs nothing; leave it out")
            }
            Some(Budget::Money(_)) if self.prices() == Prices::default() => bail!(
                "judge.budget in money needs judge.price_in and judge.price_out; or give it in tokens, as in \"200000tokens\""
            ),
            _ => {}
        }
        positive("judge.concurrency", self.concurrency as u64)
    }

    /// What a million tokens cost.
    pub fn prices(&self) -> Prices {
        Prices { input: self.price_in, output: self.price_out }
    }
}
