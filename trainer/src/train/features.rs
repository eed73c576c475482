//! What a frozen tower makes of pictures, computed once for each distinct picture and kept within bounds: in memory, and on
//! disk beside the run if its recipe asks for it.
//!
//! A picture is known by the SHA-256 of its patches and its grid. Kept features have the bits of computed ones, so a run is
//! the same whatever its store still holds: a store is no part of a checkpoint. Several devices keep theirs in one place.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use sha2::{Digest, Sha256};
use wethink_model::{Features, Model};

use super::economy::Memory;
use super::files::{read_tensors, write_tensors};

type Key = [u8; 32];

/// The store of a run, as one of its devices sees it.
#[derive(Debug)]
pub struct Store {
    device: Device,
    dtype: DType,
    /// Values of a feature.
    width: usize,
    shelves: Arc<Mutex<Shelves>>,
    /// Pictures that went through this device's tower.
    pub computed: u64,
}

/// Where features are kept.
#[derive(Debug)]
struct Shelves {
    memory: Shelf<TensorData>,
    disk: Option<(PathBuf, Shelf<()>)>,
}

/// Things by key within a bound of bytes; the one that was not used for longest makes room.
#[derive(Debug)]
struct Shelf<T> {
    limit: u64,
    bytes: u64,
    clock: u64,
    things: HashMap<Key, (u64, u64, T)>,
    oldest: BTreeMap<u64, Key>,
}

impl<T> Shelf<T> {
    fn new(limit: u64) -> Self {
        Self { limit, bytes: 0, clock: 0, things: HashMap::new(), oldest: BTreeMap::new() }
    }

    fn get(&mut self, key: &Key) -> Option<&T> {
        let (used, _, thing) = self.things.get_mut(key)?;
        self.oldest.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.oldest.insert(self.clock, *key);
        Some(thing)
    }

    /// Puts a thing on the shelf and returns what had to go; too large a thing goes itself.
    fn put(&mut self, key: Key, bytes: u64, thing: T) -> Vec<Key> {
        self.remove(&key);
        self.clock += 1;
        self.things.insert(key, (self.clock, bytes, thing));
        self.oldest.insert(self.clock, key);
        self.bytes += bytes;
        let mut gone = Vec::new();
        while self.bytes > self.limit
            && let Some((_, key)) = self.oldest.pop_first()
        {
            self.remove(&key);
            gone.push(key);
        }
        gone
    }

    fn remove(&mut self, key: &Key) {
        if let Some((used, bytes, _)) = self.things.remove(key) {
            self.oldest.remove(&used);
            self.bytes -= bytes;
        }
    }
}

impl Memory {
    /// The store of features that a recipe asks for, on disk in the run's folder.
    pub fn store(&self, model: &Model, dtype: DType, run: &Path) -> Result<Option<Store>> {
        let [memory, disk] = self.features();
        if memory == 0 {
            return Ok(None);
        }
        let width = model.config().vision.out_hidden_size;
        let store = Store::new(&model.device(), dtype, width, memory);
        Ok(Some(if disk == 0 { store } else { store.on_disk(&run.join("features"), disk)? }))
    }
}

impl Store {
    /// A store of features `[N, width]` of a type on `device` that holds `memory` bytes, in float32 as the disk has them.
    pub fn new(device: &Device, dtype: DType, width: usize, memory: u64) -> Self {
        let shelves = Shelves { memory: Shelf::new(memory), disk: None };
        let shelves = Arc::new(Mutex::new(shelves));
        Self { device: device.clone(), dtype, width, shelves, computed: 0 }
    }

    /// The same store for another device. A picture that both meet at the same moment for the first time is computed by both.
    pub fn beside(&self, device: &Device) -> Self {
        Self { device: device.clone(), shelves: self.shelves.clone(), computed: 0, ..*self }
    }

    fn shelves<T>(&self, with: impl FnOnce(&mut Shelves) -> T) -> T {
        with(&mut self.shelves.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same with `limit` bytes in a folder, and what the folder holds already. Files of other names are left alone.
    pub fn on_disk(self, folder: &Path, limit: u64) -> Result<Self> {
        let open = || -> std::io::Result<Vec<(SystemTime, Key, u64)>> {
            fs::create_dir_all(folder)?;
            let mut files = Vec::new();
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if let Some(key) = entry.file_name().to_str().and_then(key_of) {
                    let about = entry.metadata()?;
                    files.push((about.modified()?, key, about.len()));
                }
            }
            Ok(files)
        };
        let mut files = open().with_context(|| folder.display().to_string())?;
        files.sort_unstable();
        let mut shelf = Shelf::new(limit);
        for (_, key, bytes) in files {
            for gone in shelf.put(key, bytes, ()) {
                drop(fs::remove_file(folder.join(name_of(&gone))));
            }
        }
        self.shelves(|shelves| shelves.disk = Some((folder.to_owned(), shelf)));
        Ok(self)
    }
}

impl Shelves {
    fn kept(&mut self, key: &Key) -> Option<TensorData> {
        if let Some(data) = self.memory.get(key) {
            return Some(data.clone());
        }
        let (folder, shelf) = self.disk.as_mut()?;
        shelf.get(key)?;
        // A file that cannot be read, or is none of ours, is computed and written again.
        let mut tensors = read_tensors(&folder.join(name_of(key)), &Device::flex()).ok()?;
        let data = tensors.remove("features")?.into_data();
        let bytes = data.as_bytes().len() as u64;
        self.memory.put(*key, bytes, data.clone());
        Some(data)
    }

