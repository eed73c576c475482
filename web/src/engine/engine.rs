//! What the worker's script calls.

use std::sync::Arc;

use js_sys::{Array, Function};
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use wethink_model::KvCache;

use crate::answer::{self, Ask};
use crate::device::{self, Opened};
use crate::error::{Error, object};
use crate::folder::{self, Checkpoint, Folder, Source};
use crate::preflight::preflight;

/// A device and, once one is loaded, a model on it. The script makes one call at a time.
#[wasm_bindgen]
pub struct Engine {
    opened: Opened,
    loaded: Option<Checkpoint>,
    /// Keys and values of the last chat: a further turn computes only what is new.
    cache: Option<KvCache>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device (`auto`, `webgpu` or `cpu`) and tests it. `on_fault` is called with a code and a text when
    /// something fails that belongs to no call.
    pub async fn open(device: String, on_fault: Function) -> Result<Engine, JsValue> {
        let on_fault = Arc::new(SendWrapper::new(on_fault));
        let notify = on_fault.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let text = format!("the engine stopped: {panic}; load the model again");
            // A script that throws here has nobody to tell.
            let _ = notify.call2(&JsValue::NULL, &"internal".into(), &text.into());
        }));
        let opened = device::open(&device, &on_fault).await?;
        Ok(Self { opened, loaded: None, cache: None })
    }

    /// `{kind, name, note}` of the device.
    pub fn device(&self) -> JsValue {
        let Opened { kind, name, note, .. } = &self.opened;
        object([("kind", (*kind).into()), ("name", name.into()), ("note", note.as_deref().into())])
    }

    /// Loads a pack or a checkpoint, for chats of `context` tokens where that is chosen. Gives `Preflight` of
    /// `wethink.d.ts`.
    pub async fn load(&mut self, source: Source, context: Option<usize>) -> Result<JsValue, JsValue> {
        let (loaded, told) = folder::load(&source, &self.opened.device, self.cpu(), context).await?;
        self.cache = context.map(|tokens| loaded.model.cache(1, tokens));
        self.loaded = Some(loaded);
        Ok(told)
    }

    /// Finds out what [`Engine::load`] would need, and whether there is room for it.
    pub async fn preflight(&self, source: Source, context: Option<usize>) -> Result<JsValue, JsValue> {
        let folder = Folder::open(&source).await?;
        let (_, told) = preflight(&source, &folder.planned(), self.cpu(), context).await?;
        Ok(told)
    }

    /// Answers a question, the options of `ask` with its messages. `pictures` are pairs of name and bytes. `turn` is called after every token with
    /// the new pieces, pairs of kind and text, and gives a promise of whether to go on. Gives `last`.
    pub async fn ask(
        &mut self,
        request: JsValue,
        pictures: Array,
        turn: Function,
    ) -> Result<JsValue, JsValue> {
        let checkpoint = self.loaded.as_ref().ok_or(Error::Empty)?;
        let ask = Ask { checkpoint, device: &self.opened.device, cpu: self.cpu(), turn: &turn };
        // A cache that an error left half written is dropped.
        let (result, cache) = answer::answer(&ask, request, &pictures, self.cache.take()).await?;
        self.cache = Some(cache);
        Ok(result)
    }
}

impl Engine {
    fn cpu(&self) -> bool {
        self.opened.kind == "cpu"
    }
}
