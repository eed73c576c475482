//! Blocks of packed values in vector registers. All of it is inlined into functions that are compiled for the processor at
//! hand; a call, if only of a conversion, would leave them.

#[cfg(target_feature = "simd128")]
mod simd;

use wethink_shaders::packing::BLOCK;

/// A packing as a processor unpacks it: whole blocks, values in the order that costs least.
pub(super) trait Block {
    /// Words of a block.
    const WORDS: usize;

    /// Where value `i` of [`values`](Self::values) stands in the block.
    const ORDER: [usize; BLOCK] = in_turn();

    /// The values of a block before its scale, in this packing's order.
    fn values(words: &[u32]) -> [f32; BLOCK];

    /// The scale of a row's block.
    #[inline(always)]
    fn scale(scales: &[u32], block: usize) -> f32 {
        scale(scales, block)
    }

    /// One row of the weight by one [`arranged`] row of x: what is unpacked stays in registers.
    #[inline(always)]
    fn dot(words: &[u32], scales: &[u32], x: &[f32]) -> f32 {
        let mut sums = [0f32; 8];
        for (index, (words, x)) in words.chunks_exact(Self::WORDS).zip(x.as_chunks::<BLOCK>().0).enumerate() {
            let values = Self::values(words);
            let scale = Self::scale(scales, index);
            let mut block = [0f32; 8];
            for (w, x) in values.as_chunks::<8>().0.iter().zip(x.as_chunks::<8>().0) {
                for i in 0..8 {
                    block[i] += w[i] * x[i];
                }
            }
            for i in 0..8 {
                sums[i] += block[i] * scale;
            }
        }
        sums.iter().sum()
    }
}

/// Four bits a value: the low halves of all bytes, then the high ones.
pub(super) struct Q4;

/// Eight bits a value.
pub(super) struct Q8;

/// Halves, which have no scale.
pub(super) struct F16;

const fn in_turn() -> [usize; BLOCK] {
    let mut order = [0; BLOCK];
    let mut i = 0;
    while i < BLOCK {
        order[i] = i;
        i += 1;
    }
    order
}

impl Block for Q4 {
    const WORDS: usize = 4;

    const ORDER: [usize; BLOCK] = {
        let mut order = [0; BLOCK];
        let mut byte = 0;
        while byte < 16 {
            order[byte] = 8 * (byte / 4) + byte % 4;
            order[16 + byte] = order[byte] + 4;
            byte += 1;
        }
        order
    };

    #[inline(always)]
    fn values(words: &[u32]) -> [f32; BLOCK] {
        let bytes: [u8; 16] = bytes(words);
        let mut out = [0.0; BLOCK];
        for i in 0..16 {
            out[i] = f32::from((bytes[i] & 15) as i8 - 8);
            out[16 + i] = f32::from((bytes[i] >> 4) as i8 - 8);
        }
        out
    }

    #[cfg(target_feature = "simd128")]
    #[inline(always)]
    fn dot(words: &[u32], scales: &[u32], x: &[f32]) -> f32 {
        simd::dot(words, scales, x, simd::q4)
    }
}

impl Block for Q8 {
    const WORDS: usize = 8;

    #[inline(always)]
    fn values(words: &[u32]) -> [f32; BLOCK] {
        let bytes: [u8; BLOCK] = bytes(words);
        bytes.map(|byte| f32::from(byte as i8))
    }

    #[cfg(target_feature = "simd128")]
    #[inline(always)]
    fn dot(words: &[u32], scales: &[u32], x: &[f32]) -> f32 {
        simd::dot(words, scales, x, simd::q8)
    }
}

impl Block for F16 {
    const WORDS: usize = 16;

    #[inline(always)]
    fn values(words: &[u32]) -> [f32; BLOCK] {
        let mut out = [0.0; BLOCK];
        for (&word, out) in words.iter().zip(out.as_chunks_mut::<2>().0) {
            *out = [half(word as u16), half((word >> 16) as u16)];
        }
        out
    }

    #[inline(always)]
    fn scale(_: &[u32], _: usize) -> f32 {
        1.0
    }
}

