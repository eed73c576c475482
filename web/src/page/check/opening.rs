//! Choosing a file, its columns and its pictures, and what could not be read.

use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::{DragEvent, File, HtmlInputElement};
use wethink_checker::Role;
use wethink_reward::Kind;

use super::client::dropped;
use super::file::{examples, open, reread, rollouts};
use super::pictures::{take_folder, take_zip};
use super::state::{Check, Phase};

/// The panel that opens a file.
#[component]
pub fn OpenPanel(check: Check) -> impl IntoView {
    let rows = move |event| files(&event).into_iter().take(1).for_each(|(_, file)| open(check, file));
    let zip = move |event| files(&event).into_iter().take(1).for_each(|(_, file)| take_zip(check, file));
    let folder = move |event| take_folder(check, files(&event));
    let state = move || match check.phase.get() {
        Phase::Working(what, share) => view! {
            <div class="row">
                <progress class="grow" value=share max="1" aria-label=what></progress>
                <span>{what} {share.map(|share| format!(" {:.0} %", share * 100.0))}</span>
            </div>
        }
        .into_any(),
        Phase::Failed(problem) => view! { <p class="error" role="alert">{problem}</p> }.into_any(),
        _ => ().into_any(),
    };
    let own = move || {
        check.bundle.with(|bundle| bundle.iter().flatten().find_map(|catalog| catalog.rollouts.clone()))
    };
    let pictures = move || {
        Some(check.pictures.get())
            .filter(|text| !text.is_empty())
            .map(|text| view! { <p class="note">{text}</p> })
    };
    view! {
        <section class="panel" aria-labelledby="check-open">
            <h2 id="check-open">"Rows to check"</h2>
            <p class="note">
                "JSON lines or CSV with truths and replies; drop them anywhere, with a folder or a zip of pictures. Rewards are computed "
                "on this machine, and nothing leaves it."
            </p>
            <div class="row">
                <label class="button primary">
                    "Open rows"
                    <input type="file" accept=".jsonl,.json,.csv,.gz,.txt" class="unseen" on:change=rows />
                </label>
                <label class="button">
                    "Folder of pictures"
                    <input type="file" prop:webkitdirectory=true multiple class="unseen" on:change=folder />
                </label>
                <label class="button">
                    "Zip of pictures"
                    <input type="file" accept=".zip" class="unseen" on:change=zip />
                </label>
                <button type="button" on:click=move |_| examples(check)>"Try the examples"</button>
                {move || own().map(|own| {
                    let about = own.about.clone();
                    view! { <button type="button" title=about on:click=move |_| rollouts(check, own.clone())>"Try our model's answers"</button> }
                })}
            </div>
            {state}
            {pictures}
            <p class="error" role="alert" hidden=move || check.notice.with(Option::is_none)>{move || check.notice.get()}</p>
            <Columns check />
            <BrokenLines check />
        </section>
    }
}

/// The files of an input, by their path within the folder that was chosen; the same may be chosen again.
fn files(event: &web_sys::Event) -> Vec<(String, File)> {
    let input: HtmlInputElement = event_target(event);
    let list = input.files();
    let all = list.iter().flat_map(|list| (0..list.length()).filter_map(|i| list.item(i)));
    let path = |file: File| {
        let path =
            js_sys::Reflect::get(&file, &"webkitRelativePath".into()).ok().and_then(|path| path.as_string());
        (path.filter(|path| !path.is_empty()).unwrap_or_else(|| file.name()), file)
    };
    let files = all.map(path).collect();
    input.set_value("");
    files
}

/// Takes what is dropped anywhere on the page: rows, a zip, or a folder of pictures.
pub fn drop_on(check: Check, event: &DragEvent) {
    let Some(transfer) = event.data_transfer() else { return };
    spawn_local(async move {
        let files = dropped(&transfer).await;
        let ends = |name: &str, ends: &[&str]| ends.iter().any(|end| name.to_lowercase().ends_with(end));
        let rows = |(name, _): &&(String, File)| {
            ends(name, &[".jsonl", ".json", ".csv", ".gz", ".txt"]) && !name.contains('/')
        };
        let (mut any, mut pictures) = (false, Vec::new());
        if let Some((_, file)) = files.iter().find(rows) {
            open(check, file.clone());
            any = true;
        }
        for (name, file) in files {
            if ends(&name, &[".zip"]) {
                take_zip(check, file);
                any = true;
            } else if file.type_().starts_with("image/") {
                pictures.push((name, file));
            }
        }
        if !pictures.is_empty() {
            take_folder(check, pictures);
        } else if !any {
            check.refuse("Nothing here is read: drop JSON lines, CSV, a zip or a folder of pictures");
        }
    });
}

