//! Files of the site itself, and the list of its bundled models.

use js_sys::Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, Response};
use wethink_board::catalog::{Catalog, LIST};

/// The bundled models, once their list is here, or why it cannot be used.
pub type Bundle = RwSignal<Option<Result<Catalog, String>>>;

/// Begins to fetch the list.
pub fn bundle() -> Bundle {
    let bundle = RwSignal::new(None);
    spawn_local(async move {
        let read = text(LIST).await.and_then(|text| Catalog::read(&text).map_err(|error| error.to_string()));
        bundle.set(Some(read));
    });
    bundle
}

async fn response(path: &str) -> Result<Response, String> {
    let lost = || format!("{path} cannot be fetched; check the connection");
    let response = JsFuture::from(window().fetch_with_str(path)).await.map_err(|_| lost())?;
    let response: Response = response.dyn_into().map_err(|_| lost())?;
    if response.ok() {
        Ok(response)
    } else {
        Err(format!("{path}: the server answers {}", response.status()))
    }
}

/// A text of the site.
pub async fn text(path: &str) -> Result<String, String> {
    let broken = |_| format!("{path}: the transfer broke off; try again");
    let text = response(path).await?.text().map_err(broken)?;
    JsFuture::from(text).await.map_err(broken).map(|text| text.as_string().unwrap_or_default())
}

/// A file of the site, under its own name.
pub async fn file(path: &str) -> Result<File, String> {
    let broken = |_| format!("{path}: the transfer broke off; try again");
    let blob = response(path).await?.blob().map_err(broken)?;
    let blob = JsFuture::from(blob).await.map_err(broken)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    File::new_with_blob_sequence(&Array::of1(&blob), name).map_err(broken)
}
