//! Known answers and training benchmarks on a device, here or packed for a machine without Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args as Arguments;
use serde_json::Value;

use crate::steps::{self, Steps, root};

/// What `cargo xtask device` takes.
#[derive(Arguments)]
pub struct Args {
    /// cuda, wgpu (Vulkan on Linux), or cpu for a trial of this command
    #[arg(long, default_value = "cuda")]
    device: String,
    /// Sizes to train, of XS, S, M, L, 3b and 7b; the first four in full, the others by adapters
    #[arg(long, value_delimiter = ',', default_value = "M,3b,7b")]
    sizes: Vec<String>,
    /// Build only, and pack what is needed into this archive: there, unpack it and run `./run`, or parts of it by name:
    /// answers, train, decode (packs on the GPU through wgpu), learn (the experiment of docs/scenes.md)
    #[arg(long, value_name = "FILE.tar.xz")]
    pack: Option<PathBuf>,
    /// Pack the programs alone: for a machine with this repository, which WETHINK_REPOSITORY names there
    #[arg(long, requires = "pack")]
    programs: bool,
    /// Where the benchmark's JSON goes
    #[arg(long, value_name = "FILE.json", default_value = "device.json", conflicts_with = "pack")]
    out: PathBuf,
}

/// What is run on the other machine: every part writes its figures beside it.
const RUN: &str = r#"#!/bin/sh
# Parts: answers (the known answers), train (beside transformers), decode (packs, beside transformers), learn (docs/scenes.md;
# needs the repository's recipes).
# Without any: answers and train. WETHINK_PYTHON names a Python with the packages of interop/train/requirements.txt.
set -e
here=$(cd "$(dirname "$0")" && pwd)
files=${WETHINK_REPOSITORY:+$WETHINK_REPOSITORY/tests}
export WETHINK_FIXTURES="${WETHINK_FIXTURES:-${files:-$here}/fixtures}" WETHINK_INTEROP="${files:-$here}/interop"
[ $# -gt 0 ] || set -- answers train
for part; do
    case $part in
    answers) "$here/tests" GOLDEN ;;
    train) "$here/bench" device DEVICE SIZES > "$here/device.json" && cat "$here/device.json" ;;
    decode) "$here/bench" decode wgpu > "$here/decode.json" && cat "$here/decode.json" ;;
    learn) (cd "${WETHINK_REPOSITORY:?names no repository}" && "$here/learn" --device DEVICE --out "$here/learned") ;;
    *) echo "$part: answers, train, decode or learn" >&2; exit 2 ;;
    esac
done
"#;

/// Builds, then runs or packs.
pub fn device(args: &Args) -> Result<()> {
    let mut steps = Steps::new();
    let cuda = args.device.starts_with("cuda");
    if !cuda && !["wgpu", "cpu"].contains(&args.device.as_str()) {
        bail!("--device {}: cuda, wgpu or cpu", args.device);
    }
    let features: &[&str] = if cuda { &["--features", "wethink-tests/cuda"] } else { &[] };
    let mut tests = PathBuf::new();
    steps.step("build", || {
        tests = built(features)?;
        Ok(())
    })?;
    if let Some(archive) = &args.pack {
        return steps.step("pack", || pack(args, &tests, archive));
    }
    steps.step("known answers", || steps::command(Command::new(&tests).args(golden(&args.device))))?;
    let sizes = args.sizes.join(",");
    steps.step("training beside transformers", || {
        let mut bench = Command::new(tests.with_file_name("../bench"));
        let output =
            bench.args(["device", &args.device, &sizes]).stderr(std::process::Stdio::inherit()).output()?;
        if !output.status.success() {
            bail!("the benchmark failed ({})", output.status);
        }
        fs::write(&args.out, &output.stdout).with_context(|| args.out.display().to_string())?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    })?;
    steps.summary();
    Ok(())
}

/// Filters of the test binary: known answers on the device, and where it is a GPU those of its other ways.
fn golden(device: &str) -> &'static [&'static str] {
    match device {
        "cpu" => &["flex::golden_"],
        "wgpu" => &["on_wgpu"],
        _ => &["on_cuda", "on_wgpu"],
    }
}

/// Builds all targets, with the features that all of them have together, and names the test binary.
fn built(features: &[&str]) -> Result<PathBuf> {
    let mut cargo = Command::new(steps::program());
    cargo.args(["build", "--all-targets", "--message-format=json-render-diagnostics"]).args(features);
    let output = cargo.current_dir(root()).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{cargo:?} failed ({})", output.status);
    }
    // One line a built thing; the wanted one is the tests crate's library, built as a test.
    let executable = |line: &str| {
        let built: Value = serde_json::from_str(line).ok()?;
        let wanted = built["target"]["name"] == "wethink_tests" && built["profile"]["test"] == true;
        built["executable"].as_str().filter(|_| wanted).map(PathBuf::from)
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(executable).next_back().context("cargo names no test binary of wethink-tests")
}

/// An archive with the binaries, stripped, and `run`; with the known answers and the scripts for Python.
fn pack(args: &Args, tests: &Path, archive: &Path) -> Result<()> {
    let folder = archive.with_extension("part");
    fs::create_dir_all(&folder)?;
    let mut packed = vec!["run"];
    for name in ["tests", "bench", "learn", "trainer"] {
        let binary = if name == "tests" { tests.to_owned() } else { tests.with_file_name("..").join(name) };
        let to = folder.join(name);
        fs::copy(&binary, &to).with_context(|| binary.display().to_string())?;
        steps::command(Command::new("strip").arg(std::path::absolute(&to)?))?;
        packed.push(name);
    }
    let run = RUN
        .replace("GOLDEN", &golden(&args.device).join(" "))
        .replace("DEVICE", &args.device)
        .replace("SIZES", &args.sizes.join(","));
    fs::write(folder.join("run"), run)?;
    steps::command(Command::new("chmod").arg("+x").arg(std::path::absolute(folder.join("run"))?))?;
    let mut tar = Command::new("tar");
    tar.env("XZ_DEFAULTS", "-T0").arg("-cJf").arg(std::path::absolute(archive)?);
    tar.arg("-C").arg(std::path::absolute(&folder)?).args(packed);
    if !args.programs {
        tar.arg("-C").arg(root().join("tests")).args(["fixtures", "interop"]);
    }
    steps::command(&mut tar)?;
    fs::remove_dir_all(&folder)?;
    eprintln!("{}: {} MB", archive.display(), fs::metadata(archive)?.len() / 1_000_000);
    Ok(())
}
