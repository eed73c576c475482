//! ± and ∓: an expression with them stands for all its readings.

use super::expr::Expr;

/// Items with ± spread out.
pub(super) fn flatten(items: &[Expr]) -> Vec<Expr> {
    items
        .iter()
        .flat_map(|item| match expand(item) {
            Some(Expr::List(spread)) => spread,
            _ => vec![item.clone()],
        })
        .collect()
}

pub(super) fn plus_minus(e: &Expr) -> bool {
    e.any(&|n| matches!(n, Expr::PlusMinus(_))) && !matches!(e, Expr::List(_) | Expr::Set(_))
}

/// All readings of the ± signs as a list; `None` beyond 64. With a ∓ present the signs are tied together.
pub(super) fn expand(e: &Expr) -> Option<Expr> {
    fn count(e: &Expr) -> u32 {
        u32::from(matches!(e, Expr::PlusMinus(_))) + e.children().into_iter().map(count).sum::<u32>()
    }
    fn signed(e: &Expr, signs: u32, next: &mut u32, tied: bool) -> Expr {
        if let Expr::PlusMinus(inner) = e {
            let negative = signs >> *next & 1 == 1;
            *next += u32::from(!tied);
            let inner = signed(inner, signs, next, tied);
            return if negative { inner.neg() } else { inner };
        }
        let mut all = |v: &[Expr]| v.iter().map(|c| signed(c, signs, next, tied)).collect::<Vec<_>>();
        match e {
            Expr::Add(v) => Expr::add(all(v)),
            Expr::Mul(v) => Expr::mul(all(v)),
            Expr::Call(f, v) => Expr::Call(*f, all(v)),
            Expr::Seq { square, items } => Expr::Seq { square: *square, items: all(items) },
            Expr::Pow(a, b) => {
                let a = signed(a, signs, next, tied);
                Expr::pow(a, signed(b, signs, next, tied))
            }
            Expr::Quantity(a, u) => Expr::quantity(signed(a, signs, next, tied), (**u).clone()),
            Expr::Percent(a) => Expr::Percent(Box::new(signed(a, signs, next, tied))),
            other => other.clone(),
        }
    }
    let minus_plus = |n: &Expr| matches!(n, Expr::Mul(v) if v.len() == 2 && v[0] == Expr::int(-1) && matches!(v[1], Expr::PlusMinus(_)));
    let tied = e.any(&minus_plus);
    let signs = if tied { count(e).min(1) } else { count(e) };
    if signs == 0 {
        return Some(e.clone());
    }
    if signs > 6 {
        return None;
    }
    Some(Expr::List((0..1 << signs).map(|s| signed(e, s, &mut 0, tied)).collect()))
}
