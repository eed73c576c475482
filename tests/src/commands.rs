//! The `trainer` command as a user meets it: the built binary, its output, its exit codes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::fixtures::{self, Tiny};

/// The binary cargo built beside this test.
pub fn trainer() -> Command {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
    let path = folder.join(format!("trainer{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is missing: run `cargo build`, or the whole of `cargo test`", path.display());
    Command::new(path)
}

/// A file or folder of the tiny set of known answers.
pub(crate) fn tiny(path: &str) -> PathBuf {
    fixtures::dir().join("tiny-qwen2_5_vl").join(path)
}

/// The same of the copy in the repository.
pub(crate) fn own(path: &str) -> PathBuf {
    fixtures::own().join("tiny-qwen2_5_vl").join(path)
}

pub fn run(command: &mut Command) -> Output {
    command.output().expect("the binary runs")
}

fn run_with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the binary reads");
    child.wait_with_output().expect("the binary ends")
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

/// Fails unless the command failed with `code`, without a panic, and named each of `words`.
pub(crate) fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

fn ask() -> Command {
    let mut command = trainer();
    command.arg("ask").arg("--checkpoint").arg(tiny("checkpoint")).args(["--device", "cpu"]);
    command
}

/// A copy of the tiny checkpoint to break.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(tiny("checkpoint")).expect("the checkpoint") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
    }
    folder
}

fn ask_from(folder: &Path) -> Command {
    let mut command = trainer();
    command.arg("ask").arg("--checkpoint").arg(folder);
    command.args(["--device", "cpu", "--question", "Hm?", "--max-new-tokens", "2"]);
    command
}

