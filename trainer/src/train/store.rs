//! The state of a run on disk: written beside, flushed, checked, renamed. Whatever ends the process, the last whole
//! checkpoint stays loadable.
//!
//! ```text
//! checkpoints/step-00000120/weights.safetensors   trained parameters, float32
//!                           moments.safetensors   NAME/first and NAME/second, or NAME/rows and NAME/columns
//!                           state.json            step, position in the data, counters
//!                           sums.json             SHA-256 of the others; written last
//! checkpoints/last -> step-00000120
//! ```
//!
//! A folder without sound sums does not count as a checkpoint. Frozen parameters are not saved: they are the start
//! checkpoint's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wethink_model::Model;

use super::adamw::{AdamW, Moments, Second, Settings};
use super::files::{read_tensors, sum, write_tensors};
use super::gradients::Values;

const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "state.json";
const SUMS: &str = "sums.json";

/// Everything of a run that is no tensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Rows drawn from the stream of all epochs, those left out included.
    pub drawn: u64,
    /// Rows left out for their length.
    pub dropped: u64,
    /// Steps whose update was skipped, in all.
    pub skipped: u64,
    /// Steps whose update was skipped, in a row up to now.
    pub skipped_in_a_row: u64,
    /// Targets trained on.
    pub targets: u64,
    /// The best measurement so far.
    pub best: Option<Best>,
    /// Measurements since the best one.
    pub since_best: u64,
    /// Updates of each parameter's moments.
    pub updates: BTreeMap<String, u32>,
}

/// The best measurement so far; in float32, which JSON carries exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Share of answers accepted, if answers are judged.
    pub accuracy: Option<f32>,
    /// Validation loss.
    pub loss: f32,
}

