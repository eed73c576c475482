//! Complex balls: a midpoint and a radius that is certain to cover the true value.
//!
//! Midpoints are of either precision of [`Arith`], radii are f64 rounded generously upward. A ball whose imaginary part is
//! `None` is exactly real, which is what roots and logarithms of negative numbers hang on.

use super::expr::Rat;
use super::fuel::{Fuel, Spent};
use super::real::Arith;

/// Why an expression has no value at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Fuel,
    /// Not defined here: division by zero, logarithm of zero.
    Undefined,
    /// The ball is too wide to go on.
    Fat,
    /// No rule evaluates this.
    Opaque,
}

impl From<Spent> for Stop {
    fn from(_: Spent) -> Self {
        Stop::Fuel
    }
}

/// Midpoint and radius.
#[derive(Clone, Debug)]
pub(crate) struct Ball<R> {
    pub re: R,
    pub im: Option<R>,
    pub rad: f64,
}

/// Radii are multiplied by this after each operation on them: their own rounding errors are far below it.
const UP: f64 = 1.0 + 1e-12;

pub(crate) type Value<A> = Result<Ball<<A as Arith>::R>, Stop>;

/// Operations on balls in one precision, on one budget.
pub(crate) struct Balls<'a, A: Arith> {
    pub a: &'a A,
    pub fuel: &'a Fuel,
}

