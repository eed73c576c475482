//! An expression's value as a ball, at a point. `call` is one line a function, and long for that.

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::ball::{Ball, Balls, Stop, Value};
use super::calculus::substitute;
use super::expr::{Const, Expr, Func, Rat, rat};
use super::modular::MAX_TERMS;
use super::real::Arith;

/// A point: the value of each symbol.
pub(crate) type Env = [(String, Rat)];

/// Powers with an integer exponent up to this are multiplied out.
const MAX_POWER: i64 = 4096;

impl<A: Arith> Balls<'_, A> {
    pub(crate) fn eval(&self, e: &Expr, env: &Env) -> Value<A> {
        self.fuel.spend(2)?;
        match e {
            Expr::Num(n) => self.exact(&n.value),
            Expr::Based(_, value, _) => self.exact(&Rat::from_integer(value.clone())),
            Expr::Sym(name) => match env.iter().find(|(n, _)| n == name) {
                Some((_, value)) => self.exact(value),
                None => Err(Stop::Opaque),
            },
            Expr::Const(Const::Pi) => self.pi(),
            Expr::Const(Const::E) => self.exp(&self.exact(&rat(1))?),
            Expr::Const(Const::I) => self.i(),
            Expr::Const(Const::Inf) => Err(Stop::Undefined),
            Expr::Add(items) => self.fold(items, env, |x, y| self.add(x, y)),
            Expr::Mul(items) => self.fold(items, env, |x, y| self.mul(x, y)),
            Expr::Pow(a, b) => self.pow(a, b, env),
            Expr::Percent(x) => self.mul(&self.eval(x, env)?, &self.exact(&Rat::new(1.into(), 100.into()))?),
            // Within an expression a degree is an angle.
            Expr::Quantity(x, unit) if unit.dims.len() == 1 && unit.dims.contains_key("deg") => {
                let radian = self.mul(&self.pi()?, &self.exact(&Rat::new(1.into(), 180.into()))?)?;
                self.mul(&self.eval(x, env)?, &radian)
            }
            Expr::Call(f, args) => self.call(*f, args, env),
            Expr::Range { product, var, from, to, body } => {
                let (a, b) = (self.integer(from, env)?, self.integer(to, env)?);
                if b.saturating_sub(a) >= MAX_TERMS {
                    return Err(Stop::Opaque);
                }
                let mut total = self.exact(&rat(i64::from(*product)))?;
                for k in a..=b {
                    let term = self.eval(&substitute(body, &Expr::Sym(var.clone()), &Expr::int(k)), env)?;
                    total = if *product { self.mul(&total, &term)? } else { self.add(&total, &term)? };
                }
                Ok(total)
            }
            _ => Err(Stop::Opaque),
        }
    }

    fn fold(&self, items: &[Expr], env: &Env, op: impl Fn(&Ball<A::R>, &Ball<A::R>) -> Value<A>) -> Value<A> {
        let (first, rest) = items.split_first().ok_or(Stop::Opaque)?;
        rest.iter().try_fold(self.eval(first, env)?, |sum, item| op(&sum, &self.eval(item, env)?))
    }

    /// The integer an expression is, if its ball holds exactly one and is narrow.
    fn integer(&self, e: &Expr, env: &Env) -> Result<i64, Stop> {
        if let Expr::Num(n) = e {
            return n.value.is_integer().then(|| n.value.to_integer().to_i64()).flatten().ok_or(Stop::Opaque);
        }
        let ball = self.eval(e, env)?;
        let value = self.a.approx(&ball.re);
        let near = value.round();
        match ball.im.is_none() && ball.rad < 1e-9 && near.abs() < 1e9 && (value - near).abs() < 1e-6 {
            true => Ok(near as i64),
            false => Err(Stop::Opaque),
        }
    }

    fn pow(&self, a: &Expr, b: &Expr, env: &Env) -> Value<A> {
        // The exponent as an exact rational decides between a product, a real root and a logarithm.
        let exact = exact(b, env);
        if let Some(q) = &exact
            && q.is_integer()
            && let Some(n) = q.to_integer().to_i64().filter(|n| n.abs() <= MAX_POWER)
        {
            let base = self.eval(a, env)?;
            if n == 0 && self.may_vanish(&base) {
                return Err(Stop::Undefined);
            }
            let power = self.power(&base, n.unsigned_abs() as u32)?;
            return if n < 0 { self.inverse(&power) } else { Ok(power) };
        }
        if *a == Expr::Const(Const::E) {
            return self.exp(&self.eval(b, env)?);
        }
        let base = self.eval(a, env)?;
        if let Some(q) = &exact {
            return self.root(&base, q);
        }
        let log = self.ln(&base)?;
        self.exp(&self.mul(&log, &self.eval(b, env)?)?)
    }

    /// z^q for rational q. Square roots are principal; roots of odd order of negative reals are real.
    fn root(&self, base: &Ball<A::R>, q: &Rat) -> Value<A> {
        if q.denom() == &BigInt::from(2)
            && let Some(n) = q.numer().to_i64().filter(|n| n.abs() < MAX_POWER)
        {
            let power = self.power(&self.sqrt(base)?, n.unsigned_abs() as u32)?;
            return if n < 0 { self.inverse(&power) } else { Ok(power) };
        }
        if base.rad == 0.0 && self.upper(base) == 0.0 {
            return if q.is_positive() { self.exact(&rat(0)) } else { Err(Stop::Undefined) };
        }
        let odd = q.denom() % 2u32 == BigInt::one();
        let negative = self.is_real(base) && self.negative(base)?;
        let from = if odd && negative { self.neg(base) } else { base.clone() };
        let value = self.exp(&self.mul(&self.ln(&from)?, &self.exact(q)?)?)?;
        let flips = odd && negative && q.numer() % 2u32 != BigInt::zero();
        Ok(if flips { self.neg(&value) } else { value })
    }

    fn call(&self, f: Func, args: &[Expr], env: &Env) -> Value<A> {
        let values: Vec<Ball<A::R>> = args.iter().map(|a| self.eval(a, env)).collect::<Result<_, _>>()?;
        let x = values.first().ok_or(Stop::Opaque)?;
        let one = || self.exact(&rat(1));
        let half = || self.exact(&Rat::new(1.into(), 2.into()));
        let ratio = |a: Ball<A::R>, b: Ball<A::R>| self.mul(&a, &self.inverse(&b)?);
        let right_angle = || self.mul(&self.pi()?, &half()?);
        let (sin, cos) = (|| self.sin(x, false), || self.sin(x, true));
        // (e^x ± e^−x) / 2
        let hyper = |minus: bool| {
            let q = self.exp(&self.neg(x))?;
            let sum = self.add(&self.exp(x)?, &if minus { self.neg(&q) } else { q })?;
            self.mul(&sum, &half()?)
        };
        let complement = |arc: Ball<A::R>| self.add(&right_angle()?, &self.neg(&arc));
        match f {
            Func::Sin => sin(),
            Func::Cos => cos(),
            Func::Tan => ratio(sin()?, cos()?),
            Func::Cot => ratio(cos()?, sin()?),
            Func::Sec => self.inverse(&cos()?),
            Func::Csc => self.inverse(&sin()?),
            Func::Asin => self.asin(x),
            Func::Acos => complement(self.asin(x)?),
            Func::Atan => self.atan(x),
            Func::Acot => complement(self.atan(x)?),
            Func::Asec => complement(self.asin(&self.inverse(x)?)?),
            Func::Acsc => self.asin(&self.inverse(x)?),
            Func::Sinh => hyper(true),
            Func::Cosh => hyper(false),
            Func::Tanh => ratio(hyper(true)?, hyper(false)?),
            Func::Coth => ratio(hyper(false)?, hyper(true)?),
            Func::Sech => self.inverse(&hyper(false)?),
            Func::Csch => self.inverse(&hyper(true)?),
            // ln(x + √(x² ± 1)), ½ ln((1 + x) / (1 − x))
            Func::Asinh | Func::Acosh => {
                let shift = if f == Func::Asinh { one()? } else { self.neg(&one()?) };
                let root = self.sqrt(&self.add(&self.mul(x, x)?, &shift)?)?;
                self.ln(&self.add(x, &root)?)
            }
            Func::Atanh => {
                let quotient = ratio(self.add(&one()?, x)?, self.add(&one()?, &self.neg(x))?)?;
                self.mul(&self.ln(&quotient)?, &half()?)
            }
            Func::Exp => self.exp(x),
            Func::Ln => self.ln(x),
            Func::Abs => self.abs(x),
            Func::Root => {
                let n = exact(&args[1..].first().cloned().ok_or(Stop::Opaque)?, env).ok_or(Stop::Opaque)?;
                if n.is_zero() { Err(Stop::Undefined) } else { self.root(x, &n.recip()) }
            }
            Func::Conj => Ok(Ball { im: x.im.as_ref().map(|_| self.neg(x).im).unwrap_or(None), ..x.clone() }),
            Func::Max | Func::Min => self.extreme(&values, f == Func::Max),
            Func::Floor | Func::Ceil => self.floor(x, f == Func::Ceil),
            Func::Mod => {
                let modulus = values.get(1).ok_or(Stop::Opaque)?;
                let quotient = self.floor(&self.mul(x, &self.inverse(modulus)?)?, false)?;
                self.add(x, &self.neg(&self.mul(&quotient, modulus)?))
            }
            Func::Sign => match self.may_vanish(x) {
                true if x.rad == 0.0 => self.exact(&rat(0)),
                true => Err(Stop::Fat),
                false => self.exact(&rat(if self.negative(x)? { -1 } else { 1 })),
            },
            Func::Factorial | Func::Binomial | Func::Gcd | Func::Lcm => self.discrete(f, args, env),
        }
    }

    fn extreme(&self, values: &[Ball<A::R>], largest: bool) -> Value<A> {
        let mut best = values.first().ok_or(Stop::Opaque)?.clone();
        for value in &values[1..] {
            if !self.is_real(value) || !self.is_real(&best) {
                return Err(Stop::Undefined);
            }
            let difference = self.add(value, &self.neg(&best))?;
            let above = match self.negative(&difference) {
                Ok(negative) => !negative,
                Err(Stop::Fat) => continue,
                Err(stop) => return Err(stop),
            };
            if above == largest {
                best = value.clone();
            }
        }
        Ok(best)
    }

    fn floor(&self, x: &Ball<A::R>, up: bool) -> Value<A> {
        if !self.is_real(x) {
            return Err(Stop::Undefined);
        }
        let value = self.a.approx(&x.re);
        // Within 0.1 % of an f64 below 2^40 the integer part is certain only away from integers, or exactly on one.
        let near = value.round();
        let exact = x.rad < 1e-9 && (value - near).abs() <= x.rad + near.abs() * 1e-15;
        let rounded = match exact {
            true => near,
            false if (value - near).abs() <= 1e-6 => return Err(Stop::Fat),
            false if up => value.ceil(),
            false => value.floor(),
        };
        if rounded.abs() > 1e12 || x.rad > 1e-6 {
            return Err(Stop::Fat);
        }
        self.exact(&rat(rounded as i64))
    }

    /// Functions of integers: exact, or not evaluated.
    fn discrete(&self, f: Func, args: &[Expr], env: &Env) -> Value<A> {
        let ints: Vec<i64> = args.iter().map(|a| self.integer(a, env)).collect::<Result<_, _>>()?;
        self.fuel.spend(integer_cost(ints.first().copied().unwrap_or(0)))?;
        // (n − k)! at a point with n < k says nothing.
        if ints.iter().any(|n| *n < 0) && matches!(f, Func::Factorial | Func::Binomial) {
            return Err(Stop::Undefined);
        }
        let value = integer_function(f, &ints).ok_or(Stop::Opaque)?;
        self.exact(&Rat::from_integer(value))
    }
}

