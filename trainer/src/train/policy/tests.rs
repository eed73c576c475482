//! Known answers of the formulas, by hand and by the definitions of the papers named beside them.

mod enumerable;

use super::*;
use burn::tensor::Device;

fn tensor(values: &[f64]) -> Tensor<1> {
    constant(values.iter().copied(), &Device::flex())
}

fn values(x: Tensor<1>) -> Vec<f64> {
    x.into_data().try_into_vec::<f32>().expect("f32").into_iter().map(f64::from).collect()
}

/// The loss and its gradient by log-probability, over parts of these numbers of responses.
fn run(
    new: &[f64],
    old: Option<&[f64]>,
    rows: &[(usize, f64)],
    policy: &Policy,
    parts: &[usize],
) -> (f64, Vec<f64>) {
    let totals = Totals { rows: rows.len(), tokens: rows.iter().map(|row| row.0).sum(), longest: 16 };
    let (mut total, mut gradient, mut row, mut token) = (0.0, Vec::new(), 0, 0);
    for &count in parts {
        let (lengths, advantages): (Vec<_>, Vec<_>) = rows[row..row + count].iter().copied().unzip();
        let tokens = token..token + lengths.iter().sum::<usize>();
        let leaf = tensor(&new[tokens.clone()]).autodiff().require_grad();
        let old = old.map(|old| tensor(&old[tokens.clone()]));
        let part = Part { lengths: &lengths, advantages: &advantages, old, reference: None };
        let loss = loss(leaf.clone(), &part, totals, policy);
        let mut all = loss.backward();
        total += values(loss.inner())[0];
        gradient.extend(values(leaf.grad_remove(&mut all).expect("a leaf")));
        (row, token) = (row + count, tokens.end);
    }
    (total, gradient)
}

fn close(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-6 * want.abs().max(1.0), "{what}: {got}, expected {want}");
}

const PLAIN: Policy = Policy {
    objective: Objective::Clip,
    average: Average::Token,
    clip_low: 0.2,
    clip_high: 0.28,
    clip_dual: f64::INFINITY,
    tau_positive: 1.0,
    tau_negative: 1.05,
    log_ratio_limit: f64::INFINITY,
    kl: Kl::K3,
    kl_weight: 0.0,
    entropy_weight: 0.0,
};

#[test]
fn clipped_tokens_keep_their_loss_and_lose_their_gradient() {
    let dual = Policy { clip_dual: 3.0, ..PLAIN };
    for (ratio, advantage, policy, want, gradient) in [
        (1.3, 1.0, PLAIN, -1.28, 0.0),
        (0.79, -1.0, PLAIN, 0.8, 0.0),
        (0.79, 1.0, PLAIN, -0.79, -0.79),
        (1.3, -1.0, PLAIN, 1.3, 1.3),
        (4.0, -1.0, PLAIN, 4.0, 4.0),
        (4.0, -1.0, dual, 3.0, 0.0),
        (4.0, 1.0, dual, -1.28, 0.0),
    ] {
        let (loss, got) = run(&[f64::ln(ratio) - 0.7], Some(&[-0.7]), &[(1, advantage)], &policy, &[1]);
        close("loss", loss, want);
        close("gradient", got[0], gradient);
    }
}

/// The loss of a first update is the negative mean advantage, near 0, while its gradient is not: that is no fault.
#[test]
fn the_first_update_after_sampling_has_ratios_of_exactly_one() {
    let rows = [(2, 1.5), (1, -1.5)];
    for objective in [Objective::Clip, Objective::Gspo, Objective::GspoToken] {
        let policy = Policy { objective, average: Average::Sequence, ..PLAIN };
        let new = [-0.3, -1.0, -2.0];
        let (loss, gradient) = run(&new, None, &rows, &policy, &[2]);
        assert_eq!(loss, 0.0, "{objective:?}");
        let want = [-0.375, -0.375, 0.75];
        assert!(gradient.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-7), "{objective:?}: {gradient:?}");
        assert_eq!(run(&new, Some(&new), &rows, &policy, &[2]), (loss, gradient), "{objective:?}");
    }
}

