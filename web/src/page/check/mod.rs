//! The reward checker: a person sees what the rule verifier says of each reply, and says whether it is right.
//!
//! The rows live in a worker (`wethink-rewards`); this page shows those in sight. Labels live in the browser's storage. Nothing of a
//! row becomes markup: it is set as text, and mathematics as MathML that is built node by node.

mod case;
mod client;
mod detail;
mod file;
mod filters;
mod keys;
mod label;
mod list;
mod opening;
mod pictures;
mod pieces;
mod policy;
mod state;
mod store;
mod tally;
mod verdict;

use leptos::prelude::*;
use web_sys::{DragEvent, KeyboardEvent};

use crate::pictures::DropArea;

pub use case::Form;
pub use client::save;
pub use state::Check;

/// The page. What was opened outlives a change of route.
#[component]
pub fn CheckPage(check: Check, form: Form) -> impl IntoView {
    let drop = move |event: &DragEvent| opening::drop_on(check, event);
    let keys =
        window_event_listener(leptos::ev::keydown, move |event: KeyboardEvent| keys::press(check, &event));
    on_cleanup(move || keys.remove());
    // The form makes room for a file, and is one click away.
    Effect::new(move |before: Option<bool>| {
        let ready = check.phase.with(|phase| *phase == state::Phase::Ready);
        if ready && before != Some(true) {
            form.show(false);
        }
        ready
    });
    let working = move || check.phase.with(|phase| matches!(phase, state::Phase::Working(..)));
    let there = move || check.ready() || (working() && check.detail.with(Option::is_some));
    view! {
        <DropArea class="check" take=drop>
            <opening::OpenPanel check />
            <case::CaseForm check form />
            <Show when=there>
                <tally::Tally check />
                <div class="bench">
                    <div class="panel side">
                        <filters::Filters check />
                        <p class="note">
                            {move || format!("{} rows shown", check.shown.get())} " · "
                            <button type="button" class="link" on:click=move |_| keys::help()>"Keys: ?"</button>
                        </p>
                        <list::List check />
                    </div>
                    <detail::DetailView check form />
                </div>
            </Show>
            <policy::PolicyPanel check />
            <keys::Help check />
        </DropArea>
    }
}
