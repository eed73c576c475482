//! AdamW (Loshchilov and Hutter, arXiv 1711.05101) with the meaning of `torch.optim.AdamW`, over flat float32 tensors.
//!
//! burn's own optimizer rounds its betas and bias corrections to float32 and keeps its state by module; here the scalars are
//! float64 and the state is two tensors a parameter, under the parameter's name, so that a checkpoint is plain safetensors.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use wethink_model::Model;

use super::gradients::Gradients;

/// What holds for every parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the corrected second moment.
    pub eps: f64,
}

/// What a parameter's group says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decoupled decay: a step multiplies the parameter by `1 - learning_rate * weight_decay`.
    pub weight_decay: f64,
}

/// Running means of a parameter's gradient and of its square.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Mean of the gradient.
    pub first: Tensor<1>,
    /// Mean of its square.
    pub second: Tensor<1>,
    /// Updates so far.
    pub updates: u32,
}

/// One update of one parameter: the new parameter and its moments.
///
/// `m += (1 - beta1) (g - m)`, `v = beta2 v + (1 - beta2) g^2`, then
/// `p (1 - lr wd) - lr / (1 - beta1^n) * m / (sqrt(v) / sqrt(1 - beta2^n) + eps)` after `n` updates.
pub fn update(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    moments: Option<Moments>,
    rate: Rate,
    settings: Settings,
) -> (Tensor<1>, Moments) {
    let Settings { beta1, beta2, eps } = settings;
    let moments = moments.unwrap_or_else(|| Moments {
        first: gradient.zeros_like(),
        second: gradient.zeros_like(),
        updates: 0,
    });
    let updates = moments.updates + 1;
    let first = moments.first.clone() + (gradient.clone() - moments.first).mul_scalar(1.0 - beta1);
    let second = moments.second.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
    let correction1 = 1.0 - beta1.powf(f64::from(updates));
    let correction2 = 1.0 - beta2.powf(f64::from(updates));
    let root = second.clone().sqrt().div_scalar(correction2.sqrt()).add_scalar(eps);
    let decayed = parameter.mul_scalar(1.0 - rate.learning_rate * rate.weight_decay);
    let moved = decayed - (first.clone() / root).mul_scalar(rate.learning_rate / correction1);
    (moved, Moments { first, second, updates })
}

/// The optimizer's state.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// What holds for every parameter.
    pub settings: Settings,
    /// Moments by parameter name; absent until a parameter's first gradient.
    pub moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// No update yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, moments: BTreeMap::new() }
    }

    /// Moves every parameter that has a gradient, which is first multiplied by `scale`. Others stay as they are, decay
    /// included.
    pub fn step(
        &mut self,
        model: Model,
        gradients: &Gradients,
        scale: f64,
        rate: &dyn Fn(&str) -> Rate,
    ) -> Model {
        model.map_parameters(&mut |name, parameter| {
            let Some(gradient) = gradients.of(name) else { return parameter };
            let gradient = gradient.clone();
            let gradient = if scale == 1.0 { gradient } else { gradient.mul_scalar(scale) };
            let (moved, moments) =
                update(parameter, gradient, self.moments.remove(name), rate(name), self.settings);
            self.moments.insert(name.to_owned(), moments);
            moved
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn values(x: Tensor<1>) -> Vec<f32> {
        x.into_data().try_into_vec().expect("float32")
    }

    /// The definition in float64.
    fn reference(p: &mut f64, m: &mut f64, v: &mut f64, g: f64, n: i32, rate: Rate, s: Settings) {
        *p *= 1.0 - rate.learning_rate * rate.weight_decay;
        *m = s.beta1 * *m + (1.0 - s.beta1) * g;
        *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
        let (m_hat, v_hat) = (*m / (1.0 - s.beta1.powi(n)), *v / (1.0 - s.beta2.powi(n)));
        *p -= rate.learning_rate * m_hat / (v_hat.sqrt() + s.eps);
    }

    #[test]
    fn updates_follow_the_definition_also_where_epsilon_rules() {
        let device = Device::flex();
        let settings = Settings { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
        let rate = Rate { learning_rate: 0.01, weight_decay: 0.1 };
        let start = [1.0, -2.0, 0.5, 0.0];
        let mut want: Vec<_> = start.iter().map(|&p| (p, 0.0, 0.0)).collect();
        let mut got = Tensor::<1>::from_floats(start.map(|p| p as f32), &device);
        let mut moments = None;
        for n in 1..=20 {
            let g = [0.3 * f64::from(n), -1.0, 1e-9, 0.0];
            for ((p, m, v), g) in want.iter_mut().zip(g) {
                reference(p, m, v, g, n, rate, settings);
            }
            let g = Tensor::from_floats(g.map(|g| g as f32), &device);
            let (moved, next) = update(got, g, moments, rate, settings);
            (got, moments) = (moved, Some(next));
        }
        for (got, (want, _, _)) in values(got).into_iter().zip(want) {
            assert!((f64::from(got) - want).abs() < 1e-6, "{got} against {want}");
        }
    }
}
