//! The frame of the page, and its routes.

use leptos::prelude::*;

use crate::chat::Chat;
use crate::check::{Check, CheckPage, Form};
use crate::composer::{Composer, DropZone};
use crate::model::{ModelPanel, Panel, load_first};
use crate::scenes::{Scenes, ScenesPage};
use crate::settings::SettingsPanel;
use crate::site::bundle;
use crate::state::Ask;

/// What the hash of the address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Scenes,
    Ask,
    Check,
    Unknown,
}

impl Route {
    /// An address without a hash is that of the scenes.
    fn now() -> Self {
        match window().location().hash().unwrap_or_default().as_str() {
            "" | "#" | "#/" | "#/scenes" => Self::Scenes,
            "#/ask" => Self::Ask,
            "#/check" => Self::Check,
            _ => Self::Unknown,
        }
    }
}

/// The whole page. What was asked outlives a change of route.
#[component]
pub fn App() -> impl IntoView {
    let bundle = bundle();
    let ask = Ask::new(bundle);
    let scenes = Scenes::new(bundle, ask.said);
    let (check, form) = (Check::new(ask.said, bundle), Form::new());
    let route = RwSignal::new(Route::now());
    // Other pages do without this model: it is loaded when somebody first comes to ask.
    Effect::new(move |loaded: Option<bool>| {
        let before = loaded == Some(true);
        let wanted = before || route.get() == Route::Ask && bundle.with(Option::is_some);
        if wanted && !before {
            load_first(ask);
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
                <a href="#/scenes" aria-current=move || current(Route::Scenes)>"Scenes"</a>
                <a href="#/ask" aria-current=move || current(Route::Ask)>"Ask"</a>
                <a href="#/check" aria-current=move || current(Route::Check)>"Check rewards"</a>
            </nav>
            <p>
                {move || match route.get() {
                    Route::Scenes => "Make a scene, ask, and watch a small model reason, in this tab. The page knows the truth.",
                    Route::Check => "See what the rule verifier says of each reply, and say whether it is right.",
                    _ => "Ask about a picture. The model runs in this tab; nothing you show it leaves it.",
                }}
            </p>
        </header>
        {move || match route.get() {
            Route::Scenes => view! { <ScenesPage scenes /> }.into_any(),
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
