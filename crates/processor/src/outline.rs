//! What a `tokenizer.json` must be before the library reads it: a byte-level BPE, its text cut by regular expressions.
//!
//! The library knows many more kinds of tokenizer, none of which Qwen2 uses, and its reading of some parts panics where
//! they are malformed. Here they are refused with line and column.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{Error, bad_file};

/// Judges the contents of `file`.
pub(crate) fn check(file: &str, bytes: &[u8]) -> Result<(), Error> {
    match serde_json::from_slice::<Outline>(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(bad_file(file, format!("not a byte-level BPE that can be read: {error}"))),
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only that the fields can be read matters")]
struct Outline {
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<PreTokenizer>,
    decoder: ByteLevel,
    model: Model,
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Normalizer {
    #[serde(rename = "NFC")]
    Nfc,
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
#[expect(dead_code, reason = "only that the fields can be read matters")]
enum PreTokenizer {
    Sequence { pretokenizers: Vec<PreTokenizer> },
    Split { pattern: IgnoredAny, behavior: IgnoredAny, invert: IgnoredAny },
    ByteLevel { add_prefix_space: Option<bool>, trim_offsets: Option<bool>, use_regex: Option<bool> },
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
#[expect(dead_code, reason = "only that the fields can be read matters")]
enum ByteLevel {
    ByteLevel { add_prefix_space: Option<bool>, trim_offsets: Option<bool>, use_regex: Option<bool> },
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only that the fields can be read matters")]
struct Model {
    r#type: Bpe,
}

#[derive(Deserialize)]
enum Bpe {
    #[serde(rename = "BPE")]
    Bpe,
}
