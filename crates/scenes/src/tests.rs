//! What every scene keeps, whatever its task. Answers are found a second time here, from the question's words and the
//! scene's JSON, by code that shares nothing with the crate's own.

mod draws_of_counts;
mod pixels;
mod verifier;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Content, Count, Pair, Row, Scene, SceneError, Settings, SettingsError, Split, Task};

pub(crate) fn scenes(settings: &Settings, seed: u64, n: u64) -> Vec<Scene> {
    (0..n).map(|i| settings.scene(seed, i).expect("the settings have scenes")).collect()
}

pub(crate) fn of_task(task: Task) -> Settings {
    Settings { tasks: vec![task], ..Settings::default() }
}

/// The one content of a scene's JSON.
fn shown(scene: &Scene) -> Value {
    let json = serde_json::to_value(scene).expect("a scene is JSON");
    json.as_object().and_then(|content| content.values().next()).expect("one content").clone()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

/// The attributes named by a phrase like "large red circles".
fn attributes(phrase: &str) -> Vec<(&'static str, String)> {
    let kinds = [
        ("size", "small large"),
        ("color", "red blue green yellow purple orange"),
        ("shape", "circle square triangle star cross diamond"),
    ];
    let words = phrase.split([' ', '?', '.']).filter(|word| !word.is_empty());
    let singular = words.map(|word| match word.strip_suffix('s') {
        Some(_) if word.starts_with("cross") => "cross",
        Some(one) => one,
        None => word,
    });
    singular
        .flat_map(|word| {
            let kind = kinds.iter().find(|(_, words)| words.split(' ').any(|w| w == word));
            kind.map(|(kind, _)| (*kind, word.to_owned()))
        })
        .collect()
}

/// Counts by the words of the question.
fn count_again(scene: &Scene) -> i64 {
    let (question, json) = (scene.question(), shown(scene));
    let objects = json["objects"].as_array().expect("objects");
    let has =
        |object: &Value, wanted: &[(&str, String)]| wanted.iter().all(|(kind, word)| object[kind] == **word);
    let side = ["left of", "right of", "above", "below"].into_iter().find(|side| question.contains(side));
    let Some(side) = side else {
        let wanted = attributes(&question);
        return objects.iter().filter(|object| has(object, &wanted)).count() as i64;
    };
    let (what, of) = question.split_once(side).expect("the side is in the question");
    let (what, of) = (attributes(what), attributes(of));
    let referents: Vec<&Value> = objects.iter().filter(|object| has(object, &of)).collect();
    assert_eq!(referents.len(), 1, "{question}");
    let (x, y) = (number(&referents[0]["x"]), number(&referents[0]["y"]));
    let beside = |object: &&Value| match side {
        "left of" => number(&object["x"]) < x,
        "right of" => number(&object["x"]) > x,
        "above" => number(&object["y"]) < y,
        _ => number(&object["y"]) > y,
    };
    objects.iter().filter(|object| has(object, &what)).filter(beside).count() as i64
}

#[test]
fn a_second_counter_agrees_with_every_count() {
    for scene in scenes(&Settings { objects: [3, 16], ..of_task(Task::A) }, 1, 2000) {
        assert_eq!(scene.answer(), count_again(&scene).to_string(), "{scene:?}");
    }
}

#[test]
fn a_second_reader_agrees_with_every_sum_chart_clock_and_throw() {
    let settings = Settings { tasks: vec![Task::B, Task::D], ..Settings::default() };
    let mut kinds = BTreeSet::new();
    for scene in scenes(&settings, 2, 2000) {
        let (json, question) = (shown(&scene), scene.question());
        let again = match scene.category() {
            "sum" => {
                let digits = |row: &Value| -> String {
                    row.as_array().expect("cards").iter().map(|card| card["digit"].to_string()).collect()
                };
                let value = |row: &Value| digits(row).parse::<i64>().expect("digits");
                json["numbers"].as_array().expect("rows").iter().map(value).sum::<i64>().to_string()
            }
            "dice" => json["dice"]
                .as_array()
                .expect("dice")
                .iter()
                .map(|d| number(&d["pips"]))
                .sum::<i64>()
                .to_string(),
            "clock" => format!("{}:{:02}", number(&json["hour"]), number(&json["minute"])),
            _ => chart_again(&json, &question),
        };
        assert_eq!(scene.answer(), again, "{question} {json}");
        kinds.insert(scene.category());
    }
    assert_eq!(kinds, BTreeSet::from(["sum", "chart", "clock", "dice"]));
}

fn chart_again(json: &Value, question: &str) -> String {
    let bars = json["bars"].as_array().expect("bars");
    let mut by_value: Vec<_> =
        bars.iter().map(|bar| (number(&bar["value"]), bar["color"].as_str().expect("a colour"))).collect();
    by_value.sort();
    let named: Vec<i64> =
        by_value.iter().filter(|(_, color)| question.contains(color)).map(|b| b.0).collect();
    match named[..] {
        [value] => value.to_string(),
        [a, b] if question.contains("sum") => (a + b).to_string(),
        [a, b] => (b - a).to_string(),
        _ if question.contains("tallest") => by_value.last().expect("bars").1.to_owned(),
        _ => by_value[0].1.to_owned(),
    }
}

/// Cells reached by breadth, over an adjacency built from the JSON.
#[test]
fn every_maze_is_walked_by_its_answer_on_a_shortest_path() {
    for scene in scenes(&of_task(Task::C), 3, 500) {
        let json = shown(&scene);
        let (columns, rows) = (number(&json["columns"]), number(&json["rows"]));
        let mut open = BTreeSet::new();
        for y in 1..=rows {
            for x in 1..=columns {
                let walls = number(&json["walls"][((y - 1) * columns + x - 1) as usize]);
                for (next, shut) in [((x + 1, y), walls % 2 == 1), ((x, y + 1), walls >= 2)] {
                    if !shut && next.0 <= columns && next.1 <= rows {
                        open.extend([((x, y), next), (next, (x, y))]);
                    }
                }
            }
        }
        let cell = |name: &str| (number(&json[name][0]), number(&json[name][1]));
        let (mut far, mut queue) = (BTreeMap::from([(cell("start"), 0)]), VecDeque::from([cell("start")]));
        while let Some(from) = queue.pop_front() {
            for &(_, to) in
                open.iter().filter(|(a, b)| *a == from && !far.contains_key(b)).collect::<Vec<_>>()
            {
                far.insert(to, far[&from] + 1);
                queue.push_back(to);
            }
        }
        let (mut at, answer) = (cell("start"), scene.answer());
        for letter in answer.split(' ') {
            let next = match letter {
                "U" => (at.0, at.1 - 1),
                "D" => (at.0, at.1 + 1),
                "L" => (at.0 - 1, at.1),
                "R" => (at.0 + 1, at.1),
                other => panic!("{other}"),
            };
            assert!(open.contains(&(at, next)), "{answer}: a wall between {at:?} and {next:?} in {json}");
            at = next;
        }
        assert_eq!(at, cell("goal"));
        assert_eq!(answer.split(' ').count(), far[&at], "a shorter path exists");
        assert!(scene.thought().ends_with(&format!("({},{})", at.0, at.1)));
    }
}

/// Platforms are compared by this number, and `tests/` compares WASM with it picture by picture.
#[test]
fn pictures_and_rows_are_these_bytes_on_every_platform() {
    let settings = Settings { clutter: 6, noise: 9, ..Settings::default() };
    let mut hash = Sha256::new();
    for (i, scene) in scenes(&settings, 7, 64).into_iter().enumerate() {
        hash.update(scene.draw().png());
        hash.update(Row::new(scene, format!("images/{i}.png")).to_json());
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "b91672191e3e9774efc075d882366e7721c3701a18b8d184cdb0028470077a99");
}

#[test]
fn splits_share_no_content_whatever_the_seed() {
    let mut owner = BTreeMap::new();
    for (seed, split) in [(1, Split::Train), (2, Split::Val), (3, Split::Test), (4, Split::Train)] {
        for scene in scenes(&Settings { split: Some(split), ..Settings::default() }, seed, 1200) {
            assert_eq!(scene.split(), split);
            let before = owner.insert(scene.content_hash(), split);
            assert!(before.is_none_or(|before| before == split), "{scene:?} in {before:?} and {split:?}");
        }
    }
    let test = scenes(&of_task(Task::A), 5, 3000).iter().filter(|s| s.split() == Split::Test).count();
    assert!((240..360).contains(&test), "{test} of 3,000 scenes are for the test");
}

#[test]
fn the_hash_is_of_what_is_shown_not_of_how() {
    let scene = &scenes(&of_task(Task::A), 6, 1)[0];
    let Content::Count(count) = scene.content() else { panic!("task A") };
    let hash = |change: &dyn Fn(&mut Count)| {
        let mut count = count.clone();
        change(&mut count);
        Scene::new(Content::Count(count)).expect("still a scene").content_hash()
    };
    assert_eq!(hash(&|_| ()), scene.content_hash());
    assert_eq!(hash(&|c| c.frame.noise = 3), scene.content_hash());
    assert_eq!(hash(&|c| c.question = Default::default()), scene.content_hash());
    assert_eq!(hash(&|c| c.objects.reverse()), scene.content_hash());
    assert_eq!(hash(&|c| c.objects[0].shift = [0, 1]), scene.content_hash());
    let fewer = |c: &mut Count| {
        c.question = Default::default();
        c.objects.truncate(2);
    };
    assert_ne!(hash(&fewer), scene.content_hash());
}

#[test]
fn settings_are_kept() {
    let pairs: Vec<Pair> = ["red-circle", "blue-star"].map(|p| p.parse().expect("a pair")).into();
    let base = Settings { held_out: pairs.clone(), objects: [5, 9], sides: [120, 150], ..of_task(Task::A) };
    for show_held_out in [false, true] {
        let settings = Settings { show_held_out, ..base.clone() };
        for scene in scenes(&settings, 8, 300) {
            let Content::Count(count) = scene.content() else { panic!("task A") };
            assert!((5..=9).contains(&count.objects.len()));
            assert!((120..=150).contains(&count.frame.width) && (120..=150).contains(&count.frame.height));
            let held_out = |o: &&crate::Object| pairs.contains(&Pair { color: o.color, shape: o.shape });
            assert_eq!(count.objects.iter().any(|o| held_out(&o)), show_held_out);
            let counted = count.objects.iter().filter(|o| count.counts(o)).any(|o| held_out(&o));
            assert_eq!(counted, show_held_out, "the answer depends on a held-out pair");
        }
    }
    let sides = |s: &Scene| (s.draw().width(), s.draw().height());
    let square = scenes(&Settings { square: true, ..Settings::default() }, 9, 50);
    assert!(square.iter().all(|scene| sides(scene).0 == sides(scene).1));
    assert!(scenes(&Settings::default(), 9, 50).iter().any(|scene| sides(scene).0 != sides(scene).1));
}

#[test]
fn answers_are_spread_and_referents_are_never_level_with_what_is_counted() {
    let mut answers = BTreeMap::<String, usize>::new();
    let mut related = 0;
    for scene in scenes(&of_task(Task::A), 10, 2000) {
        *answers.entry(scene.answer()).or_default() += 1;
        let Content::Count(count) = scene.content() else { panic!("task A") };
        let Some(relation) = count.question.relation else { continue };
        related += 1;
        let of = count.referent(&relation).expect("a referent");
        for object in count.objects.iter().filter(|o| *o != of && count.question.filter.matches(o)) {
            assert!(!relation.level(object, of), "{scene:?}");
        }
    }
    let share = |answer: &str| answers[answer] as f64 / 2000.0;
    assert!(share("0") < 0.15 && share("1") < 0.45 && share("3") > 0.1 && answers.len() >= 7, "{answers:?}");
    assert!((400..=900).contains(&related), "{related} of 2,000 questions have a relation");
}

#[test]
fn json_is_read_back_and_checked() {
    for scene in scenes(&Settings::default(), 11, 60) {
        let row = Row::new(scene, "images/0.png".into());
        assert_eq!(serde_json::from_str::<Row>(&row.to_json()).expect("a row"), row);
    }
    let frame = json!({"width": 112, "height": 112});
    let circle = json!({"x": 1, "y": 1, "color": "red", "shape": "circle", "size": "large"});
    let count = |objects: Value, question: Value| json!({"count": {"frame": frame, "columns": 5, "rows": 5, "objects": objects, "question": question}});
    serde_json::from_value::<Scene>(count(json!([circle]), json!({}))).expect("a scene made by hand");
    let cases = [
        (count(json!([]), json!({})), "objects"),
        (count(json!([circle, circle]), json!({})), "two objects at (1,1)"),
        (count(json!([circle]), json!({"wording": 9})), "question.wording"),
        (count(json!([circle]), json!({"relation": {"side": "left", "of": {"color": "blue"}}})), "0 objects"),
        (count(json!([circle]), json!({"color": "red"})), "unknown field"),
        (json!({"clock": {"frame": frame, "hour": 13, "minute": 0}}), "hour"),
        (json!({"clock": {"frame": {"width": 9, "height": 112}, "hour": 1, "minute": 0}}), "frame.width"),
        (json!({"dice": {"frame": frame, "dice": [{"pips": 7}, {"pips": 1}]}}), "dice"),
        (json!({"sum": {"frame": frame, "numbers": [[{"digit": 1}]]}}), "numbers"),
        (
            json!({"sum": {"frame": frame, "numbers": [[{"digit": 0}, {"digit": 1}], [{"digit": 1}]]}}),
            "begins with 0",
        ),
        (
            json!({"chart": {"frame": frame, "bars": [{"color": "red", "value": 3}, {"color": "blue", "value": 3}], "question": "tallest"}}),
            "question",
        ),
        (
            json!({"maze": {"frame": frame, "columns": 2, "rows": 2, "walls": [3, 3, 3, 3], "start": [1, 1], "goal": [2, 2]}}),
            "no path",
        ),
        (
            json!({"maze": {"frame": frame, "columns": 2, "rows": 2, "walls": [0, 0, 0], "start": [1, 1], "goal": [2, 2]}}),
            "walls",
        ),
        (
            json!({"maze": {"frame": frame, "columns": 2, "rows": 2, "walls": [0, 0, 0, 0], "start": [0, 1], "goal": [2, 2]}}),
            "start",
        ),
    ];
    for (json, word) in cases {
        let error = serde_json::from_value::<Scene>(json.clone()).expect_err(word).to_string();
        assert!(error.contains(word), "{json}: {error}");
    }
    assert!(matches!(
        Scene::try_from(Content::Clock(crate::Clock {
            frame: crate::Frame::plain(112, 112),
            hour: 1,
            minute: 60,
            numerals: false,
            wording: 0
        })),
        Err(SceneError { field: "minute", .. })
    ));
}

#[test]
fn settings_without_scenes_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.scene(0, 0).expect_err("no scenes").to_string()
    };
    assert!(refused(&|s| s.objects = [5, 4]).contains("`objects`"));
    assert!(refused(&|s| s.objects = [3, 26]).contains("within 1 to 25"));
    assert!(refused(&|s| (s.cell, s.objects) = (28, [3, 17])).contains("within 1 to 16"));
    assert!(refused(&|s| s.cell = 7).contains("`cell`"));
    assert!(refused(&|s| (s.crowded, s.crowd) = (5, [7, 40])).contains("`crowd`"));
    assert!(refused(&|s| (s.relations, s.asked) = (0, Some([0; 3]))).contains("`asked`: every weight is 0"));
    assert!(refused(&|s| s.asked = Some([1, 0, 0])).contains("`relations` is 40"));
    assert!(refused(&|s| s.sides = [20, 112]).contains("`sides`"));
    assert!(refused(&|s| s.tasks.clear()).contains("`tasks`"));
    assert!(refused(&|s| s.show_held_out = true).contains("held out"));
    assert!(refused(&|s| s.wordings = 0).contains("`wordings`"));
    let all = Settings {
        held_out: vec!["red-circle".parse().expect("a pair")],
        colors: 1,
        shapes: 1,
        ..of_task(Task::A)
    };
    assert!(matches!(all.scene(3, 4), Err(SettingsError::Exhausted { seed: 3, index: 4, .. })));
}
