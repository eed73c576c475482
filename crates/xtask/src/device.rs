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
    /// Build only, and pack what is needed into this archive: there, unpack it and run `./run`
    #[arg(long, value_name = "FILE.tar.gz")]
    pack: Option<PathBuf>,
    /// Where the benchmark's JSON goes
    #[arg(long, value_name = "FILE.json", default_value = "device.json", conflicts_with = "pack")]
    out: PathBuf,
}

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

/// An archive with the binaries, stripped, the known answers, the scripts for Python, and `run`.
fn pack(args: &Args, tests: &Path, archive: &Path) -> Result<()> {
    let folder = archive.with_extension("part");
    fs::create_dir_all(&folder)?;
    for (binary, name) in [
        (tests.to_owned(), "tests"),
        (tests.with_file_name("../bench"), "bench"),
        (tests.with_file_name("../trainer"), "trainer"),
    ] {
        let to = folder.join(name);
        fs::copy(&binary, &to).with_context(|| binary.display().to_string())?;
        steps::command(Command::new("strip").arg(std::path::absolute(&to)?))?;
    }
    let run = format!(
        "#!/bin/sh\n# Known answers, then training beside transformers; the figures go to device.json.\n\
         # Needs WETHINK_PYTHON: a Python with the packages of interop/train/requirements.txt.\n\
         set -e\ncd \"$(dirname \"$0\")\"\nexport WETHINK_FIXTURES=\"$PWD/fixtures\" WETHINK_INTEROP=\"$PWD/interop\"\n\
         ./tests {}\n./bench device {} {} > device.json\ncat device.json\n",
        golden(&args.device).join(" "),
        args.device,
        args.sizes.join(",")
    );
    fs::write(folder.join("run"), run)?;
    steps::command(Command::new("chmod").arg("+x").arg(std::path::absolute(folder.join("run"))?))?;
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(std::path::absolute(archive)?);
    tar.arg("-C").arg(std::path::absolute(&folder)?).args(["tests", "bench", "trainer", "run"]);
    tar.arg("-C").arg(root().join("tests")).args(["fixtures", "interop"]);
    steps::command(&mut tar)?;
    fs::remove_dir_all(&folder)?;
    eprintln!("{}: {} MB", archive.display(), fs::metadata(archive)?.len() / 1_000_000);
    Ok(())
}
