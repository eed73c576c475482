//! Decoding one id at a time, for an answer that appears while it is sampled.
//!
//! A byte-level token may end in the middle of a character. Its bytes are held back until the character is whole or
//! cannot become one, so the pieces put together are the decoding of all ids at once.

use crate::tokenizer::Tokenizer;

/// Takes ids, gives text. Made by [`Tokenizer::stream`].
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    pending: Vec<u8>,
}

impl<'a> DecodeStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, skip_special_tokens: bool) -> DecodeStream<'a> {
        DecodeStream { tokenizer, skip_special_tokens, pending: Vec::new() }
    }

    /// The characters that are complete with this id; often none, sometimes several.
    pub fn push(&mut self, id: u32) -> String {
        if let Some(token) = self.tokenizer.token(id, self.skip_special_tokens) {
            append_bytes(&token, &mut self.pending);
        }
        self.take_complete()
    }

    /// What is left when no id follows: U+FFFD for a character cut short.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }

    fn take_complete(&mut self) -> String {
        let mut text = String::new();
        let mut held = 0;
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            // Only at the very end can invalid bytes still become a character.
            let last = chunks.peek().is_none();
            let undecided = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if last && undecided {
                held = invalid.len();
            } else {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..self.pending.len() - held);
        text
    }
}

/// The bytes that a token stands for. A token with any character outside the byte-level alphabet (an added token in
/// another script, say) stands for its own UTF-8.
fn append_bytes(token: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for c in token.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

/// The byte that a character of GPT-2's alphabet stands for: printable Latin-1 for itself, and the characters from
/// U+0100 on for the other bytes in their order (0x00–0x20, 0x7F–0xA0, 0xAD).
fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::processor;

    #[test]
    fn half_a_character_is_held_back() {
        let tokenizer = processor().tokenizer;
        let mut stream = tokenizer.stream(false);
        // The bytes of "é" and of "😀" are tokens of their own in the toy vocabulary.
        let bytes = |text: &str| -> Vec<u32> {
            text.bytes()
                .map(|byte| {
                    (0..256)
                        .find(|&id| {
                            let mut of_token = Vec::new();
                            append_bytes(&tokenizer.token(id, false).unwrap(), &mut of_token);
                            of_token == [byte]
                        })
                        .unwrap()
                })
                .collect()
        };
        let pieces: Vec<String> = bytes("aé😀").into_iter().map(|id| stream.push(id)).collect();
        assert_eq!(pieces, ["a", "", "é", "", "", "", "😀"]);
        // A character that cannot be completed any more is given up at once, one cut short at the end.
        let (broken, whole) = (bytes("é")[0], bytes("a")[0]);
        assert_eq!([stream.push(broken), stream.push(whole)], ["", "\u{FFFD}a"]);
        assert_eq!(stream.push(broken), "");
        assert_eq!(stream.finish(), "\u{FFFD}");
    }

    #[test]
    fn a_token_outside_the_alphabet_stands_for_itself() {
        let mut bytes = b"x".to_vec();
        append_bytes("a\u{65E5}", &mut bytes);
        assert_eq!(bytes, "xa\u{65E5}".as_bytes(), "not its first letter twice");
    }

    proptest! {
        #[test]
        fn the_pieces_are_the_whole(
            ids in prop::collection::vec(prop_oneof![4 => 0u32..275, 2 => 150u32..256, 1 => any::<u32>()], 0..60),
            skip: bool,
        ) {
            let tokenizer = processor().tokenizer;
            let mut stream = tokenizer.stream(skip);
            let mut pieces: String = ids.iter().map(|&id| stream.push(id)).collect();
            pieces += &stream.finish();
            prop_assert_eq!(pieces, tokenizer.decode(&ids, skip).unwrap());
        }
    }
}
