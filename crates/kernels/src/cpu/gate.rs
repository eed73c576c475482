//! `silu(gate) * up`.

use burn::tensor::Tensor;

use super::{Operation, PIECE, by_rows, exp, run};

#[derive(Debug, Clone)]
struct Gate;

/// Any two equal shapes.
pub(crate) fn silu_mul<const R: usize>(gate: &Tensor<R>, up: &Tensor<R>) -> Option<Tensor<R>> {
    let shape = gate.dims();
    let count = shape.iter().product::<usize>();
    run(Gate, [gate.clone().reshape([count]), up.clone().reshape([count])], shape)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

impl Operation<2> for Gate {
    fn forward(&self, [gate, up]: [&[f32]; 2]) -> (Vec<f32>, Vec<f32>) {
        let mut out = vec![0.0; gate.len()];
        by_rows(&mut out, 1, PIECE, |part, out| {
            for ((out, gate), up) in out.iter_mut().zip(&gate[part.clone()]).zip(&up[part]) {
                *out = gate * sigmoid(*gate) * up;
            }
        });
        (out, Vec::new())
    }

    /// With s = sigmoid(a): d(a s)/da = s (1 + a (1 - s)).
    fn backward(
        &self,
        [gate, up]: [&[f32]; 2],
        _: &[f32],
        upstream: &[f32],
        [of_gate, of_up]: [bool; 2],
    ) -> [Vec<f32>; 2] {
        let mut gradients = [of_gate, of_up].map(|wanted| vec![0.0; if wanted { gate.len() } else { 0 }]);
        let [of_gate, of_up] = &mut gradients;
        by_rows(of_gate, 1, PIECE, |part, out| {
            let inputs = gate[part.clone()].iter().zip(&up[part.clone()]).zip(&upstream[part]);
            for (out, ((gate, up), g)) in out.iter_mut().zip(inputs) {
                let s = sigmoid(*gate);
                *out = g * up * s * (1.0 + gate * (1.0 - s));
            }
        });
        by_rows(of_up, 1, PIECE, |part, out| {
            for (out, (gate, g)) in out.iter_mut().zip(gate[part.clone()].iter().zip(&upstream[part])) {
                *out = g * gate * sigmoid(*gate);
            }
        });
        gradients
    }
}
