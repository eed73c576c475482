//! A training step here and in PyTorch: same checkpoint (preset S), same batches, float32, same cores, one after the other.
//!
//! Needs a Python with the packages of `tests/interop/train/requirements.txt`, named by `WETHINK_PYTHON`. Where `perf` is
//! installed, a second run tells the trainer's dearest functions; it is not timed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use wethink_processor::Options;
use wethink_tests::fixtures::interop;
use wethink_trainer::folder::Folder;
use wethink_trainer::train::feed::order;
use wethink_trainer::train::metrics;
use wethink_trainer::train::rows::Rows;
use wethink_trainer::train::samples::Sample;

const BATCH: usize = 8;
const STEPS: usize = 8;
/// Steps before anything is counted.
const WARM_UP: usize = 2;
pub const SEED: u64 = 3;

/// Runs both and compares.
pub fn train() -> Result<Value> {
    let python = std::env::var_os("WETHINK_PYTHON").context(
        "WETHINK_PYTHON is not set: make a virtual environment, install tests/interop/train/requirements.txt there, and \
         name its python",
    )?;
    let folder = std::env::temp_dir().join(format!("wethink-bench-{}", std::process::id()));
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::create_dir_all(&folder)?;
    let (data, rows, checkpoint) = (path("data"), path("data/rows.jsonl"), path("s"));
    let count = (BATCH * STEPS).to_string();
    let trainer = |arguments: &[&str]| run(Command::new(binary("trainer")?).args(arguments));
    trainer(&["scenes", "make", "--task", "A", "--n", &count, "--out", &data])?;
    trainer(&["init", "--preset", "S", "--tokenizer-from", &rows, "--out", &checkpoint])?;
    let recipe = format!(
        "checkpoint = {checkpoint:?}\nseed = {SEED}\n[data]\nrows = {rows:?}\n\
         [train]\nsteps = {STEPS}\nbatch = {BATCH}\nmicro_batch = {BATCH}\n[schedule]\nshape = \"constant\"\n\
         [save]\nevery = 1000\n{}",
        ["vision", "merger", "embeddings", "language"]
            .map(|group| format!("[groups.{group}]\nlearning_rate = 1e-4\nweight_decay = 0.01\n"))
            .concat()
    );
    std::fs::write(path("recipe.toml"), recipe)?;
    write_batches(Path::new(&path("batches.safetensors")), Path::new(&rows), Path::new(&checkpoint), BATCH)?;

    trainer(&["sft", &path("recipe.toml"), "--device", "cpu", "--out", &path("run")])?;
    let ours = summary(&metrics::read(&folder.join("run/metrics.jsonl"))?);
    let mut again = Command::new(binary("trainer")?);
    again.args(["sft", &path("recipe.toml"), "--device", "cpu", "--out", &path("profiled")]);
    let dearest = match profiled(&again, Path::new(&path("perf.data"))) {
        Ok(()) => dearest(Path::new(&path("perf.data")))?,
        Err(error) => {
            json!(format!("perf cannot be used; on Debian it is the package linux-perf: {error:#}"))
        }
    };
    let script = interop().join("bench_train.py");
    let threads = std::thread::available_parallelism()?.get().to_string();
    let mut command = Command::new(python);
    command.arg(script).args([&checkpoint, &path("batches.safetensors"), &threads]);
    let theirs: Value = serde_json::from_slice(&run(&mut command)?).context("bench_train.py")?;
    let theirs = json!({ "pytorch": summary(&steps_of(&theirs)), "operations": theirs["operations"] });
    std::fs::remove_dir_all(&folder)?;

    let seconds = |value: &Value| value["seconds_a_step"].as_f64().unwrap_or(f64::NAN);
    let ratio = seconds(&ours) / seconds(&theirs["pytorch"]);
    Ok(json!({
        "preset": "S",
        "batch": BATCH,
        "trainer": ours,
        "pytorch": theirs["pytorch"],
        "times_pytorchs_time": ratio,
        "dearest_operations_of_trainer": dearest,
        "dearest_operations_of_pytorch": theirs["operations"],
    }))
}

/// A program that is built with this one.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if path.is_file() { Ok(path) } else { bail!("{}: not there; `cargo build` makes it", path.display()) }
}

