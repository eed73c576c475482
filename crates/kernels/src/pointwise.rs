//! Norm and gate: one pass over the data each.

use burn::tensor::{DType, FloatDType, Tensor, activation::silu};
use wethink_shaders as shaders;

use crate::wgsl::{Buffer, Wgsl};
use crate::{Launches, cpu};

/// `x / rms(x) * weight` over the last axis, `rms(x) = sqrt(mean(x^2) + eps)` (Zhang and Sennrich, arXiv 1910.07467).
///
/// `x` is `[.., C]`, `weight` is `[C]`. The mean and the division are float32 whatever the storage, as in transformers'
/// `Qwen2RMSNorm`: squares of the tower's activations overflow f16.
pub fn rms_norm<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<1>,
    eps: f64,
    launches: &mut Launches,
) -> Tensor<R> {
    let Some(device) = Wgsl::of(&x).filter(|_| !weight.is_autodiff()) else {
        return match cpu::rms_norm(&x, &weight, eps) {
            Some(normed) => launches.counted("rms_norm_cpu", normed),
            None => rms_norm_composed(x, weight, eps, launches),
        };
    };
    let shape = x.dims();
    let params = norm_params(shape, eps);
    let normed = device.empty(shape);
    let buffers = [&Buffer::read(x), &Buffer::read(weight), &normed];
    device.launch(&shaders::rms_norm::KERNEL, &params, shaders::rms_norm::grid(&params), &buffers, launches);
    normed.tensor()
}

/// The definition of [`rms_norm`].
pub fn rms_norm_composed<const R: usize>(
    x: Tensor<R>,
    weight: Tensor<1>,
    eps: f64,
    launches: &mut Launches,
) -> Tensor<R> {
    launches.count("rms_norm_composed");
    let dtype = x.dtype();
    let x = upcast(x);
    let rms = (x.clone().square().mean_dim(R - 1) + eps).sqrt();
    downcast(x / rms, dtype) * weight.unsqueeze()
}

/// The residual stream, taken further, and its norm: `s = x + residual` and `rms_norm(s)`, both `[.., C]`.
pub fn add_rms_norm<const R: usize>(
    x: Tensor<R>,
    residual: Tensor<R>,
    weight: Tensor<1>,
    eps: f64,
    launches: &mut Launches,
) -> (Tensor<R>, Tensor<R>) {
    let tracked = residual.is_autodiff() || weight.is_autodiff();
    let Some(device) = Wgsl::of(&x).filter(|_| !tracked) else {
        let stream = x + residual;
        let normed = rms_norm(stream.clone(), weight, eps, launches);
        return (stream, normed);
    };
    let shape = x.dims();
    let params = norm_params(shape, eps);
    let (stream, normed) = (device.empty(shape), device.empty(shape));
    let buffers = [&Buffer::read(x), &Buffer::read(residual), &Buffer::read(weight), &stream, &normed];
    device.launch(
        &shaders::add_rms_norm::KERNEL,
        &params,
        shaders::rms_norm::grid(&params),
        &buffers,
        launches,
    );
    (stream.tensor(), normed.tensor())
}

/// The definition of [`add_rms_norm`].
pub fn add_rms_norm_composed<const R: usize>(
    x: Tensor<R>,
    residual: Tensor<R>,
    weight: Tensor<1>,
    eps: f64,
    launches: &mut Launches,
) -> (Tensor<R>, Tensor<R>) {
    let stream = x + residual;
    let normed = rms_norm_composed(stream.clone(), weight, eps, launches);
    (stream, normed)
}

fn norm_params<const R: usize>(shape: [usize; R], eps: f64) -> shaders::rms_norm::Params {
    let width = shape[R - 1];
    let rows = shape[..R - 1].iter().product::<usize>();
    shaders::rms_norm::Params { rows: rows as u32, width: width as u32, eps: eps as f32, pad: 0 }
}

/// `silu(gate) * up`, the gated unit of SwiGLU (Shazeer, arXiv 2002.05202). Any equal shapes.
pub fn silu_mul<const R: usize>(gate: Tensor<R>, up: Tensor<R>, launches: &mut Launches) -> Tensor<R> {
    let Some(device) = Wgsl::of(&gate).filter(|_| !up.is_autodiff()) else {
        return match cpu::silu_mul(&gate, &up) {
            Some(product) => launches.counted("silu_mul_cpu", product),
            None => silu_mul_composed(gate, up, launches),
        };
    };
    let shape = gate.dims();
    let params = shaders::silu_mul::Params { elements: shape.iter().product::<usize>() as u32, pad: 0 };
    let product = device.empty(shape);
    let buffers = [&Buffer::read(gate), &Buffer::read(up), &product];
    device.launch(&shaders::silu_mul::KERNEL, &params, shaders::silu_mul::grid(&params), &buffers, launches);
    product.tensor()
}

/// The definition of [`silu_mul`].
pub fn silu_mul_composed<const R: usize>(
    gate: Tensor<R>,
    up: Tensor<R>,
    launches: &mut Launches,
) -> Tensor<R> {
    launches.count("silu_mul_composed");
    silu(gate) * up
}

/// `x · Φ(x)` with the normal distribution function Φ (Hendrycks and Gimpel, arXiv 1606.08415), exact in value and gradient,
/// float32 whatever the storage.
///
/// burn's own `gelu` has the gradient of the approximation by tanh on every device but the CPU, which is off by 3e-4.
pub fn gelu<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    let dtype = x.dtype();
    let x = upcast(x);
    let phi = x.clone().div_scalar(std::f64::consts::SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
    downcast(x * phi, dtype)
}

/// Float32, unless it already is.
pub(crate) fn upcast<const R: usize>(x: Tensor<R>) -> Tensor<R> {
    if x.dtype() == DType::F32 { x } else { x.cast(FloatDType::F32) }
}

/// Back to the storage type.
pub(crate) fn downcast<const R: usize>(x: Tensor<R>, dtype: DType) -> Tensor<R> {
    if x.dtype() == dtype { x } else { x.cast(FloatDType::from(dtype)) }
}
