//! The question: from menus, or in words that are read back into them.

use leptos::prelude::*;
use web_sys::SubmitEvent;
use wethink_scenes::{Color, Count, CountQuestion, Filter, Relation, Shape, Side, Size};

use super::asking::{ask, question, stop, understood};
use super::shape::Words;
use super::state::Scenes;

/// The question with its menus, ask and stop.
#[component]
pub fn QuestionForm(scenes: Scenes) -> impl IntoView {
    let submit = move |event: SubmitEvent| {
        event.prevent_default();
        ask(scenes);
    };
    let typed = move |event: web_sys::Event| {
        let text = event_target_value(&event);
        if let Some(question) =
            CountQuestion::read(&text).filter(|_| scenes.photo.with_untracked(Option::is_none))
        {
            scenes.edit(|board| {
                board.ask(question);
                true
            });
        }
        scenes.typed.set(Some(text));
    };
    let photo = move || scenes.photo.with(Option::is_some);
    view! {
        <form class="ask" on:submit=submit aria-label="Question">
            <Show when=move || !photo()><Menus scenes /></Show>
            <label class="field">
                <span>"Question"</span>
                <input type="text" name="scene-question" autocomplete="off" prop:value=move || question(scenes) on:input=typed />
            </label>
            <Notes scenes />
            <p class="error" role="alert" hidden=move || scenes.notice.with(Option::is_none)>{move || scenes.notice.get()}</p>
            <div class="row">
                <Show
                    when=move || scenes.busy()
                    fallback=move || view! { <button class="primary" disabled=move || !scenes.ready()>"Ask"</button> }
                >
                    <button type="button" class="primary" on:click=move |_| stop(scenes)>"Stop"</button>
                </Show>
            </div>
        </form>
    }
    .into_any()
}

/// What can be said of the question before it is asked.
#[component]
fn Notes(scenes: Scenes) -> impl IntoView {
    let problem =
        move || scenes.board.with(|board| board.as_ref()?.scene().err()).filter(|_| understood(scenes));
    let unknown = move || scenes.photo.with(Option::is_none) && !understood(scenes);
    let unseen = move || {
        let slots = scenes.chosen();
        let lists = slots.into_iter().filter_map(|slot| {
            let model = slot.model.get_value();
            let all = scenes.board.with(|board| board.as_ref().map(|board| board.unseen(&model)))?;
            let known = scenes.photo.with(Option::is_none) && !all.is_empty();
            known.then(|| view! { <p class="note unseen-by">{format!("Beyond what {} was trained on: {}.", model.label, all.join(", "))}</p> })
        });
        lists.collect_view()
    };
    view! {
        {move || problem().map(|problem| view! { <p class="error">"This cannot be asked: " {problem.problem} "."</p> })}
        <Show when=unknown>
            <p class="note">
                "The page does not know the answer to this: it understands questions such as “How many red circles are there?”. It is asked all the same, and not counted."
            </p>
        </Show>
        {unseen}
    }
    .into_any()
}

const WORDINGS: [&str; Count::WORDINGS as usize] = [
    "How many … are there?",
    "Count the ….",
    "What is the number of …?",
    "How many … do you see?",
    "Tell me how many ….",
];

/// Colour, kind, size, side and wording.
#[component]
fn Menus(scenes: Scenes) -> impl IntoView {
    let now = Memo::new(move |_| {
        scenes.board.with(|board| board.as_ref().map(|board| board.count().question).unwrap_or_default())
    });
    let change = move |change: &dyn Fn(&mut CountQuestion)| {
        let mut question = now.get_untracked();
        change(&mut question);
        scenes.typed.set(None);
        scenes.edit(|board| {
            board.ask(question);
            true
        });
    };
    let side = Signal::derive(move || now.get().relation.map(|relation| relation.side));
    let sided = move |side: Option<Side>| {
        // A shape that is the only one of its look, where there is one.
        let of = scenes.board.with_untracked(|board| board.as_ref().and_then(|board| only(board.count())));
        change(&|question: &mut CountQuestion| {
            let of = question.relation.map(|relation| relation.of).or(of).unwrap_or_default();
            question.relation = side.map(|side| Relation { side, of });
        });
    };
    let sides =
        [(None, "anywhere")].into_iter().chain(Side::ALL.iter().map(|side| (Some(*side), side.word())));
    let wordings = (0..Count::WORDINGS).zip(WORDINGS).collect();
    let of = Signal::derive(move || now.get().relation.map(|relation| relation.of).unwrap_or_default());
    let of_what = move |filter: Filter| {
        change(&|question: &mut CountQuestion| {
            if let Some(relation) = &mut question.relation {
                relation.of = filter;
            }
        });
    };
    view! {
        <div class="fields">
            <Looks names=["Colour", "Kind", "Size"] now={Signal::derive(move || now.get().filter)} set={move |filter| change(&|question| question.filter = filter)} />
            <Words label="Where" all={sides.collect()} now=side set=sided />
            <Show when=move || side.get().is_some()>
                <Looks names=["… the: colour", "kind", "size"] now=of set=of_what />
            </Show>
            <Words label="Wording" all=wordings now={Signal::derive(move || now.get().wording)} set={move |wording| change(&|question| question.wording = wording)} />
        </div>
    }
    .into_any()
}

/// Colour, kind and size of what is meant.
#[component]
fn Looks(
    names: [&'static str; 3],
    now: Signal<Filter>,
    set: impl Fn(Filter) + Copy + 'static,
) -> impl IntoView {
    let [color, shape, size] = names;
    let with = move |change: &dyn Fn(&mut Filter)| {
        let mut filter = now.get_untracked();
        change(&mut filter);
        set(filter);
    };
    view! {
        <Words label=color all={or_any(Color::ALL, Color::word)} now={Signal::derive(move || now.get().color)} set={move |color| with(&|filter| filter.color = color)} />
        <Words label=shape all={or_any(Shape::ALL, Shape::word)} now={Signal::derive(move || now.get().shape)} set={move |shape| with(&|filter| filter.shape = shape)} />
        <Words label=size all={or_any(Size::ALL, Size::word)} now={Signal::derive(move || now.get().size)} set={move |size| with(&|filter| filter.size = size)} />
    }
    .into_any()
}

fn or_any<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> Vec<(Option<T>, &'static str)> {
    [(None, "any")].into_iter().chain(all.iter().map(|value| (Some(*value), word(*value)))).collect()
}

/// Colour and kind of a shape that no other shares, or all three attributes of one.
fn only(count: &Count) -> Option<Filter> {
    let names =
        count.objects.iter().map(|o| Filter { color: Some(o.color), shape: Some(o.shape), size: None });
    let whole = count.objects.iter().map(|o| Filter {
        color: Some(o.color),
        shape: Some(o.shape),
        size: Some(o.size),
    });
    let alone = |name: &Filter| count.objects.iter().filter(|object| name.matches(object)).count() == 1;
    names.chain(whole).find(alone)
}
