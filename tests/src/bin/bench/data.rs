//! `trainer data check` over 100,000 rows with pictures: rows per second and memory, as the command itself reports them.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wethink_tests::dataset::{self, Dataset};

const ROWS: usize = 100_000;
const PICTURES: usize = 1_000;

/// Runs the command built beside this program, with pictures and without.
pub fn data() -> Result<Value> {
    let program = std::env::current_exe()?.with_file_name(format!("trainer{}", std::env::consts::EXE_SUFFIX));
    ensure!(program.is_file(), "{}: missing; run `cargo build` first", program.display());
    let folder = std::env::temp_dir().join(format!("wethink-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&program, &folder);
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(program: &std::path::Path, folder: &std::path::Path) -> Result<Value> {
    let Dataset { rows, images } = dataset::make(folder, ROWS, PICTURES)?;
    let check = |pictures: bool| -> Result<Value> {
        let mut command = Command::new(program);
        command.args(["data", "check", "--json", "--data"]).arg(&rows);
        if pictures {
            command.arg("--images").arg(&images);
        }
        let output = command.output()?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let figure = |name: &str| report[name].clone();
        Ok(json!({
            "rows": figure("rows"),
            "seconds": figure("seconds"),
            "rows_per_second": figure("rows_per_second"),
            "peak_memory_bytes": figure("peak_memory_bytes"),
        }))
    };
    Ok(json!({ "check": check(false)?, "check_with_pictures": check(true)? }))
}
