//! Which part of a text is the answer.
//!
//! In order: boxes (neighbouring ones together), the text itself if it is nothing but mathematics, what follows "the answer
//! is", and last the rightmost formula or number. Once a part is chosen its failure to parse is final: nothing inside it is
//! tried, or `1 − 1/e` would earn by its last number.

use crate::kinds::anchor;
use crate::response::{Piece, boxes};

use super::expr::Expr;
use super::lex::Commas;
use super::parse::{ParseError, parse};
use super::rightmost::{number, rightmost};

/// Bytes of one candidate.
const MAX_CANDIDATE: usize = 4096;
/// Bytes of a text that may be mathematics as a whole.
const MAX_WHOLE: usize = 1200;

/// Environments that open and never close, after which no more are looked for.
const MAX_UNCLOSED: usize = 64;

/// How an answer was found; anything but `Rightmost` is a statement of the writer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Box,
    Whole,
    Anchor,
    Rightmost,
}

/// The parts of an answer: usually one, several for neighbouring boxes.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub parts: Vec<Piece<'a>>,
    /// It stood in a LaTeX environment.
    pub latex: bool,
    pub level: Level,
    /// Its expression by the usual reading of commas, where finding it took parsing it.
    pub(super) parsed: Option<Expr>,
}

impl<'a> Candidate<'a> {
    pub(super) fn one(piece: Piece<'a>, latex: bool, level: Level) -> Self {
        Self { parts: vec![piece], latex, level, parsed: None }
    }

    /// The bytes of the response from the first part to the end of the last.
    pub(crate) fn span(&self) -> (usize, usize) {
        let first = self.parts.first().map_or(0, |p| p.at);
        (first, self.parts.last().map_or(0, |p| p.span().1))
    }

    /// As written, parts joined by commas.
    pub(crate) fn text(&self) -> String {
        self.parts.iter().map(|p| p.text).collect::<Vec<_>>().join(", ")
    }

    /// A short text of words, taken as it is.
    pub(crate) fn words(piece: Piece<'a>) -> Self {
        Self::one(piece, false, Level::Whole)
    }

    pub(crate) fn parse(&self, commas: Commas) -> Result<Expr, ParseError> {
        if let (Some(expr), Commas::Group) = (&self.parsed, commas) {
            return Ok(expr.clone());
        }
        let mut items = vec![];
        for part in &self.parts {
            if part.text.len() > MAX_CANDIDATE {
                return Err(ParseError::Limit);
            }
            let (inner, latex) = peeled(*part);
            items.push(parse(inner.text, latex || self.latex, commas)?);
        }
        Ok(match items.len() {
            1 => items.remove(0),
            _ => Expr::List(
                items.into_iter().flat_map(|i| if let Expr::List(v) = i { v } else { vec![i] }).collect(),
            ),
        })
    }
}

