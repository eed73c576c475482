//! How far loading is, what the model needs, and where it runs.

use leptos::prelude::*;

use crate::model::megabytes;
use crate::state::{Ask, Status};
use crate::toolkit::{Preflight, Progress};

/// One line about the model, and while it loads, the stages.
#[component]
pub fn StatusLine(ask: Ask, stop: impl Fn() + Copy + Send + Sync + 'static) -> impl IntoView {
    // Told many times a second; what a person is about to click must not be made anew each time.
    move || {
        match ask.status.get() {
        Status::Empty => view! { <p class="status">"No model is loaded."</p> }.into_any(),
        Status::Loading => view! { <Stages ask stop /> }.into_any(),
        Status::Ready(device) => view! {
            <p class="status">
                <span class=format!("badge {}", device.kind)>{if device.kind == "webgpu" { "WebGPU" } else { "CPU" }}</span> " "
                {device.name.clone()}
                {move || ask.preflight.get().map(|found| format!(
                    " · weights {} · a chat of {} tokens {}",
                    megabytes(found.weights), found.context_tokens, megabytes(found.cache),
                ))}
            </p>
            {device.note.map(|note| view! { <p class="note">"The model runs on the CPU, which is slow: " {note} "."</p> })}
            {move || ask.preflight.get().and_then(|found| found.note).map(|note| view! { <p class="note">{sentence(&note)}</p> })}
        }
        .into_any(),
        Status::Failed(text) => view! { <p class="error" role="alert">{text}</p> }.into_any(),
    }
    }
}

#[component]
fn Stages(ask: Ask, stop: impl Fn() + Copy + Send + Sync + 'static) -> impl IntoView {
    let line = move || ask.progress.with(|loading| stage(loading.last.as_ref()));
    let share = move || {
        ask.progress.with(|loading| {
            let last = loading.last.as_ref()?;
            last.overall.or_else(|| last.total.filter(|&total| total > 0.0).map(|total| last.loaded / total))
        })
    };
    let both = move || {
        ask.progress.with(|loading| {
            // Those of a pack go on side by side; a checkpoint's files come one after the other.
            let packed = loading.last.as_ref().is_some_and(|last| last.overall.is_some());
            let stages = [("Fetched", &loading.download), ("On the device", &loading.weights)];
            let stages = stages.map(|(name, progress)| {
                let progress = progress.as_ref().filter(|_| packed)?;
                let total = progress.total.unwrap_or(progress.loaded);
                Some((name, progress.loaded, total))
            });
            stages.into_iter().flatten().collect::<Vec<_>>()
        })
    };
    view! {
        <p class="status">{line}</p>
        <div class="row">
            <progress class="grow" value=share max="1" aria-label="Loading the model"></progress>
            <button type="button" on:click=move |_| stop()>"Stop loading"</button>
        </div>
        <Show when=move || !both().is_empty()>
            <dl class="figures stages">
                {move || both().into_iter().map(|(name, loaded, total)| view! {
                    <div><dt>{name}</dt><dd>{format!("{} of {}", megabytes(loaded), megabytes(total))}</dd></div>
                }).collect_view()}
            </dl>
        </Show>
        {move || ask.preflight.get().map(|found| view! { <Needs found /> })}
    }
}

/// What a model needs, and what there is.
#[component]
pub fn Needs(found: Preflight) -> impl IntoView {
    let note = found.note.clone().map(|note| view! { <p class="note">{sentence(&note)}</p> });
    let class = if found.fits { "note" } else { "error" };
    view! { <p class=class>{needs(&found)}</p> {note} }
}

/// The same in words.
pub fn needs(found: &Preflight) -> String {
    let Preflight { weights, cache, work, context_tokens, allocated, .. } = found;
    let need = format!(
        "Needs {} of memory: {} for weights, {} for a chat of {context_tokens} tokens, {} to work in. ",
        megabytes(weights + cache + work),
        megabytes(*weights),
        megabytes(*cache),
        megabytes(*work),
    );
    let fit = match (found.fits, found.fitting_tokens) {
        (true, _) => "All of it was allocated for trial.".into(),
        (false, tokens) if tokens > 0.0 => {
            format!("{} can be had: a chat of {tokens} tokens fits.", megabytes(*allocated))
        }
        _ => format!("{} can be had: it does not fit.", megabytes(*allocated)),
    };
    let fetch = match found.download {
        Some(0.0) => " Its weights are here.".into(),
        Some(bytes) => format!(" {} are to be fetched.", megabytes(bytes)),
        None => String::new(),
    };
    format!("{need}{fit}{fetch}")
}

/// A stage of loading, for people.
pub fn stage(progress: Option<&Progress>) -> String {
    let Some(Progress { stage, file, loaded, total, overall, .. }) = progress else {
        return "Starting the engine".into();
    };
    let file = file.as_deref().unwrap_or_default();
    if let Some(overall) = overall {
        let waiting = if stage == "waiting" { "; another tab is fetching it, this one waits" } else { "" };
        return format!("Loading the pack: {:.0} %{waiting}", 100.0 * overall);
    }
    let bytes = match total {
        Some(total) => format!("{} of {}", megabytes(*loaded), megabytes(*total)),
        None => megabytes(*loaded),
    };
    match stage.as_str() {
        "engine" => "Starting the engine".into(),
        "device" => "Testing the device".into(),
        "preflight" => "Memory was allocated for trial".into(),
        "files" => format!("Reading {file}"),
        "download" => format!("Fetching {file}: {bytes}"),
        _ => format!("Moving {file} to the device: {bytes}"),
    }
}

/// Text of the toolkit as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
