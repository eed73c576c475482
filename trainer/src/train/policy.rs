//! Losses of group-relative policy optimisation, as functions of the log-probabilities of what was sampled.
//!
//! ```text
//! loss = Σ_t w_t ( L(r_t, A) + kl_weight · KL_t − entropy_weight · H_t ),   r = exp(log p_new − log p_old)
//! ```
//!
//! The weights w come from the totals of the **whole** batch of an update, so that parts of it add up to the same loss and the
//! same gradient however it is split. Tokens stand one response after another, N in all; which response a token belongs to
//! comes from lengths, never from its value.

mod figures;

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

pub use figures::Figures;

/// What is made of ratio and advantage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// PPO's clipped ratio of each token (Schulman et al., arXiv 1707.06347), with the dual clip of Ye et al. (arXiv
    /// 1912.09729): `−A r` where `r` is kept below `1 + clip_high` for A ≥ 0, and within `1 − clip_low` and `clip_dual` for A < 0.
    #[default]
    Clip,
    /// The same with the geometric mean of the ratios of a response in place of each: GSPO (Zheng et al., arXiv 2507.18071).
    Gspo,
    /// GSPO whose gradient goes through each token alone.
    GspoToken,
    /// `−A log p · sg(r)`, r within `1 − clip_low` and `1 + clip_high`: CISPO (MiniMax-M1, arXiv 2506.13585). Clipped tokens keep a
    /// gradient.
    Cispo,
    /// `−A · 4/τ · σ(τ (r − 1))`, τ by the sign of A: SAPO (arXiv 2511.20347), a soft gate in place of the clip.
    Sapo,
}

/// How tokens are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Average {
    /// All tokens of the batch alike: DAPO (arXiv 2503.14476), EasyR1's `token`, TRL's `bnpo` and `dapo`.
    #[default]
    Token,
    /// The mean over responses of their means: GRPO, EasyR1's `seq`. A token of a long response counts less.
    Sequence,
    /// The mean over responses of their sums.
    SequenceSum,
    /// The sum over tokens by responses times the longest response allowed: Dr.GRPO (arXiv 2503.20783).
    Fixed,
}

/// How far the policy is from its reference, by `d = log p − log p_ref` (Schulman, "Approximating KL Divergence").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kl {
    /// `d`. In a loss its gradient is 0 in expectation: a figure to look at.
    Kl,
    /// `|d|`.
    Abs,
    /// `d² / 2`, whose gradient is that of the divergence.
    Mse,
    /// `exp(−d) − 1 + d` with d within ±20 and the whole within ±10: EasyR1's, and its default.
    #[default]
    LowVarKl,
    /// The same without bounds: TRL's.
    K3,
}

/// A loss with its settings; the defaults are EasyR1's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What is made of ratio and advantage.
    pub objective: Objective,
    /// How tokens are weighed.
    pub average: Average,
    /// The ratio is kept above 1 less this.
    pub clip_low: f64,
    /// The ratio is kept below 1 and this.
    pub clip_high: f64,
    /// Where A < 0 the ratio is kept below this; `inf` leaves it free.
    pub clip_dual: f64,
    /// SAPO's τ where A ≥ 0.
    pub tau_positive: f64,
    /// SAPO's τ where A < 0.
    pub tau_negative: f64,
    /// Logarithms of ratios are kept within ± this; `inf` leaves them free.
    pub log_ratio_limit: f64,
    /// How far the policy is from its reference.
    pub kl: Kl,
    /// Weight of that in the loss; 0 needs no reference.
    pub kl_weight: f64,
    /// Weight of the entropy bonus.
    pub entropy_weight: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            objective: Objective::Clip,
            average: Average::Token,
            clip_low: 0.2,
            clip_high: 0.3,
            clip_dual: 3.0,
            tau_positive: 1.0,
            tau_negative: 1.05,
            log_ratio_limit: 20.0,
            kl: Kl::LowVarKl,
            kl_weight: 1e-2,
            entropy_weight: 0.0,
        }
    }
}

/// What the weights of tokens need of the whole batch of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Responses, those without a token included.
    pub rows: usize,
    /// Tokens.
    pub tokens: usize,
    /// The longest response allowed.
    pub longest: usize,
}

/// A part of the batch: R responses of N tokens together.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// `[R]`, tokens of each response.
    pub lengths: &'a [usize],
    /// `[R]`.
    pub advantages: &'a [f64],
    /// `[N]`, log-probabilities under the policy that sampled, computed by the training path. `None` where that is the policy
    /// itself, in the first update after sampling: then every ratio is 1 exactly.
    pub old: Option<Tensor<1>>,
    /// `[N]`, log-probabilities under the reference.
    pub reference: Option<Tensor<1>>,
}

