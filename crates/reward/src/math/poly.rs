//! Sums of monomials with rational coefficients: the values that normal forms are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use super::expr::{Rat, rat, show_rat};
use super::fuel::Spent;

/// Bytes of one atom's text.
const MAX_NAME: usize = 2000;

/// Why there is no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Fuel,
    Size,
    /// Division by zero and the like.
    Undefined,
    /// Not a scalar.
    Type,
}

impl From<Spent> for Stop {
    fn from(_: Spent) -> Self {
        Stop::Fuel
    }
}

/// What a monomial is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    /// √−1, with exponent 1.
    I,
    /// A prime with an exponent in (0, 1).
    Prime(u64),
    Pi,
    E,
    Sym(String),
    /// A sum or function, by the text of its normal form.
    Other(String),
}

pub(super) type Mono = BTreeMap<Atom, Rat>;

/// A sum of monomials; no coefficient is zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Poly(pub(super) BTreeMap<Mono, Rat>);

impl Poly {
    pub(crate) fn constant(c: Rat) -> Self {
        let mut out = Self::default();
        out.push(Mono::new(), c);
        out
    }

    pub(super) fn atom(atom: Atom) -> Self {
        Self(BTreeMap::from([(Mono::from([(atom, Rat::one())]), Rat::one())]))
    }

    /// An atom known by its text; texts of texts must not grow without end.
    pub(super) fn other(name: String) -> Result<Self, Stop> {
        if name.len() > MAX_NAME { Err(Stop::Size) } else { Ok(Self::atom(Atom::Other(name))) }
    }

    pub(super) fn push(&mut self, mono: Mono, c: Rat) {
        if c.is_zero() {
            return;
        }
        match self.0.entry(mono) {
            Entry::Vacant(slot) => {
                slot.insert(c);
            }
            Entry::Occupied(mut slot) => {
                *slot.get_mut() += c;
                if slot.get().is_zero() {
                    slot.remove();
                }
            }
        }
    }

    /// The value, if it is rational.
    pub(crate) fn rational(&self) -> Option<Rat> {
        match self.0.len() {
            0 => Some(Rat::zero()),
            1 => self.0.get(&Mono::new()).cloned(),
            _ => None,
        }
    }

    /// Whether a difference from another such form is proof of inequality: over atoms that are independent for certain.
    ///
    /// Products of roots of distinct primes are independent over the rationals (Besicovitch 1940), π is transcendental;
    /// of π and e together nothing is known, so they count only alone.
    pub(crate) fn decides(&self) -> bool {
        let mut transcendental = (false, false);
        let plain = self.0.keys().flatten().all(|(atom, exponent)| match atom {
            Atom::I | Atom::Prime(_) => true,
            Atom::Sym(_) => exponent.is_integer(),
            Atom::Pi => {
                transcendental.0 = true;
                exponent.is_integer()
            }
            Atom::E => {
                transcendental.1 = true;
                exponent.is_integer()
            }
            Atom::Other(_) => false,
        });
        plain && transcendental != (true, true)
    }

    /// The constant c with `self` = c · `other`, if there is one.
    pub(crate) fn ratio(&self, other: &Poly) -> Option<Rat> {
        let c = self.0.iter().next()?.1 / other.0.get(self.0.iter().next()?.0)?;
        let same = self.0.len() == other.0.len()
            && self.0.iter().all(|(m, v)| other.0.get(m).is_some_and(|w| *v == w * &c));
        same.then_some(c)
    }

    /// Readable and unique.
    pub(crate) fn show(&self) -> String {
        if self.0.is_empty() {
            return "0".into();
        }
        let mut out = String::new();
        for (mono, c) in self.0.iter().rev() {
            let negative = c.is_negative();
            out.push_str(match (out.is_empty(), negative) {
                (true, true) => "-",
                (true, false) => "",
                (false, true) => " - ",
                (false, false) => " + ",
            });
            let factors: Vec<String> = mono.iter().map(|(a, e)| show_factor(a, e)).collect();
            if !c.abs().is_one() || factors.is_empty() {
                out.push_str(&show_rat(&c.abs()));
                if !factors.is_empty() {
                    out.push('·');
                }
            }
            out.push_str(&factors.join("·"));
        }
        out
    }
}

fn show_factor(atom: &Atom, exponent: &Rat) -> String {
    let base = match atom {
        Atom::I => "i".to_owned(),
        Atom::Prime(p) => p.to_string(),
        Atom::Pi => "π".to_owned(),
        Atom::E => "e".to_owned(),
        Atom::Sym(s) | Atom::Other(s) => s.clone(),
    };
    match exponent {
        e if e.is_one() => base,
        e if e.is_integer() && e.is_positive() => format!("{base}^{e}"),
        e => format!("{base}^({})", show_rat(e)),
    }
}

/// atom^e with what can be taken out taken out.
pub(super) fn reduce(atom: &Atom, e: &Rat) -> Poly {
    let (mono, c) = merge(&Mono::new(), &Mono::from([(atom.clone(), e.clone())]));
    let mut out = Poly::default();
    out.push(mono, c);
    out
}

/// What copying and comparing a monomial costs.
pub(super) fn weight(mono: &Mono) -> u64 {
    let name = |atom: &Atom| match atom {
        Atom::Other(name) => name.len() / 8,
        _ => 0,
    };
    mono.keys().map(|a| 20 + name(a) as u64).sum()
}

/// The product of two monomials, and the rational that comes out of it.
pub(super) fn merge(a: &Mono, b: &Mono) -> (Mono, Rat) {
    let mut out = a.clone();
    let mut c = Rat::one();
    for (atom, e) in b {
        let total = out.get(atom).map_or_else(|| e.clone(), |old| old + e);
        let kept = match atom {
            // i⁴ = 1, i² = −1
            Atom::I if total.is_integer() => {
                let turns = total.to_integer().mod_floor(&BigInt::from(4)).to_u32().unwrap_or(0);
                if turns >= 2 {
                    c = -c;
                }
                rat(i64::from(turns % 2))
            }
            Atom::Prime(p) => {
                let whole = total.floor();
                if let Some(n) = whole.to_integer().to_i32().filter(|n| n.abs() < 4096) {
                    c *= rat(*p as i64).pow(n);
                }
                total - whole
            }
            _ => total,
        };
        match kept.is_zero() {
            true => out.remove(atom),
            false => out.insert(atom.clone(), kept),
        };
    }
    (out, c)
}

/// The positive rational that leaves coprime integer coefficients.
pub(super) fn content(p: &Poly) -> Rat {
    let numer = p.0.values().fold(BigInt::zero(), |g, c| g.gcd(c.numer()));
    let denom = p.0.values().fold(BigInt::one(), |l, c| l.lcm(c.denom()));
    Rat::new(numer, denom)
}
