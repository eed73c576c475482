//! Real arithmetic in two precisions behind one trait: 53 bits with `libm`, and correctly rounded big floats.
//!
//! Neither asks the platform for a transcendental function, so results are the same bits everywhere.

use std::cell::RefCell;

use astro_float::{BigFloat, Consts, RoundingMode};
use num_bigint::{BigInt, Sign};
use num_traits::{Signed, ToPrimitive};

use super::expr::Rat;

/// What ball arithmetic needs of a number type. Results are within [`Arith::eps`] of the true value, relatively.
pub(crate) trait Arith {
    type R: Clone;

    /// Relative error of one operation, an upper bound.
    fn eps(&self) -> f64;
    /// What one operation and one transcendental function cost in fuel.
    fn cost(&self) -> (u64, u64);
    fn of(&self, q: &Rat) -> Self::R;
    fn pi(&self) -> Self::R;
    fn add(&self, a: &Self::R, b: &Self::R) -> Self::R;
    fn sub(&self, a: &Self::R, b: &Self::R) -> Self::R;
    fn mul(&self, a: &Self::R, b: &Self::R) -> Self::R;
    fn div(&self, a: &Self::R, b: &Self::R) -> Self::R;
    fn sqrt(&self, a: &Self::R) -> Self::R;
    fn exp(&self, a: &Self::R) -> Self::R;
    fn ln(&self, a: &Self::R) -> Self::R;
    fn sin(&self, a: &Self::R) -> Self::R;
    fn cos(&self, a: &Self::R) -> Self::R;
    fn atan(&self, a: &Self::R) -> Self::R;
    fn is_negative(&self, a: &Self::R) -> bool;
    /// An upper bound of |a|, at most twice it; infinite where f64 is.
    fn upper(&self, a: &Self::R) -> f64;
    /// A lower bound of |a|, at least half of it; 0 where f64 is.
    fn lower(&self, a: &Self::R) -> f64;
    /// The nearest f64, within one part in a thousand.
    fn approx(&self, a: &Self::R) -> f64;
}

/// 53 bits.
pub(crate) struct Double;

impl Arith for Double {
    type R = f64;

    fn eps(&self) -> f64 {
        // libm stays within 1 ulp = 2⁻⁵² for the functions used; twice that for slack.
        f64::EPSILON * 2.0
    }

    fn cost(&self) -> (u64, u64) {
        (1, 8)
    }

    fn of(&self, q: &Rat) -> f64 {
        // Exact up to 53 bits, else scaled so that neither side overflows: to_f64 of a ratio may.
        let (n, d) = (q.numer(), q.denom());
        let shift = (n.bits().max(d.bits()) as i64 - 900).max(0);
        let part = |x: &BigInt| (x >> shift).to_f64().unwrap_or(f64::INFINITY);
        match shift {
            0 => part(n) / part(d),
            // The error of dropping low bits: only magnitudes matter here, and eps covers 900 kept bits unless one side
            // is small, where the quotient over- or underflows anyway.
            _ if n.bits().min(d.bits()) as i64 > shift + 64 => part(n) / part(d),
            _ if n.bits() > d.bits() => f64::INFINITY * if n.is_negative() { -1.0 } else { 1.0 },
            _ => 0.0,
        }
    }

    fn pi(&self) -> f64 {
        std::f64::consts::PI
    }

    fn add(&self, a: &f64, b: &f64) -> f64 {
        a + b
    }

    fn sub(&self, a: &f64, b: &f64) -> f64 {
        a - b
    }

    fn mul(&self, a: &f64, b: &f64) -> f64 {
        a * b
    }

    fn div(&self, a: &f64, b: &f64) -> f64 {
        a / b
    }

    fn sqrt(&self, a: &f64) -> f64 {
        libm::sqrt(*a)
    }

    fn exp(&self, a: &f64) -> f64 {
        libm::exp(*a)
    }

    fn ln(&self, a: &f64) -> f64 {
        libm::log(*a)
    }

    fn sin(&self, a: &f64) -> f64 {
        libm::sin(*a)
    }

    fn cos(&self, a: &f64) -> f64 {
        libm::cos(*a)
    }

    fn atan(&self, a: &f64) -> f64 {
        libm::atan(*a)
    }

    fn is_negative(&self, a: &f64) -> bool {
        *a < 0.0
    }

    fn upper(&self, a: &f64) -> f64 {
        a.abs()
    }

    fn lower(&self, a: &f64) -> f64 {
        a.abs()
    }

    fn approx(&self, a: &f64) -> f64 {
        *a
    }
}

