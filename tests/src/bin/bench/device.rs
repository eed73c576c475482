//! Training on a device beside transformers and PEFT on the same one: same checkpoint, same batches, one after the other.
//!
//! `bench device DEVICE SIZES`, as `cargo xtask device` calls it. Sizes XS to L are trained in full; 3b and 7b by adapters of
//! rank 64 with layers computed again, in both. Weights are random; every row has one picture of 256 tokens and 512 tokens in
//! all. On CUDA the arithmetic is bf16, elsewhere float32. Memory is what `nvidia-smi` says of the whole device, so nothing
//! else should run there; where it is absent, the process's own. Needs `WETHINK_PYTHON`, as `bench train`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use wethink_processor::Options;
use wethink_tests::fixtures::interop;
use wethink_trainer::folder::Folder;
use wethink_trainer::train::memory::{Shapes, operations};
use wethink_trainer::train::metrics;
use wethink_trainer::train::recipe::Recipe;
use wethink_trainer::train::rows::Rows;

use crate::train::{SEED, binary, dearest, profiled, run, steps_of, summary, write_batches};

const BATCH: usize = 8;
const STEPS: usize = 8;
/// Tokens of a row.
const LENGTH: usize = 512;
/// Side of a picture in pixels: 16 by 16 tokens.
const SIDE: &str = "448";
const RANK: usize = 64;

/// Both programs on every size.
pub fn device() -> Result<Value> {
    let mut arguments = std::env::args().skip(2);
    let (device, sizes) = (arguments.next(), arguments.next());
    let (Some(device), Some(sizes)) = (device, sizes) else {
        bail!("bench device DEVICE SIZES, for example: bench device cuda M,3b,7b");
    };
    let python = std::env::var_os("WETHINK_PYTHON").context(
        "WETHINK_PYTHON is not set: make a virtual environment, install tests/interop/train/requirements.txt there, and \
         name its python",
    )?;
    let mut report = Map::new();
    for size in sizes.split(',') {
        eprintln!("size {size}");
        let folder = tempfile::tempdir()?;
        let bench = Bench { folder: folder.path().to_owned(), device: device.clone(), size: size.to_owned() };
        report.insert(size.to_owned(), bench.run(Path::new(&python)).with_context(|| size.to_owned())?);
    }
    Ok(report.into())
}

struct Bench {
    folder: PathBuf,
    device: String,
    size: String,
}

impl Bench {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Whether the size is one of those that are trained by adapters.
    fn adapters(&self) -> bool {
        self.size.to_lowercase().ends_with('b')
    }

    fn cuda(&self) -> bool {
        self.device.starts_with("cuda")
    }

    fn run(&self, python: &Path) -> Result<Value> {
        let (rows, checkpoint, recipe) =
            (self.path("data/rows.jsonl"), self.path("checkpoint"), self.path("recipe.toml"));
        self.prepare(&rows, &checkpoint)?;
        std::fs::write(&recipe, self.recipe(&rows, &checkpoint))?;
        let batches = self.path("batches.safetensors");
        write_batches(Path::new(&batches), Path::new(&rows), Path::new(&checkpoint), BATCH)?;
        let operations = self.operations(Path::new(&recipe), Path::new(&rows))?;

        let sft = |out: &str| {
            let mut command = Command::new(binary("trainer")?);
            command.args(["sft", &recipe, "--device", &self.device, "--out", &self.path(out)]);
            Ok::<_, anyhow::Error>(command)
        };
        let (_, memory) = watched(&mut sft("run")?)?;
        let ours = described(&metrics::read(&self.folder.join("run/metrics.jsonl"))?, memory, operations);
        let dearest = match self.device.as_str() {
            "cpu" => match profiled(&sft("profiled")?, &self.folder.join("perf.data")) {
                Ok(()) => dearest(&self.folder.join("perf.data"))?,
                Err(error) => json!(format!("perf cannot be used: {error:#}")),
            },
            _ => self.kernels(&mut sft("profiled")?)?,
        };

        let mut command = Command::new(python);
        command.arg(interop().join("bench_train.py")).args([&checkpoint, &batches]);
        command.arg(std::thread::available_parallelism()?.get().to_string());
        if self.cuda() {
            command.args(["--device", "cuda", "--dtype", "bfloat16"]);
        }
        if self.adapters() {
            command.args(["--rank", &RANK.to_string(), "--recompute"]);
        }
        let (output, memory) = watched(&mut command)?;
        let theirs: Value = serde_json::from_slice(&output).context("bench_train.py")?;
        let seconds = |value: &Value| value["seconds_a_step"].as_f64().unwrap_or(f64::NAN);
        let peers = described(&steps_of(&theirs), memory, operations);
        Ok(json!({
            "trained": if self.adapters() { format!("adapters of rank {RANK}") } else { "everything".into() },
            "batch": BATCH,
            "tokens_a_row": LENGTH,
            "model_operations_a_step": operations,
            "times_transformers_time": seconds(&ours) / seconds(&peers),
            "trainer": ours,
            "transformers": peers,
            "dearest_of_trainer": dearest,
            "dearest_of_transformers": theirs["operations"],
        }))
    }

