//! The affine map, with its weight as an enum: what changes between training, serving and the browser is how a weight is
//! stored, never the model around it.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use wethink_kernels::{Launches, PackedMatrix, packed_product};

use crate::Adapter;

/// `x · Wᵀ + b`, and what an adapter adds to it.
#[derive(Module, Debug)]
pub struct Linear {
    /// The weight.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// A low-rank addition to the weight.
    pub adapter: Option<Adapter>,
}

/// How a weight is stored.
#[derive(Module, Debug)]
pub enum Weight {
    /// `[out, in]`, the checkpoint's orientation.
    Dense(Param<Tensor<2>>),
    /// `[out, in]` in few bits; a constant.
    Packed(Packed),
}

/// A packed weight, which no traversal of parameters meets: it is never trained, and moved only when it is made.
#[derive(Module, Debug)]
pub struct Packed {
    /// `[out, in]`.
    #[module(skip)]
    pub matrix: PackedMatrix,
}

impl Packed {
    /// A weight of this matrix.
    pub fn new(matrix: PackedMatrix) -> Self {
        Self { matrix }
    }
}

impl Linear {
    /// `[.., in]` to `[.., out]`.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        self.counted(x, &mut Launches::new())
    }

    /// As [`Linear::forward`]; the launches of a packed weight are counted.
    pub(crate) fn counted<const R: usize>(&self, x: Tensor<R>, launches: &mut Launches) -> Tensor<R> {
        let mut shape = x.dims();
        let width = shape[R - 1];
        let rows = shape[..R - 1].iter().product::<usize>();
        let x = x.reshape([rows, width]);
        let y = self.weight.apply(x.clone(), launches); // [rows, out]
        let y = match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        };
        let y = match &self.adapter {
            Some(adapter) => y + adapter.apply(x),
            None => y,
        };
        shape[R - 1] = y.dims()[1];
        y.reshape(shape)
    }
}

impl Weight {
    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Weight::Dense(weight) => weight.val().dims(),
            Weight::Packed(packed) => [packed.matrix.rows(), packed.matrix.width()],
        }
    }

    /// `x · Wᵀ`: `[rows, in]` to `[rows, out]`.
    pub fn apply(&self, x: Tensor<2>, launches: &mut Launches) -> Tensor<2> {
        match self {
            Weight::Dense(weight) => x.matmul(weight.val().transpose()),
            // Dense products are burn's own, and counted nowhere.
            Weight::Packed(packed) => packed_product(x, &packed.matrix, None, None, launches),
        }
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        match self {
            Weight::Dense(weight) => weight.val().dims()[0],
            Weight::Packed(packed) => packed.matrix.rows(),
        }
    }

    /// The matrix, where the weight is packed.
    pub fn packed(&self) -> Option<&PackedMatrix> {
        match self {
            Weight::Dense(_) => None,
            Weight::Packed(packed) => Some(&packed.matrix),
        }
    }
}
