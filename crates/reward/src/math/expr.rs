//! The syntax tree of an answer.
//!
//! Subtraction and division do not exist: a − b is a + (−1)·b and a / b is a·b⁻¹, so that long chains stay flat and every
//! later stage has two cases fewer. Depth is bounded by the parser, so recursion over a tree is safe.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use super::unit::Unit;

/// Exact rational number.
pub(crate) type Rat = BigRational;

/// A number as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Number {
    pub value: Rat,
    /// Digits after the point; `None` for integers and exact notations such as repeating decimals.
    pub places: Option<u32>,
}

/// Named constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Const {
    Pi,
    E,
    I,
    Inf,
}

/// Functions with a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Func {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Asin,
    Acos,
    Atan,
    Acot,
    Asec,
    Acsc,
    Sinh,
    Cosh,
    Tanh,
    Coth,
    Sech,
    Csch,
    Asinh,
    Acosh,
    Atanh,
    Exp,
    Ln,
    Abs,
    Floor,
    Ceil,
    Sign,
    Factorial,
    Binomial,
    Gcd,
    Lcm,
    Max,
    Min,
    Mod,
    Conj,
    /// Real n-th root: `[radicand, n]`.
    Root,
}

/// Relations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RelOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Approx,
    In,
    NotIn,
    /// Congruence, subsets and other relations that are only compared side by side.
    Other,
}

impl RelOp {
    pub(crate) fn flipped(self) -> Self {
        match self {
            RelOp::Lt => RelOp::Gt,
            RelOp::Le => RelOp::Ge,
            RelOp::Gt => RelOp::Lt,
            RelOp::Ge => RelOp::Le,
            other => other,
        }
    }

    pub(crate) fn is_order(self) -> bool {
        matches!(self, RelOp::Lt | RelOp::Le | RelOp::Gt | RelOp::Ge)
    }

    pub(crate) fn sign(self) -> &'static str {
        match self {
            RelOp::Eq => "=",
            RelOp::Ne => "≠",
            RelOp::Lt => "<",
            RelOp::Le => "≤",
            RelOp::Gt => ">",
            RelOp::Ge => "≥",
            RelOp::Approx => "≈",
            RelOp::In => "∈",
            RelOp::NotIn => "∉",
            RelOp::Other => "~",
        }
    }
}

/// Named sets of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    Empty,
    Naturals,
    Integers,
    Rationals,
    Reals,
    Complexes,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Num(Number),
    Sym(String),
    Const(Const),
    Add(Vec<Expr>),
    Mul(Vec<Expr>),
    Pow(Box<Expr>, Box<Expr>),
    /// ±a; ∓a is −(±a).
    PlusMinus(Box<Expr>),
    Call(Func, Vec<Expr>),
    /// A function without a definition, or an operation that is only compared by its parts.
    Opaque(String, Vec<Expr>),
    /// Sum (`true` for a product) of the body over an integer variable.
    Range {
        product: bool,
        var: String,
        from: Box<Expr>,
        to: Box<Expr>,
        body: Box<Expr>,
    },
    Percent(Box<Expr>),
    Quantity(Box<Expr>, Box<Unit>),
    /// Bracketed items; `true` where the bracket is square on that side and so includes its end.
    Seq {
        square: (bool, bool),
        items: Vec<Expr>,
    },
    Set(Vec<Expr>),
    /// Items side by side without brackets.
    List(Vec<Expr>),
    Union(Vec<Expr>),
    Inter(Vec<Expr>),
    Minus(Box<Expr>, Box<Expr>),
    Space(Space),
    /// { variable : condition }
    Builder(Box<Expr>, Box<Expr>),
    Matrix(Vec<Vec<Expr>>),
    Rel(Vec<Expr>, Vec<RelOp>),
    Ratio(Vec<Expr>),
    /// A number in another base: digits as written, value, base.
    Based(String, BigInt, u32),
    Text(String),
}

/// Rational from an integer.
pub(crate) fn rat(n: i64) -> Rat {
    Rat::from_integer(BigInt::from(n))
}

impl Expr {
    pub(crate) fn exact(value: Rat) -> Self {
        Expr::Num(Number { value, places: None })
    }

    pub(crate) fn int(n: i64) -> Self {
        Self::exact(rat(n))
    }

    pub(crate) fn half() -> Self {
        Self::exact(Rat::new(1.into(), 2.into()))
    }

    pub(crate) fn neg(self) -> Self {
        match self {
            Expr::Num(n) => Expr::Num(Number { value: -n.value, places: n.places }),
            Expr::Quantity(v, u) => Expr::quantity(v.neg(), *u),
            Expr::Percent(v) => Expr::Percent(Box::new(v.neg())),
            other => Expr::mul(vec![Expr::int(-1), other]),
        }
    }

