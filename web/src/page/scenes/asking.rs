//! Asking about the picture in sight, once or a run of scenes long.

use js_sys::{Array, Uint8Array};
use leptos::prelude::*;
use leptos::task::spawn_local;
use send_wrapper::SendWrapper;
use serde_json::{Map, Value, json};
use wasm_bindgen::JsValue;
use web_sys::{AbortController, AbortSignal, Blob};
use wethink_board::board::Board;
use wethink_board::tally::Judged;
use wethink_board::trace::Trace;
use wethink_scenes::{CountQuestion, Scene, Settings};

use super::state::{Asked, Outcome, Scenes, Slot};
use crate::toolkit::{self, Answer, accepts, failure, follow, together};

/// A scene of a run: its seed, and its index under it.
type Place = Option<(u64, u64)>;

/// What stands in the field of the question.
pub fn question(scenes: Scenes) -> String {
    let own = || scenes.board.with(|board| board.as_ref().map(|board| board.count().question()));
    scenes.typed.get().or_else(own).unwrap_or_default()
}

/// Whether the answer to it is known: of a scene, in words that are understood.
pub fn understood(scenes: Scenes) -> bool {
    let words =
        scenes.typed.with(|typed| typed.as_deref().is_none_or(|text| CountQuestion::read(text).is_some()));
    words && scenes.photo.with(Option::is_none)
}

/// Asks what is in sight.
pub fn ask(scenes: Scenes) {
    if untrack(move || scenes.busy() || !scenes.ready()) {
        return;
    }
    let question = untrack(move || question(scenes)).trim().to_owned();
    if question.is_empty() {
        return scenes.refuse("Write a question first");
    }
    let (asked, picture) = match scenes.photo.get_untracked() {
        Some(photo) => (Asked { board: None, scene: None, question }, Ok((*photo.file).clone())),
        None => {
            let Some(board) = scenes.board.get_untracked() else { return };
            let scene = match untrack(move || understood(scenes)).then(|| board.scene()).transpose() {
                Ok(scene) => scene,
                Err(problem) => return scenes.refuse(format!("This cannot be asked: {}", problem.problem)),
            };
            let picture = picture(&board);
            (Asked { board: Some(board), scene, question }, picture)
        }
    };
    let picture = match picture {
        Ok(picture) => picture,
        Err(problem) => return scenes.refuse(problem),
    };
    scenes.notice.set(None);
    let Some(signal) = begin(scenes) else { return };
    scenes.said.set("Thinking".into());
    spawn_local(async move {
        ask_all(scenes, asked, picture, &signal, None).await;
        scenes.abort.set(None);
        let said = scenes.chosen().iter().map(|slot| told(*slot)).collect::<Vec<_>>().join(". ");
        scenes.said.set(said);
    });
}

/// Asks one scene after the other, all under one seed. `objects` gives the fewest and most shapes of each.
pub fn run(scenes: Scenes, count: u64, seed: u64, objects: impl Fn(u64) -> [u8; 2] + 'static) {
    if untrack(move || scenes.busy() || !scenes.ready()) {
        return;
    }
    let Some(settings) = scenes.settings() else { return };
    let Some(signal) = begin(scenes) else { return };
    scenes.said.set(format!("A run of {count} scenes"));
    spawn_local(async move {
        scenes.run.set(Some((0, count)));
        for index in 0..count {
            if let Err(problem) = one(scenes, &settings, objects(index), (seed, index), &signal).await {
                scenes.refuse(problem);
                break;
            }
            if signal.aborted() {
                break;
            }
            scenes.run.set(Some((index + 1, count)));
        }
        let done = scenes.run.get_untracked().map_or(0, |(done, _)| done);
        scenes.run.set(None);
        scenes.abort.set(None);
        scenes.said.set(format!("The run ended after {done} of {count} scenes"));
    });
}

async fn one(
    scenes: Scenes,
    settings: &Settings,
    objects: [u8; 2],
    (seed, index): (u64, u64),
    signal: &AbortSignal,
) -> Result<(), String> {
    // Crowded scenes belong to the mix that a model was trained on, and to no other.
    let crowded = if objects == settings.objects { settings.crowded } else { 0 };
    let settings = Settings { objects, crowded, ..settings.clone() };
    let scene = settings.scene(seed, index).map_err(|problem| problem.to_string())?;
    scenes.show(&scene);
    let board = Board::new(&scene).ok_or("this page draws task A alone")?;
    let picture = picture(&board)?;
    let question = scene.question();
    let asked = Asked { board: Some(board), scene: Some(scene), question };
    ask_all(scenes, asked, picture, signal, Some((seed, index))).await;
    let failed = scenes.chosen().into_iter().find_map(|slot| match slot.outcome.get_untracked() {
        Outcome::Failed(problem) => Some(problem),
        _ => None,
    });
    failed.map_or(Ok(()), Err)
}

