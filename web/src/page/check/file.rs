//! A file from the moment it is chosen to the moment its rows can be labelled.

use std::collections::BTreeSet;

use leptos::prelude::*;
use leptos::task::spawn_local;
use send_wrapper::SendWrapper;
use serde_json::Value;
use wasm_bindgen::prelude::*;
use web_sys::File;
use wethink_board::catalog::Rollouts;
use wethink_checker::{Filter, Role, Setup};

use super::client::hold;
use super::list::around;
use super::pictures::take_folder;
use super::state::{Check, Lock, Offer, Opened, Phase, Summary};
use super::store::Store;
use crate::pictures::SAMPLES;
use crate::site;
use crate::toolkit::together;

/// The bundled examples.
const EXAMPLES: &str = "samples/check.jsonl";

/// Opens a file; its rows are read at once if its columns are plain.
pub fn open(check: Check, file: File) {
    check.notice.set(None);
    check.phase.set(Phase::Working("Reading", None));
    spawn_local(async move {
        match check.worker().give::<Offer>("open", &file).await {
            Ok(Offer { names, guess }) => {
                let plain = guess.get(Role::Reply).is_some()
                    && guess.get(Role::Truth).is_some()
                    && guess.get(Role::Kind).is_some();
                check.file.set(Some(Opened { file: SendWrapper::new(file), names }));
                let policy = check.setup.with_untracked(|setup| setup.policy);
                check.setup.set(Setup { columns: guess, policy, ..Setup::default() });
                if plain { read(check).await } else { check.phase.set(Phase::Columns) }
            }
            Err(problem) => fail(check, problem),
        }
    });
}

/// Reads the file again, with the columns as they are set now.
pub fn reread(check: Check) {
    let Some(file) = check.file.get_untracked() else { return };
    check.phase.set(Phase::Working("Reading", None));
    spawn_local(async move {
        match check.worker().give::<Offer>("open", &file.file).await {
            Ok(_) => read(check).await,
            Err(problem) => fail(check, problem),
        }
    });
}

/// Opens the bundled examples, with the pictures that they are about.
pub fn examples(check: Check) {
    spawn_local(async move {
        let mut pictures = Vec::new();
        for (path, _) in SAMPLES {
            if let Ok(file) = site::file(path).await {
                pictures.push((path.to_owned(), file));
            }
        }
        take_folder(check, pictures);
        match site::file(EXAMPLES).await {
            Ok(file) => open(check, file),
            Err(problem) => check.refuse(problem),
        }
    });
}

/// Opens what the site's own models answered, with the pictures that these rows name.
pub fn rollouts(check: Check, rollouts: Rollouts) {
    spawn_local(async move {
        let rows = match site::text(&rollouts.url("rows.jsonl")).await {
            Ok(rows) => rows,
            Err(problem) => return check.refuse(problem),
        };
        let row = |line: &str| serde_json::from_str::<Value>(line).ok();
        let path = |row: Value| row["image_path"].as_str().map(str::to_owned);
        let paths: BTreeSet<String> = rows.lines().filter_map(row).filter_map(path).collect();
        let fetch = |path: &String| {
            let url = rollouts.url(path);
            async move { site::file(&url).await.map_or(JsValue::NULL, Into::into) }
        };
        // A few dozen of a kilobyte or two; what is missing is told where its row is shown.
        let files = together(paths.iter().map(fetch)).await;
        let pairs = paths.into_iter().zip(files);
        take_folder(check, pairs.filter_map(|(path, file)| Some((path, file.dyn_into().ok()?))).collect());
        match site::file(&rollouts.url("rows.jsonl")).await {
            Ok(file) => open(check, file),
            Err(problem) => check.refuse(problem),
        }
    });
}

