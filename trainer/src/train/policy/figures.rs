//! What an update looks like in numbers, from log-probabilities that were read back.

use super::{Objective, Policy};

/// What an update's ratios look like, summed over parts, in float64.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    tokens: f64,
    clipped: f64,
    dual: f64,
    ratio: f64,
    kl: f64,
    entropy: f64,
    /// The largest `|r − 1|` of a token.
    pub ratio_off_most: f64,
}

impl Figures {
    /// Adds a part: log-probabilities under the new policy and the one that sampled, `[N]` each.
    pub fn add(&mut self, new: &[f32], old: &[f32], lengths: &[usize], advantages: &[f64], policy: &Policy) {
        let mut from = 0;
        let limit = policy.log_ratio_limit;
        for (&length, &advantage) in lengths.iter().zip(advantages) {
            let tokens = from..from + length;
            let log_ratios: Vec<f64> =
                tokens.clone().map(|t| f64::from(new[t]) - f64::from(old[t])).collect();
            let mean = log_ratios.iter().sum::<f64>() / length.max(1) as f64;
            let whole = matches!(policy.objective, Objective::Gspo | Objective::GspoToken);
            for &log_ratio in &log_ratios {
                let of_token = log_ratio.clamp(-limit, limit).exp();
                let ratio = if whole { mean.clamp(-limit, limit).exp() } else { of_token };
                let high = advantage > 0.0 && ratio > 1.0 + policy.clip_high;
                let low = advantage < 0.0 && ratio < 1.0 - policy.clip_low;
                self.clipped += f64::from(high || low);
                self.dual += f64::from(advantage < 0.0 && ratio > policy.clip_dual);
                self.ratio += of_token;
                self.ratio_off_most = self.ratio_off_most.max((of_token - 1.0).abs());
                self.kl -= log_ratio;
            }
            self.entropy -= tokens.map(|t| f64::from(new[t])).sum::<f64>();
            self.tokens += length as f64;
            from += length;
        }
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / self.tokens.max(1.0)
    }

    /// Share of tokens whose ratio is clipped.
    pub fn clipped(&self) -> f64 {
        self.mean(self.clipped)
    }

    /// Share of tokens at the dual clip.
    pub fn dual(&self) -> f64 {
        self.mean(self.dual)
    }

    /// Mean ratio.
    pub fn ratio(&self) -> f64 {
        self.mean(self.ratio)
    }

    /// Mean of `log p_old − log p_new`: how far the policy has moved since it sampled.
    pub fn kl(&self) -> f64 {
        self.mean(self.kl)
    }

    /// Mean of `−log p` of what was sampled, which estimates the entropy.
    pub fn entropy(&self) -> f64 {
        self.mean(self.entropy)
    }
}
