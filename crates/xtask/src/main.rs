//! Developer commands: one word each for what a fresh clone should do.

mod device;
mod site;
mod steps;
mod tools;

use std::path::PathBuf;
use std::process::{Command as Process, ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use steps::Steps;

/// Developer commands of WeThink.
#[derive(Parser)]
#[command(name = "cargo xtask", max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the site with its bundled models and serve it; installs what is missing or says how
    Demo {
        /// Where it listens on this machine
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Format, lints and all tests, natively and for wasm32; installs what is missing or says how
    Test,
    /// Build the site: a folder of static files for any host
    Site {
        /// Where to put it
        #[arg(long)]
        out: PathBuf,
    },
    /// Build the site and test it in Chromium, with the reference's known answers; part of `test`
    TestSite,
    /// Check the known answers on a device and train there beside transformers and PEFT; prints JSON
    Device(device::Args),
    /// Train a small model by annotated scenes and by rewards, with its controls: docs/scenes.md; `learn --help` says more
    #[command(disable_help_flag = true)]
    Learn {
        /// What the program takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure and print JSON
    Bench {
        /// preprocess, model, kernels, data, scenes, reward, web, decode, compiled (kernels by the compilers of GPU drivers),
        /// train (beside PyTorch) or grpo (beside TRL; both by the Python that WETHINK_PYTHON names); all but the last five
        /// when left out
        suite: Option<String>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo { port } => site::serve(port),
        Command::Test => test(),
        Command::Site { out } => site::site(&out),
        Command::TestSite => site::build().and_then(|()| site::test()),
        Command::Device(args) => device::device(&args),
        Command::Learn { arguments } => learn(&arguments),
        Command::Bench { suite } => bench(suite.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Libraries that build for the browser without a tensor library, and are cheap to check there.
const WASM: [&str; 7] = [
    "wethink-board",
    "wethink-checker",
    "wethink-data",
    "wethink-processor",
    "wethink-reward",
    "wethink-scenes",
    "wethink-shaders",
];

fn test() -> Result<()> {
    let mut steps = Steps::new();
    steps.step("tools", || {
        tools::wasm_target()?;
        tools::software_vulkan()?;
        tools::chromium()?;
        tools::node_packages(site::BROWSER_TESTS)?;
        tools::trunk()?;
        tools::wasm_bindgen().map(drop)
    })?;
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    steps.cargo("lints", &["clippy", "--all-targets", "--", "-D", "warnings"])?;
    let checker = ["clippy", "-p", "wethink-checker", "--all-targets", "--", "-D", "warnings"];
    steps.cargo("lints of the checker", &checker)?;
    let packages = WASM.iter().flat_map(|package| ["-p", package]);
    let wasm = ["clippy", "--lib", "--target", "wasm32-unknown-unknown"].into_iter().chain(packages);
    steps.cargo("lints, wasm32", &wasm.chain(["--", "-D", "warnings"]).collect::<Vec<_>>())?;
    // The command line is tested as a built binary: all targets are built first.
    steps.cargo("build", &["build", "--all-targets"])?;
    steps.cargo("tests", &["test", "--all-targets"])?;
    // Not among the default members: see the workspace's manifest.
    steps.cargo("tests of the checker", &["test", "-p", "wethink-checker"])?;
    steps.cargo("verdicts and scenes in WASM", &["test", "wasm_", "--", "--ignored"])?;
    if tools::starts("tint") {
        steps.cargo("kernels through tint", &["test", "tint_accepts_every_kernel", "--", "--ignored"])?;
    }
    steps.step("kernels in Chromium", kernels_in_chromium)?;
    steps.step("site", site::build)?;
    steps.step("site in Chromium", site::test)?;
    steps.summary();
    Ok(())
}

/// The kernels' own suite, compiled for wasm32 and run on Chromium's software adapter.
fn kernels_in_chromium() -> Result<()> {
    let mut cargo = Process::new(steps::program());
    cargo.args(["test", "-p", "wethink-shaders", "--lib", "--target", "wasm32-unknown-unknown"]);
    let runner = tools::wasm_bindgen()?.join("wasm-bindgen-test-runner");
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
    cargo.env("CHROMEDRIVER", tools::path("chromedriver")?);
    cargo.env("WASM_BINDGEN_TEST_TIMEOUT", "900");
    steps::command(&mut cargo)
}

fn learn(arguments: &[String]) -> Result<()> {
    steps::cargo(&["build", "--quiet", "--all-targets"])?;
    steps::command(Process::new(site::built("learn")).args(arguments))
}

fn bench(suite: Option<&str>) -> Result<()> {
    if suite == Some("web") {
        return site::build().and_then(|()| site::bench());
    }
    let rewards = ["run", "--quiet", "-p", "wethink-reward", "--example", "bench"];
    if suite == Some("reward") {
        return steps::cargo(&rewards);
    }
    // All targets, as the tests do: programs alone have other features, and burn is long to build. Suites also measure the
    // trainer as a built program.
    steps::cargo(&["build", "--quiet", "--all-targets"])?;
    steps::command(Process::new(site::built("bench")).args(suite))?;
    if suite.is_none() { steps::cargo(&rewards) } else { Ok(()) }
}
