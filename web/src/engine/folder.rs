//! The folder of a checkpoint or a pack, wherever the worker's script finds it: files whole, weights as they arrive.

use std::collections::HashMap;
use std::io;

use burn::tensor::{DType, Device};
use js_sys::Uint8Array;
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wethink_model::{
    Config, GENERATION, INDEX, Loader, Model, PACK, Pack, PackLoader, shard_names, stop_ids, weight_bytes,
};
use wethink_processor::Processor;
use wethink_web::tensors::Tensors;

use crate::error::Error;
use crate::preflight::{Planned, preflight};

#[wasm_bindgen]
extern "C" {
    /// `Source` of `web/js/wethink-files.js`.
    pub type Source;

    /// A file's bytes, or undefined when it is absent.
    #[wasm_bindgen(method, catch)]
    async fn file(this: &Source, name: &str) -> Result<JsValue, JsValue>;

    /// Begins a file of weights: its size where it is known, or undefined when it is absent.
    #[wasm_bindgen(method, catch)]
    async fn open(this: &Source, name: &str) -> Result<JsValue, JsValue>;

    /// Its next bytes, or undefined at its end.
    #[wasm_bindgen(method, catch)]
    async fn next(this: &Source) -> Result<JsValue, JsValue>;

    /// Begins a pack with lists of its files and shards: the bytes that are to come.
    #[wasm_bindgen(method, catch)]
    async fn pack(this: &Source, files: JsValue, shards: JsValue) -> Result<JsValue, JsValue>;

    /// The bytes of its next shard, which have the hash that the pack names.
    #[wasm_bindgen(method, catch)]
    async fn shard(this: &Source) -> Result<JsValue, JsValue>;

    /// Notes that they are on the device.
    #[wasm_bindgen(method)]
    fn moved(this: &Source);

    /// Notes that all are.
    #[wasm_bindgen(method, catch)]
    async fn packed(this: &Source) -> Result<JsValue, JsValue>;

    /// Bytes that the GPU has room for, as many as are asked for at most.
    #[wasm_bindgen(method, catch)]
    pub async fn allocate(this: &Source, bytes: f64) -> Result<JsValue, JsValue>;

    /// Tells what was found out before weights are fetched.
    #[wasm_bindgen(method)]
    pub fn told(this: &Source, preflight: &JsValue);

    /// Gives the event loop a turn: uploads are staged until it has one.
    #[wasm_bindgen(method, catch)]
    async fn pause(this: &Source) -> Result<JsValue, JsValue>;
}

/// Bytes of weights between two turns of the event loop.
const PAUSE: usize = 64 << 20;

/// A model, loaded.
pub struct Checkpoint {
    /// The model.
    pub model: Model,
    /// Tokenizer, template and picture settings.
    pub processor: Processor,
    /// Ids that end an answer.
    pub stop_ids: Vec<u32>,
    /// Tokens that a chat has at most, where that was chosen.
    pub context: Option<usize>,
}

/// What a folder holds, known from one file of it.
pub enum Folder {
    /// A checkpoint in the released layout.
    Checkpoint(Box<Config>),
    /// A pack, with bytes that are still to be fetched.
    Pack { pack: Box<Pack>, config: Box<Config>, download: u64 },
}

impl Folder {
    /// Looks what a folder holds; begins a pack, but fetches no weights.
    pub async fn open(source: &Source) -> Result<Self, Error> {
        if let Some(text) = read(source, "config.json").await? {
            let config = Config::from_json(&String::from_utf8_lossy(&text))?;
            return Ok(Self::Checkpoint(Box::new(config)));
        }
        let text =
            read(source, PACK).await?.ok_or_else(|| Error::Missing(format!("config.json or {PACK}")))?;
        let pack = Pack::parse(&text)?;
        let config = Box::new(pack.config()?);
        let download = source.pack(plain(&pack.files)?, plain(&pack.shards)?).await.map_err(Error::Script)?;
        let download = download.as_f64().unwrap_or_default() as u64;
        Ok(Self::Pack { pack: Box::new(pack), config, download })
    }

    fn config(&self) -> &Config {
        match self {
            Self::Checkpoint(config) | Self::Pack { config, .. } => config,
        }
    }

    /// What is to be loaded, for [`preflight`].
    pub fn planned(&self) -> Planned<'_> {
        let (weights, download) = match self {
            // Weights of a checkpoint become float32, whatever its files hold.
            Self::Checkpoint(config) => (weight_bytes(config), None),
            Self::Pack { pack, download, .. } => (pack.bytes(), Some(*download)),
        };
        Planned { config: self.config(), weights, download }
    }
}

