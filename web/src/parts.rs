//! A stream of text to its thinking, its answer and what stands outside both.
//!
//! The tags are ordinary text to the model and may come in pieces, so what could be the beginning of one waits for the
//! rest. This is a view for people who watch; how a finished response is judged is `wethink_reward::Response`'s matter.

/// What a piece of text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Between `<think>` and `</think>`.
    Think,
    /// Between `<answer>` and `</answer>`.
    Answer,
    /// Anything else.
    Raw,
}

impl Kind {
    /// Its name in JavaScript.
    pub fn name(self) -> &'static str {
        match self {
            Self::Think => "think",
            Self::Answer => "answer",
            Self::Raw => "raw",
        }
    }

    /// Tags that end this kind, with the kind that follows each.
    fn exits(self) -> &'static [(&'static str, Kind)] {
        match self {
            Self::Think => &[("</think>", Self::Raw)],
            Self::Answer => &[("</answer>", Self::Raw)],
            Self::Raw => &[("<think>", Self::Think), ("<answer>", Self::Answer)],
        }
    }
}

/// A piece of text of one kind; tags are left out.
pub type Piece = (Kind, String);

/// Sorts a stream.
#[derive(Debug)]
pub struct Parts {
    kind: Kind,
    held: String,
}

impl Default for Parts {
    fn default() -> Self {
        Self { kind: Kind::Raw, held: String::new() }
    }
}

impl Parts {
    /// The pieces that are certain once `text` has come.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        loop {
            let exits = self.kind.exits();
            let found = exits
                .iter()
                .filter_map(|&(tag, next)| Some((self.held.find(tag)?, tag, next)))
                .min_by_key(|f| f.0);
            let Some((at, tag, next)) = found else {
                let keep = exits.iter().map(|(tag, _)| partial(&self.held, tag)).max().unwrap_or(0);
                let rest = self.held.split_off(self.held.len() - keep);
                self.take(&mut pieces);
                self.held = rest;
                return pieces;
            };
            let rest = self.held.split_off(at)[tag.len()..].to_owned();
            self.take(&mut pieces);
            (self.held, self.kind) = (rest, next);
        }
    }

    /// What was held back, when no more text comes.
    pub fn finish(mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.take(&mut pieces);
        pieces
    }

    fn take(&mut self, pieces: &mut Vec<Piece>) {
        let text = std::mem::take(&mut self.held);
        if !text.is_empty() {
            pieces.push((self.kind, text));
        }
    }
}

/// Length of the longest end of `text` that begins `tag`.
fn partial(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|&n| text.ends_with(&tag[..n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All text of each kind, however the stream is cut.
    fn sorted(text: &str, size: usize) -> [String; 3] {
        let mut parts = Parts::default();
        let letters: Vec<char> = text.chars().collect();
        let mut pieces: Vec<Piece> =
            letters.chunks(size).flat_map(|chunk| parts.push(&chunk.iter().collect::<String>())).collect();
        pieces.extend(parts.finish());
        [Kind::Think, Kind::Answer, Kind::Raw]
            .map(|kind| pieces.iter().filter(|(k, _)| *k == kind).map(|(_, text)| text.as_str()).collect())
    }

    #[test]
    fn thinking_and_answer_are_sorted_however_the_text_is_cut() {
        for (text, want) in [
            ("<think>\na < b\n</think>\n<answer>4</answer>!", ["\na < b\n", "4", "\n!"]),
            ("no tags, <thin and é", ["", "", "no tags, <thin and é"]),
            ("<think>never closed </thi", ["never closed </thi", "", ""]),
            ("<answer>a</think>b</answer></answer>", ["", "a</think>b", "</answer>"]),
            ("<<think>x</think><think>y</think>", ["xy", "", "<"]),
        ] {
            for size in 1..=text.chars().count() {
                assert_eq!(sorted(text, size), want, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn text_without_a_possible_tag_is_not_held_back() {
        let mut parts = Parts::default();
        assert_eq!(parts.push("a < b"), [(Kind::Raw, "a < b".to_owned())]);
        assert_eq!(parts.push("<thi"), []);
        assert_eq!(parts.push("s"), [(Kind::Raw, "<this".to_owned())]);
    }
}
