//! Sets of real numbers: intervals, unions, differences, set builders; canonical where their ends are constants.

use super::compare::Comparer;
use super::equal::Outcome;
use super::expr::{Const, Expr, Rat, RelOp, Space, rat};
use super::relation::{holds, linear_root, near, unknown};
use crate::verdict::{Reason, Tier};

/// One end of an interval.
#[derive(Clone)]
struct End {
    at: Expr,
    value: f64,
    closed: bool,
}

/// lo ≤ hi by value; a point has equal closed ends.
#[derive(Clone)]
struct Interval {
    lo: End,
    hi: End,
}

/// Whether an expression is a set in its own right; pairs in brackets are, since they may be intervals.
pub(super) fn is_set(e: &Expr) -> bool {
    match e {
        Expr::Seq { items, .. } => items.len() == 2,
        Expr::Union(_)
        | Expr::Inter(_)
        | Expr::Minus(..)
        | Expr::Space(_)
        | Expr::Builder(..)
        | Expr::Set(_) => true,
        _ => false,
    }
}

pub(super) fn compare(c: &Comparer<'_>, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
    if !is_set(gold) || !is_set(pred) {
        // A set with one element is that element.
        return match (gold, pred) {
            (Expr::Set(items), other) if items.len() == 1 => c.typed(&items[0], other, depth + 1),
            (other, Expr::Set(items)) if items.len() == 1 => c.typed(other, &items[0], depth + 1),
            _ => Outcome::other_type(),
        };
    }
    let echoes = |e: &Expr| e.any(&|n| matches!(n, Expr::Rel(..))) && !matches!(e, Expr::Builder(..));
    if echoes(pred) && !echoes(gold) && !c.opts.allow_set_relation_comp {
        return Outcome::other_type();
    }
    match (intervals(c, gold, 0), intervals(c, pred, 0)) {
        (Some(g), Some(p)) => same(c, &merged(c, g), &merged(c, p)),
        _ => symbolic(c, gold, pred, depth),
    }
}

/// Sets whose ends are no constants: part by part.
fn symbolic(c: &Comparer<'_>, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
    match (gold, pred) {
        (Expr::Union(g), Expr::Union(p)) | (Expr::Inter(g), Expr::Inter(p)) => c.multiset(g, p, depth),
        (Expr::Minus(a, b), Expr::Minus(x, y)) => c.typed(a, x, depth + 1).and(|| c.typed(b, y, depth + 1)),
        (Expr::Builder(a, b), Expr::Builder(x, y)) => {
            c.typed(a, x, depth + 1).and(|| c.typed(b, y, depth + 1))
        }
        (Expr::Space(a), Expr::Space(b)) if a == b => Outcome::Yes(Tier::Identical),
        (Expr::Space(_), Expr::Space(_)) => Outcome::different(Tier::Rule),
        (Expr::Seq { square: g, items: a }, Expr::Seq { square: p, items: b }) => match g == p {
            true => c.each(a, b, depth),
            false => Outcome::different(Tier::Rule),
        },
        (Expr::Builder(..), _) | (_, Expr::Builder(..)) => unknown(),
        _ => Outcome::different(Tier::Rule),
    }
}

/// The intervals of a set with constant ends; `None` for anything else.
fn intervals(c: &Comparer<'_>, e: &Expr, depth: u32) -> Option<Vec<Interval>> {
    if depth > 20 {
        return None;
    }
    let inf = || Expr::Const(Const::Inf);
    let end = |at: &Expr, closed: bool| {
        let value = c.ladder.approx(at)?;
        Some(End { at: at.clone(), value, closed: closed && value.is_finite() })
    };
    match e {
        Expr::Seq { square, items } if items.len() == 2 => {
            let (lo, hi) = (end(&items[0], square.0)?, end(&items[1], square.1)?);
            (lo.value <= hi.value).then(|| vec![Interval { lo, hi }])
        }
        Expr::Set(items) | Expr::List(items) => items
            .iter()
            .map(|i| {
                if is_set(i) {
                    return None;
                }
                let point = end(i, true)?;
                Some(Interval { lo: point.clone(), hi: point })
            })
            .collect(),
        Expr::Union(parts) => {
            let mut all = vec![];
            for part in parts {
                all.extend(intervals(c, part, depth + 1)?);
            }
            Some(all)
        }
        Expr::Inter(parts) => {
            let mut parts = parts.iter().map(|p| intervals(c, p, depth + 1));
            let first = parts.next()??;
            parts.try_fold(first, |all, part| {
                let part = part?;
                Some(all.iter().flat_map(|a| part.iter().filter_map(|b| meet(c, a, b))).collect())
            })
        }
        Expr::Minus(a, b) => {
            let removed = intervals(c, b, depth + 1)?;
            let mut left = intervals(c, a, depth + 1)?;
            for hole in &removed {
                left = left.iter().flat_map(|i| without(c, i, hole)).collect();
            }
            Some(left)
        }
        Expr::Space(Space::Empty) => Some(vec![]),
        Expr::Space(Space::Reals) => {
            Some(vec![Interval { lo: end(&inf().neg(), false)?, hi: end(&inf(), false)? }])
        }
        Expr::Builder(_, condition) => intervals(c, condition, depth + 1),
        Expr::Rel(..) => intervals(c, &solved(c, e)?.1, depth + 1),
        _ => None,
    }
}

