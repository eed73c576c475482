//! AdamW (Loshchilov and Hutter, arXiv 1711.05101) with the meaning of `torch.optim.AdamW`, over flat float32 tensors.
//!
//! burn's own optimizer rounds its betas and bias corrections to float32 and keeps its state by module; here the scalars are
//! float64 and the state is a few tensors a parameter, under the parameter's name, so that a checkpoint is plain safetensors.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use wethink_kernels::{AdamwStep, adamw};
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
    /// Mean of the gradient; absent where beta1 is 0, when it is the gradient.
    pub first: Option<Tensor<1>>,
    /// Mean of its square.
    pub second: Second,
    /// Updates so far.
    pub updates: u32,
}

/// Running mean of the square of a gradient.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "handles of tensors, a few a parameter")]
pub enum Second {
    /// A value for each.
    Full(Tensor<1>),
    /// Means over the columns of each row, and over the rows of each column, of a matrix: the mean of an entry is taken to be
    /// their product by the mean of all (Shazeer and Stern, arXiv 1804.04235).
    Factored {
        /// `[out]`.
        rows: Tensor<1>,
        /// `[in]`.
        columns: Tensor<1>,
    },
}

impl Second {
    /// The running mean with one more gradient, flat, of the matrix `[out, in]` if it is to be factored.
    fn next(old: Option<Self>, gradient: &Tensor<1>, matrix: Option<[usize; 2]>, beta2: f64) -> Self {
        let square = gradient.clone().square();
        let mean = |old: Option<Tensor<1>>, new: Tensor<1>| {
            let old = old.unwrap_or_else(|| new.zeros_like());
            old.mul_scalar(beta2) + new.mul_scalar(1.0 - beta2)
        };
        match (matrix, old) {
            (_, Some(Self::Full(old))) => Self::Full(mean(Some(old), square)),
            (None, _) => Self::Full(mean(None, square)),
            (Some(matrix), old) => {
                let square = square.reshape(matrix);
                let (rows, columns) = match old {
                    Some(Self::Factored { rows, columns }) => (Some(rows), Some(columns)),
                    _ => (None, None),
                };
                Self::Factored {
                    rows: mean(rows, square.clone().mean_dim(1).squeeze_dim(1)),
                    columns: mean(columns, square.mean_dim(0).squeeze_dim(0)),
                }
            }
        }
    }

    /// The mean for each value, flat.
    fn values(&self) -> Tensor<1> {
        match self {
            Self::Full(values) => values.clone(),
            Self::Factored { rows, columns } => {
                let [out, input] = [rows.dims()[0], columns.dims()[0]];
                // Rows without a gradient have no mean either: nothing is divided by 0.
                let share = rows.clone() / rows.clone().mean().clamp_min(f32::MIN_POSITIVE);
                let values = share.reshape([out, 1]) * columns.clone().reshape([1, input]);
                values.reshape([out * input])
            }
        }
    }
}

/// One update of one parameter: the new parameter and its moments.
///
/// `m += (1 - beta1) (g - m)`, `v = beta2 v + (1 - beta2) g^2`, then
/// `p (1 - lr wd) - lr / (1 - beta1^n) * m / (sqrt(v) / sqrt(1 - beta2^n) + eps)` after `n` updates. `matrix` is the shape of
/// a parameter whose second moment is to be factored.
pub fn update(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    moments: Option<Moments>,
    matrix: Option<[usize; 2]>,
    rate: Rate,
    settings: Settings,
) -> (Tensor<1>, Moments) {
    let Settings { beta1, beta2, eps } = settings;
    let (first, second, updates) = match moments {
        Some(Moments { first, second, updates }) => (first, Some(second), updates + 1),
        None => ((beta1 > 0.0).then(|| gradient.zeros_like()), None, 1),
    };
    let second = Second::next(second, &gradient, matrix, beta2);
    let first = first.map(|first| first.clone() + (gradient.clone() - first).mul_scalar(1.0 - beta1));
    let correction1 = 1.0 - beta1.powf(f64::from(updates));
    let correction2 = 1.0 - beta2.powf(f64::from(updates));
    let root = second.values().sqrt().div_scalar(correction2.sqrt()).add_scalar(eps);
    let decayed = parameter.mul_scalar(1.0 - rate.learning_rate * rate.weight_decay);
    let direction = first.clone().unwrap_or(gradient) / root;
    let moved = decayed - direction.mul_scalar(rate.learning_rate / correction1);
    (moved, Moments { first, second, updates })
}

