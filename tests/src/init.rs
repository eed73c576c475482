//! `trainer init`: from scenes to a checkpoint that answers here, and in transformers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::commands::{run, trainer};

fn scenes(folder: &Path) -> PathBuf {
    let out = folder.join("scenes");
    let made = run(trainer().args(["scenes", "make", "--n", "40", "--out"]).arg(&out));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    out
}

fn init(folder: &Path, name: &str, more: &[&str]) -> (PathBuf, Output) {
    let out = folder.join(name);
    let output = run(trainer().args(["init", "--out"]).arg(&out).args(more));
    (out, output)
}

fn made((out, output): (PathBuf, Output)) -> PathBuf {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

fn ask(checkpoint: &Path, image: &Path) -> Value {
    let mut command = trainer();
    command.arg("ask").arg("--checkpoint").arg(checkpoint).arg("--image").arg(image);
    command.args(["--device", "cpu", "--question", "How many red circles are there?", "--json"]);
    let output = run(command.args(["--max-new-tokens", "8", "--min-new-tokens", "8"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one object")
}

#[test]
fn a_checkpoint_from_rows_answers_and_is_the_same_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scenes = scenes(folder.path());
    let rows = scenes.join("rows.jsonl");
    let rows = rows.to_str().expect("UTF-8");
    let from = |name: &str, more: &[&str]| {
        let base = ["--preset", "xs", "--tokenizer-from", rows];
        made(init(folder.path(), name, &[&base, more].concat()))
    };
    let (first, again, other) = (from("a", &[]), from("b", &[]), from("c", &["--seed", "1"]));
    let half = from("d", &["--dtype", "bf16"]);
    let mut names: Vec<_> = std::fs::read_dir(&first)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(
        names.join(" "),
        "chat_template.json config.json generation_config.json model-00001-of-00001.safetensors \
         model.safetensors.index.json preprocessor_config.json tokenizer.json tokenizer_config.json"
    );
    let bytes = |folder: &Path, name: &str| std::fs::read(folder.join(name)).expect(name);
    for name in &names {
        assert!(bytes(&first, name) == bytes(&again, name), "{name} differs");
    }
    let permissions = |name: &String| std::fs::metadata(first.join(name)).expect("there").permissions();
    assert!(
        names.iter().all(|name| permissions(name) == permissions(&names[0])),
        "a file that others cannot read"
    );
    let shard = "model-00001-of-00001.safetensors";
    assert!(bytes(&first, shard) != bytes(&other, shard), "the seed decides");
    let (whole, half_size) = (bytes(&first, shard).len(), bytes(&half, shard).len());
    assert!(half_size * 2 - whole < whole / 50, "bf16 takes half: {half_size} of {whole}");

    let image = scenes.join("images/000000.png");
    let (answer, same) = (ask(&first, &image), ask(&again, &image));
    assert_eq!(answer["token_ids"].as_array().map(Vec::len), Some(8));
    assert_eq!(answer["token_ids"], same["token_ids"]);
    ask(&half, &image);

    // Another checkpoint's tokenizer: the tiny fixture's has about a thousand tokens.
    let tiny = crate::fixtures::dir().join("tiny-qwen2_5_vl/checkpoint");
    let tiny = tiny.to_str().expect("UTF-8");
    let taken = made(init(folder.path(), "e", &["--preset", "S", "--tokenizer", tiny]));
    ask(&taken, &image);
    let (_, refused) = init(folder.path(), "f", &["--preset", "XS", "--tokenizer", tiny]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("512") && said.contains("larger preset"), "{said}");
    let config = Path::new(tiny).join("config.json");
    let config = config.to_str().expect("UTF-8");
    ask(&made(init(folder.path(), "g", &["--config", config, "--tokenizer", tiny])), &image);
}

#[test]
fn init_refuses_what_it_cannot_make_and_leaves_nothing_half_done() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |more: &[&str], words: &[&str]| {
        let (out, output) = init(folder.path(), "out", more);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && !text.contains("panicked"), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {text}");
        assert!(!out.exists());
    };
    refused(&["--preset", "XS"], &["--tokenizer-from"]);
    refused(&["--tokenizer-from", "rows.jsonl"], &["--preset"]);
    refused(&["--preset", "XS", "--tokenizer-from", "no/rows.jsonl"], &["no/rows.jsonl"]);
    let bad = folder.path().join("config.json");
    std::fs::write(&bad, r#"{"vocab_size": 512, "num_attention_heads": 3, "hidden_size": 128}"#)
        .expect("written");
    let rows = scenes(folder.path()).join("rows.jsonl");
    let (bad, rows) = (bad.to_str().expect("UTF-8"), rows.to_str().expect("UTF-8"));
    refused(&["--config", bad, "--tokenizer-from", rows], &["num_attention_heads"]);
    let there = folder.path().to_str().expect("UTF-8");
    let output = run(trainer().args(["init", "--preset", "XS", "--tokenizer-from", rows, "--out", there]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("exists"));
}

/// transformers loads the checkpoint and gives the same prompt ids and greedy tokens.
#[test]
#[ignore = "runs Python with transformers, named by WETHINK_PYTHON: cargo test interop_ -- --ignored"]
fn interop_transformers_loads_a_new_checkpoint_and_agrees() {
    let python = std::env::var_os("WETHINK_PYTHON").expect("WETHINK_PYTHON names a Python with transformers");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scenes = scenes(folder.path());
    let rows = scenes.join("rows.jsonl");
    let base = ["--preset", "XS", "--tokenizer-from", rows.to_str().expect("UTF-8")];
    let checkpoint = made(init(folder.path(), "xs", &base));
    let image = scenes.join("images/000003.png");
    let ours = ask(&checkpoint, &image);
    let file = folder.path().join("ours.json");
    std::fs::write(&file, ours.to_string()).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/init/loads.py");
    let output = run(Command::new(python).arg(script).args([&checkpoint, &image, &file]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}
