//! `wethink.js`, as Rust sees it.

use js_sys::{Array, AsyncIterator, IteratorNext, Object, Promise, Reflect};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::{DataTransfer, File};

#[wasm_bindgen(raw_module = "./wethink.js")]
extern "C" {
    /// A loaded model.
    #[derive(Clone)]
    pub type WeThink;

    #[wasm_bindgen(static_method_of = WeThink, catch)]
    pub async fn load(from: &JsValue, options: &JsValue) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(static_method_of = WeThink, catch, js_name = preflight)]
    async fn preflight_js(from: &JsValue, options: &JsValue) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(static_method_of = WeThink, catch, js_name = cached)]
    async fn cached_js() -> Result<JsValue, JsValue>;

    #[wasm_bindgen(static_method_of = WeThink, catch, js_name = clearCached)]
    pub async fn clear_cached(url: &JsValue) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch)]
    pub fn ask(this: &WeThink, options: &JsValue) -> Result<AsyncIterator, JsValue>;

    #[wasm_bindgen(method, getter, js_name = device)]
    fn device_js(this: &WeThink) -> JsValue;

    #[wasm_bindgen(method, getter, js_name = preflight)]
    fn own_preflight_js(this: &WeThink) -> JsValue;

    #[wasm_bindgen(method, getter, js_name = last)]
    fn last_js(this: &WeThink) -> JsValue;

    #[wasm_bindgen(method, getter)]
    pub fn ended(this: &WeThink) -> Promise;

    #[wasm_bindgen(method)]
    pub fn unload(this: &WeThink);
}

#[wasm_bindgen(raw_module = "./wethink.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = verify)]
    async fn verify_js(record: &JsValue) -> Result<JsValue, JsValue>;
}

#[wasm_bindgen(raw_module = "./check.js")]
extern "C" {
    #[wasm_bindgen(js_name = droppedModel)]
    fn dropped_model_js(transfer: &DataTransfer) -> JsValue;
}

/// What was dropped beyond loose files.
pub enum Dropped {
    /// The files of a model.
    Model(Array),
    /// Files of folders without one.
    Files(Vec<File>),
}

/// What was dropped, if it is more than loose files. To be called within the event.
pub fn dropped_model(
    transfer: &DataTransfer,
) -> Option<impl Future<Output = Result<Dropped, String>> + 'static> {
    let promise: Promise = dropped_model_js(transfer).dyn_into().ok()?;
    Some(async move {
        let found = JsFuture::from(promise).await.map_err(|error| failure(&error).1)?;
        let field = |name: &str| Reflect::get(&found, &name.into()).unwrap_or_default();
        let files: Array = field("files").unchecked_into();
        Ok(if field("model").is_truthy() {
            Dropped::Model(files)
        } else {
            Dropped::Files(files.iter().map(JsCast::unchecked_into).collect())
        })
    })
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
    pub cache_tokens: f64,
    pub cache_bytes: f64,
}

/// How far loading is.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Progress {
    pub stage: String,
    pub file: Option<String>,
    pub loaded: f64,
    pub total: Option<f64>,
    pub overall: Option<f64>,
    pub preflight: Option<Preflight>,
}

/// What a model needs, and what there is.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preflight {
    pub weights: f64,
    pub cache: f64,
    pub work: f64,
    pub context_tokens: f64,
    pub allocated: f64,
    pub fits: bool,
    pub fitting_tokens: f64,
    pub download: Option<f64>,
    pub note: Option<String>,
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

    pub fn preflight(&self) -> Option<Preflight> {
        plain(&self.own_preflight_js())
    }

    /// What a model needs, before anything large is fetched.
    pub async fn look(from: &JsValue, options: &JsValue) -> Result<Preflight, JsValue> {
        let found = Self::preflight_js(from, options).await?;
        plain(&found).ok_or(found)
    }

    pub fn last(&self) -> Option<Answer> {
        plain(&self.last_js())
    }

    /// What the cache holds; nothing where there is none.
    pub async fn cached() -> Vec<Cached> {
        Self::cached_js().await.ok().and_then(|list| plain(&list)).unwrap_or_default()
    }
}

/// Asks, hands over each part as it comes, kind and text, and gives the finished answer.
pub async fn follow(
    model: &WeThink,
    options: &JsValue,
    mut part: impl FnMut(&str, &str),
) -> Result<Answer, JsValue> {
    let parts: AsyncIterator = model.ask(options)?;
    loop {
        let next: IteratorNext = JsFuture::from(parts.next()?).await?.unchecked_into();
        if next.done() {
            let stopped = || JsValue::from(js_sys::Error::new("stopped before it began"));
            return plain(&next.value()).ok_or_else(stopped);
        }
        let value = next.value();
        let field = |name: &str| Reflect::get(&value, &name.into()).ok().and_then(|value| value.as_string());
        part(&field("kind").unwrap_or_default(), &field("text").unwrap_or_default());
    }
}

/// Runs futures side by side; their values in order.
pub async fn together<F: Future<Output = JsValue> + 'static>(
    futures: impl IntoIterator<Item = F>,
) -> Vec<JsValue> {
    let begin = |future: F| JsValue::from(future_to_promise(async move { Ok(future.await) }));
    let promises: Array = futures.into_iter().map(begin).collect();
    // None of them fails.
    let all = JsFuture::from(Promise::all(&promises)).await.unwrap_or_default();
    all.dyn_into::<Array>().map(|all| all.to_vec()).unwrap_or_default()
}

/// Whether the rule verifier accepts a response.
pub async fn accepts(kind: &str, gold: &str, pred: &str) -> Result<bool, String> {
    let record = object([("kind", kind.into()), ("gold", gold.into()), ("pred", pred.into())]);
    let verdict = verify_js(&record).await.map_err(|error| failure(&error).1)?;
    let word = Reflect::get(&verdict, &"verdict".into()).ok().and_then(|word| word.as_string());
    Ok(word.as_deref() == Some("accept"))
}

/// Options of `ask`: numbers and texts as JSON brings them across, pictures and what stops it beside them.
pub fn options(plain: serde_json::Map<String, serde_json::Value>, images: Array, signal: JsValue) -> JsValue {
    let options = js_sys::JSON::parse(&serde_json::Value::Object(plain).to_string()).unwrap_or_default();
    for (name, value) in [("images", images.into()), ("signal", signal)] {
        // Setting a property of an object made here cannot fail.
        let _ = Reflect::set(&options, &name.into(), &value);
    }
    options
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
