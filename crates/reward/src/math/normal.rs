//! Normal form: a sum of monomials with rational coefficients over atoms.
//!
//! Atoms are symbols, π, e, i, roots of primes, and everything else under its own normal form's text. Products are
//! multiplied out and like terms merged, so polynomials, their quotients by monomials and sums of square roots have one
//! form each. What grows beyond the limits has none; the later tiers decide it.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::calculus::substitute;
use super::eval::{integer_cost, integer_function};
use super::expr::{Const, Expr, Func, Rat, exact_sqrt, rat, show_rat};
use super::fuel::Fuel;
use super::poly::{Atom, Mono, content, merge, reduce, weight};
pub(crate) use super::poly::{Poly, Stop};

const MAX_TERMS: usize = 300;
const MAX_BITS: u64 = 4096;
/// Powers of sums that are multiplied out, and terms of a sum over an index.
const MAX_POWER: i64 = 12;
const MAX_RANGE: i64 = 100;

/// The normal form of a scalar expression.
pub(crate) fn normal(e: &Expr, fuel: &Fuel) -> Result<Poly, Stop> {
    Normalizer { fuel }.of(e)
}

struct Normalizer<'a> {
    fuel: &'a Fuel,
}

impl Normalizer<'_> {
    fn of(&self, e: &Expr) -> Result<Poly, Stop> {
        self.fuel.spend(10)?;
        match e {
            Expr::Num(n) => Ok(Poly::constant(n.value.clone())),
            Expr::Sym(name) => Ok(Poly::atom(Atom::Sym(name.clone()))),
            Expr::Const(Const::Pi) => Ok(Poly::atom(Atom::Pi)),
            Expr::Const(Const::E) => Ok(Poly::atom(Atom::E)),
            Expr::Const(Const::I) => Ok(Poly::atom(Atom::I)),
            Expr::Const(Const::Inf) => Poly::other("∞".into()),
            Expr::Percent(x) => Ok(self.scale(self.of(x)?, &Rat::new(1.into(), 100.into()))),
            Expr::Quantity(x, unit) if unit.dims.len() == 1 && unit.dims.contains_key("deg") => {
                self.times(&self.scale(self.of(x)?, &Rat::new(1.into(), 180.into())), &Poly::atom(Atom::Pi))
            }
            Expr::Add(items) => {
                let mut sum = Poly::default();
                for item in items {
                    sum = self.plus(sum, self.of(item)?)?;
                }
                Ok(sum)
            }
            Expr::Mul(items) => {
                let (first, rest) = items.split_first().ok_or(Stop::Type)?;
                rest.iter().try_fold(self.of(first)?, |product, item| self.times(&product, &self.of(item)?))
            }
            Expr::Pow(a, b) => {
                let exponent = self.of(b)?;
                if **a == Expr::Const(Const::E) {
                    return self.exponential(&exponent);
                }
                let base = self.of(a)?;
                match exponent.rational() {
                    Some(q) => self.power(&base, &q),
                    None => self.symbolic_power(&base, &exponent),
                }
            }
            Expr::Call(f, args) => self.call(*f, args),
            Expr::Opaque(name, args) => self.named(name, args),
            Expr::Range { product, var, from, to, body } => self.range(*product, var, from, to, body),
            _ => Err(Stop::Type),
        }
    }

    fn scale(&self, mut p: Poly, c: &Rat) -> Poly {
        p.0.values_mut().for_each(|v| *v *= c);
        p.0.retain(|_, v| !v.is_zero());
        p
    }

    fn check(&self, p: Poly) -> Result<Poly, Stop> {
        let bits: u64 = p.0.values().map(|c| c.numer().bits() + c.denom().bits()).max().unwrap_or(0);
        if p.0.len() > MAX_TERMS || bits > MAX_BITS { Err(Stop::Size) } else { Ok(p) }
    }

    fn plus(&self, mut a: Poly, b: Poly) -> Result<Poly, Stop> {
        self.fuel.spend(20 * b.0.len() as u64)?;
        for (mono, c) in b.0 {
            a.push(mono, c);
        }
        self.check(a)
    }

    fn times(&self, a: &Poly, b: &Poly) -> Result<Poly, Stop> {
        if a.0.len() * b.0.len() > 4 * MAX_TERMS {
            return Err(Stop::Size);
        }
        let mut out = Poly::default();
        for (m, c) in &a.0 {
            for (n, d) in &b.0 {
                self.fuel.spend(40 + weight(m) + weight(n) + (c.numer().bits() + d.numer().bits()) / 8)?;
                let (mono, k) = merge(m, n);
                let c = if k.is_one() { product(c, d) } else { product(c, d) * k };
                out.push(mono, c);
            }
        }
        self.check(out)
    }

    /// base^q, q rational.
    fn power(&self, base: &Poly, q: &Rat) -> Result<Poly, Stop> {
        if q.is_zero() {
            return if base.0.is_empty() { Err(Stop::Undefined) } else { Ok(Poly::constant(Rat::one())) };
        }
        if base.0.is_empty() {
            return if q.is_positive() { Ok(Poly::default()) } else { Err(Stop::Undefined) };
        }
        if base.0.len() == 1
            && let Some((mono, c)) = base.0.iter().next()
        {
            return self.monomial_power(mono, c, q);
        }
        if q.is_integer() && q.is_positive() && q <= &rat(MAX_POWER) {
            let mut out = Poly::constant(Rat::one());
            for _ in 0..q.to_integer().to_i64().unwrap_or(1) {
                out = self.times(&out, base)?;
            }
            return Ok(out);
        }
        // (k·S)^q = k^q · S^q with S primitive. The sign may move only under an integer exponent.
        let content = content(base);
        let leading = base.0.iter().next_back().is_some_and(|(_, c)| c.is_negative());
        let k = if leading && q.is_integer() { -content } else { content };
        let primitive = self.scale(base.clone(), &k.recip());
        let group = Mono::from([(Atom::Other(format!("({})", primitive.show())), q.clone())]);
        let factor = self.monomial_power(&Mono::new(), &k, q)?;
        self.times(&factor, &Poly(BTreeMap::from([(group, Rat::one())])))
    }

    fn monomial_power(&self, mono: &Mono, c: &Rat, q: &Rat) -> Result<Poly, Stop> {
        if q.is_integer() {
            let n = q.to_integer().to_i32().ok_or(Stop::Size)?;
            let bits = (c.numer().bits() + c.denom().bits()).saturating_mul(u64::from(n.unsigned_abs()));
            let plain = c.abs().is_one();
            if bits > MAX_BITS && !plain {
                return Err(Stop::Size);
            }
            let coefficient = if plain && n % 2 == 0 {
                Rat::one()
            } else if plain {
                c.clone()
            } else if n == -1 {
                c.recip()
            } else {
                c.pow(n)
            };
            let mut out = Poly::constant(coefficient);
            for (atom, e) in mono {
                let raised = reduce(atom, &(e * q));
                out = self.times(&out, &raised)?;
            }
            return Ok(out);
        }
        let mut out = self.rational_power(c, q)?;
        for (atom, e) in mono {
            // √(x²) is not x: only first powers, and what is positive, distribute.
            let positive = matches!(atom, Atom::Pi | Atom::E | Atom::Prime(_));
            let raised = match atom {
                Atom::I => Poly::other(format!("i^({})", show_rat(q)))?,
                _ if positive || (e.is_one() && mono.len() == 1) => reduce(atom, &(e * q)),
                _ => {
                    let inner = Mono::from([(atom.clone(), e.clone())]);
                    let text = Poly(BTreeMap::from([(inner, Rat::one())])).show();
                    reduce(&Atom::Other(format!("({text})")), q)
                }
            };
            out = self.times(&out, &raised)?;
        }
        Ok(out)
    }

    /// c^q for rational c ≠ 0 and q no integer: roots of primes, and i for square roots of negatives.
    fn rational_power(&self, c: &Rat, q: &Rat) -> Result<Poly, Stop> {
        self.fuel.spend(200)?;
        if c.is_negative() {
            let size = self.rational_power(&c.abs(), q)?;
            let two = BigInt::from(2);
            return match (q.denom() == &two, q.denom().is_odd()) {
                // (−c)^(n/2) = c^(n/2) iⁿ
                (true, _) => self.times(&size, &reduce(&Atom::I, &Rat::from_integer(q.numer().clone()))),
                (_, true) => Ok(self.scale(size, &rat(if q.numer().is_odd() { -1 } else { 1 }))),
                _ => Poly::other(format!("({})^({})", show_rat(c), show_rat(q))),
            };
        }
        if q.denom() == &BigInt::from(2)
            && let Some(root) = exact_sqrt(c)
        {
            return self.monomial_power(&Mono::new(), &root, &Rat::from_integer(q.numer().clone()));
        }
        let mut out = Poly::constant(Rat::one());
        for (n, sign) in [(c.numer(), 1), (c.denom(), -1)] {
            let Some(primes) = self.factor(n)? else {
                return Poly::other(format!("({})^({})", show_rat(c), show_rat(q)));
            };
            for (p, k) in primes {
                out = self.times(&out, &reduce(&Atom::Prime(p), &(q * rat(sign * i64::from(k)))))?;
            }
        }
        Ok(out)
    }

    /// Prime factors by trial division; `None` if a factor beyond its reach is left.
    fn factor(&self, n: &BigInt) -> Result<Option<Vec<(u64, u32)>>, Stop> {
        let Some(mut n) = n.to_u64() else { return Ok(None) };
        let mut out = vec![];
        let mut p = 2;
        while p * p <= n {
            if p > 2_000 {
                // What is left has no factor up to 2000: prime if below its square.
                if n < 4_000_000 { break } else { return Ok(None) }
            }
            let mut k = 0;
            while n.is_multiple_of(p) {
                n /= p;
                k += 1;
            }
            if k > 0 {
                out.push((p, k));
            }
            p += if p == 2 { 1 } else { 2 };
        }
        self.fuel.spend(p / 2)?;
        if n > 1 {
            out.push((n, 1));
        }
        Ok(Some(out))
    }

    /// e^(a + b + …) = e^a · e^b ·…, with rational multiples as exponents.
    fn exponential(&self, exponent: &Poly) -> Result<Poly, Stop> {
        let mut out = Mono::new();
        for (mono, c) in &exponent.0 {
            let atom = match mono.is_empty() {
                true => Atom::E,
                false => {
                    Atom::Other(format!("exp({})", Poly(BTreeMap::from([(mono.clone(), Rat::one())])).show()))
                }
            };
            out.insert(atom, c.clone());
        }
        Ok(Poly(BTreeMap::from([(out, Rat::one())])))
    }

    /// b^x with a symbolic exponent: 4^(x+1) = 4 · (2^x)².
    fn symbolic_power(&self, base: &Poly, exponent: &Poly) -> Result<Poly, Stop> {
        let constant = base.rational().filter(|b| b.is_positive() && b.is_integer());
        let primes = match constant {
            Some(b) => self.factor(b.numer())?,
            None => None,
        };
        let Some(primes) = primes else {
            return Poly::other(format!("({})^({})", base.show(), exponent.show()));
        };
        let mut out = Poly::constant(Rat::one());
        for (p, k) in primes {
            for (mono, c) in &exponent.0 {
                let q = c * rat(i64::from(k));
                let factor = match mono.is_empty() {
                    true => self.power(&Poly::constant(rat(p as i64)), &q)?,
                    false => {
                        let text = Poly(BTreeMap::from([(mono.clone(), Rat::one())])).show();
                        Poly(BTreeMap::from([(
                            Mono::from([(Atom::Other(format!("{p}^({text})")), q)]),
                            Rat::one(),
                        )]))
                    }
                };
                out = self.times(&out, &factor)?;
            }
        }
        Ok(out)
    }

    fn named(&self, name: &str, args: &[Expr]) -> Result<Poly, Stop> {
        let texts: Vec<String> = args
            .iter()
            .map(|a| match self.of(a) {
                Ok(p) => Ok(p.show()),
                // Relations under a limit sign and the like: by their structure.
                Err(Stop::Type) => Ok(super::show::text(a, self.fuel)),
                Err(stop) => Err(stop),
            })
            .collect::<Result<_, _>>()?;
        Poly::other(format!("{name}({})", texts.join(", ")))
    }

    fn call(&self, f: Func, args: &[Expr]) -> Result<Poly, Stop> {
        let values: Vec<Poly> = args.iter().map(|a| self.of(a)).collect::<Result<_, _>>()?;
        let rationals: Option<Vec<Rat>> = values.iter().map(Poly::rational).collect();
        if matches!(f, Func::Factorial | Func::Binomial) {
            let first = rationals.as_ref().and_then(|r| r.first()?.to_integer().to_i64());
            self.fuel.spend(integer_cost(first.unwrap_or(0)))?;
        }
        if let Some(value) = rationals.and_then(|r| rational_function(f, &r)) {
            return Ok(Poly::constant(value));
        }
        match (f, &values[..]) {
            (Func::Exp, [x]) => self.exponential(x),
            (Func::Root, [x, n]) => match n.rational().filter(|n| !n.is_zero()) {
                Some(n) => self.power(x, &n.recip()),
                None => Poly::other(format!("root({}, {})", x.show(), n.show())),
            },
            (Func::Ln, [x]) => self.logarithm(x),
            (Func::Binomial | Func::Mod, [x, y]) => Poly::other(format!("{f:?}({}, {})", x.show(), y.show())),
            (Func::Gcd | Func::Lcm | Func::Max | Func::Min, many) => {
                let mut texts: Vec<String> = many.iter().map(Poly::show).collect();
                texts.sort();
                Poly::other(format!("{f:?}({})", texts.join(", ")))
            }
            (_, [x]) => Poly::other(format!("{f:?}({})", x.show())),
            _ => Err(Stop::Type),
        }
    }

    /// ln of a positive rational by its primes, ln e = 1, else an atom.
    fn logarithm(&self, x: &Poly) -> Result<Poly, Stop> {
        if x.0.is_empty() {
            return Err(Stop::Undefined);
        }
        if *x == Poly::atom(Atom::E) {
            return Ok(Poly::constant(Rat::one()));
        }
        let Some(q) = x.rational().filter(Signed::is_positive) else {
            return Poly::other(format!("ln({})", x.show()));
        };
        let mut sum = Poly::default();
        for (n, sign) in [(q.numer(), 1), (q.denom(), -1)] {
            let Some(primes) = self.factor(n)? else { return Poly::other(format!("ln({})", x.show())) };
            for (p, k) in primes {
                let term = self.scale(Poly::other(format!("ln({p})"))?, &rat(sign * i64::from(k)));
                sum = self.plus(sum, term)?;
            }
        }
        Ok(sum)
    }

    fn range(&self, product: bool, var: &str, from: &Expr, to: &Expr, body: &Expr) -> Result<Poly, Stop> {
        let int = |p: &Poly| p.rational().filter(Rat::is_integer).and_then(|q| q.to_integer().to_i64());
        let (a, b) = (self.of(from)?, self.of(to)?);
        if let (Some(a), Some(b)) = (int(&a), int(&b))
            && b.saturating_sub(a) < MAX_RANGE
        {
            let mut total = Poly::constant(rat(i64::from(product)));
            for k in a..=b {
                let term = self.of(&substitute(body, &Expr::Sym(var.to_owned()), &Expr::int(k)))?;
                total = if product { self.times(&total, &term)? } else { self.plus(total, term)? };
            }
            return Ok(total);
        }
        // The index has no name of its own: ∑ over k equals ∑ over j.
        let body = self.of(&substitute(body, &Expr::Sym(var.to_owned()), &Expr::Sym("#".into())))?;
        let name = if product { "prod" } else { "sum" };
        Poly::other(format!("{name}[{}, {}]({})", a.show(), b.show(), body.show()))
    }
}

