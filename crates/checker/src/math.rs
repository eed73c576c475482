//! Text with LaTeX in it to pieces of text and of MathML.
//!
//! A formula stands between `$…$`, `$$…$$`, `\(…\)` or `\[…\]`; a lone dollar sign is money, by pandoc's rule: an opening one
//! is followed by no blank, a closing one is preceded by none and followed by no digit. What is not understood stays text,
//! delimiters included, so that nothing of a reply is ever hidden.
//!
//! The converter is a third party's, expands macros without bound and can panic. Definitions are therefore refused, lengths and
//! counts are bounded here, and the page runs this in a worker that it can do without.

use pulldown_latex::config::{DisplayMode, RenderConfig};
use pulldown_latex::{Parser, Storage, push_mathml};
use serde::{Deserialize, Serialize};

use crate::mathml::{self, Node};

/// Bytes of a formula.
const MAX_FORMULA: usize = 2000;

/// Openings of formulas that are looked at in one text.
const MAX_FORMULAS: usize = 300;

/// Braces within braces.
const MAX_BRACES: usize = 40;

/// A piece of text; all pieces in order are the text, but for the delimiters of formulas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The text, or the formula's LaTeX.
    pub text: String,
    /// The formula, where it is one.
    pub math: Option<Node>,
    /// The span to mark lies here.
    pub marked: bool,
}

/// Splits a text. `span` are the bytes to mark: text is marked exactly, a formula as a whole if they lie in it.
/// `formula` takes a text without any delimiter for one formula if it has a command, a power or an index.
pub fn typeset(text: &str, span: Option<[usize; 2]>, formula: bool) -> Vec<Piece> {
    // A span that does not fit the text marks nothing, and hides nothing.
    let span = span.filter(|&[a, b]| text.get(a..b).is_some());
    let mut pieces = Vec::new();
    let mut done = 0;
    for found in formulas(text, formula) {
        let latex = &text[found.inner.0..found.inner.1];
        let Some(math) = to_mathml(latex, found.block) else { continue };
        plain(text, (done, found.outer.0), span, &mut pieces);
        let marked = span.is_some_and(|[a, b]| a < found.outer.1 && found.outer.0 < b);
        pieces.push(Piece { text: latex.to_owned(), math: Some(math), marked });
        done = found.outer.1;
    }
    plain(text, (done, text.len()), span, &mut pieces);
    pieces
}

/// Text between two formulas, cut where the mark begins and ends.
fn plain(text: &str, (start, end): (usize, usize), span: Option<[usize; 2]>, pieces: &mut Vec<Piece>) {
    let [a, b] = span.map_or([start, start], |span| span.map(|at| at.clamp(start, end)));
    for (from, to, marked) in [(start, a, false), (a, b, true), (b, end, false)] {
        match text.get(from..to) {
            None | Some("") => {}
            Some(text) => pieces.push(Piece { text: text.to_owned(), math: None, marked }),
        }
    }
}

/// A formula's bytes with and without its delimiters.
struct Found {
    outer: (usize, usize),
    inner: (usize, usize),
    block: bool,
}

fn formulas(text: &str, formula: bool) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut openings = 0;
    while let Some(step) = text[at..].find(['$', '\\']) {
        let start = at + step;
        at = start + 1;
        let rest = &text[start..];
        let (open, close, block) = match rest.as_bytes() {
            [b'\\', b'(', ..] => ("\\(", "\\)", false),
            [b'\\', b'[', ..] => ("\\[", "\\]", true),
            [b'$', b'$', ..] => ("$$", "$$", true),
            [b'$', ..] => ("$", "$", false),
            // An escaped dollar sign, brace or backslash opens nothing.
            [_, next, ..] if next.is_ascii() => {
                at += 1;
                continue;
            }
            _ => continue,
        };
        openings += 1;
        if openings > MAX_FORMULAS {
            break;
        }
        let inner = start + open.len();
        if let Some(end) = closing(&text[inner..], close) {
            let outer = (start, inner + end + close.len());
            found.push(Found { outer, inner: (inner, inner + end), block });
            at = outer.1;
        }
    }
    let bare = formula && found.is_empty() && text.len() <= MAX_FORMULA && text.contains(['\\', '^', '_']);
    if bare {
        found.push(Found { outer: (0, text.len()), inner: (0, text.len()), block: false });
    }
    found
}

/// Where the closing delimiter stands in `text`, within the bounds of a formula.
fn closing(text: &str, close: &str) -> Option<usize> {
    let mut window = text.len().min(MAX_FORMULA);
    while !text.is_char_boundary(window) {
        window -= 1;
    }
    let window = &text[..window];
    let mut from = 0;
    loop {
        let end = from + window[from..].find(close)?;
        let (before, after) = (&window[..end], &text[end + close.len()..]);
        let escaped = before.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1;
        let money = close == "$"
            && (before.ends_with(char::is_whitespace) || after.starts_with(|c: char| c.is_ascii_digit()));
        let opens = close != "$" || !before.starts_with(char::is_whitespace);
        if !opens || before.contains("\n\n") {
            return None;
        }
        // `\)` ends with what an escape begins with, so only dollar signs can be escaped.
        let escaped = escaped && close.starts_with('$');
        if !before.trim().is_empty() && !escaped && !money {
            return Some(end);
        }
        from = end + close.len();
    }
}

