//! What the checker page knows.

use leptos::prelude::*;
use send_wrapper::SendWrapper;
use serde::Deserialize;
use web_sys::File;
use wethink_checker::{Brief, Broken, Columns, Detail, Filter, Mark, Setup, Stats};
use wethink_reward::{Key, Kind};

use super::client::Rewards;
use super::store::Store;
use crate::site::Bundle;

/// The state of the checker; every field is a handle.
#[derive(Clone, Copy)]
pub struct Check {
    /// Holds the sheet.
    pub rewards: StoredValue<Rewards, LocalStorage>,
    /// Sets mathematics, and may be lost at any time.
    pub typesetter: StoredValue<Rewards, LocalStorage>,
    pub phase: RwSignal<Phase>,
    pub file: RwSignal<Option<Opened>>,
    pub setup: RwSignal<Setup>,
    pub summary: RwSignal<Summary>,
    pub filter: RwSignal<Filter>,
    /// Rows that the filter shows.
    pub shown: RwSignal<usize>,
    /// The row that is looked at, as a place among those shown.
    pub place: RwSignal<usize>,
    /// Rows of the list that are here, and the place of the first.
    pub window: RwSignal<(usize, Vec<Brief>)>,
    pub detail: RwSignal<Option<Detail>>,
    pub stats: RwSignal<Stats>,
    pub store: StoredValue<Option<Store>, LocalStorage>,
    pub lock: RwSignal<Lock>,
    /// Gives the lock back.
    pub release: StoredValue<Option<js_sys::Function>, LocalStorage>,
    /// Labels on their way to the browser's storage.
    pub saving: RwSignal<usize>,
    /// Why labels cannot be stored.
    pub unsaved: RwSignal<Option<String>>,
    pub undo: RwSignal<Vec<Undo>>,
    /// Labels given or taken back so far.
    pub puts: StoredValue<u32>,
    pub annotator: RwSignal<String>,
    /// Single keys act.
    pub keys: RwSignal<bool>,
    /// Mathematics is set; else its source is shown.
    pub mathematics: RwSignal<bool>,
    /// The pictures at hand, for people; empty if there are none.
    pub pictures: RwSignal<String>,
    /// The files of a folder, in the order that the worker counts them in.
    pub folder: StoredValue<Vec<File>, LocalStorage>,
    /// Why the last thing a person did had no effect.
    pub notice: RwSignal<Option<String>>,
    /// What a screen reader says next.
    pub said: RwSignal<String>,
    /// The models of the site, and what they answered.
    pub bundle: Bundle,
    /// Changes whenever what the worker would answer for a place may have.
    pub epoch: RwSignal<u32>,
}

/// How far the page is with a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// There is none.
    Empty,
    /// Something long goes on: what, and how far it is.
    Working(&'static str, Option<f64>),
    /// Columns wait to be named.
    Columns,
    /// Rows are there.
    Ready,
    /// The file cannot be used.
    Failed(String),
}

/// Whether this tab may label the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It may.
    Held,
    /// Another tab has the file open.
    Elsewhere,
    /// The browser cannot tell of other tabs.
    Unknown,
}

/// A file whose columns are known.
#[derive(Clone)]
pub struct Opened {
    pub file: SendWrapper<File>,
    pub names: Vec<String>,
}

/// What a file offers before its rows are read.
#[derive(Debug, Clone, Deserialize)]
pub struct Offer {
    pub names: Vec<String>,
    pub guess: Columns,
}

/// A file once its rows are read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Summary {
    pub key: String,
    pub rows: usize,
    pub names: Vec<(String, Option<Kind>, usize)>,
    pub broken: Vec<Broken>,
    pub broken_count: usize,
}

/// A label as it was before it was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Undo {
    pub row: usize,
    pub key: Key,
    pub before: Option<Mark>,
    /// The change was to the note.
    pub note: bool,
}

impl Check {
    pub fn new(said: RwSignal<String>, bundle: Bundle) -> Self {
        Self {
            rewards: StoredValue::new_local(Rewards::new()),
            typesetter: StoredValue::new_local(Rewards::new()),
            phase: RwSignal::new(Phase::Empty),
            file: RwSignal::new(None),
            setup: RwSignal::new(Setup::default()),
            summary: RwSignal::new(Summary::default()),
            filter: RwSignal::new(Filter::default()),
            shown: RwSignal::new(0),
            place: RwSignal::new(0),
            window: RwSignal::new((0, Vec::new())),
            detail: RwSignal::new(None),
            stats: RwSignal::new(Stats::default()),
            store: StoredValue::new_local(None),
            lock: RwSignal::new(Lock::Unknown),
            release: StoredValue::new_local(None),
            saving: RwSignal::new(0),
            unsaved: RwSignal::new(None),
            undo: RwSignal::new(Vec::new()),
            puts: StoredValue::new(0),
            annotator: RwSignal::new(remembered("wethink-annotator").unwrap_or_default()),
            keys: RwSignal::new(remembered("wethink-keys").as_deref() != Some("off")),
            mathematics: RwSignal::new(true),
            pictures: RwSignal::new(String::new()),
            folder: StoredValue::new_local(Vec::new()),
            notice: RwSignal::new(None),
            said,
            bundle,
            epoch: RwSignal::new(0),
        }
    }

    /// The worker with the sheet.
    pub fn worker(&self) -> Rewards {
        self.rewards.get_value()
    }

    pub fn ready(&self) -> bool {
        self.phase.with(|phase| *phase == Phase::Ready)
    }

    /// Whether labels may be given.
    pub fn writable(&self) -> bool {
        self.lock.get() != Lock::Elsewhere
    }

    /// Everything that shows rows asks anew.
    pub fn changed(&self) {
        self.epoch.update(|epoch| *epoch += 1);
    }

    /// Tells a person, and a screen reader, why nothing happened.
    pub fn refuse(&self, problem: impl Into<String>) {
        let problem = problem.into();
        self.said.set(problem.clone());
        self.notice.set(Some(problem));
    }
}

/// A setting that outlives the page; none where the browser keeps nothing.
fn remembered(name: &str) -> Option<String> {
    window().local_storage().ok()??.get_item(name).ok()?
}

/// Keeps a setting; one that cannot be kept is asked for again.
pub fn remember(name: &str, value: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = storage.set_item(name, value);
    }
}
