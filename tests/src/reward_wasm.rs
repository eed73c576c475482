//! The same rows natively and in WASM, bit for bit. Needs Node and the `wasm32-unknown-unknown` target.

use std::path::{Path, PathBuf};
use std::process::Command;

use wethink_reward::RewardMap;

/// Rows: the verifier's own table, and the seeded corpus of its benchmark.
const CORPUS_ROWS: &str = "4000";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?}: {}\n{}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

/// Where these tests build for wasm32: beside cargo's own outputs, which cargo may hold, and kept, since pictures'
/// decoders are long to build.
pub(crate) fn wasm_target() -> PathBuf {
    let program = std::env::current_exe().expect("a test is a file");
    program.ancestors().nth(3).expect("target/debug/deps/test").join("wasm-tests")
}

#[test]
#[ignore = "builds for wasm32 and runs Node: cargo test wasm_ -- --ignored"]
fn wasm_verdicts_are_the_same_bits() {
    let cargo = || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root()).args(["--quiet"]);
        cargo
    };
    let example = ["--release", "-p", "wethink-reward", "--example"];
    let mut rows =
        std::fs::read_to_string(root().join("crates/reward/src/tables/kinds.jsonl")).expect("the table");
    let dump =
        output(cargo().arg("run").args(example).args(["bench", "--", "--dump", "--rows", CORPUS_ROWS]));
    rows.push_str(&String::from_utf8(dump).expect("JSON is UTF-8"));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let (rows_file, native_file) = (folder.path().join("rows.jsonl"), folder.path().join("native.jsonl"));
    let mut native = Vec::new();
    wethink_trainer::verify::stream(
        rows.as_bytes(),
        &mut native,
        &mut Vec::new(),
        &RewardMap::default(),
        false,
    )
    .expect("streams in memory do not fail");
    std::fs::write(&rows_file, rows).expect("rows are written");
    std::fs::write(&native_file, native).expect("verdicts are written");

    let target = wasm_target();
    output(
        cargo()
            .arg("build")
            .args(example)
            .args(["abi", "--target", "wasm32-unknown-unknown", "--target-dir"])
            .arg(&target),
    );
    let module = target.join("wasm32-unknown-unknown/release/examples/abi.wasm");
    output(Command::new("node").arg(root().join("tests/interop/reward/wasm.mjs")).args([
        module,
        rows_file,
        native_file,
    ]));
}