fn flat(value: &Tensor<1>) -> Vec<usize> {
    value.dims().to_vec()
}

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in the run folder `run`; the folder is made when something is saved.
    pub fn new(run: &Path) -> Self {
        Self { dir: run.join("checkpoints") }
    }

    /// The folder of a step's checkpoint.
    pub fn path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step:08}"))
    }

    /// Saves a checkpoint and points `last` at it. On failure nothing that was there before is touched.
    pub fn save(&self, trained: &Values, optimizer: &AdamW, state: &State) -> Result<PathBuf> {
        let path = self.path(state.step);
        let part = path.with_added_extension("part");
        self.write(&part, trained, optimizer, state)
            .and_then(|()| Ok(self.install(&part, &path)?))
            .inspect_err(|_| drop(fs::remove_dir_all(&part)))
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        self.link("last", state.step)?;
        Ok(path)
    }

    fn write(&self, part: &Path, trained: &Values, optimizer: &AdamW, state: &State) -> Result<()> {
        if part.exists() {
            fs::remove_dir_all(part)?;
        }
        fs::create_dir_all(part)?;
        let weights = trained.iter().map(|(name, value)| (name.clone(), flat(value), value));
        write_tensors(&part.join(WEIGHTS), weights, DType::F32)?;
        let moments = optimizer.moments.iter().flat_map(|(name, moments)| {
            let second = match &moments.second {
                Second::Full(values) => vec![("second", values)],
                Second::Factored { rows, columns } => vec![("rows", rows), ("columns", columns)],
            };
            let first = moments.first.iter().map(|first| ("first", first));
            let named = move |(kind, value)| (format!("{name}/{kind}"), flat(value), value);
            first.chain(second).map(named).collect::<Vec<_>>()
        });
        write_tensors(&part.join(MOMENTS), moments, DType::F32)?;
        let updates = optimizer.moments.iter().map(|(name, moments)| (name.clone(), moments.updates));
        let state = State { updates: updates.collect(), ..state.clone() };
        write_file(&part.join(STATE), &serde_json::to_vec_pretty(&state)?)?;
        let mut sums = BTreeMap::new();
        for name in [WEIGHTS, MOMENTS, STATE] {
            sums.insert(name, sum(&part.join(name))?);
        }
        write_file(&part.join(SUMS), &serde_json::to_vec_pretty(&sums)?)?;
        Ok(())
    }

    /// Puts the finished folder in its place.
    fn install(&self, part: &Path, path: &Path) -> io::Result<()> {
        sync_folder(part)?;
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::rename(part, path)?;
        sync_folder(&self.dir)
    }

    /// Points `name` at a step's checkpoint; at every moment it points at the old or the new one.
    pub fn link(&self, name: &str, step: u64) -> Result<()> {
        let new = self.dir.join(format!("{name}.part"));
        let link = || -> io::Result<()> {
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(Path::new(&format!("step-{step:08}")), &new)?;
            fs::rename(&new, self.dir.join(name))?;
            sync_folder(&self.dir)
        };
        link().with_context(|| format!("{}: cannot be set", self.dir.join(name).display()))
    }

    /// Steps with a folder, the newest first, whole or not.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| self.dir.display().to_string())?,
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.with_context(|| self.dir.display().to_string())?.file_name();
            steps.extend(name.to_str().and_then(|name| name.strip_prefix("step-")?.parse::<u64>().ok()));
        }
        steps.sort_unstable_by(|a, b| b.cmp(a));
        Ok(steps)
    }

    /// Removes the oldest checkpoints but `keep`, the best one excepted.
    pub fn prune(&self, keep: usize, best: Option<u64>) -> Result<()> {
        for step in self.steps()?.into_iter().skip(keep).filter(|&step| Some(step) != best) {
            let path = self.path(step);
            fs::remove_dir_all(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
        Ok(())
    }

    /// The newest whole checkpoint; what is wrong with newer ones goes to `complain`.
    pub fn newest(&self, complain: &mut dyn FnMut(String)) -> Result<Option<Saved>> {
        for step in self.steps()? {
            match Saved::open(self.path(step)) {
                Ok(saved) => return Ok(Some(saved)),
                Err(error) => complain(format!("{error:#}")),
            }
        }
        Ok(None)
    }

    /// The checkpoint of a step.
    pub fn step(&self, step: u64) -> Result<Saved> {
        Saved::open(self.path(step))
    }

    /// The checkpoint that a link points at.
    pub fn linked(&self, name: &str) -> Result<Saved> {
        let path = self.dir.join(name);
        let target = fs::read_link(&path).with_context(|| format!("{}: no such link", path.display()))?;
        Saved::open(self.dir.join(target))
    }
}

/// A checkpoint whose sums are right.
#[derive(Debug)]
pub struct Saved {
    /// Its folder.
    pub path: PathBuf,
    /// Everything but the tensors.
    pub state: State,
}

impl Saved {
    /// Checks every file of the folder.
    pub fn open(path: PathBuf) -> Result<Self> {
        let name = path.display().to_string();
        let sums: BTreeMap<String, String> = read_json(&path.join(SUMS))
            .and_then(|json| Ok(serde_json::from_value(json)?))
            .with_context(|| format!("{name}: not a whole checkpoint"))?;
        for file in [WEIGHTS, MOMENTS, STATE] {
            let want = sums.get(file).with_context(|| format!("{name}/{SUMS}: no sum of {file}"))?;
            let got = sum(&path.join(file)).with_context(|| format!("{name}/{file}"))?;
            if got != *want {
                bail!("{name}/{file}: damaged, its SHA-256 is not the one in {SUMS}");
            }
        }
        let state = serde_json::from_value(read_json(&path.join(STATE))?)
            .with_context(|| format!("{name}/{STATE}"))?;
        Ok(Self { path, state })
    }

    /// The model with the saved parameters in place of its own. Every saved one must fit.
    pub fn weights(&self, model: Model) -> Result<Model> {
        let mut values = read_tensors(&self.path.join(WEIGHTS), &model.device())?;
        let mut misfit = None;
        let model = model.map_parameters(&mut |name, own| match values.remove(name) {
            Some(value) if value.dims() == own.dims() => value,
            Some(_) => {
                misfit.get_or_insert_with(|| name.to_owned());
                own
            }
            None => own,
        });
        if let Some(name) = misfit.or_else(|| values.into_keys().next()) {
            bail!("{}: {name} does not fit the checkpoint that the run started from", self.path.display());
        }
        Ok(model)
    }

    /// The optimizer as it was.
    pub fn optimizer(&self, settings: Settings, device: &Device) -> Result<AdamW> {
        let mut values = read_tensors(&self.path.join(MOMENTS), device)?;
        let mut moments = BTreeMap::new();
        for (name, &updates) in &self.state.updates {
            let mut take = |kind: &str| values.remove(&format!("{name}/{kind}"));
            let second = match (take("second"), take("rows"), take("columns")) {
                (Some(values), _, _) => Second::Full(values),
                (None, Some(rows), Some(columns)) => Second::Factored { rows, columns },
                _ => bail!("{}/{MOMENTS}: no {name}/second, nor rows and columns", self.path.display()),
            };
            let first = take("first");
            if first.is_none() && settings.beta1 > 0.0 {
                bail!("{}/{MOMENTS}: no {name}/first", self.path.display());
            }
            moments.insert(name.clone(), Moments { first, second, updates });
        }
        Ok(AdamW { moments, ..AdamW::new(settings) })
    }
}

/// Makes a folder's entries last. Where folders cannot be opened as files, the file system sees to it.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_dir(target, link)
}

