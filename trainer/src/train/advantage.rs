//! Advantages of responses against the others of their group, as pure functions of rewards.
//!
//! A group is G consecutive responses to one prompt. A response without a reward (no rule decided and no judge was heard) is
//! left out of its group's baseline and gets no advantage: it is not trained on, and nothing is made up in its place. A reward
//! that is no number is none.
//! Standard deviations are the unbiased ones (n − 1), as in EasyR1, verl and TRL.

use serde::{Deserialize, Serialize};

/// How a reward becomes an advantage. G responses of a prompt have the rewards R, their mean m and deviation s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// `(R − m) / (s + 1e-6)`: GRPO (Shao et al., arXiv 2402.03300) as in EasyR1 and verl.
    #[default]
    Grpo,
    /// `(R − m) / (s + 1e-4)`: GRPO as in TRL.
    Group,
    /// `(R − m) / (s' + 1e-4)`, s' the deviation of the whole batch: TRL's `scale_rewards = "batch"`.
    Batch,
    /// `R − m`: Dr.GRPO (Liu et al., arXiv 2503.20783), which takes away the weight that easy and hard prompts gain by a small s.
    DrGrpo,
    /// `R` less the mean of the **other** responses: RLOO (Ahmadian et al., arXiv 2402.14740).
    Rloo,
    /// `(R₁ − R₂) / (s + 1e-6)` for the best response, 0 for all others, R₁ and R₂ the two best rewards: GRPO for pass@k
    /// (arXiv 2503.19595) as in EasyR1.
    GrpoPassk,
}

/// What is added to a deviation in EasyR1.
const EASY_R1: f64 = 1e-6;

/// What is added to a deviation in TRL.
const TRL: f64 = 1e-4;

/// Advantages of responses in groups of `size`.
///
/// `None` where there is no reward, and in a group with fewer than two rewards: nothing can be said of one alone. Where all
/// rewards of a group are equal, every advantage is 0, exactly.
///
/// # Panics
///
/// If the rewards are no whole groups of at least two: the recipe's reader refuses such a size.
pub fn advantages(estimator: Estimator, rewards: &[Option<f64>], size: usize) -> Vec<Option<f64>> {
    assert!(size >= 2 && rewards.len().is_multiple_of(size), "{} rewards in groups of {size}", rewards.len());
    let rewards: Vec<Option<f64>> = rewards.iter().map(|reward| number(*reward)).collect();
    let batch = spread(&rewards.iter().flatten().copied().collect::<Vec<_>>());
    rewards.chunks(size).flat_map(|group| of_group(estimator, group, batch)).collect()
}

/// Whether a group's rewards differ: without that it says nothing about what to do better.
pub fn has_signal(group: &[Option<f64>]) -> bool {
    let mut rewards = group.iter().filter_map(|reward| number(*reward));
    rewards.next().is_some_and(|first| rewards.any(|reward| reward != first))
}

/// A reward that can be reckoned with.
fn number(reward: Option<f64>) -> Option<f64> {
    reward.filter(|reward| reward.is_finite())
}

fn of_group(estimator: Estimator, group: &[Option<f64>], batch: f64) -> Vec<Option<f64>> {
    let rewards: Vec<f64> = group.iter().flatten().copied().collect();
    if rewards.len() < 2 {
        return vec![None; group.len()];
    }
    if !has_signal(group) {
        return group.iter().map(|reward| reward.map(|_| 0.0)).collect();
    }
    let count = rewards.len() as f64;
    let sum: f64 = rewards.iter().sum();
    let (mean, deviation) = (sum / count, spread(&rewards));
    let mut sorted = rewards;
    sorted.sort_by(|a, b| b.total_cmp(a));
    let best = group.iter().position(|reward| *reward == Some(sorted[0]));
    let advantage = |(place, reward): (usize, &Option<f64>)| {
        reward.map(|reward| match estimator {
            Estimator::Grpo => (reward - mean) / (deviation + EASY_R1),
            Estimator::Group => (reward - mean) / (deviation + TRL),
            Estimator::Batch => (reward - mean) / (batch + TRL),
            Estimator::DrGrpo => reward - mean,
            Estimator::Rloo => reward - (sum - reward) / (count - 1.0),
            Estimator::GrpoPassk if best == Some(place) => (sorted[0] - sorted[1]) / (deviation + EASY_R1),
            Estimator::GrpoPassk => 0.0,
        })
    };
    group.iter().enumerate().map(advantage).collect()
}

