//! The list of rows. Only those in sight are in the page, however many there are.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;
use wethink_checker::Brief;

use super::label::{at, go, name};
use super::state::Check;

/// Height of a row; the style sheet has the same.
const ROW: usize = 56;

/// Rows drawn above and below those in sight.
const MARGIN: usize = 8;

/// Rows that are asked for at once, and how near their end may come before more are.
const WINDOW: usize = 300;
const NEAR: usize = 40;

/// The list.
#[component]
pub fn List(check: Check) -> impl IntoView {
    let scroller = NodeRef::<leptos::html::Div>::new();
    // First row in sight, and how many there are.
    let sight = RwSignal::new((0, 20));
    let look = move || {
        if let Some(element) = scroller.get_untracked() {
            let top = usize::try_from(element.scroll_top()).unwrap_or(0) / ROW;
            let count = usize::try_from(element.client_height()).unwrap_or(0) / ROW + 1;
            if sight.get_untracked() != (top, count) {
                sight.set((top, count));
            }
        }
    };
    // The row that is looked at is in sight.
    Effect::new(move || {
        let place = check.place.get();
        check.epoch.track();
        let Some(element) = scroller.get() else { return };
        let (top, height) = (element.scroll_top(), element.client_height());
        let (from, to) = ((place * ROW) as i32, ((place + 1) * ROW) as i32);
        if from < top {
            element.set_scroll_top(from);
        } else if to > top + height {
            element.set_scroll_top(to - height);
        }
        look();
    });
    // Rows around those in sight, and around the one that is looked at, are here.
    Effect::new(move || {
        let (top, count) = sight.get();
        let place = check.place.get();
        check.epoch.track();
        let shown = check.shown.get();
        for (from, to) in [(top, top + count), (place, place + 1)] {
            let from = from.saturating_sub(NEAR);
            let to = (to + NEAR).min(shown);
            let here =
                check.window.with_untracked(|(start, rows)| *start <= from && to <= start + rows.len());
            if !here && from < to {
                return fetch(check, (from + to) / 2);
            }
        }
    });
    let places = move || {
        let (top, count) = sight.get();
        let last = check.shown.get();
        (top.saturating_sub(MARGIN)..(top + count + MARGIN).min(last)).collect::<Vec<_>>()
    };
    let active = move || format!("check-row-{}", check.place.get());
    view! {
        <div
            class="rows"
            role="listbox"
            tabindex="0"
            aria-label="Rows"
            aria-activedescendant=active
            node_ref=scroller
            on:scroll=move |_| look()
        >
            <div class="all" role="presentation" style:height=move || format!("{}px", check.shown.get() * ROW)>
                <For each=places key=|place| *place let:place>
                    <Line check place />
                </For>
            </div>
        </div>
    }
}

/// Asks for the rows around a place, and has them in the list unless it changed meanwhile.
fn fetch(check: Check, middle: usize) {
    spawn_local(async move {
        let epoch = check.epoch.get_untracked();
        if let Some(window) = around(check, middle).await.filter(|_| epoch == check.epoch.get_untracked()) {
            check.window.set(window);
        }
    });
}

/// The rows around a place, with every label given so far.
pub async fn around(check: Check, middle: usize) -> Option<(usize, Vec<Brief>)> {
    let from = middle.saturating_sub(WINDOW / 2);
    loop {
        let puts = check.puts.get_value();
        match check.worker().ask::<Vec<Brief>>("window", (from, WINDOW)).await {
            // A label was given since: these rows do not have it.
            Ok(_) if puts != check.puts.get_value() => {}
            Ok(rows) => return Some((from, rows)),
            Err(problem) => {
                check.refuse(problem);
                return None;
            }
        }
    }
}

/// Looks at a row that may be far away; it is in the list before keys can act on it.
pub async fn show(check: Check, place: usize) {
    let epoch = check.epoch.get_untracked();
    if let Some(window) = around(check, place).await.filter(|_| epoch == check.epoch.get_untracked()) {
        check.window.set(window);
        go(check, place);
    }
}

#[component]
fn Line(check: Check, place: usize) -> impl IntoView {
    let brief = Memo::new(move |_| at(check, place));
    let chosen = move || check.place.get() == place;
    let inside = move || {
        let Some(brief) = brief.get() else { return view! { <span class="note">"…"</span> }.into_any() };
        let label = brief.mark.as_ref().map(|mark| {
            let noted = if mark.note.is_empty() { "" } else { " ✎" };
            view! { <span class=format!("chip {}", name(mark.choice).to_lowercase())>"you: " {name(mark.choice).to_lowercase()} {noted}</span> }
        });
        let second = brief.second.map(|choice| {
            view! { <span class=format!("chip {}", name(choice).to_lowercase())>"2nd: " {name(choice).to_lowercase()}</span> }
        });
        view! {
            <span class="title">{brief.title}</span>
            <span class="chips">
                <span class="line">{brief.line}</span>
                <span class="kind">{brief.kind}</span>
                <span class=format!("chip {}", brief.verdict.name())>{brief.verdict.name()}</span>
                {label}
                {second}
            </span>
        }
        .into_any()
    };
    view! {
        <div
            id=format!("check-row-{place}")
            class="line-row"
            class:chosen=chosen
            role="option"
            aria-selected=move || chosen().to_string()
            aria-posinset=place + 1
            aria-setsize=move || check.shown.get()
            style:top=format!("{}px", place * ROW)
            on:click=move |_| {
                go(check, place);
                // Keys go on from here.
                if let Some(list) = document().query_selector(".rows").ok().flatten() {
                    let _ = list.unchecked_into::<HtmlElement>().focus();
                }
            }
        >
            {inside}
        </div>
    }
}
