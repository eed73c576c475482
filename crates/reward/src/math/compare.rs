//! Two answers, by the type of the truth.
//!
//! An answer of another type is coerced along the arrows listed here and no others; they are the only asymmetries:
//!
//! - an equation in the answer unwraps to its right side where the truth is none (`x = 3` for 3), and an assignment in
//!   the truth where the answer is no equation (3 for `x = 3`);
//! - an interval in the answer may equal an inequality in the truth; the other way only with
//!   `allow_set_relation_comp`, since echoing the question's inequality must not earn;
//! - a list without brackets in the answer may equal a tuple in the truth, in the written order.

use super::equal::{Ladder, Outcome};
use super::expr::{Expr, Func, RelOp, Space};
use super::matrix;
use super::relation;
use super::sets;
use super::show;
use super::signs::{expand, flatten, plus_minus};
use crate::record::Opts;
use crate::verdict::{Reason, Tier};
use crate::words::normal_words;

/// One truth against one answer.
pub(crate) struct Comparer<'a> {
    pub ladder: Ladder<'a>,
    pub opts: &'a Opts,
}

impl Comparer<'_> {
    pub(crate) fn compare(&self, gold: &Expr, pred: &Expr) -> Outcome {
        let (gold, pred) = (matrix::evaluated(gold), matrix::evaluated(pred));
        self.typed(&gold, &pred, 0)
    }

    /// Compares values whose wrappings are still on. `depth` bounds unwrapping within unwrapping.
    pub(super) fn typed(&self, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
        // Percent signs and units may be read in two ways at every level, so calls are paid for, not only levels.
        if depth > 40 || self.ladder.fuel.spend(40).is_err() {
            return Outcome::Unsure(Reason::Limit, Tier::Rule);
        }
        if gold == pred {
            return Outcome::Yes(Tier::Identical);
        }
        if matches!(gold, Expr::Rel(..)) || matches!(pred, Expr::Rel(..)) {
            return relation::compare(self, gold, pred, depth);
        }
        if plus_minus(gold) || plus_minus(pred) {
            return match (expand(gold), expand(pred)) {
                (Some(g), Some(p)) => self.typed(&g, &p, depth + 1),
                _ => Outcome::Unsure(Reason::Limit, Tier::Rule),
            };
        }
        match (gold, pred) {
            (Expr::Text(_), _) | (_, Expr::Text(_)) => self.words(gold, pred),
            (Expr::List(_) | Expr::Set(_), _) | (_, Expr::List(_) | Expr::Set(_)) => {
                self.collections(gold, pred, depth)
            }
            (Expr::Matrix(_), _) | (_, Expr::Matrix(_)) => self.matrices(gold, pred, depth),
            (Expr::Quantity(..) | Expr::Percent(_), _) | (_, Expr::Quantity(..) | Expr::Percent(_)) => {
                self.quantities(gold, pred, depth)
            }
            (Expr::Seq { items: g, square: gs }, Expr::Seq { items: p, square: ps }) => {
                // Two items are a pair or an interval, so their brackets matter; more are a vector in any brackets.
                let brackets = g.len() != 2 || gs == ps;
                match g.len() == p.len() && brackets {
                    true => self.each(g, p, depth),
                    false => Outcome::different(Tier::Rule),
                }
            }
            _ if sets::is_set(gold) || sets::is_set(pred) => sets::compare(self, gold, pred, depth),
            (Expr::Ratio(_), _) | (_, Expr::Ratio(_)) => self.ratios(gold, pred, depth),
            (Expr::Based(g, gv, gb), Expr::Based(p, pv, pb)) => match (gb == pb, gv == pv) {
                (true, _) => {
                    if g == p {
                        Outcome::Yes(Tier::Exact)
                    } else {
                        Outcome::different(Tier::Exact)
                    }
                }
                (false, true) => Outcome::Yes(Tier::Exact),
                (false, false) => Outcome::different(Tier::Exact),
            },
            // Digits without their base may be right and the base forgotten, or wrong in base ten.
            (Expr::Based(g, ..), other) | (other, Expr::Based(g, ..)) => match other.literal() {
                Some((q, None)) if q.to_string() == *g => Outcome::Unsure(Reason::UnitMissing, Tier::Exact),
                _ => Outcome::different(Tier::Exact),
            },
            _ if gold.is_scalar() && pred.is_scalar() => self.ladder.scalars(gold, pred),
            _ => self.structure(gold, pred, depth),
        }
    }

    /// Elementwise, in order.
    pub(super) fn each(&self, gold: &[Expr], pred: &[Expr], depth: u32) -> Outcome {
        gold.iter()
            .zip(pred)
            .fold(Outcome::Yes(Tier::Identical), |so_far, (g, p)| so_far.and(|| self.typed(g, p, depth + 1)))
    }

    /// Same shape, equal parts: the last resort for mixtures no rule knows.
    fn structure(&self, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
        let (g, p) = (gold.children(), pred.children());
        let same = std::mem::discriminant(gold) == std::mem::discriminant(pred)
            && g.len() == p.len()
            && !g.is_empty();
        if same {
            let (g, p): (Vec<Expr>, Vec<Expr>) =
                (g.into_iter().cloned().collect(), p.into_iter().cloned().collect());
            if self.each(&g, &p, depth).is_yes() {
                return Outcome::Yes(Tier::Normal);
            }
        }
        let kind = |e: &Expr| e.is_scalar();
        if kind(gold) != kind(pred) {
            Outcome::other_type()
        } else {
            Outcome::Unsure(Reason::Opaque, Tier::Rule)
        }
    }

    fn words(&self, gold: &Expr, pred: &Expr) -> Outcome {
        let case = self.opts.case.unwrap_or(false);
        match (gold, pred) {
            (Expr::Text(g), Expr::Text(p)) => match normal_words(g, case) == normal_words(p, case) {
                true => Outcome::Yes(Tier::Words),
                false => Outcome::Unsure(Reason::Different, Tier::Words),
            },
            // A word and a product of its letters: \text{bca} and bca.
            (Expr::Text(word), other) | (other, Expr::Text(word)) => {
                let letters = show::text(other, self.ladder.fuel).replace('·', "");
                let spelled = |w: &str| {
                    let mut sorted: Vec<char> = w.chars().collect();
                    sorted.sort_unstable();
                    sorted
                };
                match word.len() > 1
                    && word.len() <= 4
                    && other.is_scalar()
                    && spelled(word) == spelled(&letters)
                {
                    true => Outcome::Unsure(Reason::Different, Tier::Words),
                    false => Outcome::other_type(),
                }
            }
            _ => Outcome::other_type(),
        }
    }

    /// Sets and lists as multisets without repetition, matched one to one by equality.
    fn collections(&self, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
        let g = items(gold);
        let p = items(pred);
        match (gold, pred) {
            // A tuple in the truth: the answer's order counts.
            (Expr::Seq { items, .. }, Expr::List(p)) => return self.pairs(items, p, depth),
            (Expr::List(g), Expr::Seq { items, .. }) if !g.iter().any(|e| matches!(e, Expr::Seq { .. })) => {
                return self.pairs(g, items, depth);
            }
            (Expr::Seq { items, square: (false, false) }, Expr::Set(p)) => {
                return self.pairs(items, p, depth);
            }
            (Expr::Set(g), Expr::Seq { items, .. }) if self.opts.strict == Some(false) => {
                return self.multiset(g, items, depth);
            }
            (Expr::Set(_), Expr::Seq { .. }) => return Outcome::other_type(),
            _ => {}
        }
        // ± in an item makes several of it; a list of intervals is their union.
        let (g, p) = (flatten(&g), flatten(&p));
        if matches!((gold, pred), (Expr::Set(_) | Expr::List(_), Expr::Set(_) | Expr::List(_)))
            || (g.len() == 1 && p.len() == 1)
        {
            return self.multiset(&g, &p, depth);
        }
        if sets::is_set(gold) && sets::is_set(pred) {
            return sets::compare(self, gold, pred, depth);
        }
        match g.len() == p.len() {
            true => self.multiset(&g, &p, depth),
            false => {
                Outcome::No(if p.len() > g.len() { Reason::Several } else { Reason::Different }, Tier::Rule)
            }
        }
    }

    fn pairs(&self, gold: &[Expr], pred: &[Expr], depth: u32) -> Outcome {
        match gold.len() == pred.len() {
            true => self.each(gold, pred, depth),
            false => Outcome::different(Tier::Rule),
        }
    }

    /// A perfect matching of equal items. Items are few, and equal ones are interchangeable, so greedy is exact.
    pub(super) fn multiset(&self, gold: &[Expr], pred: &[Expr], depth: u32) -> Outcome {
        let distinct = |items: &[Expr]| {
            let mut out: Vec<Expr> = vec![];
            for item in items {
                if !out.contains(item) {
                    out.push(item.clone());
                }
            }
            out
        };
        let (gold, mut pred) = (distinct(gold), distinct(pred));
        if gold.len() > 64 || pred.len() > 64 {
            return Outcome::Unsure(Reason::Limit, Tier::Rule);
        }
        if gold.len() != pred.len() {
            let reason = if pred.len() > gold.len() { Reason::Several } else { Reason::Different };
            return Outcome::No(reason, Tier::Rule);
        }
        let mut outcome = Outcome::Yes(Tier::Identical);
        for g in &gold {
            let mut unsure = None;
            let found = pred.iter().position(|p| match self.typed(g, p, depth + 1) {
                Outcome::Yes(_) => true,
                Outcome::Unsure(reason, tier) => {
                    unsure = Some(Outcome::Unsure(reason, tier));
                    false
                }
                Outcome::No(..) => false,
            });
            match (found, unsure) {
                (Some(i), _) => {
                    pred.remove(i);
                    outcome = outcome.and(|| Outcome::Yes(Tier::Normal));
                }
                (None, Some(unsure)) => outcome = outcome.and(|| unsure),
                (None, None) => return Outcome::different(Tier::Normal),
            }
        }
        outcome
    }

    /// Matrices elementwise; a column or row equals the tuple of its entries.
    fn matrices(&self, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
        match (gold, pred) {
            (Expr::Matrix(g), Expr::Matrix(p)) => {
                if g.len() != p.len() || g[0].len() != p[0].len() {
                    return Outcome::different(Tier::Rule);
                }
                self.each(&g.concat(), &p.concat(), depth)
            }
            (Expr::Matrix(rows), Expr::Seq { items, .. }) | (Expr::Seq { items, .. }, Expr::Matrix(rows)) => {
                let vector = rows.len() == 1 || rows[0].len() == 1;
                let entries = rows.concat();
                if !vector || entries.len() != items.len() {
                    return Outcome::different(Tier::Rule);
                }
                match gold {
                    Expr::Matrix(_) => self.each(&entries, items, depth),
                    _ => self.each(items, &entries, depth),
                }
            }
            (Expr::Matrix(rows), other) if rows.len() == 1 && rows[0].len() == 1 => {
                self.typed(&rows[0][0], other, depth + 1)
            }
            (other, Expr::Matrix(rows)) if rows.len() == 1 && rows[0].len() == 1 => {
                self.typed(other, &rows[0][0], depth + 1)
            }
            _ => self.structure(gold, pred, depth),
        }
    }
}

