//! Random scenes of Task A.
//!
//! Answers would be mostly 0 and 1 if questions were drawn blindly. Several are drawn for one scene, grouped by their answer,
//! and the answer is drawn first; 0 is kept in one case of four.
//!
//! Where the settings say how many attributes questions name, question and answer come first and the objects are drawn to
//! fit them: no answer is likelier than another, so that guessing one is worth little, and half of the objects that do not
//! count have something that is asked about.

use std::collections::BTreeMap;

use crate::count::{Color, Count, CountQuestion, Filter, Object, Relation, Shape, Side, Size};
use crate::draws::Draws;
use crate::{Frame, Pair, Settings};

const QUESTIONS: usize = 40;
/// Percentage of objects that are a held-out pair, where such pairs are to be shown.
const HELD_OUT_SHARE: u8 = 40;

/// A scene, or none where the draws left no pair or no question; the caller draws again.
pub(crate) fn make(settings: &Settings, frame: Frame, draws: &mut Draws) -> Option<Count> {
    let (columns, rows) = Count::grid(frame.width, frame.height, settings.cell);
    if let Some(asked) = settings.asked {
        let (objects, question) = asked_first(settings, asked, columns, rows, draws)?;
        return Some(Count { frame, columns, rows, objects, question });
    }
    let objects = objects(settings, columns, rows, draws)?;
    let mut scene = Count { frame, columns, rows, objects, question: CountQuestion::default() };
    let related = draws.percent(settings.relations);
    let mut by_answer = questions(settings, &mut scene, related, draws);
    if related && by_answer.is_empty() {
        by_answer = questions(settings, &mut scene, false, draws);
    }
    if by_answer.len() > 1 && !draws.percent(25) {
        by_answer.remove(&0);
    }
    let answers: Vec<u32> = by_answer.keys().copied().collect();
    if answers.is_empty() {
        return None;
    }
    let answer = draws.pick(&answers);
    scene.question = *draws.pick(&by_answer[answer]);
    Some(scene)
}

/// Questions that may be asked of a scene, by their answers.
fn questions(
    settings: &Settings,
    scene: &mut Count,
    related: bool,
    draws: &mut Draws,
) -> BTreeMap<u32, Vec<CountQuestion>> {
    let mut by_answer = BTreeMap::<u32, Vec<CountQuestion>>::new();
    for _ in 0..QUESTIONS {
        scene.question = question(settings, scene, draws);
        if related {
            scene.question.relation = relation(scene, draws);
        }
        if related == scene.question.relation.is_some() && plain(scene) && shows_held_out(settings, scene) {
            let answer = scene.objects.iter().filter(|object| scene.counts(object)).count() as u32;
            by_answer.entry(answer).or_default().push(scene.question);
        }
    }
    by_answer
}

/// What an object looks like.
type Look = (Pair, Size);

/// A question about one, two or three attributes, by these weights, and objects of which any number may count, from none to all.
fn asked_first(
    settings: &Settings,
    weights: [u8; 3],
    columns: u8,
    rows: u8,
    draws: &mut Draws,
) -> Option<(Vec<Object>, CountQuestion)> {
    let cells = cells(settings, columns, rows, draws);
    let (looks, likes) = looks(settings);
    let like = (!likes.is_empty()).then(|| *draws.pick(&likes))?;
    let filter = filter_like(like, weights, draws);
    let (counted, others): (Vec<Look>, Vec<Look>) =
        looks.into_iter().partition(|look| shared(&filter, look) == filter.named());
    let near: Vec<Look> = others.iter().copied().filter(|look| shared(&filter, look) > 0).collect();

    let answer: u8 = draws.between(settings.show_held_out.into(), cells.len() as u8);
    let mut objects = Vec::new();
    for (i, &cell) in cells.iter().enumerate() {
        let from = match i < answer.into() {
            true if i == 0 && settings.show_held_out => &vec![like],
            true => &counted,
            false if !near.is_empty() && draws.percent(50) => &near,
            false => &others,
        };
        let look = (!from.is_empty()).then(|| *draws.pick(from))?;
        objects.push(object(cell, look, draws));
    }
    let wording = draws.between(0, settings.wordings - 1);
    Some((objects, CountQuestion { filter, relation: None, wording }))
}

/// What objects may look like, and of these what a question may be about: held-out pairs are in neither, or all questions are about
/// one.
fn looks(settings: &Settings) -> (Vec<Look>, Vec<Look>) {
    let sized = |pair: Pair| Size::ALL.iter().map(move |&size| (pair, size));
    let (colors, shapes) = (&Color::ALL[..settings.colors.into()], &Shape::ALL[..settings.shapes.into()]);
    let pairs = colors.iter().flat_map(|&color| shapes.iter().map(move |&shape| Pair { color, shape }));
    let seen: Vec<Look> = pairs.filter(|pair| !settings.held_out.contains(pair)).flat_map(sized).collect();
    if !settings.show_held_out {
        return (seen.clone(), seen);
    }
    let held_out: Vec<Look> = settings.held_out.iter().copied().flat_map(sized).collect();
    ([seen, held_out.clone()].concat(), held_out)
}

