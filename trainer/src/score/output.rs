//! What `trainer score` leaves behind: the file, the account on standard error, the exit code.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use wethink_data::Writer;
use wethink_reward::{Decision, Policy, Tier, Verdict, weigh};

use super::Scored;
use super::cases::Entry;
use super::hearing::{Conduct, Outcome};
use super::people::Word;
use crate::judge::{Bench, Member, Stop};

/// Responses without a reward that are listed one by one.
const LISTED: usize = 5;

/// One line of the output.
fn line(entry: &Entry, row: &Result<Scored, String>, policy: &Policy) -> Map<String, Value> {
    let row = match row {
        Ok(row) => row,
        Err(error) => return fields(json!({ "id": entry.id, "line": entry.line, "error": error })),
    };
    let verdict = row.outcome.verdict().clone();
    let (verdict, label) = match row.word {
        Some(Word::Accept) => (verdict.labelled(true), Some("accept")),
        Some(Word::Reject) => (verdict.labelled(false), Some("reject")),
        Some(Word::Open) => (verdict, Some("open")),
        None => (verdict, None),
    };
    let score = weigh(&row.case.record, policy, row.case.tokens, verdict);
    let judge = match &row.outcome {
        Outcome::Judged(verdict, _) => Some(verdict.score),
        _ => None,
    };
    let unscored = match &row.outcome {
        Outcome::Unscored(_, reason) if score.reward.is_none() => Some(reason),
        _ => None,
    };
    fields(json!({
        "id": entry.id,
        "line": entry.line,
        "key": row.case.key,
        "kind": row.case.record.kind,
        "reward": score.reward,
        "parts": {
            "accuracy": score.accuracy,
            "format": score.format,
            "judge": judge,
            "overlong": score.overlong,
            "repetition": score.repetition,
        },
        "verdict": score.verdict,
        "label": label,
        "unscored": unscored,
    }))
}

fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Writes the output, whole or not at all.
pub(super) fn write(
    path: &Path,
    entries: &[Entry],
    rows: &[Result<Scored, String>],
    policy: &Policy,
) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut out = Writer::create(path)?;
        for (entry, row) in entries.iter().zip(rows) {
            out.write(&line(entry, row, policy))?;
        }
        out.finish()
    };
    write().with_context(|| format!("--out {}: cannot be written", path.display()))
}

/// What happened, on standard error.
pub(super) fn report(
    entries: &[Entry],
    rows: &[Result<Scored, String>],
    judge: Option<(&Bench, &Conduct)>,
    waiting: usize,
) {
    for (entry, row) in entries.iter().zip(rows) {
        if let Err(error) = row {
            eprintln!("line {}: {error}", entry.line);
        }
    }
    let by = |tier: fn(Tier) -> bool| {
        let decided = |v: &&Verdict| v.verdict != Decision::Unsure && tier(v.tier);
        rows.iter().flatten().map(|row| row.outcome.verdict()).filter(decided).count()
    };
    eprintln!(
        "{} responses: {} decided by rule, {} by the pre-filter, {} by the judge",
        rows.len(),
        by(|tier| !matches!(tier, Tier::Filter | Tier::Judge)),
        by(|tier| tier == Tier::Filter),
        by(|tier| tier == Tier::Judge),
    );
    if let Some((bench, conduct)) = judge {
        let Conduct { answered, swayed, canaries, accepted } = conduct;
        let paid = match bench.member() {
            Member::Endpoint(endpoint) => endpoint.ledger().to_string(),
            Member::Local(_) => "nothing to pay".to_owned(),
        };
        eprintln!(
            "judge: {answered} questions, {swayed} swayed by the order, {} replies found on disk; {accepted} of {canaries} \
             canaries accepted; {paid}",
            bench.found()
        );
        if *accepted > 0 {
            eprintln!(
                "ALARM: the judge accepted an answer that is known to be wrong; nothing it said is used"
            );
        } else if let Some(stop) = bench.stopped() {
            eprintln!("stopped: {stop}; what is done is kept, and the same command goes on from here");
        }
    } else if waiting > 0 {
        eprintln!("{waiting} questions are for a judge; give --judge or --judge-local");
    }
    let unscored = |row: &Scored| match &row.outcome {
        Outcome::Unscored(_, reason) => Some(reason.clone()),
        _ => None,
    };
    let open =
        entries.iter().zip(rows).filter_map(|(entry, row)| Some((entry.line, unscored(row.as_ref().ok()?)?)));
    let open: Vec<(u64, String)> = open.collect();
    if !open.is_empty() {
        eprintln!("{} responses have no reward, their own lines say why, for example", open.len());
        for (line, reason) in open.iter().take(LISTED) {
            eprintln!("  line {line}: {reason}");
        }
    }
}

/// The most serious of what happened.
pub(super) fn code(
    rows: &[Result<Scored, String>],
    bench: Option<&Bench>,
    conduct: Option<&Conduct>,
) -> ExitCode {
    let failed = rows.iter().flatten().any(|row| matches!(row.outcome, Outcome::Unscored(..)));
    if conduct.is_some_and(|conduct| conduct.accepted > 0) {
        ExitCode::from(4)
    } else if bench.and_then(Bench::stopped) == Some(Stop::Budget) {
        ExitCode::from(3)
    } else if bench.is_some() && failed {
        ExitCode::from(5)
    } else if rows.iter().any(Result::is_err) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
