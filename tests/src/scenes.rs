//! `trainer scenes` as a user meets it, and its rows under the reward rules.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use wethink_reward::{Record, RewardMap, verify};
use wethink_scenes::{Row, Scene, Settings, Task};

use crate::commands::{run, trainer};

fn make(out: &Path, more: &[&str]) -> Output {
    run(trainer().args(["scenes", "make", "--out"]).arg(out).args(more))
}

fn succeeds(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn fails_with(output: Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !text.contains("panicked"), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

fn rows(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("rows.jsonl")).expect("rows.jsonl");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn rows_are_wethinks_and_do_not_depend_on_how_many_are_made() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [few, many, other] = ["few", "many", "other"].map(|name| folder.path().join(name));
    succeeds(make(&few, &["--n", "20", "--seed", "3"]));
    let said = succeeds(make(&many, &["--n", "600", "--seed", "3"]));
    succeeds(make(&other, &["--n", "20", "--seed", "4"]));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("600 rows") && said.contains("rows.jsonl"), "{said}");
    assert_eq!(rows(&many)[..20], rows(&few));
    assert_ne!(rows(&other), rows(&few));
    assert_eq!(rows(&many).len(), 600);

    let keys = "problem answer category abilities refined_cot image_path reward scene";
    let first: Value = serde_json::from_str(&rows(&few)[0]).expect("JSON");
    let found: Vec<&str> = first.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(found.join(" "), keys);
    for line in rows(&few) {
        let row: Row = serde_json::from_str(&line).expect("a row");
        assert_eq!(row.scene.split().to_string(), "train");
        let picture = image::open(few.join(&row.image_path)).expect("a picture").into_rgb8();
        assert_eq!(picture.as_raw(), row.scene.draw().rgb(), "{}", row.image_path);
        assert_eq!(
            std::fs::read(many.join(&row.image_path)).expect("a picture"),
            std::fs::read(few.join(&row.image_path)).expect("a picture")
        );
    }
}

#[test]
fn an_interrupted_run_goes_on_and_a_finished_one_is_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    let settings = ["--n", "30", "--task", "A,D", "--split", "test"];
    succeeds(make(&whole, &settings));
    succeeds(make(&cut, &settings));
    let text = std::fs::read(cut.join("rows.jsonl")).expect("rows");
    // As after a cut in the middle of row 11, with its picture not yet written.
    let eleventh = text.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(10).expect("eleven rows").0;
    std::fs::write(cut.join("rows.jsonl.part"), &text[..eleventh - 30]).expect("written");
    std::fs::remove_file(cut.join("rows.jsonl")).expect("removed");
    std::fs::remove_file(cut.join("images/000010.png")).expect("removed");
    fails_with(make(&cut, &["--n", "31", "--task", "A"]), &["unfinished", "--force"]);
    let said = succeeds(make(&cut, &settings));
    assert!(String::from_utf8_lossy(&said.stderr).contains("10 of 30 rows are there"));
    assert_eq!(rows(&cut), rows(&whole));
    assert!(cut.join("images/000010.png").is_file() && !cut.join("rows.jsonl.part").exists());

    fails_with(make(&cut, &settings), &["rows.jsonl: exists", "--force"]);
    assert_eq!(rows(&cut), rows(&whole));
    succeeds(make(&cut, &["--n", "5", "--task", "B", "--force"]));
    assert_eq!(rows(&cut).len(), 5);
    assert_eq!(std::fs::read_dir(cut.join("images")).expect("images").count(), 5, "old pictures are gone");
}

#[test]
fn misuse_names_the_setting_and_the_fix() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out");
    fails_with(make(&out, &["--n", "3", "--objects", "9-3"]), &["`objects`", "9 to 3"]);
    fails_with(make(&out, &["--n", "3", "--objects", "many"]), &["--objects", "a range like 3-10"]);
    fails_with(make(&out, &["--n", "3", "--task", "E"]), &["A, B, C, D or all"]);
    fails_with(make(&out, &["--n", "3", "--hold-out", "red-circl"]), &["red-circl", "COLOR-SHAPE", "star"]);
    fails_with(make(&out, &["--n", "3", "--show-held-out"]), &["--hold-out"]);
    fails_with(make(&out, &["--n", "3", "--split", "exam"]), &["train, val or test"]);
    assert!(!out.join("rows.jsonl").exists());
}

#[test]
fn a_sheet_shows_pictures_and_prints_their_questions() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("sheet.png");
    let mut command = trainer();
    command.args(["scenes", "sheet", "--task", "C", "--n", "4", "--size", "112", "--out"]).arg(&file);
    let said = succeeds(run(&mut command));
    assert_eq!(String::from_utf8_lossy(&said.stdout).matches("answer ").count(), 4);
    let sheet = image::open(file).expect("a picture");
    assert_eq!((sheet.width(), sheet.height()), (2 * 120 + 8, 2 * 120 + 8));
}

/// The kinds of the reward crate agree with the scenes' own verifier, on answers and near misses, tagged as a model writes.
#[test]
fn rows_have_rewards_that_accept_the_truth_and_nothing_near_it() {
    let settings = Settings { tasks: vec![Task::A, Task::B, Task::D], ..Settings::default() };
    let scenes: Vec<Scene> = (0..300).map(|i| settings.scene(41, i).expect("a scene")).collect();
    for (i, scene) in scenes.iter().enumerate() {
        let row = Row::new(scene.clone(), String::new());
        let answers =
            scenes[..i].iter().filter(|other| other.category() == scene.category()).map(Scene::answer);
        let near = row.answer.parse::<i64>().ok().map(|n| (n + 1).to_string());
        for answer in answers.take(20).chain(near).chain([row.answer.clone(), "none".into()]) {
            let response = format!("<think>\n{}\n</think>\n<answer>\n{answer}\n</answer>", row.refined_cot);
            let json = json!({ "kind": row.reward, "gold": row.answer, "pred": response });
            let record = Record::from_json(&json, &RewardMap::default()).expect("a kind of the reward crate");
            let verdict = serde_json::to_value(verify(&record).expect("a truth")).expect("JSON");
            let accepted = verdict["verdict"] == "accept";
            assert_eq!(accepted, scene.verify(&answer), "{answer} for {} by {}", row.answer, row.reward);
            assert_eq!(accepted, answer == row.answer, "{answer} for {}", row.answer);
        }
    }
}

#[test]
fn help_fits_and_teaches() {
    for page in [&["scenes", "--help"][..], &["scenes", "make", "--help"], &["init", "--help"]] {
        let text = succeeds(run(Command::new(trainer().get_program()).args(page)));
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains("Examples:") && text.contains("trainer scenes make"), "{text}");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{text}");
    }
}
