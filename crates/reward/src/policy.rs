//! From a verdict to a reward: weights, format, length and repetition.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::kinds::format::has_wethink_form;
use crate::record::{Record, TruthError};
use crate::verdict::{Decision, Reason, Verdict};
use crate::verify;

/// DAPO's soft overlong punishment (Yu et al., 2025, eq. 13): 0 up to `limit − margin` tokens, −1 from `limit` on, linear
/// between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlong {
    /// Tokens from which the penalty is full.
    pub limit: usize,
    /// Tokens before that over which it grows.
    pub margin: usize,
    /// Multiplies the penalty.
    pub weight: f64,
}

/// Penalty for repeated word n-grams: (1 − distinct / all) · `weight`, as in TRL and open-r1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repetition {
    /// Words of an n-gram.
    pub n: usize,
    /// The penalty of a text that repeats a single n-gram.
    pub weight: f64,
}

/// How parts make a reward. The default is WeThink's: 0.7 · accuracy + 0.3 · format.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Weight of the verdict's score.
    pub accuracy: f64,
    /// Weight of the form `<think>…</think><answer>…</answer>`.
    pub format: f64,
    /// Format earns only where the answer is accepted, so that form alone is worth nothing.
    pub format_only_when_right: bool,
    /// Most that an accept by a judge is worth, in [0, 1]: below 1, so that an answer a rule can check is never worse.
    pub judge_cap: f64,
    /// Length penalty, if any.
    pub overlong: Option<Overlong>,
    /// Repetition penalty, if any.
    pub repetition: Option<Repetition>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            accuracy: 0.7,
            format: 0.3,
            format_only_when_right: false,
            judge_cap: 0.8,
            overlong: None,
            repetition: None,
        }
    }
}

/// A reward and its parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The weighted sum; `None` where the rule is unsure and a judge must be heard.
    pub reward: Option<f64>,
    /// The verdict's score.
    pub accuracy: f64,
    /// 1 if the response has the form, else 0.
    pub format: f64,
    /// Length penalty, ≤ 0.
    pub overlong: f64,
    /// Repetition penalty, ≤ 0.
    pub repetition: f64,
    /// The verdict the accuracy comes from.
    pub verdict: Verdict,
}

/// Verifies a row and weighs the parts. `tokens` is the response's length for [`Overlong`]; without it there is no length
/// penalty.
pub fn score(record: &Record, policy: &Policy, tokens: Option<usize>) -> Result<Score, TruthError> {
    let verdict = verify(record)?;
    Ok(weigh(record, policy, tokens, verdict))
}

/// As [`score`], with a verdict that is known: a judge's, or a person's.
pub fn weigh(record: &Record, policy: &Policy, tokens: Option<usize>, verdict: Verdict) -> Score {
    let formed = has_wethink_form(&record.pred);
    let earns = formed && !(policy.format_only_when_right && verdict.verdict != Decision::Accept);
    let format = f64::from(earns);
    let overlong = match (policy.overlong, tokens) {
        (Some(rule), Some(tokens)) => rule.weight * overlong(tokens, rule.limit, rule.margin),
        _ => 0.0,
    };
    let repetition = policy.repetition.map_or(0.0, |rule| -rule.weight * repeated(&record.pred, rule.n));
    let sum = policy.accuracy * verdict.score + policy.format * format + overlong + repetition;
    // An empty or unfinished answer is decided; only a judge's case has no reward yet.
    let reward = (verdict.verdict != Decision::Unsure || verdict.reason == Reason::Empty).then_some(sum);
    Score { reward, accuracy: verdict.score, format, overlong, repetition, verdict }
}

/// In [−1, 0].
fn overlong(tokens: usize, limit: usize, margin: usize) -> f64 {
    let free = limit.saturating_sub(margin);
    match tokens {
        t if t <= free => 0.0,
        t if t >= limit => -1.0,
        t => (free as f64 - t as f64) / margin as f64,
    }
}

/// Share of word n-grams that are repetitions, in [0, 1). Texts shorter than one n-gram repeat nothing.
fn repeated(text: &str, n: usize) -> f64 {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    if n == 0 || words.len() < n {
        return 0.0;
    }
    let distinct: HashSet<&[String]> = words.windows(n).collect();
    1.0 - distinct.len() as f64 / (words.len() + 1 - n) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn scored(pred: &str, policy: &Policy, tokens: Option<usize>) -> Score {
        score(&Record::new(Kind::Number, "42", pred), policy, tokens).unwrap()
    }

    #[test]
    fn parts_are_weighed() {
        let right = "<think>six by seven</think><answer>42</answer>";
        let wrong = "<think>six by seven</think><answer>41</answer>";
        let close =
            |score: Score, want: f64| assert!((score.reward.unwrap() - want).abs() < 1e-12, "{score:?}");
        let default = Policy::default();
        close(scored(right, &default, None), 1.0);
        close(scored(wrong, &default, None), 0.3);
        close(scored("42", &default, None), 0.7);
        let strict = Policy { format_only_when_right: true, ..default };
        close(scored(wrong, &strict, None), 0.0);
        close(scored("<think></think><answer>42</answer>", &default, None), 0.7);
        let long = Policy { overlong: Some(Overlong { limit: 100, margin: 20, weight: 1.0 }), ..default };
        close(scored(right, &long, Some(80)), 1.0);
        close(scored(right, &long, Some(90)), 0.5);
        close(scored(right, &long, Some(200)), 0.0);
        let fresh = Policy { repetition: Some(Repetition { n: 2, weight: 1.0 }), ..default };
        // "a b" four times among seven pairs: two distinct.
        close(scored("<think>a b a b a b a b</think>", &fresh, None), -(1.0 - 4.0 / 7.0));
    }

    #[test]
    fn unsure_has_no_reward() {
        let row = Record::new(Kind::Open, "a cat on a mat", "<answer>a cat</answer>");
        assert_eq!(score(&row, &Policy::default(), None).unwrap().reward, None);
    }
}
