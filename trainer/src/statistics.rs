//! Intervals and tests for shares, as pure functions.

/// The 95 % interval of Wilson (1927) for `hits` of `all`; the whole range where nothing was counted.
pub fn wilson(hits: usize, all: usize) -> [f64; 2] {
    if all == 0 {
        return [0.0, 1.0];
    }
    const Z: f64 = 1.959_963_984_540_054;
    let (n, p) = (all as f64, hits as f64 / all as f64);
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// McNemar's exact test (1947): the two-sided probability, under a fair coin, of a split as uneven as `first` against `second`
/// among the rows on which two models differ.
pub fn mcnemar(first: usize, second: usize) -> f64 {
    let all = first + second;
    // log of the binomial coefficient, summed up from the outermost.
    let mut log_coefficient = 0.0;
    let mut tail = 0.0;
    for k in 0..=first.min(second) {
        if k > 0 {
            log_coefficient += ((all - k + 1) as f64 / k as f64).ln();
        }
        tail += (log_coefficient - all as f64 * std::f64::consts::LN_2).exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_has_the_published_values() {
        // Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, all, want) in [
            (81, 263, [0.2553, 0.3662]),
            (15, 148, [0.0624, 0.1605]),
            (0, 20, [0.0, 0.1611]),
            (1, 29, [0.0061, 0.1718]),
        ] {
            let got = wilson(hits, all);
            assert!((got[0] - want[0]).abs() < 1e-4 && (got[1] - want[1]).abs() < 1e-4, "{got:?}");
        }
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }

    #[test]
    fn mcnemar_is_the_binomial_tail_doubled() {
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(3, 3), 1.0);
        assert!((mcnemar(0, 5) - 0.0625).abs() < 1e-12);
        assert!((mcnemar(8, 2) - 0.109_375).abs() < 1e-12);
        assert_eq!(mcnemar(2, 8), mcnemar(8, 2));
        assert!(mcnemar(4000, 5000) < 1e-20 && mcnemar(4000, 5000) > 0.0);
    }
}
