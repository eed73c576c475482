//! Random numbers by address: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A draw depends only on where it is made, never on what was drawn before it, so a row sampled in a batch equals the row
//! sampled alone, and a resumed run equals an uninterrupted one.

/// The uniform number in [0, 1) at an address: 53 bits of Philox with `seed` as key and the other parts as counter.
pub fn uniform(seed: u64, step: u32, prompt: u32, sample: u32, position: u32) -> f64 {
    let block = philox([position, sample, prompt, step], [seed as u32, (seed >> 32) as u32]);
    let bits = (u64::from(block[0]) << 32 | u64::from(block[1])) >> 11;
    bits as f64 * (1.0 / (1u64 << 53) as f64)
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        let want = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8];
        assert_eq!(philox([0; 4], [0; 2]), want);
        let want = [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd];
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), want);
        let want = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(pi, [0xa409_3822, 0x299f_31d0]), want);
    }

    #[test]
    fn every_part_of_the_address_matters_and_the_mean_is_a_half() {
        let base = uniform(7, 1, 2, 3, 4);
        for other in [
            uniform(8, 1, 2, 3, 4),
            uniform(7 + (1 << 32), 1, 2, 3, 4),
            uniform(7, 2, 2, 3, 4),
            uniform(7, 1, 3, 3, 4),
            uniform(7, 1, 2, 4, 4),
            uniform(7, 1, 2, 3, 5),
        ] {
            assert_ne!(base, other);
        }
        let draws: Vec<f64> = (0..10_000).map(|position| uniform(1, 0, 0, 0, position)).collect();
        assert!(draws.iter().all(|u| (0.0..1.0).contains(u)));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5).abs() < 0.01, "mean {mean}");
    }
}
