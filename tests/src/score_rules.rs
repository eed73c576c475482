//! `trainer score` where nothing misbehaves: rules, rows and responses, people's labels, the command line.

use serde_json::{Value, json};
use wethink_reward::{Key, Kind, Record};

use crate::judge_server::{Act, Server};
use crate::score::{Bench, close, reward, row, rows, run};

#[test]
fn rules_decide_without_a_judge_and_faulty_rows_keep_their_place() {
    let bench = Bench::new(&[]);
    let number = |id: &str, response: &str| json!({"id": id, "problem": "How many?", "answer": "42", "reward": "FIB", "response": response});
    bench.write("rows.jsonl", &[
        number("a", "<think>so</think><answer>42</answer>"),
        json!({"id": "b", "problem": "How many?"}),
        number("c", "<think>so</think><answer>41</answer>"),
        json!({"id": "d", "problem": "What?", "answer": "a cat", "reward": "open", "response": "it is a feline"}),
        json!({"id": "e", "problem": "What?", "answer": "a cat", "reward": "open", "response": "Final Decision: Yes"}),
        json!({"id": "f", "problem": "What?", "answer": "a cat", "reward": "open"}),
    ]);
    let said = run(bench.command().args(["--reward-map", "FIB=number"]), 1);
    assert!(said.contains("line 2: ") && said.contains("line 6: "), "{said}");
    let scored = bench.scored();
    assert_eq!(
        scored.iter().map(|row| row["line"].as_u64()).collect::<Vec<_>>(),
        (1..=6).map(Some).collect::<Vec<_>>()
    );
    close(&scored[0]["reward"], 1.0);
    assert!(scored[1]["error"].is_string() && scored[5]["error"].is_string());
    close(&scored[2]["reward"], 0.3);
    assert_eq!((&scored[3]["reward"], &scored[3]["unscored"]), (&Value::Null, &json!("no judge was asked")));
    assert_eq!((&scored[4]["verdict"]["tier"], &scored[4]["reward"]), (&json!("filter"), &json!(0.0)));
    let key = Key::of("How many?", &["42"], "<think>so</think><answer>42</answer>");
    assert_eq!((&scored[0]["key"], &scored[0]["kind"]), (&json!(key), &json!("number")));
    let said = run(&mut bench.command(), 1);
    assert!(said.contains("\"FIB\" (2 rows)"), "{said}");
}

#[test]
fn responses_join_their_rows_and_a_policy_weighs_them() {
    let bench = Bench::new(&[
        json!({"id": "a", "problem": "How many?", "answer": "42", "reward": "number"}),
        json!({"problem": "How many?", "answer": "7", "reward": "number"}),
        json!({"id": "c", "problem": "How many?", "answer": "1", "reward": "number"}),
    ]);
    let given = bench.write(
        "responses.jsonl",
        &[
            json!({"id": 2, "response": "7"}),
            json!({"id": "a", "response": "41", "tokens": 200}),
            json!({"id": "a", "response": "42", "tokens": 100}),
        ],
    );
    let policy = bench.path("policy.toml");
    std::fs::write(
        &policy,
        "accuracy = 1.0\nformat = 0.0\n[overlong]\nlimit = 150\nmargin = 10\nweight = 0.5\n",
    )
    .expect("written");
    run(bench.command().arg("--responses").arg(&given).arg("--policy").arg(&policy), 0);
    let scored = bench.scored();
    let cells: Vec<_> = scored.iter().map(|row| (row["id"].clone(), row["reward"].as_f64())).collect();
    assert_eq!(cells, [(json!("a"), Some(-0.5)), (json!("a"), Some(1.0)), (json!(2), Some(1.0))]);
    bench.write("responses.jsonl", &[json!({"id": "z", "response": "7"})]);
    assert!(run(bench.command().arg("--responses").arg(&given), 1).contains("\"z\""));
    std::fs::write(&policy, "accurracy = 1.0\n").expect("written");
    assert!(run(bench.command().arg("--policy").arg(&policy), 1).contains("accurracy"));
}

#[test]
fn people_override_rewards_and_are_what_the_judge_is_measured_by() {
    let mut rows = rows(4, "good");
    rows.extend([5, 6].map(|id| row(id, "bad")));
    let bench = Bench::new(&rows);
    let server =
        Server::start(|request| Act::Say(if request.candidate.ends_with("good") { "Yes" } else { "No" }));
    let key = |i: usize| {
        let row = &rows[i];
        let text = |name: &str| row[name].as_str().expect("text");
        let record = Record::new(Kind::Open, text("answer"), text("response"));
        Key::of(text("problem"), &record.golds, &record.pred).to_string()
    };
    let labels = bench.write("labels.jsonl", &[
        json!({"key": key(0), "label": "accept", "note": "", "annotator": "kim", "time": "2026-01-31T12:00:00Z"}),
        json!({"key": key(1), "label": "accept"}),
        json!({"id": 3, "label": "reject"}),
        json!({"key": key(3), "label": "unsure"}),
        json!({"key": key(4), "label": "reject"}),
    ]);
    let said = run(bench.judged(&server).arg("--labels").arg(&labels), 0);
    let line = said.lines().find(|line| line.starts_with("judge  ")).unwrap_or_else(|| panic!("{said}"));
    // Two agree to accept, one was accepted wrongly, one rejected by both: observed 3/4, expected 1/2.
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>()[..6],
        ["judge", "2", "0", "1", "1", "0.500"],
        "{said}"
    );
    let scored = bench.scored();
    close(&scored[0]["reward"], 1.0);
    close(&scored[2]["reward"], 0.3);
    close(&scored[3]["reward"], reward(0.8));
    assert_eq!((&scored[2]["verdict"]["tier"], &scored[2]["label"]), (&json!("person"), &json!("reject")));
    close(&scored[2]["parts"]["judge"], 0.8);
    bench.write("labels.jsonl", &[json!({"key": "12", "label": "accept"})]);
    assert!(run(bench.judged(&server).arg("--labels").arg(&labels), 1).contains("line 1"));
}

#[test]
fn misuse_of_the_judges_options_is_named() {
    let bench = Bench::new(&rows(1, "good"));
    for arguments in [
        &["--judge", "http://x/v1"][..],
        &["--judge-model", "m"],
        &["--judge", "http://x/v1", "--judge-model", "m", "--judge-local", "d"],
        &["--budget", "5"],
        &["--judge", "http://x/v1", "--judge-model", "m", "--budget", "lots"],
        &["--judge", "http://x/v1", "--judge-model", "m", "--price-in", "1"],
    ] {
        run(bench.command().args(arguments), 2);
    }
    let with = ["--judge", "http://x/v1", "--judge-model", "m"];
    assert!(run(bench.command().args(with).args(["--budget", "5"]), 1).contains("--price-in"));
    assert!(run(bench.command().args(with).args(["--judge-timeout", "0"]), 1).contains("--judge-timeout"));
    assert!(run(bench.command().args(["--judge", "x/v1", "--judge-model", "m"]), 1).contains("whole URL"));
    let env = ["--judge-key-env", "NO_SUCH_VARIABLE_HERE"];
    assert!(run(bench.command().args(with).args(env), 1).contains("NO_SUCH_VARIABLE_HERE"));
}
