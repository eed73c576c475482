//! The bundled models: loaded when they are first chosen, each in a worker of its own.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::shape::Words;
use super::state::{Scenes, Slot, Which};
use crate::loading::stage;
use crate::model::megabytes;
use crate::state::{Loading, Status};
use crate::toolkit::{Progress, WeThink, failure, object, plain};

/// Loads those chosen models that are neither there nor on their way.
pub fn load_chosen(scenes: Scenes) {
    for slot in scenes.chosen() {
        if slot.status.with_untracked(|status| *status == Status::Empty) {
            load(scenes, slot);
        }
    }
}

/// Loads all of them anew, on another device. An answer that is under way fails, and says so.
fn reload(scenes: Scenes, device: &'static str) {
    scenes.device.set(device);
    for slot in scenes.slots.get_untracked() {
        slot.loads.update_value(|loads| *loads += 1);
        if let Some(engine) = slot.engine.try_update_value(Option::take).flatten() {
            engine.unload();
        }
        slot.status.set(Status::Empty);
    }
    untrack(move || load_chosen(scenes));
}

fn load(scenes: Scenes, slot: Slot) {
    let load = slot.loads.try_update_value(|loads| {
        *loads += 1;
        *loads
    });
    slot.status.set(Status::Loading);
    slot.progress.set(Loading::default());
    let device = scenes.device.get_untracked();
    spawn_local(async move {
        let told = Closure::<dyn Fn(JsValue)>::new(move |progress: JsValue| {
            if let Some(progress) = plain::<Progress>(&progress) {
                slot.progress.update(|loading| loading.hear(progress));
            }
        });
        let options = object([("device", device.into()), ("onProgress", told.as_ref().clone())]);
        let from = slot.model.with_value(|model| model.url());
        let loaded = WeThink::load(&from.into(), &options).await;
        let abandoned = Some(slot.loads.get_value()) != load;
        match loaded.map(|model| model.unchecked_into::<WeThink>()) {
            Ok(engine) if abandoned => engine.unload(),
            Err(_) if abandoned => {}
            Ok(engine) => match engine.device() {
                Some(device) => {
                    watch(slot, &engine);
                    slot.engine.set_value(Some(engine));
                    scenes.said.set(format!("{} is ready on {}", slot.label(), device.name));
                    slot.status.set(Status::Ready(device));
                }
                None => slot.status.set(Status::Failed("the engine names no device".into())),
            },
            Err(error) => {
                let problem = failure(&error).1;
                scenes.said.set(format!("Error: {problem}"));
                slot.status.set(Status::Failed(problem));
            }
        }
    });
}

/// Says so when the device or the engine fails, whether or not anything is being asked.
fn watch(slot: Slot, engine: &WeThink) {
    let ended = JsFuture::from(engine.ended());
    spawn_local(async move {
        let (code, problem) = failure(&ended.await.unwrap_or_default());
        if code != "unloaded" {
            slot.engine.set_value(None);
            slot.status.set(Status::Failed(problem));
        }
    });
}

/// Which models answer, where they run, and how far they are.
#[component]
pub fn Switch(scenes: Scenes) -> impl IntoView {
    // Loads what is chosen, now and later.
    Effect::new(move || load_chosen(scenes));
    let devices = vec![("auto", "WebGPU where it works, else CPU"), ("webgpu", "WebGPU"), ("cpu", "CPU")];
    let option = move |which: Which, label: String| {
        view! {
            <label class="segment">
                <input
                    type="radio"
                    name="which"
                    prop:checked={move || scenes.which.get() == which}
                    disabled=move || scenes.busy()
                    on:change=move |_| scenes.which.set(which)
                />
                <span>{label}</span>
            </label>
        }
    };
    let options = move || {
        let slots = scenes.slots.get();
        let ones =
            slots.iter().enumerate().map(|(i, slot)| option(Which::One(i), slot.label())).collect_view();
        let all = (slots.len() > 1).then(|| {
            let label = if slots.len() == 2 { "Both side by side" } else { "All side by side" };
            option(Which::All, label.into())
        });
        view! { {ones} {all} }
    };
    view! {
        <Show when=move || { scenes.slots.with(Vec::len) > 1 }>
            <fieldset class="segments">
                <legend>"Who answers"</legend>
                {options}
            </fieldset>
        </Show>
        {move || scenes.chosen().into_iter().map(|slot| view! { <State scenes of=slot /> }).collect_view()}
        <details>
            <summary>"Where it runs"</summary>
            <div class="narrow"><Words label="Device" all=devices now=scenes.device.into() set=move |device| reload(scenes, device) /></div>
        </details>
    }
    .into_any()
}

/// How far a model is, and what it is.
#[component]
fn State(scenes: Scenes, of: Slot) -> impl IntoView {
    let slot = of;
    let again = move |_| {
        slot.status.set(Status::Empty);
        untrack(move || load_chosen(scenes));
    };
    let share = move || {
        slot.progress.with(|loading| {
            let last = loading.last.as_ref()?;
            last.total.filter(|&total| total > 0.0).map(|total| last.loaded / total)
        })
    };
    // Told many times a second; what a person is about to click must not be made anew each time.
    let state = move || {
        match slot.status.get() {
        Status::Empty => ().into_any(),
        Status::Loading => view! {
            <span class="row">
                <progress class="grow" value=share max="1" aria-label=format!("Loading {}", slot.label())></progress>
                <span>{move || slot.progress.with(|loading| stage(loading.last.as_ref()))}</span>
            </span>
        }
        .into_any(),
        Status::Ready(device) => {
            let weights = slot.engine.with_value(|engine| engine.as_ref().and_then(WeThink::preflight));
            let weights = weights.map(|found| format!(", {} of weights", megabytes(found.weights)));
            let note = device.note.map(|note| format!(" ({note})"));
            view! {
                <span class=format!("badge {}", device.kind)>{if device.kind == "webgpu" { "WebGPU" } else { "CPU" }}</span>
                " " {device.name} {weights} {note} ". "
            }
            .into_any()
        }
        Status::Failed(problem) => view! {
            <span class="error" role="alert">{problem}</span> " "
            <button type="button" on:click=again>"Load it again"</button>
        }
        .into_any(),
    }
    };
    view! { <p class="model note"><b>{slot.label()}</b> " " {state} {slot.model.with_value(|model| model.about.clone())}</p> }
}