    fn keep(&mut self, key: Key, data: &TensorData) {
        self.memory.put(key, data.as_bytes().len() as u64, data.clone());
        let Some((folder, shelf)) = &mut self.disk else { return };
        let path = folder.join(name_of(&key));
        let part = path.with_added_extension("part");
        let flat: Tensor<1> = Tensor::from_data(data.clone(), (&Device::flex(), DType::F32));
        let shape = flat.dims().to_vec();
        let written = write_tensors(&part, [("features".to_owned(), shape, &flat)], DType::F32)
            .and_then(|()| Ok(fs::rename(&part, &path)?))
            .and_then(|()| Ok(fs::metadata(&path)?.len()));
        match written {
            Ok(bytes) => {
                for gone in shelf.put(key, bytes, ()) {
                    drop(fs::remove_file(folder.join(name_of(&gone))));
                }
            }
            // A full disk costs time, never the run.
            Err(_) => drop(fs::remove_file(&part)),
        }
    }
}

impl Features for Store {
    fn of(&mut self, patches: &[f32], grid: [usize; 3], compute: &mut dyn FnMut() -> Tensor<2>) -> Tensor<2> {
        let key = key(patches, grid);
        if let Some(data) = self.shelves(|shelves| shelves.kept(&key)) {
            let rows = data.shape().num_elements() / self.width;
            let flat: Tensor<1> = Tensor::from_data(data, (&self.device, DType::F32));
            return flat.cast(FloatDType::from(self.dtype)).reshape([rows, self.width]);
        }
        self.computed += 1;
        let features = compute();
        let count = features.shape().num_elements();
        let data = features.clone().reshape([count]).into_data().convert_dtype(DType::F32);
        self.shelves(|shelves| shelves.keep(key, &data));
        features
    }
}

fn key(patches: &[f32], grid: [usize; 3]) -> Key {
    let mut hasher = Sha256::new();
    grid.iter().for_each(|&side| hasher.update((side as u64).to_le_bytes()));
    let mut bytes = Vec::with_capacity(4 * 4096);
    for values in patches.chunks(4096) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().into()
}

fn name_of(key: &Key) -> String {
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}.safetensors")
}

fn key_of(name: &str) -> Option<Key> {
    let digits =
        name.strip_suffix(".safetensors").filter(|digits| digits.len() == 64 && digits.is_ascii())?;
    let mut key = [0; 32];
    for (byte, place) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[place..place + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Features of a picture of one value, which is also theirs; `None` if they were kept.
    fn ask(store: &mut Store, value: f32) -> (Vec<f32>, bool) {
        let mut computed = false;
        let features = store.of(&[value], [1, 2, 2], &mut || {
            computed = true;
            Tensor::from_floats([[value, 0.1], [-value, 0.2]], &Device::flex())
        });
        assert_eq!(features.dims(), [2, 2]);
        (features.into_data().try_into_vec().expect("float32"), computed)
    }

    #[test]
    fn a_picture_is_computed_once_and_comes_back_bit_for_bit() {
        let mut store = Store::new(&Device::flex(), DType::F32, 2, 1 << 20);
        let (first, computed) = ask(&mut store, 0.3);
        assert!(computed);
        assert_eq!(ask(&mut store, 0.3), (first, false));
        assert!(ask(&mut store, 0.4).1);
        assert_eq!(store.computed, 2);
        let mut beside = store.beside(&Device::flex());
        assert!(!ask(&mut beside, 0.4).1 && ask(&mut beside, 0.5).1, "devices share one store");
        assert!(!ask(&mut store, 0.5).1);
        assert_eq!((store.computed, beside.computed), (2, 1));
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        // Two pictures of 16 bytes.
        let mut store = Store::new(&Device::flex(), DType::F32, 2, 40);
        for value in [1.0, 2.0, 1.0, 3.0] {
            ask(&mut store, value);
        }
        assert_eq!(store.shelves(|shelves| shelves.memory.bytes), 32);
        assert!(!ask(&mut store, 1.0).1 && !ask(&mut store, 3.0).1);
        assert!(ask(&mut store, 2.0).1);
        let mut none = Store::new(&Device::flex(), DType::F32, 2, 0);
        assert!(ask(&mut none, 1.0).1 && ask(&mut none, 1.0).1, "no room keeps nothing");
    }

    #[test]
    fn the_disk_outlives_the_store_within_its_bound_and_damage_is_computed_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || {
            let store = Store::new(&Device::flex(), DType::F32, 2, 1 << 20);
            store.on_disk(folder.path(), 1 << 20).expect("a folder")
        };
        let (first, _) = ask(&mut open(), 1.5);
        assert_eq!(ask(&mut open(), 1.5), (first.clone(), false));
        let files =
            || fs::read_dir(folder.path()).expect("readable").map(|file| file.expect("an entry").path());
        let file = files().next().expect("a file");
        let bytes = fs::metadata(&file).expect("a file").len();
        fs::write(&file, b"damaged").expect("written");
        assert_eq!(ask(&mut open(), 1.5), (first, true));
        let two = || {
            let store = Store::new(&Device::flex(), DType::F32, 2, 1 << 20);
            store.on_disk(folder.path(), 2 * bytes).expect("a folder")
        };
        let mut store = two();
        ask(&mut store, 2.5);
        ask(&mut store, 3.5);
        assert_eq!(files().count(), 2);
        let mut again = two();
        assert!(!ask(&mut again, 3.5).1 && !ask(&mut again, 2.5).1 && ask(&mut again, 1.5).1);
    }
}