fn equal(c: &Comparer<'_>, a: &End, b: &End) -> bool {
    if !a.value.is_finite() || !b.value.is_finite() {
        return a.value == b.value;
    }
    (a.value - b.value).abs() <= 1e-6 * a.value.abs().max(1.0) * 10.0
        && c.ladder.scalars(&a.at, &b.at).is_yes()
}

fn meet(c: &Comparer<'_>, a: &Interval, b: &Interval) -> Option<Interval> {
    let lower = |x: &End, y: &End| match equal(c, x, y) {
        true => End { closed: x.closed && y.closed, ..x.clone() },
        false if x.value > y.value => x.clone(),
        false => y.clone(),
    };
    let upper = |x: &End, y: &End| match equal(c, x, y) {
        true => End { closed: x.closed && y.closed, ..x.clone() },
        false if x.value < y.value => x.clone(),
        false => y.clone(),
    };
    let found = Interval { lo: lower(&a.lo, &b.lo), hi: upper(&a.hi, &b.hi) };
    (!empty(c, &found)).then_some(found)
}

fn empty(c: &Comparer<'_>, i: &Interval) -> bool {
    let point = equal(c, &i.lo, &i.hi);
    if point { !(i.lo.closed && i.hi.closed) } else { i.lo.value > i.hi.value }
}

/// What is left of an interval without another.
fn without(c: &Comparer<'_>, i: &Interval, hole: &Interval) -> Vec<Interval> {
    let flip = |e: &End| End { closed: !e.closed, ..e.clone() };
    let infinite = |positive: bool| {
        let at = if positive { Expr::Const(Const::Inf) } else { Expr::Const(Const::Inf).neg() };
        End { at, value: if positive { f64::INFINITY } else { f64::NEG_INFINITY }, closed: false }
    };
    let below = Interval { lo: infinite(false), hi: flip(&hole.lo) };
    let above = Interval { lo: flip(&hole.hi), hi: infinite(true) };
    [meet(c, i, &below), meet(c, i, &above)].into_iter().flatten().collect()
}

/// Sorted, touching intervals joined, empty ones dropped.
fn merged(c: &Comparer<'_>, mut all: Vec<Interval>) -> Vec<Interval> {
    all.retain(|i| !empty(c, i));
    all.sort_by(|a, b| a.lo.value.total_cmp(&b.lo.value).then(b.lo.closed.cmp(&a.lo.closed)));
    let mut out: Vec<Interval> = vec![];
    for next in all {
        if let Some(last) = out.last_mut() {
            let touch = equal(c, &last.hi, &next.lo);
            if (touch && (last.hi.closed || next.lo.closed)) || (!touch && next.lo.value < last.hi.value) {
                let both = equal(c, &last.hi, &next.hi);
                if both {
                    last.hi.closed |= next.hi.closed;
                } else if next.hi.value > last.hi.value {
                    last.hi = next.hi;
                }
                continue;
            }
        }
        out.push(next);
    }
    out
}

fn same(c: &Comparer<'_>, a: &[Interval], b: &[Interval]) -> Outcome {
    let ends = |x: &End, y: &End| x.closed == y.closed && equal(c, x, y);
    match a.len() == b.len() && a.iter().zip(b).all(|(x, y)| ends(&x.lo, &y.lo) && ends(&x.hi, &y.hi)) {
        true => Outcome::Yes(Tier::Normal),
        false => Outcome::different(Tier::Normal),
    }
}

