//! The picture in sight: drawn by the rasteriser that training uses, changed by dragging and by keys, lit up by a thought.

use std::collections::BTreeMap;

use leptos::ev::PointerEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, HtmlInputElement, KeyboardEvent};
use wethink_board::board::{Board, Cell, Change, described};
use wethink_board::trace::{Light, Trace};
use wethink_scenes::{Color, Shape, Size};

use super::state::{Outcome, Scenes, Slot};
use crate::pictures::listed;

/// A board as an address that shows it.
fn drawn(board: &Board) -> String {
    let Ok(scene) = board.drawn() else { return String::new() };
    let bytes: String = scene.draw().png().into_iter().map(char::from).collect();
    // Every letter stands for one byte, which is all that this asks for.
    window().btoa(&bytes).map(|text| format!("data:image/png;base64,{text}")).unwrap_or_default()
}

/// What cells show of a model's thought, as long as it is about what is in sight.
pub fn lights(scenes: Scenes, slot: Slot) -> BTreeMap<Cell, Light> {
    let Some(asked) = scenes.fresh().filter(|asked| asked.board.is_some()) else { return BTreeMap::new() };
    let over = slot.outcome.with(|outcome| matches!(outcome, Outcome::Done(..)));
    slot.think.with(|think| Trace::read(think, over).lights(asked.truth(), over))
}

/// A light in words.
fn said(light: &Light) -> String {
    let mark = match light.mark {
        Some(true) => "✓ ",
        Some(false) => "✗ ",
        None => "",
    };
    let why = if light.why.is_empty() { light.state.name() } else { &light.why };
    format!("{mark}{why}")
}

/// A light for the eye.
#[component]
fn Shown(light: Light) -> impl IntoView {
    let mark = light.mark.map(|mark| if mark { "✓" } else { "✗" });
    let missed = (light.mark.is_none() && !light.why.is_empty()).then_some("?");
    view! {
        <span class=format!("light {}", light.state.name()) title=said(&light) aria-hidden="true">
            <b>{mark.or(missed)}</b>
        </span>
    }
    .into_any()
}

/// The picture that a model was asked about, with its lights, not to be changed.
#[component]
pub fn Lit(scenes: Scenes, of: Slot) -> impl IntoView {
    let board =
        Memo::new(move |_| scenes.asked.with(|asked| asked.as_ref().and_then(|asked| asked.board.clone())));
    let lit = Memo::new(move |_| lights(scenes, of));
    move || {
        let board = board.get()?;
        let (columns, rows) = (board.count().columns, board.count().rows);
        let cells = cells(columns, rows).map(|cell| {
            let light = Memo::new(move |_| lit.with(|lit| lit.get(&cell).cloned()));
            view! { <span class="cell">{move || light.get().map(|light| view! { <Shown light /> })}</span> }
        });
        Some(view! {
            <div class="board small" style=format!("--columns: {columns}; --rows: {rows}")>
                <img class="drawn" src=drawn(&board) alt="" />
                <div class="cells">{cells.collect_view()}</div>
            </div>
        })
    }
}

fn cells(columns: u8, rows: u8) -> impl Iterator<Item = Cell> {
    (1..=rows).flat_map(move |y| (1..=columns).map(move |x| (x, y)))
}