/// a · b; multiplying by one is common, and reducing fractions is what normal forms spend their time on.
fn product(a: &Rat, b: &Rat) -> Rat {
    match (a.is_one(), b.is_one()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ if a.is_integer() && b.is_integer() => Rat::from_integer(a.numer() * b.numer()),
        _ => a * b,
    }
}

fn rational_function(f: Func, args: &[Rat]) -> Option<Rat> {
    let ints = || {
        args.iter()
            .map(|a| a.is_integer().then(|| a.to_integer().to_i64()).flatten())
            .collect::<Option<Vec<_>>>()
    };
    Some(match (f, args) {
        (Func::Abs, [x]) => x.abs(),
        (Func::Floor, [x]) => x.floor(),
        (Func::Ceil, [x]) => x.ceil(),
        (Func::Sign, [x]) => x.signum(),
        (Func::Conj, [x]) => x.clone(),
        (Func::Max, [_, ..]) => args.iter().max()?.clone(),
        (Func::Min, [_, ..]) => args.iter().min()?.clone(),
        (Func::Mod, [x, m]) if m.is_positive() => x - (x / m).floor() * m,
        (Func::Factorial | Func::Binomial | Func::Gcd | Func::Lcm, _) => {
            Rat::from_integer(integer_function(f, &ints()?)?)
        }
        _ => return None,
    })
}
