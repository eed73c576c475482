//! The file's own names of kinds, and how parts make a reward.

use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::SubmitEvent;
use wethink_checker::Setup;
use wethink_reward::{Kind, Overlong, Policy, Repetition};

use super::file::rescore;
use super::state::Check;

/// Numbers of a policy: name, label, hint.
const NUMBERS: [(&str, &str, &str); 7] = [
    ("accuracy", "Weight of the verdict", ""),
    ("format", "Weight of the form", "<think>…</think><answer>…</answer>"),
    ("limit", "Longest reply, in tokens", "empty: no length penalty"),
    ("margin", "Tokens before that over which it grows", ""),
    ("length", "Weight of the length penalty", ""),
    ("n", "Words of a repeated n-gram", "empty: no repetition penalty"),
    ("repetition", "Weight of the repetition penalty", ""),
];

/// The panel; what it says is computed anew for every row when it is applied.
#[component]
pub fn PolicyPanel(check: Check) -> impl IntoView {
    let fields = NUMBERS.map(|_| RwSignal::new(String::new()));
    let only = RwSignal::new(false);
    let problem = RwSignal::new(None::<String>);
    Effect::new(move || {
        let policy = check.setup.with(|setup| setup.policy);
        for (field, text) in fields.iter().zip(texts(&policy)) {
            field.set(text);
        }
        only.set(policy.format_only_when_right);
    });
    let apply = move |event: SubmitEvent| {
        event.prevent_default();
        match read(&fields.map(|field| field.get_untracked()), only.get_untracked()) {
            Ok(policy) => {
                problem.set(None);
                check.setup.update(|setup| setup.policy = policy);
                if check.ready() {
                    spawn_local(rescore(check, Some(check.setup.get_untracked())));
                }
            }
            Err(text) => problem.set(Some(text)),
        }
    };
    let inputs = NUMBERS.into_iter().zip(fields).map(|((name, label, hint), field)| {
        view! {
            <label class="field">
                <span>{label}</span>
                <input inputmode="decimal" name=name bind:value=field />
                <small>{hint}</small>
            </label>
        }
    });
    view! {
        <details class="panel">
            <summary>"Kinds and policy"</summary>
            <form on:submit=apply aria-label="Kinds and policy">
                <Names check />
                <div class="grid">{inputs.collect_view()}</div>
                <label class="tick"><input type="checkbox" bind:checked=only /> " The form earns only where the answer is accepted"</label>
                <p class="error" role="alert" hidden=move || problem.with(Option::is_none)>{move || problem.get()}</p>
                <div class="row"><button class="primary">"Apply to every row"</button></div>
            </form>
        </details>
    }
}

/// What each of the file's names means.
#[component]
fn Names(check: Check) -> impl IntoView {
    let names = move || check.summary.with(|summary| summary.names.clone());
    let one = move |(at, (name, kind, rows)): (usize, (String, Option<Kind>, usize))| {
        let id = format!("kind-{at}");
        let chosen = check.setup.with_untracked(|setup| setup.map.get(&name).copied()).or(kind);
        let own = name.clone();
        let set = move |event| {
            let kind = event_target_value(&event).parse::<Kind>().ok();
            check.setup.update(|setup: &mut Setup| {
                match kind {
                    Some(kind) => setup.map.insert(own.clone(), kind),
                    None => setup.map.remove(&own),
                };
            });
        };
        let options = Kind::ALL.iter().map(
            |kind| view! { <option value=kind.name() selected=chosen == Some(*kind)>{kind.name()}</option> },
        );
        view! {
            <div class="field">
                <label for=id.clone()>{format!("“{name}”, {rows} rows")}</label>
                <select id=id on:change=set>
                    <option value="" selected=chosen.is_none()>"unknown: choose a kind"</option>
                    {options.collect_view()}
                </select>
            </div>
        }
    };
    view! { <div class="grid">{move || names().into_iter().enumerate().map(one).collect_view()}</div> }
}

fn texts(policy: &Policy) -> [String; 7] {
    let long = policy.overlong;
    let again = policy.repetition;
    [
        policy.accuracy.to_string(),
        policy.format.to_string(),
        long.map_or(String::new(), |rule| rule.limit.to_string()),
        long.map_or(String::new(), |rule| rule.margin.to_string()),
        long.map_or("1".into(), |rule| rule.weight.to_string()),
        again.map_or(String::new(), |rule| rule.n.to_string()),
        again.map_or("1".into(), |rule| rule.weight.to_string()),
    ]
}

/// The policy, or which field is no number.
fn read(texts: &[String; 7], format_only_when_right: bool) -> Result<Policy, String> {
    let wrong = |at: usize| format!("{}: “{}” is not a number", NUMBERS[at].1, texts[at]);
    let weight = |at: usize| {
        let number = texts[at].trim().parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| wrong(at))
    };
    let count = |at: usize| texts[at].trim().parse::<usize>().map_err(|_| wrong(at));
    let given = |at: usize| !texts[at].trim().is_empty();
    let overlong = match given(2) {
        true => Some(Overlong {
            limit: count(2)?,
            margin: if given(3) { count(3)? } else { 0 },
            weight: weight(4)?,
        }),
        false => None,
    };
    let repetition = match given(5) {
        true => Some(Repetition { n: count(5)?, weight: weight(6)? }),
        false => None,
    };
    let (accuracy, format) = (weight(0)?, weight(1)?);
    Ok(Policy { accuracy, format, format_only_when_right, overlong, repetition, ..Policy::default() })
}
