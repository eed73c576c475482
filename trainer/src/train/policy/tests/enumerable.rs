//! Policies small enough to know everything of: exact gradients, and what is learned from which rewards.

use burn::tensor::activation::log_softmax;

use super::*;
use crate::train::adamw::{Rate, Settings, update};
use crate::train::advantage::{Estimator, advantages};
use wethink_model::uniform;

/// What every outcome of two tokens over two choices is worth; the second choice depends on the first.
const WORTH: [f64; 4] = [0.3, -1.0, 2.0, 0.5];
const START: [f32; 6] = [0.2, -0.4, 0.9, 0.1, -0.6, 0.3];

/// Log-probabilities of an outcome's two tokens.
fn logprobs(theta: &Tensor<1>, outcome: usize) -> Tensor<1> {
    let (first, second) = (outcome / 2, outcome % 2);
    let choice = |from: usize, taken: usize| {
        log_softmax(theta.clone().slice(from..from + 2), 0).slice(taken..taken + 1)
    };
    Tensor::cat(vec![choice(0, first), choice(2 + 2 * first, second)], 0)
}

fn probability(theta: &[f32], outcome: usize) -> f64 {
    let theta = Tensor::<1>::from_floats(theta, &Device::flex());
    values(logprobs(&theta, outcome)).iter().sum::<f64>().exp()
}

/// The gradient by `theta` of the expectation, over the policy's own outcomes, of a loss.
fn expected(theta: &[f32], of: impl Fn(Tensor<1>, usize) -> Tensor<1>) -> Vec<f64> {
    let mut sum = vec![0.0; theta.len()];
    for outcome in 0..4 {
        let leaf = Tensor::<1>::from_floats(theta, &Device::flex()).autodiff().require_grad();
        let mut all = of(logprobs(&leaf, outcome), outcome).backward();
        let gradient = values(leaf.grad_remove(&mut all).expect("a leaf"));
        for (sum, slope) in sum.iter_mut().zip(gradient) {
            *sum += probability(theta, outcome) * slope;
        }
    }
    sum
}

/// Finite differences of a function of the four probabilities.
fn exact(theta: &[f32], of: impl Fn([f64; 4]) -> f64) -> Vec<f64> {
    let at = |theta: &[f32]| of(std::array::from_fn(|outcome| probability(theta, outcome)));
    let slope = |place: usize| {
        let moved = |by: f32| {
            let mut theta = theta.to_vec();
            theta[place] += by;
            at(&theta)
        };
        (moved(0.01) - moved(-0.01)) / 0.02
    };
    (0..theta.len()).map(slope).collect()
}

fn assert_near(what: &str, got: &[f64], want: &[f64]) {
    let off = got.iter().zip(want).fold(0f64, |off, (a, b)| off.max((a - b).abs()));
    assert!(off < 2e-4, "{what}: {got:?}, expected {want:?}");
    assert!(want.iter().any(|slope| slope.abs() > 1e-2), "{what}: a gradient that is none proves nothing");
}

fn whole(logprobs: Tensor<1>, advantage: f64, policy: &Policy) -> Tensor<1> {
    let part = Part { lengths: &[2], advantages: &[advantage], old: None, reference: None };
    loss(logprobs, &part, Totals { rows: 1, tokens: 2, longest: 1 }, policy)
}

#[test]
fn the_expected_gradient_is_that_of_the_expected_reward() {
    let worth = |p: [f64; 4]| p.iter().zip(WORTH).map(|(p, worth)| p * worth).sum::<f64>();
    let want: Vec<f64> = exact(&START, worth).into_iter().map(|slope| -slope).collect();
    for average in [Average::SequenceSum, Average::Fixed] {
        for objective in [Objective::Clip, Objective::Cispo] {
            let policy = Policy { average, objective, ..PLAIN };
            let got = expected(&START, |logprobs, outcome| whole(logprobs, WORTH[outcome], &policy));
            assert_near(&format!("{objective:?}, {average:?}"), &got, &want);
            // A baseline that does not depend on the outcome changes nothing in expectation.
            let got = expected(&START, |logprobs, outcome| whole(logprobs, WORTH[outcome] - 0.7, &policy));
            assert_near("with a baseline", &got, &want);
        }
    }
}

