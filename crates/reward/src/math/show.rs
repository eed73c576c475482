//! The normal form of any answer as text: scalars by [`normal`], the rest by structure with unordered things sorted.

use super::expr::{Expr, Space, show_rat};
use super::fuel::Fuel;
use super::normal::normal;

/// Characters of a normal form that are reported.
const MAX_TEXT: usize = 2_000;

/// The text of `e`; cut off where it is longer than anyone reads.
pub(crate) fn text(e: &Expr, fuel: &Fuel) -> String {
    let mut out = write(e, fuel);
    if out.len() > MAX_TEXT {
        let cut = (0..=MAX_TEXT).rev().find(|i| out.is_char_boundary(*i)).unwrap_or(0);
        out.truncate(cut);
        out.push('…');
    }
    out
}

fn write(e: &Expr, fuel: &Fuel) -> String {
    let list = |items: &[Expr], separator: &str| {
        items.iter().map(|i| text(i, fuel)).collect::<Vec<_>>().join(separator)
    };
    let sorted = |items: &[Expr]| {
        let mut texts: Vec<String> = items.iter().map(|i| text(i, fuel)).collect();
        texts.sort();
        texts.dedup();
        texts.join(", ")
    };
    match e {
        Expr::Rel(sides, ops) => {
            let mut out = String::new();
            for (i, side) in sides.iter().enumerate() {
                if i > 0 {
                    out.push_str(&format!(" {} ", ops[i - 1].sign()));
                }
                out.push_str(&text(side, fuel));
            }
            out
        }
        Expr::Seq { square, items } => {
            let (open, close) = (if square.0 { '[' } else { '(' }, if square.1 { ']' } else { ')' });
            format!("{open}{}{close}", list(items, ", "))
        }
        Expr::Set(items) | Expr::List(items) => format!("{{{}}}", sorted(items)),
        Expr::Union(items) => list(items, " ∪ "),
        Expr::Inter(items) => list(items, " ∩ "),
        Expr::Minus(a, b) => format!("{} ∖ {}", text(a, fuel), text(b, fuel)),
        Expr::Builder(a, b) => format!("{{{} | {}}}", text(a, fuel), text(b, fuel)),
        Expr::Space(space) => match space {
            Space::Empty => "∅",
            Space::Naturals => "ℕ",
            Space::Integers => "ℤ",
            Space::Rationals => "ℚ",
            Space::Reals => "ℝ",
            Space::Complexes => "ℂ",
        }
        .into(),
        Expr::Matrix(rows) => {
            let rows: Vec<String> = rows.iter().map(|r| format!("[{}]", list(r, ", "))).collect();
            format!("[{}]", rows.join(", "))
        }
        Expr::Ratio(items) => list(items, " : "),
        Expr::Based(digits, _, base) => format!("{digits} (base {base})"),
        Expr::Text(words) => words.clone(),
        Expr::Quantity(value, unit) => format!("{} [{}]", text(value, fuel), unit.show()),
        Expr::Percent(value) => format!("{} %", text(value, fuel)),
        Expr::PlusMinus(value) => format!("±({})", text(value, fuel)),
        Expr::Num(n) => show_rat(&n.value),
        scalar => match normal(scalar, fuel) {
            Ok(form) => form.show(),
            Err(_) => structure(scalar, fuel),
        },
    }
}

/// A scalar that has no normal form within the limits.
fn structure(e: &Expr, fuel: &Fuel) -> String {
    let list = |items: &[Expr], separator: &str| {
        items.iter().map(|i| text(i, fuel)).collect::<Vec<_>>().join(separator)
    };
    match e {
        Expr::Add(items) => format!("({})", list(items, " + ")),
        Expr::Mul(items) => list(items, "·"),
        Expr::Pow(a, b) => format!("({})^({})", text(a, fuel), text(b, fuel)),
        Expr::Call(f, args) => format!("{f:?}({})", list(args, ", ")),
        Expr::Opaque(name, args) => format!("{name}({})", list(args, ", ")),
        Expr::Range { product, var, from, to, body } => format!(
            "{}[{var} = {}, {}]({})",
            if *product { "prod" } else { "sum" },
            text(from, fuel),
            text(to, fuel),
            text(body, fuel)
        ),
        other => list(&other.children().into_iter().cloned().collect::<Vec<_>>(), " "),
    }
}