/// Loads a folder to a device, and tells first what it needs there. `context` is the length of a chat, where it is chosen.
pub async fn load(
    source: &Source,
    device: &Device,
    cpu: bool,
    context: Option<usize>,
) -> Result<(Checkpoint, JsValue), Error> {
    let folder = Folder::open(source).await?;
    let (fit, told) = preflight(source, &folder.planned(), cpu, context).await?;
    source.told(&told);
    fit.check(cpu)?;
    let mut files = Files { source, read: HashMap::new() };
    let processor = files.processor().await?;
    let generation = files.get(GENERATION).await?;
    let stop_ids = stop_ids(generation.as_deref(), folder.config())?;
    let model = match &folder {
        Folder::Checkpoint(config) => {
            let shards = shard_names(files.get(INDEX).await?.as_deref())?;
            let mut loader = Loader::new(config, device, DType::F32);
            for shard in shards {
                weights(source, &shard, &mut loader).await?;
            }
            loader.finish()?
        }
        Folder::Pack { pack, .. } => packed(source, pack, device).await?,
    };
    Ok((Checkpoint { model, processor, stop_ids, context }, told))
}

/// A value of this program as a plain one of JavaScript.
pub fn plain(value: &impl Serialize) -> Result<JsValue, Error> {
    let value = value.serialize(&serde_wasm_bindgen::Serializer::json_compatible());
    value.map_err(|error| Error::Script(error.into()))
}

/// The small files, each fetched once.
struct Files<'a> {
    source: &'a Source,
    read: HashMap<String, Option<Vec<u8>>>,
}

impl Files<'_> {
    async fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if !self.read.contains_key(name) {
            self.read.insert(name.to_owned(), read(self.source, name).await?);
        }
        Ok(self.read[name].clone())
    }

    /// The processor asks for files one after the other and cannot wait: what it lacks is fetched, and it starts again.
    /// The tokenizer is read before the template, and is long to read: both are fetched first.
    async fn processor(&mut self) -> Result<Processor, Error> {
        for name in ["preprocessor_config.json", "tokenizer_config.json", "tokenizer.json"] {
            self.get(name).await?;
        }
        if self.get("chat_template.jinja").await?.is_none() {
            self.get("chat_template.json").await?;
        }
        loop {
            let mut lacking = None;
            let loaded = Processor::load(&mut |name| match self.read.get(name) {
                Some(file) => Ok(file.clone()),
                None => {
                    lacking.get_or_insert(name.to_owned());
                    Err(io::Error::other("not fetched yet"))
                }
            });
            match lacking {
                Some(name) => self.get(&name).await?,
                None => return Ok(loaded?),
            };
        }
    }
}

/// Moves one file of weights to the device, tensor by tensor.
async fn weights(source: &Source, shard: &str, loader: &mut Loader) -> Result<(), Error> {
    let failed = |error| Error::Tensors { shard: shard.to_owned(), source: error };
    if source.open(shard).await.map_err(Error::Script)?.is_undefined() {
        return Err(Error::Missing(shard.to_owned()));
    }
    let mut tensors = Tensors::default();
    let mut since_pause = 0;
    while let Some(piece) = bytes(&source.next().await.map_err(Error::Script)?) {
        tensors.push(&piece).map_err(failed)?;
        while let Some(file) = tensors.next_file() {
            loader.shard(shard, &file, &mut |_| {})?;
        }
        since_pause += piece.len();
        if since_pause >= PAUSE {
            since_pause = 0;
            source.pause().await.map_err(Error::Script)?;
        }
    }
    tensors.finish().map_err(failed)?;
    source.pause().await.map_err(Error::Script)?;
    Ok(())
}

/// Moves a pack to the device, shard by shard; each is free before the next one comes.
async fn packed(source: &Source, pack: &Pack, device: &Device) -> Result<Model, Error> {
    let mut loader = PackLoader::new(pack, device)?;
    for (index, shard) in pack.shards.iter().enumerate() {
        let value = source.shard().await.map_err(Error::Script)?;
        let bytes = bytes(&value).ok_or_else(|| Error::Missing(shard.file.clone()))?;
        loader.shard(index, &bytes)?;
        drop(bytes);
        source.pause().await.map_err(Error::Script)?;
        source.moved();
    }
    source.packed().await.map_err(Error::Script)?;
    Ok(loader.finish()?)
}

async fn read(source: &Source, name: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(bytes(&source.file(name).await.map_err(Error::Script)?))
}

fn bytes(value: &JsValue) -> Option<Vec<u8>> {
    value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec)
}
