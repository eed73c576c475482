//! Which model, on which device, and what the browser keeps of it.

use js_sys::Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, HtmlInputElement, SubmitEvent};

use crate::state::{Ask, Status};
use crate::toolkit::{Cached, Progress, WeThink, failure, object, plain};

/// The bundled checkpoint.
const BUNDLED: &str = "model/";

/// Where a checkpoint is: an address, or a list of files.
#[derive(Clone)]
pub struct Place {
    from: JsValue,
    name: String,
}

/// What everyone must know who reads the bundled model's answers.
const RANDOM: &str = "The bundled model is a random one of a million parameters: its words mean nothing. It shows that every \
stage works. Load a trained checkpoint to get answers.";

impl Place {
    /// The checkpoint of the site itself.
    pub fn bundled() -> Self {
        Self { from: BUNDLED.into(), name: BUNDLED.into() }
    }
}

/// Loads a checkpoint in place of the one that is there. The chat stays.
pub fn load(ask: Ask, place: Place, device: String) {
    let abort = AbortController::new().ok();
    ask.loading.update_value(|loading| {
        if let Some(before) = std::mem::replace(loading, abort.clone()) {
            before.abort();
        }
    });
    if let Some(model) = ask.model.try_update_value(Option::take).flatten() {
        model.unload();
    }
    ask.status.set(Status::Loading(None));
    ask.said.set("Loading the model".into());
    spawn_local(async move {
        let told = Closure::<dyn Fn(JsValue)>::new(move |progress: JsValue| {
            ask.status.set(Status::Loading(plain::<Progress>(&progress)));
        });
        let signal = abort.as_ref().map(|abort| JsValue::from(abort.signal())).unwrap_or_default();
        let options = object([
            ("device", device.into()),
            ("onProgress", told.as_ref().clone()),
            ("signal", signal.clone()),
        ]);
        let loaded = WeThink::load(&place.from, &options).await;
        // Another load has begun, or the person stopped this one.
        if signal.dyn_ref::<web_sys::AbortSignal>().is_some_and(web_sys::AbortSignal::aborted) {
            if loaded.is_err()
                && matches!(ask.status.get_untracked(), Status::Loading(_))
                && ask.loading.with_value(Option::is_none)
            {
                ask.status.set(Status::Empty);
            }
            return;
        }
        ask.loading.set_value(None);
        match loaded {
            Ok(model) => {
                let model: WeThink = model.unchecked_into();
                let device = model.device();
                watch(ask, &model);
                ask.model.set_value(Some(model));
                if let Some(device) = device {
                    ask.said.set(format!("The model of {} is ready on {}", place.name, device.name));
                    ask.status.set(Status::Ready(device));
                }
            }
            Err(error) => fail(ask, failure(&error).1),
        }
    });
}

/// Says so when the device or the engine fails, whether or not anything is being asked.
fn watch(ask: Ask, model: &WeThink) {
    let ended = JsFuture::from(model.ended());
    spawn_local(async move {
        let (code, text) = failure(&ended.await.unwrap_or_default());
        if code != "unloaded" {
            fail(ask, text);
        }
    });
}

/// The model is gone; the chat stays.
fn fail(ask: Ask, text: String) {
    if let Some(model) = ask.model.try_update_value(Option::take).flatten() {
        model.unload();
    }
    ask.said.set(format!("Error: {text}"));
    ask.status.set(Status::Failed(text));
}

fn stop(ask: Ask) {
    if let Some(abort) = ask.loading.try_update_value(Option::take).flatten() {
        abort.abort();
    }
}

