//! `trainer verify` over a stream: nothing lost, errors by line, a summary by kind.

use serde_json::{Value, json};
use wethink_reward::RewardMap;
use wethink_trainer::verify::stream;

/// Output lines, standard error, whether a line failed.
fn run(input: &[u8], map: &[&str], summary: bool) -> (Vec<Value>, String, bool) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let map = RewardMap::from_entries(map).expect("a reward map");
    let failed = stream(input, &mut out, &mut errors, &map, summary).expect("streams in memory do not fail");
    let lines = String::from_utf8(out).expect("JSON is UTF-8");
    let rows = lines.lines().map(|l| serde_json::from_str(l).expect("a JSON line")).collect();
    (rows, String::from_utf8(errors).expect("messages are UTF-8"), failed)
}

#[test]
fn every_line_is_answered_in_order_and_errors_carry_their_number() {
    let mut input = Vec::new();
    input.extend(b"{\"id\": \"a\", \"kind\": \"math\", \"gold\": \"1/2\", \"pred\": \"0.5\"}\n");
    input.extend(b"not json\n\n");
    input.extend(b"{\"id\": 3, \"kind\": \"math\", \"gold\": \"\", \"pred\": \"0.5\"}\n");
    input.extend(b"{\"kind\": \"math\", \"gold\": \"\xff\", \"pred\": \"1\"}\n");
    input.extend(b"{\"id\": \"d\", \"kind\": \"yes_no\", \"gold\": \"yes\", \"pred\": \"no\"}");
    let (rows, errors, failed) = run(&input, &[], false);
    assert!(failed);
    assert_eq!(rows.len(), 5, "{rows:?}");
    assert_eq!(
        (&rows[0]["id"], &rows[0]["verdict"], &rows[0]["score"]),
        (&json!("a"), &json!("accept"), &json!(1.0))
    );
    for key in ["reason", "tier", "gold_normal", "pred_normal"] {
        assert!(rows[0][key].is_string(), "{key}: {}", rows[0]);
    }
    assert_eq!((&rows[1]["line"], &rows[2]["line"], &rows[3]["line"]), (&json!(2), &json!(4), &json!(5)));
    assert_eq!(rows[2]["id"], json!(3));
    assert_eq!(rows[4]["verdict"], json!("reject"));
    for line in ["line 2: not JSON", "line 4: field `gold`", "line 5: not UTF-8"] {
        assert!(errors.contains(line), "{line}: {errors}");
    }
}

#[test]
fn unknown_names_are_listed_once_and_can_be_mapped() {
    let input = b"{\"kind\": \"FIB\", \"gold\": \"2\", \"pred\": \"2\"}\n{\"kind\": \"FIB\", \"gold\": \"3\", \"pred\": \"2\"}\n";
    let (_, errors, failed) = run(input, &[], false);
    assert!(failed && errors.contains("unknown reward names: \"FIB\" (2 rows)"), "{errors}");
    let (rows, errors, failed) = run(input, &["FIB=number"], false);
    assert!(!failed && errors.is_empty(), "{errors}");
    assert_eq!((&rows[0]["verdict"], &rows[1]["verdict"]), (&json!("accept"), &json!("reject")));
}

#[test]
fn the_summary_counts_by_kind() {
    let rows = [
        json!({"kind": "math", "gold": "1", "pred": "1", "expected": true}),
        json!({"kind": "math", "gold": "1", "pred": "2", "expected": true}),
        json!({"kind": "math", "gold": "1", "pred": "1", "expected": false}),
        json!({"kind": "anls", "gold": "ab", "pred": "ab", "expected": 1.0}),
    ];
    let input: String = rows.iter().map(|r| format!("{r}\n")).collect();
    let (_, errors, failed) = run(input.as_bytes(), &[], true);
    assert!(!failed);
    let line = |kind: &str| errors.lines().find(|l| l.starts_with(kind)).unwrap_or_default().to_owned();
    let cells = |kind: &str| line(kind).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells("math"), ["math", "3", "3", "1", "33.33", "%", "1", "1", "0"], "{errors}");
    assert_eq!(cells("anls"), ["anls", "1", "1", "1", "100.00", "%", "0", "0", "0"], "{errors}");
}

#[test]
fn unknown_options_are_reported_and_left_alone() {
    let input = b"{\"kind\": \"math\", \"gold\": \"1\", \"pred\": \"1\", \"opts\": {\"colour\": 1}}\n";
    let (rows, errors, failed) = run(input, &[], false);
    assert!(!failed && errors.contains("opts.colour"), "{errors}");
    assert_eq!(rows[0]["verdict"], json!("accept"));
}
