//! Counts, and ChartQA's relaxed numbers.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};

use crate::kinds::anchor;
use crate::record::{Record, TruthError};
use crate::response::Response;
use crate::verdict::{Reason, Tier, Verdict};
use crate::words::{collapse, number_words, plain, undress};

/// A whole number of things. Two different numbers in the answer are refused: "3 of the 5".
pub(crate) fn count(record: &Record) -> Result<Verdict, TruthError> {
    let truths = record
        .golds
        .iter()
        .map(|gold| match &numbers(gold)[..] {
            [n] if n.is_integer() => Ok(n.clone()),
            _ if gold.trim().is_empty() => Err(TruthError::Empty),
            _ => Err(TruthError::malformed(gold, "a whole number")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = truths.first() else { return Err(TruthError::Empty) };
    let piece = match Response::parse(&record.pred).short(record.opts.extract) {
        Ok(piece) => piece,
        Err(reason) => return Ok(Verdict::reject(reason, Tier::Extraction).with(first.to_string(), "")),
    };
    let announced = anchor::payload(piece).map(|p| numbers(p.text)).filter(|n| !n.is_empty());
    let said = announced.unwrap_or_else(|| numbers(piece.text));
    let verdict = match &said[..] {
        [] => Verdict::reject(Reason::Unreadable, Tier::Rule),
        [n, rest @ ..] if rest.iter().all(|m| m == n) => Verdict::of(truths.contains(n), Tier::Exact),
        _ => Verdict::reject(Reason::Several, Tier::Rule),
    };
    let pred = said.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Ok(verdict.with(first.to_string(), pred).at(piece.span()))
}

/// The numbers of a text in digits or words, up to 64.
fn numbers(text: &str) -> Vec<BigRational> {
    let text = undress(&plain(text)).to_lowercase();
    let tokens: Vec<&str> = text
        .split(|c: char| {
            c.is_whitespace() || matches!(c, '-' | '/' | '(' | ')' | '[' | ']' | ':' | ';' | '*')
        })
        .map(|t| t.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|t| !t.is_empty())
        .collect();
    let negative = text.trim_start().starts_with('-');
    let mut out = vec![];
    let mut i = 0;
    while i < tokens.len() && out.len() < 64 {
        if let Some(n) = decimal(tokens[i]) {
            out.push(n);
            i += 1;
        // "one" is as often a pronoun ("this one") as a number; alone or before a noun it is a number.
        } else if let Some((n, used)) = number_words(&tokens[i..]) {
            let pronoun = tokens[i] == "one"
                && used == 1
                && i > 0
                && matches!(tokens[i - 1], "this" | "that" | "the" | "no");
            if !pronoun {
                out.push(BigRational::from_integer(n.into()));
            }
            i += used;
        } else {
            i += 1;
        }
    }
    if negative && out.len() == 1 {
        out[0] = -out[0].clone();
    }
    out
}

/// A decimal with optional thousands commas.
fn decimal(token: &str) -> Option<BigRational> {
    if token.len() > 60 || !token.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let (int, frac) = token.split_once('.').unwrap_or((token, ""));
    let groups: Vec<&str> = int.split(',').collect();
    let grouped = groups.len() == 1 || (groups[0].len() <= 3 && groups[1..].iter().all(|g| g.len() == 3));
    let digits = format!("{}{frac}", groups.concat());
    if !grouped || digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = num_traits::pow(BigInt::from(10), frac.len());
    Some(BigRational::new(digits.parse().ok()?, scale))
}

/// Numbers within 5 % of the truth, percent signs as hundredths on both sides; otherwise equal words (Methani et al., PlotQA).
///
/// Of a truth of 0 nothing is within 5 % but 0.
pub(crate) fn relaxed(record: &Record) -> Result<Verdict, TruthError> {
    if record.golds.is_empty() || record.golds.iter().any(|g| g.trim().is_empty()) {
        return Err(TruthError::Empty);
    }
    let gold = record.golds.join(" | ");
    let piece = match Response::parse(&record.pred).short(record.opts.extract) {
        Ok(piece) => piece,
        Err(reason) => return Ok(Verdict::reject(reason, Tier::Extraction).with(gold, "")),
    };
    let announced = anchor::payload(piece).map(|p| p.text);
    let said: Vec<&str> = [Some(piece.text), announced].into_iter().flatten().collect();
    let tolerance = record.opts.tolerance.and_then(BigRational::from_float);
    let tolerance = tolerance.unwrap_or_else(|| BigRational::new(5.into(), 100.into()));
    let equal = |gold: &str, pred: &str| match (chart_number(gold), chart_number(pred)) {
        (Some(g), Some(p)) if g.is_zero() => p.is_zero(),
        (Some(g), Some(p)) => ((&p - &g) / &g).abs() <= tolerance,
        _ => folded(gold, record) == folded(pred, record),
    };
    let accepted = record.golds.iter().any(|g| said.iter().any(|p| equal(g, p)));
    Ok(Verdict::of(accepted, Tier::Rule).with(gold, folded(piece.text, record)).at(piece.span()))
}

fn folded(text: &str, record: &Record) -> String {
    let text = collapse(&undress(&plain(text)));
    let text = text.trim_end_matches('.').trim_matches('"');
    if record.opts.case.unwrap_or(false) { text.to_owned() } else { text.to_lowercase() }
}

/// `1,234.5`, `$12`, `-3`, `45%`; nothing else in the text.
fn chart_number(text: &str) -> Option<BigRational> {
    let text = undress(&plain(text));
    let text = text.trim().trim_end_matches('.').trim_start_matches('$').trim();
    let (text, percent) = match text.strip_suffix('%') {
        Some(rest) => (rest.trim(), true),
        None => (text, false),
    };
    let (text, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest.trim_start_matches('$'), true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let mut value = decimal(text)?;
    if percent {
        value /= BigRational::from_integer(100.into());
    }
    Some(if negative { -value } else { value })
}
