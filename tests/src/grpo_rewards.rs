//! Rewards while others are sampled: by the row's method, with a judge that is honest, down for a while, or hostile.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wethink_reward::{Policy, RewardMap};
use wethink_trainer::device::{self, DeviceArg};
use wethink_trainer::grpo::recipe::Judge;
use wethink_trainer::grpo::rewards::{Ended, Scorer, Scores, bench};
use wethink_trainer::train::rows::Rows;

use crate::judge_server::{Act, Request, Server};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(rows: &[Value]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(folder.path().join("rows.jsonl"), text).expect("written");
        Self(folder)
    }

    fn rows(&self) -> Rows {
        Rows::open(&self.0.path().join("rows.jsonl"), None).expect("sound rows")
    }

    /// What becomes of responses under a judge, if any.
    fn score(&self, rows: &Rows, judge: Option<&Judge>, ended: &[(usize, String)]) -> anyhow::Result<Scores> {
        let opened = device::open(DeviceArg::Cpu, None)?;
        let bench = judge.map(|judge| bench(judge, self.0.path(), &opened)).transpose()?;
        let stop = Arc::new(AtomicBool::new(false));
        let judge = judge.zip(bench);
        let scorer = Scorer::new(rows, RewardMap::default(), Policy::default(), 3, judge, None, stop)?;
        let (sender, receiver) = channel();
        for (place, (row, text)) in ended.iter().enumerate() {
            sender.send(Ended { place, row: *row, text: text.clone(), tokens: 9 })?;
        }
        drop(sender);
        Ok(scorer.run(&receiver)?.expect("nobody pressed Ctrl-C"))
    }
}

fn judge(server: &Server, patience: f64) -> Judge {
    Judge {
        server: Some(server.url()),
        model: Some("scripted".into()),
        key_env: None,
        local: None,
        timeout: 5.0,
        concurrency: 4,
        pictures: false,
        patience,
        price_in: 0.0,
        price_out: 0.0,
        budget: None,
    }
}

fn row(problem: &str, answer: &str, reward: &str) -> Value {
    json!({"problem": problem, "answer": answer, "refined_cot": "x", "reward": reward})
}

fn said(answer: &str) -> String {
    format!("<think>so it is</think>\n<answer>{answer}</answer>")
}

fn open_rows(count: usize) -> Vec<Value> {
    (0..count)
        .map(|i| row(&format!("Which vessel stands on shelf {i}?"), &format!("copper kettle {i}"), "open"))
        .collect()
}

fn open_answers(count: usize) -> Vec<(usize, String)> {
    (0..count).map(|i| (i, said(&format!("kettle {i} of copper")))).collect()
}

/// Yes to every answer of the tests, No to canaries.
fn honest(request: &Request) -> Act {
    Act::Say(if request.candidate.starts_with("kettle") { "Yes" } else { "No" })
}

#[test]
fn every_row_is_rewarded_by_its_own_method() {
    let server = Server::start(honest);
    let maze = wethink_scenes::Settings { tasks: vec![wethink_scenes::Task::C], ..Default::default() };
    let scene = maze.scene(7, 0).expect("a maze");
    let mut rows = vec![
        row("6 · 7?", "42", "number"),
        row("Which?", "B", "mcq"),
        row("Which vessel?", "copper kettle", "open"),
        row("The way out?", &scene.answer(), "maze"),
    ];
    rows[1]["choices"] = json!(["ash", "beech"]);
    rows[3]["scene"] = serde_json::to_value(&scene).expect("JSON");
    let folder = Folder::new(&rows);
    let rows = folder.rows();
    let responses = [
        (0, said("42"), Some(1.0)),
        (0, said("41"), Some(0.3)),
        (0, "42".to_owned(), Some(0.7)),
        (1, said("B"), Some(1.0)),
        // A judge's accept is worth less than a rule's.
        (2, said("kettle made of copper"), Some(0.7 * 0.8 + 0.3)),
        (2, said("a pan"), Some(0.3)),
        (3, said(&scene.answer()), Some(1.0)),
        (3, "<think>never closed".to_owned(), Some(0.0)),
    ];
    let ended: Vec<_> = responses.iter().map(|(row, text, _)| (*row, text.clone())).collect();
    let scores = folder.score(&rows, Some(&judge(&server, 0.0)), &ended).expect("scored");
    assert_eq!(scores.scored.len(), responses.len());
    for ((place, scored), (_, text, want)) in scores.scored.iter().zip(&responses) {
        let near = scored.score.reward.zip(*want).is_some_and(|(got, want)| (got - want).abs() < 1e-9);
        assert!(near, "{place}: {text} got {:?}, expected {want:?}", scored.score.reward);
    }
    assert!(scores.conduct.answered >= 1 && scores.conduct.canaries >= 1 && scores.conduct.accepted == 0);
}

