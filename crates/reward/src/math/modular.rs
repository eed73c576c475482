//! Evaluation modulo two 61-bit primes at points seeded by the truth (Schwartz and Zippel; Gonnet's `testeq`).
//!
//! Decides rational functions, huge powers and factorials: 1/2004! and 1/2006! differ here and nowhere in floating point.
//! A symbol is a small integer, so that it may also be an exponent. What is not rational (a sine, a root) is an unknown of
//! its own, named by its normal form: equality with unknowns is proof, difference is not.

use std::cell::Cell;

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{Signed, ToPrimitive, Zero};

use super::calculus::substitute;
use super::expr::{Const, Expr, Func, Rat};
use super::fuel::{Fuel, Spent};
use super::normal;

const PRIMES: [u64; 2] = [(1 << 61) - 1, (1 << 61) - 31];
const POINTS: u64 = 3;
/// Terms of a sum or product, and factors of a factorial, that are multiplied out.
pub(super) const MAX_TERMS: i64 = 2_000;

/// What modular evaluation says about a − b.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Modular {
    Equal,
    Different,
    /// Different in the unknowns, which proves nothing, or not evaluated.
    Unknown,
}

/// 64-bit FNV-1a of text, the seed of every point.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Why one point gives no value.
enum Stop {
    Fuel,
    /// Division by zero at this point.
    Pole,
    /// Not evaluated.
    Other,
}

impl From<Spent> for Stop {
    fn from(_: Spent) -> Self {
        Stop::Fuel
    }
}

struct Point<'a> {
    prime: u64,
    seed: u64,
    fuel: &'a Fuel,
    /// An unknown took part.
    unknown: Cell<bool>,
}

pub(crate) fn compare(a: &Expr, b: &Expr, seed: u64, fuel: &Fuel) -> Result<Modular, Spent> {
    let mut equal = 0;
    let mut poles = 0;
    for n in 0..POINTS {
        for prime in PRIMES {
            let point = Point { prime, seed: mix(seed ^ n), fuel, unknown: Cell::new(false) };
            let values = point.eval(a).and_then(|x| point.eval(b).map(|y| (x, y)));
            match values {
                Ok((x, y)) if x == y => equal += 1,
                Ok(_) => {
                    let proof = !point.unknown.get();
                    return Ok(if proof { Modular::Different } else { Modular::Unknown });
                }
                Err(Stop::Pole) => poles += 1,
                Err(Stop::Fuel) => return Err(Spent),
                Err(Stop::Other) => return Ok(Modular::Unknown),
            }
        }
    }
    Ok(if equal >= 4 && poles <= 2 { Modular::Equal } else { Modular::Unknown })
}

