//! The name of a case by its content, the same natively and in WASM, so that a label finds its row in any file.
//!
//! FNV-1a in 128 bits (Fowler, Noll and Vo) over the fields in the order problem, truths, response, each
//! preceded by its length in bytes as 64 bits, little endian: moving text from one field to the next changes the key. It is no
//! cryptographic hash: whoever writes rows could make two collide, and would gain a label that is visibly elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// 128 bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(pub u128);

/// A text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key: 32 hexadecimal digits are")]
pub struct KeyError(String);

impl Key {
    /// The key of a case: the question, its truths (see [`crate::Record::golds`]), the whole response.
    pub fn of<S: AsRef<str>>(problem: &str, truths: &[S], response: &str) -> Self {
        let mut key = Self::EMPTY.with(problem);
        for truth in truths {
            key = key.with(truth.as_ref());
        }
        key.with(response)
    }

    pub(crate) const EMPTY: Self = Self(OFFSET);

    /// The key with one more field.
    pub(crate) fn with(self, field: &str) -> Self {
        let length = (field.len() as u64).to_le_bytes();
        let bytes = length.iter().chain(field.as_bytes());
        Self(bytes.fold(self.0, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME)))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = if digits { u128::from_str_radix(text, 16).ok() } else { None };
        value.map(Self).ok_or_else(|| KeyError(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // FNV-1a 128 of "" and "a", the authors' test vectors; no length goes before them here.
        let raw = |text: &str| text.bytes().fold(OFFSET, |h, b| (h ^ u128::from(b)).wrapping_mul(PRIME));
        assert_eq!(raw(""), 0x6c62272e07bb014262b821756295c58d);
        assert_eq!(raw("a"), 0xd228cb696f1a8caf78912b704e4a8964);
    }

    #[test]
    fn every_field_and_every_border_counts() {
        let key = |p: &str, t: &[&str], r: &str| Key::of(p, t, r).to_string();
        let keys = [
            key("a", &["b"], "c"),
            key("ab", &[""], "c"),
            key("a", &["bc"], ""),
            key("", &["a", "b"], "c"),
            key("a", &["b", ""], "c"),
            key("A", &["b"], "c"),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert_eq!((a.len(), a.parse::<Key>().unwrap().to_string()), (32, a.clone()));
            assert!(keys[..i].iter().all(|b| a != b), "{keys:?}");
        }
        // Written out, since files of labels outlive a build.
        assert_eq!(
            key("What is it?", &["a cat"], "<answer>cat</answer>"),
            "c2e0a9b674193bddb0b4cf20708321f1"
        );
        for wrong in ["", "12", "g".repeat(32).as_str(), &"0".repeat(33), "+0000000000000000000000000000000"]
        {
            assert!(wrong.parse::<Key>().is_err(), "{wrong}");
        }
    }
}