/// The scene, to be changed.
#[component]
pub fn SceneView(scenes: Scenes) -> impl IntoView {
    let grid = Memo::new(move |_| {
        scenes.board.with(|board| board.as_ref().map(|board| (board.count().columns, board.count().rows)))
    });
    let image = Memo::new(move |_| scenes.board.with(|board| board.as_ref().map(drawn).unwrap_or_default()));
    // One thought lights up the picture itself; several have a picture each.
    let lit = Memo::new(move |_| match scenes.chosen()[..] {
        [slot] => lights(scenes, slot),
        _ => BTreeMap::new(),
    });
    let dragged = RwSignal::new(None::<Cell>);
    let press = move |event: PointerEvent| {
        let Some((cell, board)) = under(scenes, &event) else { return };
        scenes.cursor.set(cell);
        scenes.editing.set(true);
        if board.at(cell).is_some() {
            dragged.set(Some(cell));
            hold(&event);
        }
    };
    let drag = move |event: PointerEvent| {
        let Some(from) = dragged.get_untracked() else { return };
        let Some((to, board)) = under(scenes, &event) else { return };
        // Dragging goes round other shapes; only keys and fields change places with them.
        if to != from && board.at(to).is_none() && scenes.edit(|board| board.shift(from, to)) {
            dragged.set(Some(to));
            scenes.cursor.set(to);
        }
    };
    // What follows the pointer has no focus; the cell where it ends takes it.
    let release = move |_: PointerEvent| {
        if dragged.try_update(Option::take).flatten().is_some() {
            go(scenes, scenes.cursor.get_untracked());
        }
    };
    let cell = move |cell: Cell| {
        let light = Memo::new(move |_| lit.with(|lit| lit.get(&cell).cloned()));
        let object = Memo::new(move |_| {
            scenes.board.with(|board| board.as_ref().and_then(|board| board.at(cell).map(described)))
        });
        let here = Memo::new(move |_| scenes.cursor.get() == cell);
        let label = move || {
            let (x, y) = cell;
            let object = object.get().unwrap_or_else(|| "empty".into());
            let light = light.get().map(|light| format!("; {}", said(&light))).unwrap_or_default();
            format!("({x},{y}) {object}{light}")
        };
        view! {
            <button
                type="button"
                class="cell"
                class:full=move || object.get().is_some()
                class:here={move || here.get() && scenes.editing.get()}
                id=id(cell)
                tabindex={move || if here.get() { "0" } else { "-1" }}
                aria-label=label
                aria-pressed=move || here.get().to_string()
                on:click=move |_| scenes.cursor.set(cell)
                on:focus=move |_| scenes.cursor.set(cell)
            >
                {move || light.get().map(|light| view! { <Shown light /> })}
            </button>
        }
    };
    move || {
        let (columns, rows) = grid.get()?;
        Some(view! {
            <div class="board" style=format!("--columns: {columns}; --rows: {rows}")>
                <img class="drawn" src=move || image.get() alt="" draggable="false" />
                <div
                    class="cells"
                    role="group"
                    aria-label=format!("The scene, {columns} columns and {rows} rows")
                    aria-describedby="board-keys"
                    on:pointerdown=press
                    on:pointermove=drag
                    on:pointerup=release
                    on:pointercancel=release
                    on:keydown=move |event| key(scenes, &event)
                >
                    {cells(columns, rows).map(cell).collect_view()}
                </div>
            </div>
        })
    }
}

fn id((x, y): Cell) -> String {
    format!("cell-{x}-{y}")
}

/// The cell under the pointer, with the board it belongs to.
fn under(scenes: Scenes, event: &PointerEvent) -> Option<(Cell, Board)> {
    let board = scenes.board.get_untracked()?;
    let area = event.current_target()?.dyn_into::<Element>().ok()?.get_bounding_client_rect();
    let place = |at: i32, start: f64, length: f64, cells: u8| {
        let part = (f64::from(at) - start) / length.max(1.0) * f64::from(cells);
        part.floor().clamp(0.0, f64::from(cells - 1)) as u8 + 1
    };
    let x = place(event.client_x(), area.left(), area.width(), board.count().columns);
    let y = place(event.client_y(), area.top(), area.height(), board.count().rows);
    Some(((x, y), board))
}

/// Follows the pointer beyond the picture's edge.
fn hold(event: &PointerEvent) {
    if let Some(area) = event.current_target().and_then(|target| target.dyn_into::<Element>().ok()) {
        // A pointer that is gone already is not followed.
        let _ = area.set_pointer_capture(event.pointer_id());
    }
}

/// Goes to a cell.
fn go(scenes: Scenes, cell: Cell) {
    scenes.cursor.set(cell);
    if let Some(button) =
        document().get_element_by_id(&id(cell)).and_then(|found| found.dyn_into::<HtmlElement>().ok())
    {
        // A button in sight takes the focus.
        let _ = button.focus();
    }
}

