//! `trainer examples` as a user meets it.

use serde_json::Value;

use crate::commands::{assert_fails, run, trainer};
use crate::grpo::rollouts;
use crate::runs::Bench;

#[test]
fn examples_are_rows_that_the_reward_checker_reads_with_their_pictures() {
    let bench = Bench::new();
    bench.succeed(&mut bench.grpo("run", &["train.steps=2"]));
    let examples = |name: &str, more: &[&str]| {
        let mut command = trainer();
        command.arg("examples").arg(bench.path("run")).arg("--out").arg(bench.path(name)).args(more);
        run(&mut command)
    };
    let output = examples("set", &["--n", "7"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = rollouts(&bench, "run");
    let text = std::fs::read_to_string(bench.path("set").join("rows.jsonl")).expect("rows");
    assert_eq!(text.lines().count(), 7);
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let one = told
            .iter()
            .find(|one| {
                let (step, prompt, sample) = (&one["step"], &one["prompt_id"], &one["sample"]);
                row["id"] == format!("step {step}, row {prompt}, sample {sample}")
            })
            .expect("a response of the run");
        assert_eq!(row["response"], one["text"]);
        assert_eq!(row["kind"], "edit_ratio");
        assert_eq!(row["gold"], "a stone near the other rail");
        let paths = match &row["image_path"] {
            Value::String(path) => vec![path.clone()],
            list => list
                .as_array()
                .expect("paths")
                .iter()
                .map(|path| path.as_str().expect("a path").into())
                .collect(),
        };
        for path in paths {
            assert!(std::fs::metadata(bench.path("set").join(path)).expect("a picture").len() > 0);
        }
        let mut record = row.clone();
        record["pred"] = record["response"].take();
        let record = wethink_reward::Record::from_json(&record, &wethink_reward::RewardMap::default());
        assert!(wethink_reward::verify(&record.expect("a row of the checker")).is_ok());
    }
    assert_fails(&examples("set", &[]), 1, &["exists already", "--force"]);
    let all = examples("set", &["--force", "--n", "1000"]);
    assert!(String::from_utf8_lossy(&all.stderr).contains("24 responses of 24"), "{all:?}");
    let mut none = trainer();
    none.arg("examples").arg(bench.path("graded.jsonl")).arg("--out").arg(bench.path("x"));
    assert_fails(&run(&mut none), 1, &["--data"]);
    none.arg("--data").arg(bench.path("graded.jsonl"));
    assert_fails(&run(&mut none), 1, &["no line of `trainer eval`"]);
}
