//! Stages one after the other and beside each other, each done once.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

/// The folder of the experiment.
pub struct Lab {
    out: PathBuf,
    trainer: PathBuf,
    training: Device,
    answering: Device,
    threads: String,
}

/// A device of the trainer.
pub struct Device(String);

impl Device {
    /// What makes the trainer compute there, in float32 everywhere, so that only the speed is a device's.
    pub fn arguments(&self) -> [String; 4] {
        ["--device", &self.0, "--dtype", "f32"].map(Into::into)
    }

    /// Whether a GPU computes, which takes many more rows in the same time.
    pub fn is_gpu(&self) -> bool {
        self.0 != "cpu"
    }
}

/// How the trainer ends after Ctrl-C: by its own decision where it saves, by the signal where there is nothing to save.
const INTERRUPTED: i32 = 130;
const SIGINT: i32 = 2;

/// What a stage does.
type Run = dyn Fn(&Lab) -> Result<()> + Send + Sync;

/// One thing to do, when all it needs is done.
pub struct Stage {
    /// Its name, and that of its log.
    pub name: String,
    /// Names of stages that come before.
    pub after: Vec<String>,
    /// What is done.
    pub run: Box<Run>,
}

#[derive(Default)]
struct Progress {
    done: BTreeSet<String>,
    under_way: BTreeSet<String>,
    failed: Option<anyhow::Error>,
}

