//! Equations, inequalities and memberships.

use num_traits::Signed;

use super::ball::Balls;
use super::compare::{Comparer, assigned};
use super::equal::Outcome;
use super::expr::{Expr, Rat, RelOp};
use super::normal::normal;
use super::real::Double;
use super::sets;
use crate::verdict::{Reason, Tier};

/// Compares where at least one side is a relation.
pub(super) fn compare(c: &Comparer<'_>, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
    let (gold_set, pred_set) = (membership(gold), membership(pred));
    // x ∈ S says S.
    if let Some(set) = gold_set {
        return match (pred_set, pred) {
            (Some(p), _) => c.typed(set, p, depth + 1),
            (None, Expr::Rel(_, ops)) if ops.iter().any(|o| o.is_order() || *o == RelOp::Ne) => {
                match c.opts.allow_set_relation_comp {
                    true => sets::condition(c, set, pred),
                    false => Outcome::other_type(),
                }
            }
            (None, p) => c.typed(set, p, depth + 1),
        };
    }
    if let Some(set) = pred_set {
        return c.typed(gold, set, depth + 1);
    }
    let orders =
        |e: &Expr| matches!(e, Expr::Rel(_, ops) if ops.iter().any(|o| o.is_order() || *o == RelOp::Ne));
    if orders(gold) || orders(pred) {
        return inequalities(c, gold, pred, depth);
    }
    match (gold, pred) {
        (Expr::Rel(gs, go), Expr::Rel(ps, po)) => equations(c, (gs, go, gold), (ps, po, pred), depth),
        (Expr::Rel(..), other) => named_list(c, gold, other, depth)
            .or_else(|| assigned(gold).map(|(_, value)| c.typed(value, other, depth + 1)))
            .unwrap_or_else(Outcome::other_type),
        (other, Expr::Rel(sides, ops)) => {
            if let Some((_, value)) = assigned(pred) {
                return c.typed(other, value, depth + 1);
            }
            // A chain such as "11a + c = 7": the last exact side is what is claimed.
            let last = ops.iter().position(|op| *op == RelOp::Approx).unwrap_or(ops.len());
            match ops[..last].iter().all(|op| *op == RelOp::Eq) {
                true => c.typed(other, &sides[last], depth + 1),
                false => Outcome::other_type(),
            }
        }
        _ => Outcome::other_type(),
    }
}

/// (x, y) = (1, 2) answered as x = 1, y = 2: the values by the order of the names; `None` for anything else.
fn named_list(c: &Comparer<'_>, gold: &Expr, pred: &Expr, depth: u32) -> Option<Outcome> {
    let (Expr::Seq { items, .. }, value) = assigned(gold)? else { return None };
    let Expr::List(said) = pred else { return None };
    let Expr::Seq { items: values, .. } = value else { return None };
    let mut ordered = vec![];
    for name in items {
        ordered
            .push(said.iter().find_map(|s| assigned(s).filter(|(n, _)| *n == name).map(|(_, v)| v.clone()))?);
    }
    Some(c.each(values, &ordered, depth))
}

fn membership(e: &Expr) -> Option<&Expr> {
    match e {
        Expr::Rel(sides, ops) if ops[..] == [RelOp::In] => Some(&sides[1]),
        _ => None,
    }
}

type Sides<'a> = (&'a [Expr], &'a [RelOp], &'a Expr);

fn equations(c: &Comparer<'_>, (gs, go, gold): Sides<'_>, (ps, po, pred): Sides<'_>, depth: u32) -> Outcome {
    if let (Some((gn, gv)), Some((pn, pv))) = (assigned(gold), assigned(pred)) {
        let values = c.typed(gv, pv, depth + 1);
        let named = match (gn, pn) {
            (Expr::Sym(a), Expr::Sym(b)) => base(a) == base(b) || c.opts.strict == Some(false),
            (Expr::Seq { items: a, .. }, Expr::Seq { items: b, .. }) => {
                a == b || c.opts.strict == Some(false)
            }
            _ => true,
        };
        match (values, named) {
            (Outcome::Yes(_), true) => return values,
            (Outcome::Yes(_), false) => return Outcome::different(Tier::Rule),
            _ => {}
        }
        if gs.len() > 2 || ps.len() > 2 {
            return values;
        }
    }
    let plain = |ops: &[RelOp]| ops.iter().all(|o| *o == RelOp::Eq);
    if !plain(go) || !plain(po) {
        let same = go == po && gs.len() == ps.len();
        return if same { c.each(gs, ps, depth) } else { Outcome::other_type() };
    }
    if gs.len() == 2 && ps.len() == 2 && [gs, ps].iter().all(|s| s.iter().all(Expr::is_scalar)) {
        let (g, p) = (difference(gs), difference(ps));
        return proportional(c, g.clone(), p.clone(), false)
            .or(|| solves(c, &g, pred))
            .or(|| solves(c, &p, gold));
    }
    match gs.len() == ps.len() {
        true => c.each(gs, ps, depth),
        false => Outcome::different(Tier::Rule),
    }
}

