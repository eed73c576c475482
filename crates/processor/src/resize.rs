//! Pillow's antialiased bicubic resize of 8-bit RGB, bit for bit.
//!
//! The released model was trained on pictures that Pillow resized, so the arithmetic is Pillow's: a Keys cubic with
//! a = −0.5 whose support widens when shrinking, weights in 22-bit fixed point, one rounding per pass. Algorithm:
//! Pillow 13, `src/libImaging/Resample.c`.

use crate::rows::for_each_row;

/// Fractional bits of a weight: 32 less 8 for the pixel and 2 for overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);
/// Half-width of the cubic, in source pixels, when not shrinking.
const SUPPORT: f64 = 2.0;

/// The weights of one output pixel: they apply to the source pixels from `start` on.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

/// Resizes interleaved RGB, `width * height * 3` bytes, to `out_width` × `out_height`.
///
/// No side may be 0. Panics when `rgb` has another length than its size says.
pub fn resize(rgb: &[u8], width: usize, height: usize, out_width: usize, out_height: usize) -> Vec<u8> {
    assert_eq!(rgb.len(), width * height * 3, "the buffer has the length that its size says");
    assert!([width, height, out_width, out_height].iter().all(|&side| side > 0), "no side is 0");
    let wide = (width != out_width).then(|| taps(width, out_width));
    let tall = (height != out_height).then(|| taps(height, out_height));
    match (wide, tall) {
        (None, None) => rgb.to_vec(),
        (Some(wide), None) => horizontal(rgb, width, &wide, 0..height),
        (None, Some(tall)) => vertical(rgb, width, &tall),
        (Some(wide), Some(tall)) if vertical_first([width, height], [out_width, out_height]) => {
            horizontal(&vertical(rgb, width, &tall), width, &wide, 0..out_height)
        }
        (Some(wide), Some(tall)) => {
            // Only the rows that the second pass reads; the taps reach the last of them at the end.
            let used = tall[0].start..tall[out_height - 1].start + tall[out_height - 1].weights.len();
            vertical(&horizontal(rgb, width, &wide, used), out_width, &tall)
        }
    }
}

/// Pillow's choice since 13.0: columns first when the height shrinks by more than twice as many pixels as the width.
/// Each pass rounds, so the order shows in the result.
fn vertical_first([width, height]: [usize; 2], [out_width, out_height]: [usize; 2]) -> bool {
    let loss = |from: usize, to: usize| from as i64 - to as i64;
    loss(height, out_height) > (2 * loss(width, out_width)).max(0)
}

/// Keys' cubic convolution kernel, a = −0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The weights of every output pixel along one axis. They sum to 1 before they are rounded to fixed point.
fn taps(len: usize, out_len: usize) -> Vec<Taps> {
    let scale = len as f64 / out_len as f64;
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    let inverse = 1.0 / stretch;
    let one_pixel = |out: usize| {
        let center = (out as f64 + 0.5) * scale;
        let start = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(len);
        let mut weights: Vec<f64> =
            (start..end).map(|x| cubic((x as f64 - center + 0.5) * inverse)).collect();
        let sum: f64 = weights.iter().sum();
        if sum != 0.0 {
            weights.iter_mut().for_each(|w| *w /= sum);
        }
        Taps { start, weights: weights.into_iter().map(fixed_point).collect() }
    };
    (0..out_len).map(one_pixel).collect()
}

/// Rounds half away from zero, as C's cast after adding ±0.5 does.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1u32 << PRECISION_BITS);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Resizes every row in `used`; rows outside it are left 0, so that a row keeps its index.
fn horizontal(rgb: &[u8], width: usize, taps: &[Taps], used: std::ops::Range<usize>) -> Vec<u8> {
    let height = rgb.len() / (width * 3);
    let row_len = taps.len() * 3;
    let mut out = vec![0; height * row_len];
    let first = used.start;
    for_each_row(&mut out[used.start * row_len..used.end * row_len], row_len, |y, row| {
        let source = &rgb[(first + y) * width * 3..][..width * 3];
        for (pixel, tap) in row.as_chunks_mut::<3>().0.iter_mut().zip(taps) {
            let (pixels, _) = source[tap.start * 3..].as_chunks::<3>();
            let mut sum = [HALF; 3];
            for (from, &weight) in pixels.iter().zip(&tap.weights) {
                for c in 0..3 {
                    sum[c] += i32::from(from[c]) * weight;
                }
            }
            *pixel = sum.map(clip);
        }
    });
    out
}

