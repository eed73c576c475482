//! The site: built by Trunk, tested and measured in Chromium.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{steps, tools};

/// Builds the deployable folder.
pub fn site(out: &Path) -> Result<()> {
    tools::wasm_target()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let builders = [tools::trunk()?, tools::wasm_bindgen()?];
    let path = std::env::join_paths(builders.iter().cloned().chain(std::env::split_paths(&path)))?;
    let out = std::path::absolute(out).context("--out")?;
    let mut trunk = Command::new(builders[0].join("trunk"));
    trunk
        .args(["--skip-version-check", "--config", "web/Trunk.toml", "build", "--dist"])
        .arg(&out)
        .env("PATH", path);
    // It takes only `true` for yes, and stops at the usual `1`.
    trunk.env_remove("NO_COLOR");
    steps::command(&mut trunk)?;
    let size = gzipped(&out.join("wethink-engine_bg.wasm"))?;
    eprintln!("{}: the engine is {:.2} MB gzipped", out.display(), size as f64 / 1e6);
    Ok(())
}

/// Builds the site and tests it in Chromium.
pub fn test() -> Result<()> {
    let dist = dist();
    site(&dist)?;
    tools::chromium()?;
    tools::node_packages(BROWSER_TESTS)?;
    let mut node = Command::new("npm");
    node.args(["--prefix", BROWSER_TESTS, "test"]).env("WETHINK_SITE", &dist);
    steps::command(&mut node)
}

/// Builds the site and prints its figures in Chromium as JSON.
pub fn bench() -> Result<()> {
    let dist = dist();
    site(&dist)?;
    tools::chromium()?;
    tools::node_packages(BROWSER_TESTS)?;
    let script = format!("{BROWSER_TESTS}/bench.js");
    steps::command(Command::new("node").arg(script).env("WETHINK_SITE", &dist))
}

const BROWSER_TESTS: &str = "tests/browser";

/// Where tests and benchmarks build the site: beside cargo's own outputs.
fn dist() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| steps::root().join("target"), PathBuf::from);
    target.join("site")
}

/// Size of a file as gzip packs it.
fn gzipped(file: &Path) -> Result<u64> {
    let packed = Command::new("gzip").args(["--stdout", "-9"]).arg(file).output().context("gzip")?;
    if !packed.status.success() {
        bail!("{}: {}", file.display(), String::from_utf8_lossy(&packed.stderr).trim());
    }
    Ok(packed.stdout.len() as u64)
}
