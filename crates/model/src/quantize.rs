//! Floats to packed rows: the nearest that a packing can say.
//!
//! A block's scale is chosen to make the sum of squared errors small. For four bits a handful of scales around the one that
//! just reaches the block's largest value is tried; for each, the values are rounded and the scale is then set to the one
//! that fits the rounded values best, Σ x n / Σ n² (least squares). The scale is rounded to its half before errors are
//! compared, so what is compared is what a reader will see. A negative scale is as good as a positive one and lets
//! the largest value take the code -8, which has no counterpart.
//!
//! Scales are never subnormal halves: hardware may read those as zero. Values that would ask for one are below 5e-4.

use half::f16;
use wethink_kernels::Packing;

/// Values of a block.
const BLOCK: usize = 32;

/// The least scale of a block that is not zero, 2^-14: the least normal half.
const LEAST: f32 = 6.103_515_6e-5;

/// Why values cannot be packed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// NaN or an infinity.
    #[error("a value is {0}; the checkpoint is broken")]
    NotFinite(f32),
    /// Beyond what a half, or a half of a scale, can hold.
    #[error("a value of {0} is beyond the range of the type; keep this tensor in f32")]
    Range(f32),
}

/// A row's words and scales, appended to `words` and `scales` as [`Packing`] lays them out.
///
/// # Errors
/// A value is not finite, or too large for the packing.
pub fn pack_row(
    packing: Packing,
    row: &[f32],
    words: &mut Vec<u32>,
    scales: &mut Vec<u32>,
) -> Result<(), QuantizeError> {
    if let Some(value) = row.iter().find(|value| !value.is_finite()) {
        return Err(QuantizeError::NotFinite(*value));
    }
    let top = row.iter().fold(0f32, |top, value| top.max(value.abs()));
    let limit = match packing {
        Packing::Q4 => 7.0 * f16::MAX.to_f32(),
        Packing::Q8 => 127.0 * f16::MAX.to_f32(),
        Packing::F16 => f16::MAX.to_f32(),
    };
    if top > limit {
        return Err(QuantizeError::Range(top));
    }
    let before = scales.len();
    for (index, block) in row.chunks(BLOCK).enumerate() {
        let mut values = [0.0; BLOCK];
        values[..block.len()].copy_from_slice(block);
        let scale = match packing {
            Packing::Q4 => {
                let (scale, codes) = four_bits(&values);
                words.extend(codes.as_chunks::<8>().0.iter().map(|codes| {
                    (0..4).fold(0, |word, b| {
                        let low = (codes[b] + 8.0) as u32;
                        let high = (codes[b + 4] + 8.0) as u32;
                        word | (low | high << 4) << (8 * b)
                    })
                }));
                scale
            }
            Packing::Q8 => {
                let (scale, codes) = eight_bits(&values);
                let bytes = |codes: &[f32; 4]| u32::from_le_bytes(codes.map(|code| code as i8 as u8));
                words.extend(codes.as_chunks::<4>().0.iter().map(bytes));
                scale
            }
            Packing::F16 => {
                let half = |value: f32| u32::from(f16::from_f32(value).to_bits());
                words
                    .extend(values.as_chunks::<2>().0.iter().map(|pair| half(pair[0]) | half(pair[1]) << 16));
                continue;
            }
        };
        match index % 2 {
            0 => scales.push(u32::from(scale.to_bits())),
            _ => scales[before + index / 2] |= u32::from(scale.to_bits()) << 16,
        }
    }
    Ok(())
}

/// Scale and codes, -8 to 7, of a block.
fn four_bits(values: &[f32; BLOCK]) -> (f16, [f32; BLOCK]) {
    let extreme = values.iter().fold(0f32, |top, &value| if value.abs() > top.abs() { value } else { top });
    // The largest value takes the code -8, or one of -9.2 to -6.2 before the fit; or 7, or so.
    let candidates = (-6..=4).map(|step| -8.0 + 0.3 * step as f32).chain([6.4, 7.0, 7.6]);
    best(values, -8.0, 7.0, candidates.map(|code| extreme / code))
}

/// Scale and codes, -127 to 127, of a block.
fn eight_bits(values: &[f32; BLOCK]) -> (f16, [f32; BLOCK]) {
    let top = values.iter().fold(0f32, |top, &value| top.max(value.abs()));
    best(values, -127.0, 127.0, [top / 127.0, top / 127.4].into_iter())
}

/// The candidate with the smallest error, each as it is and fitted to its own codes.
fn best(
    values: &[f32; BLOCK],
    low: f32,
    high: f32,
    candidates: impl Iterator<Item = f32>,
) -> (f16, [f32; BLOCK]) {
    let mut best = (f16::ZERO, [0.0; BLOCK]);
    let mut least = values.iter().map(|x| x * x).sum::<f32>();
    for candidate in candidates {
        for scale in [candidate, fitted(values, &codes(values, candidate, low, high))] {
            if !scale.is_finite() || scale == 0.0 {
                continue;
            }
            let scale = f16::from_f32(scale.signum() * scale.abs().clamp(LEAST, f16::MAX.to_f32()));
            let codes = codes(values, scale.to_f32(), low, high);
            let error = |(x, n): (&f32, &f32)| (x - n * scale.to_f32()).powi(2);
            let error: f32 = values.iter().zip(&codes).map(error).sum();
            if error < least {
                (least, best) = (error, (scale, codes));
            }
        }
    }
    best
}

