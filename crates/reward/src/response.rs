//! A response taken apart: what was thought, what was answered, what is boxed.
//!
//! One linear pass over the text and no pattern matching: a response of ten thousand unclosed tags or braces costs what a
//! plain one of its length does. Only what follows the last `</think>` earns. Answers are counted over everything
//! after the *first* `</think>`, so that appending a second `</think>` cannot hide an answer that was given before.

use crate::record::Extract;
use crate::verdict::Reason;

/// Bytes of a response that are looked at; a longer one is rejected with [`Reason::Limit`].
pub const MAX_RESPONSE: usize = 1 << 20;

/// Bytes of an answer in few words.
const MAX_SHORT: usize = 32 * 1024;

/// Tokens that end a turn. What follows one was never part of the answer.
const STOPS: [&str; 5] = ["<|im_end|>", "<|endoftext|>", "<|im_start|>", "<|eot_id|>", "</s>"];

/// A piece of the response and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The text, trimmed.
    pub text: &'a str,
    /// Byte offset of `text` in the response.
    pub at: usize,
}

impl<'a> Piece<'a> {
    /// The bytes `[start, end)` of the response this piece covers.
    pub fn span(&self) -> (usize, usize) {
        (self.at, self.at + self.text.len())
    }

    /// A part of this piece, trimmed.
    pub(crate) fn slice(&self, start: usize, end: usize) -> Piece<'a> {
        let raw = &self.text[start..end];
        let text = raw.trim_start();
        Piece { text: text.trim_end(), at: self.at + start + raw.len() - text.len() }
    }
}

/// A response, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// What stands before the last `</think>`, without tags; `None` if there is no thinking.
    pub think: Option<&'a str>,
    /// What follows the last `</think>`, or everything.
    pub body: Piece<'a>,
    /// `<think>` was opened and never closed.
    pub unfinished: bool,
    /// A `</think>` is present.
    pub thought: bool,
    /// Opening answer tags after the first `</think>` (or anywhere, without one).
    pub answers: usize,
    /// The content of the one closed `<answer>` in the body.
    pub answer: Option<Piece<'a>>,
    /// The last balanced, outermost `\boxed{}` of the body.
    pub boxed: Option<Piece<'a>>,
    /// The whole is longer than [`MAX_RESPONSE`] and was not read.
    pub too_long: bool,
}

impl<'a> Response<'a> {
    /// Reads a response. Never fails: what is missing is `None`.
    pub fn parse(text: &'a str) -> Self {
        if text.len() > MAX_RESPONSE {
            return Self { too_long: true, ..Self::of(Piece { text: "", at: 0 }, &[]) };
        }
        let (tags, end) = tags(text);
        let whole = Piece { text, at: 0 };
        let closes = || tags.iter().filter(|t| t.name == Name::ThinkClose);
        let (Some(first), Some(last)) = (closes().next(), closes().next_back()) else {
            return Self::of(whole.slice(0, end), &tags);
        };
        let after = |at: usize| tags.partition_point(|t| t.start < at);
        let body = &tags[after(last.end)..];
        let think = text[..last.start].trim();
        let mut this = Self::of(whole.slice(last.end, end), body);
        this.think = Some(think.strip_prefix("<think>").unwrap_or(think).trim());
        this.thought = true;
        this.answers = tags[after(first.end)..].iter().filter(|t| t.name == Name::AnswerOpen).count();
        this
    }

    /// A response whose earning part is `body`, with the tags in it.
    fn of(body: Piece<'a>, tags: &[Tag]) -> Self {
        let whole = |start: usize, end: usize| body.slice(start - body.at, end - body.at);
        let mut opens = tags.iter().filter(|t| t.name == Name::AnswerOpen);
        let open = opens.next();
        let close = open.and_then(|o| tags.iter().find(|t| t.name == Name::AnswerClose && t.start >= o.end));
        Self {
            think: None,
            body,
            unfinished: tags.iter().any(|t| t.name == Name::ThinkOpen),
            thought: false,
            answers: usize::from(open.is_some()) + opens.count(),
            answer: open.zip(close).map(|(o, c)| whole(o.end, c.start)),
            boxed: boxes(body).last().map(|b| b.inner),
            too_long: false,
        }
    }

