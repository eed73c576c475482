//! `x / sqrt(mean(x^2) + eps) * weight`.

use burn::tensor::Tensor;

use super::{Operation, by_rows, rows_of_piece, run};

#[derive(Debug, Clone)]
struct Norm {
    width: usize,
    eps: f32,
}

/// `[.., C]` and `[C]` to `[.., C]`.
pub(crate) fn rms_norm<const R: usize>(x: &Tensor<R>, weight: &Tensor<1>, eps: f64) -> Option<Tensor<R>> {
    let shape = x.dims();
    let width = shape[R - 1];
    let count = shape.iter().product::<usize>();
    run(Norm { width, eps: eps as f32 }, [x.clone().reshape([count]), weight.clone()], shape)
}

impl Norm {
    fn scale(&self, x: &[f32]) -> f32 {
        let mut sums = [0f32; 8];
        let (eights, rest) = x.as_chunks::<8>();
        for eight in eights {
            for (sum, x) in sums.iter_mut().zip(eight) {
                *sum += x * x;
            }
        }
        let total = sums.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>();
        1.0 / (total / self.width as f32 + self.eps).sqrt()
    }
}

impl Operation<2> for Norm {
    fn forward(&self, [x, weight]: [&[f32]; 2]) -> (Vec<f32>, Vec<f32>) {
        let mut out = vec![0.0; x.len()];
        by_rows(&mut out, self.width, rows_of_piece(self.width), |rows, out| {
            let x = &x[rows.start * self.width..rows.end * self.width];
            for (x, out) in x.chunks_exact(self.width).zip(out.chunks_exact_mut(self.width)) {
                let scale = self.scale(x);
                for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                    *out = x * scale * w;
                }
            }
        });
        (out, Vec::new())
    }

    /// With y = x s: dx = s (g w - y mean(g w y)), dw = sum over rows of g y.
    fn backward(
        &self,
        [x, weight]: [&[f32]; 2],
        _: &[f32],
        upstream: &[f32],
        [of_x, of_weight]: [bool; 2],
    ) -> [Vec<f32>; 2] {
        let width = self.width;
        let at_once = rows_of_piece(width);
        let mut dx = vec![0.0; if of_x { x.len() } else { 0 }];
        by_rows(&mut dx, width, at_once, |rows, dx| {
            let part = rows.start * width..rows.end * width;
            let rows = x[part.clone()].chunks_exact(width).zip(upstream[part].chunks_exact(width));
            for ((x, g), dx) in rows.zip(dx.chunks_exact_mut(width)) {
                let scale = self.scale(x);
                let mut dot = 0.0;
                for ((dx, (x, g)), w) in dx.iter_mut().zip(x.iter().zip(g)).zip(weight) {
                    *dx = g * w;
                    dot += *dx * x;
                }
                let along = dot * scale * scale / width as f32;
                for (dx, x) in dx.iter_mut().zip(x) {
                    *dx = scale * (*dx - x * along);
                }
            }
        });
        if !of_weight {
            return [dx, Vec::new()];
        }
        // One sum a piece, then the sum of these.
        let pieces = (x.len() / width).div_ceil(at_once);
        let mut sums = vec![0.0; pieces * width];
        by_rows(&mut sums, width, 1, |piece, sum| {
            let first = piece.start * at_once * width;
            let part = first..(first + at_once * width).min(x.len());
            for (x, g) in x[part.clone()].chunks_exact(width).zip(upstream[part].chunks_exact(width)) {
                let scale = self.scale(x);
                for ((sum, x), g) in sum.iter_mut().zip(x).zip(g) {
                    *sum += g * x * scale;
                }
            }
        });
        let mut dw = vec![0.0; width];
        for sum in sums.chunks_exact(width) {
            for (dw, sum) in dw.iter_mut().zip(sum) {
                *dw += sum;
            }
        }
        [dx, dw]
    }
}
