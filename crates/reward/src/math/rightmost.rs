//! The last formula or number of a text that announces nothing.

use super::extract::{Candidate, Level, environments, joined, whole};
use super::lex::Commas;
use super::parse::parse;
use super::unit;
use crate::response::Piece;

/// The last formula or number of a text, whichever ends later.
pub(super) fn rightmost(piece: Piece<'_>, plain: bool) -> Option<Candidate<'_>> {
    let mut formulas: Vec<(usize, usize, usize, usize)> = Vec::new();
    for next in environments(piece.text) {
        // "$x = 2$ and $x = 3$" is one answer.
        if formulas.last().is_none_or(|(.., end)| !joined(&piece.text[*end..next.0])) {
            formulas.clear();
        }
        formulas.push(next);
    }
    let end = formulas.last().map_or(0, |(.., end)| *end);
    if plain {
        let tail = piece.slice(end, piece.text.len());
        if end == 0
            && let Some(found) = stated(tail)
        {
            return Some(found);
        }
        if tail.text.bytes().any(|b| b.is_ascii_digit())
            && let Some(found) = number(tail)
        {
            return Some(found);
        }
    }
    match formulas.is_empty() {
        false => {
            let parts = formulas.iter().map(|(_, a, b, _)| piece.slice(*a, *b)).collect();
            Some(Candidate { parts, latex: true, level: Level::Rightmost, parsed: None })
        }
        true if plain => number(piece),
        true => None,
    }
}

/// What the last sentence says after its verb: "The solutions are x = 2 and x = 3."
fn stated(piece: Piece<'_>) -> Option<Candidate<'_>> {
    let text = piece.text.trim_end_matches(['.', '!']);
    let start =
        [". ", "\n", "! ", "? "].iter().filter_map(|m| text.rfind(m).map(|i| i + m.len())).max().unwrap_or(0);
    let sentence = piece.slice(start, text.len());
    let verb = [" is ", " are ", " = "]
        .iter()
        .filter_map(|v| sentence.text.rfind(v).map(|i| (i, i + v.len())))
        .max()?;
    let (from, to) = if sentence.text[verb.0..].starts_with(" = ") {
        // From the verb before it: "are x = 2 and x = 3".
        let before = [" is ", " are "]
            .iter()
            .filter_map(|v| sentence.text[..verb.0].rfind(v).map(|i| i + v.len()))
            .max()?;
        (before, sentence.text.len())
    } else {
        (verb.1, sentence.text.len())
    };
    let found = whole(sentence.slice(from, to), true)?;
    let digits = found.text().chars().any(|c| crate::words::digit(c).is_some());
    digits.then_some(Candidate { level: Level::Rightmost, ..found })
}

/// The last number of a text with the arithmetic it is part of, its currency, percent sign or unit.
pub(super) fn number(piece: Piece<'_>) -> Option<Candidate<'_>> {
    let text = piece.text;
    let digit = text.char_indices().rev().find(|(_, c)| crate::words::digit(*c).is_some())?;
    let last = digit.0 + digit.1.len_utf8();
    let run = |c: char| crate::words::digit(c).is_some() || ".,/^*+-−×÷() $€£%:".contains(c);
    let mut start =
        text[..last].char_indices().rev().take_while(|(_, c)| run(*c)).last().map_or(0, |(i, _)| i);
    let trimmed =
        text[start..last].trim_start_matches([' ', ',', ')', '*', '/', '+', ':', '^', '%', '×', '÷']);
    start = last - trimmed.len();
    let mut ends = suffixes(text, last);
    ends.push(last);
    let mut starts = vec![start];
    // Shorter and shorter: "of 5 (10" does not parse, "10" does.
    for (i, c) in text[start..last].char_indices() {
        if matches!(c, ' ' | '(' | ',' | ':') {
            starts.push(start + i + c.len_utf8());
        }
    }
    let digits = |c: char| crate::words::digit(c).is_some() || matches!(c, '.' | ',');
    let mut own =
        text[..last].char_indices().rev().take_while(|(_, c)| digits(*c)).last().map_or(start, |(i, _)| i);
    if text[..own].ends_with('-') {
        own -= 1;
    }
    starts.truncate(8);
    starts.push(own);
    for &a in &starts {
        for &b in &ends {
            let part = piece.slice(a, b);
            if part.text.len() < 200
                && !part.text.contains(". ")
                && parse(part.text.trim_end_matches(['.', ',']), false, Commas::Group).is_ok()
            {
                return Some(Candidate::one(part, false, Level::Rightmost));
            }
        }
    }
    Some(Candidate::one(piece.slice(own, last), false, Level::Rightmost))
}

/// Ends of the number with a following percent sign, currency or known unit, longest first.
fn suffixes(text: &str, last: usize) -> Vec<usize> {
    let mut out = vec![];
    let tail = &text[last..];
    let blank = tail.len() - tail.trim_start_matches([' ', '\u{a0}']).len();
    if blank > 1 {
        return out;
    }
    let rest = &tail[blank..];
    for mark in ["%", "\\%", "€", "£", "°", "percent", "pct"] {
        if rest.starts_with(mark) {
            out.push(last + blank + mark.len());
        }
    }
    let word = rest
        .find(|c: char| !(c.is_alphanumeric() || matches!(c, '/' | '^' | '²' | '³')))
        .unwrap_or(rest.len());
    let name = rest[..word].trim_end_matches(['²', '³', '2', '3', '^']);
    let known = name.split('/').all(|n| unit::lookup(n).is_some());
    // "5m²" glued is as much a product; its number is what counts.
    let glued = blank == 0 && name.len() == 1;
    if word > 0 && known && !glued {
        out.push(last + blank + word);
    }
    out
}
