//! The site: built by Trunk, tested and measured in Chromium.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{steps, tools};

/// Builds the deployable folder. wasm-opt has no place in it: what the compiler makes small already, it makes larger once
/// gzipped (the engine by 5 %), in eight minutes.
pub fn site(out: &Path) -> Result<()> {
    models()?;
    let out = std::path::absolute(out).context("--out")?;
    steps::command(trunk("build")?.arg("--dist").arg(&out))?;
    for name in ["wethink-engine_bg.wasm", "wethink-page_bg.wasm", "wethink-rewards_bg.wasm"] {
        let file = out.join(name);
        eprintln!("{}: {:.2} MB gzipped", file.display(), gzipped(&file)? as f64 / 1e6);
    }
    Ok(())
}

/// Builds the site and serves it until interrupted.
pub fn serve(port: u16) -> Result<()> {
    models()?;
    eprintln!("The first build takes some minutes. Then open http://localhost:{port}/");
    steps::command(trunk("serve")?.arg("--dist").arg(dist()).args(["--port", &port.to_string()]))
}

/// Says which bundled models are not there, before anything is built.
fn models() -> Result<()> {
    let folder = steps::root().join("web/models");
    let list = folder.join("models.json");
    let read = || -> Result<Value> { Ok(serde_json::from_slice(&std::fs::read(&list)?)?) };
    let listed = read().with_context(|| list.display().to_string())?;
    for model in listed["models"].as_array().into_iter().flatten() {
        let name = model["name"].as_str().context("models.json: a model without a name")?;
        if !["config.json", "pack.json"].iter().any(|file| folder.join(name).join(file).is_file()) {
            bail!(
                "web/models/models.json names {name}, but web/models/{name} holds no model; see web/models/README.md"
            );
        }
    }
    Ok(())
}

/// Trunk with its tools on the PATH.
fn trunk(command: &str) -> Result<Command> {
    tools::wasm_target()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let builders = [tools::trunk()?, tools::wasm_bindgen()?];
    let path = std::env::join_paths(builders.iter().cloned().chain(std::env::split_paths(&path)))?;
    let mut trunk = Command::new(builders[0].join("trunk"));
    trunk
        .args(["--skip-version-check", "--offline", "--config", "web/Trunk.toml", command])
        .env("PATH", path);
    // It takes only `true` for yes, and stops at the usual `1`.
    trunk.env_remove("NO_COLOR");
    Ok(trunk)
}

/// Builds the site where its tests and benchmarks look for it.
pub fn build() -> Result<()> {
    site(&dist())
}

/// Tests the built site in Chromium, packs against the terminal's answers.
pub fn test() -> Result<()> {
    in_chromium(Command::new("npm").args(["--prefix", BROWSER_TESTS, "test"]))
}

/// Prints figures of the built site in Chromium as JSON.
pub fn bench() -> Result<()> {
    in_chromium(Command::new("node").arg(format!("{BROWSER_TESTS}/bench.js")))
}

/// Runs a script of the browser tests on the built site.
fn in_chromium(script: &mut Command) -> Result<()> {
    tools::chromium()?;
    tools::node_packages(BROWSER_TESTS)?;
    // Packs are made by native programs. All targets, as the other tests do: a program alone has other features, and burn is
    // long to build.
    steps::cargo(&["build", "--quiet", "--all-targets"])?;
    steps::command(script.env("WETHINK_SITE", dist()).env("WETHINK_TRAINER", built("trainer")))
}

/// A native program, where cargo puts it.
pub fn built(name: &str) -> PathBuf {
    target().join("debug").join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

/// The tests of the site, with their packages.
pub const BROWSER_TESTS: &str = "tests/browser";

/// Beside cargo's own outputs.
fn dist() -> PathBuf {
    target().join("site")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| steps::root().join("target"), PathBuf::from)
}

/// Size of a file as gzip packs it.
fn gzipped(file: &Path) -> Result<u64> {
    let packed = Command::new("gzip").args(["--stdout", "-9"]).arg(file).output().context("gzip")?;
    if !packed.status.success() {
        bail!("{}: {}", file.display(), String::from_utf8_lossy(&packed.stderr).trim());
    }
    Ok(packed.stdout.len() as u64)
}
