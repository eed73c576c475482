//! Mathematical equality without a computer algebra system.
//!
//! [`extract`] finds the answer, [`lex`], [`parse`], [`atom`] and [`construct`] read it, [`compare`] dispatches on the type of
//! the truth, [`equal`] climbs from normal forms to big floats. Everything is bounded: bytes, tokens, depth, digits, fuel.

mod atom;
mod ball;
mod bigop;
mod calculus;
mod command;
mod compare;
mod construct;
mod equal;
mod eval;
mod expr;
mod extract;
pub(crate) mod fuel;
mod lex;
mod matrix;
mod modular;
mod names;
mod normal;
mod numeral;
mod parse;
mod poly;
mod quantity;
mod real;
mod relation;
mod rightmost;
mod sets;
mod show;
mod signs;
mod suffix;
mod unit;

use crate::record::{Record, TruthError};
use crate::response::{Piece, Response};
use crate::verdict::{Reason, Tier, Verdict};
use crate::words::normal_words;

use compare::Comparer;
use equal::{Ladder, Outcome};
use expr::Expr;
use extract::{Candidate, Level};
use fuel::Fuel;
use lex::Commas;
use parse::ParseError;

/// Decimals a written decimal must show to stand for an exact number, unless the row says otherwise.
const PRECISION: u32 = 6;

/// A truth, read.
struct Truth {
    text: String,
    /// By each reading of commas; the first is the usual one.
    expr: Expr,
    separate: Option<Expr>,
}

/// The `math` kind.
pub(crate) fn math(record: &Record) -> Result<Verdict, TruthError> {
    let fuel = Fuel::new();
    let truths = truths(record)?;
    Ok(judge(record, &truths, &fuel, false))
}

/// The `number` kind: as `math`, for a truth that is one number; several different numbers are refused.
pub(crate) fn number(record: &Record) -> Result<Verdict, TruthError> {
    let fuel = Fuel::new();
    let truths = truths(record)?;
    for truth in &truths {
        let mut inner = &truth.expr;
        while let Expr::Quantity(value, _) | Expr::Percent(value) = inner {
            inner = value;
        }
        let constant = inner.is_scalar()
            && inner.symbols().is_empty()
            && !matches!(inner, Expr::Const(expr::Const::Inf));
        if !constant {
            return Err(TruthError::malformed(&truth.text, "a number"));
        }
    }
    Ok(judge(record, &truths, &fuel, true))
}

fn truths(record: &Record) -> Result<Vec<Truth>, TruthError> {
    let truths: Vec<Truth> = record.golds.iter().map(|g| truth(g)).collect::<Result<_, _>>()?;
    if truths.is_empty() { Err(TruthError::Empty) } else { Ok(truths) }
}

/// A truth is mathematics where it can be read as such, else words; only nothing at all is an error.
fn truth(gold: &str) -> Result<Truth, TruthError> {
    let piece = Piece { text: gold.trim(), at: 0 };
    if hollow(piece.text) {
        return Err(TruthError::Empty);
    }
    let found = extract::find(piece, true);
    let parsed = found.as_ref().and_then(|c| c.parse(Commas::Group).ok());
    let rightmost = found.as_ref().is_some_and(|c| c.level == Level::Rightmost);
    let text = found.as_ref().map_or_else(|| piece.text.to_owned(), Candidate::text);
    if hollow(&text) {
        return Err(TruthError::Empty);
    }
    // A short truth of words that ends in a number is words: "Apollo 11".
    if rightmost && piece.text.len() < 60 && !piece.text.contains(['$', '\\']) {
        return Ok(Truth {
            text: piece.text.to_owned(),
            expr: Expr::Text(piece.text.to_owned()),
            separate: None,
        });
    }
    let separate = found.filter(|c| commas(&c.text())).and_then(|c| c.parse(Commas::Separate).ok());
    let expr = parsed.unwrap_or_else(|| Expr::Text(text.clone()));
    Ok(Truth { text, expr, separate })
}

/// Whether a comma stands between digits, so that it may group, separate or be a decimal point.
fn commas(text: &str) -> bool {
    text.as_bytes().windows(3).any(|w| w[1] == b',' && w[0].is_ascii_digit() && w[2].is_ascii_digit())
}

