//! Values with units, percent signs or nouns, and ratios.

use super::compare::Comparer;
use super::equal::Outcome;
use super::expr::Expr;
use super::unit::Unit;
use crate::record::{Percent, Units};
use crate::verdict::{Reason, Tier};

impl Comparer<'_> {
    pub(super) fn ratios(&self, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
        match (gold, pred) {
            (Expr::Ratio(g), Expr::Ratio(p)) => {
                // 2:15 and 4:30 are times far more often than ratios.
                if g.len() != p.len() || (clock(g) && clock(p)) {
                    return Outcome::different(Tier::Rule);
                }
                // "8:15 am": parts with words in them.
                if !g.iter().chain(p).all(Expr::is_scalar) {
                    return self.each(g, p, depth);
                }
                let zero = |e: &Expr| e.literal().is_some_and(|(q, _)| q == super::expr::rat(0));
                if zero(&g[0]) || zero(&p[0]) {
                    return self.each(g, p, depth);
                }
                let scaled = |r: &[Expr]| {
                    r[1..].iter().map(|x| Expr::div(x.clone(), r[0].clone())).collect::<Vec<_>>()
                };
                self.each(&scaled(g), &scaled(p), depth)
            }
            (Expr::Ratio(r), other) | (other, Expr::Ratio(r))
                if r.len() == 2 && other.is_scalar() && !clock(r) =>
            {
                self.ladder.scalars(&Expr::div(r[0].clone(), r[1].clone()), other)
            }
            _ => Outcome::other_type(),
        }
    }

    /// Values with units, percent signs or nouns.
    pub(super) fn quantities(&self, gold: &Expr, pred: &Expr, depth: u32) -> Outcome {
        match (gold, pred) {
            (Expr::Percent(g), Expr::Percent(p)) => self.typed(g, p, depth + 1),
            (Expr::Percent(value), other) | (other, Expr::Percent(value))
                if !matches!(other, Expr::Quantity(..)) =>
            {
                let swap = matches!(pred, Expr::Percent(_));
                let run = |v: &Expr| {
                    if swap { self.typed(other, v, depth + 1) } else { self.typed(v, other, depth + 1) }
                };
                let hundredth = Expr::mul(vec![(**value).clone(), Expr::pow(Expr::int(100), Expr::int(-1))]);
                match self.opts.percent {
                    Percent::Exact => run(&hundredth),
                    Percent::Dropped => run(value),
                    Percent::Either => run(value).or(|| run(&hundredth)),
                }
            }
            (Expr::Quantity(g, gu), Expr::Quantity(p, pu)) => self.both_units((g, gu), (p, pu), depth),
            (Expr::Quantity(value, unit), other) => match self.opts.units {
                Units::Required if !unit.is_plain() => Outcome::No(Reason::UnitMissing, Tier::Rule),
                _ => self.typed(value, other, depth + 1).or(|| self.angle(value, unit, other, false)),
            },
            (other, Expr::Quantity(value, unit)) => {
                self.typed(other, value, depth + 1).or(|| self.angle(value, unit, other, true))
            }
            _ => Outcome::other_type(),
        }
    }

    fn both_units(&self, (g, gu): (&Expr, &Unit), (p, pu): (&Expr, &Unit), depth: u32) -> Outcome {
        if self.opts.units == Units::Ignore {
            return self.typed(g, p, depth + 1);
        }
        if gu == pu {
            return self.typed(g, p, depth + 1);
        }
        if !gu.converts_to(pu) {
            // A noun is not a unit: "5 apples" and "5 cm" cannot be told apart by rule, unless the numbers differ.
            let noun = gu.noun.is_some() || pu.noun.is_some();
            let values = self.typed(g, p, depth + 1);
            return match values {
                Outcome::Yes(_) if noun && (gu.dims.is_empty() || pu.dims.is_empty()) => {
                    Outcome::Unsure(Reason::OtherUnit, Tier::Rule)
                }
                Outcome::Yes(_) | Outcome::Unsure(..) => Outcome::No(Reason::OtherUnit, Tier::Rule),
                no => no,
            };
        }
        let base = |v: &Expr, u: &Unit| {
            Expr::mul(vec![
                Expr::exact(u.scale.clone()),
                Expr::add(vec![v.clone(), Expr::exact(u.offset.clone())]),
            ])
        };
        match g.is_scalar() && p.is_scalar() {
            true => self.ladder.scalars(&base(g, gu), &base(p, pu)),
            false => self.typed(g, p, depth + 1),
        }
    }

    /// 90° and π/2 where one side has no unit.
    fn angle(&self, value: &Expr, unit: &Unit, other: &Expr, swap: bool) -> Outcome {
        let degrees = unit.dims.len() == 1 && unit.dims.contains_key("deg");
        if !degrees || !other.is_scalar() {
            return Outcome::different(Tier::Rule);
        }
        let half_turn = Expr::exact(super::expr::Rat::new(1.into(), 180.into()));
        let radians = Expr::mul(vec![value.clone(), Expr::Const(super::expr::Const::Pi), half_turn]);
        if swap { self.ladder.scalars(other, &radians) } else { self.ladder.scalars(&radians, other) }
    }
}

/// `12:30`: an hour and two digits of minutes.
fn clock(items: &[Expr]) -> bool {
    let small = |e: &Expr, limit: i64| {
        e.literal().is_some_and(|(q, p)| {
            p.is_none() && q.is_integer() && q >= super::expr::rat(0) && q < super::expr::rat(limit)
        })
    };
    let minutes = |e: &Expr| {
        small(e, 60)
            && e.literal().is_some_and(|(q, _)| q >= super::expr::rat(10) || q == super::expr::rat(0))
    };
    items.len() == 2 && small(&items[0], 24) && minutes(&items[1])
}
