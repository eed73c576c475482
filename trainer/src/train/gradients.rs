//! Gradients of a batch, summed over its micro-batches, by parameter.

use std::collections::BTreeMap;

use anyhow::Result;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use wethink_model::Model;

/// Tensors by parameter name, each flat.
pub type Values = BTreeMap<String, Tensor<1>>;

/// The sum of what micro-batches gave. A parameter that nothing depended on (the tower, in a batch without pictures) has no
/// entry, as `grad` is `None` in PyTorch.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    sum: Values,
}

impl Gradients {
    /// Adds the gradient of `loss`, which is computed from the model it is handed.
    ///
    /// Only parameters for which `trained` holds are tracked; in the model that `loss` sees they have the type `compute`,
    /// while `model` keeps them in float32 and gradients come back in float32. Returns what `loss` returns beside the loss.
    pub fn add<T>(
        &mut self,
        model: &Model,
        trained: &dyn Fn(&str) -> bool,
        compute: DType,
        loss: impl FnOnce(&Model) -> Result<(Tensor<1>, T)>,
    ) -> Result<T> {
        let mut leaves = Vec::new();
        let tracked = model.clone().map_parameters(&mut |name, value| {
            if !trained(name) {
                return value;
            }
            let leaf = value.autodiff().require_grad();
            leaves.push((name.to_owned(), leaf.clone()));
            if leaf.dtype() == compute { leaf } else { leaf.cast(FloatDType::from(compute)) }
        });
        let (loss, rest) = loss(&tracked)?;
        // Activations are held by the record of the loss; the model's own handles would outlive it.
        drop(tracked);
        if !loss.is_tracked() {
            return Ok(rest);
        }
        let mut all = loss.backward();
        for (name, leaf) in leaves {
            if let Some(gradient) = leaf.grad_remove(&mut all) {
                self.enter(name, gradient);
            }
        }
        Ok(rest)
    }

    fn enter(&mut self, name: String, gradient: Tensor<1>) {
        let sum = match self.sum.remove(&name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.sum.insert(name, sum);
    }

    /// Adds what another device gave, on `device`, where these are.
    pub fn merge(&mut self, other: Self, device: &Device) {
        other.sum.into_iter().for_each(|(name, gradient)| self.enter(name, gradient.to_device(device)));
    }

    /// The same on another device.
    pub fn on(self, device: &Device) -> Self {
        let there = |(name, gradient): (String, Tensor<1>)| (name, gradient.to_device(device));
        Self { sum: self.sum.into_iter().map(there).collect() }
    }

    /// Takes the gradient of a parameter away.
    pub fn take(&mut self, name: &str) -> Option<Tensor<1>> {
        self.sum.remove(name)
    }

    /// Puts a gradient in its place.
    pub fn put(&mut self, name: String, gradient: Tensor<1>) {
        self.sum.insert(name, gradient);
    }

    /// The gradient of a parameter.
    pub fn of(&self, name: &str) -> Option<&Tensor<1>> {
        self.sum.get(name)
    }

    /// Every gradient by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<1>)> {
        self.sum.iter().map(|(name, gradient)| (name.as_str(), gradient))
    }

    /// The Euclidean norm of all gradients together: one read-back. Not finite if any gradient is not.
    pub fn norm(&self) -> f64 {
        let squares: Vec<_> = self.sum.values().map(|gradient| gradient.clone().square().sum()).collect();
        if squares.is_empty() { 0.0 } else { scalar(Tensor::cat(squares, 0).sum()).sqrt() }
    }
}

/// What gradients are multiplied by so that their norm stays within `limit`: `limit / (norm + 1e-6)` where that is below 1,
/// as torch's `clip_grad_norm_` has it.
pub fn clip_scale(norm: f64, limit: f64) -> f64 {
    (limit / (norm + 1e-6)).min(1.0)
}

/// Reads one number.
pub fn scalar(x: Tensor<1>) -> f64 {
    let data = x.into_data().convert_dtype(DType::F32);
    data.try_into_vec::<f32>().ok().and_then(|values| values.first().copied()).map_or(f64::NAN, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_leaves_small_gradients_alone() {
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
        assert_eq!(clip_scale(0.0, 1.0), 1.0);
        assert!((clip_scale(4.0, 1.0) - 0.25).abs() < 1e-6);
        assert!(clip_scale(4.0, 1.0) * 4.0 < 1.0);
    }
}
