//! The released tokenizer and chat template against transformers: every text and chat of
//! `wethink-7b/tokenizer_known_answers.json`, through `tokenizer.json` and through `vocab.json` with `merges.txt`.

use std::path::PathBuf;

use serde_json::Value;
use wethink_processor::{Options, Processor, Tokenizer, messages_from_json};

use crate::fixtures;

fn dir() -> PathBuf {
    fixtures::dir().join("wethink-7b")
}

fn answers() -> Value {
    let path = dir().join("tokenizer_known_answers.json");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// The processor of the folder as if it lacked `absent`.
fn processor_without(absent: &[&str]) -> Processor {
    Processor::load(&mut |file| match std::fs::read(dir().join(file)) {
        Ok(bytes) if !absent.contains(&file) => Ok(Some(bytes)),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(None),
    })
    .unwrap()
}

/// The ways the released folder can hold its tokenizer.
fn processors() -> [Processor; 3] {
    // With `tokenizer_config.json` gone too, `added_tokens.json` must do: the ids, not what is special.
    [&[][..], &["tokenizer.json"], &["tokenizer.json", "tokenizer_config.json"]].map(processor_without)
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().expect("`ids` is a list");
    ids.iter().map(|id| id.as_u64().expect("an id is a count") as u32).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is a string"))
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special_tokens: bool) -> String {
    let mut stream = tokenizer.stream(skip_special_tokens);
    let pieces: String = ids.iter().map(|&id| stream.push(id)).collect();
    pieces + &stream.finish()
}

#[test]
#[ignore = "needs wethink-7b/ of the fixtures"]
fn released_texts_become_the_same_ids_and_back() {
    let answers = answers();
    let cases = answers["cases"].as_array().expect("`cases` is a list");
    assert!(!cases.is_empty(), "there is at least one text");
    for (way, processor) in processors().iter().enumerate() {
        let tokenizer = &processor.tokenizer;
        for case in cases {
            let wanted = ids(&case["ids"]);
            assert_eq!(tokenizer.encode(text(&case["text"])).unwrap(), wanted, "{way}: {case}");
            assert_eq!(tokenizer.decode(&wanted, false).unwrap(), text(&case["decoded"]), "{way}: {case}");
            assert_eq!(streamed(tokenizer, &wanted, false), text(&case["decoded"]), "{way}: {case}");
        }
    }
    for processor in &processors()[..2] {
        for case in cases {
            let (wanted, tokenizer) = (ids(&case["ids"]), &processor.tokenizer);
            let skipped = text(&case["decoded_skip_special"]);
            assert_eq!(tokenizer.decode(&wanted, true).unwrap(), skipped, "{case}");
            assert_eq!(streamed(tokenizer, &wanted, true), skipped, "{case}");
        }
    }
}

#[test]
#[ignore = "needs wethink-7b/ of the fixtures"]
fn released_chats_become_the_same_prompts_and_ids() {
    let answers = answers();
    let chats = answers["chats"].as_array().expect("`chats` is a list");
    assert!(!chats.is_empty(), "there is at least one chat");
    for processor in processors() {
        for chat in chats {
            let messages = messages_from_json("chats", chat["messages"].to_string().as_bytes()).unwrap();
            let flag = |key: &str| chat[key].as_bool().expect("a flag");
            let options = Options {
                add_generation_prompt: flag("add_generation_prompt"),
                add_vision_id: flag("add_vision_id"),
                ..Options::default()
            };
            let prompt = processor.render(&messages, &options).unwrap();
            assert_eq!(prompt, text(&chat["text"]));
            assert_eq!(processor.tokenizer.encode(&prompt).unwrap(), ids(&chat["ids"]), "{prompt}");
        }
    }
}

/// The vocabulary of the weights is padded beyond the tokenizer; a padded row can be sampled.
#[test]
#[ignore = "needs wethink-7b/ of the fixtures"]
fn released_padded_ids_decode_to_nothing() {
    let config = std::fs::read(dir().join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let padded = config["vocab_size"].as_u64().expect("`vocab_size` is a count") as u32;
    for processor in processors() {
        let size = processor.tokenizer.size() as u32;
        assert!(size < padded, "{size} tokens in {padded} rows");
        let beyond: Vec<u32> = (size..padded).collect();
        assert_eq!(processor.tokenizer.decode(&beyond, false).unwrap(), "");
        assert_eq!(streamed(&processor.tokenizer, &beyond, false), "");
    }
}
