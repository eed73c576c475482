//! Rotary positions: a rotation of pairs of a head's features, whose gradient is the rotation back.

use burn::tensor::Tensor;

use super::{Operation, by_rows, rows_of_piece, run};

#[derive(Debug, Clone)]
struct Rotation {
    /// Heads of a token.
    heads: usize,
    /// How many of these, the first, are rotated; the others stay as they are.
    turned: usize,
    /// D/2.
    half: usize,
}

/// `[B, T, H, D]` by the angles of every token, `[B, T, 2, D/2]`, which are constants.
pub(crate) fn rotate(x: &Tensor<4>, table: &Tensor<4>) -> Option<Tensor<4>> {
    let shape @ [batch, tokens, heads, dim] = x.dims();
    assert_eq!(table.dims(), [batch, tokens, 2, dim / 2], "angles of every token");
    run(Rotation { heads, turned: heads, half: dim / 2 }, [flat(x), flat(table)], shape)
}

/// Queries and keys of `[P, 3, H, D]` by the angles of every patch, `[P, 2, D/2]`; values stay as they are.
pub(crate) fn rotate_joined(qkv: &Tensor<4>, table: &Tensor<3>) -> Option<Tensor<4>> {
    let shape @ [patches, _, heads, dim] = qkv.dims();
    assert_eq!(table.dims(), [patches, 2, dim / 2], "angles of every patch");
    let rotation = Rotation { heads: 3 * heads, turned: 2 * heads, half: dim / 2 };
    run(rotation, [flat(qkv), flat(table)], shape)
}

fn flat<const R: usize>(x: &Tensor<R>) -> Tensor<1> {
    x.clone().reshape([x.shape().num_elements()])
}

impl Rotation {
    fn turn(&self, x: &[f32], table: &[f32], sign: f32) -> Vec<f32> {
        let half = self.half;
        let width = 2 * half * self.heads;
        let mut out = vec![0.0; x.len()];
        by_rows(&mut out, width, rows_of_piece(width), |tokens, out| {
            let x = x[tokens.start * width..tokens.end * width].chunks_exact(width);
            let angles = table[tokens.start * 2 * half..].chunks_exact(2 * half);
            for ((x, out), angles) in x.zip(out.chunks_exact_mut(width)).zip(angles) {
                let (cos, sin) = angles.split_at(half);
                let still = 2 * half * self.turned;
                out[still..].copy_from_slice(&x[still..]);
                let (x, out) = (&x[..still], &mut out[..still]);
                for (x, out) in x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half)) {
                    let ((a, b), (first, second)) = (x.split_at(half), out.split_at_mut(half));
                    for i in 0..half {
                        let sin = sign * sin[i];
                        first[i] = a[i] * cos[i] - b[i] * sin;
                        second[i] = b[i] * cos[i] + a[i] * sin;
                    }
                }
            }
        });
        out
    }
}

impl Operation<2> for Rotation {
    /// The angles alone.
    const READS: [bool; 2] = [false, true];

    fn forward(&self, [x, table]: [&[f32]; 2]) -> (Vec<f32>, Vec<f32>) {
        (self.turn(x, table, 1.0), Vec::new())
    }

    fn backward(
        &self,
        [_, table]: [&[f32]; 2],
        _: &[f32],
        upstream: &[f32],
        [of_x, of_table]: [bool; 2],
    ) -> [Vec<f32>; 2] {
        assert!(!of_table, "angles are constants");
        [if of_x { self.turn(upstream, table, -1.0) } else { Vec::new() }, Vec::new()]
    }
}