/// The first response is rewarded while the second is still being sampled.
#[test]
fn rewards_are_computed_while_others_are_sampled() {
    let server = Server::start(honest);
    let folder = Folder::new(&open_rows(2));
    let rows = folder.rows();
    let opened = device::open(DeviceArg::Cpu, None).expect("the CPU");
    let judge = judge(&server, 0.0);
    let bench = bench(&judge, folder.0.path(), &opened).expect("a judge");
    let stop = Arc::new(AtomicBool::new(false));
    let scorer =
        Scorer::new(&rows, RewardMap::default(), Policy::default(), 3, Some((&judge, bench)), None, stop);
    let scorer = scorer.expect("sound rows");
    let (sender, receiver) = channel();
    let scores = std::thread::scope(|scope| {
        let scorer = &scorer;
        let scoring = scope.spawn(move || scorer.run(&receiver));
        for (place, (row, text)) in open_answers(2).into_iter().enumerate() {
            let asked = server.log().len();
            sender.send(Ended { place, row, text, tokens: 9 }).expect("somebody listens");
            // Nothing tells the scorer that more is to come, or that it is not.
            for _ in 0..1000 {
                if server.log().len() > asked {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            assert!(server.log().len() > asked, "the judge is asked about response {place} at once");
        }
        drop(sender);
        scoring.join().expect("no panic")
    });
    assert_eq!(scores.expect("scored").expect("nobody pressed Ctrl-C").scored.len(), 2);
}

#[test]
fn a_judge_that_is_down_is_waited_for_and_nothing_is_lost_or_paid_twice() {
    let broken = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&broken);
    // A server that refuses long enough for the bench to give up, and then works.
    let server = Server::start(move |request| {
        let mut seen = seen.lock().expect("nobody panics here");
        *seen += 1;
        if (4..60).contains(&*seen) { Act::Status(400, None) } else { honest(request) }
    });
    let folder = Folder::new(&open_rows(24));
    let rows = folder.rows();
    let scores = folder.score(&rows, Some(&judge(&server, 60.0)), &open_answers(24)).expect("it came back");
    assert!(*broken.lock().expect("whole") > 60, "the server was down on the way");
    assert!(scores.paused > 0.0, "and was waited for");
    for (place, scored) in &scores.scored {
        assert_eq!(scored.unscored, None, "{place}");
        assert!(scored.score.reward.is_some_and(|reward| reward > 0.8), "{place}: {:?}", scored.score);
    }
    assert!(server.answered().iter().all(|&times| times <= 1), "a reply is paid for once");
}

#[test]
fn a_judge_that_stays_down_ends_the_step_with_the_fix() {
    let server = Server::start(|_| Act::Status(400, None));
    let folder = Folder::new(&open_rows(24));
    let rows = folder.rows();
    let gone =
        folder.score(&rows, Some(&judge(&server, 1.0)), &open_answers(24)).expect_err("no reward is made up");
    let text = format!("{gone:#}");
    assert!(text.contains("down") && text.contains("--resume"), "{text}");
}

#[test]
fn a_judge_that_accepts_everything_ends_the_step_and_is_not_believed() {
    let server = Server::start(|_| Act::Say("Yes"));
    let folder = Folder::new(&open_rows(6));
    let rows = folder.rows();
    let gone = folder.score(&rows, Some(&judge(&server, 60.0)), &open_answers(6)).expect_err("an alarm");
    let text = format!("{gone:#}");
    assert!(text.contains("known to be wrong") && text.contains("--resume"), "{text}");
}

#[test]
fn what_a_judge_mumbles_leaves_its_response_without_a_reward_and_no_other() {
    let server = Server::start(|request| match request.candidate.contains("kettle 3 ") {
        true => Act::Say("Perhaps, in a way"),
        false => honest(request),
    });
    let folder = Folder::new(&open_rows(6));
    let rows = folder.rows();
    let scores = folder.score(&rows, Some(&judge(&server, 1.0)), &open_answers(6)).expect("scored");
    for (place, scored) in &scores.scored {
        assert_eq!(scored.score.reward.is_none(), *place == 3, "{place}: {scored:?}");
        assert_eq!(scored.unscored.is_some(), *place == 3, "{place}: {scored:?}");
    }
    assert!(Path::new(&folder.0.path().join("replies.jsonl")).is_file(), "replies are kept with the run");
}