#[test]
fn gspo_takes_the_geometric_mean_cispo_keeps_a_gradient_sapo_is_a_soft_gate() {
    let gspo = Policy { objective: Objective::Gspo, clip_high: 1.0, ..PLAIN };
    let (loss, gradient) = run(&[0.1, -0.2, 0.4], Some(&[0.0; 3]), &[(3, 1.0)], &gspo, &[1]);
    close("GSPO", loss, -1.105_170_92);
    gradient.iter().for_each(|&g| close("GSPO's gradient", g, -1.105_170_92 / 3.0));
    let cispo = Policy { objective: Objective::Cispo, clip_low: 1.0, clip_high: 4.0, ..PLAIN };
    let (loss, gradient) = run(&[-0.7], Some(&[-0.7 - f64::ln(6.0)]), &[(1, 1.0)], &cispo, &[1]);
    close("CISPO", loss, 3.5);
    close("CISPO's gradient", gradient[0], -5.0);
    for (advantage, ratio, want) in [
        (1.0, 0.8, 1.800_664_01),
        (1.0, 1.0, 2.0),
        (1.0, 1.5, 2.489_837_32),
        (-1.0, 0.8, 1.705_493_68),
        (-1.0, 1.0, 1.904_761_90),
        (-1.0, 1.5, 2.393_585_48),
    ] {
        let sapo = Policy { objective: Objective::Sapo, ..PLAIN };
        let (loss, _) = run(&[f64::ln(ratio)], Some(&[0.0]), &[(1, advantage)], &sapo, &[1]);
        close("SAPO", loss, -advantage * want);
    }
}

/// Two responses of 2 and 6 tokens whose losses are 1 and −0.5 a token.
#[test]
fn each_average_weighs_responses_as_it_says_and_no_average_depends_on_parts() {
    let rows = [(2, -1.0), (6, 0.5)];
    let new = [-1.0; 8];
    for (average, want) in [
        (Average::Token, -0.125),
        (Average::Sequence, 0.25),
        (Average::SequenceSum, -0.5),
        (Average::Fixed, -0.031_25),
    ] {
        let policy = Policy { average, ..PLAIN };
        let (whole, gradient) = run(&new, None, &rows, &policy, &[2]);
        close("loss", whole, want);
        let (parts, split) = run(&new, None, &rows, &policy, &[1, 1]);
        close("loss in parts", parts, want);
        assert_eq!(split, gradient, "{average:?}");
    }
}

#[test]
fn parts_of_any_size_add_up_to_the_same_gradient() {
    let rows: Vec<(usize, f64)> = (0..8).map(|i| (1 + (i * 5) % 7, (i as f64 - 3.3) / 2.0)).collect();
    let tokens: usize = rows.iter().map(|row| row.0).sum();
    let new: Vec<f64> = (0..tokens).map(|t| -((t * 37 % 11) as f64) / 9.0).collect();
    let old: Vec<f64> = (0..tokens).map(|t| -((t * 17 % 13) as f64) / 10.0).collect();
    for objective in
        [Objective::Clip, Objective::Gspo, Objective::GspoToken, Objective::Cispo, Objective::Sapo]
    {
        for average in [Average::Token, Average::Sequence, Average::SequenceSum, Average::Fixed] {
            let policy = Policy { objective, average, entropy_weight: 0.01, ..Policy::default() };
            let (_, whole) = run(&new, Some(&old), &rows, &policy, &[8]);
            for parts in [&[4, 4][..], &[2; 4], &[1; 8], &[3, 5]] {
                let (_, split) = run(&new, Some(&old), &rows, &policy, parts);
                let off = whole.iter().zip(&split).fold(0f64, |off, (a, b)| off.max((a - b).abs()));
                assert!(off < 1e-7, "{objective:?} {average:?} {parts:?}: {off}");
            }
        }
    }
}

