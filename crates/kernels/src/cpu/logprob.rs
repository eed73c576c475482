//! log softmax(logits / temperature) at one id a row.

use burn::tensor::{Int, Tensor};

use super::{Operation, by_rows, exp, rows_of_piece, run};

#[derive(Debug, Clone)]
struct Chosen {
    ids: Vec<u32>,
    vocab: usize,
    inverse_temperature: f32,
}

/// `[N, V]` and `[N]` to `[N]`. An id outside the vocabulary is a fault of the caller's, as in `gather`.
pub(crate) fn logprobs(logits: &Tensor<2>, ids: &Tensor<1, Int>, temperature: f64) -> Option<Tensor<1>> {
    let [rows, vocab] = logits.dims();
    let flat = logits.clone().reshape([rows * vocab]);
    if flat.dtype() != burn::tensor::DType::F32 || !super::on_cpu(&flat) {
        return None;
    }
    let ids = crate::host::read(ids.clone().into_data_async()).iter::<i64>().map(|id| id as u32).collect();
    run(Chosen { ids, vocab, inverse_temperature: (1.0 / temperature) as f32 }, [flat], [rows])
}

impl Chosen {
    /// The largest scaled logit of a row, and the logarithm of the sum of exponentials of the differences from it: apart, since
    /// their sum would lose the digits of the second.
    fn normaliser(&self, row: &[f32]) -> [f32; 2] {
        let top = row.iter().fold(f32::NEG_INFINITY, |top, x| top.max(x * self.inverse_temperature));
        let sum: f64 = row.iter().map(|x| f64::from(exp(x * self.inverse_temperature - top))).sum();
        [top, sum.ln() as f32]
    }
}

impl Operation<1> for Chosen {
    /// Keeps the normalisers of every row.
    fn forward(&self, [logits]: [&[f32]; 1]) -> (Vec<f32>, Vec<f32>) {
        let mut normalisers = vec![0.0; 2 * self.ids.len()];
        by_rows(&mut normalisers, 2, rows_of_piece(self.vocab), |rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(2)) {
                out.copy_from_slice(&self.normaliser(&logits[row * self.vocab..][..self.vocab]));
            }
        });
        let chosen = self.ids.iter().enumerate().map(|(row, &id)| {
            let [top, rest] = [normalisers[2 * row], normalisers[2 * row + 1]];
            logits[row * self.vocab + id as usize] * self.inverse_temperature - top - rest
        });
        (chosen.collect(), normalisers)
    }

    /// d log p / d logit = (1 where it is the id, less p) / temperature.
    fn backward(
        &self,
        [logits]: [&[f32]; 1],
        normalisers: &[f32],
        upstream: &[f32],
        _: [bool; 1],
    ) -> [Vec<f32>; 1] {
        let vocab = self.vocab;
        let mut out = vec![0.0; logits.len()];
        by_rows(&mut out, vocab, rows_of_piece(vocab), |rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(vocab)) {
                let g = upstream[row] * self.inverse_temperature;
                let [top, rest] = [normalisers[2 * row], normalisers[2 * row + 1]];
                for (out, x) in out.iter_mut().zip(&logits[row * vocab..][..vocab]) {
                    *out = -g * exp(x * self.inverse_temperature - top - rest);
                }
                out[self.ids[row] as usize] += g;
            }
        });
        [out]
    }
}
