//! Advantages, divergences and policy losses with their gradients against EasyR1's and TRL's own numbers.

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Map, Value};
use wethink_trainer::train::advantage::{Estimator, advantages};
use wethink_trainer::train::policy::{Average, Figures, Kl, Objective, Part, Policy, Totals, kl, loss};

use crate::fixtures::dir;

/// A case of the reference, with its masked tokens taken out.
struct Case {
    answer: Value,
    group: usize,
    rewards: Vec<f64>,
    mask: Vec<Vec<f64>>,
    lengths: Vec<usize>,
    new: Vec<f32>,
    old: Vec<f32>,
    reference: Vec<f32>,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read(dir().join("grpo/known_answers.json")).expect("known_answers.json");
    let json: Value = serde_json::from_slice(&text).expect("JSON");
    let cases: Vec<Case> = json["cases"].as_array().expect("cases").iter().map(Case::new).collect();
    assert!(!cases.is_empty(), "a set without cases proves nothing");
    cases
}

impl Case {
    fn new(answer: &Value) -> Self {
        let mask: Vec<_> = answer["mask"].as_array().expect("a mask").iter().map(numbers).collect();
        let tokens = |name: &str| masked(&answer[name], &mask).into_iter().map(|x| x as f32).collect();
        Self {
            group: answer["group_size"].as_u64().expect("a size") as usize,
            rewards: numbers(&answer["rewards"]),
            new: tokens("logp"),
            old: tokens("old_logp"),
            reference: tokens("ref_logp"),
            lengths: mask.iter().map(|row| row.iter().filter(|&&x| x == 1.0).count()).collect(),
            mask,
            answer: answer.clone(),
        }
    }

    fn advantages(&self, estimator: Estimator) -> Vec<f64> {
        let rewards: Vec<_> = self.rewards.iter().copied().map(Some).collect();
        advantages(estimator, &rewards, self.group).into_iter().map(|a| a.expect("a reward")).collect()
    }

    /// The loss and its gradient by log-probability.
    fn loss(&self, policy: &Policy, advantages: &[f64], longest: usize) -> (f64, Vec<f64>) {
        let leaf = tensor(&self.new).autodiff().require_grad();
        let part = Part {
            lengths: &self.lengths,
            advantages,
            old: Some(tensor(&self.old)),
            reference: Some(tensor(&self.reference)),
        };
        let totals = Totals { rows: self.lengths.len(), tokens: self.new.len(), longest };
        let value = loss(leaf.clone(), &part, totals, policy);
        let mut all = value.backward();
        (values(value.inner())[0], values(leaf.grad_remove(&mut all).expect("a leaf")))
    }

    fn assert_loss(&self, what: &str, entry: &Value, (loss, gradient): (f64, Vec<f64>)) {
        assert_near(what, loss, entry["loss"].as_f64().expect("a loss"));
        let want = masked(&entry["grad"], &self.mask);
        let largest = want.iter().fold(1f64, |top, x| top.max(x.abs()));
        let off = gradient.iter().zip(&want).fold(0f64, |off, (a, b)| off.max((a - b).abs()));
        assert!(off <= 1e-5 * largest, "{what}: the gradient is off by {off}, largest {largest}");
        assert_eq!(gradient.len(), want.len(), "{what}");
    }
}

fn tensor(values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &Device::flex())
}

fn values(x: Tensor<1>) -> Vec<f64> {
    x.into_data().try_into_vec::<f32>().expect("f32").into_iter().map(f64::from).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

/// The tokens of a table that the mask keeps, row after row. Whatever else there is has no gradient.
fn masked(table: &Value, mask: &[Vec<f64>]) -> Vec<f64> {
    let rows = table.as_array().expect("rows").iter().map(numbers).zip(mask);
    rows.flat_map(|(row, mask)| row.into_iter().zip(mask).filter(|&(_, &kept)| kept == 1.0).map(|(x, _)| x))
        .collect()
}

/// `|a − b| ≤ 1e-5 · max(1, |b|)`.
fn assert_near(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{what}: {got}, expected {want}");
}

/// Entries of a table, by the parts of their names.
fn entries<'a>(table: &'a Value, prefix: &str) -> Vec<(Vec<&'a str>, &'a Value)> {
    let table: &Map<String, Value> = table.as_object().expect("a table");
    let found: Vec<_> = table
        .iter()
        .filter_map(|(name, entry)| Some((name.strip_prefix(prefix)?.splitn(3, '.').collect(), entry)))
        .collect();
    assert!(!found.is_empty(), "nothing begins with `{prefix}`");
    found
}