#[test]
fn divergences_have_the_published_values_and_gradients() {
    for (d, k1, k2, k3, gradient) in [
        (0.1, 0.1, 0.005, 0.004_837_42, 0.095_162_58),
        (-0.1, -0.1, 0.005, 0.005_170_92, -0.105_170_92),
        (1.0, 1.0, 0.5, 0.367_879_44, 0.632_120_56),
        (-1.0, -1.0, 0.5, 0.718_281_83, -1.718_281_83),
    ] {
        let of = |kind| {
            let leaf = tensor(&[-1.2 + d]).autodiff().require_grad();
            let value = kl(leaf.clone(), tensor(&[-1.2]), kind);
            let mut all = value.backward();
            (values(value.inner())[0], values(leaf.grad_remove(&mut all).expect("a leaf"))[0])
        };
        for (kind, value, gradient) in [
            (Kl::Kl, k1, 1.0),
            (Kl::Abs, d.abs(), d.signum()),
            (Kl::Mse, k2, d),
            (Kl::K3, k3, gradient),
            (Kl::LowVarKl, k3, gradient),
        ] {
            let (got, slope) = of(kind);
            close(&format!("{kind:?} at {d}"), got, value);
            close(&format!("{kind:?}'s gradient at {d}"), slope, gradient);
        }
    }
}

/// What stands behind a response's end, or before it, is no argument of the loss: only lengths say what is a token.
#[test]
fn a_response_without_tokens_changes_the_mean_over_responses_and_nothing_else() {
    let with = [(2, 1.0), (0, 3.0), (1, -1.0)];
    let without = [(2, 1.0), (1, -1.0)];
    let new = [-0.5, -1.0, -1.5];
    let token = run(&new, None, &with, &PLAIN, &[3]);
    assert_eq!(token, run(&new, None, &without, &PLAIN, &[2]));
    let sequence = Policy { average: Average::Sequence, ..PLAIN };
    let (_, gradient) = run(&new, None, &with, &sequence, &[3]);
    let want = [-1.0 / 6.0, -1.0 / 6.0, 1.0 / 3.0];
    assert!(gradient.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-7), "{gradient:?}");
}

/// Over all outcomes of a small policy, each weighed by its probability, the bonus has the gradient of the entropy.
#[test]
fn the_entropy_bonus_is_in_expectation_the_entropys_gradient() {
    let logits = [0.3, -0.7, 1.1];
    let total: f64 = logits.iter().map(|x| f64::exp(*x)).sum();
    let p: Vec<f64> = logits.iter().map(|x| x.exp() / total).collect();
    let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
    for (k, &of_k) in p.iter().enumerate() {
        // d log p_a / d logit_k = [a = k] − p_k; the loss is the bonus's negative.
        let expected: f64 = p
            .iter()
            .enumerate()
            .map(|(a, &of_a)| {
                let leaf = tensor(&[of_a.ln()]).autodiff().require_grad();
                let mut all = entropy_bonus(leaf.clone()).backward();
                let slope = values(leaf.grad_remove(&mut all).expect("a leaf"))[0];
                of_a * slope * (f64::from(u8::from(a == k)) - of_k)
            })
            .sum();
        let exact = -of_k * (of_k.ln() + entropy);
        close("the entropy's gradient", -expected, exact);
    }
}

#[test]
fn figures_count_what_is_clipped() {
    let mut figures = Figures::default();
    let log = f32::ln;
    let new = [log(1.5), log(1.1), log(0.5), log(4.0), 0.0];
    figures.add(&new[..3], &[0.0; 3], &[1, 1, 1], &[1.0, 1.0, -1.0], &Policy::default());
    figures.add(&new[3..], &[0.0; 2], &[1, 1], &[-1.0, 0.0], &Policy::default());
    close("clipped", figures.clipped(), 2.0 / 5.0);
    close("dual", figures.dual(), 1.0 / 5.0);
    close("ratio", figures.ratio(), (1.5 + 1.1 + 0.5 + 4.0 + 1.0) / 5.0);
    close("farthest ratio", figures.ratio_off_most, 3.0);
    close("divergence", figures.kl(), -figures.entropy() * -1.0);
}
