//! The pictures that rows name: from a folder or a zip of the person's own, never from an address.

use js_sys::{Array, Uint8Array};
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::{Blob, File, HtmlDialogElement, Url};

use super::state::Check;

/// Takes the pictures of a folder.
pub fn take_folder(check: Check, files: Vec<(String, File)>) {
    let (names, files): (Vec<String>, Vec<File>) = files.into_iter().unzip();
    check.folder.set_value(files);
    spawn_local(async move {
        let count = names.len();
        taken(check, check.worker().ask::<()>("folder", (names,)).await.map(|()| format!("{count} files")));
    });
}

/// Takes a zip of pictures; it is read in place.
pub fn take_zip(check: Check, file: File) {
    spawn_local(async move {
        let taken_now = check.worker().give::<usize>("archive", &file).await;
        taken(check, taken_now.map(|count| format!("{count} files in {}", file.name())));
    });
}

fn taken(check: Check, result: Result<String, String>) {
    match result {
        Ok(text) => {
            check.pictures.set(format!("Pictures: {text}"));
            check.said.set(format!("Pictures: {text}"));
        }
        Err(problem) => check.refuse(problem),
    }
}

/// What became of a path.
#[derive(Clone, PartialEq)]
enum Shot {
    Coming,
    /// An address that this page lends.
    Here(String),
    /// Why there is no picture.
    Missing(String),
}

/// The pictures of a row.
#[component]
pub fn Shots(check: Check, images: Vec<String>) -> impl IntoView {
    images.into_iter().map(|path| view! { <One check path /> }).collect_view()
}

#[component]
fn One(check: Check, path: String) -> impl IntoView {
    let shot = RwSignal::new(Shot::Coming);
    let dialog = NodeRef::<leptos::html::Dialog>::new();
    let name = StoredValue::new(path);
    Effect::new(move || {
        // Asked anew when other pictures are at hand.
        let none = check.pictures.with(String::is_empty);
        if none {
            return shot.set(Shot::Missing("choose the folder or zip with the pictures to see it".into()));
        }
        spawn_local(async move {
            let found = find(check, name.get_value()).await;
            if let Some(Shot::Here(old)) = shot.try_get_untracked() {
                let _ = Url::revoke_object_url(&old);
            }
            // The row may be gone from the page by now.
            shot.try_set(found);
        });
    });
    on_cleanup(move || {
        if let Some(Shot::Here(url)) = shot.try_get_untracked() {
            // An address that is void already is what is wanted.
            let _ = Url::revoke_object_url(&url);
        }
    });
    let with = move |act: fn(&HtmlDialogElement)| {
        if let Some(dialog) = dialog.get() {
            act(&dialog);
        }
    };
    let zoom = move |_| with(|dialog| drop(dialog.show_modal()));
    let close = move |_| with(HtmlDialogElement::close);
    let inside = move || match shot.get() {
        Shot::Coming => view! { <p class="note">"…"</p> }.into_any(),
        Shot::Missing(why) => {
            view! { <p class="note">"Picture " <code>{name.get_value()}</code> ": " {why}</p> }.into_any()
        }
        Shot::Here(url) => {
            let broken = move |_| shot.set(Shot::Missing("it is no picture that this browser shows".into()));
            view! {
                <button type="button" class="shot" on:click=zoom aria-label=format!("Zoom {}", name.get_value())>
                    <img src=url.clone() alt=name.get_value() on:error=broken />
                </button>
                <dialog class="zoom" node_ref=dialog aria-label=name.get_value()>
                    <div class="row head">
                        <code>{name.get_value()}</code>
                        <span class="grow"></span>
                        <button type="button" on:click=close>"Close"</button>
                    </div>
                    <div class="pan" tabindex="0" role="region" aria-label="Picture in full size"><img src=url alt=name.get_value() /></div>
                </dialog>
            }
            .into_any()
        }
    };
    view! { <div class="picture">{inside}</div> }
}

/// Looks for a picture: bytes from the zip, or the file of the folder.
async fn find(check: Check, path: String) -> Shot {
    let missing = |why: &str| Shot::Missing(why.to_owned());
    let found = match check.worker().raw("picture", (path,)).await {
        Ok(found) => found,
        Err(problem) => return Shot::Missing(problem),
    };
    let blob: Option<Blob> = match found.dyn_into::<Uint8Array>() {
        Ok(bytes) => Blob::new_with_u8_array_sequence(&Array::of1(&bytes)).ok(),
        Err(found) => match found.as_f64() {
            Some(index) => {
                check.folder.with_value(|files| files.get(index as usize).cloned().map(Into::into))
            }
            None => return missing("no file of that name is at hand, or more than one"),
        },
    };
    match blob.and_then(|blob| Url::create_object_url_with_blob(&blob).ok()) {
        Some(url) => Shot::Here(url),
        None => missing("the browser cannot hold it"),
    }
}
