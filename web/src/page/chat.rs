//! Questions and answers, as they come.

use js_sys::Array;
use leptos::prelude::*;
use leptos::task::spawn_local;
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use web_sys::AbortController;

use crate::model::megabytes;
use crate::state::{Ask, Outcome, Turn};
use crate::toolkit::{self, Answer, failure, follow};

/// Asks what stands in the composer.
pub fn send(ask: Ask) {
    let question = ask.question.get_untracked().trim().to_owned();
    let Some(model) = ask.model.get_value().filter(|_| ask.answering.with_untracked(Option::is_none)) else {
        return;
    };
    if question.is_empty() {
        ask.notice.set(Some("Write a question first".into()));
        return;
    }
    let mut options = match ask.settings.options() {
        Ok(options) => options,
        Err(problem) => return ask.notice.set(Some(problem)),
    };
    let turn = Turn {
        key: ask.key(),
        question,
        pictures: ask.attached.try_update(std::mem::take).unwrap_or_default(),
        think: RwSignal::new(String::new()),
        answer: RwSignal::new(String::new()),
        raw: RwSignal::new(String::new()),
        outcome: RwSignal::new(Outcome::Coming),
    };
    ask.turns.update(|turns| turns.push(turn.clone()));
    ask.question.set(String::new());
    ask.notice.set(None);
    ask.said.set("Thinking".into());
    let (messages, pictures) = ask.messages();
    options.insert("messages".into(), messages);
    let images: Array = pictures.iter().map(|picture| JsValue::from((*picture.file).clone())).collect();
    let abort = AbortController::new().ok();
    let signal = abort.as_ref().map(|abort| abort.signal().into()).unwrap_or_default();
    let options = toolkit::options(options, images, signal);
    ask.answering.set(abort.map(SendWrapper::new));
    spawn_local(async move {
        let heard = |kind: &str, text: &str| {
            let signal = match kind {
                "think" => turn.think,
                "answer" => turn.answer,
                _ => turn.raw,
            };
            signal.update(|all| all.push_str(text));
        };
        let outcome = match follow(&model, &options, heard).await {
            Ok(answer) => {
                let end = if answer.finish_reason == "cancelled" { "Stopped" } else { "Answer complete" };
                ask.said.set(format!("{end}. {}", answer.answer.as_deref().unwrap_or(&answer.text)));
                Outcome::Done(Box::new(answer))
            }
            Err(error) => {
                let (_, text) = failure(&error);
                ask.said.set(format!("Error: {text}"));
                Outcome::Failed(text)
            }
        };
        turn.outcome.set(outcome);
        ask.answering.set(None);
    });
}

/// Stops the answer that is coming; what came of it stays.
pub fn stop(ask: Ask) {
    if let Some(abort) = ask.answering.get_untracked() {
        abort.abort();
    }
}

/// The chat.
#[component]
pub fn Chat(ask: Ask) -> impl IntoView {
    view! {
        <section class="chat" aria-label="Chat">
            <For each=move || ask.turns.get() key=|turn| turn.key let:turn>
                <TurnView turn />
            </For>
        </section>
    }
}

#[component]
fn TurnView(turn: Turn) -> impl IntoView {
    let Turn { think, answer, raw, outcome, .. } = turn;
    let coming = move || outcome.with(|outcome| *outcome == Outcome::Coming);
    let some = |text: RwSignal<String>| move || text.with(|text| !text.trim().is_empty());
    let pictures = turn.pictures.iter().map(|picture| {
        view! { <img src=picture.url.clone() alt=picture.name.clone() /> }
    });
    view! {
        <article class="turn">
            <div class="question">
                <div class="pictures">{pictures.collect_view()}</div>
                <p>{turn.question.clone()}</p>
            </div>
            <div class="answer" aria-busy=move || coming().to_string()>
                <Show when=some(think)>
                    <details class="think" open>
                        <summary>"Thinking"</summary>
                        <p class="text">{move || think.with(|text| text.trim_start().to_owned())}</p>
                    </details>
                </Show>
                <Show when=some(answer)><p class="text final">{move || answer.with(|text| text.trim().to_owned())}</p></Show>
                <Show when=some(raw)><p class="text raw">{move || raw.with(|text| text.trim().to_owned())}</p></Show>
                <Show when=coming><p class="coming" aria-hidden="true">"…"</p></Show>
                {move || match outcome.get() {
                    Outcome::Coming => ().into_any(),
                    Outcome::Failed(text) => view! { <p class="error" role="alert">{text}</p> }.into_any(),
                    Outcome::Done(answer) => view! { <Figures answer=*answer /> }.into_any(),
                }}
            </div>
        </article>
    }
}

/// The badge for the format, how the answer ended, and what it cost.
#[component]
fn Figures(answer: Answer) -> impl IntoView {
    let timing = answer.timing;
    let formed = answer.think.is_some() && answer.answer.is_some();
    let badge = if formed {
        view! { <span class="badge good">"✓ think and answer"</span> }
    } else {
        view! { <span class="badge bad">"✗ not in the trained format"</span> }
    };
    let end = match answer.finish_reason.as_str() {
        "length" => " · cut at the longest answer allowed",
        "cancelled" => " · stopped",
        _ => "",
    };
    let rate = |tokens: f64, ms: f64| {
        if ms > 0.0 && tokens > 0.0 { format!("{:.1} tokens/s", 1000.0 * tokens / ms) } else { "–".into() }
    };
    let memory = timing.wasm_bytes + timing.gpu_bytes.unwrap_or(0.0);
    let figures = [
        ("Image tokens", format!("{}", timing.image_tokens)),
        ("Prompt tokens", format!("{}, {} computed", timing.prompt_tokens, timing.prefill_tokens)),
        ("First token", format!("{:.2} s", timing.first_token_ms / 1000.0)),
        ("Prefill", rate(timing.prefill_tokens, timing.first_token_ms - timing.picture_ms)),
        // The first token comes out of the prefill.
        ("Decode", rate(timing.decode_tokens - 1.0, timing.decode_ms)),
        ("Memory", megabytes(memory)),
        ("Room for the chat", format!("{} tokens, {}", timing.cache_tokens, megabytes(timing.cache_bytes))),
    ];
    let figures = figures.map(|(name, value)| view! { <div><dt>{name}</dt><dd>{value}</dd></div> });
    view! {
        <p class="outcome">{badge} {end}</p>
        <dl class="figures">{figures.collect_view()}</dl>
    }
}