    /// The part that may earn under `policy`: the answer tag's content if there is one, else the body.
    ///
    /// `Boxed` narrows to the box at the caller's; here it only demands one.
    pub fn earning(&self, policy: Extract) -> Result<Piece<'a>, Reason> {
        if self.too_long {
            return Err(Reason::Limit);
        }
        if self.unfinished {
            return Err(Reason::Unfinished);
        }
        if policy == Extract::AfterThink && !self.thought {
            return Err(Reason::NoAnswer);
        }
        let piece = match (self.answers, self.answer) {
            (0, _) if policy == Extract::AnswerTag => return Err(Reason::NoAnswer),
            (0, _) => self.body,
            (1, Some(answer)) => answer,
            (1, None) => return Err(Reason::Unclosed),
            _ => return Err(Reason::ManyAnswers),
        };
        let piece = match policy {
            Extract::Boxed => boxes(piece).last().ok_or(Reason::NoAnswer)?.inner,
            _ => piece,
        };
        if piece.text.is_empty() { Err(Reason::Empty) } else { Ok(piece) }
    }

    /// As [`Self::earning`], and into the last box where there is one: the answer in few words.
    pub fn short(&self, policy: Extract) -> Result<Piece<'a>, Reason> {
        let piece = self.earning(policy)?;
        let piece = boxes(piece).last().map_or(piece, |b| b.inner);
        match piece.text.len() {
            0 => Err(Reason::Empty),
            n if n > MAX_SHORT => Err(Reason::Limit),
            _ => Ok(piece),
        }
    }
}

/// The four tags of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    ThinkOpen,
    ThinkClose,
    AnswerOpen,
    AnswerClose,
}

/// One tag and its bytes in the response.
struct Tag {
    name: Name,
    start: usize,
    end: usize,
}

/// The tags up to the end of the turn, and where that is. One pass over the `<` of the text.
fn tags(text: &str) -> (Vec<Tag>, usize) {
    const NAMES: [(&str, Name); 4] = [
        ("<think>", Name::ThinkOpen),
        ("</think>", Name::ThinkClose),
        ("<answer>", Name::AnswerOpen),
        ("</answer>", Name::AnswerClose),
    ];
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(step) = text[at..].find('<') {
        let start = at + step;
        let rest = &text[start..];
        if STOPS.iter().any(|s| rest.starts_with(s)) {
            return (found, start);
        }
        at = start + 1;
        if let Some((tag, name)) = NAMES.iter().find(|(tag, _)| rest.starts_with(tag)) {
            at = start + tag.len();
            found.push(Tag { name: *name, start, end: at });
        }
    }
    (found, text.len())
}

/// One `\boxed{}` or `\fbox{}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boxed<'a> {
    /// Its content.
    pub inner: Piece<'a>,
    /// Bytes of the whole command in the piece it was found in.
    pub outer: (usize, usize),
}

