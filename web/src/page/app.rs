//! The frame of the page, and its routes.

use leptos::prelude::*;

use crate::chat::Chat;
use crate::check::{Check, CheckPage, Form};
use crate::composer::{Composer, DropZone};
use crate::model::{Choice, ModelPanel, Panel, Place, load};
use crate::settings::SettingsPanel;
use crate::state::Ask;

/// What the hash of the address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Ask,
    Check,
    Unknown,
}

impl Route {
    /// An address without a hash is the ask page's.
    fn now() -> Self {
        match window().location().hash().unwrap_or_default().as_str() {
            "" | "#" | "#/" | "#/ask" => Self::Ask,
            "#/check" => Self::Check,
            _ => Self::Unknown,
        }
    }
}

/// The whole page. What was asked outlives a change of route.
#[component]
pub fn App() -> impl IntoView {
    let ask = Ask::new();
    let (check, form) = (Check::new(ask.said), Form::new());
    let route = RwSignal::new(Route::now());
    // The checker needs no model: it is loaded when somebody first comes to ask.
    Effect::new(move |loaded: Option<bool>| {
        let wanted = loaded == Some(true) || route.get() != Route::Check;
        if wanted && loaded != Some(true) {
            load(ask, Place::bundled(), Choice::default());
        }
        wanted
    });
    // Listens as long as the page lives.
    let _ = window_event_listener(leptos::ev::hashchange, move |_| route.set(Route::now()));
    let current = move |of: Route| (route.get() == of).then_some("page");
    view! {
        <header>
            <h1><img src="icon.svg" alt="" width="28" height="28" /> "WeThink"</h1>
            <nav aria-label="Pages">
                <a href="#/ask" aria-current=move || current(Route::Ask)>"Ask"</a>
                <a href="#/check" aria-current=move || current(Route::Check)>"Check rewards"</a>
            </nav>
            <p>
                {move || match route.get() {
                    Route::Check => "See what the rule verifier says of each reply, and say whether it is right.",
                    _ => "Ask about a picture. The model runs in this tab; nothing you show it leaves it.",
                }}
            </p>
        </header>
        {move || match route.get() {
            Route::Ask => view! { <AskPage ask /> }.into_any(),
            Route::Check => view! { <CheckPage check form /> }.into_any(),
            Route::Unknown => view! {
                <main><p class="panel">"There is no such page. " <a href="#/ask">"Ask about a picture"</a></p></main>
            }
            .into_any(),
        }}
        <p class="unseen" role="status" aria-live="polite">{move || ask.said.get()}</p>
    }
}

#[component]
fn AskPage(ask: Ask) -> impl IntoView {
    let panel = Panel::new();
    view! {
        <DropZone ask panel>
            <ModelPanel ask panel />
            <Chat ask />
            <Composer ask />
            <SettingsPanel settings=ask.settings />
        </DropZone>
    }
}
