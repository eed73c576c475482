//! The little calculus answers are written in: derivatives, antiderivatives of sums of powers, substitution.

use num_traits::Zero;

use super::expr::{Const, Expr, Func, rat};

/// Nodes of what is differentiated or integrated: the product rule squares sizes, and operators can be nested.
const MAX_NODES: usize = 60;

/// Size of a tree.
pub(super) fn nodes(e: &Expr) -> usize {
    1 + e.children().into_iter().map(nodes).sum::<usize>()
}

/// d e / d var; `None` where a function without a rule is in the way.
pub(super) fn derivative(e: &Expr, var: &str) -> Option<Expr> {
    if nodes(e) > MAX_NODES {
        return None;
    }
    if !e.symbols().iter().any(|s| s == var) {
        return e.is_scalar().then(|| Expr::int(0));
    }
    let d = |e: &Expr| derivative(e, var);
    Some(match e {
        Expr::Sym(_) => Expr::int(1),
        Expr::Add(items) => Expr::add(items.iter().map(d).collect::<Option<_>>()?),
        Expr::Mul(items) => {
            let term = |i: usize| {
                let mut factors = items.clone();
                factors[i] = d(&items[i])?;
                Some(Expr::mul(factors))
            };
            Expr::add((0..items.len()).map(term).collect::<Option<_>>()?)
        }
        Expr::Pow(a, b) => {
            // (a^b)' = a^b (b' ln a + b a' / a)
            let log = Expr::mul(vec![d(b)?, Expr::call(Func::Ln, (**a).clone())]);
            let power = Expr::mul(vec![(**b).clone(), d(a)?, Expr::pow((**a).clone(), Expr::int(-1))]);
            let constant = !b.symbols().iter().any(|s| s == var);
            Expr::mul(vec![e.clone(), if constant { power } else { Expr::add(vec![log, power]) }])
        }
        Expr::Call(f, args) => {
            let [arg] = &args[..] else { return None };
            let call = |f| Expr::call(f, arg.clone());
            let outer = match f {
                Func::Sin => call(Func::Cos),
                Func::Cos => call(Func::Sin).neg(),
                Func::Tan => Expr::pow(call(Func::Cos), Expr::int(-2)),
                Func::Exp => e.clone(),
                Func::Ln => Expr::pow(arg.clone(), Expr::int(-1)),
                Func::Sinh => call(Func::Cosh),
                Func::Cosh => call(Func::Sinh),
                Func::Atan => Expr::pow(
                    Expr::add(vec![Expr::int(1), Expr::pow(arg.clone(), Expr::int(2))]),
                    Expr::int(-1),
                ),
                _ => return None,
            };
            Expr::mul(vec![outer, d(arg)?])
        }
        _ => return None,
    })
}

/// An antiderivative of a sum of c·varⁿ, c·e^(k var), c·sin var and c·cos var.
pub(super) fn antiderivative(e: &Expr, var: &str) -> Option<Expr> {
    if nodes(e) > MAX_NODES {
        return None;
    }
    let free = |e: &Expr| !e.symbols().iter().any(|s| s == var);
    let x = || Expr::Sym(var.to_owned());
    match e {
        e if free(e) => e.is_scalar().then(|| Expr::mul(vec![e.clone(), x()])),
        Expr::Add(items) => {
            Some(Expr::add(items.iter().map(|i| antiderivative(i, var)).collect::<Option<_>>()?))
        }
        Expr::Mul(items) => {
            let (constant, rest): (Vec<Expr>, Vec<Expr>) = items.iter().cloned().partition(free);
            let [inner] = &rest[..] else { return None };
            let mut factors = constant;
            factors.push(antiderivative(inner, var)?);
            Some(Expr::mul(factors))
        }
        Expr::Sym(_) => Some(Expr::mul(vec![Expr::half(), Expr::pow(x(), Expr::int(2))])),
        Expr::Pow(a, b) if **a == x() && free(b) => {
            let exponent = b.literal().map(|(v, _)| v)?;
            let next = exponent + rat(1);
            if next.is_zero() {
                return Some(Expr::call(Func::Ln, x()));
            }
            Some(Expr::div(Expr::pow(x(), Expr::exact(next.clone())), Expr::exact(next)))
        }
        Expr::Pow(a, b) if **a == Expr::Const(Const::E) && **b == x() => Some(e.clone()),
        Expr::Call(Func::Exp, args) if args[..] == [x()] => Some(e.clone()),
        Expr::Call(Func::Sin, args) if args[..] == [x()] => Some(Expr::call(Func::Cos, x()).neg()),
        Expr::Call(Func::Cos, args) if args[..] == [x()] => Some(Expr::call(Func::Sin, x())),
        _ => None,
    }
}

/// `e` with every node equal to `from` replaced.
pub(super) fn substitute(e: &Expr, from: &Expr, to: &Expr) -> Expr {
    if e == from {
        return to.clone();
    }
    let s = |e: &Expr| substitute(e, from, to);
    let all = |v: &[Expr]| v.iter().map(s).collect::<Vec<_>>();
    match e {
        Expr::Add(v) => Expr::add(all(v)),
        Expr::Mul(v) => Expr::mul(all(v)),
        Expr::Pow(a, b) => Expr::pow(s(a), s(b)),
        Expr::Call(f, v) => Expr::Call(*f, all(v)),
        Expr::Opaque(f, v) => Expr::Opaque(f.clone(), all(v)),
        Expr::PlusMinus(a) => Expr::PlusMinus(Box::new(s(a))),
        Expr::Percent(a) => Expr::Percent(Box::new(s(a))),
        Expr::Quantity(a, u) => Expr::quantity(s(a), (**u).clone()),
        Expr::Rel(v, ops) => Expr::Rel(all(v), ops.clone()),
        Expr::Set(v) => Expr::Set(all(v)),
        Expr::List(v) => Expr::List(all(v)),
        Expr::Seq { square, items } => Expr::Seq { square: *square, items: all(items) },
        Expr::Matrix(rows) => Expr::Matrix(rows.iter().map(|r| all(r)).collect()),
        Expr::Range { product, var, from: a, to: b, body } => Expr::Range {
            product: *product,
            var: var.clone(),
            from: Box::new(s(a)),
            to: Box::new(s(b)),
            body: Box::new(s(body)),
        },
        other => other.clone(),
    }
}