/// The loss of a part, `[1]`; `logprobs` is `[N]`. Parts add up to the loss of the batch.
pub fn loss(logprobs: Tensor<1>, part: &Part, totals: Totals, policy: &Policy) -> Tensor<1> {
    let device = logprobs.device().without_autodiff();
    let rows = rows_of_tokens(part.lengths);
    let of_rows = |value: &dyn Fn(usize) -> f64| constant(rows.iter().map(|&row| value(row)), &device);
    let advantages = of_rows(&|row| part.advantages[row]);
    let mut terms = objective(logprobs.clone(), &rows, part, advantages, policy);
    if let Some(reference) = part.reference.clone().filter(|_| policy.kl_weight != 0.0) {
        terms = terms + kl(logprobs.clone(), reference, policy.kl).mul_scalar(policy.kl_weight);
    }
    if policy.entropy_weight != 0.0 {
        terms = terms + entropy_bonus(logprobs).mul_scalar(policy.entropy_weight);
    }
    (terms * of_rows(&|row| weight(part.lengths[row], totals, policy.average))).sum()
}

/// What a token of a response counts.
fn weight(length: usize, totals: Totals, average: Average) -> f64 {
    let Totals { rows, tokens, longest } = totals;
    1.0 / match average {
        Average::Token => tokens as f64,
        Average::Sequence => (length * rows) as f64,
        Average::SequenceSum => rows as f64,
        Average::Fixed => (rows * longest) as f64,
    }
}

/// The response of every token.
fn rows_of_tokens(lengths: &[usize]) -> Vec<usize> {
    lengths.iter().enumerate().flat_map(|(row, &length)| std::iter::repeat_n(row, length)).collect()
}

fn constant(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// The objective's term of every token, `[N]`.
fn objective(
    logprobs: Tensor<1>,
    rows: &[usize],
    part: &Part,
    advantages: Tensor<1>,
    policy: &Policy,
) -> Tensor<1> {
    let device = advantages.device();
    let old = part.old.clone().unwrap_or_else(|| logprobs.clone().detach());
    let mut log_ratio = logprobs.clone() - old;
    if matches!(policy.objective, Objective::Gspo | Objective::GspoToken) {
        let mean = mean_of_rows(log_ratio, rows, part.lengths);
        log_ratio = match policy.objective {
            Objective::Gspo => mean,
            _ => mean.detach() + (logprobs.clone() - logprobs.clone().detach()),
        };
    }
    if policy.log_ratio_limit.is_finite() {
        log_ratio = log_ratio.clamp(-policy.log_ratio_limit, policy.log_ratio_limit);
    }
    let ratio = log_ratio.exp();
    let by_sign = |positive: f64, negative: f64| {
        let value = |&row: &usize| if part.advantages[row] >= 0.0 { positive } else { negative };
        constant(rows.iter().map(value), &device)
    };
    let (low, high) = (1.0 - policy.clip_low, 1.0 + policy.clip_high);
    let gain = match policy.objective {
        Objective::Clip | Objective::Gspo | Objective::GspoToken => {
            within(ratio, by_sign(f64::NEG_INFINITY, low), by_sign(high, policy.clip_dual))
        }
        Objective::Cispo => ratio.detach().clamp(low, high) * logprobs,
        Objective::Sapo => {
            let tau = by_sign(policy.tau_positive, policy.tau_negative);
            let gate = burn::tensor::activation::sigmoid((ratio - 1.0) * tau.clone());
            gate.mul_scalar(4.0) / tau
        }
    };
    (gain * advantages).neg()
}

/// Values between bounds of their own; no gradient goes through one that is bounded.
fn within(x: Tensor<1>, low: Tensor<1>, high: Tensor<1>) -> Tensor<1> {
    let (below, above) = (x.clone().lower(low.clone()), x.clone().greater(high.clone()));
    x.mask_where(below, low).mask_where(above, high)
}

/// The mean over each response, at every one of its tokens, `[N]`.
fn mean_of_rows(x: Tensor<1>, rows: &[usize], lengths: &[usize]) -> Tensor<1> {
    let device = x.device().without_autodiff();
    let (tokens, count) = (rows.len(), lengths.len());
    let mut share = vec![0f32; tokens * count];
    for (token, &row) in rows.iter().enumerate() {
        share[token * count + row] = 1.0 / lengths[row] as f32;
    }
    let share = Tensor::<2>::from_data(TensorData::new(share, [tokens, count]), &device);
    let places: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [tokens]), &device);
    x.reshape([1, tokens]).matmul(share).reshape([count]).select(0, places)
}

/// How far each token's log-probability is from the reference's, `[N]`.
pub fn kl(logprobs: Tensor<1>, reference: Tensor<1>, kind: Kl) -> Tensor<1> {
    let difference = logprobs - reference;
    let k3 = |d: Tensor<1>| d.clone().neg().exp() - 1.0 + d;
    match kind {
        Kl::Kl => difference,
        Kl::Abs => difference.abs(),
        Kl::Mse => difference.square().mul_scalar(0.5),
        Kl::LowVarKl => k3(difference.clamp(-20.0, 20.0)).clamp(-10.0, 10.0),
        Kl::K3 => k3(difference),
    }
}

/// `sg(log p) · log p` of what was sampled, `[N]`: its gradient is, in expectation over the policy's own samples, the negative of the
/// entropy's, `∇H = −E[log p ∇ log p]`. So it needs no record of the whole vocabulary, the largest tensor of a pass.
fn entropy_bonus(logprobs: Tensor<1>) -> Tensor<1> {
    logprobs.clone().detach() * logprobs
}

#[cfg(test)]
mod tests;
