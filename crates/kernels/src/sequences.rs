//! Causal attention of whole sequences, as training has it: nothing is cached, nothing attends across sequences, and the
//! scores that are held, and kept for the backward pass, are bounded.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::{Cache, Launches, Span, attention_causal, cpu, recompute};

/// Scores of one attention that are held at once, in values of float32, unless a caller says otherwise: 64 MiB.
pub const SCORES_AT_ONCE: usize = 1 << 24;

/// Causal attention within sequences, with grouped query heads (Ainslie et al., arXiv 2305.13245).
///
/// `q` is `[B, T, Hq, D]`, `k` and `v` are `[B, T, Hkv, D]`, rotated. Without `lengths` each row is one sequence; with them
/// B is 1 and the row holds sequences of these lengths one after another, which do not see each other. Scores are scaled by
/// `D^-1/2`; softmax is float32. Returns `[B, T, Hq * D]`.
///
/// Sequences of up to `scores` scores, all heads together, attend at once, and a backward pass keeps them. Longer ones go
/// through their queries in chunks, each over the keys up to its last query, and the backward pass computes a chunk's scores
/// anew: what is kept is queries, keys, values and the result, and no matrix of T x T.
pub fn attention_sequences(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    lengths: Option<&[usize]>,
    scores: usize,
    launches: &mut Launches,
) -> Tensor<3> {
    if let Some(attended) = cpu::causal(&q, &k, &v, lengths) {
        return launches.counted("attention_cpu", attended);
    }
    attention_sequences_composed(q, k, v, lengths, scores, launches)
}

/// [`attention_sequences`] by [`attention_causal`] and [`recompute`].
pub fn attention_sequences_composed(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    lengths: Option<&[usize]>,
    scores: usize,
    launches: &mut Launches,
) -> Tensor<3> {
    let [batch, width, _, _] = q.dims();
    let Some(lengths) = lengths else {
        return sequence(q, k, v, scores, launches);
    };
    assert_eq!((batch, width), (1, lengths.iter().sum()), "the lengths cover one row");
    let starts = lengths.iter().scan(0, |end, &length| {
        *end += length;
        Some(*end - length)
    });
    let attended = starts.zip(lengths).map(|(start, &length)| {
        let part = |x: &Tensor<4>| x.clone().narrow(1, start, length);
        sequence(part(&q), part(&k), part(&v), scores, launches)
    });
    Tensor::cat(attended.collect(), 1)
}

/// One sequence a row.
fn sequence(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scores: usize, launches: &mut Launches) -> Tensor<3> {
    let [batch, width, heads, _] = q.dims();
    if batch * heads * width * width <= scores {
        return chunk(q, k, v, 0..width, launches);
    }
    let rows = (scores / (batch * heads * width)).clamp(1, width);
    let (k, v) = (flat(k), flat(v));
    let chunks = (0..width).step_by(rows).map(|from| {
        let part = from..(from + rows).min(width);
        let q = q.clone().narrow(1, part.start, part.len());
        let (out, shape) = ([batch, part.len(), heads * q.dims()[3]], q.dims());
        let body = move |inputs: &[Tensor<1>], launches: &mut Launches| {
            let [q, k, v] = inputs else { unreachable!("queries, keys, values") };
            let seen = |x: &Tensor<1>| {
                let groups = x.dims()[0] / (batch * width * shape[3]);
                x.clone().reshape([batch, width, groups, shape[3]]).narrow(1, 0, part.end)
            };
            flat(chunk(q.clone().reshape(shape), seen(k), seen(v), part.clone(), launches))
        };
        recompute(vec![flat(q), k.clone(), v.clone()], body, launches).reshape(out)
    });
    Tensor::cat(chunks.collect(), 1)
}

/// The queries of the places `part` over the keys up to the last of them.
fn chunk(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, part: Range<usize>, launches: &mut Launches) -> Tensor<3> {
    let batch = q.dims()[0];
    let device = q.device().without_autodiff();
    let span = Span::new(vec![part.start; batch], vec![part.len(); batch], part.len(), &device);
    let seen = Cache { k: k.swap_dims(1, 2), v: v.swap_dims(1, 2) }; // [B, Hkv, L, D]
    attention_causal(q, &seen, &span, launches)
}

fn flat<const R: usize>(x: Tensor<R>) -> Tensor<1> {
    let count = x.shape().num_elements();
    x.reshape([count])
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    fn values(x: Tensor<1>) -> Vec<f32> {
        x.into_data().try_into_vec().expect("float32")
    }

    /// The result and the gradients of queries, keys and values, each flat.
    fn outcome(
        [q, k, v]: [Tensor<4>; 3],
        attend: impl Fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<3>,
    ) -> [Vec<f32>; 4] {
        let leaves = [q, k, v].map(|x| x.autodiff().require_grad());
        let [q, k, v] = leaves.clone();
        let output = attend(q, k, v);
        // Another weight for every output, so that no error cancels.
        let count = output.shape().num_elements();
        let device = output.device().without_autodiff();
        let weights = Tensor::<1, burn::tensor::Int>::arange(0..count as i64, &device).float().sin();
        let mut gradients = (flat(output.clone()) * weights).sum().backward();
        let [q, k, v] = leaves.map(|x| values(flat(x.grad_remove(&mut gradients).expect("tracked"))));
        [values(flat(output.inner())), q, k, v]
    }

    fn assert_near(got: &[Vec<f32>; 4], want: &[Vec<f32>; 4], what: &str) {
        for (part, (got, want)) in got.iter().zip(want).enumerate() {
            let scale = want.iter().fold(1f32, |top, x| top.max(x.abs()));
            for (a, b) in got.iter().zip(want) {
                assert!((a - b).abs() <= 1e-5 * scale, "{what}, part {part}: {a} and {b}");
            }
        }
    }

    fn input(batch: usize, width: usize) -> [Tensor<4>; 3] {
        let random = |heads: usize| {
            Tensor::random([batch, width, heads, 8], Distribution::Uniform(-1.5, 1.5), &Device::flex())
        };
        [random(4), random(2), random(2)]
    }

    #[test]
    fn chunks_attend_as_the_whole_and_have_its_gradients() {
        let inputs = input(2, 13);
        let of = |scores: usize| {
            outcome(inputs.clone(), |q, k, v| {
                attention_sequences(q, k, v, None, scores, &mut Launches::new())
            })
        };
        let whole = of(SCORES_AT_ONCE);
        // One query at a time, three, all but one.
        for scores in [1, 2 * 4 * 13 * 3, 2 * 4 * 13 * 12] {
            assert_near(&of(scores), &whole, &format!("{scores} scores"));
        }
    }

    #[test]
    fn packed_sequences_attend_as_they_would_alone() {
        let lengths = [5, 1, 7];
        let inputs = input(1, 13);
        for scores in [SCORES_AT_ONCE, 60] {
            let packed = outcome(inputs.clone(), |q, k, v| {
                attention_sequences(q, k, v, Some(&lengths), scores, &mut Launches::new())
            });
            let alone = outcome(inputs.clone(), |q, k, v| {
                let mut start = 0;
                let rows = lengths.map(|length| {
                    let part = |x: &Tensor<4>| x.clone().narrow(1, start, length);
                    let row = chunk(part(&q), part(&k), part(&v), 0..length, &mut Launches::new());
                    start += length;
                    row
                });
                Tensor::cat(rows.to_vec(), 1)
            });
            assert_near(&packed, &alone, &format!("{scores} scores"));
        }
    }
}
