//! The tokenizer of a new checkpoint: a byte-level BPE of its own, or another checkpoint's.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, TokenizerImpl};
use wethink_processor::WETHINK_SYSTEM_PROMPT;

pub(super) const IM_END: &str = "<|im_end|>";
pub(super) const END_OF_TEXT: &str = "<|endoftext|>";

/// Qwen2's way of cutting text before the merges: digits one by one, a blank with the word behind it.
const PIECES: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The released added tokens in the order of their ids, and whether they are special.
const ADDED: [(&str, bool); 22] = [
    (END_OF_TEXT, true),
    ("<|im_start|>", true),
    (IM_END, true),
    ("<|object_ref_start|>", true),
    ("<|object_ref_end|>", true),
    ("<|box_start|>", true),
    ("<|box_end|>", true),
    ("<|quad_start|>", true),
    ("<|quad_end|>", true),
    ("<|vision_start|>", true),
    ("<|vision_end|>", true),
    ("<|vision_pad|>", true),
    ("<|image_pad|>", true),
    ("<|video_pad|>", true),
    ("<tool_call>", false),
    ("</tool_call>", false),
    ("<|fim_prefix|>", false),
    ("<|fim_middle|>", false),
    ("<|fim_suffix|>", false),
    ("<|fim_pad|>", false),
    ("<|repo_name|>", false),
    ("<|file_sep|>", false),
];

/// Files of a tokenizer, and what the model's configuration needs to know of it.
pub(super) struct Files {
    /// Names and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// Tokens, the added ones included: ids are below it.
    pub size: usize,
    ids: BTreeMap<String, u32>,
}

impl Files {
    /// The id of an added token.
    pub fn id(&self, token: &str) -> Result<u32> {
        self.ids.get(token).copied().with_context(|| format!("the tokenizer has no {token}"))
    }
}

type Bpe = TokenizerImpl<BPE, NFC, Sequence, PostProcessorWrapper, ByteLevel>;

/// Trains a BPE on the texts of rows, with at most `vocabulary` tokens in all. Fewer come out where the texts are poor.
pub(super) fn train(rows: &Path, vocabulary: usize) -> Result<Files> {
    let texts = texts(rows)?;
    let alphabet = ByteLevel::alphabet();
    let room = vocabulary.saturating_sub(ADDED.len());
    if room < alphabet.len() {
        bail!(
            "a vocabulary of {vocabulary} has no room for {} bytes and {} added tokens",
            alphabet.len(),
            ADDED.len()
        );
    }
    let split = Split::new(SplitPattern::Regex(PIECES.into()), SplitDelimiterBehavior::Isolated, false)
        .map_err(|e| anyhow!("the pre-tokenizer: {e}"))?;
    let bytes = ByteLevel::new(false, true, false);
    let mut tokenizer: Bpe = TokenizerImpl::new(BPE::default());
    tokenizer
        .with_normalizer(Some(NFC))
        .with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])))
        .with_decoder(Some(ByteLevel::new(true, true, true)));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(room)
        .min_frequency(2)
        .initial_alphabet(alphabet.into_iter().collect())
        .show_progress(false)
        .build();
    tokenizer.train(&mut trainer, texts.iter()).map_err(|e| anyhow!("{}: {e}", rows.display()))?;
    for (content, special) in ADDED {
        tokenizer.add_tokens(&[AddedToken::from(content, special).normalized(false)]);
    }
    let ids = ADDED.iter().filter_map(|&(token, _)| Some((token.to_owned(), tokenizer.token_to_id(token)?)));
    let json = tokenizer.to_string(true).map_err(|e| anyhow!("the tokenizer: {e}"))?;
    let settings = json!({
        "add_bos_token": false,
        "add_prefix_space": false,
        "bos_token": null,
        "clean_up_tokenization_spaces": false,
        "eos_token": IM_END,
        "errors": "replace",
        "model_max_length": 131_072,
        "pad_token": END_OF_TEXT,
        "split_special_tokens": false,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": null
    });
    let files = vec![
        ("tokenizer.json".into(), json.into_bytes()),
        ("tokenizer_config.json".into(), (serde_json::to_string_pretty(&settings)? + "\n").into_bytes()),
        ("chat_template.json".into(), include_bytes!("released/chat_template.json").to_vec()),
    ];
    Ok(Files { files, size: tokenizer.get_vocab_size(true), ids: ids.collect() })
}