/// Which column is what.
#[component]
fn Columns(check: Check) -> impl IntoView {
    let asking = move || check.phase.with(|phase| *phase == Phase::Columns);
    let lacks = move || {
        let names = check.setup.with(|setup| {
            let missing =
                [Role::Reply, Role::Truth].into_iter().filter(|&role| setup.columns.get(role).is_none());
            let mut names: Vec<_> = missing.map(Role::label).collect();
            if setup.columns.get(Role::Kind).is_none() && setup.kind.is_none() {
                names.push(Role::Kind.label());
            }
            names.join(", ")
        });
        (asking() && !names.is_empty()).then(|| view! { <p>"Say which column is: " <b>{names}</b></p> })
    };
    let choose = move |role: Role| {
        let id = format!("column-{}", role.name());
        let names =
            move || check.file.with(|file| file.as_ref().map(|file| file.names.clone()).unwrap_or_default());
        let chosen =
            move || check.setup.with(|setup| setup.columns.get(role).map(str::to_owned)).unwrap_or_default();
        let options = move || {
            names().into_iter().map(|name| view! { <option value=name.clone() selected=name == chosen()>{name.clone()}</option> }).collect_view()
        };
        let set = move |event| {
            let name = Some(event_target_value(&event)).filter(|name| !name.is_empty());
            check.setup.update(|setup| setup.columns.set(role, name.clone()));
        };
        view! {
            <div class="field">
                <label for=id.clone()>{role.label()}</label>
                <select id=id on:change=set><option value="">"–"</option>{options}</select>
            </div>
        }
    };
    let default =
        move |event| check.setup.update(|setup| setup.kind = event_target_value(&event).parse().ok());
    let kinds = move || {
        let chosen = check.setup.with(|setup| setup.kind);
        Kind::ALL.iter().map(|kind| view! { <option value=kind.name() selected=chosen == Some(*kind)>{kind.name()}</option> }).collect_view()
    };
    let ready = move || {
        check.setup.with(|setup| {
            let kind = setup.columns.get(Role::Kind).is_some() || setup.kind.is_some();
            kind && setup.columns.get(Role::Reply).is_some()
        })
    };
    view! {
        <Show when=move || check.file.with(Option::is_some)>
            <details class="columns" prop:open=asking>
                <summary>"Columns"</summary>
                {lacks}
                <div class="grid">
                    {Role::ALL.iter().map(|&role| choose(role)).collect_view()}
                    <div class="field">
                        <label for="column-default">"Kind of rows that name none"</label>
                        <select id="column-default" on:change=default><option value="">"–"</option>{kinds}</select>
                    </div>
                </div>
                <div class="row">
                    <button type="button" class="primary" disabled=move || !ready() on:click=move |_| reread(check)>"Read the rows"</button>
                </div>
            </details>
        </Show>
    }
}

/// Lines that gave no row, by number.
#[component]
fn BrokenLines(check: Check) -> impl IntoView {
    let count = move || check.summary.with(|summary| summary.broken_count);
    let lines = move || {
        let broken = check.summary.with(|summary| summary.broken.clone());
        broken
            .into_iter()
            .map(|broken| view! { <li>"Line " {broken.line} ": " {broken.problem}</li> })
            .collect_view()
    };
    let more = move || {
        let more = check.summary.with(|summary| summary.broken_count - summary.broken.len());
        (more > 0).then(|| view! { <p class="note">"and " {more} " more"</p> })
    };
    view! {
        <Show when=move || count() != 0>
            <details class="broken">
                <summary>{move || if count() == 1 { "1 line is broken and left out".into() } else { format!("{} lines are broken and left out", count()) }}</summary>
                <ul tabindex="0" aria-label="Broken lines">{lines}</ul>
                {more}
            </details>
        </Show>
    }
}
