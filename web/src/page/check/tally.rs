//! How far the work is, how far people and rule agree, and labels as files.

use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::HtmlInputElement;
use wethink_checker::{Agreement, Differs, Filter, Format, Imported};

use super::client::save;
use super::file::{count, refilter};
use super::state::{Check, Lock, remember};

/// The panel above the rows.
#[component]
pub fn Tally(check: Check) -> impl IntoView {
    let labelled = move || check.stats.with(|stats| stats.labels.iter().sum::<usize>());
    let rows = move || check.stats.with(|stats| stats.rows);
    let split = move || {
        let (verdicts, labels) = check.stats.with(|stats| (stats.verdicts, stats.labels));
        let names = ["accept", "reject", "unsure", "cannot be verified"];
        let line = |counts: &[usize]| {
            names.iter().zip(counts).map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
        };
        view! {
            <div><dt>"Verdicts"</dt><dd>{line(&verdicts)}</dd></div>
            <div><dt>"Labels"</dt><dd>{line(&labels)}</dd></div>
        }
    };
    let agreement = move || {
        let (rule, second, labels, split) = check
            .stats
            .with(|stats| (stats.rule.clone(), stats.second.clone(), stats.second_labels, stats.split));
        let theirs = (labels > 0).then(|| view! {
            <div><dt>"With the second annotator"</dt><dd>{agreed(&second)} {format!("; {split} rows differ")}</dd></div>
        });
        view! { <div><dt>"With the verdicts"</dt><dd>{agreed(&rule)}</dd></div> {theirs} }
    };
    let saved = move || {
        match (check.unsaved.get(), check.saving.get(), check.lock.get()) {
        (Some(problem), ..) => view! {
            <p class="error" role="alert">"Labels are not stored (" {problem} "). Export them before you close this tab."</p>
        }
        .into_any(),
        (None, _, Lock::Elsewhere) => view! {
            <p class="error" role="alert">"This file is open in another tab, so labels are given there. When that tab is closed, this one goes on."</p>
        }
        .into_any(),
        (None, 0, _) => view! { <p class="note saved">"Every label is stored in this browser."</p> }.into_any(),
        (None, ..) => view! { <p class="note">"Storing…"</p> }.into_any(),
    }
    };
    let named = move |event| {
        let name = event_target_value(&event);
        remember("wethink-annotator", &name);
        check.annotator.set(name);
    };
    view! {
        <section class="panel tally" aria-labelledby="check-tally">
            <h2 id="check-tally">{move || check.file.with(|file| file.as_ref().map(|file| file.file.name()))}</h2>
            <div class="row">
                <progress class="grow" value=labelled max=rows aria-label="Rows labelled"></progress>
                <span>{move || format!("{} of {} labelled", labelled(), rows())}</span>
            </div>
            <dl class="figures">{split}{agreement}</dl>
            {saved}
            <div class="row">
                <label class="field">
                    <span>"Your name"</span>
                    <input name="annotator" autocomplete="nickname" prop:value=move || check.annotator.get() on:input=named />
                </label>
                <span class="grow"></span>
                <button type="button" on:click=move |_| export(check, Format::Jsonl)>"Export JSONL"</button>
                <button type="button" on:click=move |_| export(check, Format::Csv)>"Export CSV"</button>
                <Second check />
            </div>
        </section>
    }
}

/// Agreement in words.
fn agreed(agreement: &Agreement) -> String {
    let Agreement { cases, same, false_accept, false_reject, kappa } = agreement;
    if *cases == 0 {
        return "nothing to compare yet".into();
    }
    let kappa = kappa.map_or("κ undefined".to_owned(), |[kappa, low, high]| {
        format!("κ {kappa:.2} ({low:.2} to {high:.2})")
    });
    let share = 100.0 * *same as f64 / *cases as f64;
    format!(
        "{same} of {cases} ({share:.0} %), {kappa}; accepted wrongly {false_accept}, rejected wrongly {false_reject}"
    )
}

fn export(check: Check, format: Format) {
    let (end, media_type) = match format {
        Format::Jsonl => ("jsonl", "application/x-ndjson"),
        Format::Csv => ("csv", "text/csv"),
    };
    let name =
        check.file.with_untracked(|file| file.as_ref().map(|file| file.file.name())).unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default().to_owned();
    spawn_local(async move {
        match check.worker().ask::<String>("export", (format,)).await {
            Ok(text) => save(&format!("{name}.labels.{end}"), media_type, &text),
            Err(problem) => check.refuse(problem),
        }
    });
}

/// A second annotator's labels: their file, and the rows that differ.
#[component]
fn Second(check: Check) -> impl IntoView {
    let compared = move || check.stats.with(|stats| stats.second_labels > 0);
    let chosen = move |event: web_sys::Event| {
        let input: HtmlInputElement = event_target(&event);
        let Some(file) = input.files().and_then(|files| files.item(0)) else { return };
        input.set_value("");
        spawn_local(async move {
            match check.worker().give::<Imported>("second", &file).await {
                Ok(imported) => {
                    told(check, imported);
                    refilter(check, false).await;
                    count(check).await;
                }
                Err(problem) => check.refuse(problem),
            }
        });
    };
    let differences = move |_| {
        check.filter.set(Filter { differs: Some(Differs::Second), ..Filter::default() });
        spawn_local(refilter(check, true));
    };
    let drop_it = move |_| {
        spawn_local(async move {
            if let Err(problem) = check.worker().ask::<()>("no_second", ()).await {
                return check.refuse(problem);
            }
            check.filter.update(|filter| {
                filter.differs = filter.differs.filter(|differs| *differs != Differs::Second)
            });
            refilter(check, false).await;
            count(check).await;
        });
    };
    view! {
        <label class="button">
            "Compare with labels"
            <input type="file" accept=".jsonl,.json,.csv,.gz" class="unseen" on:change=chosen />
        </label>
        <Show when=compared>
            <button type="button" on:click=differences>"Show differences"</button>
            <button type="button" on:click=drop_it>"Stop comparing"</button>
        </Show>
    }
}

/// What an import gave, for people.
fn told(check: Check, imported: Imported) {
    let Imported { matched, unmatched, annotators, broken, first } = imported;
    let who = if annotators.is_empty() { String::new() } else { format!(" of {}", annotators.join(", ")) };
    let mut text = format!("{matched} labels{who} found their rows");
    if unmatched > 0 {
        text.push_str(&format!(", {unmatched} found none"));
    }
    if let Some((line, problem)) = first {
        text.push_str(&format!("; lines that are no labels: {broken}, the first is line {line}: {problem}"));
    }
    check.said.set(text.clone());
    check.notice.set((unmatched > 0 || broken > 0).then_some(text));
}