/// Rows, then stored labels, then verdicts.
async fn read(check: Check) {
    let setup = check.setup.get_untracked();
    let told = move |share| check.phase.set(Phase::Working("Reading", Some(share)));
    // Nothing comes back when another file was opened meanwhile.
    let summary = match check.worker().follow::<Option<Summary>>("load", (setup,), told).await {
        Ok(Some(summary)) => summary,
        Ok(None) => return,
        Err(problem) => return fail(check, problem),
    };
    if summary.rows == 0 {
        let first = summary.broken.first();
        let first = first.map(|broken| format!(" Line {}: {}", broken.line, broken.problem));
        check.summary.set(summary);
        return fail(check, format!("No line gives a row.{}", first.unwrap_or_default()));
    }
    check.undo.set(Vec::new());
    check.filter.set(Filter::default());
    check.place.set(0);
    check.detail.set(None);
    check.window.set((0, Vec::new()));
    lock(check, &summary.key);
    match Store::open(&summary.key).await {
        Ok(store) => {
            check.unsaved.set(None);
            check.store.set_value(Some(store));
        }
        Err(problem) => {
            check.unsaved.set(Some(problem));
            check.store.set_value(None);
        }
    }
    check.summary.set(summary);
    restore(check).await;
    rescore(check, None).await;
}

fn fail(check: Check, problem: String) {
    check.said.set(format!("Error: {problem}"));
    check.phase.set(Phase::Failed(problem));
}

/// Puts the stored labels back.
async fn restore(check: Check) {
    let Some(store) = check.store.get_value() else { return };
    match store.all().await {
        Ok(lines) => {
            if let Err(problem) = check.worker().ask::<usize>("restore", (lines,)).await {
                check.refuse(problem);
            }
        }
        Err(problem) => check.unsaved.set(Some(problem)),
    }
}

/// Scores every row, with kinds and policy as they are set now; `None` if the worker has them already.
pub async fn rescore(check: Check, setup: Option<Setup>) {
    check.phase.set(Phase::Working("Scoring", None));
    let told = move |share| check.phase.set(Phase::Working("Scoring", Some(share)));
    match check.worker().follow::<bool>("rescore", (setup,), told).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(problem) => return fail(check, problem),
    }
    refilter(check, false).await;
    count(check).await;
    check.phase.set(Phase::Ready);
    let rows = check.summary.with_untracked(|summary| summary.rows);
    check.said.set(format!("{rows} rows are scored"));
}

/// Shows what the filter lets through; the row that is looked at stays if it can, or else the list begins anew.
pub async fn refilter(check: Check, announce: bool) {
    let row = check.detail.with_untracked(|detail| detail.as_ref().map(|detail| detail.brief.row));
    let filter = check.filter.get_untracked();
    let shown = match check.worker().ask::<usize>("filter", (filter,)).await {
        Ok(shown) => shown,
        Err(problem) => return check.refuse(problem),
    };
    let place = match row {
        Some(row) => check.worker().ask::<Option<usize>>("place", (row,)).await.ok().flatten(),
        None => None,
    };
    let place = place.unwrap_or(0);
    // In the list before keys can act on them.
    let Some(window) = around(check, place).await else { return };
    check.window.set(window);
    check.shown.set(shown);
    check.place.set(place);
    check.changed();
    if announce {
        check.said.set(format!("{shown} rows"));
    }
}

/// Counts progress and agreement anew.
pub async fn count(check: Check) {
    if let Ok(stats) = check.worker().ask("stats", ()).await {
        check.stats.set(stats);
    }
}

/// Takes the file for this tab, or learns that another has it.
fn lock(check: Check, key: &str) {
    if let Some(release) = check.release.try_update_value(Option::take).flatten() {
        // A function of our own that does not throw.
        let _ = release.call0(&JsValue::NULL);
    }
    let tell = move |state: String| {
        let before = check.lock.get_untracked();
        let now = match state.as_str() {
            "held" => Lock::Held,
            "elsewhere" => Lock::Elsewhere,
            _ => Lock::Unknown,
        };
        check.lock.set(now);
        if before == Lock::Elsewhere && now == Lock::Held {
            check.said.set("The other tab is closed; labels can be given here now".into());
            spawn_local(async move {
                restore(check).await;
                check.changed();
                count(check).await;
            });
        }
    };
    check.lock.set(Lock::Unknown);
    // It speaks as long as the page lives.
    let tell = Closure::<dyn Fn(String)>::new(tell).into_js_value();
    let release = hold(&format!("wethink-check/{key}"), tell.unchecked_ref());
    check.release.set_value(Some(release));
}
