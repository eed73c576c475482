//! The keyboard, and the overlay that explains it.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, HtmlInputElement, KeyboardEvent};
use wethink_checker::Seek;
use wethink_reward::Choice;

use super::label::{go, label, seek, undo};
use super::state::{Check, remember};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Accept,
    Reject,
    Unsure,
    Next,
    Previous,
    NextDispute,
    PreviousDispute,
    NextOpen,
    Note,
    Undo,
    Find,
    Think,
    Source,
    Help,
}

/// Keys as the browser names them, what they do, and that in words.
const KEYS: [(&[&str], Act, &str); 14] = [
    (&["a"], Act::Accept, "Accept, and on to the next row"),
    (&["r"], Act::Reject, "Reject, and on to the next row"),
    (&["u"], Act::Unsure, "Unsure, and on to the next row"),
    (&["j", "ArrowDown"], Act::Next, "Next row"),
    (&["k", "ArrowUp"], Act::Previous, "Previous row"),
    (&["d"], Act::NextDispute, "Next disagreement"),
    (&["D"], Act::PreviousDispute, "Previous disagreement"),
    (&["o"], Act::NextOpen, "Next row without a label"),
    (&["n"], Act::Note, "Write a note; Escape leaves it"),
    (&["z"], Act::Undo, "Undo the last label or note"),
    (&["/"], Act::Find, "Find text"),
    (&["t"], Act::Think, "Show or fold the thinking"),
    (&["m"], Act::Source, "Mathematics, or its source"),
    (&["?"], Act::Help, "This help"),
];

/// Takes a key, unless it belongs to something that is typed into or chosen from.
pub fn press(check: Check, event: &KeyboardEvent) {
    let typing = event.target().and_then(|target| target.dyn_into::<Element>().ok()).is_some_and(|element| {
        let name = element.tag_name();
        let button = name == "INPUT" && {
            let input = element.unchecked_ref::<HtmlInputElement>();
            matches!(input.type_().as_str(), "checkbox" | "file" | "button")
        };
        (matches!(name.as_str(), "INPUT" | "TEXTAREA" | "SELECT") && !button)
            || element.closest("dialog").is_ok_and(|found| found.is_some())
    });
    if event.key() == "Escape" && typing {
        return blur();
    }
    let chord = event.ctrl_key() || event.meta_key() || event.alt_key() || event.is_composing();
    if typing || chord || !check.keys.get_untracked() {
        return;
    }
    let key = event.key();
    let Some((_, act, _)) = KEYS.iter().find(|(keys, ..)| keys.contains(&key.as_str())) else { return };
    // A key that is held down walks through the rows, and labels none of them.
    let held = event.repeat() && !matches!(act, Act::Next | Act::Previous);
    if held || !check.ready() && *act != Act::Help {
        return;
    }
    event.prevent_default();
    run(check, *act);
}

fn run(check: Check, act: Act) {
    let place = check.place.get_untracked();
    match act {
        Act::Accept => label(check, Choice::Accept),
        Act::Reject => label(check, Choice::Reject),
        Act::Unsure => label(check, Choice::Unsure),
        Act::Next => go(check, place + 1),
        Act::Previous => go(check, place.saturating_sub(1)),
        Act::NextDispute => seek(check, true, Seek::Differs),
        Act::PreviousDispute => seek(check, false, Seek::Differs),
        Act::NextOpen => seek(check, true, Seek::Unlabelled),
        Act::Note => focus("check-note"),
        Act::Undo => undo(check),
        Act::Find => focus("check-find"),
        Act::Think => fold(),
        Act::Source => check.mathematics.update(|set| *set = !*set),
        Act::Help => help(),
    }
}

/// Shows the overlay.
pub fn help() {
    if let Some(dialog) = document().get_element_by_id("check-help") {
        // One that is open already is what is wanted.
        let _ = dialog.unchecked_into::<web_sys::HtmlDialogElement>().show_modal();
    }
}

/// Puts the caret into a field of the page.
fn focus(id: &str) {
    if let Some(element) = document().get_element_by_id(id) {
        let _ = element.unchecked_into::<HtmlElement>().focus();
    }
}

fn blur() {
    if let Some(element) =
        document().active_element().and_then(|element| element.dyn_into::<HtmlElement>().ok())
    {
        let _ = element.blur();
    }
}

fn fold() {
    if let Some(details) = document().query_selector(".detail .think").ok().flatten() {
        let details = details.unchecked_into::<web_sys::HtmlDetailsElement>();
        details.set_open(!details.open());
    }
}

/// The overlay, with the switch that single keys must have.
#[component]
pub fn Help(check: Check) -> impl IntoView {
    let dialog = NodeRef::<leptos::html::Dialog>::new();
    let close = move |_| dialog.get().iter().for_each(|dialog| dialog.close());
    let rows = KEYS.map(|(keys, _, words)| {
        let shown = |key: &&str| match *key {
            "ArrowDown" => "↓".to_owned(),
            "ArrowUp" => "↑".to_owned(),
            "D" => "Shift+d".to_owned(),
            other => other.to_owned(),
        };
        let keys = keys.iter().map(|key| view! { <kbd>{shown(key)}</kbd> " " }).collect_view();
        view! { <div><dt>{keys}</dt><dd>{words}</dd></div> }
    });
    let switch = move |event| {
        let on = event_target_checked(&event);
        remember("wethink-keys", if on { "on" } else { "off" });
        check.keys.set(on);
    };
    view! {
        <dialog id="check-help" node_ref=dialog aria-labelledby="check-help-title">
            <h2 id="check-help-title">"Keys"</h2>
            <dl class="keys">{rows.collect_view()}</dl>
            <label class="tick"><input type="checkbox" prop:checked=move || check.keys.get() on:change=switch /> " Keys act on their own"</label>
            <div class="row"><span class="grow"></span><button type="button" class="primary" on:click=close>"Close"</button></div>
        </dialog>
    }
}
