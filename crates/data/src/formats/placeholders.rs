//! `<image>` in a text, where LLaMA-Factory and EasyR1 expect a picture.
//!
//! Both count the placeholders and refuse a row with another number of pictures. Questions about HTML hold `<image>` as a
//! word; it is written as `&lt;image&gt;` there, and so are `<video>` and `<audio>`, which LLaMA-Factory counts too.

use crate::{Fault, Part, Row};

const IMAGE: &str = "<image>";
const ESCAPES: [(&str, &str); 3] =
    [(IMAGE, "&lt;image&gt;"), ("<video>", "&lt;video&gt;"), ("<audio>", "&lt;audio&gt;")];

/// A text with placeholders to the question and the places of its pictures, as [`Row::image_at`] has them. A text without
/// any has its pictures first.
pub(super) fn split(text: &str, pictures: usize) -> Result<(String, Vec<usize>), Fault> {
    let found = text.matches(IMAGE).count();
    if found != pictures && found != 0 {
        let problem = format!("{pictures} picture(s) for {found} `<image>` in the text");
        return Err(Fault::field("images", problem, "write one `<image>` a picture, or none at all"));
    }
    let mut rest = text;
    while let Some(after) = rest.strip_prefix(IMAGE) {
        rest = after.strip_prefix('\n').unwrap_or(after);
    }
    if !rest.contains(IMAGE) {
        return Ok((unescape(rest), Vec::new()));
    }
    let (mut problem, mut at) = (String::new(), Vec::new());
    for (i, piece) in text.split(IMAGE).enumerate() {
        if i > 0 {
            at.push(problem.len());
        }
        problem.push_str(&unescape(piece));
    }
    Ok((problem, at))
}

/// The question with placeholders: each on a line of its own where the pictures come first.
pub(super) fn join(row: &Row) -> String {
    if row.image_at.iter().all(|&at| at == 0) {
        return format!("{IMAGE}\n").repeat(row.images().len()) + &escape(&row.problem);
    }
    let piece = |part| match part {
        Part::Image(_) => IMAGE.to_owned(),
        Part::Text(text) => escape(text),
    };
    row.parts().into_iter().map(piece).collect()
}

pub(super) fn escape(text: &str) -> String {
    ESCAPES.iter().fold(text.to_owned(), |text, (word, escaped)| text.replace(word, escaped))
}

pub(super) fn unescape(text: &str) -> String {
    ESCAPES.iter().fold(text.to_owned(), |text, (word, escaped)| text.replace(escaped, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_placeholder_is_escaped_and_comes_back() {
        let mut row = Row::new("What does <image> mean in HTML, and <video>?", "a picture");
        row.image_path = Some("a.png".into());
        let text = join(&row);
        assert_eq!(text, "<image>\nWhat does &lt;image&gt; mean in HTML, and &lt;video&gt;?");
        assert_eq!(split(&text, 1).unwrap(), (row.problem, vec![]));
    }
}