/// Exactly three digits after the comma: thousands, whatever the locale.
fn grouped(text: &str) -> bool {
    text.split_once(',').is_some_and(|(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count() == 3)
}

fn judge(record: &Record, truths: &[Truth], fuel: &Fuel, number: bool) -> Verdict {
    let gold = truths.iter().map(|t| show::text(&t.expr, fuel)).collect::<Vec<_>>().join(" | ");
    let finish = |verdict: Verdict| {
        let mut verdict = verdict;
        verdict.fuel = fuel.used();
        verdict
    };
    let response = Response::parse(&record.pred);
    let earning = match response.earning(record.opts.extract) {
        Ok(piece) => piece,
        Err(reason) => return finish(Verdict::reject(reason, Tier::Extraction).with(gold, "")),
    };
    let found = extract::find(earning, record.opts.plain());
    let Some(candidate) = found.or_else(|| words_as_answer(earning, truths)) else {
        return finish(Verdict::reject(Reason::NoAnswer, Tier::Extraction).with(gold, "").at(earning.span()));
    };
    if candidate.parts.iter().all(|p| hollow(p.text)) {
        return finish(Verdict::reject(Reason::Empty, Tier::Extraction).with(gold, "").at(candidate.span()));
    }
    if number && candidate.level == Level::Rightmost && several_numbers(earning.text) {
        return finish(
            Verdict::reject(Reason::Several, Tier::Extraction)
                .with(gold, candidate.text())
                .at(candidate.span()),
        );
    }
    // "not 42" and "one or 42" end in a number that is not what they say.
    if candidate.level == Level::Rightmost && denied(earning, &candidate) {
        return finish(
            Verdict::unsure(Reason::Several, Tier::Extraction)
                .with(gold, candidate.text())
                .at(candidate.span()),
        );
    }
    let (outcome, pred) = best(record, truths, &candidate, earning, fuel);
    let verdict = match outcome {
        Outcome::Yes(tier) => Verdict::accept(tier),
        Outcome::No(reason, tier) => Verdict::reject(reason, tier),
        Outcome::Unsure(reason, tier) => Verdict::unsure(reason, tier),
    };
    finish(verdict.with(gold, pred).at(candidate.span()))
}

/// Nothing but blanks, dollar signs, braces, commas and full stops.
fn hollow(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || "{}$.,".contains(c))
}

/// Whether the word before a candidate takes it back or makes it one of several.
fn denied(earning: Piece<'_>, candidate: &Candidate<'_>) -> bool {
    let (start, end) = candidate.span();
    let (before, after) = (&earning.text[..start - earning.at], &earning.text[end - earning.at..]);
    if after.starts_with(['\'', '"']) {
        // Within a quotation, of program text for example.
        return true;
    }
    if before.strip_suffix('(').is_some_and(|b| b.ends_with(|c: char| c.is_alphanumeric() || c == '_')) {
        // The argument of a call.
        return true;
    }
    let word = before.split_whitespace().next_back().unwrap_or("").to_lowercase();
    matches!(word.as_str(), "not" | "or" | "isn't" | "never" | "neither" | "nor" | "than" | "≠")
}

/// A truth of words asks for words: the whole of a short answer is compared.
fn words_as_answer<'a>(piece: Piece<'a>, truths: &[Truth]) -> Option<Candidate<'a>> {
    let asked = piece.text.len() < 400 && truths.iter().any(|t| matches!(t.expr, Expr::Text(_)));
    let same = truths.iter().any(|t| t.text == piece.text);
    (asked || same).then(|| Candidate::words(piece))
}

/// The best outcome over the truths, and the answer's normal form.
fn best(
    record: &Record,
    truths: &[Truth],
    candidate: &Candidate<'_>,
    earning: Piece<'_>,
    fuel: &Fuel,
) -> (Outcome, String) {
    let text = candidate.text();
    let parsed = candidate.parse(Commas::Group);
    let shown = match &parsed {
        Ok(expr) => show::text(expr, fuel),
        Err(_) => text.chars().take(400).collect(),
    };
    let mut outcome: Option<Outcome> = None;
    for truth in truths {
        let one = pair(record, truth, candidate, &text, &parsed, earning, fuel);
        outcome = Some(outcome.map_or(one, |so_far| so_far.or(|| one)));
    }
    (outcome.unwrap_or(Outcome::No(Reason::Empty, Tier::Extraction)), shown)
}

