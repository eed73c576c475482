//! What the scenes page knows.

use leptos::prelude::*;
use send_wrapper::SendWrapper;
use web_sys::AbortController;
use wethink_board::board::{Board, Cell};
use wethink_board::catalog::{Bundled, Catalog};
use wethink_board::tally::{Judged, Tally};
use wethink_scenes::{Color, Count, Scene, Settings, Shape, Size, Split};

use crate::site::Bundle;
use crate::state::{Loading, Picture, Status};
use crate::toolkit::{Answer, WeThink};

/// The state of the page; every field is a handle.
#[derive(Clone, Copy)]
pub struct Scenes {
    pub bundle: Bundle,
    /// The bundled models, in the order of their list.
    pub slots: RwSignal<Vec<Slot>>,
    pub which: RwSignal<Which>,
    /// Where models run: `auto`, `webgpu` or `cpu`.
    pub device: RwSignal<&'static str>,
    /// The scene in the making; none before the list of models is here.
    pub board: RwSignal<Option<Board>>,
    /// The cell that keys and fields are about.
    pub cursor: RwSignal<Cell>,
    /// What the next shape looks like.
    pub look: RwSignal<(Color, Shape, Size)>,
    /// The fields of a shape are unfolded.
    pub editing: RwSignal<bool>,
    /// A question of the person's own words.
    pub typed: RwSignal<Option<String>>,
    /// A picture in place of the scene.
    pub photo: RwSignal<Option<Picture>>,
    /// Number of shapes of the next scene.
    pub difficulty: RwSignal<u8>,
    /// What the answers in sight are about.
    pub asked: RwSignal<Option<Asked>>,
    /// Stops what is going on.
    pub abort: RwSignal<Option<SendWrapper<AbortController>>>,
    /// Scenes done and all scenes, while a run goes on.
    pub run: RwSignal<Option<(u64, u64)>>,
    pub answers: RwSignal<Vec<Judged>>,
    pub tally: RwSignal<Tally>,
    /// Seed of this visit's own scenes, and the index of the next.
    next: StoredValue<(u64, u64)>,
    /// Why the last thing a person did had no effect.
    pub notice: RwSignal<Option<String>>,
    /// What a screen reader says next.
    pub said: RwSignal<String>,
}

/// A bundled model, and what it says.
#[derive(Clone, Copy)]
pub struct Slot {
    pub model: StoredValue<Bundled>,
    pub status: RwSignal<Status>,
    pub progress: RwSignal<Loading>,
    pub engine: StoredValue<Option<WeThink>, LocalStorage>,
    /// Counts loads: what an abandoned one brings is not taken.
    pub loads: StoredValue<u32>,
    pub think: RwSignal<String>,
    pub answer: RwSignal<String>,
    pub raw: RwSignal<String>,
    pub outcome: RwSignal<Outcome>,
}

/// Which models answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    One(usize),
    All,
}

/// How far an answer is.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Nothing,
    Coming,
    /// The answer, and what the verifier says of it where the truth is known.
    Done(Box<Answer>, Option<bool>),
    Failed(String),
}

/// What was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The board as it was; none for a photo.
    pub board: Option<Board>,
    /// The scene, where its question is understood and so its answer known.
    pub scene: Option<Scene>,
    pub question: String,
}

impl Asked {
    /// Shapes and question, where the truth is known.
    pub fn truth(&self) -> Option<&Count> {
        self.board.as_ref().filter(|_| self.scene.is_some()).map(Board::count)
    }
}

impl Slot {
    fn new(model: &Bundled) -> Self {
        Self {
            model: StoredValue::new(model.clone()),
            status: RwSignal::new(Status::Empty),
            progress: RwSignal::new(Loading::default()),
            engine: StoredValue::new_local(None),
            loads: StoredValue::new(0),
            think: RwSignal::new(String::new()),
            answer: RwSignal::new(String::new()),
            raw: RwSignal::new(String::new()),
            outcome: RwSignal::new(Outcome::Nothing),
        }
    }

    pub fn label(&self) -> String {
        self.model.with_value(|model| model.label.clone())
    }