/// What the model will read and write, as often as it will: system prompt, question, thought and answer of each row, with their
/// tags. Words of the system prompt earn their merges, since every prompt pays for them.
fn texts(rows: &Path) -> Result<Vec<String>> {
    let file = fs::File::open(rows).with_context(|| rows.display().to_string())?;
    let mut texts = Vec::new();
    for (i, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}: line {}", rows.display(), i + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let row: Value = serde_json::from_str(&line).with_context(place)?;
        let field = |name: &str| row.get(name).and_then(Value::as_str);
        let problem = field("problem").with_context(place).context("field `problem`: not a text")?;
        let (cot, answer) = (field("refined_cot").unwrap_or_default(), field("answer").unwrap_or_default());
        texts.push(format!(
            "system\n{WETHINK_SYSTEM_PROMPT}\nuser\n{problem}\nassistant\n<think>\n{cot}\n</think>\n<answer>\n{answer}\n</answer>"
        ));
    }
    if texts.is_empty() {
        bail!("{}: no rows", rows.display());
    }
    Ok(texts)
}

/// Another checkpoint's tokenizer and template.
pub(super) fn copy(folder: &Path) -> Result<Files> {
    let names = ["tokenizer.json", "tokenizer_config.json", "chat_template.json"];
    let read = |name: &str| {
        let path = folder.join(name);
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok((name.to_owned(), bytes))
    };
    let files = names.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    let tokenizer = tokenizers::Tokenizer::from_bytes(&files[0].1)
        .map_err(|e| anyhow!("{}: {e}", folder.join("tokenizer.json").display()))?;
    let ids = tokenizer.get_vocab(true);
    let size = ids.values().max().map_or(0, |&last| last as usize + 1);
    Ok(Files { files, size, ids: ids.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let line = |i: usize| {
            json!({"problem": format!("How many red circles are there? {i}"), "answer": "3",
                "refined_cot": "(1,2) red circle ✓\n(3,4) blue square ✗\ncount 1"})
            .to_string()
        };
        let text: Vec<String> = (0..n).map(line).collect();
        fs::write(file.path(), text.join("\n")).expect("written");
        file
    }

    #[test]
    fn a_trained_tokenizer_keeps_every_text_and_its_added_tokens_come_last() {
        let rows = rows(50);
        let files = train(rows.path(), 512).expect("trained");
        assert!(files.size <= 512 && files.size > 256 + ADDED.len() + 50, "{} tokens", files.size);
        let tokenizer = tokenizers::Tokenizer::from_bytes(&files.files[0].1).expect("a tokenizer");
        let text = "<|im_start|>user\nWie viele Kreise? 🟥 12 (3,4) red circle ✓<|im_end|>\n";
        let ids = tokenizer.encode(text, false).expect("encoded");
        assert_eq!(tokenizer.decode(ids.get_ids(), false).expect("decoded"), text);
        assert_eq!(files.id("<|file_sep|>").expect("there") as usize, files.size - 1);
        let line = tokenizer.encode("(1,2) red circle ✓\n", false).expect("encoded");
        assert_eq!(line.get_ids().len(), 8, "{:?}", line.get_tokens());
        assert_eq!(files.files, train(rows.path(), 512).expect("trained again").files);
    }

    #[test]
    fn rows_without_a_question_and_vocabularies_without_room_are_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), "{\"problem\": \"a\"}\n{\"answer\": \"b\"}\n").expect("written");
        let error = format!("{:#}", train(file.path(), 512).err().expect("refused"));
        assert!(error.contains("line 2") && error.contains("problem"), "{error}");
        let error = format!("{:#}", train(rows(2).path(), 200).err().expect("refused"));
        assert!(error.contains("no room"), "{error}");
    }
}
