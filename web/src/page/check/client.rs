//! The rewards' worker and the few browser functions of `check.js`, as Rust sees them.

use js_sys::{Array, Function};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use web_sys::{DataTransfer, File};

use crate::toolkit::{failure, object};

#[wasm_bindgen(raw_module = "./wethink-rewards-client.js")]
extern "C" {
    /// A worker, started with its first call.
    #[derive(Clone)]
    pub type Rewards;

    #[wasm_bindgen(constructor)]
    pub fn new() -> Rewards;

    #[wasm_bindgen(method, catch, js_name = call)]
    async fn call_js(
        this: &Rewards,
        name: &str,
        args: &JsValue,
        options: &JsValue,
    ) -> Result<JsValue, JsValue>;
}

#[wasm_bindgen(raw_module = "./check.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = dropped)]
    async fn dropped_js(transfer: &DataTransfer) -> Result<JsValue, JsValue>;

    /// Holds a lock among tabs; gives what releases it.
    pub fn hold(name: &str, tell: &Function) -> Function;

    /// Hands a text to the person as a file.
    pub fn save(name: &str, media_type: &str, text: &str);
}

impl Rewards {
    /// Calls the worker with values.
    pub async fn ask<T: DeserializeOwned>(&self, name: &str, args: impl Serialize) -> Result<T, String> {
        self.send(name, &to_js(&args)?, &JsValue::UNDEFINED).await
    }

    /// As [`Rewards::ask`], but ends the worker after `limit` milliseconds.
    pub async fn ask_within<T: DeserializeOwned>(
        &self,
        limit: u32,
        name: &str,
        args: impl Serialize,
    ) -> Result<T, String> {
        self.send(name, &to_js(&args)?, &object([("limit", limit.into())])).await
    }

    /// As [`Rewards::ask`], telling how far it is, in [0, 1].
    pub async fn follow<T: DeserializeOwned>(
        &self,
        name: &str,
        args: impl Serialize,
        told: impl Fn(f64) + 'static,
    ) -> Result<T, String> {
        let told = Closure::<dyn Fn(f64)>::new(told);
        let options = object([("onProgress", told.as_ref().clone())]);
        self.send(name, &to_js(&args)?, &options).await
    }

    /// Calls the worker with a file.
    pub async fn give<T: DeserializeOwned>(&self, name: &str, file: &File) -> Result<T, String> {
        self.send(name, &Array::of1(file).into(), &JsValue::UNDEFINED).await
    }

    /// Calls the worker for a value that is no plain data.
    pub async fn raw(&self, name: &str, args: impl Serialize) -> Result<JsValue, String> {
        self.call_js(name, &to_js(&args)?, &JsValue::UNDEFINED).await.map_err(|error| failure(&error).1)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        name: &str,
        args: &JsValue,
        options: &JsValue,
    ) -> Result<T, String> {
        let result = self.call_js(name, args, options).await.map_err(|error| failure(&error).1)?;
        serde_wasm_bindgen::from_value(result).map_err(|error| error.to_string())
    }
}

/// Arguments as a list; no arguments are an empty one.
fn to_js(args: &impl Serialize) -> Result<JsValue, String> {
    let args = args.serialize(&serde_wasm_bindgen::Serializer::json_compatible());
    let args = args.map_err(|error| error.to_string())?;
    Ok(if args.is_null() { Array::new().into() } else { args })
}

/// The files of a drop, those of folders with their paths.
pub async fn dropped(transfer: &DataTransfer) -> Vec<(String, File)> {
    let Ok(pairs) = dropped_js(transfer).await else { return Vec::new() };
    let pair = |pair: JsValue| {
        let pair = pair.dyn_into::<Array>().ok()?;
        Some((pair.get(0).as_string()?, pair.get(1).dyn_into().ok()?))
    };
    pairs.dyn_into::<Array>().iter().flat_map(|pairs| pairs.iter()).filter_map(pair).collect()
}