/// What keys do on the picture.
fn key(scenes: Scenes, event: &KeyboardEvent) {
    if event.ctrl_key() || event.meta_key() || event.alt_key() {
        return;
    }
    let cell = scenes.cursor.get_untracked();
    let Some(board) = scenes.board.get_untracked() else { return };
    let object = board.at(cell);
    let (right, down) = match event.key().as_str() {
        "ArrowLeft" => (-1, 0),
        "ArrowRight" => (1, 0),
        "ArrowUp" => (0, -1),
        "ArrowDown" => (0, 1),
        _ => (0, 0),
    };
    if (right, down) != (0, 0) {
        event.prevent_default();
        let Some(to) = board.step(cell, right, down) else { return };
        if !event.shift_key() || scenes.edit(|board| board.shift(cell, to)) {
            go(scenes, to);
        }
        return;
    }
    let change = |change: Change| scenes.edit(|board| board.change(cell, change));
    let done = match (event.key().as_str(), object) {
        ("Enter" | " ", None) => {
            let (color, shape, size) = scenes.look.get_untracked();
            scenes.edit(|board| board.add(cell, color, shape, size))
        }
        ("Enter" | " ", Some(_)) => {
            scenes.editing.set(true);
            true
        }
        ("Delete" | "Backspace", Some(_)) => remove(scenes, cell),
        ("c", Some(object)) => change(Change::Color(next(Color::ALL, object.color))),
        ("k", Some(object)) => change(Change::Shape(next(Shape::ALL, object.shape))),
        ("s", Some(object)) => change(Change::Size(next(Size::ALL, object.size))),
        _ => return,
    };
    event.prevent_default();
    if done {
        let object = scenes
            .board
            .with_untracked(|board| board.as_ref().and_then(|board| board.at(cell).map(described)));
        scenes.said.set(object.unwrap_or_else(|| "empty".into()));
    }
}

/// Takes a shape away, or says why it stays.
pub fn remove(scenes: Scenes, cell: Cell) -> bool {
    let removed = scenes.edit(|board| board.remove(cell));
    if !removed
        && scenes.board.with_untracked(|board| board.as_ref().is_some_and(|board| board.objects() == 1))
    {
        scenes.refuse("The last shape stays: a scene has one at least");
    }
    removed
}

fn next<T: Copy + PartialEq>(all: &[T], now: T) -> T {
    let at = all.iter().position(|one| *one == now).unwrap_or(0);
    all[(at + 1) % all.len()]
}

/// A photo in place of the scene, with what to expect of the answer.
#[component]
pub fn Photo(scenes: Scenes) -> impl IntoView {
    move || {
        let photo = scenes.photo.get()?;
        let seen = scenes.chosen().first().map(|slot| slot.model.with_value(|model| model.about.clone()));
        Some(view! {
            <div class="photo">
                <img src=photo.url.clone() alt=photo.name.clone() />
                <p class="note">
                    <b>"Do not expect much of this answer. "</b> {seen}
                    " It will see coloured shapes in everything. WeThink-7B reads photos: "
                    <a href="#/ask">"open Ask"</a>
                    ", and under “Another model or device” give the address of its pack, or drop the folder of one. "
                    <code>"trainer export WeThink-Qwen2.5VL-7B --quantize q4"</code>
                    " makes it (6.3 GB) from the published weights."
                </p>
                <button type="button" on:click=move |_| scenes.photo.set(None)>"Back to the scene"</button>
            </div>
        })
    }
}

/// Chooses a photo.
#[component]
pub fn PhotoButton(scenes: Scenes) -> impl IntoView {
    let changed = move |event: web_sys::Event| {
        let input: HtmlInputElement = event_target(&event);
        super::take(scenes, listed(input.files()));
        // The same file may be picked again.
        input.set_value("");
    };
    view! {
        <label class="button">
            "Use a photo"
            <input type="file" accept="image/*" class="unseen" on:change=changed />
        </label>
    }
    .into_any()
}
