//! A run of seeded scenes, and every answer so far.

use leptos::prelude::*;
use web_sys::SubmitEvent;
use wethink_board::tally::{Judged, Tally};

use super::asking::{run, stop};
use super::state::{Outcome, Scenes};
use crate::check::save;

/// Answers in sight; all of them are in the file.
const SHOWN: usize = 100;

/// How many shapes the scenes of a run have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Plan {
    /// As many as a model was trained on, whichever number the scene draws.
    Between([u8; 2]),
    /// Each number in turn.
    InTurn(u8),
    /// As the slider stands.
    Slider,
}

fn plans(scenes: Scenes) -> Vec<(Plan, String)> {
    let mut all: Vec<(Plan, String)> = Vec::new();
    for slot in scenes.slots.get() {
        let [low, high] = slot.model.with_value(|model| model.scenes.objects);
        let plan = Plan::Between([low, high]);
        match all.iter_mut().find(|(other, _)| *other == plan) {
            Some((_, text)) => *text = format!("{text} and {}", slot.label()),
            None => all.push((plan, format!("{low} to {high}, as {}", slot.label()))),
        }
    }
    let most = scenes
        .bundle
        .with(|bundle| bundle.iter().flatten().next().map_or(1, |catalog| catalog.most_objects()));
    all.push((Plan::InTurn(most), format!("1 to {most} in turn")));
    all.push((Plan::Slider, "as the slider stands".into()));
    all
}

/// The form that starts a run, and how far it is.
#[component]
pub fn RunForm(scenes: Scenes) -> impl IntoView {
    let (count, seed, plan) =
        (RwSignal::new("50".to_owned()), RwSignal::new("7".to_owned()), RwSignal::new("0".to_owned()));
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        // The fields admit nothing but whole numbers, and the browser says so.
        let number = |text: RwSignal<String>| text.with_untracked(|text| text.trim().parse::<u64>().ok());
        let index = plan.with_untracked(|plan| plan.parse::<usize>().unwrap_or(0));
        let plan = untrack(move || plans(scenes)).get(index).map(|(plan, _)| *plan);
        let (Some(count), Some(seed), Some(plan)) = (number(count), number(seed), plan) else {
            return scenes.refuse("Number of scenes and seed are whole numbers");
        };
        let slider = scenes.difficulty.get_untracked();
        run(scenes, count, seed, move |index| match plan {
            Plan::Between(range) => range,
            Plan::InTurn(most) => [(index % u64::from(most)) as u8 + 1; 2],
            Plan::Slider => [slider; 2],
        });
    };
    let options = move || {
        let all = plans(scenes).into_iter().enumerate();
        all.map(|(i, (_, text))| view! { <option value=i.to_string()>{text}</option> }).collect_view()
    };
    let going = move || scenes.run.get();
    view! {
        <form class="run" on:submit=submit aria-label="Run">
            <div class="fields">
                <label class="field">
                    <span>"Scenes"</span>
                    <input type="number" name="run-count" min="1" max="2000" step="1" required bind:value=count />
                </label>
                <label class="field">
                    <span>"Seed"</span>
                    <input type="number" name="run-seed" min="0" max="9007199254740991" step="1" required bind:value=seed />
                </label>
                <label class="field wide">
                    <span>"Shapes"</span>
                    <select name="run-plan" bind:value=plan>{options}</select>
                </label>
            </div>
            <div class="row">
                <Show
                    when=move || going().is_some()
                    fallback=move || view! { <button disabled=move || !scenes.ready() || scenes.busy()>"Run these scenes"</button> }
                >
                    <button type="button" on:click=move |_| stop(scenes)>"Stop the run"</button>
                    <progress
                        class="grow"
                        value=move || going().map_or(0, |(done, _)| done).to_string()
                        max=move || going().map_or(1, |(_, all)| all).to_string()
                        aria-label="Scenes of the run"
                    ></progress>
                    <span>{move || going().map(|(done, all)| format!("{done} of {all}"))}</span>
                </Show>
            </div>
            <p class="note">
                "Scenes of the test split, which no training shows. The same seed gives the same scenes, here and by "
                <code>"trainer scenes make"</code> "."
            </p>
        </form>
    }
    .into_any()
}

/// Every answer so far: to look at, to save, to forget.
#[component]
pub fn All(scenes: Scenes) -> impl IntoView {
    let count = move || scenes.answers.with(Vec::len);
    let more = move || count() > SHOWN;
    let keep = move |_| {
        let line = |judged: &Judged| serde_json::to_string(judged).unwrap_or_default() + "\n";
        let text: String = scenes.answers.with_untracked(|answers| answers.iter().map(line).collect());
        save("scenes.jsonl", "application/jsonl", &text);
    };
    let forget = move |_| {
        scenes.answers.set(Vec::new());
        scenes.tally.set(Tally::default());
        scenes.asked.set(None);
        scenes.slots.get_untracked().iter().for_each(|slot| slot.outcome.set(Outcome::Nothing));
        scenes.said.set("The score begins anew".into());
    };
    let label = move |name: &str| {
        let slots = scenes.slots.get();
        slots.iter().find(|slot| slot.name() == name).map(|slot| slot.label()).unwrap_or_default()
    };
    let row = move |judged: Judged| {
        let verdict = if judged.accepted { "✓ right" } else { "✗ wrong" };
        let scene = judged.row.map_or("own".to_owned(), |row| format!("{}/{row}", judged.seed.unwrap_or(0)));
        view! {
            <tr>
                <td>{scene}</td>
                <td>{label(&judged.model)}</td>
                <td>{judged.question}</td>
                <td class="number">{judged.truth}</td>
                <td class={if judged.accepted { "good" } else { "bad" }}>{verdict}</td>
                <td class="number">{format!("{}/{}", judged.seen, judged.objects)}</td>
            </tr>
        }
    };
    let rows = move || {
        scenes
            .answers
            .with(|answers| answers.iter().rev().take(SHOWN).cloned().collect::<Vec<_>>())
            .into_iter()
            .map(row)
            .collect_view()
    };
    view! {
        <Show when=move || count() != 0>
            <details class="all-answers">
                <summary>{move || if count() == 1 { "1 answer".into() } else { format!("{} answers", count()) }}</summary>
                <div class="table" tabindex="0" role="region" aria-label="Answers">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">"Scene"</th><th scope="col">"Model"</th><th scope="col">"Question"</th>
                                <th scope="col">"Truth"</th><th scope="col">"Answer"</th><th scope="col">"Shapes seen"</th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
                <Show when=more><p class="note">{format!("The last {SHOWN} are shown; the file holds all.")}</p></Show>
            </details>
            <div class="row">
                <button type="button" on:click=keep>"Save all answers"</button>
                <button type="button" on:click=forget disabled=move || scenes.busy()>"Begin the score anew"</button>
            </div>
        </Show>
    }
    .into_any()
}
