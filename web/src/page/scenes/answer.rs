//! What the models say, line by line, and whether it is right.

use leptos::prelude::*;
use wethink_board::trace::{Finding, Line, Trace};

use super::picture::Lit;
use super::state::{Asked, Outcome, Scenes, Slot};
use crate::toolkit::Answer;

/// The answers of the chosen models, side by side where there are several.
#[component]
pub fn Answers(scenes: Scenes) -> impl IntoView {
    let several = move || scenes.chosen().len() > 1;
    view! {
        <div class="answers" class:several=several>
            {move || scenes.chosen().into_iter().map(|slot| view! { <Card scenes of=slot several=several() /> }).collect_view()}
        </div>
    }
    .into_any()
}

#[component]
fn Card(scenes: Scenes, of: Slot, several: bool) -> impl IntoView {
    // As an attribute, `slot` means something else.
    let slot = of;
    let coming = move || slot.outcome.with(|outcome| *outcome == Outcome::Coming);
    let some = |text: RwSignal<String>| move || text.with(|text| !text.trim().is_empty());
    // A finding is said once, when the line it belongs to stands still.
    let lines = Memo::new(move |_| {
        let over = slot.outcome.with(|outcome| matches!(outcome, Outcome::Done(..) | Outcome::Failed(_)));
        let trace = slot.think.with(|think| Trace::read(think, over));
        let findings = scenes.asked.with(|asked| {
            let truth = asked.as_ref().and_then(Asked::truth);
            truth.map_or_else(|| vec![None; trace.lines.len()], |scene| trace.judge(scene))
        });
        trace.lines.into_iter().zip(findings).collect::<Vec<_>>()
    });
    let missed = move || {
        let done = slot.outcome.with(|outcome| matches!(outcome, Outcome::Done(_, Some(_))));
        let asked = scenes.asked.get().filter(|_| done)?;
        let missed = Trace::read(&slot.think.get(), true).missed(asked.truth()?).len();
        (missed > 0).then(|| match missed {
            1 => "1 shape is never named.".to_owned(),
            more => format!("{more} shapes are never named."),
        })
    };
    view! {
        <Show when=move || slot.outcome.with(|outcome| *outcome != Outcome::Nothing)>
            <article class="answer" aria-busy=move || coming().to_string()>
                <h3>{slot.label()}</h3>
                <Show when=move || scenes.fresh().is_none()><p class="note">"About the picture as it was."</p></Show>
                <Show when=move || several><Lit scenes of=slot /></Show>
                <Show when=some(slot.think)>
                    <ol class="thought" aria-label=format!("What {} thinks", slot.label())>
                        {move || lines.get().into_iter().map(|(line, finding)| view! { <Thought line finding /> }).collect_view()}
                    </ol>
                </Show>
                {move || missed().map(|missed| view! { <p class="note">{missed}</p> })}
                <Show when=some(slot.raw)><p class="text raw">{move || slot.raw.with(|text| text.trim().to_owned())}</p></Show>
                <p class="final">
                    {move || slot.answer.with(|text| text.trim().to_owned())} " "
                    {move || match slot.outcome.get() {
                        Outcome::Done(answer, accepted) => view! { <Verdict scenes answer=*answer accepted /> }.into_any(),
                        Outcome::Failed(problem) => view! { <span class="error" role="alert">{problem}</span> }.into_any(),
                        Outcome::Coming => view! { <span class="coming" aria-hidden="true">"…"</span> }.into_any(),
                        Outcome::Nothing => ().into_any(),
                    }}
                </p>
            </article>
        </Show>
    }
    .into_any()
}

#[component]
fn Thought(line: Line, finding: Option<Finding>) -> impl IntoView {
    let (class, word, why) = match finding {
        Some(Finding::Right) => ("right", Some("right"), None),
        Some(Finding::Wrong(why)) => ("wrong", Some("wrong"), Some(why)),
        Some(Finding::Coming) | None => ("plain", None, None),
    };
    view! {
        <li class=class>
            <span>{line.text}</span>
            {word.map(|word| view! { " " <span class="finding">{why.unwrap_or_else(|| word.into())}</span> })}
        </li>
    }
    .into_any()
}

/// Whether the answer is right, and what it cost.
#[component]
fn Verdict(scenes: Scenes, answer: Answer, accepted: Option<bool>) -> impl IntoView {
    let truth = scenes.asked.get_untracked().and_then(|asked| asked.scene).map(|scene| scene.answer());
    let verdict = match accepted {
        Some(true) => view! { <span class="badge good">"✓ right"</span> }.into_any(),
        Some(false) => {
            view! { <span class="badge bad">{format!("✗ wrong: it is {}", truth.unwrap_or_default())}</span> }
                .into_any()
        }
        None => ().into_any(),
    };
    let end = match (answer.finish_reason.as_str(), answer.think.is_some() && answer.answer.is_some()) {
        ("length", _) => " Cut at the longest answer allowed.",
        ("cancelled", _) => " Stopped; not counted.",
        (_, false) => " Not in the trained format.",
        _ => "",
    };
    let timing = &answer.timing;
    let rate = 1000.0 * (timing.decode_tokens - 1.0).max(0.0) / timing.decode_ms.max(1.0);
    let cost = format!(
        "first word after {:.2} s, {} tokens, {rate:.0} a second",
        timing.first_token_ms / 1000.0,
        timing.decode_tokens
    );
    view! { {verdict} <small class="cost">{end} " " {cost}</small> }.into_any()
}