/// Whether `y = e` is what another equation, linear in y, says: x y = 1 and y = 1/x.
fn solves(c: &Comparer<'_>, equation: &Expr, assignment: &Expr) -> Outcome {
    let no = Outcome::different(Tier::Normal);
    let Some((Expr::Sym(name), value)) = assigned(assignment) else { return no };
    if value.symbols().contains(name) || !equation.symbols().contains(name) {
        return no;
    }
    let at = |e: &Expr| super::calculus::substitute(equation, &Expr::Sym(name.clone()), e);
    let rise = |n: i64| Expr::add(vec![at(&Expr::int(n + 1)), at(&Expr::int(n)).neg()]);
    let linear =
        c.ladder.scalars(&rise(0), &rise(1)).is_yes() && !c.ladder.scalars(&rise(0), &Expr::int(0)).is_yes();
    if linear { c.ladder.scalars(&Expr::int(0), &at(value)) } else { no }
}

/// `x_1` and `x` are the same unknown.
fn base(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

fn difference(sides: &[Expr]) -> Expr {
    Expr::add(vec![sides[0].clone(), sides[1].clone().neg()])
}

/// Whether p = k q with a constant k ≠ 0, and k > 0 if `ordered`.
///
/// By normal forms where both exist; else the ratio at seeded points must be one constant.
fn proportional(c: &Comparer<'_>, gold: Expr, pred: Expr, ordered: bool) -> Outcome {
    let fuel = c.ladder.fuel;
    if let (Ok(a), Ok(b)) = (normal(&gold, fuel), normal(&pred, fuel)) {
        // 0 = 0 says nothing, so it equals nothing.
        if a.rational().is_some() || b.rational().is_some() {
            return Outcome::different(Tier::Normal);
        }
        if let Some(k) = a.ratio(&b) {
            return if ordered && k.is_negative() {
                Outcome::different(Tier::Normal)
            } else {
                Outcome::Yes(Tier::Normal)
            };
        }
    }
    let mut symbols = gold.symbols();
    if symbols != pred.symbols() || symbols.is_empty() {
        return Outcome::different(Tier::Rule);
    }
    symbols.dedup();
    // k is the ratio at one point: then p − k q must vanish everywhere, which the ladder decides.
    let env = c.ladder.point(&symbols, 0, &gold, &pred);
    let at = |e: &Expr| {
        env.iter().fold(e.clone(), |e, (name, value)| {
            super::calculus::substitute(&e, &Expr::Sym(name.clone()), &Expr::exact(value.clone()))
        })
    };
    let k = Expr::div(at(&gold), at(&pred));
    if ordered && c.ladder.sign(&k) != Some(1) {
        return Outcome::different(Tier::Rule);
    }
    c.ladder.scalars(&gold, &Expr::mul(vec![k, pred]))
}

fn inequalities(c: &Comparer<'_>, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
    match (gold, pred) {
        (Expr::Rel(gs, go), Expr::Rel(ps, po)) => {
            let direct = one_inequality(c, (gs, go), (ps, po)).or(|| chain(c, (gs, go), (ps, po), depth));
            if direct.is_yes() {
                return direct;
            }
            // −2 < x < 2 and x² < 4: by truth values, if one of them reads as an interval.
            match (sets::solved(c, gold), sets::solved(c, pred)) {
                (Some(g), Some(p)) if g.0 == p.0 || c.opts.strict == Some(false) => {
                    sets::compare(c, &g.1, &p.1, depth)
                }
                (Some(g), None) => sets::condition(c, &g.1, pred),
                (None, Some(p)) => sets::condition(c, &p.1, gold),
                _ => direct,
            }
        }
        // The truth is an inequality, the answer an interval.
        (Expr::Rel(_, ops), set) if sets::is_set(set) && !ops.contains(&RelOp::Eq) => {
            match sets::solved(c, gold) {
                Some((_, g)) => sets::compare(c, &g, set, depth),
                None => sets::condition(c, set, gold),
            }
        }
        (set, Expr::Rel(..)) if sets::is_set(set) => {
            match (c.opts.allow_set_relation_comp, sets::solved(c, pred)) {
                (false, _) => Outcome::other_type(),
                (true, Some((_, p))) => sets::compare(c, set, &p, depth),
                (true, None) => sets::condition(c, set, pred),
            }
        }
        // "x > 2" for the value 2, and the value 2 for "x > 2", are wrong.
        _ => Outcome::other_type(),
    }
}

/// Two inequalities of two sides each: equal up to a positive factor.
fn one_inequality(c: &Comparer<'_>, (gs, go): (&[Expr], &[RelOp]), (ps, po): (&[Expr], &[RelOp])) -> Outcome {
    let ([g], [p]) = (go, po) else { return Outcome::different(Tier::Rule) };
    if ![gs, ps].iter().all(|s| s.iter().all(Expr::is_scalar)) {
        return Outcome::different(Tier::Rule);
    }
    if *g == RelOp::Ne && *p == RelOp::Ne {
        return proportional(c, difference(gs), difference(ps), false);
    }
    let greater = |sides: &[Expr], op: RelOp| match op {
        RelOp::Gt | RelOp::Ge => Some((difference(sides), op)),
        RelOp::Lt | RelOp::Le => Some((difference(sides).neg(), op.flipped())),
        _ => None,
    };
    match (greater(gs, *g), greater(ps, *p)) {
        (Some((a, x)), Some((b, y))) if x == y => proportional(c, a, b, true),
        _ => Outcome::different(Tier::Rule),
    }
}

/// Chains side by side, also read from the other end.
fn chain(
    c: &Comparer<'_>,
    (gs, go): (&[Expr], &[RelOp]),
    (ps, po): (&[Expr], &[RelOp]),
    depth: u32,
) -> Outcome {
    if gs.len() != ps.len() {
        return Outcome::different(Tier::Rule);
    }
    let backwards: Vec<RelOp> = po.iter().rev().map(|o| o.flipped()).collect();
    let reversed: Vec<Expr> = ps.iter().rev().cloned().collect();
    let forward = if go == po { c.each(gs, ps, depth) } else { Outcome::different(Tier::Rule) };
    forward.or(|| if go == backwards { c.each(gs, &reversed, depth) } else { Outcome::different(Tier::Rule) })
}

/// Whether a relation in one symbol holds at a value; `None` if that cannot be told.
pub(super) fn holds(c: &Comparer<'_>, relation: &Expr, symbol: &str, at: &Expr) -> Option<bool> {
    let Expr::Rel(sides, ops) = relation else { return None };
    let place = |e: &Expr| super::calculus::substitute(e, &Expr::Sym(symbol.to_owned()), at);
    let mut all = true;
    for (pair, op) in sides.windows(2).zip(ops) {
        let difference = Expr::add(vec![place(&pair[0]), place(&pair[1]).neg()]);
        let sign = c.ladder.sign(&difference)?;
        all &= match op {
            RelOp::Eq => sign == 0,
            RelOp::Ne => sign != 0,
            RelOp::Lt => sign < 0,
            RelOp::Le => sign <= 0,
            RelOp::Gt => sign > 0,
            RelOp::Ge => sign >= 0,
            _ => return None,
        };
    }
    Some(all)
}

/// The solution of `side` = 0 where `side` is linear in `symbol` with constant coefficients: (slope's sign, root).
pub(super) fn linear_root(c: &Comparer<'_>, side: &Expr, symbol: &str) -> Option<(i8, Expr)> {
    let at = |n: i64| super::calculus::substitute(side, &Expr::Sym(symbol.to_owned()), &Expr::int(n));
    let (f0, f1, f2) = (at(0), at(1), at(2));
    let slope = Expr::add(vec![f1.clone(), f0.clone().neg()]);
    let again = Expr::add(vec![f2, f1.neg()]);
    // Equal first differences at 0, 1, 2,
    // and at values beyond, of either sign, where |x| would bend.
    let line = |n: i64| {
        let rise = Expr::add(vec![at(n), f0.clone().neg()]);
        c.ladder.scalars(&rise, &Expr::mul(vec![Expr::int(n), slope.clone()])).is_yes()
    };
    let linear = c.ladder.scalars(&slope, &again).is_yes() && line(-1_000_003) && line(1_000_033);
    let sign = c.ladder.sign(&slope).filter(|s| *s != 0)?;
    let root = Expr::div(f0.neg(), slope);
    let root = normal(&root, c.ladder.fuel).ok().and_then(|p| p.rational()).map_or(root, Expr::exact);
    linear.then_some((sign, root))
}

/// A rational near a constant, for sampling around it.
pub(super) fn near(c: &Comparer<'_>, e: &Expr) -> Option<Rat> {
    if let Some((q, _)) = e.literal() {
        return Some(q);
    }
    let balls = Balls { a: &Double, fuel: c.ladder.fuel };
    let value = balls.eval(e, &[]).ok()?;
    Rat::from_float(value.im.is_none().then_some(value.re)?)
}

/// Relations that are no inequality and no equation are compared as written.
pub(super) fn unknown() -> Outcome {
    Outcome::Unsure(Reason::Opaque, Tier::Rule)
}