fn read_json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| format!("{}: not JSON", path.display()))
}

/// Writes and flushes a file that nobody reads yet.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8 };

    fn vector(values: &[f32]) -> Tensor<1> {
        Tensor::from_floats(values, &Device::flex())
    }

    fn save(store: &Store, step: u64) -> Result<PathBuf> {
        let trained = Values::from([("a.weight".to_owned(), vector(&[step as f32, -0.0]))]);
        let mut optimizer = AdamW::new(SETTINGS);
        let second = Second::Full(vector(&[2.0]));
        let moments = Moments { first: Some(vector(&[1.0])), second, updates: step as u32 };
        optimizer.moments.insert("a.weight".into(), moments);
        store.save(&trained, &optimizer, &State { step, drawn: 7, ..State::default() })
    }

    #[test]
    fn what_is_saved_comes_back() {
        let run = tempfile::tempdir().expect("a folder");
        let store = Store::new(run.path());
        save(&store, 3).expect("saved");
        let saved = store.linked("last").expect("whole");
        assert_eq!((saved.state.step, saved.state.drawn), (3, 7));
        let optimizer = saved.optimizer(SETTINGS, &Device::flex()).expect("moments");
        assert_eq!(optimizer.moments["a.weight"].updates, 3);
        let weights = read_tensors(&saved.path.join(WEIGHTS), &Device::flex()).expect("weights");
        let values: Vec<f32> = weights["a.weight"].clone().into_data().try_into_vec().expect("f32");
        assert_eq!(
            values.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            [3f32.to_bits(), (-0f32).to_bits()]
        );
    }

    #[test]
    fn a_damaged_checkpoint_is_passed_over_and_named() {
        let run = tempfile::tempdir().expect("a folder");
        let store = Store::new(run.path());
        for step in [1, 2, 3] {
            save(&store, step).expect("saved");
        }
        let weights = store.path(3).join(WEIGHTS);
        let mut bytes = fs::read(&weights).expect("the file");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs::write(&weights, bytes).expect("written");
        fs::remove_file(store.path(2).join(SUMS)).expect("removed");
        fs::create_dir(store.path(9).with_added_extension("part")).expect("made");
        let mut complaints = Vec::new();
        let saved = store.newest(&mut |text| complaints.push(text)).expect("readable").expect("one is whole");
        assert_eq!(saved.state.step, 1);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("SHA-256") && complaints[0].contains("step-00000003"));
        assert!(store.linked("last").is_err(), "the link still points at the damaged one");
    }

    #[test]
    fn a_failed_save_leaves_the_last_good_one() {
        let run = tempfile::tempdir().expect("a folder");
        let store = Store::new(run.path());
        save(&store, 1).expect("saved");
        // Something in the way of the folder that is written beside.
        fs::write(store.path(2).with_added_extension("part"), b"").expect("written");
        let error = format!("{:#}", save(&store, 2).expect_err("in the way"));
        assert!(error.contains("step-00000002"), "{error}");
        assert_eq!(store.linked("last").expect("whole").state.step, 1);
    }

    #[test]
    fn the_newest_and_the_best_are_kept() {
        let run = tempfile::tempdir().expect("a folder");
        let store = Store::new(run.path());
        for step in 1..=5 {
            save(&store, step).expect("saved");
            store.prune(2, Some(2)).expect("pruned");
        }
        assert_eq!(store.steps().expect("readable"), [5, 4, 2]);
    }
}
