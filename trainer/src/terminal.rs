//! Thinking is dimmed as it streams.

use std::io::{IsTerminal, Result, Write};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Writes a stream of text and dims what stands between `<think>` and `</think>`, tags included.
///
/// The tags are ordinary text to the model and may come in pieces, so what could be the beginning of one waits for the
/// rest. Colours are left out where the output is no terminal, or `NO_COLOR` is set.
pub struct Dimmer<W: Write> {
    out: W,
    colour: bool,
    thinking: bool,
    held: String,
}

impl<W: Write + IsTerminal> Dimmer<W> {
    /// Dims if `out` is a terminal.
    pub fn new(out: W) -> Self {
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self::with_colour(out, colour)
    }
}

impl<W: Write> Dimmer<W> {
    fn with_colour(out: W, colour: bool) -> Self {
        Self { out, colour, thinking: false, held: String::new() }
    }

    /// Writes a piece and flushes it.
    pub fn write(&mut self, piece: &str) -> Result<()> {
        self.held.push_str(piece);
        let mut text = std::mem::take(&mut self.held);
        loop {
            let tag = if self.thinking { CLOSE } else { OPEN };
            let Some(at) = text.find(tag) else {
                let keep = partial(&text, tag);
                self.held = text.split_off(text.len() - keep);
                write!(self.out, "{text}")?;
                return self.out.flush();
            };
            let (before, after) = if self.thinking { (at + tag.len(), at + tag.len()) } else { (at, at) };
            write!(self.out, "{}", &text[..before])?;
            self.switch()?;
            text.drain(..after);
            if self.thinking {
                write!(self.out, "{OPEN}")?;
                text.drain(..OPEN.len());
            }
        }
    }

    fn switch(&mut self) -> Result<()> {
        self.thinking = !self.thinking;
        if self.colour {
            write!(self.out, "{}", if self.thinking { DIM } else { PLAIN })?;
        }
        Ok(())
    }

    /// Writes what was held back, ends the dimming, and gives the output back.
    pub fn finish(mut self) -> Result<W> {
        write!(self.out, "{}", self.held)?;
        if self.thinking {
            self.switch()?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Length of the longest end of `text` that begins `tag`.
fn partial(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|&n| text.ends_with(&tag[..n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[&str], colour: bool) -> String {
        let mut dimmer = Dimmer::with_colour(Vec::new(), colour);
        for piece in pieces {
            dimmer.write(piece).expect("memory takes everything");
        }
        String::from_utf8(dimmer.finish().expect("memory takes everything")).expect("pieces are text")
    }

    #[test]
    fn thinking_is_dim_and_the_answer_plain_however_the_text_is_cut() {
        let text = "<think>\na < b\n</think>\n<answer>4</answer>";
        let want = "\x1b[2m<think>\na < b\n</think>\x1b[0m\n<answer>4</answer>";
        for size in 1..text.len() {
            let pieces: Vec<&str> = text
                .as_bytes()
                .chunks(size)
                .map(|chunk| std::str::from_utf8(chunk).expect("ASCII"))
                .collect();
            assert_eq!(written(&pieces, true), want, "pieces of {size}");
            assert_eq!(written(&pieces, false), text, "pieces of {size}");
        }
    }

    #[test]
    fn unfinished_thinking_and_unfinished_tags_lose_nothing() {
        assert_eq!(written(&["<think>a</thi"], true), "\x1b[2m<think>a</thi\x1b[0m");
        assert_eq!(written(&["a <thin"], true), "a <thin");
        assert_eq!(written(&["é<", "<think>", "ü"], true), "é<\x1b[2m<think>ü\x1b[0m");
    }
}