#[test]
fn golden_grpo_advantages() {
    for case in cases() {
        for (peer, name, estimator) in [
            ("easyr1", "advantage.grpo", Estimator::Grpo),
            ("easyr1", "advantage.rloo", Estimator::Rloo),
            ("easyr1", "advantage.grpo_passk", Estimator::GrpoPassk),
            ("trl", "advantage.group", Estimator::Group),
        ] {
            let want = numbers(&case.answer[peer][name]);
            for (got, want) in case.advantages(estimator).into_iter().zip(want) {
                assert_near(name, got, want);
            }
        }
        for peer in ["easyr1", "trl"] {
            let known = ["grpo", "rloo", "grpo_passk", "group"];
            for (parts, _) in entries(&case.answer[peer], "advantage.") {
                assert!(known.contains(&parts[0]), "{peer} has an advantage that is not compared: {parts:?}");
            }
        }
    }
}

#[test]
fn golden_grpo_divergences() {
    for case in cases() {
        for (parts, entry) in entries(&case.answer["easyr1"], "kl.") {
            let kind = match parts[0] {
                "kl" => Kl::Kl,
                "abs" => Kl::Abs,
                "mse" => Kl::Mse,
                "low_var_kl" => Kl::LowVarKl,
                other => panic!("a divergence that is not known: {other}"),
            };
            let leaf = tensor(&case.new).autodiff().require_grad();
            let mean =
                kl(leaf.clone(), tensor(&case.reference), kind).sum().div_scalar(case.new.len() as f64);
            let mut all = mean.backward();
            let gradient = values(leaf.grad_remove(&mut all).expect("a leaf"));
            case.assert_loss(parts[0], entry, (values(mean.inner())[0], gradient));
        }
    }
}

#[test]
fn golden_grpo_losses_of_easyr1() {
    for case in cases() {
        let advantages = case.advantages(Estimator::Grpo);
        for (parts, entry) in entries(&case.answer["easyr1"], "policy.") {
            let objective = match parts[0] {
                "default" => Objective::Clip,
                "gspo" => Objective::Gspo,
                "gspo_token" => Objective::GspoToken,
                "cispo" => Objective::Cispo,
                "sapo" => Objective::Sapo,
                other => panic!("a loss that is not known: {other}"),
            };
            let average = match parts[1] {
                "token" => Average::Token,
                "seq" => Average::Sequence,
                other => panic!("an average that is not known: {other}"),
            };
            let number = |name: &str| entry[name].as_f64().expect(name);
            let policy = Policy {
                objective,
                average,
                clip_low: number("clip_low"),
                clip_high: number("clip_high"),
                clip_dual: number("clip_dual"),
                tau_positive: number("tau_pos"),
                tau_negative: number("tau_neg"),
                kl_weight: 0.0,
                ..Policy::default()
            };
            case.assert_loss(&format!("{parts:?}"), entry, case.loss(&policy, &advantages, 1));
            let mut figures = Figures::default();
            figures.add(&case.new, &case.old, &case.lengths, &advantages, &policy);
            let metrics = &entry["metrics"];
            for (name, got) in [
                ("ppo_kl", figures.kl()),
                ("pg_clipfrac_higher", figures.clipped()),
                ("pg_clipfrac_lower", figures.dual()),
            ] {
                // Where the objective has no clip, the reference tells none.
                if let Some(want) = metrics[name].as_f64() {
                    assert_near(&format!("{parts:?} {name}"), got, want);
                }
            }
            if average == Average::Token {
                assert_near("entropy", figures.entropy(), metrics["entropy_loss"].as_f64().expect("entropy"));
            }
        }
    }
}

#[test]
fn golden_grpo_losses_of_trl() {
    for case in cases() {
        let advantages = case.advantages(Estimator::Group);
        let table = &case.answer["trl"];
        for (parts, entry) in entries(table, "").into_iter().filter(|(parts, _)| parts[0] != "advantage") {
            let number = |name: &str| entry[name].as_f64().expect(name);
            let sequence = match parts[1] {
                "token" => false,
                "sequence" => true,
                other => panic!("a level that is not known: {other}"),
            };
            let plain = if sequence { Objective::Gspo } else { Objective::Clip };
            let (objective, average) = match parts[0] {
                "grpo" => (plain, Average::Sequence),
                "bnpo" | "dapo" => (plain, Average::Token),
                "dr_grpo" => (plain, Average::Fixed),
                "cispo" => (Objective::Cispo, Average::Token),
                "sapo" => (Objective::Sapo, Average::Sequence),
                other => panic!("a loss that is not known: {other}"),
            };
            // TRL bounds CISPO's ratio from above alone, and by the bound itself.
            let cispo = objective == Objective::Cispo;
            let (low, high) = (number("epsilon_low"), number("epsilon_high"));
            let policy = Policy {
                objective,
                average,
                clip_low: if cispo { 1.0 } else { low },
                clip_high: if cispo { high - 1.0 } else { high },
                clip_dual: f64::INFINITY,
                log_ratio_limit: f64::INFINITY,
                kl: Kl::K3,
                kl_weight: number("beta"),
                ..Policy::default()
            };
            let longest = number("max_completion_length") as usize;
            case.assert_loss(&format!("{parts:?}"), entry, case.loss(&policy, &advantages, longest));
        }
    }
}
