//! One case as people read it: truth, reply with the span that was read, verdict, both normal forms, parts of the reward.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wethink_checker::{Case, Judged, Piece, Shown};
use wethink_reward::Kind;

use super::pieces::{Pieces, plain};
use super::state::Check;

/// Milliseconds that setting the mathematics of one row may take; the program may have to start first.
const PATIENCE: u32 = 5000;

/// A text, a span of it to mark, and whether it is one formula: what the worker sets.
type Text = (String, Option<[usize; 2]>, bool);

/// A case. `problem` is shown above the truth where there is one.
#[component]
pub fn CaseView(check: Check, problem: String, case: Case) -> impl IntoView {
    let formula = matches!(case.kind, Some(Kind::Math | Kind::Number));
    let mut texts: Vec<Text> = vec![(problem, None, false), (case.reply.body, case.reply.span, false)];
    let truths = case.truths.len();
    texts.extend(case.truths.into_iter().map(|truth| (truth, None, formula)));
    texts.extend(case.choices.iter().map(|(_, text)| (text.clone(), None, false)));
    let set = typeset(check, texts.clone());
    let texts = StoredValue::new(texts);
    let text = move |at: usize| {
        let pieces = move || {
            let set = set.with(|set| set.as_ref().and_then(|all| all.get(at)).cloned());
            set.filter(|_| check.mathematics.get())
                .unwrap_or_else(|| texts.with_value(|texts| plain(&texts[at].0, texts[at].1)))
        };
        view! { {move || view! { <Pieces pieces=pieces() /> }} }
    };
    let has = |at: usize| texts.with_value(|texts| !texts[at].0.trim().is_empty());
    let letters = case.choices.into_iter().enumerate();
    let choices =
        letters.map(|(i, (letter, _))| view! { <li><b>{letter}</b> " " {text(2 + truths + i)}</li> });
    let choices = choices.collect::<Vec<_>>();
    let think = (!case.reply.think.trim().is_empty()).then(|| {
        view! {
            <details class="think">
                <summary>"Thinking"</summary>
                <p class="text">{case.reply.think}</p>
            </details>
        }
    });
    let unknown = (!case.unknown.is_empty())
        .then(|| view! { <p class="note">"Switches that nothing knows: " {case.unknown.join(", ")}</p> });
    view! {
        {case.fault.map(|fault| view! { <p class="error verdict" role="alert">"Cannot be verified: " {fault}</p> })}
        {case.judged.as_ref().map(|judged| view! { <Headline judged=judged.clone() /> })}
        {has(0).then(|| view! { <h3>"Problem"</h3> <p class="text problem">{text(0)}</p> })}
        {(!choices.is_empty()).then(|| view! { <ul class="choices">{choices}</ul> })}
        <h3>"Truth"</h3>
        <ul class="truths">
            {(0..truths).map(|i| view! { <li class="text">{text(2 + i)}</li> }).collect_view()}
        </ul>
        {(truths == 0).then(|| view! { <p class="note">"None."</p> })}
        <h3>"Reply"</h3>
        {think}
        {if has(1) {
            view! { <p class="text reply">{text(1)}</p> }.into_any()
        } else {
            view! { <p class="note">"Nothing follows the thinking."</p> }.into_any()
        }}
        {case.judged.map(|judged| view! { <Parts judged /> })}
        {unknown}
    }
}

/// Sets mathematics in a worker that can be done without: what it does not set is shown as it was written.
fn typeset(check: Check, texts: Vec<Text>) -> RwSignal<Option<Vec<Vec<Piece>>>> {
    let set = RwSignal::new(None);
    if texts.iter().any(|(text, ..)| text.contains(['$', '\\', '^', '_'])) {
        let worker = check.typesetter.get_value();
        spawn_local(async move {
            if let Ok(pieces) = worker.ask_within::<Vec<Vec<Piece>>>(PATIENCE, "typeset", (texts,)).await {
                // The row may be gone from the page by now.
                set.try_set(Some(pieces));
            }
        });
    }
    set
}

/// Verdict, reason and reward.
#[component]
fn Headline(judged: Judged) -> impl IntoView {
    let sign = match judged.verdict {
        Shown::Accept => "✓",
        Shown::Reject => "✗",
        _ => "?",
    };
    let reward = judged
        .reward
        .map_or("no reward yet: for a judge".to_owned(), |reward| format!("reward {}", figure(reward)));
    view! {
        <p class="verdict">
            <span class=format!("badge {}", judged.verdict.name())>{sign} " " {judged.verdict.name()}</span>
            " " <strong>{words(&judged.reason)}</strong> " · " <span class="reward">{reward}</span>
        </p>
    }
}

/// What both sides were understood as, and what makes the reward.
#[component]
fn Parts(judged: Judged) -> impl IntoView {
    let side = |text: String| {
        if text.is_empty() {
            view! { <span class="note">"–"</span> }.into_any()
        } else {
            view! { <code>{text}</code> }.into_any()
        }
    };
    let figures = [
        ("Score", figure(judged.score)),
        ("Format", figure(judged.format)),
        ("Length", figure(judged.overlong)),
        ("Repetition", figure(judged.repetition)),
        ("Reward", judged.reward.map_or("–".into(), figure)),
        ("Rule", words(&judged.tier)),
        ("Steps", judged.fuel.to_string()),
    ];
    let figures = figures.map(|(name, value)| view! { <div><dt>{name}</dt><dd>{value}</dd></div> });
    view! {
        <h3>"Understood as"</h3>
        <dl class="sides">
            <div><dt>"Truth"</dt><dd>{side(judged.gold_normal)}</dd></div>
            <div><dt>"Reply"</dt><dd>{side(judged.pred_normal)}</dd></div>
        </dl>
        <dl class="figures">{figures.collect_view()}</dl>
    }
}

/// A number with at most four decimals.
fn figure(number: f64) -> String {
    let text = format!("{number:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.to_owned() }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}
