//! How hard the next scene is, and how often each model was right along the way there.

use leptos::prelude::*;
use wethink_board::tally::Share;

use super::state::{Scenes, Slot};

/// The slider, and the accuracy measured so far along it.
#[component]
pub fn Difficulty(scenes: Scenes) -> impl IntoView {
    let most = Memo::new(move |_| {
        let most = |catalog: &wethink_board::catalog::Catalog| catalog.most_objects();
        scenes.bundle.with(|bundle| bundle.iter().flatten().next().map_or(1, most))
    });
    let slide = move |event: web_sys::Event| {
        if let Ok(objects) = event_target_value(&event).parse() {
            scenes.difficulty.set(objects);
            scenes.shuffle();
        }
    };
    view! {
        <div class="difficulty" style=move || format!("--most: {}", most.get())>
            <label for="difficulty">
                "Shapes in the next scene: " <output for="difficulty">{move || scenes.difficulty.get()}</output>
            </label>
            <input
                type="range"
                id="difficulty"
                min="1"
                max=move || most.get().to_string()
                step="1"
                prop:value=move || scenes.difficulty.get().to_string()
                on:input=slide
                disabled=move || scenes.busy()
            />
            <Chart scenes most />
        </div>
    }
    .into_any()
}

/// A model's answers on scenes of so many shapes, in words.
fn in_words(objects: u8, share: Share) -> String {
    let shapes = if objects == 1 { "shape" } else { "shapes" };
    format!("{objects} {shapes}: {} of {} right", share.right, share.asked)
}

/// A column for each number of shapes: bars of accuracy with their 95 % intervals, and the ranges of training under them.
#[component]
fn Chart(scenes: Scenes, most: Memo<u8>) -> impl IntoView {
    let share = move |slot: &Slot, objects: u8| scenes.tally.with(|tally| tally.at(&slot.name(), objects));
    let told = move || {
        let slots = scenes.slots.get();
        let parts = slots.iter().map(|slot| {
            let all = (1..=most.get()).map(|objects| (objects, share(slot, objects)));
            let all: Vec<String> = all.filter(|(_, s)| s.asked > 0).map(|(n, s)| in_words(n, s)).collect();
            let all = if all.is_empty() { "nothing measured yet".into() } else { all.join(", ") };
            format!("{}: {all}", slot.label())
        });
        format!("Accuracy by number of shapes. {}", parts.collect::<Vec<_>>().join(". "))
    };
    let bars = move |objects: u8| {
        let slots = scenes.slots.get();
        let bars = slots.iter().enumerate().map(|(i, slot)| {
            let share = share(slot, objects);
            let [low, high] = share.interval().map(|end| 100.0 * end);
            let style = format!("--part: {:.1}%; --low: {low:.1}%; --high: {high:.1}%", 100.0 * share.part());
            let some = share.asked > 0;
            let title = format!("{}: {}", slot.label(), in_words(objects, share));
            view! { <span class=format!("bar m{i}") class:none={!some} style=style title=title></span> }
        });
        bars.collect_view()
    };
    let columns = move || {
        let column = |objects: u8| {
            view! {
                <div class="column" class:now={move || scenes.difficulty.get() == objects}>
                    <div class="bars">{move || bars(objects)}</div>
                    <span class="n">{objects}</span>
                </div>
            }
        };
        (1..=most.get()).map(column).collect_view()
    };
    let ranges = move || {
        let slots = scenes.slots.get();
        let range = |(i, slot): (usize, &Slot)| {
            let (label, [low, high], rare) = slot
                .model
                .with_value(|model| (model.label.clone(), model.scenes.objects, model.rare_objects));
            let place =
                |[low, high]: [u8; 2]| format!("grid-column: {low} / {}; grid-row: {}", high + 1, i + 1);
            let rare =
                rare.map(|rare| view! { <span class=format!("range rare m{i}") style=place(rare)></span> });
            view! {
                {rare}
                <span class=format!("range m{i}") style=place([low, high])>{format!("{label} {low}–{high}")}</span>
            }
        };
        slots.iter().enumerate().map(range).collect_view()
    };
    let rare = move || {
        let slots = scenes.slots.get();
        let rare = slots.iter().filter_map(|slot| {
            let (label, rare) = slot.model.with_value(|model| (model.label.clone(), model.rare_objects));
            rare.map(|[low, high]| format!("{label} saw {low} to {high} shapes rarely (pale)."))
        });
        let rare: Vec<String> = rare.collect();
        (!rare.is_empty()).then(|| format!(" {}", rare.join(" ")))
    };
    view! {
        <div class="chart" role="img" aria-label=told>{columns}</div>
        <div class="ranges" aria-hidden="true">{ranges}</div>
        <p class="note">
            "Bars: the share of right answers so far, with 95 % intervals. Below: the numbers of shapes each model was trained on." {rare}
        </p>
    }
    .into_any()
}

/// Who was right how often.
#[component]
pub fn Score(scenes: Scenes) -> impl IntoView {
    let line = move |(i, slot): (usize, &Slot)| {
        let share = scenes.tally.with(|tally| tally.of(&slot.name()));
        let [low, high] = share.interval().map(|end| 100.0 * end);
        let text = match share.asked {
            0 => "nothing asked yet".to_owned(),
            asked => {
                format!(
                    "{} of {asked} right, {:.0} % ({low:.0} to {high:.0} %)",
                    share.right,
                    100.0 * share.part()
                )
            }
        };
        view! { <li><span class=format!("swatch m{i}")></span> <b>{slot.label()}</b> " " <span class="share">{text}</span></li> }
    };
    view! {
        <ul class="score">{move || scenes.slots.get().iter().enumerate().map(line).collect_view()}</ul>
    }
    .into_any()
}