impl Lab {
    /// Opens the folder, or makes it.
    pub fn open(out: &Path, [training, answering]: [&str; 2], threads: usize) -> Result<Self> {
        let trainer = std::env::current_exe()?.with_file_name("trainer");
        if !trainer.is_file() {
            bail!("{}: not built; run `cargo xtask learn`, which builds it", trainer.display());
        }
        for folder in ["done", "logs", "answers", "runs", "checkpoints", "rows"] {
            let path = out.join(folder);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        let [training, answering] = [training, answering].map(|name| Device(name.to_owned()));
        Ok(Self { out: out.to_owned(), trainer, training, answering, threads: threads.max(1).to_string() })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Does what is not done yet, so many stages at a time. Ctrl-C reaches the runs, and is waited out here.
    pub fn run(&self, stages: &[Stage], jobs: usize) -> Result<()> {
        let done = |stage: &&Stage| self.is_done(&stage.name);
        let done: BTreeSet<String> = stages.iter().filter(done).map(|stage| stage.name.clone()).collect();
        eprintln!("{} of {} stages are done", done.len(), stages.len());
        let progress = Mutex::new(Progress { done, ..Progress::default() });
        let changed = Condvar::new();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| self.work(stages, &progress, &changed));
            }
        });
        let progress = progress.into_inner().expect("no thread has panicked");
        progress.failed.map_or(Ok(()), Err)
    }

    /// One worker: takes the first stage that can be done, until there is none.
    fn work(&self, stages: &[Stage], progress: &Mutex<Progress>, changed: &Condvar) {
        let mut held = progress.lock().expect("no thread has panicked");
        loop {
            let open =
                |stage: &&Stage| !held.done.contains(&stage.name) && !held.under_way.contains(&stage.name);
            let ready = |stage: &&Stage| stage.after.iter().all(|name| held.done.contains(name));
            if held.failed.is_some() || !stages.iter().any(|stage| open(&stage)) {
                return;
            }
            let Some(stage) = stages.iter().filter(open).find(ready) else {
                if held.under_way.is_empty() {
                    let names: Vec<&str> = stages.iter().filter(open).map(|stage| &*stage.name).collect();
                    held.failed = Some(anyhow!("{}: waiting for stages that nobody does", names.join(", ")));
                    changed.notify_all();
                    return;
                }
                held = changed.wait(held).expect("no thread has panicked");
                continue;
            };
            held.under_way.insert(stage.name.clone());
            drop(held);
            eprintln!("{} …", stage.name);
            let started = Instant::now();
            let result = (stage.run)(self).and_then(|()| {
                let path = self.marker(&stage.name);
                File::create(&path).map(drop).with_context(|| path.display().to_string())
            });
            held = progress.lock().expect("no thread has panicked");
            held.under_way.remove(&stage.name);
            match result {
                Ok(()) => {
                    held.done.insert(stage.name.clone());
                    let (seconds, done) = (started.elapsed().as_secs_f64(), held.done.len());
                    eprintln!("{}: {seconds:.0} s; {done} of {} stages are done", stage.name, stages.len());
                }
                Err(error) => {
                    held.failed.get_or_insert(error.context(stage.name.clone()));
                }
            }
            changed.notify_all();
        }
    }

    /// Whether a stage is done.
    pub fn is_done(&self, name: &str) -> bool {
        self.marker(name).is_file()
    }

    fn marker(&self, name: &str) -> PathBuf {
        self.path("done").join(name)
    }

    /// Where runs compute.
    pub fn training(&self) -> &Device {
        &self.training
    }

    /// Where held-out scenes are answered.
    pub fn answering(&self) -> &Device {
        &self.answering
    }

    /// Runs the trainer; what it says goes to the stage's log.
    pub fn trainer(&self, stage: &str, arguments: &[String]) -> Result<()> {
        let log = self.path("logs").join(format!("{stage}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| log.display().to_string())?;
        let mut command = Command::new(&self.trainer);
        command
            .args(arguments)
            .env("RAYON_NUM_THREADS", &self.threads)
            .stdout(file.try_clone()?)
            .stderr(file);
        let status = command.status().with_context(|| self.trainer.display().to_string())?;
        if status.code() == Some(INTERRUPTED) || status.signal() == Some(SIGINT) {
            bail!("stopped by Ctrl-C; the same command goes on");
        }
        if !status.success() {
            bail!("trainer {} ended with {status}; see {}", arguments.join(" "), log.display());
        }
        Ok(())
    }

    /// Trains until the run has so many steps: begins it, or goes on.
    pub fn train(&self, stage: &str, command: &str, recipe: &str, steps: u64, set: &[String]) -> Result<()> {
        let run = self.path("runs").join(stage);
        let mut arguments = vec![command.to_owned()];
        // A run that ended before its first checkpoint is begun anew.
        if run.join("checkpoints/last").exists() {
            arguments.push("--resume".into());
        } else {
            if run.exists() {
                fs::remove_dir_all(&run).with_context(|| run.display().to_string())?;
            }
            arguments.push(recipe.into());
            arguments.extend(["--set".into(), format!("train.steps={steps}")]);
            arguments.extend(set.iter().flat_map(|value| ["--set".into(), value.clone()]));
        }
        arguments.extend(self.training.arguments());
        arguments.extend(["--out".into(), run.display().to_string()]);
        self.trainer(stage, &arguments)?;
        let reached =
            self.lines(&format!("runs/{stage}/metrics.jsonl"))?.last().and_then(|line| line["step"].as_u64());
        if reached != Some(steps) {
            bail!("stopped after step {} of {steps}; the same command goes on", reached.unwrap_or(0));
        }
        Ok(())
    }

    /// A file of JSON lines.
    pub fn lines(&self, name: &str) -> Result<Vec<Value>> {
        let path = self.path(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let line = |(index, line)| {
            serde_json::from_str(line).with_context(|| format!("{}: line {}", path.display(), index + 1))
        };
        text.lines().enumerate().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A lab in a folder of its own, whose trainer is never called.
    fn lab(folder: &Path) -> Lab {
        fs::create_dir_all(folder.join("done")).expect("a folder");
        Lab {
            out: folder.to_owned(),
            trainer: "/nowhere".into(),
            training: Device("cpu".into()),
            answering: Device("cpu".into()),
            threads: "1".into(),
        }
    }

    fn stages(log: &Arc<Mutex<Vec<&'static str>>>, fails: &'static str) -> Vec<Stage> {
        let stage = |name: &'static str, after: &[&str]| {
            let log = Arc::clone(log);
            let run = move |_: &Lab| {
                log.lock().expect("no panic").push(name);
                if name == fails { bail!("it broke") } else { Ok(()) }
            };
            Stage { name: name.into(), after: after.iter().map(|&n| n.into()).collect(), run: Box::new(run) }
        };
        vec![
            stage("end", &["left", "right"]),
            stage("left", &["start"]),
            stage("right", &["start"]),
            stage("start", &[]),
        ]
    }

    #[test]
    fn stages_wait_for_those_they_need_and_are_done_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let lab = lab(folder.path());
        let log = Arc::default();
        lab.run(&stages(&log, ""), 2).expect("all are done");
        let order = log.lock().expect("no panic").clone();
        assert_eq!((order.len(), order[0], order[3]), (4, "start", "end"), "{order:?}");
        lab.run(&stages(&log, ""), 2).expect("nothing is left");
        assert_eq!(log.lock().expect("no panic").len(), 4);
    }

    #[test]
    fn what_fails_is_named_and_alone_done_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let lab = lab(folder.path());
        let log = Arc::default();
        let error = lab.run(&stages(&log, "right"), 1).expect_err("one fails");
        assert_eq!(format!("{error:#}"), "right: it broke");
        log.lock().expect("no panic").clear();
        lab.run(&stages(&log, ""), 1).expect("all are done");
        assert_eq!(*log.lock().expect("no panic"), ["right", "end"]);
    }

    #[test]
    fn a_stage_that_nobody_does_is_no_endless_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Arc::default();
        let all = &stages(&log, "")[..3];
        let error = lab(folder.path()).run(all, 2).expect_err("nobody starts").to_string();
        assert_eq!(error, "end, left, right: waiting for stages that nobody does");
    }

    #[test]
    fn a_trainer_that_cannot_be_run_is_an_error_that_names_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("logs")).expect("a folder");
        let with = |trainer: &str| Lab { trainer: trainer.into(), ..lab(folder.path()) };
        assert!(
            with("/nowhere").trainer("base", &[]).expect_err("no program").to_string().contains("/nowhere")
        );
        let error = with("false").trainer("base", &["sft".into()]).expect_err("it fails").to_string();
        assert!(error.contains("trainer sft ended with") && error.ends_with("logs/base.log"), "{error}");
    }
}
