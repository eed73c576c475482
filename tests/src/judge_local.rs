//! A checkpoint as a judge: its word is the model's own log-probabilities, pictures included, the same on every run.

use std::path::PathBuf;

use burn::tensor::DType;
use serde_json::{Value, json};
use wethink_model::{Launches, Prompt};
use wethink_processor::{Content, Message, Options, Part, Picture, Role, System, with_system};
use wethink_reward::judge::{Ask, Expect};
use wethink_trainer::device::{self, DeviceArg};
use wethink_trainer::judge::local::{Local, MARGIN};

use crate::commands::trainer;
use crate::fixtures::{Tiny, dir};

fn ask(text: &str) -> Ask {
    Ask { system: "You compare.".to_owned(), text: text.to_owned(), expect: Expect::YesNo }
}

fn picture_file() -> Vec<u8> {
    let set = Tiny::open().expect("the known answers can be read");
    let case = set.cases.iter().find(|case| case.encoded.grids.len() == 1).expect("a case with one picture");
    let name = case.answer["images"][0].as_str().expect("a name");
    std::fs::read(dir().join("tiny-qwen2_5_vl/images").join(name)).expect("the picture")
}

fn checkpoint() -> PathBuf {
    dir().join("tiny-qwen2_5_vl/checkpoint")
}

#[test]
fn log_odds_are_those_of_the_whole_prompt_run_without_a_cache() {
    let opened = device::open(DeviceArg::Cpu, None).expect("the CPU");
    let local = Local::open(&checkpoint(), &opened).expect("a checkpoint");
    let set = Tiny::open().expect("the known answers can be read");
    let model = set.model(&opened.device).expect("the weights");
    let file = picture_file();
    let mut seen = vec![];
    for (text, files) in [("One?", vec![]), ("One?", vec![file.clone()]), ("Another?", vec![file])] {
        let got = local.log_odds(&ask(text), &files).expect("an answer");
        let pictures: Vec<Picture> =
            files.iter().map(|bytes| Picture::decode("x", bytes).expect("a picture")).collect();
        let mut parts = vec![Part::Image; pictures.len()];
        parts.push(Part::Text { text: text.to_owned() });
        let messages = vec![Message { role: Role::User, content: Content::Parts(parts) }];
        let messages = with_system(messages, System::Text("You compare.".to_owned()));
        let encoded = set.processor.process(&messages, &pictures, &Options::default()).expect("a prompt");
        let prompt = Prompt {
            ids: &encoded.ids,
            positions: &encoded.positions,
            patches: &encoded.pixel_values,
            grids: &encoded.grids,
        };
        let logits = model.trace(&[prompt], &mut Launches::new()).expect("a trace").logits;
        let [_, tokens, vocabulary] = logits.dims();
        let values: Vec<f32> = logits.into_data().convert_dtype(DType::F32).try_into_vec().expect("floats");
        let first = |word: &str| set.processor.tokenizer.encode(word).expect("ids")[0] as usize;
        let last = &values[(tokens - 1) * vocabulary..tokens * vocabulary];
        let want = last[first("Yes")] - last[first("No")];
        assert!((got - want).abs() <= 1e-4 * want.abs().max(1.0), "{text}: {got} {want}");
        let word = local.ask(&ask(text), &files).expect("an answer");
        let expected = if got >= MARGIN {
            "Yes"
        } else if got <= -MARGIN {
            "No"
        } else {
            "undecided"
        };
        assert_eq!(word, expected);
        seen.push(got);
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2], "picture and text both count: {seen:?}");
}

#[test]
fn a_local_judge_answers_alike_on_every_run_and_its_replies_are_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rows: String = (1..=4)
        .map(|id| {
            let row = json!({"id": id, "problem": "Which vessel is it?", "answer": format!("copper kettle {id}"),
                "reward": "open", "response": format!("kettle {id}")});
            format!("{row}\n")
        })
        .collect();
    std::fs::write(folder.path().join("rows.jsonl"), rows).expect("written");
    let score = |out: &str| {
        let mut command = trainer();
        command.arg("score").arg("--data").arg(folder.path().join("rows.jsonl"));
        command.arg("--judge-local").arg(checkpoint()).args(["--device", "cpu"]);
        let output = command.arg("--out").arg(folder.path().join(out)).output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // What a model of random weights says means nothing: a canary may pass, the margin may not be reached.
        assert!(matches!(output.status.code(), Some(0 | 4 | 5)), "{text}");
        let lines = std::fs::read_to_string(folder.path().join(out)).expect("an output");
        let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(rows.len(), 4);
        (rows, text)
    };
    let (first, _) = score("a.jsonl");
    let (second, _) = score("b.jsonl");
    assert_eq!(first, second);
    let kept = std::fs::read(folder.path().join("a.jsonl.replies.jsonl")).expect("replies");
    assert!(kept.iter().filter(|byte| **byte == b'\n').count() >= 2, "a canary's orders at least");
    let (third, said) = score("a.jsonl");
    assert_eq!((first, false), (third, said.contains(" 0 replies found")), "{said}");
    assert_eq!(std::fs::read(folder.path().join("a.jsonl.replies.jsonl")).expect("replies"), kept);
}