/// Stops what is going on; what came of it stays.
pub fn stop(scenes: Scenes) {
    if let Some(abort) = scenes.abort.get_untracked() {
        abort.abort();
    }
}

fn begin(scenes: Scenes) -> Option<AbortSignal> {
    let abort = AbortController::new().ok()?;
    let signal = abort.signal();
    scenes.abort.set(Some(SendWrapper::new(abort)));
    Some(signal)
}

/// The picture of a board as a file: exactly the pixels that training sees.
fn picture(board: &Board) -> Result<Blob, String> {
    let png = board.drawn().map_err(|problem| problem.to_string())?.draw().png();
    let bytes = Uint8Array::from(&png[..]);
    Blob::new_with_u8_array_sequence(&Array::of1(&bytes))
        .map_err(|_| "the browser cannot hold the picture".into())
}

async fn ask_all(scenes: Scenes, asked: Asked, picture: Blob, signal: &AbortSignal, place: Place) {
    scenes.asked.set(Some(asked.clone()));
    let slots = untrack(move || scenes.chosen());
    for slot in scenes.slots.get_untracked() {
        for text in [slot.think, slot.answer, slot.raw] {
            text.set(String::new());
        }
        slot.outcome.set(Outcome::Nothing);
    }
    let ask = |slot: Slot| {
        let (asked, picture, signal) = (asked.clone(), picture.clone(), signal.clone());
        async move {
            slot.outcome.set(Outcome::Coming);
            let outcome = answer(scenes, slot, &asked, &picture, &signal, place).await;
            slot.outcome.set(outcome.unwrap_or_else(Outcome::Failed));
            JsValue::UNDEFINED
        }
    };
    together(slots.into_iter().map(ask)).await;
}

async fn answer(
    scenes: Scenes,
    slot: Slot,
    asked: &Asked,
    picture: &Blob,
    signal: &AbortSignal,
    place: Place,
) -> Result<Outcome, String> {
    let engine = slot.engine.get_value().ok_or("the model is not loaded")?;
    let mut options = Map::new();
    let content = json!([{"type": "image"}, {"type": "text", "text": asked.question}]);
    options.insert("messages".into(), json!([{"role": "user", "content": content}]));
    options.insert("maxNewTokens".into(), slot.model.with_value(|model| Value::from(model.max_new_tokens)));
    let options = toolkit::options(options, Array::of1(picture), signal.clone().into());
    let heard = |kind: &str, text: &str| {
        let signal = match kind {
            "think" => slot.think,
            "answer" => slot.answer,
            _ => slot.raw,
        };
        signal.update(|all| all.push_str(text));
    };
    let answer = follow(&engine, &options, heard).await.map_err(|error| failure(&error).1)?;
    let known = asked.scene.as_ref().filter(|_| answer.finish_reason != "cancelled");
    let Some(scene) = known else { return Ok(Outcome::Done(Box::new(answer), None)) };
    let accepted = accepts(scene.reward(), &scene.answer(), &answer.text).await?;
    let judged = judged(slot, asked, scene, &answer, accepted, place);
    scenes.tally.update(|tally| tally.add(&judged));
    scenes.answers.update(|answers| answers.push(judged));
    Ok(Outcome::Done(Box::new(answer), Some(accepted)))
}

fn judged(slot: Slot, asked: &Asked, scene: &Scene, answer: &Answer, accepted: bool, place: Place) -> Judged {
    let think = answer.think.as_deref().unwrap_or_default();
    Judged {
        model: slot.name(),
        seed: place.map(|(seed, _)| seed),
        row: place.map(|(_, row)| row),
        objects: asked.board.as_ref().map_or(0, Board::objects),
        question: asked.question.clone(),
        truth: scene.answer(),
        response: answer.text.clone(),
        accepted,
        seen: asked.truth().map_or(0, |scene| Trace::read(think, true).right(scene)),
    }
}

/// What came of an answer, for a screen reader.
fn told(slot: Slot) -> String {
    let label = slot.label();
    match slot.outcome.get_untracked() {
        Outcome::Done(answer, accepted) => {
            let words = answer.answer.as_deref().unwrap_or(&answer.text).trim().to_owned();
            let verdict = match accepted {
                Some(true) => ", which is right",
                Some(false) => ", which is wrong",
                None => "",
            };
            format!("{label} answers {words}{verdict}")
        }
        Outcome::Failed(problem) => format!("{label}: error: {problem}"),
        Outcome::Nothing | Outcome::Coming => format!("{label} says nothing"),
    }
}
