//! A checkpoint's files by name, and those that stand in for a `tokenizer.json`: `merges.txt`, and the added tokens in
//! `tokenizer_config.json` or `added_tokens.json`.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;
use tokenizers::AddedToken;

use crate::error::{Error, bad_file};

pub(crate) const CONFIG_FILE: &str = "tokenizer_config.json";
pub(crate) const VOCAB_FILE: &str = "vocab.json";
pub(crate) const MERGES_FILE: &str = "merges.txt";
pub(crate) const ADDED_FILE: &str = "added_tokens.json";

/// Gives a file's contents by its name, or nothing when it is absent.
pub(crate) type Read<'a> = &'a mut dyn FnMut(&str) -> io::Result<Option<Vec<u8>>>;

/// A file's contents, with its name on the error.
pub(crate) fn get(read: Read, file: &str) -> Result<Option<Vec<u8>>, Error> {
    read(file).map_err(|source| Error::Read { file: file.to_owned(), source })
}

/// `merges.txt`: a pair of tokens a line, in the order of their rank, after an optional version line.
pub(crate) fn parse_merges(bytes: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| bad_file(MERGES_FILE, error))?;
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    lines
        .map(|(number, line)| match line.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
                Ok((left.to_owned(), right.to_owned()))
            }
            _ => {
                Err(bad_file(MERGES_FILE, format!("line {}: not two tokens and a space between", number + 1)))
            }
        })
        .collect()
}

#[derive(Deserialize, Default)]
struct TokenizerConfig {
    #[serde(default)]
    added_tokens_decoder: BTreeMap<u32, AddedEntry>,
    additional_special_tokens: Option<Vec<TokenName>>,
    bos_token: Option<TokenName>,
    eos_token: Option<TokenName>,
    pad_token: Option<TokenName>,
    unk_token: Option<TokenName>,
}

#[derive(Deserialize)]
struct AddedEntry {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

/// A token by its content, alone or in an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenName {
    Plain(String),
    Object { content: String },
}

impl TokenName {
    fn content(&self) -> &str {
        let (TokenName::Plain(content) | TokenName::Object { content }) = self;
        content
    }
}

/// Added tokens in the order of their ids, and the file that says so.
pub(crate) struct AddedTokens {
    pub file: &'static str,
    pub tokens: Vec<(u32, AddedToken)>,
}

/// The added tokens: from `tokenizer_config.json`, or from `added_tokens.json`, whose tokens are special when the
/// configuration names them in a role.
pub(crate) fn added_tokens(config: Option<&[u8]>, added: Option<&[u8]>) -> Result<AddedTokens, Error> {
    let config: TokenizerConfig = match config {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|error| bad_file(CONFIG_FILE, error))?,
        None => TokenizerConfig::default(),
    };
    if !config.added_tokens_decoder.is_empty() {
        let token = |entry: AddedEntry| {
            AddedToken::from(entry.content, entry.special)
                .single_word(entry.single_word)
                .lstrip(entry.lstrip)
                .rstrip(entry.rstrip)
                .normalized(entry.normalized)
        };
        let entries = config.added_tokens_decoder.into_iter();
        let tokens = entries.map(|(id, entry)| (id, token(entry))).collect();
        return Ok(AddedTokens { file: CONFIG_FILE, tokens });
    }
    let Some(added) = added else {
        return Err(Error::MissingFile {
            file: format!("{ADDED_FILE} (or `added_tokens_decoder` in {CONFIG_FILE})"),
            fix: "without it the tokenizer has no special tokens; copy it from the released repository",
        });
    };
    let added: BTreeMap<String, u32> =
        serde_json::from_slice(added).map_err(|error| bad_file(ADDED_FILE, error))?;
    let roles = [&config.bos_token, &config.eos_token, &config.pad_token, &config.unk_token];
    let named = config.additional_special_tokens.iter().flatten().chain(roles.into_iter().flatten());
    let special: Vec<&str> = named.map(TokenName::content).collect();
    let token = |content: String| {
        let special = special.contains(&content.as_str());
        AddedToken::from(content, special).normalized(false)
    };
    let mut tokens: Vec<_> = added.into_iter().map(|(content, id)| (id, token(content))).collect();
    tokens.sort_by_key(|(id, _)| *id);
    Ok(AddedTokens { file: ADDED_FILE, tokens })
}
