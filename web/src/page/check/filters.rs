//! Which rows are shown.

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::DeserializeOwned;
use wethink_checker::Filter;

use super::file::refilter;
use super::state::Check;

const VERDICTS: [(&str, &str); 5] = [
    ("", "any verdict"),
    ("accept", "accept"),
    ("reject", "reject"),
    ("unsure", "unsure"),
    ("fault", "cannot be verified"),
];
const LABELS: [(&str, &str); 6] = [
    ("", "any label"),
    ("none", "not labelled"),
    ("any", "labelled"),
    ("accept", "accept"),
    ("reject", "reject"),
    ("unsure", "unsure"),
];
const DIFFERENCES: [(&str, &str); 3] =
    [("", "agreeing or not"), ("verdict", "I contradict the verdict"), ("second", "annotators differ")];

/// The filters, and how many rows they show.
#[component]
pub fn Filters(check: Check) -> impl IntoView {
    let change = move |edit: &dyn Fn(&mut Filter)| {
        check.filter.update(edit);
        spawn_local(refilter(check, true));
    };
    // A search looks at every row: once for what is typed in one go.
    let typed = StoredValue::new(0u32);
    let find = move |event| {
        check.filter.update(|filter| filter.text = event_target_value(&event));
        typed.update_value(|typed| *typed += 1);
        let own = typed.get_value();
        let settled = move || {
            if own == typed.get_value() {
                spawn_local(refilter(check, true));
            }
        };
        set_timeout(settled, std::time::Duration::from_millis(150));
    };
    let kind = move |event| {
        let kind = event_target_value(&event);
        change(&|filter| filter.kind = Some(kind.clone()).filter(|kind| !kind.is_empty()));
    };
    let kinds = move || {
        let mut kinds: Vec<String> = check.summary.with(|summary| {
            let shown = |(name, kind, _): &(String, Option<_>, usize)| match kind {
                Some(kind) => wethink_reward::Kind::name(*kind).to_owned(),
                None => name.clone(),
            };
            summary.names.iter().map(shown).collect()
        });
        check.setup.with(|setup| kinds.extend(setup.map.values().map(|kind| kind.name().to_owned())));
        kinds.extend(check.setup.with(|setup| setup.kind.map(|kind| kind.name().to_owned())));
        kinds.sort();
        kinds.dedup();
        let chosen = check.filter.with(|filter| filter.kind.clone()).unwrap_or_default();
        kinds
            .into_iter()
            .map(|kind| view! { <option value=kind.clone() selected=kind == chosen>{kind.clone()}</option> })
            .collect_view()
    };
    let clear = move |_| change(&|filter| *filter = Filter::default());
    view! {
        <form class="filters" role="search" aria-label="Rows to show" on:submit=|event| event.prevent_default()>
            <label class="field find">
                <span>"Find " <kbd aria-hidden="true">"/"</kbd></span>
                <input type="search" id="check-find" prop:value=move || check.filter.with(|filter| filter.text.clone()) on:input=find />
            </label>
            <div class="field">
                <label for="filter-kind">"Kind"</label>
                <select id="filter-kind" on:change=kind><option value="">"any kind"</option>{kinds}</select>
            </div>
            <Choose id="filter-verdict" label="Verdict" options=&VERDICTS value=move || word(check.filter.with(|f| f.verdict)) set=move |to| change(&|f| f.verdict = read(&to)) />
            <Choose id="filter-label" label="Label" options=&LABELS value=move || word(check.filter.with(|f| f.label)) set=move |to| change(&|f| f.label = read(&to)) />
            <Choose id="filter-agreement" label="Agreement" options=&DIFFERENCES value=move || word(check.filter.with(|f| f.differs)) set=move |to| change(&|f| f.differs = read(&to)) />
            <button type="button" disabled=move || check.filter.with(|f| *f == Filter::default()) on:click=clear>"Show all"</button>
        </form>
    }
}

/// One of a few.
#[component]
fn Choose(
    id: &'static str,
    label: &'static str,
    options: &'static [(&'static str, &'static str)],
    value: impl Fn() -> String + Copy + Send + Sync + 'static,
    set: impl Fn(String) + 'static,
) -> impl IntoView {
    let options = options.iter().map(|&(name, words)| {
        view! { <option value=name selected=move || value() == name>{words}</option> }
    });
    view! {
        <div class="field">
            <label for=id>{label}</label>
            <select id=id on:change=move |event| set(event_target_value(&event))>{options.collect_view()}</select>
        </div>
    }
}

/// The word that a condition travels as; empty for none.
fn word(condition: Option<impl serde::Serialize>) -> String {
    let value = serde_json::to_value(condition).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// The condition of a word; none for an empty one.
fn read<T: DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(word.into()).ok()
}
