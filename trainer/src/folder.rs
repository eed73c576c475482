//! A checkpoint folder in the released layout: configuration, tokenizer files, safetensors shards.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device};
use memmap2::Mmap;
use serde_json::Value;
use wethink_model::{Config, Loader, Model, check_shards};
use wethink_processor::Processor;

/// The folder.
#[derive(Debug, Clone)]
pub struct Folder {
    dir: PathBuf,
}

/// A shard, mapped into memory: pages come from disk as they are read and are never all resident at once.
pub struct Shard {
    name: String,
    map: Mmap,
}

impl Folder {
    /// Opens a folder; it must hold a `config.json`.
    pub fn open(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            bail!("{}: no such folder; --checkpoint takes the folder that holds config.json", dir.display());
        }
        let folder = Self { dir: dir.to_owned() };
        if folder.read("config.json")?.is_none() {
            bail!("{}: no config.json; is this a checkpoint folder?", dir.display());
        }
        Ok(folder)
    }

    /// A file of the folder, or `None` when it is absent.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.dir.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn json(&self, name: &str) -> Result<Option<Value>> {
        let path = self.dir.join(name);
        let Some(bytes) = self.read(name).with_context(|| path.display().to_string())? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).with_context(|| format!("{}: not JSON", path.display()))
    }

    /// The model's shape.
    pub fn config(&self) -> Result<Config> {
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
        let generation = self.json("generation_config.json")?;
        let Some(value) =
            generation.as_ref().and_then(|json| json.get("eos_token_id")).filter(|v| !v.is_null())
        else {
            return Ok(config.eos_token_ids.clone());
        };
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
        items.iter().map(id).collect::<Option<_>>().with_context(|| {
            let path = self.dir.join("generation_config.json");
            format!("{}: field `eos_token_id`: {value} is not a token id or a list of them", path.display())
        })
    }

    /// Maps the shards named by `model.safetensors.index.json`, or the single `model.safetensors`.
    pub fn shards(&self) -> Result<Vec<Shard>> {
        let index = "model.safetensors.index.json";
        let names = match self.json(index)? {
            Some(json) => shard_names(&json).with_context(|| self.dir.join(index).display().to_string())?,
            None => BTreeSet::from(["model.safetensors".to_owned()]),
        };
        let missing: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !self.dir.join(name).is_file()).collect();
        if !missing.is_empty() {
            bail!("{}: missing {}; fetch the rest of the checkpoint", self.dir.display(), missing.join(", "));
        }
        names.into_iter().map(|name| self.map(name)).collect()
    }

    fn map(&self, name: String) -> Result<Shard> {
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
    /// done so far and the bytes of all shards.
    pub fn load(&self, device: &Device, dtype: DType, progress: &mut dyn FnMut(u64, u64)) -> Result<Model> {
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

/// The distinct files of a weight map. A name that leaves the folder is refused.
fn shard_names(index: &Value) -> Result<BTreeSet<String>> {
    let map =
        index.get("weight_map").and_then(Value::as_object).context("field `weight_map`: not an object")?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().with_context(|| format!("field `weight_map.{tensor}`: not a file name"))?;
        if Path::new(file).file_name().is_none_or(|name| name != file) {
            bail!("field `weight_map.{tensor}`: `{file}` is not a plain file name");
        }
        names.insert(file.to_owned());
    }
    if names.is_empty() {
        bail!("field `weight_map`: empty");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_index_that_leaves_the_folder_is_refused() {
        for file in ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""] {
            let error = shard_names(&json!({"weight_map": {"x": file}})).expect_err(file).to_string();
            assert!(error.contains("plain file name"), "{error}");
        }
        let names = shard_names(&json!({"weight_map": {"x": "b", "y": "a", "z": "b"}})).expect("plain names");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_malformed_index_names_the_field() {
        for (index, field) in [
            (json!({}), "weight_map"),
            (json!({"weight_map": []}), "weight_map"),
            (json!({"weight_map": {}}), "weight_map"),
            (json!({"weight_map": {"x": 3}}), "weight_map.x"),
        ] {
            let error = shard_names(&index).expect_err("malformed").to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