/// In the loss, d² / 2 has the gradient of KL(π ‖ π_ref); k3 that of KL(π_ref ‖ π), which is another regulariser.
#[test]
fn each_divergences_expected_gradient_is_known() {
    let apart = [-0.5f32, 0.1, 0.3, 0.2, 0.4, -0.2];
    let reference: [f64; 4] = std::array::from_fn(|outcome| probability(&apart, outcome));
    let far = Tensor::<1>::from_floats(apart, &Device::flex());
    let of = |kind: Kl| {
        // The divergence of whole outcomes: their log-probabilities, summed.
        expected(&START, |logprobs, outcome| kl(logprobs.sum(), self::logprobs(&far, outcome).sum(), kind))
    };
    let forward = exact(&START, |p| p.iter().zip(reference).map(|(p, q)| p * (p / q).ln()).sum());
    let backward = exact(&START, |p| p.iter().zip(reference).map(|(p, q)| q * (q / p).ln()).sum());
    assert_near("d² / 2", &of(Kl::Mse), &forward);
    assert_near("k3", &of(Kl::K3), &backward);
    assert!(of(Kl::Kl).iter().all(|slope| slope.abs() < 1e-6), "d alone pulls nowhere");
}

const SETTINGS: Settings = Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8 };

/// Trains logits `[contexts, actions]` by groups of eight; `reward` is told context, action and a draw.
fn learn(
    mut logits: Vec<f32>,
    actions: usize,
    steps: u32,
    contexts: &[usize],
    shared: bool,
    reward: impl Fn(usize, usize, f64) -> f64,
) -> Vec<f32> {
    const GROUP: u32 = 8;
    let mut moments = None;
    for step in 0..steps {
        let leaf = Tensor::<1>::from_floats(logits.as_slice(), &Device::flex()).autodiff().require_grad();
        let (mut sampled, mut rewards) = (Vec::new(), Vec::new());
        for &context in contexts {
            let from = if shared { 0 } else { context * actions };
            let logp = log_softmax(leaf.clone().slice(from..from + actions), 0);
            let p: Vec<f64> = values(logp.clone()).into_iter().map(f64::exp).collect();
            for sample in 0..GROUP {
                let mut draw = uniform(5, step, context as u32, sample, 0);
                let action = p.iter().position(|p| {
                    draw -= p;
                    draw < 0.0
                });
                let action = action.unwrap_or(actions - 1);
                sampled.push(logp.clone().slice(action..action + 1));
                rewards.push(Some(reward(context, action, uniform(5, step, context as u32, sample, 1))));
            }
        }
        let advantages: Vec<f64> =
            advantages(Estimator::Grpo, &rewards, GROUP as usize).into_iter().flatten().collect();
        let lengths = vec![1; advantages.len()];
        let part = Part { lengths: &lengths, advantages: &advantages, old: None, reference: None };
        let totals = Totals { rows: lengths.len(), tokens: lengths.len(), longest: 1 };
        let loss = loss(Tensor::cat(sampled, 0), &part, totals, &PLAIN);
        let gradient = leaf.grad_remove(&mut loss.backward()).expect("a leaf");
        let rate = Rate { learning_rate: 0.05, weight_decay: 0.0 };
        let (moved, next) = update(leaf.inner(), gradient, moments, None, rate, SETTINGS);
        moments = Some(next);
        logits = values(moved).into_iter().map(|x| x as f32).collect();
    }
    logits
}

/// A glance is right three times of ten and comes first; counting is right nine times of ten.
#[test]
fn a_policy_of_two_strategies_finds_the_better_one() {
    let start = vec![0.6f32.ln(), 0.4f32.ln()];
    let right = [0.3, 0.9];
    let reward = |_, action: usize, draw: f64| f64::from(u8::from(draw < right[action]));
    let logits = learn(start, 2, 60, &[0, 1, 2, 3], true, reward);
    let counts = 1.0 / (1.0 + f64::from(logits[0] - logits[1]).exp());
    assert!(counts > 0.9, "the better strategy is taken with probability {counts}");
}

/// Sixteen questions of four answers. Where rewards have nothing to do with answers, nothing is gained.
#[test]
fn true_rewards_teach_and_shuffled_ones_do_not() {
    let truth = |context: usize| (context * 7 + 3) % 4;
    let contexts: Vec<usize> = (0..16).collect();
    let share = |logits: &[f32]| {
        let right = |context: &usize| {
            let own = &logits[context * 4..context * 4 + 4];
            let total: f64 = own.iter().map(|&x| f64::from(x).exp()).sum();
            f64::from(own[truth(*context)]).exp() / total
        };
        contexts.iter().map(right).sum::<f64>() / 16.0
    };
    let start = vec![0.0; 64];
    let by_truth = |context, action, _| f64::from(u8::from(truth(context) == action));
    let learned = share(&learn(start.clone(), 4, 80, &contexts, false, by_truth));
    assert!(learned > 0.8, "true rewards: {learned}");
    let by_lot = |_, _, draw| f64::from(u8::from(draw < 0.25));
    let drawn = share(&learn(start, 4, 80, &contexts, false, by_lot));
    assert!((drawn - 0.25).abs() < 0.1, "shuffled rewards: {drawn}");
}
