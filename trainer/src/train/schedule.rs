//! Learning-rate schedules: a factor of the rate for each step, computed from the step alone, so that a resumed run needs no
//! state for it.

use serde::{Deserialize, Serialize};

/// The course after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// The full rate throughout.
    Constant,
    /// A straight line down to the floor.
    Linear,
    /// Half a cosine down to the floor.
    Cosine,
}

/// The factor of step `step` of `total`, counted from 0.
///
/// Over the first `warmup` steps it rises linearly, `(step + 1) / warmup`, so that no step is lost at rate 0; then it follows
/// `shape` from 1 to `floor`, which the last step reaches.
pub fn factor(shape: Shape, step: u64, total: u64, warmup: u64, floor: f64) -> f64 {
    if step < warmup {
        return (step + 1) as f64 / warmup as f64;
    }
    let span = total.saturating_sub(warmup).saturating_sub(1);
    let done = if span == 0 { 0.0 } else { ((step - warmup) as f64 / span as f64).min(1.0) };
    match shape {
        Shape::Constant => 1.0,
        Shape::Linear => 1.0 - (1.0 - floor) * done,
        Shape::Cosine => floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_rises_to_one_and_the_last_step_reaches_the_floor() {
        for shape in [Shape::Linear, Shape::Cosine] {
            assert_eq!(factor(shape, 0, 110, 10, 0.1), 0.1);
            assert_eq!(factor(shape, 9, 110, 10, 0.1), 1.0);
            assert_eq!(factor(shape, 10, 110, 10, 0.1), 1.0);
            assert!((factor(shape, 109, 110, 10, 0.1) - 0.1).abs() < 1e-12);
            assert!((factor(shape, 500, 110, 10, 0.1) - 0.1).abs() < 1e-12, "beyond the end it stays there");
        }
        assert!((factor(Shape::Linear, 60, 111, 10, 0.0) - 0.5).abs() < 1e-12);
        assert!((factor(Shape::Cosine, 60, 111, 10, 0.0) - 0.5).abs() < 1e-12);
        assert!(factor(Shape::Cosine, 30, 111, 10, 0.0) > factor(Shape::Linear, 30, 111, 10, 0.0));
    }

    #[test]
    fn a_constant_rate_is_constant_and_short_runs_are_no_division_by_zero() {
        assert_eq!(factor(Shape::Constant, 57, 100, 0, 0.0), 1.0);
        for total in 0..3 {
            assert_eq!(factor(Shape::Cosine, 0, total, 0, 0.0), 1.0);
        }
        assert_eq!(factor(Shape::Linear, 0, 1, 5, 0.0), 0.2);
    }
}
