//! `wethink.js`, as Rust sees it.

use js_sys::{Array, AsyncIterator, Object, Reflect};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(raw_module = "./wethink.js")]
extern "C" {
    /// A loaded model.
    #[derive(Clone)]
    pub type WeThink;

    #[wasm_bindgen(static_method_of = WeThink, catch)]
    pub async fn load(from: &JsValue, options: &JsValue) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(static_method_of = WeThink, catch, js_name = cached)]
    async fn cached_js() -> Result<JsValue, JsValue>;

    #[wasm_bindgen(static_method_of = WeThink, catch, js_name = clearCached)]
    pub async fn clear_cached(url: &JsValue) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch)]
    pub fn ask(this: &WeThink, options: &JsValue) -> Result<AsyncIterator, JsValue>;

    #[wasm_bindgen(method, getter, js_name = device)]
    fn device_js(this: &WeThink) -> JsValue;

    #[wasm_bindgen(method, getter, js_name = last)]
    fn last_js(this: &WeThink) -> JsValue;

    #[wasm_bindgen(method, getter)]
    pub fn ended(this: &WeThink) -> js_sys::Promise;

    #[wasm_bindgen(method)]
    pub fn unload(this: &WeThink);
}

/// Where a model runs.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Device {
    pub kind: String,
    pub name: String,
    pub note: Option<String>,
}

/// A finished answer, as far as the page shows it.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub text: String,
    pub think: Option<String>,
    pub answer: Option<String>,
    pub finish_reason: String,
    pub timing: Timing,
}

/// Counts and times of one answer.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    pub image_tokens: f64,
    pub prompt_tokens: f64,
    pub prefill_tokens: f64,
    pub picture_ms: f64,
    pub first_token_ms: f64,
    pub decode_tokens: f64,
    pub decode_ms: f64,
    pub wasm_bytes: f64,
    pub gpu_bytes: Option<f64>,
}

/// How far loading is.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Progress {
    pub stage: String,
    pub file: Option<String>,
    pub loaded: f64,
    pub total: Option<f64>,
}

/// A checkpoint in the browser's cache.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Cached {
    pub url: String,
    pub bytes: f64,
}

impl WeThink {
    pub fn device(&self) -> Option<Device> {
        plain(&self.device_js())
    }

    pub fn last(&self) -> Option<Answer> {
        plain(&self.last_js())
    }

    /// What the cache holds; nothing where there is none.
    pub async fn cached() -> Vec<Cached> {
        Self::cached_js().await.ok().and_then(|list| plain(&list)).unwrap_or_default()
    }
}

/// A plain JavaScript value as a Rust one, or `None` where it is of another form.
pub fn plain<T: DeserializeOwned>(value: &JsValue) -> Option<T> {
    serde_wasm_bindgen::from_value(value.clone()).ok()
}

/// An error's code and text.
pub fn failure(error: &JsValue) -> (String, String) {
    let field = |name: &str| Reflect::get(error, &name.into()).ok().and_then(|value| value.as_string());
    (field("code").unwrap_or_default(), field("message").unwrap_or_else(|| format!("{error:?}")))
}

/// A plain object.
pub fn object<const N: usize>(properties: [(&str, JsValue); N]) -> JsValue {
    let pairs: Array = properties.iter().map(|(name, value)| Array::of2(&(*name).into(), value)).collect();
    Object::from_entries(&pairs).map_or(JsValue::UNDEFINED, Into::into)
}