/// A filter that a look passes.
fn filter_like((Pair { color, shape }, size): Look, weights: [u8; 3], draws: &mut Draws) -> Filter {
    let [one, two, three] = weights.map(u32::from);
    let drawn = draws.below(one + two + three);
    let named = 1 + usize::from(drawn >= one) + usize::from(drawn >= one + two);
    let asked = draws.some(&[0, 1, 2], named);
    Filter {
        color: asked.contains(&0).then_some(color),
        shape: asked.contains(&1).then_some(shape),
        size: asked.contains(&2).then_some(size),
    }
}

/// How many of the attributes that a filter names a look has.
fn shared(filter: &Filter, &(Pair { color, shape }, size): &Look) -> usize {
    let same =
        [filter.color.map(|c| c == color), filter.shape.map(|s| s == shape), filter.size.map(|s| s == size)];
    same.into_iter().flatten().filter(|&same| same).count()
}

/// The cells of a scene's objects, in random order.
fn cells(settings: &Settings, columns: u8, rows: u8, draws: &mut Draws) -> Vec<(u8, u8)> {
    // Without a share of crowded scenes nothing is drawn for it: such settings give the scenes they always gave.
    let crowded = settings.crowded > 0 && draws.percent(settings.crowded);
    let [low, high] = if crowded { settings.crowd } else { settings.objects };
    let cells: Vec<(u8, u8)> = (1..=rows).flat_map(|y| (1..=columns).map(move |x| (x, y))).collect();
    let n: u8 = draws.between(low, high);
    draws.some(&cells, n.into())
}

/// An object somewhere in its cell.
fn object((x, y): (u8, u8), (Pair { color, shape }, size): Look, draws: &mut Draws) -> Object {
    let reach = size.reach() as i8;
    let shift = [draws.between(-reach, reach), draws.between(-reach, reach)];
    Object { x, y, color, shape, size, shift }
}

/// Objects in cells of their own, from a palette of this scene: few colours and shapes make large answers possible.
fn objects(settings: &Settings, columns: u8, rows: u8, draws: &mut Draws) -> Option<Vec<Object>> {
    let cells = cells(settings, columns, rows, draws);
    let colors = palette(&Color::ALL[..settings.colors.into()], draws);
    let shapes = palette(&Shape::ALL[..settings.shapes.into()], draws);
    let pairs = colors.iter().flat_map(|&color| shapes.iter().map(move |&shape| Pair { color, shape }));
    let seen: Vec<Pair> = pairs.filter(|pair| !settings.held_out.contains(pair)).collect();
    let place = |(i, &cell): (usize, &(u8, u8))| {
        let held_out = settings.show_held_out && (i == 0 || draws.percent(HELD_OUT_SHARE));
        let from = if held_out { &settings.held_out } else { &seen };
        if from.is_empty() {
            return None;
        }
        let look = (*draws.pick(from), *draws.pick(Size::ALL));
        Some(object(cell, look, draws))
    };
    cells.iter().enumerate().map(place).collect()
}

/// At least two of the values, where there are two.
fn palette<T: Copy>(all: &[T], draws: &mut Draws) -> Vec<T> {
    let few = all.len().min(2) as u32;
    let n = draws.between(few, all.len() as u32);
    draws.some(all, n as usize)
}

/// A question about attributes of one object of the scene, sometimes with one attribute exchanged.
fn question(settings: &Settings, scene: &Count, draws: &mut Draws) -> CountQuestion {
    let like = draws.pick(&scene.objects).clone();
    let mut filter = Filter {
        color: draws.percent(55).then_some(like.color),
        shape: draws.percent(55).then_some(like.shape),
        size: draws.percent(15).then_some(like.size),
    };
    if draws.percent(15) {
        filter.color = filter.color.map(|_| draws.pick(&scene.objects).color);
    }
    if filter == Filter::default() {
        filter.color = Some(like.color);
    }
    CountQuestion { filter, relation: None, wording: draws.between(0, settings.wordings - 1) }
}

/// A side of an object that few words tell from all others.
fn relation(scene: &Count, draws: &mut Draws) -> Option<Relation> {
    let of = draws.pick(&scene.objects);
    let side = *draws.pick(Side::ALL);
    let (color, shape, size) = (Some(of.color), Some(of.shape), Some(of.size));
    let mut names = [
        Filter { color, shape, size: None },
        Filter { color: None, shape, size: None },
        Filter { color: None, shape, size },
    ];
    draws.shuffle(&mut names);
    let unique = |name: &Filter| scene.objects.iter().filter(|object| name.matches(object)).count() == 1;
    names.into_iter().find(unique).map(|of| Relation { side, of })
}

/// No object that the filter matches stands level with the referent: a person would argue about it.
fn plain(scene: &Count) -> bool {
    let Some(relation) = &scene.question.relation else { return true };
    let Some(of) = scene.referent(relation) else { return false };
    let others = scene.objects.iter().filter(|object| (object.x, object.y) != (of.x, of.y));
    others.filter(|object| scene.question.filter.matches(object)).all(|object| !relation.level(object, of))
}

/// Where held-out pairs are to be shown, the answer depends on one.
fn shows_held_out(settings: &Settings, scene: &Count) -> bool {
    let held_out = |o: &Object| settings.held_out.contains(&Pair { color: o.color, shape: o.shape });
    !settings.show_held_out || scene.objects.iter().any(|object| scene.counts(object) && held_out(object))
}