    /// Rows of one picture whose responses are digits, each a token of its own, so that every row has the same length.
    fn prepare(&self, rows: &str, checkpoint: &str) -> Result<()> {
        let trainer = |arguments: &[&str]| run(Command::new(binary("trainer")?).args(arguments));
        let count = (BATCH * STEPS).to_string();
        let scenes = ["--task", "A", "--size", SIDE, "--square", "--n", &count];
        trainer(&[&["scenes", "make"], &scenes[..], &["--out", &self.path("data")]].concat())?;
        let digits = |row: usize, count: usize| -> String {
            (0..count).map(|place| char::from(b'0' + ((row * 7 + place * place) % 10) as u8)).collect()
        };
        let text = std::fs::read_to_string(rows)?;
        let rewrite = |length: usize| -> Result<()> {
            let mut lines = String::new();
            for (number, line) in text.lines().enumerate() {
                let mut row: Value = serde_json::from_str(line)?;
                row["problem"] = "What is in the picture?".into();
                row["answer"] = "0".into();
                row["refined_cot"] = digits(number, length).into();
                lines += &format!("{row}\n");
            }
            Ok(std::fs::write(rows, lines)?)
        };
        rewrite(1)?;
        let dtype = if self.cuda() { "bf16" } else { "f32" };
        let preset = ["init", "--preset", &self.size, "--tokenizer-from", rows, "--dtype", dtype];
        trainer(&[&preset[..], &["--out", checkpoint]].concat())?;
        let processor = Folder::open(Path::new(checkpoint))?.processor()?;
        let shortest =
            Rows::open(Path::new(rows), None)?.sample(&processor, 0, &Options::default())?.tokens();
        rewrite(1 + LENGTH.checked_sub(shortest).context("the picture alone is longer than a row")?)
    }

    fn recipe(&self, rows: &str, checkpoint: &str) -> String {
        let trained = match self.adapters() {
            true => format!(
                "[lora]\nrank = {RANK}\nalpha = {}\nlearning_rate = 1e-4\n[memory]\nrecompute_layers = true\n",
                2 * RANK
            ),
            false => ["vision", "merger", "embeddings", "language"]
                .map(|group| format!("[groups.{group}]\nlearning_rate = 1e-4\nweight_decay = 0.01\n"))
                .concat(),
        };
        format!(
            "checkpoint = {checkpoint:?}\nseed = {SEED}\n[data]\nrows = {rows:?}\n\
             [train]\nsteps = {STEPS}\nbatch = {BATCH}\nmicro_batch = {BATCH}\n[schedule]\nshape = \"constant\"\n\
             [save]\nevery = 1000\n{trained}"
        )
    }

    /// Operations of a step that the model needs, what is computed again left out: those of MFU.
    fn operations(&self, recipe: &Path, rows: &Path) -> Result<f64> {
        let mut recipe = Recipe::read(recipe, &[])?;
        recipe.memory.recompute_layers = false;
        let folder = Folder::open(&recipe.checkpoint)?;
        let sample = Rows::open(rows, None)?.sample(&folder.processor()?, 0, &Options::default())?;
        let shapes = Shapes {
            lengths: vec![sample.tokens() as u64; BATCH],
            targets: (BATCH * sample.response.len()) as u64,
            grids: sample.prompt().grids.repeat(BATCH),
        };
        Ok(operations(&folder.config()?, &recipe, &[shapes]))
    }

    /// The ten kernels of a run that took most of the device's time, which cubecl measures one by one.
    fn kernels(&self, command: &mut Command) -> Result<Value> {
        let log = self.path("kernels.log");
        let settings = format!("[profiling.logger]\nlevel = \"medium\"\nfile = {log:?}\n");
        std::fs::write(self.folder.join("cubecl.toml"), settings)?;
        run(command.current_dir(&self.folder))?;
        let mut kernels = std::collections::BTreeMap::<String, (f64, u64)>::new();
        for line in std::fs::read_to_string(&log)?.lines() {
            let mut parts = line.trim_matches('|').splitn(2, '|').map(str::trim);
            if let (Some(Some(seconds)), Some(name)) = (parts.next().map(seconds), parts.next())
                && !name.contains('|')
            {
                let kernel = kernels.entry(name.to_owned()).or_default();
                *kernel = (kernel.0 + seconds, kernel.1 + 1);
            }
        }
        let total: f64 = kernels.values().map(|(seconds, _)| seconds).sum();
        let mut kernels: Vec<_> = kernels.into_iter().collect();
        kernels.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        let line = |(name, (seconds, calls)): &(String, (f64, u64))| json!({"name": name, "calls": calls, "share": seconds / total});
        Ok(kernels.iter().take(10).map(line).collect())
    }
}

/// A duration as Rust prints it.
fn seconds(text: &str) -> Option<f64> {
    let units = [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

/// Figures of one of both programs. `WETHINK_PEAK_TFLOPS` is the device's peak, by its data sheet.
fn described(steps: &[Value], device_memory: Option<u64>, operations: f64) -> Value {
    let mut figures = summary(steps);
    let rate = operations / figures["seconds_a_step"].as_f64().unwrap_or(f64::NAN);
    let peak = std::env::var("WETHINK_PEAK_TFLOPS").ok().and_then(|text| text.parse::<f64>().ok());
    figures["device_memory_bytes"] = json!(device_memory);
    figures["tflops_per_second"] = json!(rate / 1e12);
    figures["mfu"] = json!(peak.map(|peak| rate / 1e12 / peak));
    figures
}

/// Output of a command, and the most memory of the device that was in use meanwhile beyond what was before.
fn watched(command: &mut Command) -> Result<(Vec<u8>, Option<u64>)> {
    let (done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = device_memory();
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) && before.is_some() {
                most.fetch_max(device_memory().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let output = run(command);
        done.store(true, Ordering::Relaxed);
        output
    })?;
    Ok((output, before.map(|before| most.into_inner().saturating_sub(before))))
}

/// Bytes in use on the first GPU.
fn device_memory() -> Option<u64> {
    let mut command = Command::new("nvidia-smi");
    command.args(["--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]);
    let output = command.stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse::<u64>().ok().map(|mebibytes| mebibytes << 20)
}
