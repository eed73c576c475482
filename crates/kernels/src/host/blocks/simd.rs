//! WebAssembly's vectors by name: left to itself the compiler takes a row's dot product apart into single values, at a
//! third of the speed.

use core::arch::wasm32::*;

use super::{BLOCK, scale};

/// A block of four bits a value, as signed bytes in the order of [`Q4`](super::Q4).
#[inline(always)]
pub(super) fn q4(words: &[u32; 4]) -> [v128; 2] {
    let bytes = bytes(words);
    [v128_and(bytes, u8x16_splat(15)), u8x16_shr(bytes, 4)].map(|nibbles| i8x16_sub(nibbles, i8x16_splat(8)))
}

/// A block of eight bits a value.
#[inline(always)]
pub(super) fn q8(&[a, b, c, d, e, f, g, h]: &[u32; 8]) -> [v128; 2] {
    [bytes(&[a, b, c, d]), bytes(&[e, f, g, h])]
}

#[inline(always)]
fn bytes(words: &[u32; 4]) -> v128 {
    u32x4(words[0], words[1], words[2], words[3])
}

#[inline(always)]
fn floats(x: &[f32; 4]) -> v128 {
    f32x4(x[0], x[1], x[2], x[3])
}

/// A row of blocks, each 32 signed bytes by `unpacked`, by an arranged row of x.
#[inline(always)]
pub(super) fn dot<const WORDS: usize>(
    words: &[u32],
    scales: &[u32],
    x: &[f32],
    unpacked: impl Fn(&[u32; WORDS]) -> [v128; 2],
) -> f32 {
    let mut sums = [f32x4_splat(0.0); 2];
    let blocks = words.as_chunks::<WORDS>().0.iter().zip(x.as_chunks::<BLOCK>().0);
    for (index, (words, x)) in blocks.enumerate() {
        let mut block = [f32x4_splat(0.0); 2];
        for (bytes, x) in unpacked(words).into_iter().zip(x.as_chunks::<16>().0) {
            let eights = [i16x8_extend_low_i8x16(bytes), i16x8_extend_high_i8x16(bytes)];
            for (eight, x) in eights.into_iter().zip(x.as_chunks::<8>().0) {
                // Written out: sums in a loop over their array become single values again.
                let (x, _) = x.as_chunks::<4>();
                let low = f32x4_convert_i32x4(i32x4_extend_low_i16x8(eight));
                let high = f32x4_convert_i32x4(i32x4_extend_high_i16x8(eight));
                block[0] = f32x4_add(block[0], f32x4_mul(low, floats(&x[0])));
                block[1] = f32x4_add(block[1], f32x4_mul(high, floats(&x[1])));
            }
        }
        let scale = f32x4_splat(scale(scales, index));
        for (sum, block) in sums.iter_mut().zip(block) {
            *sum = f32x4_add(*sum, f32x4_mul(block, scale));
        }
    }
    let sum = f32x4_add(sums[0], sums[1]);
    let halves = f32x4_add(sum, i32x4_shuffle::<2, 3, 0, 1>(sum, sum));
    f32x4_extract_lane::<0>(halves) + f32x4_extract_lane::<1>(halves)
}
