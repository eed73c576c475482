//! What the tests need beside Rust: installed where that is possible, named where it is not.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps::{command, program, root};

/// The wasm32 target of the toolchain.
pub fn wasm_target() -> Result<()> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    if Path::new(&sysroot).join("lib/rustlib/wasm32-unknown-unknown").is_dir() {
        return Ok(());
    }
    if !starts("rustup") {
        bail!(
            "the wasm32-unknown-unknown target is missing and there is no rustup; install the target with your system's tools"
        );
    }
    command(Command::new("rustup").args(["target", "add", "wasm32-unknown-unknown"]))
}

/// Mesa's software Vulkan, on which the kernels are tested without a GPU.
pub fn software_vulkan() -> Result<()> {
    let drivers = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let found =
        drivers.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten().any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("lvp_icd")
        });
    if found || !cfg!(target_os = "linux") {
        return Ok(());
    }
    apt("mesa-vulkan-drivers", "Mesa's software Vulkan")
}

/// Chromium and its driver, in which the kernels and pages are tested.
pub fn chromium() -> Result<()> {
    if starts("chromedriver") && starts("chromium") {
        return Ok(());
    }
    apt("chromium chromium-driver", "Chromium with its driver")
}

/// Node.js with npm, which runs the verifier's WASM beside its native build, and the tests of the site.
fn node() -> Result<()> {
    if starts("node") && starts("npm") { Ok(()) } else { apt("nodejs npm", "Node.js with npm") }
}

/// wasm-bindgen's tools at exactly the version in Cargo.lock, in the user's cache folder; returns their folder.
pub fn wasm_bindgen() -> Result<PathBuf> {
    let version = locked("wasm-bindgen")?;
    let folder = cache()?.join(format!("wasm-bindgen-{version}"));
    if !folder.join("bin/wasm-bindgen-test-runner").is_file() {
        // Not --locked: the lock file that the release carries can name a version that is gone.
        let install = ["install", "wasm-bindgen-cli", "--version", &version, "--root"];
        command(Command::new(program()).args(install).arg(&folder))?;
    }
    Ok(folder.join("bin"))
}

/// Trunk, the builder of the site; later releases need a later Rust than this workspace.
const TRUNK: &str = "0.21.14";

/// Trunk, in the user's cache folder; returns its folder.
pub fn trunk() -> Result<PathBuf> {
    let folder = cache()?.join(format!("trunk-{TRUNK}"));
    if !folder.join("bin/trunk").is_file() {
        let install = ["install", "trunk", "--version", TRUNK, "--locked", "--root"];
        command(Command::new(program()).args(install).arg(&folder))?;
    }
    Ok(folder.join("bin"))
}

/// The packages that a folder's `package-lock.json` names, from the npm registry.
pub fn node_packages(folder: &str) -> Result<()> {
    node()?;
    if root().join(folder).join("node_modules/.package-lock.json").is_file() {
        return Ok(());
    }
    command(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--prefix", folder]))
}

/// The version of a package in Cargo.lock.
pub fn locked(package: &str) -> Result<String> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).context("Cargo.lock")?;
    let name = format!("name = \"{package}\"\nversion = \"");
    let rest = lock.split_once(&name).with_context(|| format!("Cargo.lock has no {package}"))?.1;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

/// Where tools are kept between runs.
fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("wethink"))
}

/// Installs Debian packages as root, or says what to run.
fn apt(packages: &str, what: &str) -> Result<()> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !(root && starts("apt-get")) {
        bail!("{what} is missing; run: sudo apt-get install {packages}");
    }
    command(Command::new("apt-get").arg("update"))?;
    let install = ["install", "-y", "--no-install-recommends"];
    command(Command::new("apt-get").args(install).args(packages.split(' ')))
}

/// Whether a program is installed.
pub fn starts(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Where a program lies on the PATH.
pub fn path(program: &str) -> Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("{program} is not on the PATH"))
}
