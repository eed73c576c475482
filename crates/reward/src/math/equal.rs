//! The ladder: whether two scalars are equal, by the cheapest rule that can tell.
//!
//! Normal form, exact rationals and written decimals, modular evaluation, balls in 53 bits, balls in 192 and 512 bits. Every
//! rung says yes, no, or nothing; a no is proof, a yes is proof or holds at every point tried to 60 digits.

use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use super::ball::{Ball, Balls, Stop, Value};
use super::eval::Env;
use super::expr::{Const, Expr, Func, Rat, rat};
use super::fuel::{Fuel, Spent};
use super::modular::{self, Modular, hash, mix};
use super::normal::{self, normal};
use super::real::{Arith, Big, Double};
use crate::verdict::{Reason, Tier};

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Yes(Tier),
    No(Reason, Tier),
    Unsure(Reason, Tier),
}

impl Outcome {
    pub(crate) fn different(tier: Tier) -> Self {
        Outcome::No(Reason::Different, tier)
    }

    pub(crate) fn other_type() -> Self {
        Outcome::No(Reason::OtherType, Tier::Rule)
    }

    pub(crate) fn is_yes(self) -> bool {
        matches!(self, Outcome::Yes(_))
    }

    /// Both must hold. A no is final, an unsure outweighs a yes.
    pub(crate) fn and(self, other: impl FnOnce() -> Outcome) -> Outcome {
        match self {
            Outcome::Yes(a) => match other() {
                Outcome::Yes(b) => Outcome::Yes(if b as u8 > a as u8 { b } else { a }),
                rest => rest,
            },
            Outcome::Unsure(..) => match other() {
                no @ Outcome::No(..) => no,
                _ => self,
            },
            no => no,
        }
    }

    /// One of the two suffices.
    pub(crate) fn or(self, other: impl FnOnce() -> Outcome) -> Outcome {
        match self {
            Outcome::Yes(_) => self,
            Outcome::Unsure(..) => match other() {
                yes @ Outcome::Yes(_) => yes,
                _ => self,
            },
            Outcome::No(..) => match other() {
                Outcome::No(..) => self,
                rest => rest,
            },
        }
    }
}

/// Points at which balls are compared: the first are positive, the rest of either sign.
const POSITIVE: usize = 4;
const POINTS: usize = 7;

/// The rungs, for one pair of answers.
pub(crate) struct Ladder<'a> {
    pub fuel: &'a Fuel,
    /// From the truth's text, so that a policy cannot aim at the points.
    pub seed: u64,
    /// Decimals a written decimal must show to stand for another number.
    pub precision: u32,
    /// Relative tolerance, where the dataset has one.
    pub tolerance: Option<f64>,
}

/// What one precision says at one point.
enum At {
    Same,
    Different,
    /// Overlapping, too wide to count, or defined on neither or one side.
    Nothing,
    Opaque,
}