/// Runs a command once more under `perf`.
pub fn profiled(command: &Command, recording: &Path) -> Result<()> {
    let mut again = Command::new("perf");
    again.args(["record", "--quiet", "-o"]).arg(recording).arg("--").arg(command.get_program());
    run(again.args(command.get_args())).map(drop)
}

/// The ten functions that took most samples of a recording, start-up included, by the library's own names.
pub fn dearest(recording: &Path) -> Result<Value> {
    let mut report = Command::new("perf");
    report.args([
        "report",
        "--stdio",
        "--no-children",
        "-g",
        "none",
        "-F",
        "overhead,symbol",
        "-t",
        "\t",
        "-i",
    ]);
    let text = String::from_utf8(run(report.arg(recording))?)?;
    let mut shares = std::collections::BTreeMap::<&str, f64>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((share, symbol)) = line.trim().split_once('\t')
            && let Ok(share) = share.trim().trim_end_matches('%').parse::<f64>()
        {
            *shares.entry(symbol.trim().trim_start_matches("[.] ")).or_default() += share / 100.0;
        }
    }
    let mut shares: Vec<_> = shares.into_iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(shares.iter().take(10).map(|(name, share)| json!({ "name": name, "share": share })).collect())
}

pub fn steps_of(theirs: &Value) -> Vec<Value> {
    theirs["steps"].as_array().cloned().unwrap_or_default()
}

/// Median time, tokens a second, peak memory and losses of the steps after warm-up.
pub fn summary(steps: &[Value]) -> Value {
    let number = |step: &Value, field: &str| step[field].as_f64().unwrap_or(f64::NAN);
    let mut times: Vec<f64> = steps.iter().skip(WARM_UP).map(|step| number(step, "seconds")).collect();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
    let tokens: f64 = steps.iter().map(|step| number(step, "tokens")).sum::<f64>() / steps.len() as f64;
    json!({
        "seconds_a_step": median,
        "fastest": times.first(),
        "slowest": times.last(),
        "tokens_per_second": tokens / median,
        "peak_memory_bytes": steps.last().map(|step| step["peak_memory_bytes"].clone()),
        "losses": steps.iter().map(|step| step["loss"].clone()).collect::<Vec<_>>(),
    })
}

/// The batches that the run will draw, padded on the right, as PyTorch takes them.
pub fn write_batches(path: &Path, rows: &Path, checkpoint: &Path, batch: usize) -> Result<()> {
    let rows = Rows::open(rows, None)?;
    let processor = Folder::open(checkpoint)?.processor()?;
    let order = order(SEED, 0, rows.len());
    let mut tensors = Vec::new();
    for (step, part) in order.chunks(batch).enumerate() {
        let samples = part.iter().map(|&row| rows.sample(&processor, row, &Options::default()));
        let samples: Vec<Sample> = samples.collect::<Result<_>>()?;
        let width = samples.iter().map(Sample::tokens).max().unwrap_or(0);
        let (mut ids, mut labels, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        let (mut grids, mut pixels, mut row_len) = (Vec::new(), Vec::new(), 1);
        for sample in &samples {
            let prompt = sample.prompt();
            for place in 0..width {
                let id = prompt.ids.get(place).copied().map(i64::from);
                ids.push(id.unwrap_or(0));
                mask.push(i64::from(id.is_some()));
                labels.push(id.filter(|_| sample.response.contains(&place)).unwrap_or(-100));
            }
            let patches: usize = prompt.grids.iter().map(|grid| grid.iter().product::<usize>()).sum();
            row_len = prompt.patches.len().checked_div(patches).unwrap_or(row_len);
            grids.extend(prompt.grids.iter().flatten().map(|&n| n as i64));
            pixels.extend_from_slice(prompt.patches);
        }
        let words = |values: &[i64]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        for (name, values, columns) in
            [("ids", &ids, width), ("labels", &labels, width), ("mask", &mask, width), ("grids", &grids, 3)]
        {
            let shape = vec![values.len() / columns, columns];
            tensors.push((format!("{step}/{name}"), Dtype::I64, shape, words(values)));
        }
        let bytes = pixels.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
        tensors.push((format!("{step}/pixels"), Dtype::F32, vec![pixels.len() / row_len, row_len], bytes));
    }
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)));
    let views = views.collect::<Result<Vec<_>>>()?;
    Ok(std::fs::write(path, safetensors::serialize(views, None)?)?)
}

/// What a command that succeeds prints.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}