impl Point<'_> {
    fn mul(&self, a: u64, b: u64) -> u64 {
        (u128::from(a) * u128::from(b) % u128::from(self.prime)) as u64
    }

    fn pow(&self, mut base: u64, mut exp: u64) -> u64 {
        let mut out = 1;
        while exp > 0 {
            if exp & 1 == 1 {
                out = self.mul(out, base);
            }
            base = self.mul(base, base);
            exp >>= 1;
        }
        out
    }

    fn inverse(&self, a: u64) -> Result<u64, Stop> {
        self.fuel.spend(20)?;
        if a == 0 { Err(Stop::Pole) } else { Ok(self.pow(a, self.prime - 2)) }
    }

    fn int(&self, n: &BigInt) -> u64 {
        n.mod_floor(&BigInt::from(self.prime)).to_u64().unwrap_or(0)
    }

    fn rational(&self, q: &Rat) -> Result<u64, Stop> {
        let n = self.int(q.numer());
        if q.is_integer() {
            return Ok(n);
        }
        Ok(self.mul(n, self.inverse(self.int(q.denom()))?))
    }

    /// The integer a symbol stands for.
    fn symbol(&self, name: &str) -> i64 {
        2 + (mix(self.seed ^ hash(name)) >> 44) as i64
    }

    /// A value for something that is not rational. `proof`: it is independent of everything else for certain.
    fn indeterminate(&self, name: &str, proof: bool) -> u64 {
        if !proof {
            self.unknown.set(true);
        }
        mix(self.seed ^ hash(name).rotate_left(17)) % self.prime
    }

    fn opaque(&self, e: &Expr) -> Result<u64, Stop> {
        let name = normal::normal(e, self.fuel).map_err(|stop| match stop {
            normal::Stop::Fuel => Stop::Fuel,
            _ => Stop::Other,
        })?;
        Ok(self.indeterminate(&name.show(), false))
    }

    fn eval(&self, e: &Expr) -> Result<u64, Stop> {
        self.fuel.spend(3)?;
        match e {
            Expr::Num(n) => self.rational(&n.value),
            Expr::Sym(name) => Ok(self.symbol(name) as u64),
            Expr::Const(Const::Pi) => Ok(self.indeterminate("π", true)),
            Expr::Const(Const::E) => Ok(self.indeterminate("e", true)),
            Expr::Const(_) => Err(Stop::Other),
            Expr::Add(items) => items.iter().try_fold(0, |sum, i| Ok((sum + self.eval(i)?) % self.prime)),
            Expr::Mul(items) => items.iter().try_fold(1, |product, i| Ok(self.mul(product, self.eval(i)?))),
            Expr::Percent(x) => Ok(self.mul(self.eval(x)?, self.inverse(100)?)),
            Expr::Pow(a, b) => {
                let Some(exp) = self.integer(b) else { return self.opaque(e) };
                let base = self.eval(a)?;
                self.fuel.spend(10)?;
                // Fermat: exponents count modulo p − 1, unless the base is divisible by p.
                let reduced = exp.abs().mod_floor(&BigInt::from(self.prime - 1)).to_u64().unwrap_or(0);
                match (base, exp.is_negative()) {
                    (0, _) if exp.is_zero() => Err(Stop::Pole),
                    (0, false) => Ok(0),
                    (base, false) => Ok(self.pow(base, reduced)),
                    (base, true) => self.inverse(self.pow(base, reduced)),
                }
            }
            Expr::Call(Func::Factorial, args) => {
                let n = args.first().and_then(|a| self.integer(a)).and_then(|n| n.to_i64());
                match n.filter(|n| (0..=10_000).contains(n)) {
                    Some(n) => {
                        self.fuel.spend(n as u64)?;
                        Ok((2..=n as u64).fold(1, |f, k| self.mul(f, k)))
                    }
                    None => self.opaque(e),
                }
            }
            Expr::Range { product, var, from, to, body } => {
                let bounds = self
                    .integer(from)
                    .and_then(|a| a.to_i64())
                    .zip(self.integer(to).and_then(|b| b.to_i64()));
                let Some((a, b)) = bounds.filter(|(a, b)| b.saturating_sub(*a) < MAX_TERMS) else {
                    return self.opaque(e);
                };
                (a..=b).try_fold(u64::from(*product), |total, k| {
                    self.fuel.spend(20)?;
                    let term = self.eval(&substitute(body, &Expr::Sym(var.clone()), &Expr::int(k)))?;
                    Ok(if *product { self.mul(total, term) } else { (total + term) % self.prime })
                })
            }
            Expr::Call(..) | Expr::Opaque(..) => self.opaque(e),
            _ => Err(Stop::Other),
        }
    }

    /// The exact integer an exponent is at this point; `None` if it is none, or too large to be worth it.
    fn integer(&self, e: &Expr) -> Option<BigInt> {
        let q = self.exact(e)?;
        q.is_integer().then(|| q.to_integer())
    }

    fn exact(&self, e: &Expr) -> Option<Rat> {
        self.fuel.spend(10).ok()?;
        let small = |q: Rat| (q.numer().bits() + q.denom().bits() < 4096).then_some(q);
        match e {
            Expr::Num(n) => Some(n.value.clone()),
            Expr::Sym(name) => Some(Rat::from_integer(self.symbol(name).into())),
            Expr::Add(items) => items.iter().try_fold(Rat::zero(), |sum, i| small(sum + self.exact(i)?)),
            Expr::Mul(items) => items.iter().try_fold(super::expr::rat(1), |p, i| small(p * self.exact(i)?)),
            Expr::Pow(a, b) => {
                let base = self.exact(a)?;
                let exp = self.exact(b)?;
                let exp = i32::try_from(exp.is_integer().then(|| exp.to_integer())?).ok()?;
                let bits = (base.numer().bits() + base.denom().bits()) * u64::from(exp.unsigned_abs());
                if bits > 4096 || (base.is_zero() && exp < 0) {
                    return None;
                }
                Some(num_traits::Pow::pow(base, exp))
            }
            _ => None,
        }
    }
}
