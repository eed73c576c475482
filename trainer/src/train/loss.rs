//! Losses of supervised fine-tuning, as functions of the log-probabilities of the targets.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// How a target counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Negative log-likelihood: `-log p`.
    Nll,
    /// Dynamic fine-tuning (Wu et al., arXiv 2508.05629): `-sg(p) log p`, where no gradient flows through `sg`. It takes
    /// away the weight 1/p that the likelihood gives to improbable targets.
    Dft,
}

/// The loss of one part of a batch: `logprobs` is `[n]`, `targets` the number of targets in the **whole** batch. Returns `[1]`.
///
/// Parts add up to the mean over all targets, so neither the loss nor its gradient depends on how a batch is split.
pub fn loss(logprobs: Tensor<1>, targets: usize, kind: Loss) -> Tensor<1> {
    let weighed = match kind {
        Loss::Nll => logprobs,
        Loss::Dft => logprobs.clone().detach().exp() * logprobs,
    };
    weighed.sum().mul_scalar(-1.0 / targets as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn gradient(kind: Loss) -> (f32, Vec<f32>) {
        let logprobs =
            Tensor::<1>::from_floats([0.5f32.ln(), 0.1f32.ln()], &Device::flex()).autodiff().require_grad();
        let loss = loss(logprobs.clone(), 4, kind);
        let mut gradients = loss.backward();
        let gradient = logprobs.grad_remove(&mut gradients).expect("a leaf").into_data();
        (loss.into_data().try_into_vec::<f32>().expect("f32")[0], gradient.try_into_vec().expect("f32"))
    }

    #[test]
    fn the_likelihood_weighs_all_targets_alike() {
        let (loss, gradient) = gradient(Loss::Nll);
        assert!((loss - 0.748_933).abs() < 1e-5, "{loss}");
        assert_eq!(gradient, [-0.25, -0.25]);
    }

    #[test]
    fn dft_weighs_each_target_by_its_probability() {
        let (loss, gradient) = gradient(Loss::Dft);
        assert!((loss - 0.144_208).abs() < 1e-5, "{loss}");
        assert!((gradient[0] + 0.125).abs() < 1e-6 && (gradient[1] + 0.025).abs() < 1e-6, "{gradient:?}");
    }
}