/// A condition in one symbol as a set: `a < x ≤ b`, `2x + 1 > 5`, `x ≠ 3`; the symbol and the set.
pub(super) fn solved(c: &Comparer<'_>, condition: &Expr) -> Option<(String, Expr)> {
    let symbols = condition.symbols();
    let [symbol] = &symbols[..] else { return None };
    let inf = || Expr::Const(Const::Inf);
    let parts = match condition {
        Expr::Rel(sides, ops) => {
            sides.windows(2).zip(ops).map(|(pair, op)| (pair.to_vec(), *op)).collect::<Vec<_>>()
        }
        _ => return None,
    };
    let mut sets = vec![];
    for (pair, op) in parts {
        let side = Expr::add(vec![pair[0].clone(), pair[1].clone().neg()]);
        if !side.is_scalar() {
            return None;
        }
        let (slope, root) = linear_root(c, &side, symbol)?;
        let op = if slope < 0 { op.flipped() } else { op };
        let seq = |lo: Expr, hi: Expr, square: (bool, bool)| Expr::Seq { square, items: vec![lo, hi] };
        sets.push(match op {
            RelOp::Lt => seq(inf().neg(), root, (false, false)),
            RelOp::Le => seq(inf().neg(), root, (false, true)),
            RelOp::Gt => seq(root, inf(), (false, false)),
            RelOp::Ge => seq(root, inf(), (true, false)),
            RelOp::Ne => Expr::Minus(Box::new(Expr::Space(Space::Reals)), Box::new(Expr::Set(vec![root]))),
            RelOp::Eq => Expr::Set(vec![root]),
            _ => return None,
        });
    }
    let set = if sets.len() == 1 { sets.remove(0) } else { Expr::Inter(sets) };
    Some((symbol.clone(), set))
}

/// A set against a condition no rule solves: truth values at the ends, close to them, between them and beyond.
pub(super) fn condition(c: &Comparer<'_>, set: &Expr, condition: &Expr) -> Outcome {
    let symbols = condition.symbols();
    let ([symbol], Some(parts)) = (&symbols[..], intervals(c, set, 0)) else { return unknown() };
    let parts = merged(c, parts);
    let ends: Vec<&End> = parts.iter().flat_map(|i| [&i.lo, &i.hi]).filter(|e| e.value.is_finite()).collect();
    let mut probes: Vec<(Expr, bool)> = vec![];
    // Whether a value lies within; `None` at an end, which is probed as such.
    let inside = |v: &Rat| {
        let side = |end: &End| match end.value.is_finite() {
            true => c.ladder.sign(&Expr::add(vec![end.at.clone(), Expr::exact(-v.clone())])),
            false => Some(if end.value > 0.0 { 1 } else { -1 }),
        };
        let mut within = false;
        for part in &parts {
            match (side(&part.lo)?, side(&part.hi)?) {
                (0, _) | (_, 0) => return None,
                (lo, hi) => within |= lo < 0 && hi > 0,
            }
        }
        Some(within)
    };
    let step = Rat::new(1.into(), 1_000_000.into());
    let mut around: Vec<Rat> = vec![rat(0), rat(-1_000), rat(1_000)];
    for end in &ends {
        let closed = parts
            .iter()
            .any(|i| (i.lo.closed && equal(c, &i.lo, end)) || (i.hi.closed && equal(c, &i.hi, end)));
        probes.push((end.at.clone(), closed));
        let Some(q) = near(c, &end.at) else { return unknown() };
        around.extend([&q - &step, &q + &step, &q - rat(1), &q + rat(1)]);
    }
    around.sort();
    let middles: Vec<Rat> = around.windows(2).map(|w| (&w[0] + &w[1]) / rat(2)).collect();
    for q in around.into_iter().chain(middles) {
        if let Some(expected) = inside(&q) {
            probes.push((Expr::exact(q), expected));
        }
    }
    for (at, expected) in probes {
        match holds(c, condition, symbol, &at) {
            Some(found) if found == expected => {}
            Some(_) => return Outcome::different(Tier::Sampled),
            None => return Outcome::Unsure(Reason::Precision, Tier::Sampled),
        }
    }
    Outcome::Yes(Tier::Sampled)
}