fn codes(values: &[f32; BLOCK], scale: f32, low: f32, high: f32) -> [f32; BLOCK] {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    values.map(|x| (x * inverse).round_ties_even().clamp(low, high))
}

/// The scale that fits the codes best.
fn fitted(values: &[f32; BLOCK], codes: &[f32; BLOCK]) -> f32 {
    let both: f32 = values.iter().zip(codes).map(|(x, n)| x * n).sum();
    let codes: f32 = codes.iter().map(|n| n * n).sum();
    if codes == 0.0 { 0.0 } else { both / codes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uniform;
    use proptest::prelude::*;

    fn round_trip(packing: Packing, row: &[f32]) -> Vec<f32> {
        let (mut words, mut scales) = (Vec::new(), Vec::new());
        pack_row(packing, row, &mut words, &mut scales).expect("finite and small");
        assert_eq!(words.len(), packing.row_words(row.len()));
        assert_eq!(scales.len(), packing.scale_words(row.len()));
        let mut out = vec![0.0; row.len()];
        packing.unpack(&words, &scales, &mut out);
        out
    }

    fn normal(count: usize) -> Vec<f32> {
        let draw = |i: usize, j: u32| uniform(1, 2, 3, j, i as u32);
        let value = |i| (-2.0 * (1.0 - draw(i, 0)).ln()).sqrt() * (std::f64::consts::TAU * draw(i, 1)).cos();
        (0..count).map(|i| (0.02 * value(i)) as f32).collect()
    }

    fn error(got: &[f32], want: &[f32]) -> f32 {
        let square = |x: f32| x * x;
        let off: f32 = got.iter().zip(want).map(|(a, b)| square(a - b)).sum();
        (off / want.iter().copied().map(square).sum::<f32>()).sqrt()
    }

    /// What rounding to the largest value alone gives.
    fn naive(row: &[f32]) -> Vec<f32> {
        let block = |block: &[f32]| {
            let scale = block.iter().fold(0f32, |top, x| top.max(x.abs())) / 7.0;
            block.iter().map(|x| (x / scale).round() * scale).collect::<Vec<_>>()
        };
        row.chunks(BLOCK).flat_map(block).collect()
    }

    #[test]
    fn scales_that_minimise_the_error_beat_scales_that_reach_the_largest_value() {
        let row = normal(4096);
        let (ours, theirs) = (error(&round_trip(Packing::Q4, &row), &row), error(&naive(&row), &row));
        assert!(ours < 0.9 * theirs, "{ours} against {theirs}");
        assert!(ours < 0.085, "{ours}");
        assert!(error(&round_trip(Packing::Q8, &row), &row) < 0.006);
        assert!(error(&round_trip(Packing::F16, &row), &row) < 3e-4);
    }

    #[test]
    fn what_a_packing_can_say_is_said_exactly() {
        let row: Vec<f32> =
            (0..64).map(|i| ((i % 16) as f32 - 8.0) * if i < 32 { 0.25 } else { -2.0 }).collect();
        assert_eq!(round_trip(Packing::Q4, &row), row);
        let row: Vec<f32> = (0..255).map(|i| (i as f32 - 127.0) * 0.5).collect();
        let got = round_trip(Packing::Q8, &row);
        assert!(error(&got, &row) < 2e-3);
        assert_eq!(round_trip(Packing::Q4, &[0.0; 33]), [0.0; 33]);
    }

    #[test]
    fn values_beyond_a_type_are_refused_and_large_ones_are_not() {
        let pack = |packing, value: f32| pack_row(packing, &[value, 1.0], &mut Vec::new(), &mut Vec::new());
        for packing in [Packing::Q4, Packing::Q8, Packing::F16] {
            assert!(matches!(pack(packing, f32::NAN), Err(QuantizeError::NotFinite(_))));
            assert!(matches!(pack(packing, f32::NEG_INFINITY), Err(QuantizeError::NotFinite(_))));
            assert_eq!(pack(packing, -1e9), Err(QuantizeError::Range(1e9)));
            assert_eq!(pack(packing, 65504.0), Ok(()));
        }
        let got = round_trip(Packing::Q4, &[4e5, -4e5, 1.0]);
        assert!((got[0] - 4e5).abs() < 4e4 && (got[1] + 4e5).abs() < 4e4, "{got:?}");
    }

    proptest! {
        /// The squared errors of a block add up to no more than half a step each of the scale that reaches its largest
        /// value: no value is further off than √32 / 2 < 3 such steps.
        #[test]
        fn errors_are_bounded_by_a_step(row in prop::collection::vec(-1e4f32..1e4, 1..100), power in -12..2) {
            let row: Vec<f32> = row.iter().map(|x| x * 10f32.powi(power)).collect();
            for (packing, steps) in [(Packing::Q4, 7.0f32), (Packing::Q8, 127.0)] {
                let got = round_trip(packing, &row);
                for (got, want) in got.chunks(BLOCK).zip(row.chunks(BLOCK)) {
                    let top = want.iter().fold(0f32, |top, x| top.max(x.abs()));
                    let bound = 3.0 * (top / steps).max(LEAST);
                    prop_assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() <= bound), "{got:?} {want:?}");
                }
            }
        }
    }
}
