//! Signs that a run has gone wrong: it saves and stops, rather than spend days on nothing.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::line::Line;
use crate::train::recipe::within;

/// Limits; a run stops beyond any of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alarms {
    /// Most that the mean of `|log p_rollout − log p_train|` may be: sampling and training compute two policies.
    pub mismatch_mean: f64,
    /// The same for the worst token.
    pub mismatch_max: f64,
    /// Most that a ratio may be off 1 in the first of several updates, when no weight has moved.
    pub first_ratio: f64,
    /// Least that the entropy may be: nothing is tried any more.
    pub entropy: f64,
    /// Most that the divergence from the reference, or from the policy that sampled, may be.
    pub kl: f64,
}

impl Default for Alarms {
    fn default() -> Self {
        Self { mismatch_mean: 0.05, mismatch_max: 3.0, first_ratio: 1e-3, entropy: 1e-4, kl: 10.0 }
    }
}

impl Alarms {
    pub(super) fn check(&self) -> Result<()> {
        for (field, value) in [
            ("alarms.mismatch_mean", self.mismatch_mean),
            ("alarms.mismatch_max", self.mismatch_max),
            ("alarms.first_ratio", self.first_ratio),
            ("alarms.kl", self.kl),
        ] {
            within(field, value, value > 0.0, "positive")?;
        }
        within("alarms.entropy", self.entropy, self.entropy >= 0.0, "0 or more")
    }

    /// What is wrong with a step, if anything. A figure that is no number is not within its limit.
    pub fn sound(&self, line: &Line) -> Option<String> {
        let beyond = |name: &str, value: Option<f64>, limit: f64, key: &str| {
            let value = value.filter(|value| value.is_nan() || *value > limit)?;
            Some(format!("{name} is {value:.3e}, beyond alarms.{key}, {limit:e}"))
        };
        let rollouts = "between the rollouts' log-probabilities and the training path's";
        let trained = line.trained > 0;
        beyond(
            &format!("the mean difference {rollouts}"),
            line.mismatch_mean,
            self.mismatch_mean,
            "mismatch_mean",
        )
        .or_else(|| {
            let what = format!("the largest difference {rollouts}");
            beyond(&what, line.mismatch_max, self.mismatch_max, "mismatch_max")
        })
        .or_else(|| {
            beyond(
                "a ratio's distance from 1 before any update",
                line.first_ratio,
                self.first_ratio,
                "first_ratio",
            )
        })
        .or_else(|| beyond("the divergence from the reference", line.kl_reference, self.kl, "kl"))
        .or_else(|| beyond("the divergence from the policy that sampled", Some(line.kl_old), self.kl, "kl"))
        .or_else(|| {
            let low = trained && line.entropy < self.entropy;
            low.then(|| {
                format!("the entropy is {:.3e}, below alarms.entropy, {:e}", line.entropy, self.entropy)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_raises_its_own_alarm() {
        let alarms = Alarms::default();
        let sound = Line { trained: 4, entropy: 1.0, ..Line::default() };
        assert_eq!(alarms.sound(&sound), None);
        for (line, key) in [
            (Line { mismatch_mean: Some(0.06), ..sound.clone() }, "alarms.mismatch_mean"),
            (Line { mismatch_max: Some(f64::NAN), ..sound.clone() }, "alarms.mismatch_max"),
            (Line { first_ratio: Some(0.01), ..sound.clone() }, "alarms.first_ratio"),
            (Line { kl_reference: Some(11.0), ..sound.clone() }, "alarms.kl"),
            (Line { kl_old: 11.0, ..sound.clone() }, "alarms.kl"),
            (Line { entropy: 1e-5, ..sound.clone() }, "alarms.entropy"),
        ] {
            let alarm = alarms.sound(&line).expect(key);
            assert!(alarm.contains(key), "{alarm}");
        }
        // A step that trained on nothing has no entropy to speak of.
        assert_eq!(alarms.sound(&Line { trained: 0, entropy: 0.0, ..sound }), None);
    }
}