fn items(e: &Expr) -> Vec<Expr> {
    match e {
        Expr::List(v) | Expr::Set(v) => v.clone(),
        Expr::Space(Space::Empty) => vec![],
        other => vec![other.clone()],
    }
}

/// The value of an equation that only names it, `x = 3` or `f(x) = 2x`; anything after ≈ is dropped.
pub(super) fn assigned(e: &Expr) -> Option<(&Expr, &Expr)> {
    let Expr::Rel(sides, ops) = e else { return None };
    let exact = ops.iter().position(|op| *op == RelOp::Approx).unwrap_or(ops.len());
    if exact == 0 && sides.len() == 2 {
        return name(&sides[0]).then_some((&sides[0], &sides[1]));
    }
    let equations = ops[..exact].iter().all(|op| *op == RelOp::Eq);
    (equations && name(&sides[0])).then(|| (&sides[0], &sides[exact]))
}

/// Whether a left side is a name: a symbol, a function of something, a tuple or ratio of symbols, or words.
fn name(e: &Expr) -> bool {
    match e {
        Expr::Sym(_) | Expr::Text(_) => true,
        // The length |AB|.
        Expr::Call(Func::Abs, args) => matches!(&args[..], [Expr::Mul(points)] if points.iter().all(|p| {
            matches!(p, Expr::Sym(s) if s.starts_with(|c: char| c.is_ascii_uppercase()))
        })),
        Expr::Opaque(f, _) => {
            !matches!(f.as_str(), "integral" | "limit" | "derivative" | "det" | "sum" | "prod")
        }
        Expr::Seq { items, .. } | Expr::Ratio(items) => items.iter().all(|i| matches!(i, Expr::Sym(_))),
        _ => false,
    }
}