/// Resizes every column of rows of `width` pixels.
fn vertical(rows: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    /// Bytes whose sums stay in registers while the weights run.
    const LANES: usize = 32;
    let row_len = width * 3;
    let mut out = vec![0; taps.len() * row_len];
    for_each_row(&mut out, row_len, |y, row| {
        let tap = &taps[y];
        for (block, bytes) in row.chunks_mut(LANES).enumerate() {
            let mut sums = [HALF; LANES];
            for (i, &weight) in tap.weights.iter().enumerate() {
                let from = &rows[(tap.start + i) * row_len + block * LANES..][..bytes.len()];
                for (sum, &byte) in sums.iter_mut().zip(from) {
                    *sum += i32::from(byte) * weight;
                }
            }
            for (byte, sum) in bytes.iter_mut().zip(sums) {
                *byte = clip(sum);
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Both passes in double precision, rounding only at the end, weights taken anew for each pixel.
    fn twin(rgb: &[u8], [w, h]: [usize; 2], [out_w, out_h]: [usize; 2]) -> Vec<f64> {
        let weights = |out: usize, len: usize, out_len: usize| -> Vec<f64> {
            let scale = len as f64 / out_len as f64;
            let stretch = scale.max(1.0);
            let offset = |i: usize| (i as f64 + 0.5 - (out as f64 + 0.5) * scale) / stretch;
            let all: Vec<f64> = (0..len).map(|i| cubic(offset(i))).collect();
            let sum: f64 = all.iter().sum();
            all.into_iter().map(|weight| weight / sum).collect()
        };
        let mut out = Vec::new();
        for y in 0..out_h {
            let down = weights(y, h, out_h);
            for x in 0..out_w {
                let across = weights(x, w, out_w);
                for c in 0..3 {
                    let at = |i: usize, j: usize| f64::from(rgb[(i * w + j) * 3 + c]) * down[i] * across[j];
                    let sum: f64 =
                        (0..h).flat_map(|i| (0..w).map(move |j| (i, j))).map(|(i, j)| at(i, j)).sum();
                    out.push(sum.clamp(0.0, 255.0));
                }
            }
        }
        out
    }

    fn sides() -> impl Strategy<Value = [usize; 2]> {
        [1usize..24, 1usize..24]
    }

    proptest! {
        // The first pass rounds and clips, so a sharp edge can be off by more than a rounding: a soft picture is not.
        #[test]
        fn stays_near_the_definition(from in sides(), to in sides(), slope in 0u8..9) {
            let byte = |i: usize| 100 + ((i / 3 % from[0]) as u8 % 8) * (slope / 3) + (i % 3) as u8;
            let rgb: Vec<u8> = (0..from[0] * from[1] * 3).map(byte).collect();
            let ours = resize(&rgb, from[0], from[1], to[0], to[1]);
            for (a, b) in ours.iter().zip(twin(&rgb, from, to)) {
                prop_assert!((f64::from(*a) - b).abs() < 1.6, "{a} for {b}");
            }
        }

        #[test]
        fn keeps_a_plain_picture_plain(from in sides(), to in sides(), colour: [u8; 3]) {
            let ours = resize(&colour.repeat(from[0] * from[1]), from[0], from[1], to[0], to[1]);
            prop_assert_eq!(ours, colour.repeat(to[0] * to[1]));
        }
    }

    #[test]
    fn same_size_is_the_same_picture() {
        let rgb: Vec<u8> = (0..5 * 7 * 3).collect();
        assert_eq!(resize(&rgb, 5, 7, 5, 7), rgb);
    }

    #[test]
    fn columns_go_first_when_the_height_shrinks_much_more() {
        assert!(vertical_first([130, 153], [140, 140]));
        assert!(vertical_first([40, 75], [29, 42]));
        assert!(!vertical_first([60, 70], [53, 61]), "9 is not more than twice 7");
        assert!(!vertical_first([11, 57], [63, 85]), "growing");
    }
}