/// The unbiased standard deviation; 0 of fewer than two values.
pub fn spread(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Estimator::*;

    fn of(estimator: Estimator, rewards: &[f64], size: usize) -> Vec<f64> {
        let rewards: Vec<_> = rewards.iter().copied().map(Some).collect();
        advantages(estimator, &rewards, size).into_iter().map(|a| a.expect("a reward")).collect()
    }

    /// Two hits among eight, by the formulas of TRL 1.x, verl and EasyR1.
    #[test]
    fn two_hits_among_eight_have_the_published_advantages() {
        let rewards = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        for (estimator, hit, miss) in [
            (Group, 1.619_835_3, -0.539_945_1),
            (Grpo, 1.620_181_7, -0.540_060_6),
            (DrGrpo, 0.75, -0.25),
            (Rloo, 0.857_142_9, -0.285_714_3),
            // One batch of one group: its deviation is the group's.
            (Batch, 1.619_835_3, -0.539_945_1),
            (GrpoPassk, 0.0, 0.0),
        ] {
            for (got, reward) in of(estimator, &rewards, 8).into_iter().zip(rewards) {
                let want = if reward == 1.0 { hit } else { miss };
                assert!((got - want).abs() < 1e-7, "{estimator:?}: {got}, expected {want}");
            }
        }
    }

    #[test]
    fn the_batchs_deviation_is_taken_over_all_groups() {
        let got = of(Batch, &[0.0, 2.0, 5.0, 5.0], 2);
        let deviation = (18.0f64 / 3.0).sqrt();
        let want = [-1.0 / (deviation + 1e-4), 1.0 / (deviation + 1e-4), 0.0, 0.0];
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}, expected {want:?}");
    }

    #[test]
    fn equal_rewards_give_exactly_nothing() {
        for estimator in [Grpo, Group, Batch, DrGrpo, Rloo, GrpoPassk] {
            // 0.1 three times: their mean is not 0.1 in binary.
            for reward in [0.1, 1.0, 0.0, -0.7] {
                assert_eq!(of(estimator, &[reward; 3], 3), [0.0; 3], "{estimator:?}");
            }
        }
    }

    #[test]
    fn what_has_no_reward_leaves_its_groups_baseline() {
        for estimator in [Grpo, Group, DrGrpo, Rloo, GrpoPassk] {
            let with = advantages(estimator, &[Some(1.0), None, Some(0.0), Some(0.0)], 4);
            let without = of(estimator, &[1.0, 0.0, 0.0], 3);
            assert_eq!(with, [Some(without[0]), None, Some(without[1]), Some(without[2])], "{estimator:?}");
        }
        assert_eq!(advantages(Grpo, &[Some(1.0), None, None], 3), [None; 3]);
        assert!(!has_signal(&[Some(1.0), None, Some(1.0)]) && has_signal(&[None, Some(1.0), Some(0.0)]));
        assert!(!has_signal(&[None, None]));
        for no_number in [f64::NAN, f64::INFINITY] {
            for estimator in [Grpo, Group, Batch, DrGrpo, Rloo, GrpoPassk] {
                let with = advantages(estimator, &[Some(1.0), Some(no_number), Some(0.0), Some(0.0)], 4);
                let without = advantages(estimator, &[Some(1.0), None, Some(0.0), Some(0.0)], 4);
                assert_eq!(with, without, "{estimator:?}");
            }
            assert!(!has_signal(&[Some(1.0), Some(no_number)]));
        }
    }

    #[test]
    fn who_comes_first_in_a_group_changes_nothing() {
        let (rewards, moved) = ([0.3, 1.0, 0.0, 0.7], [3, 0, 2, 1]);
        for estimator in [Grpo, Group, Batch, DrGrpo, Rloo, GrpoPassk] {
            let before = of(estimator, &rewards, 4);
            let after = of(estimator, &moved.map(|place| rewards[place]), 4);
            for (got, place) in after.into_iter().zip(moved) {
                assert!((got - before[place]).abs() < 1e-12, "{estimator:?}");
            }
        }
    }

    /// The deviation of n values by n, where these formulas have n − 1: a known mistake of reimplementations.
    #[test]
    fn the_deviation_is_not_that_of_the_whole_population() {
        let hit = of(Grpo, &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], 8)[0];
        assert!((hit - 1.732_046_8).abs() > 0.1, "{hit}");
    }

    #[test]
    fn advantages_of_a_group_add_up_to_nothing_and_scale_as_they_should() {
        let rewards = [0.3, 1.0, 0.0, 0.7, -2.0, 0.3];
        let thrice: Vec<f64> = rewards.iter().map(|reward| 3.0 * reward).collect();
        for (estimator, factor) in [(Grpo, 1.0), (Group, 1.0), (DrGrpo, 3.0), (Rloo, 3.0)] {
            let (once, scaled) = (of(estimator, &rewards, 6), of(estimator, &thrice, 6));
            assert!(once.iter().sum::<f64>().abs() < 1e-12, "{estimator:?}");
            for (a, b) in once.iter().zip(&scaled) {
                assert!((factor * a - b).abs() < 1e-3 * a.abs().max(1e-9), "{estimator:?}: {a} and {b}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "groups of 1")]
    fn a_group_of_one_is_refused() {
        advantages(Grpo, &[Some(1.0)], 1);
    }
}