    pub fn name(&self) -> String {
        self.model.with_value(|model| model.name.clone())
    }

    pub fn ready(&self) -> bool {
        self.status.with(|status| matches!(status, Status::Ready(_)))
    }
}

impl Scenes {
    pub fn new(bundle: Bundle, said: RwSignal<String>) -> Self {
        let seed = (js_sys::Math::random() * f64::from(u32::MAX)) as u64;
        Self {
            bundle,
            slots: RwSignal::new(Vec::new()),
            which: RwSignal::new(Which::One(0)),
            device: RwSignal::new("auto"),
            board: RwSignal::new(None),
            cursor: RwSignal::new((1, 1)),
            look: RwSignal::new((Color::Red, Shape::Circle, Size::Large)),
            editing: RwSignal::new(false),
            typed: RwSignal::new(None),
            photo: RwSignal::new(None),
            difficulty: RwSignal::new(5),
            asked: RwSignal::new(None),
            abort: RwSignal::new(None),
            run: RwSignal::new(None),
            answers: RwSignal::new(Vec::new()),
            tally: RwSignal::new(Tally::default()),
            next: StoredValue::new((seed, 0)),
            notice: RwSignal::new(None),
            said,
        }
    }

    /// Takes the list of models, once.
    pub fn begin(self, catalog: &Catalog) {
        if self.slots.with_untracked(Vec::is_empty) {
            self.slots.set(catalog.models.iter().map(Slot::new).collect());
            if let Some(model) = catalog.models.first() {
                self.difficulty.set(model.scenes.objects[1]);
            }
            self.shuffle();
        }
    }

    /// The models that answer.
    pub fn chosen(self) -> Vec<Slot> {
        let slots = self.slots.get();
        match self.which.get() {
            Which::One(index) => slots.get(index).copied().into_iter().collect(),
            Which::All => slots,
        }
    }

    /// Whether all of them are there.
    pub fn ready(self) -> bool {
        let chosen = self.chosen();
        !chosen.is_empty() && chosen.iter().all(Slot::ready)
    }

    pub fn busy(self) -> bool {
        self.abort.with(Option::is_some)
    }

    /// Scenes of the first chosen model's kind that no training can have shown.
    pub fn settings(self) -> Option<Settings> {
        let slot = untrack(move || self.chosen().first().copied())?;
        Some(Settings { split: Some(Split::Test), ..slot.model.with_value(|model| model.scenes.clone()) })
    }

    /// A random scene of as many shapes as the slider says.
    pub fn shuffle(self) {
        let objects = self.difficulty.get_untracked();
        let Some(settings) = self.settings() else { return };
        let (seed, index) = self.next.get_value();
        self.next.set_value((seed, index + 1));
        match (Settings { objects: [objects; 2], crowded: 0, ..settings }).scene(seed, index) {
            Ok(scene) => self.show(&scene),
            Err(problem) => self.refuse(problem.to_string()),
        }
    }

    /// Puts a scene onto the board.
    pub fn show(self, scene: &Scene) {
        self.photo.set(None);
        self.typed.set(None);
        self.notice.set(None);
        self.board.set(Board::new(scene));
    }

    /// Changes the board, unless a run is using it; false if nothing came of it.
    pub fn edit(self, change: impl FnOnce(&mut Board) -> bool) -> bool {
        if self.run.with_untracked(Option::is_some) {
            self.refuse("Stop the run to change the scene");
            return false;
        }
        self.notice.set(None);
        self.board.try_update(|board| board.as_mut().is_some_and(change)).unwrap_or(false)
    }

    /// What the answers in sight are about, as long as the picture still shows it.
    pub fn fresh(self) -> Option<Asked> {
        let asked = self.asked.get()?;
        let same = match &asked.board {
            Some(board) => {
                self.photo.with(Option::is_none) && self.board.with(|now| now.as_ref() == Some(board))
            }
            None => self.photo.with(Option::is_some),
        };
        same.then_some(asked)
    }

    /// Tells a person, and a screen reader, why nothing happened.
    pub fn refuse(self, problem: impl Into<String>) {
        let problem = problem.into();
        self.said.set(problem.clone());
        self.notice.set(Some(problem));
    }
}
