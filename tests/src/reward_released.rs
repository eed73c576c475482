//! The verifier on the public share of Math-Verify's own tests, read where it lies (`WETHINK_FIXTURES`/reward).

use std::fs;

use serde_json::Value;
use wethink_reward::{Record, RewardMap, verify};

/// Share of the undisputed mathematical rows that must be judged as expected.
const BAR: f64 = 0.99;

#[test]
#[ignore = "reads fixtures that are not part of the repository: cargo test released_ -- --ignored"]
fn released_math_verify_cases_reach_the_bar() {
    let path = crate::fixtures::dir().join("reward/math_verify_public.jsonl");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (mut right, mut wrong) = (0, vec![]);
    for (i, line) in text.lines().enumerate() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("line {}: {e}", i + 1));
        if row["kind"] != "math" || row["disputed"] == true {
            continue;
        }
        let expected = row["expected"].as_bool().unwrap_or_else(|| panic!("line {}: no `expected`", i + 1));
        let verdict = Record::from_json(&row, &RewardMap::default()).and_then(|r| verify(&r));
        match verdict.as_ref().map(|v| v.accepted()) {
            Ok(accepted) if accepted == expected => right += 1,
            _ => wrong.push(format!("{}: expected {expected}, {verdict:?}", row["id"])),
        }
    }
    let rows = right + wrong.len();
    assert!(rows > 50, "{}: only {rows} rows", path.display());
    assert!(right as f64 >= BAR * rows as f64, "{right} of {rows}\n{}", wrong.join("\n"));
}