#[test]
fn golden_ask_gives_the_references_tokens_for_every_case() {
    let set = Tiny::open().expect("the known answers can be read");
    for case in &set.cases {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let chat = folder.path().join("chat.json");
        std::fs::write(&chat, case.answer.to_string()).expect("written");
        let mut command = ask();
        command.arg("--messages").arg(&chat).args([
            "--json",
            "--max-new-tokens",
            "48",
            "--min-new-tokens",
            "48",
        ]);
        command.arg("--no-system");
        for image in case.answer["images"].as_array().expect("images") {
            command.arg("--image").arg(tiny("images").join(image.as_str().expect("a name")));
        }
        let output = run(&mut command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_str(stdout(&output)).expect("one object");
        assert_eq!(json["prompt"], case.answer["prompt"], "{}", case.name);
        assert_eq!(json["token_ids"], case.answer["greedy"], "{}", case.name);
        assert_eq!(json["text"], case.answer["greedy_text"], "{}", case.name);
        assert_eq!(json["finish_reason"], "length");
        assert_eq!(json["logprobs"].as_array().map(Vec::len), Some(48));
        assert_eq!(
            json["image_grid_thw"].as_array().map(Vec::len),
            case.answer["images"].as_array().map(Vec::len)
        );
        assert!(json["timing"]["prefill_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    }
}

#[test]
fn ask_streams_and_ends_with_one_line_of_figures() {
    let output = run(ask().args([
        "--question",
        "Count to three.",
        "--max-new-tokens",
        "12",
        "--min-new-tokens",
        "12",
    ]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let last = stdout(&output).lines().last().expect("a line");
    for word in ["image tokens", "prefill", "decode", "tokens/s", "peak memory", "--max-new-tokens"] {
        assert!(last.contains(word), "{last}");
    }
    assert!(!stdout(&output).contains('\x1b'), "no colours into a pipe");
}

#[test]
fn ask_puts_wethinks_system_prompt_first_unless_told_otherwise() {
    let prompt = |arguments: &[&str]| {
        let output =
            run(ask().args(["--question", "Hm?", "--json", "--max-new-tokens", "1"]).args(arguments));
        let json: Value = serde_json::from_str(stdout(&output)).expect("one object");
        json["prompt"].as_str().expect("a prompt").to_owned()
    };
    assert!(prompt(&[]).contains("You FIRST think about the reasoning process"));
    assert!(prompt(&["--system", "Be brief."]).contains("system\nBe brief.<"));
    assert!(!prompt(&["--no-system"]).contains("FIRST think"));
}

#[test]
fn misuse_is_told_apart_by_its_exit_code() {
    for arguments in [
        &["ask"][..],
        &["ask", "--checkpoint", "x"],
        &["ask", "--checkpoint", "x", "--question", "a", "--messages", "b"],
        &["ask", "--checkpoint", "x", "--question", "a", "--device", "gpu"],
        &["ask", "--checkpoint", "x", "--question", "a", "--system", "a", "--no-system"],
        &["ask", "--checkpoint", "x", "--question", "a", "--dtype", "int4"],
        &["fly"],
        &[],
    ] {
        let output = run(trainer().args(arguments));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(run(trainer().arg("--help")).status.code(), Some(0));
}

#[test]
fn wrong_settings_are_named() {
    assert_fails(&run(ask().args(["--question", "a", "--temperature", "warm"])), 2, &["--temperature"]);
    assert_fails(&run(ask().args(["--question", "a", "--temperature", "-1"])), 1, &["temperature"]);
    assert_fails(&run(ask().args(["--question", "a", "--top-p", "1.5"])), 1, &["top-p"]);
    assert_fails(&run(ask().args(["--question", "a", "--top-k", "0"])), 1, &["top-k"]);
    assert_fails(&run(ask().args(["--question", "a", "--dtype", "bf16"])), 1, &["--device cuda"]);
    let huge = usize::MAX.to_string();
    assert_fails(
        &run(ask().args(["--question", "a", "--max-new-tokens", &huge])),
        1,
        &["positions", "--max-pixels"],
    );
    assert_fails(
        &run(ask().args(["--question", "a", "--min-pixels", "9", "--max-pixels", "8"])),
        1,
        &["pixels"],
    );
}

#[test]
fn wrong_pictures_and_chats_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path.display().to_string()
    };
    let picture = tiny("images/page.png").display().to_string();
    let whole = std::fs::read(&picture).expect("the picture");
    let bomb = file("bomb.bmp", &bmp_header(100_000, 100_000));
    for (image, word) in [
        (file("empty.png", b""), "empty.png"),
        (file("cut.png", &whole[..whole.len() / 2]), "cut.png"),
        (file("text.png", b"hello"), "text.png"),
        (bomb, "bomb.bmp"),
        (folder.path().join("none.png").display().to_string(), "none.png"),
    ] {
        assert_fails(&run(ask().args(["--question", "a", "--image", &image])), 1, &[word]);
    }
    let chat = |text: &str| file("chat.json", text.as_bytes());
    let slot = r#"[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}]"#;
    assert_fails(&run(ask().args(["--messages", &chat(slot)])), 1, &["1", "0"]);
    let two = ["--messages", &chat(slot), "--image", &picture, "--image", &picture];
    assert_fails(&run(ask().args(two)), 1, &["1", "2"]);
    for (text, word) in [
        ("", "chat.json"),
        ("[", "chat.json"),
        ("[]", "no messages"),
        ("{}", "chat.json"),
        (r#"[{"role": "user"}]"#, "content"),
        (r#"[{"role": "user", "content": [{"type": "video", "video": "x"}]}]"#, "video"),
        (r#"[{"role": "user", "content": [{"type": "sound"}]}]"#, "sound"),
    ] {
        assert_fails(&run(ask().args(["--messages", &chat(text)])), 1, &[word]);
    }
}

/// A BMP header of a size nobody should allocate.
fn bmp_header(width: i32, height: i32) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    bytes.extend(54u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(54u32.to_le_bytes());
    bytes.extend(40u32.to_le_bytes());
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(24u16.to_le_bytes());
    bytes.extend([0; 24]);
    bytes
}

#[test]
fn broken_checkpoints_are_named() {
    assert_fails(&run(&mut ask_from(Path::new("/nonexistent"))), 1, &["/nonexistent", "--checkpoint"]);
    let empty = tempfile::tempdir().expect("a temporary folder");
    assert_fails(&run(&mut ask_from(empty.path())), 1, &["config.json"]);
    for name in ["config.json", "tokenizer.json", "preprocessor_config.json", "chat_template.json"] {
        let folder = copy();
        std::fs::write(folder.path().join(name), "{").expect("written");
        assert_fails(&run(&mut ask_from(folder.path())), 1, &[name]);
    }
    let folder = copy();
    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).expect("removed");
    assert_fails(&run(&mut ask_from(folder.path())), 1, &["model-00002-of-00002.safetensors", "missing"]);
    let folder = copy();
    let shard = folder.path().join("model-00001-of-00002.safetensors");
    let bytes = std::fs::read(&shard).expect("the shard");
    std::fs::write(&shard, &bytes[..bytes.len() / 2]).expect("written");
    assert_fails(&run(&mut ask_from(folder.path())), 1, &["model-00001-of-00002.safetensors"]);
    std::fs::write(&shard, b"").expect("written");
    assert_fails(&run(&mut ask_from(folder.path())), 1, &["model-00001-of-00002.safetensors"]);
}

#[test]
fn a_checkpoint_of_another_shape_lists_every_fault() {
    let folder = copy();
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).expect("config.json");
    let mut json: Value = serde_json::from_str(&text).expect("JSON");
    let depth = json["num_hidden_layers"].as_u64().expect("layers");
    json["num_hidden_layers"] = (depth + 1).into();
    json["intermediate_size"] = (json["intermediate_size"].as_u64().expect("a width") + 2).into();
    std::fs::write(&path, json.to_string()).expect("written");
    let missing = format!("missing: model.layers.{depth}.mlp.up_proj.weight");
    let last = format!("model.layers.{}.mlp.down_proj.weight", depth - 1);
    assert_fails(
        &run(&mut ask_from(folder.path())),
        1,
        &[&missing, "misshapen: model.layers.0.mlp.up_proj.weight", &last],
    );
}

#[test]
fn tokenize_goes_line_by_line_and_names_the_broken_one() {
    let mut command = trainer();
    command.arg("tokenize").arg("--checkpoint").arg(tiny("checkpoint"));
    let output =
        run_with_input(&mut command, "{\"text\": \"3/4 + 1/8 = \u{3c0}<|im_end|>\"}\n\n{\"text\": \"\"}\n");
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["decoded"], "3/4 + 1/8 = \u{3c0}<|im_end|>");
    assert_eq!(lines[1]["ids"], serde_json::json!([]));
    let output = run_with_input(&mut command, "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n");
    assert_fails(&output, 1, &["line 2", "text"]);
}

#[test]
fn preprocess_writes_what_the_processor_computes() {
    let set = Tiny::open().expect("the known answers can be read");
    let case = set.cases.iter().find(|case| case.encoded.grids.len() == 1).expect("a case with one picture");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("x.safetensors");
    let image = tiny("images").join(case.answer["images"][0].as_str().expect("a name"));
    let mut command = trainer();
    command.arg("preprocess").arg("--checkpoint").arg(tiny("checkpoint"));
    let output = run(command.arg("--image").arg(image).arg("--out").arg(&out));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&out).expect("the file");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let want: Vec<u8> = case.encoded.pixel_values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(file.tensor("pixel_values").expect("pixel_values").data(), want);
    let grid: Vec<u8> = case.encoded.grids[0].iter().flat_map(|&n| (n as i64).to_le_bytes()).collect();
    assert_eq!(file.tensor("image_grid_thw").expect("image_grid_thw").data(), grid);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing left beside it");
}