/// The bytes of some words, in their order in memory.
#[inline(always)]
fn bytes<const N: usize>(words: &[u32]) -> [u8; N] {
    let mut bytes = [0; N];
    for (&word, bytes) in words.iter().zip(bytes.as_chunks_mut::<4>().0) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

#[inline(always)]
fn scale(scales: &[u32], block: usize) -> f32 {
    half((scales[block / 2] >> (16 * (block % 2))) as u16)
}

/// A half as f32, without a branch: its bits as those of an f32 whose exponent is too small by 112.
#[inline(always)]
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7FFF) << 13;
    let scaled = (f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23)).to_bits();
    let special = if magnitude >= 0x0F80_0000 { 0x7F80_0000 } else { 0 }; // infinities and NaN
    f32::from_bits(sign | scaled | special)
}

/// Rows of x in the order of the packing's blocks, zeros behind the last value as in the weight.
pub(super) fn arranged<B: Block>(x: &[f32], width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len() / width.max(1) * width.next_multiple_of(BLOCK));
    for row in x.chunks_exact(width) {
        for block in row.chunks(BLOCK) {
            out.extend(B::ORDER.iter().map(|&at| block.get(at).copied().unwrap_or(0.0)));
        }
    }
    out
}

/// One row of the weight, whole blocks in the packing's order.
#[inline(always)]
pub(super) fn unpack_arranged<B: Block>(words: &[u32], scales: &[u32], out: &mut [f32]) {
    for (index, (words, out)) in words.chunks_exact(B::WORDS).zip(out.as_chunks_mut::<BLOCK>().0).enumerate()
    {
        let values = B::values(words);
        let scale = B::scale(scales, index);
        for i in 0..BLOCK {
            out[i] = values[i] * scale;
        }
    }
}

/// One row of the weight as it stands.
#[inline(always)]
pub(super) fn unpack<B: Block>(words: &[u32], scales: &[u32], out: &mut [f32]) {
    for (index, (words, out)) in words.chunks_exact(B::WORDS).zip(out.chunks_mut(BLOCK)).enumerate() {
        let values = B::values(words);
        let scale = B::scale(scales, index);
        if let Ok(out) = <&mut [f32; BLOCK]>::try_from(&mut *out) {
            for i in 0..BLOCK {
                out[B::ORDER[i]] = values[i] * scale;
            }
        } else {
            // The row ends within the block.
            for (&at, value) in B::ORDER.iter().zip(values) {
                if let Some(out) = out.get_mut(at) {
                    *out = value * scale;
                }
            }
        }
    }
}

/// In as many running sums as a compiler keeps in vector registers.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; BLOCK];
    for (a, b) in a.as_chunks::<BLOCK>().0.iter().zip(b.as_chunks::<BLOCK>().0) {
        for i in 0..BLOCK {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wethink_shaders::packing::Packing;

    #[test]
    fn halves_are_the_halves_of_the_standard() {
        for bits in 0..=u16::MAX {
            let (got, want) = (half(bits), ::half::f16::from_bits(bits).to_f32());
            assert!(
                got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                "{bits:#x}: {got}, {want}"
            );
        }
    }

    /// Every way over a row of 75 values, the last block of which is padded with noise, against the format's definition.
    fn all_ways_agree<B: Block>(packing: Packing) {
        let width = 75;
        let noise = |i: usize| (i as u32 + 1).wrapping_mul(0x9E37_79B1) ^ (i as u32) << 7;
        let words: Vec<u32> = (0..packing.row_words(width)).map(|i| noise(i) & 0xBBFF_BBFF).collect();
        let scales: Vec<u32> = (0..packing.scale_words(width)).map(|i| noise(i + 99) & 0xB7FF_B7FF).collect();
        let mut want = vec![0.0; width];
        packing.unpack(&words, &scales, &mut want);
        let mut got = vec![f32::NAN; width];
        unpack::<B>(&words, &scales, &mut got);
        assert_eq!(got, want, "{packing:?}");

        let x: Vec<f32> = (0..width).map(|i| (i as f32).sin()).collect();
        let arranged = arranged::<B>(&x, width);
        let sum: f64 = x.iter().zip(&want).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
        let mass: f64 = x.iter().zip(&want).map(|(&x, &w)| f64::from(x * w).abs()).sum();
        let mut row = vec![f32::NAN; arranged.len()];
        unpack_arranged::<B>(&words, &scales, &mut row);
        for got in [B::dot(&words, &scales, &arranged), dot(&row, &arranged)] {
            assert!((f64::from(got) - sum).abs() < 1e-5 * mass, "{packing:?}: {got}, {sum}");
        }
    }

    #[test]
    fn packings_are_what_their_definition_says() {
        all_ways_agree::<Q4>(Packing::Q4);
        all_ways_agree::<Q8>(Packing::Q8);
        all_ways_agree::<F16>(Packing::F16);
    }
}
