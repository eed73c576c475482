//! Where a question is put together.

use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::{ClipboardEvent, DragEvent, KeyboardEvent, SubmitEvent};

use crate::camera::Camera;
use crate::chat::{send, stop};
use crate::model::{Panel, Place};
use crate::pictures::{Attached, DropArea, Picker, SAMPLES, attach_files, attach_sample, attach_transfer};
use crate::state::Ask;
use crate::toolkit::{Dropped, dropped_model};

/// Question, pictures, ask and stop.
#[component]
pub fn Composer(ask: Ask) -> impl IntoView {
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        send(ask);
    };
    // Enter asks; with Shift it breaks the line; within an input method it belongs to that.
    let key = move |event: KeyboardEvent| {
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            send(ask);
        }
    };
    let paste = move |event: ClipboardEvent| {
        if attach_transfer(ask, event.clipboard_data()) {
            event.prevent_default();
        }
    };
    let answering = move || ask.answering.with(Option::is_some);
    let samples = SAMPLES.map(|(path, description)| {
        view! {
            <li>
                <button type="button" class="sample" on:click=move |_| attach_sample(ask, path)>
                    <img src=path alt=description />
                </button>
            </li>
        }
    });
    view! {
        <form class="composer panel" on:submit=submit on:paste=paste aria-label="Question">
            <Attached ask />
            <label class="field">
                <span>"Question"</span>
                <textarea
                    name="question"
                    rows="2"
                    placeholder="What do you want to know about the picture?"
                    bind:value=ask.question
                    on:keydown=key
                ></textarea>
            </label>
            <p class="error" role="alert" hidden=move || ask.notice.with(Option::is_none)>{move || ask.notice.get()}</p>
            <div class="row">
                <Picker ask />
                <Camera ask />
                <span class="grow"></span>
                <Show when=answering fallback=move || view! { <button class="primary" disabled=move || !ask.ready()>"Ask"</button> }>
                    <button type="button" class="primary" on:click=move |_| stop(ask)>"Stop"</button>
                </Show>
            </div>
            <p class="hint">"Drop or paste pictures anywhere, or try a sample:"</p>
            <ul class="samples" aria-label="Sample pictures">{samples.collect_view()}</ul>
        </form>
    }
}

/// Takes what is dropped anywhere on the page: pictures, or the folder of a model.
#[component]
pub fn DropZone(ask: Ask, panel: Panel, children: Children) -> impl IntoView {
    let take = move |event: &DragEvent| {
        let transfer = event.data_transfer();
        let found = transfer.as_ref().and_then(dropped_model);
        match found {
            Some(found) => spawn_local(async move {
                match found.await {
                    Ok(Dropped::Model(files)) => panel.open(ask, Place::folder(files)),
                    Ok(Dropped::Files(files)) => attach_files(ask, files),
                    Err(problem) => ask.notice.set(Some(problem)),
                }
            }),
            None => {
                attach_transfer(ask, transfer);
            }
        }
    };
    view! {
        <DropArea take=take>{children()}</DropArea>
    }
}