impl Ladder<'_> {
    pub(crate) fn scalars(&self, gold: &Expr, pred: &Expr) -> Outcome {
        self.climb(gold, pred).unwrap_or(Outcome::Unsure(Reason::Limit, Tier::Ball))
    }

    fn climb(&self, gold: &Expr, pred: &Expr) -> Result<Outcome, Spent> {
        if gold == pred {
            return Ok(Outcome::Yes(Tier::Identical));
        }
        if let (Some(a), Some(b)) = (gold.literal(), pred.literal()) {
            return Ok(self.numbers(&a, &b));
        }
        let forms = match (normal(gold, self.fuel), normal(pred, self.fuel)) {
            (Err(normal::Stop::Fuel), _) | (_, Err(normal::Stop::Fuel)) => return Err(Spent),
            (Ok(a), Ok(b)) => Some((a, b)),
            _ => None,
        };
        if let Some((a, b)) = &forms {
            if a == b {
                return Ok(Outcome::Yes(Tier::Normal));
            }
            if let (Some(x), Some(y)) = (a.rational(), b.rational()) {
                let places = |e: &Expr| e.literal().and_then(|(_, p)| p);
                return Ok(self.numbers(&(x, places(gold)), &(y, places(pred))));
            }
        }
        let outcome = self.proved(gold, pred, forms.as_ref())?;
        if matches!(outcome, Outcome::No(..)) && self.decimals(gold, pred)? {
            return Ok(Outcome::Yes(Tier::Decimal));
        }
        Ok(outcome)
    }

    /// Two rational numbers with the decimals they show.
    fn numbers(&self, (x, xp): &(Rat, Option<u32>), (y, yp): &(Rat, Option<u32>)) -> Outcome {
        if x == y {
            return Outcome::Yes(Tier::Exact);
        }
        let within =
            self.tolerance.is_some_and(|t| Rat::from_float(t).is_some_and(|t| (x - y).abs() <= t * x.abs()));
        if within || self.close((x, *xp), (y, *yp)) {
            return Outcome::Yes(Tier::Decimal);
        }
        Outcome::different(Tier::Exact)
    }

    /// Whether a written decimal stands for the other number: to half a unit of the coarser last digit if at least
    /// `precision` are shown, or to half a unit of that many digits if that is also small beside the numbers.
    ///
    /// Integers are exact: 5 is not 5.0000001.
    fn close(&self, (x, xp): (&Rat, Option<u32>), (y, yp): (&Rat, Option<u32>)) -> bool {
        let integer = |v: &Rat, places: Option<u32>| places.is_none() && v.is_integer();
        let shown = match (xp, yp) {
            (None, None) => return false,
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
        };
        if integer(x, xp) || integer(y, yp) {
            return false;
        }
        let unit = |places: u32| Rat::one() / rat(10).pow(places.min(400) as i32);
        let difference = (x - y).abs();
        let half = |places: u32| unit(places) / rat(2);
        (shown >= self.precision && difference <= half(shown))
            || (difference <= half(self.precision)
                && difference <= unit(self.precision) * x.abs().max(y.abs()))
    }

    /// Expressions that hold decimals: equal to as many digits as the decimals show, at every point.
    fn decimals(&self, gold: &Expr, pred: &Expr) -> Result<bool, Spent> {
        let shown = |e: &Expr| {
            let mut least = None::<u32>;
            visit(e, &mut |n| least = Some(least.map_or(n, |l| l.min(n))));
            least
        };
        let places = match (shown(gold), shown(pred)) {
            (None, None) if self.tolerance.is_none() => return Ok(false),
            (a, b) => a.into_iter().chain(b).min(),
        };
        if self.tolerance.is_none() && places.is_none_or(|p| p < self.precision) {
            return Ok(false);
        }
        // A literal's last digit is absolute; within an expression only relative closeness means anything.
        let absolute = gold
            .literal()
            .or(pred.literal())
            .and_then(|(_, p)| p)
            .map(|p| 0.5 * libm::pow(10.0, -f64::from(p)));
        let relative = self.tolerance.unwrap_or(libm::pow(10.0, -f64::from(self.precision)));
        let balls = Balls { a: &Double, fuel: self.fuel };
        let symbols = symbols(gold, pred);
        let count = if symbols.is_empty() { 1 } else { POSITIVE };
        for n in 0..count {
            let env = self.point(&symbols, n, gold, pred);
            let (x, y) = match (balls.eval(gold, &env), balls.eval(pred, &env)) {
                (Err(Stop::Fuel), _) | (_, Err(Stop::Fuel)) => return Err(Spent),
                (Ok(x), Ok(y)) => (x, y),
                _ => return Ok(false),
            };
            let Ok(difference) = balls.add(&x, &balls.neg(&y)) else { return Ok(false) };
            let size = balls.upper(&x);
            let allowed = match absolute {
                Some(unit) if self.tolerance.is_none() => unit,
                _ => relative * size,
            };
            if balls.upper(&difference) > allowed + difference.rad {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Equality of exact expressions.
    fn proved(
        &self,
        gold: &Expr,
        pred: &Expr,
        forms: Option<&(normal::Poly, normal::Poly)>,
    ) -> Result<Outcome, Spent> {
        if forms.is_some_and(|(a, b)| a.decides() && b.decides()) {
            return Ok(Outcome::different(Tier::Normal));
        }
        match modular::compare(gold, pred, self.seed, self.fuel)? {
            Modular::Equal => return Ok(Outcome::Yes(Tier::Modular)),
            Modular::Different => return Ok(Outcome::different(Tier::Modular)),
            Modular::Unknown => {}
        }
        // Undefined parts become symbols: equal structure is equal, other structure proves nothing.
        let opaque = |e: &Expr| e.any(&|n| matches!(n, Expr::Opaque(..) | Expr::Const(Const::Inf)));
        if opaque(gold) || opaque(pred) {
            return Ok(Outcome::Unsure(Reason::Opaque, Tier::Normal));
        }
        let symbols = symbols(gold, pred);
        let mut same = vec![];
        let mut fat = vec![];
        for n in 0..if symbols.is_empty() { 1 } else { POINTS } {
            match self.at(&Double, gold, pred, &self.point(&symbols, n, gold, pred), n)? {
                At::Same => same.push(n),
                At::Different => return Ok(Outcome::different(Tier::Ball)),
                At::Nothing => fat.push(n),
                At::Opaque => return Ok(Outcome::Unsure(Reason::Opaque, Tier::Ball)),
            }
        }
        let constant = symbols.is_empty();
        let tried: Vec<usize> = same.iter().chain(&fat).copied().take(if constant { 1 } else { 2 }).collect();
        for bits in [192, 512] {
            let big = Big::new(bits);
            let mut agreed = 0;
            for &n in &tried {
                match self.at(&big, gold, pred, &self.point(&symbols, n, gold, pred), n)? {
                    At::Same => agreed += 1,
                    At::Different => return Ok(Outcome::different(Tier::Big)),
                    At::Nothing | At::Opaque => {}
                }
            }
            if agreed == tried.len() && agreed > 0 && (constant || same.len() + fat.len() >= 2) {
                return Ok(Outcome::Yes(Tier::Big));
            }
        }
        Ok(Outcome::Unsure(Reason::Precision, Tier::Big))
    }

    fn at<A: Arith>(&self, a: &A, gold: &Expr, pred: &Expr, env: &Env, n: usize) -> Result<At, Spent> {
        let balls = Balls { a, fuel: self.fuel };
        let (x, y) = match (balls.eval(gold, env), balls.eval(pred, env)) {
            (Err(Stop::Fuel), _) | (_, Err(Stop::Fuel)) => return Err(Spent),
            (Err(Stop::Opaque), _) | (_, Err(Stop::Opaque)) => return Ok(At::Opaque),
            (Ok(x), Ok(y)) => (x, y),
            _ => return Ok(At::Nothing),
        };
        // At negative values a root may leave the reals: √(1/n) = 1/√n is meant where both sides are real.
        let branches =
            n >= POSITIVE && !(balls.is_real(&x) && balls.is_real(&y)) && (branchy(gold) || branchy(pred));
        if branches {
            return Ok(At::Nothing);
        }
        let difference = match balls.add(&x, &balls.neg(&y)) {
            Ok(difference) => difference,
            Err(Stop::Fuel) => return Err(Spent),
            Err(_) => return Ok(At::Nothing),
        };
        if !balls.may_vanish(&difference) {
            return Ok(At::Different);
        }
        let size = balls.upper(&x).max(balls.upper(&y)).max(f64::MIN_POSITIVE);
        let narrow = libm::sqrt(a.eps());
        Ok(if difference.rad <= narrow * size.max(narrow) { At::Same } else { At::Nothing })
    }

    /// The n-th point. Symbols that count something are whole numbers.
    pub(crate) fn point(&self, symbols: &[String], n: usize, gold: &Expr, pred: &Expr) -> Vec<(String, Rat)> {
        symbols
            .iter()
            .map(|name| {
                let random = mix(self.seed ^ hash(name) ^ ((n as u64) << 32));
                let value = if counts(gold, name) || counts(pred, name) {
                    rat(1 + (random % 17) as i64)
                } else {
                    let size = Rat::new((200 + (random >> 8) % 3_000).into(), 1_000.into());
                    if n >= POSITIVE && random & 1 == 1 { -size } else { size }
                };
                (name.clone(), value)
            })
            .collect()
    }

    /// The sign of a constant: `None` if it is not real or too close to call.
    pub(crate) fn sign(&self, e: &Expr) -> Option<i8> {
        if let Some((q, _)) = e.literal() {
            return Some(if q.is_zero() {
                0
            } else if q.is_positive() {
                1
            } else {
                -1
            });
        }
        let infinite = |e: &Expr| *e == Expr::Const(Const::Inf);
        if infinite(e) {
            return Some(1);
        }
        if *e == Expr::Const(Const::Inf).neg() {
            return Some(-1);
        }
        fn decided<A: Arith>(balls: &Balls<'_, A>, value: Value<A>) -> Option<i8> {
            let value = value.ok()?;
            (balls.is_real(&value) && !balls.may_vanish(&value))
                .then(|| if balls.a.is_negative(&value.re) { -1 } else { 1 })
        }
        let double = Balls { a: &Double, fuel: self.fuel };
        decided(&double, double.eval(e, &[])).or_else(|| match self.scalars(e, &Expr::int(0)) {
            Outcome::Yes(_) => Some(0),
            Outcome::No(..) => {
                let big = Big::new(256);
                let balls = Balls { a: &big, fuel: self.fuel };
                decided(&balls, balls.eval(e, &[]))
            }
            Outcome::Unsure(..) => None,
        })
    }

    /// The real value of a constant, for ordering.
    pub(crate) fn approx(&self, e: &Expr) -> Option<f64> {
        if *e == Expr::Const(Const::Inf) {
            return Some(f64::INFINITY);
        }
        if *e == Expr::Const(Const::Inf).neg() {
            return Some(f64::NEG_INFINITY);
        }
        if let Some((q, _)) = e.literal() {
            return q.to_f64();
        }
        let balls = Balls { a: &Double, fuel: self.fuel };
        let value: Ball<f64> = balls.eval(e, &[]).ok()?;
        value.im.is_none().then_some(value.re)
    }
}

/// Calls `f` with the places of every decimal.
fn visit(e: &Expr, f: &mut dyn FnMut(u32)) {
    if let Expr::Num(n) = e
        && let Some(places) = n.places
        // 0.5 is exact for what it shows; only long decimals are roundings of something.
        && !n.value.is_integer()
    {
        f(places);
    }
    e.children().into_iter().for_each(|c| visit(c, f));
}

fn symbols(a: &Expr, b: &Expr) -> Vec<String> {
    let mut all = a.symbols();
    all.extend(b.symbols());
    all.sort();
    all.dedup();
    all
}

/// Functions whose value jumps or leaves the reals on the negative axis.
fn branchy(e: &Expr) -> bool {
    e.any(&|n| match n {
        Expr::Pow(_, b) => !matches!(&**b, Expr::Num(n) if n.value.is_integer()),
        Expr::Call(f, _) => !matches!(f, Func::Sin | Func::Cos | Func::Tan | Func::Exp | Func::Abs),
        _ => false,
    })
}

/// Whether `name` stands where only whole numbers make sense: in a factorial, a bound, or as exponent of a negative.
fn counts(e: &Expr, name: &str) -> bool {
    let has = |e: &Expr| e.any(&|n| matches!(n, Expr::Sym(s) if s == name));
    e.any(&|n| match n {
        Expr::Call(Func::Factorial | Func::Binomial | Func::Gcd | Func::Lcm | Func::Mod, args) => {
            args.iter().any(has)
        }
        Expr::Range { from, to, .. } => has(from) || has(to),
        Expr::Pow(a, b) => {
            let negative = match &**a {
                Expr::Num(n) => n.value.is_negative(),
                Expr::Const(Const::I) => true,
                _ => false,
            };
            negative && has(b)
        }
        _ => false,
    })
}
