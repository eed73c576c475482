//! Commands run one after the other, each with its seconds.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The steps done so far.
pub struct Steps(Vec<(String, f64)>);

impl Steps {
    /// Nothing is done.
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// Runs a step and prints its seconds.
    pub fn step(&mut self, name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("== {name}");
        let started = Instant::now();
        run().with_context(|| name.to_owned())?;
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("== {name}: {seconds:.0} s");
        self.0.push((name.to_owned(), seconds));
        Ok(())
    }

    /// Runs cargo as a step.
    pub fn cargo(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        self.step(name, || cargo(arguments))
    }

    /// Prints all steps with their seconds.
    pub fn summary(&self) {
        eprintln!("== all passed");
        for (name, seconds) in &self.0 {
            eprintln!("{seconds:6.0} s  {name}");
        }
    }
}

/// The workspace's root. Cargo says where at run time; a binary from a shared target folder may come from elsewhere.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).join("../..")
}

/// The cargo that runs this command.
pub fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs cargo in the workspace's root.
pub fn cargo(arguments: &[&str]) -> Result<()> {
    command(Command::new(program()).args(arguments))
}

/// Runs a command in the workspace's root; failing is an error that shows it.
pub fn command(command: &mut Command) -> Result<()> {
    let status =
        command.current_dir(root()).status().with_context(|| format!("{command:?} does not start"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
