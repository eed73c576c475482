//! A checkpoint folder: the released layout (configuration, tokenizer files, safetensors shards), or a pack.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device};
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use wethink_model::{
    Config, GENERATION, INDEX, Loader, Model, PACK, Pack, PackLoader, check_shards, shard_names, stop_ids,
};
use wethink_processor::Processor;

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder {
    dir: PathBuf,
    pack: Option<Arc<Pack>>,
}

/// A shard, mapped into memory: pages come from disk as they are read and are never all resident at once.
pub struct Shard {
    name: String,
    map: Mmap,
}

impl Shard {
    /// Its file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Gives the pages back that have come from disk; they come again when they are read.
    pub fn give_back(&self) {
        // SAFETY: the map is of a file and read only, so its pages hold nothing that the file does not. A system that will
        // not take them back keeps them: nothing but memory is lost.
        #[cfg(unix)]
        let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}

impl Folder {
    /// Opens a folder; it must hold a `config.json`, or a `pack.json`.
    pub fn open(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            bail!("{}: no such folder; --checkpoint takes the folder that holds config.json", dir.display());
        }
        let mut folder = Self { dir: dir.to_owned(), pack: None };
        if let Some(bytes) = folder.read(PACK)? {
            let pack = Pack::parse(&bytes).with_context(|| dir.display().to_string())?;
            folder.pack = Some(Arc::new(pack));
        } else if folder.read("config.json")?.is_none() {
            bail!("{}: no config.json and no {PACK}; is this a checkpoint folder?", dir.display());
        }
        Ok(folder)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the folder's `pack.json` says, if it is a pack.
    pub fn pack(&self) -> Option<&Pack> {
        self.pack.as_deref()
    }

    /// A file of the folder, or `None` when it is absent.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.dir.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The model's shape.
    pub fn config(&self) -> Result<Config> {
        if let Some(pack) = &self.pack {
            return pack.config().with_context(|| self.dir.display().to_string());
        }
        let path = self.dir.join("config.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Config::from_json(&text).with_context(|| path.display().to_string())
    }

    /// Tokenizer, template and picture settings.
    pub fn processor(&self) -> Result<Processor> {
        let load = Processor::load(&mut |name| self.read(name));
        load.with_context(|| self.dir.display().to_string())
    }

    /// Ids that end an answer: `generation_config.json` if it names any, else `config.json`.
    pub fn stop_ids(&self, config: &Config) -> Result<Vec<u32>> {
        let generation =
            self.read(GENERATION).with_context(|| self.dir.join(GENERATION).display().to_string())?;
        stop_ids(generation.as_deref(), config).with_context(|| self.dir.display().to_string())
    }

    /// Maps the shards named by `model.safetensors.index.json`, or the single `model.safetensors`.
    pub fn shards(&self) -> Result<Vec<Shard>> {
        if self.pack.is_some() {
            bail!("{}: a pack; this takes a checkpoint with its whole weights", self.dir.display());
        }
        let index = self.read(INDEX).with_context(|| self.dir.join(INDEX).display().to_string())?;
        let names = shard_names(index.as_deref()).with_context(|| self.dir.display().to_string())?;
        let missing: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !self.dir.join(name).is_file()).collect();
        if !missing.is_empty() {
            bail!("{}: missing {}; fetch the rest of the checkpoint", self.dir.display(), missing.join(", "));
        }
        names.into_iter().map(|name| self.map(name)).collect()
    }

    /// Maps one file.
    pub(crate) fn map(&self, name: String) -> Result<Shard> {
        let path = self.dir.join(&name);
        let open = || -> io::Result<Mmap> {
            let file = File::open(&path)?;
            // SAFETY: a file that another process shortens while it is mapped ends this one by a signal; that is the
            // price of not copying 16 GB, and the same in every loader that maps.
            unsafe { Mmap::map(&file) }
        };
        let map = open().with_context(|| path.display().to_string())?;
        Ok(Shard { name, map })
    }

    /// Loads the weights. Every fault of every shard is found before a weight is moved. `progress` is told the bytes
    /// done so far and the bytes of all shards. A pack's weights stay packed, its activations are float32 whatever the
    /// type.
    pub fn load(&self, device: &Device, dtype: DType, progress: &mut dyn FnMut(u64, u64)) -> Result<Model> {
        if let Some(pack) = &self.pack {
            return self.load_pack(pack, device, progress).with_context(|| self.dir.display().to_string());
        }
        let config = self.config()?;
        let shards = self.shards()?;
        let context = || self.dir.display().to_string();
        check_shards(&config, shards.iter().map(|shard| (shard.name.as_str(), &shard.map[..])))
            .with_context(context)?;
        let total = shards.iter().map(|shard| shard.map.len() as u64).sum();
        let mut done = 0;
        let mut loader = Loader::new(&config, device, dtype);
        for shard in shards {
            let mut tensor = |bytes: usize| {
                done += bytes as u64;
                progress(done, total);
            };
            loader.shard(&shard.name, &shard.map, &mut tensor).with_context(context)?;
        }
        loader.finish().with_context(context)
    }
}

impl Folder {
    /// Loads a pack, one shard after the other; each is held against its sum before it is used.
    fn load_pack(&self, pack: &Pack, device: &Device, progress: &mut dyn FnMut(u64, u64)) -> Result<Model> {
        let total = pack.bytes();
        let mut done = 0;
        let mut loader = PackLoader::new(pack, device)?;
        for (index, shard) in pack.shards.iter().enumerate() {
            let map = self.map(shard.file.clone()).context("fetch the rest of the pack")?;
            let sum = Sha256::digest(map.bytes());
            if sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>() != shard.sha256 {
                bail!("{}: its bytes are not those that {PACK} names; fetch it again", shard.file);
            }
            loader.shard(index, map.bytes())?;
            done += shard.bytes;
            progress(done, total);
        }
        Ok(loader.finish()?)
    }
}

/// Writes a file beside its place and renames it, so that no reader meets half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_added_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write()
        .inspect_err(|_| drop(std::fs::remove_file(&part)))
        .with_context(|| format!("{}: cannot be written", path.display()))
}
