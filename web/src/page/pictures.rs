//! Pictures on their way to a question: picked, dropped, pasted, taken, or samples.

use leptos::prelude::*;
use leptos::task::spawn_local;
use send_wrapper::SendWrapper;
use web_sys::{Blob, DataTransfer, DragEvent, File, FileList, HtmlInputElement, Url};

use crate::site;
use crate::state::{Ask, Picture};

/// Sample pictures of the site: file, description.
pub const SAMPLES: [(&str, &str); 3] = [
    ("samples/shapes.png", "Coloured shapes on a table"),
    ("samples/chart.png", "A bar chart of rainfall"),
    ("samples/clock.png", "A clock and a timetable"),
];

/// Attaches a picture.
pub fn attach(ask: Ask, name: String, blob: Blob) {
    // The browser lends no address only when it is out of memory.
    let Ok(url) = Url::create_object_url_with_blob(&blob) else { return };
    let picture = Picture { key: ask.key(), name: name.clone(), file: SendWrapper::new(blob), url };
    ask.attached.update(|attached| attached.push(picture));
    ask.notice.set(None);
    ask.said.set(format!("{name} attached"));
}

/// The page's main part, which takes what is dropped anywhere on it: `take` gets the event.
#[component]
pub fn DropArea(
    #[prop(optional)] class: &'static str,
    take: impl Fn(&DragEvent) + 'static,
    children: Children,
) -> impl IntoView {
    let over = RwSignal::new(false);
    let hover = move |event: DragEvent| {
        event.prevent_default();
        over.set(true);
    };
    let drop = move |event: DragEvent| {
        event.prevent_default();
        over.set(false);
        take(&event);
    };
    view! {
        <main class=class class:over=over on:dragover=hover on:dragleave=move |_| over.set(false) on:drop=drop>
            {children()}
        </main>
    }
}

/// The files of a list, none of no list.
pub fn listed(files: Option<FileList>) -> Vec<File> {
    files.iter().flat_map(|list| (0..list.length()).filter_map(move |i| list.item(i))).collect()
}

/// Attaches the pictures among some files, and names one that is none.
pub fn attach_files(ask: Ask, files: Vec<File>) {
    let (pictures, others): (Vec<File>, Vec<File>) =
        files.into_iter().partition(|file| file.type_().starts_with("image/"));
    for file in pictures {
        attach(ask, file.name(), file.into());
    }
    if let Some(file) = others.first() {
        ask.notice.set(Some(format!(
            "{} is not a picture; PNG, JPEG, WebP, GIF, BMP and TIFF are read",
            file.name()
        )));
    }
}

/// What was dropped or pasted; true if there were files in it.
pub fn attach_transfer(ask: Ask, transfer: Option<DataTransfer>) -> bool {
    let files = transfer.and_then(|transfer| transfer.files());
    let any = files.as_ref().is_some_and(|files| files.length() > 0);
    attach_files(ask, listed(files));
    any
}

/// Attaches a sample.
pub fn attach_sample(ask: Ask, path: &'static str) {
    spawn_local(async move {
        match site::file(path).await {
            Ok(file) => attach(ask, file.name(), file.into()),
            Err(problem) => ask.notice.set(Some(problem)),
        }
    });
}

/// The picker.
#[component]
pub fn Picker(ask: Ask) -> impl IntoView {
    let input = NodeRef::<leptos::html::Input>::new();
    let changed = move |event: web_sys::Event| {
        let input: HtmlInputElement = event_target(&event);
        attach_files(ask, listed(input.files()));
        // The same file may be picked again.
        input.set_value("");
    };
    view! {
        <input type="file" accept="image/*" multiple hidden node_ref=input on:change=changed aria-label="Pictures" />
        <button type="button" on:click=move |_| input.get().iter().for_each(|input| input.click())>"Add pictures"</button>
    }
}

/// The attached pictures, each with a way to remove it.
#[component]
pub fn Attached(ask: Ask) -> impl IntoView {
    let remove = move |key: usize| {
        ask.attached.update(|attached| {
            if let Some(at) = attached.iter().position(|picture| picture.key == key) {
                let picture = attached.remove(at);
                ask.said.set(format!("{} removed", picture.name));
                // An address that is already void is what is wanted.
                let _ = Url::revoke_object_url(&picture.url);
            }
        });
    };
    view! {
        <ul class="attached" aria-label="Attached pictures" hidden=move || ask.attached.with(Vec::is_empty)>
            <For each=move || ask.attached.get() key=|picture| picture.key let:picture>
                <li>
                    <img src=picture.url.clone() alt=picture.name.clone() />
                    <button
                        type="button"
                        class="remove"
                        aria-label=format!("Remove {}", picture.name)
                        on:click=move |_| remove(picture.key)
                    >
                        "×"
                    </button>
                </li>
            </For>
        </ul>
    }
}