/// [`update`] by the gradient times `scale`: on the CPU in one pass over the values, if no moment is factored or absent.
fn step(
    parameter: Tensor<1>,
    gradient: &Tensor<1>,
    scale: f64,
    moments: Option<Moments>,
    matrix: Option<[usize; 2]>,
    rate: Rate,
    settings: Settings,
) -> (Tensor<1>, Moments) {
    let scaled = |gradient: &Tensor<1>| {
        if scale == 1.0 { gradient.clone() } else { gradient.clone().mul_scalar(scale) }
    };
    let (first, second, updates) = match moments {
        None if matrix.is_none() && settings.beta1 > 0.0 => (gradient.zeros_like(), gradient.zeros_like(), 0),
        Some(Moments { first: Some(first), second: Second::Full(second), updates }) => {
            (first, second, updates)
        }
        moments => return update(parameter, scaled(gradient), moments, matrix, rate, settings),
    };
    let Settings { beta1, beta2, eps } = settings;
    let n = f64::from(updates + 1);
    let fused = AdamwStep {
        scale,
        beta1,
        beta2,
        eps,
        keep: 1.0 - rate.learning_rate * rate.weight_decay,
        rate: rate.learning_rate / (1.0 - beta1.powf(n)),
        correction: (1.0 - beta2.powf(n)).sqrt(),
    };
    let moments =
        |first, second, updates| Moments { first: Some(first), second: Second::Full(second), updates };
    match adamw([parameter, first, second], gradient, fused) {
        Ok([parameter, first, second]) => (parameter, moments(first, second, updates + 1)),
        Err([parameter, first, second]) => {
            let known = (updates > 0).then(|| moments(first, second, updates));
            update(parameter, scaled(gradient), known, matrix, rate, settings)
        }
    }
}

/// The optimizer's state.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// What holds for every parameter.
    pub settings: Settings,
    /// Moments by parameter name; absent until a parameter's first gradient.
    pub moments: BTreeMap<String, Moments>,
    /// Shapes of the parameters whose second moments are factored, by name; none unless asked for.
    pub matrices: BTreeMap<String, [usize; 2]>,
}

impl AdamW {
    /// No update yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, moments: BTreeMap::new(), matrices: BTreeMap::new() }
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
            let (known, matrix) = (self.moments.remove(name), self.matrices.get(name).copied());
            let (moved, moments) = step(parameter, gradient, scale, known, matrix, rate(name), self.settings);
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
            let (moved, next) = update(got, g, moments, None, rate, settings);
            (got, moments) = (moved, Some(next));
        }
        for (got, (want, _, _)) in values(got).into_iter().zip(want) {
            assert!((f64::from(got) - want).abs() < 1e-6, "{got} against {want}");
        }
    }

    #[test]
    fn one_pass_over_the_values_is_the_definition() {
        let device = Device::flex();
        let settings = Settings { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
        let rate = Rate { learning_rate: 0.01, weight_decay: 0.1 };
        // More values than one piece of work.
        let numbers = |salt: f32| (0..20_000).map(|i| (i as f32 * 0.37 + salt).sin()).collect::<Vec<_>>();
        let start = Tensor::<1>::from_floats(&numbers(0.0)[..], &device);
        let (mut one, mut many) = ((start.clone(), None), (start, None));
        for n in 1..=5 {
            let g = Tensor::<1>::from_floats(&numbers(n as f32)[..], &device);
            let (p, moments) = super::step(one.0, &g, 0.5, one.1, None, rate, settings);
            one = (p, Some(moments));
            let (p, moments) = update(many.0, g.mul_scalar(0.5), many.1, None, rate, settings);
            many = (p, Some(moments));
        }
        for (a, b) in values(one.0).into_iter().zip(values(many.0)) {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-2), "{a} against {b}");
        }
    }

    /// Where squares of gradients are a product of rows and columns, so is their mean: the update is AdamW's.
    #[test]
    fn factored_moments_of_a_product_are_exact_and_small() {
        let device = Device::flex();
        let rate = Rate { learning_rate: 0.01, weight_decay: 0.1 };
        for beta1 in [0.9, 0.0] {
            let settings = Settings { beta1, beta2: 0.95, eps: 1e-8 };
            let start = Tensor::<1>::from_floats([1.0, -2.0, 0.5, 0.1, 0.2, 0.3], &device);
            let (mut full, mut factored) = ((start.clone(), None), (start, None));
            for scale in [1.0, -2.0, 0.5, 3.0] {
                let product =
                    [1.0f32, -2.0].iter().flat_map(|row| [0.5, 1.0, -3.0].map(|column| row * column * scale));
                let g = Tensor::<1>::from_floats(&product.collect::<Vec<_>>()[..], &device);
                let step = |(p, moments), matrix| {
                    let (p, moments) = update(p, g.clone(), moments, matrix, rate, settings);
                    (p, Some(moments))
                };
                full = step(full, None);
                factored = step(factored, Some([2, 3]));
                for (a, b) in values(factored.0.clone()).into_iter().zip(values(full.0.clone())) {
                    assert!((a - b).abs() < 1e-6, "{a} against {b}");
                }
            }
            let moments = factored.1.expect("updated");
            assert_eq!(moments.first.is_some(), beta1 > 0.0);
            let Second::Factored { rows, columns } = moments.second else { panic!("factored") };
            assert_eq!((rows.dims(), columns.dims()), ([2], [3]));
        }
    }

    #[test]
    fn a_matrix_without_gradients_stays_where_it_is() {
        let settings = Settings { beta1: 0.0, beta2: 0.95, eps: 1e-8 };
        let rate = Rate { learning_rate: 0.01, weight_decay: 0.0 };
        let p = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &Device::flex());
        let (moved, _) = update(p.clone(), p.zeros_like(), None, Some([2, 2]), rate, settings);
        assert_eq!(values(moved), values(p));
    }
}
