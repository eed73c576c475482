//! Who may know whom, read from `cargo metadata`. The tables are written out: a new edge is a decision, made here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Direct dependencies within the workspace, development ones included.
const INTERNAL: &[(&str, &[&str])] = &[
    ("cubecl-llvm", &[]),
    ("wethink-board", &["wethink-scenes"]),
    ("wethink-checker", &["wethink-data", "wethink-reward"]),
    ("wethink-data", &[]),
    ("wethink-kernels", &["wethink-shaders"]),
    ("wethink-model", &["wethink-kernels"]),
    ("wethink-processor", &[]),
    ("wethink-reward", &[]),
    ("wethink-scenes", &[]),
    ("wethink-shaders", &[]),
    (
        "wethink-tests",
        &[
            "wethink-data",
            "wethink-kernels",
            "wethink-model",
            "wethink-processor",
            "wethink-reward",
            "wethink-scenes",
            "wethink-shaders",
            "wethink-trainer",
        ],
    ),
    (
        "wethink-trainer",
        &[
            "wethink-data",
            "wethink-kernels",
            "wethink-model",
            "wethink-processor",
            "wethink-reward",
            "wethink-scenes",
        ],
    ),
    (
        "wethink-web",
        &[
            "wethink-board",
            "wethink-checker",
            "wethink-data",
            "wethink-model",
            "wethink-processor",
            "wethink-reward",
            "wethink-scenes",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that only their owners may name as a dependency (not counting development).
const OWNED: &[(&str, &[&str])] = &[
    ("anyhow", &["wethink-tests", "wethink-trainer", "xtask"]),
    ("burn", &["wethink-kernels", "wethink-model", "wethink-tests", "wethink-trainer", "wethink-web"]),
    ("burn-wgpu", &["wethink-kernels"]),
    ("clap", &["wethink-tests", "wethink-trainer", "xtask"]),
    ("image", &["wethink-processor", "wethink-scenes"]),
    ("minijinja", &["wethink-processor"]),
    ("tokenizers", &["wethink-processor", "wethink-trainer"]),
    ("wasm-bindgen", &["wethink-web"]),
];

/// Dependencies by package: (name, is for development).
fn packages() -> BTreeMap<String, Vec<(String, bool)>> {
    let run = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let json: Value = serde_json::from_slice(&run.stdout).expect("cargo metadata prints JSON");
    let list = json["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let dependency = |value: &Value| (name(value), value["kind"] == "dev");
    let of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        (name(package), dependencies.iter().map(dependency).collect())
    };
    list.iter().map(of).collect()
}

#[test]
fn internal_arrows_are_those_of_the_design() {
    let packages = packages();
    let internal: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|(name, dependencies)| {
            let inside = dependencies.iter().map(|(name, _)| name.as_str());
            (name.as_str(), inside.filter(|name| packages.contains_key(*name)).collect())
        })
        .collect();
    let want: BTreeMap<&str, BTreeSet<&str>> =
        INTERNAL.iter().map(|&(name, to)| (name, to.iter().copied().collect())).collect();
    assert_eq!(internal, want);
}

#[test]
fn owned_crates_stay_with_their_owners() {
    let packages = packages();
    for &(owned, owners) in OWNED {
        let users: BTreeSet<&str> = packages
            .iter()
            .filter(|(_, dependencies)| dependencies.iter().any(|(name, dev)| name == owned && !dev))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(users, owners.iter().copied().collect(), "users of {owned}");
    }
}

#[test]
fn the_stand_in_for_cubecl_llvm_is_the_version_it_stands_in_for() {
    // Under another version the patch of the workspace manifest silently does not apply.
    let lock =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).expect("Cargo.lock");
    let entries: Vec<&str> =
        lock.split("[[package]]").filter(|entry| entry.contains("\"cubecl-llvm\"\nversion")).collect();
    assert_eq!(entries.len(), 1, "one cubecl-llvm");
    assert!(!entries[0].contains("source ="), "cubecl-llvm comes from the registry");
}