/// A formula as MathML, or `None` where it is not understood.
fn to_mathml(latex: &str, block: bool) -> Option<Node> {
    if defines(latex) || braces(latex) > MAX_BRACES {
        return None;
    }
    // The converter knows no boxes; a line below shows what was boxed.
    let latex = latex.replace("\\boxed", "\\underline").replace("\\fbox", "\\underline");
    let storage = Storage::new();
    let events: Vec<_> = Parser::new(&latex, &storage).collect();
    if events.iter().any(Result::is_err) {
        return None;
    }
    let display_mode = if block { DisplayMode::Block } else { DisplayMode::Inline };
    let mut text = String::new();
    push_mathml(&mut text, events.into_iter(), RenderConfig { display_mode, ..RenderConfig::default() })
        .ok()?;
    mathml::parse(&text)
}

/// Whether a command defines another one: expanding it may never end.
fn defines(latex: &str) -> bool {
    let names = latex.split('\\').skip(1);
    names.map(|rest| rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default()).any(|name| {
        name.ends_with("def")
            || matches!(name, "let" | "futurelet")
            || name.ends_with("command")
            || name.starts_with("newenv")
    })
}

fn braces(latex: &str) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    for byte in latex.bytes() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        most = most.max(depth);
    }
    // `\left` and `\begin` nest without braces.
    most.max(latex.matches("\\left").count()).max(latex.matches("\\begin").count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text as it is, formulas in angle quotes, what is marked in square brackets.
    fn shown(text: &str, span: Option<[usize; 2]>, formula: bool) -> String {
        let piece = |piece: &Piece| {
            let text = if piece.math.is_some() { format!("«{}»", piece.text) } else { piece.text.clone() };
            if piece.marked { format!("[{text}]") } else { text }
        };
        typeset(text, span, formula).iter().map(piece).collect()
    }

    #[test]
    fn formulas_are_found_and_money_is_not() {
        for (text, want) in [
            (r"so $x^2$ and \(y\), $$z$$ \[w\]", r"so «x^2» and «y», «z» «w»"),
            ("it costs $5 and $6", "it costs $5 and $6"),
            ("between $5 and $10.", "between $5 and $10."),
            (r"\$5 is $5$", r"\$5 is «5»"),
            ("$ x $", "$ x $"),
            ("$$ x $$", "«$$ x $$»".replace("$$", "").as_str()),
            ("$x", "$x"),
            ("$x\n\ny$", "$x\n\ny$"),
            ("é$é$é", "é«é»é"),
            (r"\(a", r"\(a"),
            ("$", "$"),
            ("\\", "\\"),
        ] {
            assert_eq!(shown(text, None, false), want, "{text}");
        }
        assert_eq!(shown(r"\frac{3}{4}", None, true), r"«\frac{3}{4}»");
        assert_eq!(shown("42", None, true), "42");
    }

    #[test]
    fn the_span_is_marked_in_text_exactly_and_in_a_formula_as_a_whole() {
        assert_eq!(shown("answer 42.", Some([7, 9]), false), "answer [42].");
        let text = r"so $\boxed{4}$.";
        let at = text.find('4').unwrap();
        assert_eq!(shown(text, Some([at, at + 1]), false), r"so [«\boxed{4}»].");
        assert_eq!(shown("ab $x$ cd", Some([1, 8]), false), "a[b ][«x»][ c]d");
        assert_eq!(shown("é", Some([1, 900]), false), "é", "a span off the letters marks nothing");
    }

    #[test]
    fn hostile_formulas_stay_text() {
        let deep = format!("${}x{}$", "{".repeat(300), "}".repeat(300));
        let long = format!("${}$", "x".repeat(5000));
        for text in [
            r"$\def\a{\a\a}\a$",
            r"$\newcommand{\a}{\a\a}\a$",
            r"$\let\a=\b$",
            r"$\href{javascript:alert(1)}{x}$",
            r"$\includegraphics{x}$",
            r"$\nosuchcommand$",
            r"$\frac{1$",
            r"$\operatorname{<img src=x onerror=alert(1)>}$",
            r"$\operatorname{</math><script>alert(1)</script>}$",
            deep.as_str(),
            long.as_str(),
        ] {
            let pieces = typeset(text, None, false);
            assert!(pieces.iter().all(|piece| piece.math.is_none()), "{text}: {pieces:?}");
            let kept: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            assert_eq!(kept, text, "nothing is hidden");
        }
        let safe = typeset(r"$\text{<script>alert(1)</script>}$", None, false);
        assert!(format!("{safe:?}").contains(r#"Text("<script>alert(1)</script>")"#), "{safe:?}");
    }

    #[test]
    fn many_openings_take_bounded_time() {
        for unit in ["$a ", "$$a", "\\(", "$a $", "\\", "$"] {
            let text = unit.repeat(300_000 / unit.len());
            let kept: usize = typeset(&text, None, false).iter().map(|piece| piece.text.len()).sum();
            assert!(kept > 0);
        }
    }
}
