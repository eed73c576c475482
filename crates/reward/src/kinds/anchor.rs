//! Where a sentence announces its answer: "the answer is", "Answer:", and the same in other languages.

use crate::response::Piece;

/// Words that announce an answer, lower case. Languages of the multilingual choice sets.
const ANCHORS: [&str; 17] = [
    "answer",
    "option",
    "choice",
    "réponse",
    "reponse",
    "antwort",
    "respuesta",
    "resposta",
    "risposta",
    "ответ",
    "答案",
    "答え",
    "정답",
    "উত্তর",
    "उत्तर",
    "الإجابة",
    "الجواب",
];

/// What follows the last announcement in `piece`, to the end of its line, without the joining words and marks.
///
/// A plain "answer" without "is" or a mark after it announces nothing. One pass from the end.
pub(crate) fn payload(piece: Piece<'_>) -> Option<Piece<'_>> {
    // ASCII folding keeps byte offsets; other scripts have no case that matters here.
    let lower = piece.text.to_ascii_lowercase();
    let bytes = lower.as_bytes();
    let start = (0..bytes.len()).rev().find_map(|at| {
        // First letters of the anchors, or the first byte of a character beyond ASCII.
        if !matches!(bytes[at], b'a' | b'o' | b'c' | b'r' | 0xc3..) {
            return None;
        }
        let rest = lower.get(at..)?;
        let anchor = ANCHORS.iter().find(|a| rest.starts_with(**a))?;
        joined(&lower, at + anchor.len())
    })?;
    let rest = &piece.text[start..];
    let blank = rest.len() - rest.trim_start().len();
    let line = rest[blank..].find('\n').map_or(rest.len(), |n| blank + n);
    let found = piece.slice(start, start + line);
    (!found.text.is_empty()).then_some(found)
}

/// The byte after "is", ":", "=" and their dress, if they follow at `at`.
fn joined(lower: &str, at: usize) -> Option<usize> {
    let mut i = at;
    let mut joined = false;
    loop {
        let rest = &lower[i..];
        let step = [" is", " are", " be", " was", ":", "：", "=", "是", "为", "はい"].iter().find(|s| {
            rest.starts_with(**s)
                && !(s.starts_with(' ') && rest[s.len()..].starts_with(char::is_alphanumeric))
        });
        if let Some(step) = step {
            joined = true;
            i += step.len();
            continue;
        }
        let filler = [
            " ",
            "*",
            "_",
            "\n",
            "\t",
            " therefore",
            " clearly",
            " option",
            " choice",
            " letter",
            " to the question",
        ]
        .iter()
        .rev()
        .find(|s| rest.starts_with(**s));
        match filler {
            Some(s) => i += s.len(),
            None => break,
        }
    }
    joined.then_some(i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_announcement_counts() {
        let table: &[(&str, Option<&str>)] = &[
            ("The answer is B. And C is not.", Some("B. And C is not.")),
            ("Answer: A\nso the final answer is: **C**", Some("C**")),
            ("**Answer**: (B)", Some("(B)")),
            ("Answer:\nB", Some("B")),
            ("答案是B", Some("B")),
            ("The answer island is B", None),
            ("I answered the question", None),
            ("The correct option is C", Some("C")),
            ("no words at all", None),
        ];
        for (text, want) in table {
            assert_eq!(payload(Piece { text, at: 0 }).map(|p| p.text), *want, "{text}");
        }
    }
}
