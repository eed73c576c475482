//! What must hold: tables of cases with their reasons, properties over generated input, and hostile input.

mod hacks;
mod math_fifth;
mod math_first;
mod math_fourth;
mod math_second;
mod math_third;
mod properties;

use serde_json::Value;

use crate::{Kind, Record, RewardMap, Verdict, verify};

/// Truth, answer, whether it is accepted, why.
type Case = (&'static str, &'static str, bool, &'static str);
const ACCEPT: bool = true;
/// Rejected or unsure: earns nothing by rule.
const OTHER: bool = false;

fn math(gold: &str, pred: &str) -> Verdict {
    verify(&Record::new(Kind::Math, gold, pred)).unwrap_or_else(|e| panic!("{gold}: {e}"))
}

#[test]
fn mathematics_is_judged_as_the_tables_say() {
    let mut wrong = vec![];
    for (gold, pred, expected, why) in math_first::CASES
        .iter()
        .chain(math_second::CASES)
        .chain(math_third::CASES)
        .chain(math_fourth::CASES)
        .chain(math_fifth::CASES)
    {
        let verdict = math(gold, pred);
        if verdict.accepted() != *expected {
            wrong.push(format!("{gold} | {pred}: {why}\n    {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn other_kinds_are_judged_as_the_table_says() {
    let mut wrong = vec![];
    for (i, line) in include_str!("kinds.jsonl").lines().enumerate() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("line {}: {e}", i + 1));
        let record = Record::from_json(&row, &RewardMap::default()).unwrap_or_else(|e| panic!("{line}: {e}"));
        let verdict = verify(&record).unwrap_or_else(|e| panic!("{line}: {e}"));
        let right = match &row["expected"] {
            Value::Bool(expected) => verdict.accepted() == *expected,
            score => score.as_f64().is_some_and(|s| (verdict.score - s).abs() < 1e-9),
        };
        if !right {
            wrong.push(format!("{line}\n    {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
