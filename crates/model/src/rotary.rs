//! Rotary angles (Su et al., arXiv 2104.09864): multimodal positions of the text model, 2-D positions of the tower.
//!
//! Angles are products of a float32 position and a float32 frequency, as in transformers, so that long sequences round
//! alike. Only the D/2 distinct angles are kept: the second half of a head repeats the first. Tables hold D/2 cosines, then D/2 sines, in float32.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::TextConfig;

/// D/2 cosines, then D/2 sines, for each token; `angles` holds `half` = D/2 values for each.
fn table(angles: &[f32], half: usize) -> Vec<f32> {
    let mut table = Vec::with_capacity(2 * angles.len());
    for token in angles.chunks_exact(half) {
        table.extend(token.iter().map(|&angle| f64::from(angle).cos() as f32));
        table.extend(token.iter().map(|&angle| f64::from(angle).sin() as f32));
    }
    table
}

/// Multimodal rotary positions (M-RoPE): `positions[b][t]` is (time, height, width), rows padded to one width.
///
/// The D/2 frequencies are split by `mrope_section`; the first part follows time, the second height, the third width.
/// Returns `[B, T, 2, D/2]`.
pub fn multimodal(positions: &[Vec<[u32; 3]>], config: &TextConfig, device: &Device) -> Tensor<4> {
    let half = config.head_dim() / 2;
    let frequencies = frequencies(half, config.rope_theta);
    let axis: Vec<usize> =
        config.mrope_section.iter().enumerate().flat_map(|(axis, &n)| std::iter::repeat_n(axis, n)).collect();
    let width = positions.first().map_or(0, Vec::len);
    let mut angles = Vec::with_capacity(positions.len() * width * half);
    for position in positions.iter().flatten() {
        angles.extend((0..half).map(|i| position[axis[i]] as f32 * frequencies[i]));
    }
    let table = table(&angles, half);
    Tensor::from_data(TensorData::new(table, [positions.len(), width, 2, half]), (device, DType::F32))
}

/// 2-D positions of patches: half of the D/2 frequencies follow the row, half the column. Returns `[P, 2, D/2]`.
pub fn planar(positions: &[[usize; 2]], head_dim: usize, device: &Device) -> Tensor<3> {
    let quarter = head_dim / 4;
    let frequencies = frequencies(quarter, 10_000.0);
    let mut angles = Vec::with_capacity(positions.len() * 2 * quarter);
    for position in positions {
        for &p in position {
            angles.extend(frequencies.iter().map(|frequency| p as f32 * frequency));
        }
    }
    let table = table(&angles, 2 * quarter);
    Tensor::from_data(TensorData::new(table, [positions.len(), 2, 2 * quarter]), (device, DType::F32))
}

/// `theta^(-i/n)` for i in 0..n, rounded to float32 where transformers rounds: the exponent, the power, its reciprocal.
fn frequencies(n: usize, theta: f64) -> Vec<f32> {
    (0..n).map(|i| 1.0 / theta.powf(f64::from(i as f32 / n as f32)) as f32).collect()
}
