//! Text to ids and back: the checkpoint's byte-level BPE, run by Hugging Face `tokenizers`.
//!
//! `tokenizer.json` holds all of it. Released Qwen2.5-VL checkpoints also come as `vocab.json` and `merges.txt` with
//! their added tokens elsewhere; then the pipeline around them (NFC, Qwen2's split, byte level) is known and built
//! here, with the same ids.

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PostProcessorWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::error::{Error, bad_file};
use crate::outline;
use crate::released_files::{
    ADDED_FILE, AddedTokens, MERGES_FILE, Read, VOCAB_FILE, added_tokens, get, parse_merges,
};
use crate::stream::DecodeStream;

const TOKENIZER_FILE: &str = "tokenizer.json";

/// How Qwen2 cuts text into words before byte-pair merging. Source: transformers, `tokenization_qwen2.py`.
const QWEN2_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The longest run of whitespace that [`Tokenizer::encode`] takes, in bytes. Near a million characters the library's regex
/// gives up on `\s+(?!\S)` and leaves the rest of the text unsplit without a word, which changes its ids.
const MAX_WHITESPACE_RUN: usize = 400_000;

/// A checkpoint's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    size: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, or when it is missing `vocab.json`, `merges.txt` and the added tokens of
    /// `tokenizer_config.json` or else `added_tokens.json`. `config` is what `tokenizer_config.json` holds.
    pub(crate) fn load(read: Read, config: Option<&[u8]>) -> Result<Tokenizer, Error> {
        if let Some(bytes) = get(read, TOKENIZER_FILE)? {
            return Tokenizer::from_json(&bytes);
        }
        let (Some(vocab), Some(merges)) = (get(read, VOCAB_FILE)?, get(read, MERGES_FILE)?) else {
            return Err(Error::MissingFile {
                file: format!("{TOKENIZER_FILE} (or {VOCAB_FILE} and {MERGES_FILE})"),
                fix: "copy it from the released repository",
            });
        };
        let added = get(read, ADDED_FILE)?;
        Tokenizer::from_vocab(&vocab, &merges, &added_tokens(config, added.as_deref())?)
    }

    /// Reads the contents of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::BadFile`] when it is malformed, or no byte-level BPE.
    pub fn from_json(bytes: &[u8]) -> Result<Tokenizer, Error> {
        outline::check(TOKENIZER_FILE, bytes)?;
        let inner =
            tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| bad_file(TOKENIZER_FILE, error))?;
        Tokenizer::of(inner)
    }

    /// Switches off what the file may ask for besides ids: a prompt is neither cut nor padded, and gets no tokens.
    fn of(mut inner: tokenizers::Tokenizer) -> Result<Tokenizer, Error> {
        inner.with_post_processor(None::<PostProcessorWrapper>);
        inner
            .with_padding(None)
            .with_truncation(None)
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        let size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        Ok(Tokenizer { inner, size })
    }

    /// Builds Qwen2's tokenizer.
    fn from_vocab(vocab: &[u8], merges: &[u8], added: &AddedTokens) -> Result<Tokenizer, Error> {
        let vocab: std::collections::HashMap<String, u32> =
            serde_json::from_slice(vocab).map_err(|error| bad_file(VOCAB_FILE, error))?;
        let vocab: Vocab = vocab.into_iter().collect();
        let model = BPE::builder()
            .vocab_and_merges(vocab, parse_merges(merges)?)
            .build()
            .map_err(|error| bad_file(MERGES_FILE, error))?;
        let split =
            Split::new(SplitPattern::Regex(QWEN2_SPLIT.into()), SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| Error::Tokenizer(error.to_string()))?;
        let bytes = ByteLevel::new(false, true, false);
        let steps = vec![PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(bytes)];
        let mut inner = tokenizers::Tokenizer::new(model);
        inner
            .with_normalizer(Some(NFC))
            .with_pre_tokenizer(Some(Sequence::new(steps)))
            .with_decoder(Some(bytes));
        // Ids are given out in turn, so a gap in the added ones shows here.
        inner.add_tokens(&added.tokens.iter().map(|(_, token)| token.clone()).collect::<Vec<_>>());
        for (id, AddedToken { content, .. }) in &added.tokens {
            let given = inner.token_to_id(content);
            if given != Some(*id) {
                let reason =
                    format!("added token `{content}` has id {id}, but {given:?} follows from {VOCAB_FILE}");
                return Err(bad_file(added.file, reason));
            }
        }
        Tokenizer::of(inner)
    }

    /// The ids of `text`. Special tokens in it become their ids, as in transformers; nothing is added or cut.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the library fails, or the text has some hundred thousand whitespace characters in a row.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let run = text.split(|c: char| !c.is_whitespace()).map(str::len).max().unwrap_or(0);
        if run > MAX_WHITESPACE_RUN {
            return Err(Error::Tokenizer(format!(
                "{run} bytes of whitespace in a row, more than {MAX_WHITESPACE_RUN}"
            )));
        }
        let encoding =
            self.inner.encode_fast(text, false).map_err(|error| Error::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`. Bytes that are no UTF-8 become U+FFFD; ids that stand for no token, as those above the
    /// tokenizer's size in a padded vocabulary, decode to nothing.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the library fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, Error> {
        self.inner.decode(ids, skip_special_tokens).map_err(|error| Error::Tokenizer(error.to_string()))
    }

    /// A decoder that takes ids one at a time.
    pub fn stream(&self, skip_special_tokens: bool) -> DecodeStream<'_> {
        DecodeStream::new(self, skip_special_tokens)
    }

    /// The id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the highest id that stands for a token.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The token as the byte-level alphabet writes it, or nothing for an unknown id or a special token to skip.
    pub(crate) fn token(&self, id: u32, skip_special_tokens: bool) -> Option<String> {
        let special = |token: &String| self.inner.get_added_vocabulary().is_special_token(token);
        self.inner.id_to_token(id).filter(|token| !(skip_special_tokens && special(token)))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.size())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::released_files::CONFIG_FILE;
    use crate::testing::{self, Files};

    fn load(files: &Files) -> Result<Tokenizer, Error> {
        let config = files.get(CONFIG_FILE).cloned();
        Tokenizer::load(&mut |name| Ok(files.get(name).cloned()), config.as_deref())
    }

    fn toy() -> Tokenizer {
        load(&testing::files()).unwrap()
    }

    /// The toy tokenizer as one file.
    fn json() -> serde_json::Value {
        serde_json::from_str(&toy().inner.to_string(false).unwrap()).unwrap()
    }

    fn refused(change: impl FnOnce(&mut Files)) -> String {
        let mut files = testing::files();
        change(&mut files);
        load(&files).unwrap_err().to_string()
    }

    #[test]
    fn merges_and_special_tokens_apply() {
        let toy = toy();
        let token = |token: &str| toy.token_to_id(token).unwrap();
        let ids = toy.encode("in the<|im_end|>e\u{301}").unwrap();
        assert_eq!(ids, [token("in"), token("Ġthe"), token("<|im_end|>"), token("Ã©")], "and NFC composes");
        assert_eq!(toy.decode(&ids, true).unwrap(), "in theé");
        assert_eq!(
            toy.decode(&[token("<tool_call>")], true).unwrap(),
            "<tool_call>",
            "added, but not special"
        );
        assert_eq!(toy.size(), token("<tool_call>") as usize + 1);
        assert_eq!(toy.decode(&[toy.size() as u32, u32::MAX], false).unwrap(), "");
    }

    #[test]
    fn added_tokens_json_will_do() {
        let mut files = testing::files();
        let added: serde_json::Map<_, _> = ["<|image_pad|>", "<tool_call>"]
            .into_iter()
            .map(|token| (token.to_owned(), toy().token_to_id(token).unwrap().into()))
            .collect();
        let error = refused(|files| drop(files.remove(CONFIG_FILE)));
        assert!(error.contains(ADDED_FILE), "{error}");
        files.insert(CONFIG_FILE, br#"{"additional_special_tokens": ["<|image_pad|>"]}"#.to_vec());
        files.insert(ADDED_FILE, serde_json::to_vec(&added).unwrap());
        let error = load(&files).unwrap_err().to_string();
        assert!(error.contains("<|image_pad|>"), "the ids before it are missing: {error}");
        let base = toy().token_to_id("<|endoftext|>").unwrap();
        let added = format!(r#"{{"<tool_call>": {}, "<|image_pad|>": {base}}}"#, base + 1);
        files.insert(ADDED_FILE, added.into_bytes());
        let toy = load(&files).unwrap();
        assert_eq!(toy.encode("<|image_pad|><tool_call>").unwrap(), [base, base + 1]);
        assert_eq!(toy.decode(&[base, base + 1], true).unwrap(), "<tool_call>");
    }

    #[test]
    fn a_prompt_is_neither_cut_nor_padded() {
        let mut json = json();
        json["truncation"] = serde_json::json!(
            {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
        json["padding"] = serde_json::json!({"strategy": {"Fixed": 9}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"});
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(tokenizer.encode("abcde").unwrap().len(), 5);
    }

    #[test]
    fn faults_name_the_file() {
        assert!(
            refused(|files| drop(files.remove(VOCAB_FILE))).contains("the checkpoint has no tokenizer.json")
        );
        assert!(refused(|files| drop(files.insert(VOCAB_FILE, b"[".to_vec()))).contains(VOCAB_FILE));
        let line = refused(|files| drop(files.insert(MERGES_FILE, b"#version: 0.2\na b c".to_vec())));
        assert!(line.contains(MERGES_FILE) && line.contains("line 2"), "{line}");
        let unknown = refused(|files| drop(files.insert(MERGES_FILE, b"zz yy".to_vec())));
        assert!(unknown.contains(MERGES_FILE) && unknown.contains("zz"), "{unknown}");
        assert!(refused(|files| drop(files.insert(CONFIG_FILE, b"{".to_vec()))).contains(CONFIG_FILE));
        assert!(refused(|files| drop(files.insert(TOKENIZER_FILE, b"{}".to_vec()))).contains(TOKENIZER_FILE));
        for (field, value) in [
            ("decoder", serde_json::Value::Null),
            ("decoder", serde_json::json!({"type": "Fuse"})),
            ("normalizer", serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"})),
            ("pre_tokenizer", serde_json::json!({"type": "FixedLength", "length": 0})),
            ("model", serde_json::json!({"type": "WordLevel", "vocab": {}, "unk_token": "x"})),
        ] {
            let mut json = json();
            json[field] = value;
            let error = Tokenizer::from_json(json.to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.contains("not a byte-level BPE") && error.contains("line 1"), "{field}: {error}");
        }
        // The library panics on this one.
        let whole = json().to_string();
        let cut = whole.find("\"decoder\":{").expect("a decoder") + 12;
        let error = Tokenizer::from_json(&whole.as_bytes()[..cut]).unwrap_err().to_string();
        assert!(error.contains(TOKENIZER_FILE), "{error}");
    }

    #[test]
    fn whitespace_that_the_splitter_cannot_take_is_refused() {
        let toy = toy();
        let error = toy.encode(&" ".repeat(MAX_WHITESPACE_RUN + 1)).unwrap_err().to_string();
        assert!(error.contains("whitespace"), "{error}");
        let ids = toy.encode(&(" ".repeat(MAX_WHITESPACE_RUN) + "a")).unwrap();
        assert_eq!(
            ids.last(),
            toy.token_to_id("Ġa").as_ref(),
            "the text behind the longest run is still split"
        );
    }

    proptest! {
        #[test]
        fn one_file_and_two_files_give_the_same_ids(text: String, special in prop::sample::select(vec!["", "<|im_end|>"])) {
            let (two, one) = (toy(), Tokenizer::from_json(json().to_string().as_bytes()).unwrap());
            let text = format!("{text}{special} the {text}");
            let ids = two.encode(&text).unwrap();
            prop_assert_eq!(&one.encode(&text).unwrap(), &ids);
            prop_assert_eq!(one.decode(&ids, true).unwrap(), two.decode(&ids, true).unwrap());
        }

        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>, which in 0usize..4) {
            let file = [TOKENIZER_FILE, VOCAB_FILE, MERGES_FILE, CONFIG_FILE][which];
            let mut files = testing::files();
            files.insert(file, bytes);
            let _ = load(&files);
        }
    }
}
