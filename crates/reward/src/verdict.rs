//! What a verification says: accept, reject or unsure, a score, and how it was found.
//!
//! The three values are not a matter of confidence. `Accept` and `Reject` are final: a rule decided, and no judge is
//! asked. `Unsure` means that no rule could decide; only then may a judge be heard.

use serde::Serialize;

use crate::judge::Opinion;

/// The three answers of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// The response equals the truth under the row's kind and options.
    Accept,
    /// The response is wrong, empty, or not in the form that earns.
    Reject,
    /// No rule decides; a judge may.
    Unsure,
}

/// Which rule decided, from the cheapest to the dearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The response could not be read, so nothing was compared.
    Extraction,
    /// The rules of a kind other than mathematics.
    Rule,
    /// Both sides are the same characters.
    Identical,
    /// Both sides have the same normal form, or polynomial normal forms that differ.
    Normal,
    /// Two rational numbers compared exactly.
    Exact,
    /// A written decimal compared by the digits it shows.
    Decimal,
    /// Rational functions evaluated modulo two 61-bit primes.
    Modular,
    /// Ball arithmetic in 53 bits at points seeded by the truth.
    Ball,
    /// Ball arithmetic in 192 or 512 bits.
    Big,
    /// Truth values of conditions at their boundaries and between them.
    Sampled,
    /// Words compared as words.
    Words,
    /// What is refused before a judge sees it.
    Filter,
    /// Left to a judge, or decided by one.
    Judge,
    /// A person's label.
    Person,
}

/// Why, in one of a closed list of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Equal under the kind's rule.
    Equal,
    /// Proved different.
    Different,
    /// The score reaches the threshold.
    AboveThreshold,
    /// The score stays below the threshold.
    BelowThreshold,
    /// Nothing was answered.
    Empty,
    /// `<think>` was opened and never closed.
    Unfinished,
    /// The form that earns (tag or box) is missing.
    NoAnswer,
    /// More than one `<answer>`.
    ManyAnswers,
    /// A tag or box is opened and never closed.
    Unclosed,
    /// Several values where one is asked for.
    Several,
    /// The answer cannot be read as the kind asks.
    Unreadable,
    /// The two sides are of different types (a number and an interval, say).
    OtherType,
    /// Same number, other unit.
    OtherUnit,
    /// A unit is missing where `units` is `required`.
    UnitMissing,
    /// A limit on size, nesting or fuel was reached.
    Limit,
    /// The numbers agree to every digit computed, which is no proof.
    Precision,
    /// Something no rule evaluates (a limit, an integral, an unknown function).
    Opaque,
    /// Free text: the kind is meant for a judge.
    ForJudge,
    /// The tags do not have the asked form.
    BadFormat,
    /// Declines to answer, or leaves itself a way out.
    Hedge,
    /// Gives the question back.
    Echo,
    /// Speaks to a judge, or is an opening that fools one.
    ForTheJudge,
    /// Tags, fences, invisible characters, or mostly signs.
    Markup,
    /// Says a few words over and over.
    Loop,
    /// Far longer than the truth.
    TooLong,
    /// A judge accepts.
    JudgedRight,
    /// A judge rejects.
    JudgedWrong,
    /// A person decided.
    Labelled,
}

/// The outcome of one verification. Identical bit for bit on every target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Accept, reject or unsure.
    pub verdict: Decision,
    /// In [0, 1]. Graded kinds give their measure, others 1 or 0; unsure is 0.
    pub score: f64,
    /// Why.
    pub reason: Reason,
    /// Which rule decided.
    pub tier: Tier,
    /// The truth as the rule understood it.
    pub gold_normal: String,
    /// The answer as the rule understood it.
    pub pred_normal: String,
    /// Bytes `[start, end)` of the response that were read as the answer.
    pub span: Option<[usize; 2]>,
    /// Steps spent; never above [`crate::FUEL`].
    pub fuel: u32,
}

impl Verdict {
    fn new(verdict: Decision, score: f64, reason: Reason, tier: Tier) -> Self {
        Self {
            verdict,
            score: if score.is_finite() { score.clamp(0.0, 1.0) } else { 0.0 },
            reason,
            tier,
            gold_normal: String::new(),
            pred_normal: String::new(),
            span: None,
            fuel: 0,
        }
    }

    pub(crate) fn accept(tier: Tier) -> Self {
        Self::new(Decision::Accept, 1.0, Reason::Equal, tier)
    }

    pub(crate) fn reject(reason: Reason, tier: Tier) -> Self {
        Self::new(Decision::Reject, 0.0, reason, tier)
    }

    pub(crate) fn unsure(reason: Reason, tier: Tier) -> Self {
        Self::new(Decision::Unsure, 0.0, reason, tier)
    }

    /// Accept or reject by equality.
    pub(crate) fn of(equal: bool, tier: Tier) -> Self {
        if equal { Self::accept(tier) } else { Self::reject(Reason::Different, tier) }
    }

    /// A graded kind: `score` in [0, 1], accepted by `passes`.
    pub(crate) fn graded(score: f64, passes: bool) -> Self {
        match passes {
            true => Self::new(Decision::Accept, score, Reason::AboveThreshold, Tier::Rule),
            false => Self::new(Decision::Reject, score, Reason::BelowThreshold, Tier::Rule),
        }
    }

    pub(crate) fn with(mut self, gold: impl Into<String>, pred: impl Into<String>) -> Self {
        self.gold_normal = gold.into();
        self.pred_normal = pred.into();
        self
    }

    pub(crate) fn at(mut self, span: (usize, usize)) -> Self {
        self.span = Some([span.0, span.1]);
        self
    }

    /// Refused before a judge sees it, for a reason of [`crate::judge::Route::Refused`].
    pub fn refused(self, reason: Reason) -> Self {
        self.decided(Decision::Reject, 0.0, reason, Tier::Filter)
    }

    /// Decided by a judge: accepted from `threshold` on, worth at most `cap`.
    pub fn judged(self, opinion: &Opinion, threshold: f64, cap: f64) -> Self {
        let accepted = opinion.score > 0.0 && opinion.score >= threshold;
        let (verdict, reason) = match accepted {
            true => (Decision::Accept, Reason::JudgedRight),
            false => (Decision::Reject, Reason::JudgedWrong),
        };
        self.decided(verdict, cap * opinion.score, reason, Tier::Judge)
    }

    /// Decided by a person, who needs no cap.
    pub fn labelled(self, accepted: bool) -> Self {
        let verdict = if accepted { Decision::Accept } else { Decision::Reject };
        self.decided(verdict, f64::from(accepted), Reason::Labelled, Tier::Person)
    }

    /// Another decision on what was read already.
    fn decided(self, verdict: Decision, score: f64, reason: Reason, tier: Tier) -> Self {
        let Self { gold_normal, pred_normal, span, fuel, .. } = self;
        Self { gold_normal, pred_normal, span, fuel, ..Self::new(verdict, score, reason, tier) }
    }

    /// Whether it is an accept.
    pub fn accepted(&self) -> bool {
        self.verdict == Decision::Accept
    }
}
