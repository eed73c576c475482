//! The same scenes natively and in Chromium, byte for byte. Needs the `wasm32-unknown-unknown` target, Node, Chromium and the
//! packages of `tests/browser`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wethink_scenes::{Row, Settings};

use crate::reward_wasm::{output, wasm_target};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every task, with and without clutter and noise, from the smallest to the largest pictures.
fn requests() -> Vec<Value> {
    let plain = Settings::default();
    let rough = Settings { clutter: 20, noise: 25, sides: [56, 400], objects: [1, 9], ..Settings::default() };
    let pairs = vec!["red-circle".parse().expect("a pair")];
    let held_out = Settings { held_out: pairs, show_held_out: true, ..Settings::default() };
    [plain, rough, held_out]
        .iter()
        .map(|settings| json!({ "settings": settings, "seed": u64::MAX, "from": 0, "to": 300 }))
        .collect()
}

#[test]
#[ignore = "builds for wasm32 and runs Chromium: cargo test wasm_ -- --ignored"]
fn wasm_scenes_are_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = wasm_target();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["build", "--quiet", "-p", "wethink-scenes", "--example", "scenes_abi"]);
    output(cargo.args(["--target", "wasm32-unknown-unknown", "--target-dir"]).arg(&target));
    let module = target.join("wasm32-unknown-unknown/debug/examples/scenes_abi.wasm");

    let file = folder.path().join("requests.json");
    std::fs::write(&file, Value::from(requests()).to_string()).expect("written");
    let said =
        output(Command::new("node").arg(root().join("tests/interop/scenes/wasm.mjs")).args([module, file]));
    let answers: Vec<Value> = serde_json::from_slice(&said).expect("answers are JSON");

    assert_eq!(answers.len(), requests().len());
    for (request, answer) in requests().iter().zip(&answers) {
        let settings: Settings = serde_json::from_value(request["settings"].clone()).expect("settings");
        let scenes = answer.as_array().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(scenes.len(), 300);
        for (i, got) in scenes.iter().enumerate() {
            let scene = settings.scene(u64::MAX, i as u64).expect("a scene");
            let png = Sha256::digest(scene.draw().png());
            let png: String = png.iter().map(|byte| format!("{byte:02x}")).collect();
            let row = Row::new(scene, format!("{i}.png")).to_json();
            assert_eq!(got, &json!({ "row": row, "png": png }), "scene {i} of {settings:?}");
        }
    }
}
