//! What the page knows.

use leptos::prelude::*;
use send_wrapper::SendWrapper;
use serde_json::{Value, json};
use web_sys::AbortController;

use crate::settings::Settings;
use crate::site::Bundle;
use crate::toolkit::{Answer, Device, Preflight, Progress, WeThink};

/// The state of the ask page; every field is a handle.
#[derive(Clone, Copy)]
pub struct Ask {
    pub status: RwSignal<Status>,
    /// How far loading is.
    pub progress: RwSignal<Loading>,
    /// What the model needs, once that is known.
    pub preflight: RwSignal<Option<Preflight>>,
    pub model: StoredValue<Option<WeThink>, LocalStorage>,
    /// Stops the loading that is going on.
    pub loading: StoredValue<Option<AbortController>, LocalStorage>,
    pub turns: RwSignal<Vec<Turn>>,
    pub attached: RwSignal<Vec<Picture>>,
    pub question: RwSignal<String>,
    pub settings: Settings,
    /// Stops the answer that is coming.
    pub answering: RwSignal<Option<SendWrapper<AbortController>>>,
    /// What a screen reader says next.
    pub said: RwSignal<String>,
    /// Why the last thing a person did had no effect.
    pub notice: RwSignal<Option<String>>,
    /// The models of the site.
    pub bundle: Bundle,
    /// What the model has seen, where the site knows.
    pub about: RwSignal<Option<String>>,
    /// Number of things made so far: keys of lists.
    pub made: StoredValue<usize>,
}

/// Whether there is a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    Empty,
    Loading,
    Ready(Device),
    Failed(String),
}

/// How far loading is: the last word, and the last of each stage that goes on beside another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loading {
    pub last: Option<Progress>,
    pub download: Option<Progress>,
    pub weights: Option<Progress>,
}

impl Loading {
    /// Takes what was told.
    pub fn hear(&mut self, progress: Progress) {
        match progress.stage.as_str() {
            "download" => self.download = Some(progress.clone()),
            "weights" => self.weights = Some(progress.clone()),
            _ => {}
        }
        self.last = Some(progress);
    }
}

/// A picture of a question.
#[derive(Clone)]
pub struct Picture {
    pub key: usize,
    pub name: String,
    pub file: SendWrapper<web_sys::Blob>,
    /// Address for showing it; the page holds it as long as it lives.
    pub url: String,
}

/// A question and what came of it.
#[derive(Clone)]
pub struct Turn {
    pub key: usize,
    pub question: String,
    pub pictures: Vec<Picture>,
    pub think: RwSignal<String>,
    pub answer: RwSignal<String>,
    pub raw: RwSignal<String>,
    pub outcome: RwSignal<Outcome>,
}

/// How far a turn is.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Coming,
    Done(Box<Answer>),
    Failed(String),
}

impl Ask {
    pub fn new(bundle: Bundle) -> Self {
        Self {
            status: RwSignal::new(Status::Empty),
            progress: RwSignal::new(Loading::default()),
            preflight: RwSignal::new(None),
            model: StoredValue::new_local(None),
            loading: StoredValue::new_local(None),
            turns: RwSignal::new(Vec::new()),
            attached: RwSignal::new(Vec::new()),
            question: RwSignal::new(String::new()),
            settings: Settings::new(),
            answering: RwSignal::new(None),
            said: RwSignal::new(String::new()),
            notice: RwSignal::new(None),
            bundle,
            about: RwSignal::new(None),
            made: StoredValue::new(0),
        }
    }

    /// A number nobody else has.
    pub fn key(&self) -> usize {
        self.made.update_value(|made| *made += 1);
        self.made.get_value()
    }

    pub fn ready(&self) -> bool {
        matches!(self.status.get(), Status::Ready(_))
    }

    /// The chat as the model takes it, with the pictures in the order of their parts. Questions without an answer are
    /// left out, but for the one that is being asked.
    pub fn messages(&self) -> (Value, Vec<Picture>) {
        let mut messages = Vec::new();
        let mut pictures = Vec::new();
        for turn in self.turns.get_untracked() {
            let answer = match turn.outcome.get_untracked() {
                Outcome::Failed(_) => continue,
                Outcome::Coming => None,
                Outcome::Done(answer) => Some(answer.text),
            };
            let mut content = vec![json!({"type": "image"}); turn.pictures.len()];
            content.push(json!({"type": "text", "text": turn.question}));
            messages.push(json!({"role": "user", "content": content}));
            if let Some(text) = answer {
                messages.push(json!({"role": "assistant", "content": [{"type": "text", "text": text}]}));
            }
            pictures.extend(turn.pictures);
        }
        (Value::Array(messages), pictures)
    }
}
