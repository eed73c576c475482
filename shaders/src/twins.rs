//! Formulas that several twins share: softmax attention of one query, and the rotation of one head.

/// `softmax(scale * q·k) v` of one query over the keys given; zeros over none.
///
/// `q` is `[D]`, `keys` and `values` are one `[D]` slice a position. Scores are shifted by their maximum, so
/// none overflows.
pub(crate) fn attend(q: &[f32], keys: &[&[f32]], values: &[&[f32]], scale: f32) -> Vec<f64> {
    let scores: Vec<f64> = keys.iter().map(|k| dot(q, k) * f64::from(scale)).collect();
    let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - maximum).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; q.len()];
    for (weight, v) in weights.iter().zip(values) {
        for (sum, &element) in out.iter_mut().zip(*v) {
            *sum += weight / total * f64::from(element);
        }
    }
    out
}

/// The inner product of two `[D]` slices.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

/// One head turned: `x` is `[D]`, `rotary` is `[2, D/2]`, cosines then sines. Pair (d, d + D/2) turns by the angle of
/// column d (`rotate_half` of transformers' Qwen2.5-VL).
pub(crate) fn turn(x: &[f32], rotary: &[f32]) -> Vec<f64> {
    let half = x.len() / 2;
    let (cosines, sines) = rotary.split_at(half);
    let mut out = vec![0.0; x.len()];
    for d in 0..half {
        let (a, b) = (f64::from(x[d]), f64::from(x[d + half]));
        let (cosine, sine) = (f64::from(cosines[d]), f64::from(sines[d]));
        out[d] = a * cosine - b * sine;
        out[d + half] = b * cosine + a * sine;
    }
    out
}
