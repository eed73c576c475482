//! How weights are packed into 32-bit words: what the kernels read, and what their twins are told it means.
//!
//! A matrix is packed row by row. A row of W values has B = ⌈W / 32⌉ blocks of 32, the last padded with zeros.
//!
//! - **Q4**: four words a block. Byte `b` of word `w` holds value `8w + b` in its low and `8w + 4 + b` in its high four
//!   bits, so that one mask turns a word into four neighbouring values. The value is `(n - 8) * scale`.
//! - **Q8**: eight words a block. Byte `b` of word `w` is value `4w + b`, signed; the value is `n * scale`.
//! - **F16**: sixteen words a block, two halves each; no scales.
//!
//! Scales are halves, two in a word, ⌈B / 2⌉ words a row. Kernels read halves by `unpack2x16float`, which needs no
//! feature of the adapter; all arithmetic is f32.

use half::f16;

/// Values of a block: those that share a scale.
pub const BLOCK: usize = 32;

/// A way of packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Four bits and a scale for each block.
    Q4,
    /// Eight bits and a scale for each block.
    Q8,
    /// Halves.
    F16,
}

impl Packing {
    /// How kernels name it: the number of values in a word.
    pub fn per_word(self) -> u32 {
        match self {
            Self::Q4 => 8,
            Self::Q8 => 4,
            Self::F16 => 2,
        }
    }

    /// Words of a row of `width` values.
    pub fn row_words(self, width: usize) -> usize {
        width.div_ceil(BLOCK) * BLOCK / self.per_word() as usize
    }

    /// Words of the scales of a row of `width` values.
    pub fn scale_words(self, width: usize) -> usize {
        if self == Self::F16 { 0 } else { width.div_ceil(BLOCK).div_ceil(2) }
    }

    /// Writes one row's values to `out`, `[width]`: the definition of the format.
    pub fn unpack(self, words: &[u32], scales: &[u32], out: &mut [f32]) {
        match self {
            Self::Q4 => blocks(words, scales, 4, out, |words, scale, block| {
                for (&word, eight) in words.iter().zip(block.as_chunks_mut::<8>().0) {
                    for (value, n) in eight.iter_mut().zip(nibbles(word)) {
                        *value = f32::from(n.wrapping_sub(8)) * scale;
                    }
                }
            }),
            Self::Q8 => blocks(words, scales, 8, out, |words, scale, block| {
                for (&word, four) in words.iter().zip(block.as_chunks_mut::<4>().0) {
                    for (value, byte) in four.iter_mut().zip(word.to_le_bytes()) {
                        *value = f32::from(byte as i8) * scale;
                    }
                }
            }),
            Self::F16 => {
                for (pair, &word) in out.chunks_mut(2).zip(words) {
                    for (value, half) in pair.iter_mut().zip([word as u16, (word >> 16) as u16]) {
                        *value = f16::from_bits(half).to_f32();
                    }
                }
            }
        }
    }
}

/// The eight values of a word of four bits each, 0 to 15, in their order.
#[inline(always)]
fn nibbles(word: u32) -> [i8; 8] {
    let [low, high] =
        [word & 0x0F0F_0F0F, (word >> 4) & 0x0F0F_0F0F].map(|four| four.to_le_bytes().map(|n| n as i8));
    [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]]
}

/// Unpacks block by block; `each` gets a block's words, its scale and a whole block to fill.
fn blocks(
    words: &[u32],
    scales: &[u32],
    block_words: usize,
    out: &mut [f32],
    each: impl Fn(&[u32], f32, &mut [f32; BLOCK]),
) {
    let mut whole = [0.0; BLOCK];
    for (index, (words, out)) in words.chunks_exact(block_words).zip(out.chunks_mut(BLOCK)).enumerate() {
        let scale = scale(scales, index);
        match <&mut [f32; BLOCK]>::try_from(&mut *out) {
            Ok(block) => each(words, scale, block),
            Err(_) => {
                each(words, scale, &mut whole);
                let width = out.len();
                out.copy_from_slice(&whole[..width]);
            }
        }
    }
}

/// The scale of a row's block, by the words of the row's scales.
fn scale(scales: &[u32], block: usize) -> f32 {
    f16::from_bits((scales[block / 2] >> (16 * (block % 2))) as u16).to_f32()
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn every_type_means_what_its_description_says() {
        let half = |x: f32| u32::from(f16::from_f32(x).to_bits());
        let mut out = [0.0; 33];
        let mut words = vec![0x8888_8888u32; 8];
        words[0] = 0x8888_88F0; // value 0 is -8, value 4 is 7
        words[4] = 0x8888_8889; // value 32 is 1
        Packing::Q4.unpack(&words, &[half(0.5) | half(2.0) << 16], &mut out);
        assert_eq!((out[0], out[1], out[4], out[5], out[32]), (-4.0, 0.0, 3.5, 0.0, 2.0));
        let mut words = vec![0u32; 16];
        words[0] = 0x8000_007F; // value 0 is 127, value 3 is -128
        words[8] = 3;
        Packing::Q8.unpack(&words, &[half(1.0) | half(-2.0) << 16], &mut out);
        assert_eq!((out[0], out[1], out[3], out[32]), (127.0, 0.0, -128.0, -6.0));
        let mut words = vec![0u32; 32];
        words[0] = half(1.5) | half(-0.25) << 16;
        words[16] = half(65504.0);
        Packing::F16.unpack(&words, &[], &mut out);
        assert_eq!((out[0], out[1], out[2], out[32]), (1.5, -0.25, 0.0, 65504.0));
        assert_eq!([Packing::Q4, Packing::Q8, Packing::F16].map(|p| p.row_words(33)), [8, 16, 32]);
        assert_eq!([Packing::Q4, Packing::Q8, Packing::F16].map(|p| p.scale_words(65)), [2, 2, 0]);
    }
}