/// The panel.
#[component]
pub fn ModelPanel(ask: Ask) -> impl IntoView {
    let url = RwSignal::new(String::new());
    let device = RwSignal::new("auto".to_owned());
    let place = StoredValue::new_local(Place::bundled());
    let bundled_now = RwSignal::new(true);
    let open = move |new: Place| {
        bundled_now.set(new.name == BUNDLED);
        place.set_value(new);
        load(ask, place.get_value(), device.get_untracked());
    };
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        let address = url.get_untracked();
        open(Place { from: address.trim().into(), name: address.trim().into() });
    };
    let folder = move |event: web_sys::Event| {
        let input: HtmlInputElement = event_target(&event);
        if let Some(files) = input.files().filter(|files| files.length() > 0) {
            open(Place { from: Array::from(&files).into(), name: "the local folder".into() });
        }
        input.set_value("");
    };
    let again = move |_| load(ask, place.get_value(), device.get_untracked());
    let bundled = move |_| open(Place::bundled());
    view! {
        <section class="panel model" aria-labelledby="model-title">
            <h2 id="model-title">"Model"</h2>
            <StatusLine ask />
            <Show when=move || bundled_now.get()><p class="note">{RANDOM}</p></Show>
            <Show when=move || matches!(ask.status.get(), Status::Failed(_) | Status::Empty)>
                <p><button type="button" class="primary" on:click=again>"Load the model again"</button></p>
            </Show>
            <details>
                <summary>"Another model or device"</summary>
                <label class="field">
                    <span>"Device"</span>
                    <select name="device" bind:value=device>
                        <option value="auto">"WebGPU where it works, else CPU"</option>
                        <option value="webgpu">"WebGPU"</option>
                        <option value="cpu">"CPU"</option>
                    </select>
                </label>
                <form on:submit=submit class="row">
                    <label class="field grow">
                        <span>"Address of a checkpoint folder"</span>
                        <input type="url" name="url" required placeholder="https://…/checkpoint/" bind:value=url />
                    </label>
                    <button>"Load"</button>
                </form>
                <div class="row">
                    <label class="button">
                        "Local folder"
                        <input type="file" name="folder" prop:webkitdirectory=true multiple class="unseen" on:change=folder />
                    </label>
                    <button type="button" on:click=bundled>"Bundled model"</button>
                </div>
                <Cache ask />
            </details>
        </section>
    }
}

#[component]
fn StatusLine(ask: Ask) -> impl IntoView {
    let stop = move |_| stop(ask);
    move || {
        match ask.status.get() {
        Status::Empty => view! { <p class="status">"No model is loaded."</p> }.into_any(),
        Status::Loading(progress) => {
            let value = progress.as_ref().and_then(|p| p.total.filter(|&total| total > 0.0).map(|total| p.loaded / total));
            view! {
                <p class="status">{stage(progress.as_ref())}</p>
                <div class="row">
                    <progress class="grow" value=value max="1" aria-label="Loading the model"></progress>
                    <button type="button" on:click=stop>"Stop loading"</button>
                </div>
            }
            .into_any()
        }
        Status::Ready(device) => view! {
            <p class="status"><span class=format!("badge {}", device.kind)>{if device.kind == "webgpu" { "WebGPU" } else { "CPU" }}</span>
                " " {device.name.clone()}</p>
            {device.note.map(|note| view! { <p class="note">"The model runs on the CPU, which is slow: " {note} "."</p> })}
        }
        .into_any(),
        Status::Failed(text) => view! { <p class="error" role="alert">{text}</p> }.into_any(),
    }
    }
}

/// A stage of loading, for people.
fn stage(progress: Option<&Progress>) -> String {
    let Some(Progress { stage, file, loaded, total }) = progress else { return "Starting the engine".into() };
    let file = file.as_deref().unwrap_or_default();
    let bytes = match total {
        Some(total) => format!("{} of {}", megabytes(*loaded), megabytes(*total)),
        None => megabytes(*loaded),
    };
    match stage.as_str() {
        "engine" => "Starting the engine".into(),
        "device" => "Testing the device".into(),
        "files" => format!("Reading {file}"),
        "download" => format!("Fetching {file}: {bytes}"),
        _ => format!("Moving {file} to the device: {bytes}"),
    }
}

/// Bytes for people.
pub fn megabytes(bytes: f64) -> String {
    if bytes >= 1e9 { format!("{:.2} GB", bytes / 1e9) } else { format!("{:.1} MB", bytes / 1e6) }
}

/// What the browser keeps.
#[component]
fn Cache(ask: Ask) -> impl IntoView {
    let held = RwSignal::new(Vec::<Cached>::new());
    let look = move || spawn_local(async move { held.set(WeThink::cached().await) });
    Effect::new(move || {
        if !matches!(ask.status.get(), Status::Loading(_)) {
            look();
        }
    });
    let clear = move |url: JsValue| {
        spawn_local(async move {
            // What cannot be cleared is still listed.
            let _ = WeThink::clear_cached(&url).await;
            held.set(WeThink::cached().await);
            ask.said.set("Cleared".into());
        });
    };
    view! {
        <h3>"Kept in this browser"</h3>
        <Show when=move || !held.with(Vec::is_empty) fallback=|| view! { <p class="note">"Nothing."</p> }>
            <ul class="cache">
                {move || held.get().into_iter().map(|cached| {
                    let url = cached.url.clone();
                    view! {
                        <li>
                            <span class="url">{cached.url.clone()}</span> " " <strong>{megabytes(cached.bytes)}</strong> " "
                            <button type="button" aria-label=format!("Clear {url}") on:click=move |_| clear(url.as_str().into())>"Clear"</button>
                        </li>
                    }
                }).collect_view()}
            </ul>
            <button type="button" on:click=move |_| clear(JsValue::UNDEFINED)>"Clear everything"</button>
        </Show>
    }
}