impl<A: Arith> Balls<'_, A> {
    fn spend(&self, transcendental: bool) -> Result<(), Stop> {
        let (simple, hard) = self.a.cost();
        Ok(self.fuel.spend(if transcendental { hard } else { simple })?)
    }

    fn make(&self, re: A::R, im: Option<A::R>, rad: f64) -> Value<A> {
        let ball = Ball { re, im, rad };
        let size = self.upper(&ball);
        let rad = (rad + self.a.eps() * size) * UP;
        if rad.is_finite() && size.is_finite() { Ok(Ball { rad, ..ball }) } else { Err(Stop::Fat) }
    }

    pub(crate) fn exact(&self, q: &Rat) -> Value<A> {
        self.make(self.a.of(q), None, 0.0)
    }

    pub(crate) fn pi(&self) -> Value<A> {
        self.make(self.a.pi(), None, 0.0)
    }

    pub(crate) fn i(&self) -> Value<A> {
        Ok(Ball { re: self.zero(), im: Some(self.one()), rad: 0.0 })
    }

    fn zero(&self) -> A::R {
        self.a.of(&super::expr::rat(0))
    }

    fn one(&self) -> A::R {
        self.a.of(&super::expr::rat(1))
    }

    /// Upper bound of |midpoint|.
    pub(crate) fn upper(&self, b: &Ball<A::R>) -> f64 {
        let im = b.im.as_ref().map_or(0.0, |im| self.a.upper(im));
        (self.a.upper(&b.re) + im) * UP
    }

    /// Lower bound of |midpoint|.
    pub(crate) fn lower(&self, b: &Ball<A::R>) -> f64 {
        let im = b.im.as_ref().map_or(0.0, |im| self.a.lower(im));
        self.a.lower(&b.re).max(im) / UP
    }

    /// Whether 0 may lie in the ball.
    pub(crate) fn may_vanish(&self, b: &Ball<A::R>) -> bool {
        self.lower(b) <= b.rad * UP
    }

    pub(crate) fn add(&self, x: &Ball<A::R>, y: &Ball<A::R>) -> Value<A> {
        self.spend(false)?;
        let im = match (&x.im, &y.im) {
            (None, None) => None,
            (Some(a), None) | (None, Some(a)) => Some(a.clone()),
            (Some(a), Some(b)) => Some(self.a.add(a, b)),
        };
        // Cancellation: each part is rounded relative to the sum, which `make` covers.
        self.make(self.a.add(&x.re, &y.re), im, x.rad + y.rad)
    }

    pub(crate) fn neg(&self, x: &Ball<A::R>) -> Ball<A::R> {
        let zero = self.zero();
        Ball { re: self.a.sub(&zero, &x.re), im: x.im.as_ref().map(|im| self.a.sub(&zero, im)), rad: x.rad }
    }

    pub(crate) fn mul(&self, x: &Ball<A::R>, y: &Ball<A::R>) -> Value<A> {
        self.spend(false)?;
        let (ax, ay) = (self.upper(x), self.upper(y));
        // Products are rounded before they are added or subtracted: relative to |x||y|, not to the sum.
        let rad = ax * y.rad + ay * x.rad + x.rad * y.rad + 4.0 * self.a.eps() * ax * ay;
        let m = |p: &A::R, q: &A::R| self.a.mul(p, q);
        let (re, im) = match (&x.im, &y.im) {
            (None, None) => (m(&x.re, &y.re), None),
            (Some(xi), None) => (m(&x.re, &y.re), Some(m(xi, &y.re))),
            (None, Some(yi)) => (m(&x.re, &y.re), Some(m(&x.re, yi))),
            (Some(xi), Some(yi)) => {
                (self.a.sub(&m(&x.re, &y.re), &m(xi, yi)), Some(self.a.add(&m(&x.re, yi), &m(xi, &y.re))))
            }
        };
        self.make(re, im, rad)
    }

    pub(crate) fn inverse(&self, x: &Ball<A::R>) -> Value<A> {
        self.spend(false)?;
        let low = self.lower(x);
        if self.may_vanish(x) {
            return Err(if self.upper(x) <= x.rad || low == 0.0 { Stop::Undefined } else { Stop::Fat });
        }
        // |1/z − 1/w| ≤ r / (|z| (|z| − r))
        let rad = x.rad / (low * (low - x.rad));
        let (re, im) = match &x.im {
            None => (self.a.div(&self.one(), &x.re), None),
            Some(xi) => {
                let norm = self.a.add(&self.a.mul(&x.re, &x.re), &self.a.mul(xi, xi));
                let zero = self.zero();
                (self.a.div(&x.re, &norm), Some(self.a.div(&self.a.sub(&zero, xi), &norm)))
            }
        };
        self.make(re, im, rad + 4.0 * self.a.eps() / low)
    }

    /// zⁿ by squaring.
    pub(crate) fn power(&self, x: &Ball<A::R>, n: u32) -> Value<A> {
        let (mut out, mut base, mut n) = (self.exact(&super::expr::rat(1))?, x.clone(), n);
        while n > 0 {
            if n & 1 == 1 {
                out = self.mul(&out, &base)?;
            }
            n >>= 1;
            if n > 0 {
                base = self.mul(&base, &base)?;
            }
        }
        Ok(out)
    }

    pub(crate) fn is_real(&self, x: &Ball<A::R>) -> bool {
        x.im.is_none()
    }

    /// Whether a real ball lies below zero; `Fat` if it straddles.
    pub(crate) fn negative(&self, x: &Ball<A::R>) -> Result<bool, Stop> {
        match self.may_vanish(x) {
            true if x.rad == 0.0 => Ok(false),
            true => Err(Stop::Fat),
            false => Ok(self.a.is_negative(&x.re)),
        }
    }

    /// |z| of the midpoint, in midpoint precision.
    fn modulus(&self, x: &Ball<A::R>) -> A::R {
        match &x.im {
            None if self.a.is_negative(&x.re) => self.a.sub(&self.zero(), &x.re),
            None => x.re.clone(),
            Some(im) => self.a.sqrt(&self.a.add(&self.a.mul(&x.re, &x.re), &self.a.mul(im, im))),
        }
    }

    pub(crate) fn abs(&self, x: &Ball<A::R>) -> Value<A> {
        self.spend(false)?;
        self.make(self.modulus(x), None, x.rad + 4.0 * self.a.eps() * self.upper(x))
    }

    /// Principal square root.
    pub(crate) fn sqrt(&self, x: &Ball<A::R>) -> Value<A> {
        self.spend(true)?;
        if self.may_vanish(x) {
            // |√w| ≤ √(|z| + r): a ball around zero.
            let rad = libm::sqrt(self.upper(x) + x.rad);
            let im = if x.rad == 0.0 && self.upper(x) == 0.0 { None } else { Some(self.zero()) };
            return self.make(self.zero(), im, rad);
        }
        if x.im.is_some() {
            let log = self.ln(x)?;
            let half = self.exact(&Rat::new(1.into(), 2.into()))?;
            return self.exp(&self.mul(&log, &half)?);
        }
        let low = self.lower(x) - x.rad;
        // d√ = r / (√z + √w) ≤ r / √w
        let rad = x.rad / libm::sqrt(low) + 2.0 * self.a.eps() * libm::sqrt(self.upper(x));
        match self.a.is_negative(&x.re) {
            false => self.make(self.a.sqrt(&x.re), None, rad),
            true => self.make(self.zero(), Some(self.a.sqrt(&self.modulus(x))), rad),
        }
    }

    /// The angle of a midpoint that is not real, in (−π, π).
    fn angle(&self, re: &A::R, im: &A::R) -> A::R {
        let half_pi = self.a.div(&self.a.pi(), &self.a.of(&super::expr::rat(2)));
        // The steeper direction decides which quotient is at most 1.
        if self.a.approx(re).abs() >= self.a.approx(im).abs() {
            let base = self.a.atan(&self.a.div(im, re));
            match (self.a.is_negative(re), self.a.is_negative(im)) {
                (false, _) => base,
                (true, false) => self.a.add(&base, &self.a.pi()),
                (true, true) => self.a.sub(&base, &self.a.pi()),
            }
        } else {
            let base = self.a.atan(&self.a.div(re, im));
            let around = if self.a.is_negative(im) { self.a.sub(&self.zero(), &half_pi) } else { half_pi };
            self.a.sub(&around, &base)
        }
    }

    /// Principal logarithm.
    pub(crate) fn ln(&self, x: &Ball<A::R>) -> Value<A> {
        self.spend(true)?;
        let low = self.lower(x) - x.rad;
        if self.may_vanish(x) || low <= 0.0 {
            return Err(if self.upper(x) == 0.0 { Stop::Undefined } else { Stop::Fat });
        }
        let rad = x.rad / low + 4.0 * self.a.eps();
        let log = self.a.ln(&self.modulus(x));
        match &x.im {
            None if self.a.is_negative(&x.re) => self.make(log, Some(self.a.pi()), rad),
            None => self.make(log, None, rad),
            // Across the cut the logarithm jumps: no ball covers both sides.
            Some(im) if self.a.is_negative(&x.re) && self.a.lower(im) <= x.rad => Err(Stop::Fat),
            Some(im) => self.make(log, Some(self.angle(&x.re, im)), rad),
        }
    }

    pub(crate) fn exp(&self, x: &Ball<A::R>) -> Value<A> {
        self.spend(true)?;
        if x.rad > 1.0 || self.upper(x) > 1e6 {
            return Err(Stop::Fat);
        }
        let size = self.a.exp(&x.re);
        // |e^(z+d) − e^z| ≤ |e^z| (e^r − 1), and e^r − 1 ≤ 2r for r ≤ 1.
        let rad = self.a.upper(&size) * (2.0 * x.rad + 4.0 * self.a.eps() * (1.0 + self.upper(x)));
        match &x.im {
            None => self.make(size, None, rad),
            Some(im) => {
                let (c, s) = (self.a.cos(im), self.a.sin(im));
                self.make(self.a.mul(&size, &c), Some(self.a.mul(&size, &s)), rad)
            }
        }
    }

    /// Sine (or cosine): real by the library, complex by exponentials.
    pub(crate) fn sin(&self, x: &Ball<A::R>, cosine: bool) -> Value<A> {
        self.spend(true)?;
        if x.im.is_none() {
            if self.upper(x) > 1e9 || x.rad > 1.0 {
                return Err(Stop::Fat);
            }
            let value = if cosine { self.a.cos(&x.re) } else { self.a.sin(&x.re) };
            return self.make(value, None, x.rad + 2.0 * self.a.eps());
        }
        // cos z = (e^iz + e^−iz) / 2, sin z = (e^iz − e^−iz) / 2i
        let i = self.i()?;
        let iz = self.mul(&i, x)?;
        let (p, q) = (self.exp(&iz)?, self.exp(&self.neg(&iz))?);
        let half = self.exact(&Rat::new(1.into(), 2.into()))?;
        match cosine {
            true => self.mul(&self.add(&p, &q)?, &half),
            false => self.mul(&self.mul(&self.add(&p, &self.neg(&q))?, &half)?, &self.neg(&i)),
        }
    }

    pub(crate) fn atan(&self, x: &Ball<A::R>) -> Value<A> {
        self.spend(true)?;
        match &x.im {
            None => self.make(self.a.atan(&x.re), None, x.rad + 2.0 * self.a.eps()),
            Some(_) => Err(Stop::Opaque),
        }
    }

    /// Real arcsine: atan(x / √(1 − x²)), and ±π/2 at the ends.
    pub(crate) fn asin(&self, x: &Ball<A::R>) -> Value<A> {
        if x.im.is_some() {
            return Err(Stop::Opaque);
        }
        let one = self.exact(&super::expr::rat(1))?;
        let rest = self.add(&one, &self.neg(&self.mul(x, x)?))?;
        if self.may_vanish(&rest) {
            // |asin(±1 − d) ∓ π/2| ≤ 2√d
            let half = self.mul(&self.pi()?, &self.exact(&Rat::new(1.into(), 2.into()))?)?;
            let mut end = if self.a.is_negative(&x.re) { self.neg(&half) } else { half };
            end.rad = (end.rad + 2.0 * libm::sqrt(self.upper(&rest) + rest.rad)) * UP;
            return Ok(end);
        }
        if self.a.is_negative(&rest.re) {
            return Err(Stop::Undefined);
        }
        self.atan(&self.mul(x, &self.inverse(&self.sqrt(&rest)?)?)?)
    }
}
