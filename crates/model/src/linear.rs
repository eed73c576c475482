//! The affine map, with its weight as an enum: what changes between training, serving and the browser is how a weight is
//! stored, never the model around it.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// `x · Wᵀ + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// The weight.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

/// How a weight is stored.
#[derive(Module, Debug)]
pub enum Weight {
    /// `[out, in]`, the checkpoint's orientation.
    Dense(Param<Tensor<2>>),
}

impl Linear {
    /// `[.., in]` to `[.., out]`.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let mut shape = x.dims();
        let width = shape[R - 1];
        let rows = shape[..R - 1].iter().product::<usize>();
        let y = self.weight.apply(x.reshape([rows, width])); // [rows, out]
        let y = match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        };
        shape[R - 1] = y.dims()[1];
        y.reshape(shape)
    }
}

impl Weight {
    /// `x · Wᵀ`: `[rows, in]` to `[rows, out]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Weight::Dense(weight) => x.matmul(weight.val().transpose()),
        }
    }
}