/// The answer of a text. `plain`: expressions outside LaTeX environments count.
pub(crate) fn find(piece: Piece<'_>, plain: bool) -> Option<Candidate<'_>> {
    let found = boxes(piece);
    if !found.is_empty() {
        let mut first = found.len() - 1;
        while first > 0 && joined(&piece.text[found[first - 1].outer.1..found[first].outer.0]) {
            first -= 1;
        }
        // Several boxes with a name in front: "x = \boxed{1}" is no part of the answer.
        let parts = found[first..].iter().map(|b| b.inner).collect();
        return Some(Candidate { parts, latex: true, level: Level::Box, parsed: None });
    }
    // A box that never closes was cut off.
    if piece.text.contains("\\boxed{") {
        return None;
    }
    if let Some(found) = whole(piece, plain) {
        return Some(Candidate { level: Level::Whole, ..found });
    }
    if let Some(said) = anchor::payload(piece)
        && let Some(found) = announced(said, plain)
    {
        return Some(Candidate { level: Level::Anchor, ..found });
    }
    rightmost(piece, plain)
}

/// Whether what stands between two boxes joins them: commas, "and", "or", mathematical fillers, or `\text` with "and".
pub(super) fn joined(gap: &str) -> bool {
    if gap.len() > 80 || gap.contains("\n\n") {
        return false;
    }
    let mut rest = gap.to_owned();
    let mut and = false;
    while let Some(at) = rest.find("\\text{") {
        let Some(end) = rest[at..].find('}') else { return false };
        let words = rest[at + 6..at + end].to_lowercase();
        and |= words.split_whitespace().any(|w| matches!(w, "and" | "or"));
        rest.replace_range(at..at + end + 1, " ");
    }
    for filler in
        ["\\quad", "\\qquad", "\\,", "\\;", "\\ ", "\\(", "\\)", "\\[", "\\]", "$", ",", ";", "\\\\", "&"]
    {
        rest = rest.replace(filler, " ");
    }
    rest.split_whitespace().all(|w| matches!(w, "and" | "or" | "." | "*" | "**"))
        || and && rest.trim().is_empty()
}

/// Without the environment around it, markdown emphasis and quotes; whether there was an environment.
pub(crate) fn peeled(piece: Piece<'_>) -> (Piece<'_>, bool) {
    let (mut piece, mut latex) = (piece, false);
    for _ in 0..6 {
        let text = piece.text;
        let inner = |open: &str, close: &str| {
            let long =
                text.len() >= open.len() + close.len() && text.starts_with(open) && text.ends_with(close);
            (long && !text[open.len()..text.len() - close.len()].contains(open))
                .then(|| (open.len(), text.len() - close.len()))
        };
        let environment = ["$$", "$"]
            .iter()
            .find_map(|d| inner(d, d))
            .or_else(|| inner("\\(", "\\)"))
            .or_else(|| inner("\\[", "\\]"));
        if let Some((start, end)) = environment {
            piece = piece.slice(start, end);
            latex = true;
            continue;
        }
        let dressed = ["**", "`", "\"", "*", "__"].iter().find_map(|d| inner(d, d));
        match (dressed, text.strip_suffix('.')) {
            (Some((start, end)), _) => piece = piece.slice(start, end),
            (None, Some(rest)) if !rest.ends_with('.') && !rest.is_empty() => {
                piece = piece.slice(0, rest.len())
            }
            _ => break,
        }
    }
    (piece, latex)
}

/// The text itself, if it parses as mathematics from end to end.
pub(super) fn whole(piece: Piece<'_>, plain: bool) -> Option<Candidate<'_>> {
    let (inner, latex) = peeled(piece);
    if inner.text.is_empty() || inner.text.len() > MAX_WHOLE {
        return None;
    }
    let formula = |text: &str| environments(text).next().is_some_and(|(start, inner, ..)| inner > start);
    if !latex && formula(inner.text) {
        return sentence(inner);
    }
    if !(plain || latex || inner.text.contains('\\')) {
        return None;
    }
    let expr = parse(inner.text, latex, Commas::Group).ok()?;
    // Prose is a text of words; as an answer it is read by the caller, unless something mathematical follows.
    let words = |e: &Expr| matches!(e, Expr::Text(_));
    let prose = match &expr {
        Expr::Text(words) => words.split(' ').count() > 4,
        // "Therefore, 18": a clause and a value.
        Expr::List(items) => items.iter().any(words) && !items.iter().all(words),
        _ => false,
    };
    (!prose).then(|| Candidate { parsed: Some(expr), ..Candidate::one(inner, latex, Level::Whole) })
}

/// Formulas joined by nothing but commas and "and": `$x=1$ and $x=2$`.
fn sentence(piece: Piece<'_>) -> Option<Candidate<'_>> {
    let found: Vec<(usize, usize, usize, usize)> = environments(piece.text).take(12).collect();
    let mut at = 0;
    for (start, .., end) in &found {
        if !joined(&piece.text[at..*start]) {
            return None;
        }
        at = *end;
    }
    if !joined(piece.text[at..].trim_end_matches('.')) {
        return None;
    }
    let parts = found.iter().map(|(_, a, b, _)| piece.slice(*a, *b)).collect();
    Some(Candidate { parts, latex: true, level: Level::Whole, parsed: None })
}

/// The answer in what follows "the answer is".
fn announced(said: Piece<'_>, plain: bool) -> Option<Candidate<'_>> {
    let cut = said.text.find(" I hope").unwrap_or(said.text.len());
    let said = said.slice(0, cut);
    let stop = sentence_end(said.text);
    for end in [said.text.len(), stop] {
        let part = said.slice(0, end);
        if let Some(found) = whole(part, plain) {
            return Some(found);
        }
    }
    // "The volume of $ABCD$ is 120": the value is what follows the verb.
    let first = said.slice(0, stop);
    if let Some(at) =
        [" is ", " are ", " be "].iter().filter_map(|v| first.text.rfind(v).map(|i| i + v.len())).max()
        && let Some(found) = whole(first.slice(at, first.text.len()), plain)
    {
        return Some(found);
    }
    if let Some((_, a, b, _)) = environments(said.text).next() {
        return Some(Candidate::one(said.slice(a, b), true, Level::Anchor));
    }
    if plain { number(first) } else { None }
}

fn sentence_end(text: &str) -> usize {
    [". ", "! ", "; ", ", not ", ", so ", ", because ", " because ", " since "]
        .iter()
        .filter_map(|m| text.find(m))
        .min()
        .unwrap_or(text.len())
}

/// Mathematical environments: (start, inner start, inner end, end) of each. One pass.
pub(super) fn environments(text: &str) -> impl Iterator<Item = (usize, usize, usize, usize)> + '_ {
    let (mut at, mut unclosed) = (0, 0);
    std::iter::from_fn(move || {
        // Every opening that never closes costs a search: after some of them the text is no LaTeX.
        while unclosed < MAX_UNCLOSED
            && let Some(step) = text[at..].find(['$', '\\'])
        {
            let start = at + step;
            let rest = &text[start..];
            at = start + 1;
            let (open, close) = match rest {
                r if r.starts_with("$$") => (2, "$$"),
                r if r.starts_with('$') => (1, "$"),
                r if r.starts_with("\\(") => (2, "\\)"),
                r if r.starts_with("\\[") => (2, "\\]"),
                r if r.starts_with("\\$") => {
                    at = start + 2;
                    continue;
                }
                r if r.starts_with("\\begin{") => {
                    let name = &r["\\begin{".len()..floor_boundary(r, "\\begin{".len() + 20)];
                    let Some(brace) = name.find('}').map(|i| i + "\\begin{".len()) else { continue };
                    let end = format!("\\end{{{}}}", &r["\\begin{".len()..brace]);
                    if let Some(len) = r[..floor_boundary(r, 4 * MAX_CANDIDATE)].find(&end) {
                        let stop = start + len + end.len();
                        at = stop;
                        return Some((start, start, stop, stop));
                    }
                    unclosed += 1;
                    continue;
                }
                _ => continue,
            };
            let window = floor_boundary(rest, MAX_CANDIDATE);
            let Some(len) = rest[open..window].find(close) else {
                unclosed += 1;
                continue;
            };
            let inner = &rest[open..open + len];
            if close == "$" && currency(inner) {
                continue;
            }
            at = start + open + len + close.len();
            return Some((start, start + open, start + open + len, at));
        }
        None
    })
}

/// Between two dollar signs stands a sentence about money, not a formula.
fn currency(inner: &str) -> bool {
    let words = inner
        .split_whitespace()
        .filter(|w| w.len() > 2 && w.chars().all(|c| c.is_ascii_alphabetic()))
        .count();
    inner.trim().is_empty()
        || (inner.starts_with(|c: char| c.is_ascii_digit()) && !inner.contains('\\') && words > 0)
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}