/// Fuel of a function of integers: as many multiplications of long numbers as its first argument says.
pub(super) fn integer_cost(first: i64) -> u64 {
    50 * first.unsigned_abs().min(400)
}

/// Factorials to 200, binomials to 400, gcd and lcm; `None` beyond.
pub(super) fn integer_function(f: Func, args: &[i64]) -> Option<BigInt> {
    use num_integer::Integer;
    match (f, args) {
        (Func::Factorial, [n @ 0..=200]) => Some((1..=*n).fold(BigInt::one(), |p, k| p * k)),
        (Func::Binomial, [n @ 0..=400, k]) if *k >= 0 => Some(if k > n {
            BigInt::zero()
        } else {
            num_integer::binomial(BigInt::from(*n), BigInt::from(*k))
        }),
        (Func::Gcd, [first, rest @ ..]) => Some(rest.iter().fold(first.abs(), |g, n| g.gcd(n)).into()),
        (Func::Lcm, [first, rest @ ..]) => {
            let lcm = rest.iter().try_fold(i128::from(first.abs()), |l, n| {
                let l = l.lcm(&i128::from(*n));
                (l < 1 << 60).then_some(l)
            })?;
            Some(lcm.into())
        }
        _ => None,
    }
}

/// The exact value of an arithmetic expression; `None` for what is not rational arithmetic or too long.
pub(super) fn exact(e: &Expr, env: &Env) -> Option<Rat> {
    let small = |q: Rat| (q.numer().bits() + q.denom().bits() < 8192).then_some(q);
    match e {
        Expr::Num(n) => Some(n.value.clone()),
        Expr::Percent(x) => Some(exact(x, env)? / rat(100)),
        Expr::Sym(name) => env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()),
        Expr::Add(items) => items.iter().try_fold(Rat::zero(), |s, i| small(s + exact(i, env)?)),
        Expr::Mul(items) => items.iter().try_fold(Rat::one(), |p, i| small(p * exact(i, env)?)),
        Expr::Pow(a, b) => {
            let (base, exp) = (exact(a, env)?, exact(b, env)?);
            let exp = exp.is_integer().then(|| exp.to_integer().to_i32()).flatten()?;
            let bits = (base.numer().bits() + base.denom().bits()) * u64::from(exp.unsigned_abs());
            if bits > 8192 || (base.is_zero() && exp <= 0) {
                return None;
            }
            Some(num_traits::Pow::pow(base, exp))
        }
        _ => None,
    }
}
