//! Everything of the row that is looked at, and the buttons that label it.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wethink_checker::{Brief, Detail, Mark};
use wethink_reward::{Choice, Kind};

use super::case::Form;
use super::file::{count, refilter};
use super::label::{at, go, label, name, note, undo};
use super::pictures::Shots;
use super::state::Check;
use super::verdict::CaseView;

/// The row.
#[component]
pub fn DetailView(check: Check, form: Form) -> impl IntoView {
    Effect::new(move || {
        let place = check.place.get();
        let epoch = check.epoch.get();
        spawn_local(async move {
            let detail = check.worker().ask::<Option<Detail>>("detail", (place,)).await;
            // Another row is looked at by now.
            if place != check.place.get_untracked() || epoch != check.epoch.get_untracked() {
                return;
            }
            match detail {
                Ok(detail) => check.detail.set(detail),
                Err(problem) => check.refuse(problem),
            }
        });
    });
    // What labels need comes from the list, at once; what is read may follow a moment later.
    let brief = Memo::new(move |_| at(check, check.place.get()));
    let line = move || brief.with(|brief| brief.as_ref().map(|brief| brief.line));
    let none = move || brief.with(Option::is_none) && check.shown.get() == 0;
    view! {
        <section class="panel detail" aria-label="Row">
            <div class="row head">
                <h2>{move || line().map(|line| format!("Line {line}"))}</h2>
                <span class="grow"></span>
                <p class="note">{move || format!("{} of {}", (check.place.get() + 1).min(check.shown.get()), check.shown.get())}</p>
            </div>
            <Show when=none><p class="note">"No row fits the filter."</p></Show>
            <Labels check brief />
            {move || check.detail.get().map(|detail| view! { <Content check detail form /> })}
        </section>
    }
}

#[component]
fn Content(check: Check, detail: Detail, form: Form) -> impl IntoView {
    let Detail { brief, id, named, own_kind, problem, images, case, second, json } = detail;
    let line = brief.line;
    let id = id.map(|id| view! { <p class="note">"id " <code>{id}</code></p> });
    let other = second.map(|mark| {
        let who = if mark.annotator.is_empty() { "Second annotator".to_owned() } else { mark.annotator };
        view! { <p class="note">{who} ": " <b>{name(mark.choice)}</b> " " <span class="text">{mark.note}</span></p> }
    });
    view! {
        <div data-line=line>
            {id}
            {other}
            <Shots check images />
            <CaseView check problem case=case.clone() />
            <OwnKind check brief named own_kind />
            <button type="button" on:click=move |_| { form.take(&json); }>"Try it in the form above"</button>
        </div>
    }
}

/// The three answers, the way through the rows, and the note.
#[component]
fn Labels(check: Check, brief: Memo<Option<Brief>>) -> impl IntoView {
    let mark = move || brief.with(|brief| brief.as_ref().and_then(|brief| brief.mark.clone()));
    let pressed = move |choice: Choice| mark().is_some_and(|mark: Mark| mark.choice == choice).to_string();
    let answer = move |choice: Choice, key: &'static str| {
        view! {
            <button
                type="button"
                class=format!("answer-{}", name(choice).to_lowercase())
                aria-pressed=move || pressed(choice)
                aria-keyshortcuts=key
                disabled=move || !check.writable()
                on:click=move |_| label(check, choice)
            >
                {name(choice)} " " <kbd aria-hidden="true">{key}</kbd>
            </button>
        }
    };
    let text = move || mark().map(|mark| mark.note).unwrap_or_default();
    let write = move |event| {
        if let Some(brief) = brief.get_untracked() {
            note(check, &brief, event_target_value(&event));
        }
    };
    let step = move |forward: bool| {
        let place = check.place.get_untracked();
        go(check, if forward { place + 1 } else { place.saturating_sub(1) });
    };
    view! {
        <div class="row labels" role="group" aria-label="Label">
            {answer(Choice::Accept, "a")}
            {answer(Choice::Reject, "r")}
            {answer(Choice::Unsure, "u")}
            <span class="grow"></span>
            <button type="button" aria-label="Previous row" aria-keyshortcuts="k" on:click=move |_| step(false)>"↑"</button>
            <button type="button" aria-label="Next row" aria-keyshortcuts="j" on:click=move |_| step(true)>"↓"</button>
            <button
                type="button"
                aria-keyshortcuts="z"
                disabled=move || check.undo.with(Vec::is_empty) || !check.writable()
                on:click=move |_| undo(check)
            >
                "Undo " <kbd aria-hidden="true">"z"</kbd>
            </button>
        </div>
        <label class="field">
            <span>"Note " <kbd aria-hidden="true">"n"</kbd></span>
            <textarea id="check-note" rows="1" prop:value=text readonly=move || !check.writable() on:input=write></textarea>
        </label>
    }
}

/// Verifies this row as another kind.
#[component]
fn OwnKind(check: Check, brief: Brief, named: Option<String>, own_kind: bool) -> impl IntoView {
    let of_file = named.unwrap_or_else(|| "the one chosen for it".into());
    let kind = brief.kind.clone();
    let choose = move |event| {
        let kind = event_target_value(&event).parse::<Kind>().ok();
        spawn_local(async move {
            match check.worker().ask::<()>("set_kind", (brief.row, kind)).await {
                Ok(()) => {
                    refilter(check, false).await;
                    count(check).await;
                }
                Err(problem) => check.refuse(problem),
            }
        });
    };
    let options = Kind::ALL.iter().map(|of| {
        let name = of.name();
        view! { <option value=name selected=own_kind && name == kind>{name}</option> }
    });
    view! {
        <div class="field narrow">
            <label for="own-kind">"Verify this row as"</label>
            <select id="own-kind" on:change=choose>
                <option value="" selected=!own_kind>"the file's kind: " {of_file}</option>
                {options.collect_view()}
            </select>
        </div>
    }
}
