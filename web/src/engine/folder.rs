//! A checkpoint folder, wherever the worker's script finds it: files whole, weights as they arrive.

use std::collections::HashMap;
use std::io;

use burn::tensor::{DType, Device};
use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wethink_model::{Config, GENERATION, INDEX, Loader, Model, shard_names, stop_ids, weight_bytes};
use wethink_processor::Processor;
use wethink_web::tensors::Tensors;

use crate::error::Error;

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

    /// Gives the event loop a turn: uploads are staged until it has one.
    #[wasm_bindgen(method, catch)]
    async fn pause(this: &Source) -> Result<JsValue, JsValue>;
}

/// Bytes of weights between two turns of the event loop.
const PAUSE: usize = 64 << 20;

/// What a page may hold on the CPU: WebAssembly's four gigabytes, less what the tensors of one answer take.
const CPU_ROOM: u64 = 3_200_000_000;

/// A checkpoint, loaded.
pub struct Checkpoint {
    /// The model.
    pub model: Model,
    /// Tokenizer, template and picture settings.
    pub processor: Processor,
    /// Ids that end an answer.
    pub stop_ids: Vec<u32>,
}

/// Loads a checkpoint to a device.
pub async fn load(source: &Source, device: &Device, cpu: bool) -> Result<Checkpoint, Error> {
    let mut files = Files { source, read: HashMap::new() };
    let text = files.get("config.json").await?.ok_or_else(|| Error::Missing("config.json".into()))?;
    let config = Config::from_json(&String::from_utf8_lossy(&text))?;
    if cpu {
        fits(&config)?;
    }
    let processor = files.processor().await?;
    let generation = files.get(GENERATION).await?;
    let stop_ids = stop_ids(generation.as_deref(), &config)?;
    let shards = shard_names(files.get(INDEX).await?.as_deref())?;
    let mut loader = Loader::new(&config, device, DType::F32);
    for shard in shards {
        weights(source, &shard, &mut loader).await?;
    }
    Ok(Checkpoint { model: loader.finish()?, processor, stop_ids })
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Refuses a chat whose keys and values, of `tokens` tokens, a page cannot hold on the CPU beside what it holds already:
/// there, memory that is lacking ends the program.
pub fn cache_fits(config: &Config, tokens: usize) -> Result<(), Error> {
    let text = &config.text;
    let values = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim();
    let need = (values as u64).saturating_mul(4 * tokens as u64);
    let room = CPU_ROOM.saturating_sub((core::arch::wasm32::memory_size(0) as u64) << 16);
    if need <= room { Ok(()) } else { Err(Error::Cache { need: gigabytes(need), room: gigabytes(room) }) }
}

/// Refuses weights that a page cannot hold on the CPU, before any is fetched.
fn fits(config: &Config) -> Result<(), Error> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).unwrap_or_default();
    // In gigabytes, coarse, and only some browsers tell. A page gets about half of it.
    let device = Reflect::get(&navigator, &"deviceMemory".into()).ok().and_then(|value| value.as_f64());
    let room = device.map_or(CPU_ROOM, |gigabytes| CPU_ROOM.min((gigabytes * 5e8) as u64));
    let need = weight_bytes(config);
    if need <= room { Ok(()) } else { Err(Error::Weights { need: gigabytes(need), room: gigabytes(room) }) }
}

/// The small files, each fetched once.
struct Files<'a> {
    source: &'a Source,
    read: HashMap<String, Option<Vec<u8>>>,
}

impl Files<'_> {
    async fn get(&mut self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if !self.read.contains_key(name) {
            let value = self.source.file(name).await.map_err(Error::Script)?;
            self.read.insert(name.to_owned(), bytes(&value));
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

fn bytes(value: &JsValue) -> Option<Vec<u8>> {
    value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec)
}
