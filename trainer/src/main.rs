//! Entry point; everything is in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match wethink_trainer::run(wethink_trainer::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
