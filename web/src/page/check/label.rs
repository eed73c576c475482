//! Giving labels, notes, and taking them back.
//!
//! A label is written to the browser's storage in the same turn of its event loop as the key that gave it; the sheet in
//! the worker and the counts follow.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wethink_checker::{Brief, Mark, Seek};
use wethink_reward::{Choice, Key};

use super::file::count;
use super::list::show;
use super::state::{Check, Undo};

/// The row at a place, if the list has it here.
pub fn at(check: Check, place: usize) -> Option<Brief> {
    check.window.with(|(from, rows)| rows.get(place.checked_sub(*from)?).cloned())
}

/// Labels the row that is looked at, and goes on to the next.
pub fn label(check: Check, choice: Choice) {
    if !check.ready() || !allowed(check) {
        return;
    }
    let Some(brief) = untrack(|| at(check, check.place.get())) else {
        return check.refuse("There is no row here");
    };
    let note = brief.mark.as_ref().map(|mark| mark.note.clone()).unwrap_or_default();
    remember(check, &brief, false);
    put(check, brief.row, brief.key, Some(mark(check, choice, note)));
    check.said.set(format!("{}: row {}", name(choice), brief.line));
    go(check, check.place.get_untracked() + 1);
}

/// Sets the note of a row. A row without a label is then unsure: a note is about a judgement.
pub fn note(check: Check, brief: &Brief, note: String) {
    if !allowed(check) {
        return;
    }
    let noted = |undo: &Undo| undo.note && undo.row == brief.row;
    if !check.undo.with_untracked(|undo| undo.last().is_some_and(noted)) {
        remember(check, brief, true);
    }
    let choice = brief.mark.as_ref().map_or(Choice::Unsure, |mark| mark.choice);
    put(check, brief.row, brief.key, Some(mark(check, choice, note)));
}

/// Takes the last label or note back, and goes to its row.
pub fn undo(check: Check) {
    if !check.ready() || !allowed(check) {
        return;
    }
    let Some(last) = check.undo.try_update(Vec::pop).flatten() else {
        return check.refuse("There is nothing to undo");
    };
    put(check, last.row, last.key, last.before);
    check.said.set("Undone".into());
    spawn_local(async move {
        if let Ok(Some(place)) = check.worker().ask::<Option<usize>>("place", (last.row,)).await {
            show(check, place).await;
        }
    });
}

/// Looks at another row.
pub fn go(check: Check, place: usize) {
    let last = check.shown.get_untracked().saturating_sub(1);
    let place = place.min(last);
    if place != check.place.get_untracked() {
        check.notice.set(None);
        check.place.set(place);
    }
}

/// Looks at the next row, or the one before, that has what is looked for.
pub fn seek(check: Check, forward: bool, what: Seek) {
    spawn_local(async move {
        let place = check.place.get_untracked();
        match check.worker().ask::<Option<usize>>("seek", (place, forward, what)).await {
            Ok(Some(place)) => show(check, place).await,
            Ok(None) => check.refuse(match what {
                Seek::Differs => "No further disagreement among the rows shown",
                Seek::Unlabelled => "No further row without a label among the rows shown",
            }),
            Err(problem) => check.refuse(problem),
        }
    });
}

/// A label's name for people.
pub fn name(choice: Choice) -> &'static str {
    match choice {
        Choice::Accept => "Accept",
        Choice::Reject => "Reject",
        Choice::Unsure => "Unsure",
    }
}

fn allowed(check: Check) -> bool {
    let writable = check.writable();
    if !writable {
        check.refuse("This file is open in another tab; labels are given there");
    }
    writable
}

fn mark(check: Check, choice: Choice, note: String) -> Mark {
    let time = js_sys::Date::new_0().to_iso_string().into();
    Mark { choice, note, annotator: check.annotator.get_untracked().trim().to_owned(), time }
}

fn remember(check: Check, brief: &Brief, note: bool) {
    let undo = Undo { row: brief.row, key: brief.key, before: brief.mark.clone(), note };
    check.undo.update(|list| list.push(undo));
}

/// Stores a label, or its absence, and shows it.
fn put(check: Check, row: usize, key: Key, mark: Option<Mark>) {
    check.puts.update_value(|puts| *puts += 1);
    let puts = check.puts.get_value();
    check.window.update(|(_, rows)| {
        for brief in rows.iter_mut().filter(|brief| brief.key == key) {
            brief.mark = mark.clone();
        }
    });
    let sent = mark.clone();
    match check.store.get_value() {
        Some(store) => {
            check.saving.update(|saving| *saving += 1);
            spawn_local(async move {
                if let Err(problem) = store.put(key, mark.as_ref()).await {
                    check.unsaved.set(Some(problem));
                }
                check.saving.update(|saving| *saving -= 1);
            });
        }
        None => check.unsaved.update(|unsaved| {
            unsaved.get_or_insert_with(|| "this browser keeps nothing for this page".into());
        }),
    }
    spawn_local(async move {
        if let Err(problem) = check.worker().ask::<Vec<u32>>("mark", (row, sent)).await {
            check.refuse(problem);
        }
        // Counting looks at every row: once for labels that come in a row.
        let settled = move || {
            if check.puts.get_value() == puts {
                spawn_local(count(check));
            }
        };
        set_timeout(settled, std::time::Duration::from_millis(200));
    });
}
