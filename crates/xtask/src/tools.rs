//! What the tests need beside Rust: installed where that is possible, named where it is not.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::steps::command;

/// The wasm32 target of the toolchain.
pub fn wasm_target() -> Result<()> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    if Path::new(&sysroot)
        .join("lib/rustlib/wasm32-unknown-unknown")
        .is_dir()
    {
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
    let found = drivers
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("lvp_icd")
        });
    if found || !cfg!(target_os = "linux") {
        return Ok(());
    }
    apt("mesa-vulkan-drivers", "Mesa's software Vulkan")
}

/// Installs a Debian package as root, or says what to run.
fn apt(package: &str, what: &str) -> Result<()> {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !(root && starts("apt-get")) {
        bail!("{what} is missing; run: sudo apt-get install {package}");
    }
    command(Command::new("apt-get").arg("update"))?;
    command(Command::new("apt-get").args(["install", "-y", "--no-install-recommends", package]))
}

fn starts(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}