/// Big floats of `bits` precision.
pub(crate) struct Big {
    bits: usize,
}

thread_local! {
    /// π, ln 2 and the like at the precisions used so far: a cache, so results do not depend on it.
    static CONSTS: RefCell<Option<Consts>> = RefCell::new(Consts::new().ok());
}

const NEAREST: RoundingMode = RoundingMode::ToEven;

impl Big {
    /// `bits` must be a multiple of 64, so that targets with other word sizes round at the same place.
    pub(crate) fn new(bits: usize) -> Self {
        Self { bits }
    }

    /// A function that needs the cached constants; NaN if they could not be allocated, which every caller treats as fat.
    fn with(&self, f: impl FnOnce(usize, &mut Consts) -> BigFloat) -> BigFloat {
        CONSTS.with_borrow_mut(|consts| match consts {
            Some(consts) => f(self.bits, consts),
            None => BigFloat::nan(None),
        })
    }

    fn int(&self, n: &BigInt) -> BigFloat {
        let wide = self.bits.max(n.bits() as usize).next_multiple_of(64);
        let (sign, digits) = n.to_u32_digits();
        let base = BigFloat::from_u64(1 << 32, 64);
        let value = digits.iter().rev().fold(BigFloat::from_u32(0, wide), |sum, d| {
            sum.mul(&base, wide, NEAREST).add(&BigFloat::from_u32(*d, 64), wide, NEAREST)
        });
        if sign == Sign::Minus { value.neg() } else { value }
    }

    /// 2^e as f64 with e clamped into range.
    fn power(e: i32) -> f64 {
        libm::ldexp(1.0, e)
    }
}

impl Arith for Big {
    type R = BigFloat;

    fn eps(&self) -> f64 {
        Self::power(4 - self.bits as i32)
    }

    fn cost(&self) -> (u64, u64) {
        let words = (self.bits / 64) as u64;
        (10 * words, 1000 * words)
    }

    fn of(&self, q: &Rat) -> BigFloat {
        let n = self.int(q.numer());
        if q.is_integer() { n } else { n.div(&self.int(q.denom()), self.bits, NEAREST) }
    }

    fn pi(&self) -> BigFloat {
        self.with(|p, cc| cc.pi(p, NEAREST))
    }

    fn add(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.add(b, self.bits, NEAREST)
    }

    fn sub(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.sub(b, self.bits, NEAREST)
    }

    fn mul(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.mul(b, self.bits, NEAREST)
    }

    fn div(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.div(b, self.bits, NEAREST)
    }

    fn sqrt(&self, a: &BigFloat) -> BigFloat {
        a.sqrt(self.bits, NEAREST)
    }

    fn exp(&self, a: &BigFloat) -> BigFloat {
        self.with(|p, cc| a.exp(p, NEAREST, cc))
    }

    fn ln(&self, a: &BigFloat) -> BigFloat {
        self.with(|p, cc| a.ln(p, NEAREST, cc))
    }

    fn sin(&self, a: &BigFloat) -> BigFloat {
        self.with(|p, cc| a.sin(p, NEAREST, cc))
    }

    fn cos(&self, a: &BigFloat) -> BigFloat {
        self.with(|p, cc| a.cos(p, NEAREST, cc))
    }

    fn atan(&self, a: &BigFloat) -> BigFloat {
        self.with(|p, cc| a.atan(p, NEAREST, cc))
    }

    fn is_negative(&self, a: &BigFloat) -> bool {
        a.is_negative() && !a.is_zero()
    }

    fn upper(&self, a: &BigFloat) -> f64 {
        match a.exponent() {
            _ if a.is_nan() || a.is_inf() => f64::INFINITY,
            _ if a.is_zero() => 0.0,
            Some(e) => Self::power(e),
            None => f64::INFINITY,
        }
    }

    fn lower(&self, a: &BigFloat) -> f64 {
        match a.exponent() {
            Some(e) if !a.is_zero() && !a.is_nan() => Self::power(e.saturating_sub(1)),
            _ => 0.0,
        }
    }

    fn approx(&self, a: &BigFloat) -> f64 {
        let Some((words, _, _, e, _)) = a.as_raw_parts() else { return f64::NAN };
        if a.is_zero() {
            return 0.0;
        }
        // The top word holds the leading bits of the mantissa, which is in [½, 1). Words are 32 or 64 bits wide.
        let (Some(top), width) = (words.last(), size_of_val(&words[0]) as i32 * 8) else { return f64::NAN };
        let value = libm::ldexp(*top as f64, e - width);
        if a.is_negative() { -value } else { value }
    }
}
