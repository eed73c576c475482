//! One update of AdamW (Loshchilov and Hutter, arXiv 1711.05101): a dozen operations of a tensor library in one pass.

use burn::backend::Flex;
use burn::tensor::{DType, Tensor};

#[cfg(not(target_arch = "wasm32"))]
use super::PIECE;
use super::{on_cpu, values};

/// The numbers of one update, those that depend on the count of updates included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwStep {
    /// What gradients are multiplied by before anything else.
    pub scale: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the corrected second moment.
    pub eps: f64,
    /// What the parameter is multiplied by: 1 less rate times decay.
    pub keep: f64,
    /// The rate by the first moment's correction, `rate / (1 - beta1^n)`.
    pub rate: f64,
    /// Root of the second moment's correction, `sqrt(1 - beta2^n)`.
    pub correction: f64,
}

/// Parameter and both moments, `[parameter, first, second]`, after one update by `gradient`, in the storage of the old ones
/// where nothing else holds them. All are flat, of one length and untracked. Gives them back as they are where one is not
/// float32 on the CPU.
#[expect(clippy::result_large_err, reason = "handles of tensors, a few a parameter")]
pub fn adamw(
    state: [Tensor<1>; 3],
    gradient: &Tensor<1>,
    step: AdamwStep,
) -> Result<[Tensor<1>; 3], [Tensor<1>; 3]> {
    let fits = |x: &Tensor<1>| x.dtype() == DType::F32 && !x.is_autodiff() && on_cpu(x);
    if !state.iter().all(fits) || !fits(gradient) {
        return Err(state);
    }
    let [mut parameter, mut first, mut second] = state.map(|x| values(x).expect("on the CPU"));
    let gradient = values(gradient.clone()).expect("on the CPU");
    let at = |x: f64| x as f32;
    let AdamwStep { scale, beta1, beta2, eps, keep, rate, correction } = step;
    let (scale, eps, keep, rate) = (at(scale), at(eps), at(keep), at(rate));
    let (beta2, rest1, rest2, inverse) = (at(beta2), at(1.0 - beta1), at(1.0 - beta2), at(1.0 / correction));
    let update = |p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]| {
        for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g * scale;
            *m += (g - *m) * rest1;
            *v = *v * beta2 + g * g * rest2;
            *p = *p * keep - rate * *m / (v.sqrt() * inverse + eps);
        }
    };
    let [p, m, v] = [&mut parameter, &mut first, &mut second].map(|x| x.storage_mut::<f32>());
    let g = gradient.storage::<f32>();
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        let pieces = p.par_chunks_mut(PIECE).zip(m.par_chunks_mut(PIECE)).zip(v.par_chunks_mut(PIECE));
        pieces.zip(g.par_chunks(PIECE)).for_each(|(((p, m), v), g)| update(p, m, v, g));
    }
    #[cfg(target_arch = "wasm32")]
    update(p, m, v, g);
    Ok([parameter, first, second].map(Tensor::from_primitive::<Flex>))
}
