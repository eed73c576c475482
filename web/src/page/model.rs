//! Which model, on which device, and what the browser keeps of it.

use js_sys::Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, HtmlInputElement, SubmitEvent};

use crate::loading::{Needs, StatusLine, needs};
use crate::state::{Ask, Loading, Status};
use crate::toolkit::{Cached, Preflight, Progress, WeThink, failure, object, plain};
use wethink_board::catalog::Bundled;

/// Where a model is: an address, or a list of files.
#[derive(Clone)]
pub struct Place {
    from: JsValue,
    name: String,
    /// What the model has seen, where the site knows.
    about: Option<String>,
}

impl Place {
    /// A model of the site itself.
    pub fn bundled(model: &Bundled) -> Self {
        Self { from: model.url().into(), name: model.label.clone(), about: Some(model.about.clone()) }
    }

    /// A person's own files.
    pub fn folder(files: Array) -> Self {
        Self { from: files.into(), name: "the local folder".into(), about: None }
    }
}

/// Loads a model in place of the one that is there. The chat stays.
pub fn load(ask: Ask, place: Place, choice: Choice) {
    let abort = AbortController::new().ok();
    ask.loading.update_value(|loading| {
        if let Some(before) = std::mem::replace(loading, abort.clone()) {
            before.abort();
        }
    });
    if let Some(model) = ask.model.try_update_value(Option::take).flatten() {
        model.unload();
    }
    ask.progress.set(Loading::default());
    ask.preflight.set(None);
    ask.about.set(place.about.clone());
    ask.status.set(Status::Loading);
    ask.said.set("Loading the model".into());
    spawn_local(async move {
        let told = Closure::<dyn Fn(JsValue)>::new(move |progress: JsValue| {
            let Some(progress) = plain::<Progress>(&progress) else { return };
            if let Some(found) = &progress.preflight {
                ask.preflight.set(Some(found.clone()));
            }
            ask.progress.update(|loading| loading.hear(progress));
        });
        let signal = abort.as_ref().map(|abort| JsValue::from(abort.signal())).unwrap_or_default();
        let [device, context] = choice.options();
        let options =
            object([device, context, ("onProgress", told.as_ref().clone()), ("signal", signal.clone())]);
        let loaded = WeThink::load(&place.from, &options).await;
        // Another load has begun, or the person stopped this one.
        if signal.dyn_ref::<web_sys::AbortSignal>().is_some_and(web_sys::AbortSignal::aborted) {
            if loaded.is_err()
                && matches!(ask.status.get_untracked(), Status::Loading)
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
                ask.preflight.set(model.preflight());
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

/// The site's own models; none as long as their list is not here.
fn bundled(ask: Ask) -> Vec<Bundled> {
    ask.bundle.with(|bundle| bundle.iter().flatten().flat_map(|catalog| catalog.models.clone()).collect())
}

/// The first of the site's own models, or why there is none.
fn first(ask: Ask) -> Result<Place, String> {
    match ask.bundle.get_untracked() {
        Some(Ok(catalog)) => {
            catalog.models.first().map(Place::bundled).ok_or_else(|| "no model is bundled".into())
        }
        Some(Err(problem)) => Err(problem),
        None => Err("the list of bundled models is still on its way".into()),
    }
}

/// Loads the first of the site's own models.
pub fn load_first(ask: Ask) {
    match first(ask) {
        Ok(place) => load(ask, place, Choice::default()),
        Err(problem) => fail(ask, problem),
    }
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

/// Device and length of a chat, as `load` takes them.
#[derive(Clone, Default)]
pub struct Choice {
    device: Option<String>,
    context: Option<u32>,
}

impl Choice {
    fn options(&self) -> [(&'static str, JsValue); 2] {
        let device = self.device.as_deref().unwrap_or("auto").into();
        [("device", device), ("contextTokens", self.context.map(JsValue::from).unwrap_or_default())]
    }
}

/// What stands in the panel.
#[derive(Clone, Copy)]
pub struct Panel {
    url: RwSignal<String>,
    device: RwSignal<String>,
    context: RwSignal<String>,
    /// None: the first of the site's own.
    place: StoredValue<Option<Place>, LocalStorage>,
    /// What was said when somebody asked what a model needs.
    looked: RwSignal<Option<Result<Preflight, String>>>,
}

impl Panel {
    /// The bundled model, wherever it runs.
    pub fn new() -> Self {
        Self {
            url: RwSignal::new(String::new()),
            device: RwSignal::new("auto".to_owned()),
            context: RwSignal::new(String::new()),
            place: StoredValue::new_local(None),
            looked: RwSignal::new(None),
        }
    }

    /// Loads another model.
    pub fn open(self, ask: Ask, place: Place) {
        self.place.set_value(Some(place));
        self.load(ask);
    }

    /// Loads the model anew.
    fn load(self, ask: Ask) {
        self.looked.set(None);
        match self.place.get_value().map_or_else(|| first(ask), Ok) {
            Ok(place) => load(ask, place, self.choice()),
            Err(problem) => fail(ask, problem),
        }
    }

    fn choice(self) -> Choice {
        // The field admits nothing but numbers.
        let context = self.context.get_untracked().trim().parse().ok();
        Choice { device: Some(self.device.get_untracked()), context }
    }

    fn address(self) -> Place {
        let address = self.url.get_untracked();
        Place { from: address.trim().into(), name: address.trim().into(), about: None }
    }

    /// Finds out what the model at the address needs.
    fn look(self, ask: Ask) {
        if self.url.with_untracked(|url| url.trim().is_empty()) {
            self.looked.set(Some(Err("Write an address first".into())));
            return;
        }
        let (place, options) = (self.address(), object(self.choice().options()));
        ask.said.set("Looking what the model needs".into());
        self.looked.set(None);
        spawn_local(async move {
            let found = WeThink::look(&place.from, &options).await.map_err(|error| failure(&error).1);
            ask.said.set(match &found {
                Ok(found) => needs(found),
                Err(problem) => problem.clone(),
            });
            self.looked.set(Some(found));
        });
    }
}

/// The panel.
#[component]
pub fn ModelPanel(ask: Ask, panel: Panel) -> impl IntoView {
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        panel.open(ask, panel.address());
    };
    let folder = move |event: web_sys::Event| {
        let input: HtmlInputElement = event_target(&event);
        if let Some(files) = input.files().filter(|files| files.length() > 0) {
            panel.open(ask, Place::folder(Array::from(&files)));
        }
        input.set_value("");
    };
    view! {
        <section class="panel model" aria-labelledby="model-title">
            <h2 id="model-title">"Model"</h2>
            <StatusLine ask stop=move || stop(ask) />
            {move || ask.about.get().map(|about| view! {
                <p class="note">{about} " Everything else is beyond it: for photos, load a trained model under “Another model or device”."</p>
            })}
            <Show when=move || matches!(ask.status.get(), Status::Failed(_) | Status::Empty)>
                <p><button type="button" class="primary" on:click=move |_| panel.load(ask)>"Load the model again"</button></p>
            </Show>
            <details>
                <summary>"Another model or device"</summary>
                <Where ask panel />
                <form on:submit=submit class="row">
                    <label class="field grow">
                        <span>"Address of a pack or a checkpoint folder"</span>
                        <input type="url" name="url" required placeholder="https://…/pack/" bind:value=panel.url />
                    </label>
                    <button>"Load"</button>
                    <button type="button" on:click=move |_| panel.look(ask)>"What does it need?"</button>
                </form>
                {move || panel.looked.get().map(|looked| match looked {
                    Ok(found) => view! { <Needs found /> }.into_any(),
                    Err(problem) => view! { <p class="error" role="alert">{problem}</p> }.into_any(),
                })}
                <div class="row">
                    <label class="button">
                        "Local folder"
                        <input type="file" name="folder" prop:webkitdirectory=true multiple class="unseen" on:change=folder />
                    </label>
                    {move || bundled(ask).into_iter().map(|model| view! {
                        <button type="button" on:click=move |_| panel.open(ask, Place::bundled(&model))>"Bundled: " {model.label.clone()}</button>
                    }).collect_view()}
                    <span class="hint">"A folder can also be dropped on the page."</span>
                </div>
                <Cache ask />
            </details>
        </section>
    }
}

/// Where the next model runs, and how long its chats may get.
#[component]
fn Where(ask: Ask, panel: Panel) -> impl IntoView {
    view! {
        <div class="grid where">
            <label class="field">
                <span>"Device"</span>
                <select name="device" bind:value=panel.device>
                    <option value="auto">"WebGPU where it works, else CPU"</option>
                    <option value="webgpu">"WebGPU"</option>
                    <option value="cpu">"CPU"</option>
                </select>
            </label>
            <div class="field">
                <label for="context">"Longest chat, in tokens"</label>
                <input type="number" id="context" min="1" step="1" bind:value=panel.context aria-describedby="context-hint" />
                <small id="context-hint">
                    "Memory for it is taken at once. Empty: as each answer needs."
                    {move || ask.preflight.get().map(|found| {
                        format!(" 1000 tokens take {} with this model.", megabytes(1000.0 * found.cache / found.context_tokens))
                    })}
                </small>
            </div>
        </div>
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
        if !matches!(ask.status.get(), Status::Loading) {
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
