//! The scenes page: a person makes a scene, asks about it, and watches a small model reason, right or wrong.
//!
//! The page knows the truth, because it knows the scene: `wethink-scenes` draws, asks and answers here as it does for training,
//! and the rule verifier judges. A photo has no truth here and is answered without a verdict.

mod answer;
mod asking;
mod difficulty;
mod engines;
mod picture;
mod question;
mod runs;
mod shape;
mod state;

use leptos::prelude::*;
use send_wrapper::SendWrapper;
use web_sys::{DragEvent, File, Url};

pub use state::Scenes;

use crate::pictures::{DropArea, listed};
use crate::state::Picture;

/// The page. What was asked outlives a change of route.
#[component]
pub fn ScenesPage(scenes: Scenes) -> impl IntoView {
    let drop = move |event: &DragEvent| {
        take(scenes, listed(event.data_transfer().and_then(|transfer| transfer.files())))
    };
    Effect::new(move || {
        if let Some(Ok(catalog)) = scenes.bundle.get() {
            untrack(move || scenes.begin(&catalog));
        }
    });
    let photo = move || scenes.photo.with(Option::is_some);
    let inside = move || {
        view! {
            <section class="panel scene" aria-labelledby="scene-title">
                <h2 id="scene-title">{move || if photo() { "A photo" } else { "The scene" }}</h2>
                <Show when=move || !photo() fallback=move || view! { <picture::Photo scenes /> }>
                    <picture::SceneView scenes />
                </Show>
                <div class="row">
                    <button type="button" disabled=move || scenes.busy() on:click=move |_| scenes.shuffle()>"Shuffle"</button>
                    <picture::PhotoButton scenes />
                </div>
                <Show when=move || !photo()><shape::ShapeFields scenes /></Show>
            </section>
            <section class="panel talk" aria-labelledby="talk-title">
                <h2 id="talk-title">"Ask"</h2>
                <engines::Switch scenes />
                <question::QuestionForm scenes />
                <answer::Answers scenes />
            </section>
            <section class="panel measured" aria-labelledby="score-title">
                <h2 id="score-title">"Score"</h2>
                <difficulty::Score scenes />
                <difficulty::Difficulty scenes />
                <runs::RunForm scenes />
                <runs::All scenes />
            </section>
        }
        .into_any()
    };
    let problem = move || {
        scenes.bundle.with(|bundle| bundle.as_ref().and_then(|bundle| bundle.as_ref().err().cloned()))
    };
    let there = move || scenes.slots.with(|slots| !slots.is_empty());
    view! {
        <DropArea class="scenes" take=drop>
            {move || problem().map(|problem| view! { <p class="panel error" role="alert">{problem}</p> })}
            <Show when=there fallback=move || view! { <p class="panel coming" hidden=move || problem().is_some()>"…"</p> }>{inside()}</Show>
        </DropArea>
    }
    .into_any()
}

/// Takes the first picture among some files in place of the scene.
fn take(scenes: Scenes, files: Vec<File>) {
    let named = files.first().map(File::name);
    let Some(file) = files.into_iter().find(|file| file.type_().starts_with("image/")) else {
        if let Some(name) = named {
            scenes.refuse(format!("{name} is not a picture; PNG, JPEG, WebP, GIF, BMP and TIFF are read"));
        }
        return;
    };
    if scenes.abort.with_untracked(Option::is_some) {
        return scenes.refuse("Wait for the answer, or stop it, before another picture");
    }
    // The browser lends no address only when it is out of memory.
    let Ok(url) = Url::create_object_url_with_blob(&file) else { return };
    if let Some(before) = scenes.photo.get_untracked() {
        // An address that is void already is what is wanted.
        let _ = Url::revoke_object_url(&before.url);
    }
    let name = file.name();
    scenes.said.set(format!("{name} takes the place of the scene"));
    scenes.notice.set(None);
    scenes.typed.set(Some("What is in the picture?".into()));
    scenes.photo.set(Some(Picture { key: 0, name, file: SendWrapper::new(file.into()), url }));
}
