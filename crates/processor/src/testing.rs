//! A toy checkpoint for the unit tests: every byte a token, a few merges, Qwen2's special tokens and its template.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{Error, Processor};

/// Files of a checkpoint by name.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

/// A template with all the branches of Qwen2.5-VL's.
pub(crate) const TEMPLATE: &str = "\
{% for message in messages %}
  {% if loop.first and message['role'] != 'system' %}
<|im_start|>system\nBe brief.<|im_end|>
  {% endif %}
<|im_start|>{{ message['role'] }}\n\
  {% if message['content'] is string %}{{ message['content'] }}{% else %}\
  {% for part in message['content'] %}\
  {% if part['type'] == 'image' or 'image' in part %}<|vision_start|><|image_pad|><|vision_end|>\
  {% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>\
  {% elif 'text' in part %}{{ part['text'] }}{% endif %}\
  {% endfor %}{% endif %}<|im_end|>\n\
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

const SPECIAL: [&str; 8] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

const MERGES: [&str; 6] = ["t h", "th e", "Ġ the", "Ġ a", "i n", "Ã ©"];

/// GPT-2's character for a byte: the printable ones of Latin-1 stand for themselves.
fn character(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    match printable(byte) {
        true => char::from(byte),
        false => {
            let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
            char::from_u32(0x100 + rank).expect("a character")
        }
    }
}

/// The toy checkpoint, with `vocab.json` and `merges.txt` in place of a `tokenizer.json`.
pub(crate) fn files() -> Files {
    let mut vocab: Vec<String> = (0..=255).map(|byte| character(byte).to_string()).collect();
    vocab.extend(MERGES.iter().map(|merge| merge.replace(' ', "")));
    let base = vocab.len();
    let vocab: serde_json::Map<_, _> =
        vocab.into_iter().zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let mut added = serde_json::Map::new();
    for (i, content) in SPECIAL.iter().chain(&["<tool_call>"]).enumerate() {
        let special = i < SPECIAL.len();
        added.insert((base + i).to_string(), json!({"content": content, "special": special}));
    }
    let config = json!({ "added_tokens_decoder": added, "chat_template": TEMPLATE });
    let merges = format!("#version: 0.2\n{}\n", MERGES.join("\n"));
    Files::from([
        ("vocab.json", json!(vocab).to_string().into_bytes()),
        ("merges.txt", merges.into_bytes()),
        ("tokenizer_config.json", config.to_string().into_bytes()),
        ("preprocessor_config.json", b"{\"min_pixels\": 3136, \"max_pixels\": 12845056}".to_vec()),
        ("config.json", format!("{{\"image_token_id\": {}}}", base + 6).into_bytes()),
    ])
}

/// Loads a checkpoint from memory.
pub(crate) fn load(files: &Files) -> Result<Processor, Error> {
    Processor::load(&mut |name| Ok(files.get(name).cloned()))
}

/// The processor of the toy checkpoint.
pub(crate) fn processor() -> Processor {
    load(&files()).expect("the toy checkpoint is sound")
}