fn pair(
    record: &Record,
    truth: &Truth,
    candidate: &Candidate<'_>,
    text: &str,
    parsed: &Result<Expr, ParseError>,
    earning: Piece<'_>,
    fuel: &Fuel,
) -> Outcome {
    let squeezed = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    if squeezed(text) == squeezed(&truth.text) {
        return Outcome::Yes(Tier::Identical);
    }
    if let Expr::Text(words) = &truth.expr {
        return worded(record, words, text, earning);
    }
    let comparer = Comparer {
        ladder: Ladder {
            fuel,
            seed: modular::hash(&truth.text),
            precision: record.opts.precision.unwrap_or(PRECISION),
            tolerance: record.opts.tolerance,
        },
        opts: &record.opts,
    };
    let outcome = match parsed {
        Ok(pred) => spelled_constants(&comparer, &truth.expr, pred),
        Err(ParseError::Limit) => return Outcome::Unsure(Reason::Limit, Tier::Extraction),
        Err(ParseError::Syntax) => return Outcome::Unsure(Reason::Unreadable, Tier::Extraction),
    };
    if outcome.is_yes() || !(commas(text) || truth.separate.is_some()) {
        return outcome;
    }
    // "1,234" as two numbers on both sides, and "1,5" as a decimal against a single number.
    let separate = candidate.parse(Commas::Separate);
    let listed = match (&truth.separate, &separate) {
        (Some(gold), Ok(pred)) => comparer.compare(gold, pred),
        (None, Ok(pred)) if matches!(truth.expr, Expr::List(_) | Expr::Seq { .. } | Expr::Set(_)) => {
            comparer.compare(&truth.expr, pred)
        }
        _ => outcome,
    };
    outcome.or(|| listed).or(|| match (truth.expr.is_scalar(), candidate.parse(Commas::Decimal)) {
        (true, Ok(pred)) if text.matches(',').count() == 1 && !grouped(text) => {
            comparer.compare(&truth.expr, &pred)
        }
        _ => outcome,
    })
}

/// Compares, and again with capital I or E read as √−1 or e where only the other side has that: SymPy writes them so.
fn spelled_constants(comparer: &Comparer<'_>, gold: &Expr, pred: &Expr) -> Outcome {
    let outcome = comparer.compare(gold, pred);
    if outcome.is_yes() {
        return outcome;
    }
    let (mut g, mut p) = (gold.clone(), pred.clone());
    for (letter, constant) in [("I", expr::Const::I), ("E", expr::Const::E)] {
        let (letter, constant) = (Expr::Sym(letter.into()), Expr::Const(constant));
        let has = |e: &Expr, what: &Expr| e.any(&|n| n == what);
        for (one, other) in [(&mut g, pred), (&mut p, gold)] {
            if has(one, &letter) && !has(one, &constant) && has(other, &constant) && !has(other, &letter) {
                *one = calculus::substitute(one, &letter, &constant);
            }
        }
    }
    if g == *gold && p == *pred { outcome } else { outcome.or(|| comparer.compare(&g, &p)) }
}

/// A truth of words against the answer's words, with or without what surrounds them.
fn worded(record: &Record, words: &str, text: &str, earning: Piece<'_>) -> Outcome {
    let case = record.opts.case.unwrap_or(false);
    let gold = normal_words(words, case);
    let announced = crate::kinds::anchor::payload(earning);
    let said = [Some(text), Some(earning.text), announced.map(|p| p.text)];
    match said.into_iter().flatten().any(|s| s.len() < 4096 && normal_words(s, case) == gold) {
        true => Outcome::Yes(Tier::Words),
        false => Outcome::Unsure(Reason::Different, Tier::Words),
    }
}

/// Whether a text holds two different numbers.
fn several_numbers(text: &str) -> bool {
    let numbers = crate::kinds::geometry::numbers(&crate::words::plain(text).replace(',', ""), 64);
    numbers.iter().any(|n| Some(n) != numbers.first())
}