    pub(crate) fn add(items: Vec<Expr>) -> Self {
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Expr::Add(inner) => out.extend(inner),
                other => out.push(other),
            }
        }
        if out.len() == 1 { out.remove(0) } else { Expr::Add(out) }
    }

    pub(crate) fn mul(items: Vec<Expr>) -> Self {
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Expr::Mul(inner) => out.extend(inner),
                other => out.push(other),
            }
        }
        if out.len() == 1 { out.remove(0) } else { Expr::Mul(out) }
    }

    pub(crate) fn div(a: Expr, b: Expr) -> Self {
        Expr::mul(vec![a, Expr::pow(b, Expr::int(-1))])
    }

    pub(crate) fn pow(a: Expr, b: Expr) -> Self {
        Expr::Pow(Box::new(a), Box::new(b))
    }

    pub(crate) fn quantity(value: Expr, unit: Unit) -> Self {
        Expr::Quantity(Box::new(value), Box::new(unit))
    }

    pub(crate) fn call(f: Func, arg: Expr) -> Self {
        Expr::Call(f, vec![arg])
    }

    /// The direct parts.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        use Expr::*;
        match self {
            Num(_) | Sym(_) | Const(_) | Space(_) | Based(..) | Text(_) => vec![],
            Add(v)
            | Mul(v)
            | Call(_, v)
            | Opaque(_, v)
            | Set(v)
            | List(v)
            | Union(v)
            | Inter(v)
            | Ratio(v)
            | Rel(v, _) => v.iter().collect(),
            Seq { items, .. } => items.iter().collect(),
            Pow(a, b) | Minus(a, b) | Builder(a, b) => vec![a, b],
            PlusMinus(a) | Percent(a) | Quantity(a, _) => vec![a],
            Range { from, to, body, .. } => vec![from, to, body],
            Matrix(rows) => rows.iter().flatten().collect(),
        }
    }

    /// Whether any node satisfies `test`.
    pub(crate) fn any(&self, test: &dyn Fn(&Expr) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|c| c.any(test))
    }

    /// Free symbols, sorted, each once.
    pub(crate) fn symbols(&self) -> Vec<String> {
        fn collect(e: &Expr, out: &mut Vec<String>) {
            match e {
                Expr::Sym(s) => out.push(s.clone()),
                Expr::Range { var, from, to, body, .. } => {
                    let mut inner = vec![];
                    collect(body, &mut inner);
                    inner.retain(|s| s != var);
                    out.extend(inner);
                    collect(from, out);
                    collect(to, out);
                }
                other => other.children().into_iter().for_each(|c| collect(c, out)),
            }
        }
        let mut out = vec![];
        collect(self, &mut out);
        out.sort();
        out.dedup();
        out
    }

    /// Number of levels.
    pub(crate) fn depth(&self) -> usize {
        1 + self.children().into_iter().map(Expr::depth).max().unwrap_or(0)
    }

    /// A number or an expression of numbers and symbols, as opposed to a set, relation or text. Degrees count within a
    /// function: the sine of 30° is a number, 30° is a quantity.
    pub(crate) fn is_scalar(&self) -> bool {
        use Expr::*;
        match self {
            Set(_)
            | List(_)
            | Union(_)
            | Inter(_)
            | Minus(..)
            | Space(_)
            | Builder(..)
            | Matrix(_)
            | Rel(..)
            | Text(_)
            | Seq { .. }
            | Based(..)
            | Ratio(_)
            | Quantity(..)
            | PlusMinus(_)
            | Percent(_) => false,
            Call(_, args) => args.iter().all(|a| match a {
                Quantity(value, unit) => unit.dims.contains_key("deg") && value.is_scalar(),
                other => other.is_scalar(),
            }),
            // Compared by their parts' texts, whatever these are.
            Opaque(..) => true,
            other => other.children().into_iter().all(Expr::is_scalar),
        }
    }

    /// The value if this is a literal number, signed or in percent-free scientific notation: what decimals are judged on.
    pub(crate) fn literal(&self) -> Option<(Rat, Option<u32>)> {
        match self {
            Expr::Num(n) => Some((n.value.clone(), n.places)),
            Expr::Mul(items) => {
                let mut value = Rat::one();
                let mut places = None;
                for item in items {
                    let (v, p) = item.literal()?;
                    // Digits after the point move with a power of ten, so only one decimal may be among the factors.
                    if p.is_some() && places.is_some() {
                        return None;
                    }
                    places = places.or(p);
                    value *= v;
                }
                Some((value, places))
            }
            Expr::Pow(a, b) => {
                let (base, None) = a.literal()? else { return None };
                let (exp, None) = b.literal()? else { return None };
                let exp = i32::try_from(exp.is_integer().then(|| exp.to_integer())?).ok()?;
                (base == rat(10) && exp.abs() <= 400).then(|| (num_traits::Pow::pow(base, exp), None))
            }
            _ => None,
        }
    }
}

/// `p / q` or `p`, the shortest exact text of a rational.
pub(crate) fn show_rat(q: &Rat) -> String {
    if q.is_integer() { q.numer().to_string() } else { format!("{}/{}", q.numer(), q.denom()) }
}

/// The exact square root of a non-negative rational, if it is rational.
pub(crate) fn exact_sqrt(q: &Rat) -> Option<Rat> {
    if q.is_negative() {
        return None;
    }
    let (n, d) = (q.numer().sqrt(), q.denom().sqrt());
    (&n * &n == *q.numer() && &d * &d == *q.denom() && !d.is_zero()).then(|| Rat::new(n, d))
}
