//! The fields of one shape: everything that dragging and keys do, for whoever prefers fields.

use leptos::prelude::*;
use wethink_board::board::Change;
use wethink_scenes::{Color, Object, Shape, Size};

use super::picture::remove;
use super::state::Scenes;

/// The shape in the chosen cell, or the one that would be put there.
#[component]
pub fn ShapeFields(scenes: Scenes) -> impl IntoView {
    let object = Memo::new(move |_| {
        let cell = scenes.cursor.get();
        scenes.board.with(|board| board.as_ref().and_then(|board| board.at(cell).cloned()))
    });
    let grid = Memo::new(move |_| {
        scenes
            .board
            .with(|board| board.as_ref().map_or((1, 1), |board| (board.count().columns, board.count().rows)))
    });
    let look = move || {
        object
            .get()
            .map_or_else(|| scenes.look.get(), |Object { color, shape, size, .. }| (color, shape, size))
    };
    let change = move |change: Change| {
        scenes.look.update(|look| match change {
            Change::Color(color) => look.0 = color,
            Change::Shape(shape) => look.1 = shape,
            Change::Size(size) => look.2 = size,
        });
        if object.with_untracked(Option::is_some) {
            let cell = scenes.cursor.get_untracked();
            scenes.edit(|board| board.change(cell, change));
        }
    };
    let shift = move |to: (u8, u8)| {
        let from = scenes.cursor.get_untracked();
        if object.with_untracked(Option::is_none) || scenes.edit(|board| board.shift(from, to)) {
            scenes.cursor.set(to);
        }
    };
    let add = move |_| {
        let (cell, (color, shape, size)) = (scenes.cursor.get_untracked(), scenes.look.get_untracked());
        scenes.edit(|board| board.add(cell, color, shape, size));
    };
    let act = move || {
        if object.with(Option::is_some) {
            view! { <button type="button" on:click=move |_| { remove(scenes, scenes.cursor.get_untracked()); }>"Remove"</button> }.into_any()
        } else {
            view! { <button type="button" on:click=add>"Add a shape here"</button> }.into_any()
        }
    };
    let column = move || view! { <Number label="Column" most={grid.get().0} now={Signal::derive(move || scenes.cursor.get().0)} set={move |x| shift((x, scenes.cursor.get_untracked().1))} /> };
    let row = move || view! { <Number label="Row" most={grid.get().1} now={Signal::derive(move || scenes.cursor.get().1)} set={move |y| shift((scenes.cursor.get_untracked().0, y))} /> };
    view! {
        <details class="shape" prop:open=move || scenes.editing.get() on:toggle=move |event| scenes.editing.set(open(&event))>
            <summary>"Change the scene"</summary>
            <p class="note" id="board-keys">
                "Drag shapes to other cells. With keys: arrows walk, Shift and arrows move a shape, Enter adds one, Delete removes it, C, K and S change colour, kind and size."
            </p>
            <div class="fields">
                <Words label="Colour" all={Color::ALL.iter().map(|c| (*c, c.word())).collect()} now={Signal::derive(move || look().0)} set=move |color| change(Change::Color(color)) />
                <Words label="Kind" all={Shape::ALL.iter().map(|s| (*s, s.word())).collect()} now={Signal::derive(move || look().1)} set=move |shape| change(Change::Shape(shape)) />
                <Words label="Size" all={Size::ALL.iter().map(|s| (*s, s.word())).collect()} now={Signal::derive(move || look().2)} set=move |size| change(Change::Size(size)) />
                {column}
                {row}
            </div>
            <div class="row">{act}</div>
        </details>
    }
    .into_any()
}

fn open(event: &web_sys::Event) -> bool {
    event_target::<web_sys::HtmlDetailsElement>(event).open()
}

/// One of several words.
#[component]
pub fn Words<T: Copy + PartialEq + Send + Sync + 'static>(
    label: &'static str,
    all: Vec<(T, &'static str)>,
    now: Signal<T>,
    set: impl Fn(T) + 'static,
) -> impl IntoView {
    let values: Vec<T> = all.iter().map(|(value, _)| *value).collect();
    let chosen = move |event: web_sys::Event| {
        let index: Option<usize> = event_target_value(&event).parse().ok();
        if let Some(value) = index.and_then(|index| values.get(index)) {
            set(*value);
        }
    };
    let options = all.into_iter().enumerate().map(|(index, (value, word))| {
        view! { <option value=index.to_string() prop:selected={move || now.get() == value}>{word}</option> }
    });
    view! {
        <label class="field">
            <span>{label}</span>
            <select on:change=chosen>{options.collect_view()}</select>
        </label>
    }
    .into_any()
}

/// A number from 1.
#[component]
fn Number(label: &'static str, most: u8, now: Signal<u8>, set: impl Fn(u8) + 'static) -> impl IntoView {
    const NUMBERS: [&str; 9] = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let all = (1..=most).zip(NUMBERS).collect();
    view! { <Words label all now set /> }
}