/// All balanced, outermost boxes in order. Linear: one stack of open braces.
pub(crate) fn boxes(piece: Piece<'_>) -> Vec<Boxed<'_>> {
    let text = piece.text;
    let bytes = text.as_bytes();
    let mut found: Vec<Boxed<'_>> = Vec::new();
    let Some(first) = text.find("box") else { return found };
    // Open braces: for a box's the start of its command, for any other `None`.
    let mut open: Vec<(usize, Option<usize>)> = Vec::new();
    let mut i = first.saturating_sub(2);
    while i < bytes.len() {
        match bytes[i] {
            // An escaped brace. Two backslashes before a box are one, escaped twice.
            b'\\' if box_command(&bytes[i..]).is_none() => {
                i += usize::from(matches!(bytes.get(i + 1), Some(b'{' | b'}')));
            }
            b'\\' => {
                let name = i + box_command(&bytes[i..]).unwrap_or(1);
                let brace = name + bytes[name..].iter().take_while(|b| **b == b' ').count();
                if bytes.get(brace) == Some(&b'{') {
                    open.push((brace, Some(i)));
                    i = brace;
                } else if let Some(end) = bare_box(text, name) {
                    found.push(Boxed { inner: piece.slice(name, end), outer: (i, end) });
                    i = end - 1;
                }
            }
            b'{' => open.push((i, None)),
            b'}' => {
                if let Some((brace, Some(start))) = open.pop() {
                    while found.last().is_some_and(|b| b.outer.0 > start) {
                        found.pop();
                    }
                    found.push(Boxed { inner: piece.slice(brace + 1, i), outer: (start, i + 1) });
                }
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// Length of `\boxed` or `\fbox` at the beginning of `bytes`.
fn box_command(bytes: &[u8]) -> Option<usize> {
    [&b"\\boxed"[..], b"\\fbox"].iter().find(|c| bytes.starts_with(c)).map(|c| c.len())
}

/// `\boxed 5`: TeX takes one token; people mean the word up to the next blank or `$`.
fn bare_box(text: &str, name: usize) -> Option<usize> {
    let rest = text[name..].strip_prefix(' ')?;
    let len = rest.find(|c: char| c.is_whitespace() || c == '$').unwrap_or(rest.len());
    (len > 0).then_some(name + 1 + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> Result<&str, Reason> {
        Response::parse(text).short(Extract::Any).map(|p| p.text)
    }

    #[test]
    fn answers_are_read_where_they_earn() {
        // (response, what earns, reason)
        let table: &[(&str, Result<&str, Reason>, &str)] = &[
            (
                "<think>\nx\n</think>\n<answer>\n42\n</answer>",
                Ok("42"),
                "the released model's form, over lines",
            ),
            ("<answer>\\boxed{\\frac{1}{2}}</answer>", Ok("\\frac{1}{2}"), "a box within the tag"),
            ("so \\boxed{3} and then \\boxed{ 4 }", Ok("4"), "the last box"),
            ("\\boxed{\\boxed{5}}", Ok("\\boxed{5}"), "the outermost box"),
            ("\\boxed{7} then \\boxed{8", Ok("7"), "an unclosed box is none"),
            ("\\fbox {9}", Ok("9"), "fbox, and a blank"),
            ("\\boxed 5", Ok("5"), "a box without braces"),
            ("\\\\boxed{6}", Ok("6"), "a box escaped twice"),
            ("\\boxed{\\{1,2\\}}", Ok("\\{1,2\\}"), "escaped braces do not count"),
            ("<think>42</think>", Err(Reason::Empty), "only what follows the thinking earns"),
            ("<think>42", Err(Reason::Unfinished), "thinking that never ends"),
            ("<think>a</think>b<think>42", Err(Reason::Unfinished), "thinking that begins anew"),
            ("<answer></answer>", Err(Reason::Empty), "empty"),
            ("\\boxed{ }", Err(Reason::Empty), "empty box"),
            ("<answer>1</answer><answer>2</answer>", Err(Reason::ManyAnswers), "two tags"),
            ("<answer>1</answer></think><answer>2</answer>", Ok("2"), "the thinking holds a tag"),
            (
                "<think>t</think><answer>1</answer></think><answer>2</answer>",
                Err(Reason::ManyAnswers),
                "a second </think> does not hide the first answer",
            ),
            ("<answer>1", Err(Reason::Unclosed), "a tag left open"),
            ("<answer>1</answer>\n\\boxed{2}", Ok("1"), "nothing beside the tag earns"),
            ("5<|im_end|>\\boxed{6}", Ok("5"), "nothing after the end of the turn"),
        ];
        for (text, want, why) in table {
            assert_eq!(short(text), *want, "{text:?}: {why}");
        }
    }

    #[test]
    fn policies_demand_their_form() {
        let r = Response::parse("the answer is 5");
        assert_eq!(r.earning(Extract::Boxed), Err(Reason::NoAnswer));
        assert_eq!(r.earning(Extract::AnswerTag), Err(Reason::NoAnswer));
        assert_eq!(r.earning(Extract::AfterThink), Err(Reason::NoAnswer));
        let r = Response::parse("x</think>the answer is 5");
        assert_eq!(r.earning(Extract::AfterThink).unwrap().text, "the answer is 5");
    }

    #[test]
    fn spans_point_into_the_response() {
        let text = "<think>é</think> <answer> 42 </answer>";
        let (a, b) = Response::parse(text).short(Extract::Any).unwrap().span();
        assert_eq!(&text[a..b], "42");
    }

    #[test]
    fn hostile_text_is_linear() {
        // Each would take hours if a box or tag were searched from every opening.
        for unit in ["\\boxed{", "{", "<think>", "<answer>", "\\boxed ", "</think>"] {
            let text = unit.repeat(MAX_RESPONSE / unit.len());
            let _ = Response::parse(&text).short(Extract::Any);
        }
        assert!(Response::parse(&"x".repeat(MAX_RESPONSE + 1)).too_long);
    }
}
