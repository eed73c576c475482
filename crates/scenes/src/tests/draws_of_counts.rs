//! What random scenes of task A are like, by their settings.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{attributes, count_again, number, of_task, scenes, shown};
use crate::{Pair, Scene, Settings, Task};

/// How many attributes questions name follows the weights, and no answer is likelier than another: guessing one is worth little.
/// Held-out pairs never occur, or the answer depends on one.
#[test]
fn questions_name_as_many_attributes_as_is_asked_for_and_every_answer_is_as_likely() {
    let plain = Settings { relations: 0, objects: [4, 4], asked: Some([2, 1, 1]), ..of_task(Task::A) };
    let made = scenes(&plain, 3, 2000);
    let (mut named, mut answers, mut near) = ([0; 4], BTreeMap::<i64, usize>::new(), [0; 2]);
    for scene in &made {
        let wanted = attributes(&scene.question());
        named[wanted.len()] += 1;
        *answers.entry(count_again(scene)).or_default() += 1;
        for object in shown(scene)["objects"].as_array().expect("objects") {
            let shared = wanted.iter().filter(|(kind, word)| object[kind] == **word).count();
            if wanted.len() > 1 && shared < wanted.len() {
                near[usize::from(shared > 0)] += 1;
            }
        }
    }
    assert!((920..1080).contains(&named[1]) && (430..570).contains(&named[2]), "{named:?}");
    assert_eq!(named[0], 0);
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(answers.values().all(|n| (330..470).contains(n)), "{answers:?}");
    assert!(near[1] > near[0], "objects that share nothing or something with the question: {near:?}");

    let held_out: Vec<Pair> = ["red-circle", "blue-star"].map(|pair| pair.parse().expect("a pair")).to_vec();
    let is_held_out = |object: &Value| {
        held_out
            .iter()
            .any(|pair| object["color"] == pair.color.word() && object["shape"] == pair.shape.word())
    };
    let objects = |scene: &Scene| shown(scene)["objects"].as_array().expect("objects").clone();
    let without = Settings { held_out: held_out.clone(), ..plain.clone() };
    assert!(scenes(&without, 4, 300).iter().all(|scene| !objects(scene).iter().any(is_held_out)));
    let with = Settings { show_held_out: true, ..without };
    for scene in scenes(&with, 4, 300) {
        let wanted = attributes(&scene.question());
        let counted = |o: &&Value| wanted.iter().all(|(kind, word)| o[kind] == **word);
        assert!(objects(&scene).iter().filter(counted).any(is_held_out), "{}", scene.question());
    }
}

/// With cells of 28 pixels a cell is what one token of the model sees; a share of the scenes may be crowded.
#[test]
fn cells_have_the_size_asked_for_and_some_scenes_are_crowded() {
    let settings = Settings {
        sides: [140, 140],
        square: true,
        cell: 28,
        objects: [3, 6],
        crowded: 10,
        crowd: [7, 12],
        ..of_task(Task::A)
    };
    let mut crowded = 0;
    for scene in scenes(&settings, 1, 1000) {
        let json = shown(&scene);
        assert_eq!((number(&json["columns"]), number(&json["rows"])), (5, 5));
        let objects = json["objects"].as_array().expect("objects").len();
        assert!((3..=12).contains(&objects), "{objects}");
        crowded += usize::from(objects > 6);
    }
    // 100 are expected, with a deviation of 9.5.
    assert!((60..140).contains(&crowded), "{crowded} of 1000");
}
