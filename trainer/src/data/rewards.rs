//! The dataset's own names of rewards, what kind each most likely is, and whether truths pass their own reward.
//!
//! The names are not published, so they are found by reading the file. A name that is neither a kind nor mapped gets a
//! proposal: what the name says if the truths agree, else what the truths look like. Proposals are for a person to
//! confirm; training takes a mapping only by hand.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use wethink_data::Row;
use wethink_reward::{Decision, Kind, Record, RewardMap};

use super::source::{Source, row};
use crate::verifier;

/// Truths of a name that a proposal is made from.
const SAMPLES: usize = 200;
/// Distinct names. A dataset has a handful; more means that the field holds something else.
const MAX_NAMES: usize = 256;
/// Share of sampled truths that must agree with a proposal.
const AGREEMENT: f64 = 0.95;

/// Words in a name and the kind they speak of; the first that is there counts. A blank to fill says nothing of what fits
/// into it.
const HINTS: [(&[&str], Kind); 9] = [
    (&["mcq", "mc", "choice", "option", "multiple"], Kind::Mcq),
    (&["yes", "yesno", "boolean", "bool"], Kind::YesNo),
    (&["iou", "bbox", "box", "grounding", "detection"], Kind::Box),
    (&["count", "counting"], Kind::Count),
    (&["digit", "number", "numeric", "numerical"], Kind::Number),
    (&["math", "formula", "latex"], Kind::Math),
    (&["ocr", "anls"], Kind::Anls),
    (&["exact", "string", "text"], Kind::Text),
    (&["des", "descriptive", "description", "open", "llm", "model", "judge", "free"], Kind::Open),
];

/// Every name found, with its kind.
pub(super) struct Rewards(BTreeMap<String, Named>);

/// A name in the data.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub kind: Kind,
    /// Whether nobody said so and it was guessed.
    pub proposed: bool,
}

/// What became of a row's truth under its own reward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// Reward 1.
    Accepted,
    /// Free text, for a judge.
    Judge,
    /// Why not.
    Failed(String),
}

impl Rewards {
    /// Reads the file once for its names.
    pub fn survey(path: &Path, map: &RewardMap) -> Result<Self> {
        let mut samples = BTreeMap::<String, Vec<Row>>::new();
        let mut source = Source::open(path, "finding rewards")?;
        loop {
            let batch = source.batch();
            if batch.is_empty() {
                break;
            }
            for fields in batch.into_iter().filter_map(|line| line.row.ok()) {
                let Ok((_, row)) = row(fields) else { continue };
                let Some(name) = name(&row) else { continue };
                let known = samples.entry(name).or_default();
                if known.len() < SAMPLES {
                    known.push(row);
                }
                if samples.len() > MAX_NAMES {
                    bail!(
                        "field `reward`: more than {MAX_NAMES} different values; it must name the reward's method"
                    );
                }
            }
        }
        let named = |(name, rows): (String, Vec<Row>)| {
            let known =
                map.resolve(&name).or_else(|| (name == verifier::SCENE).then_some(verifier::COMPARED));
            let kind = known.unwrap_or_else(|| propose(&name, &rows));
            (name, Named { kind, proposed: known.is_none() })
        };
        Ok(Self(samples.into_iter().map(named).collect()))
    }

    /// What a name of the survey means.
    pub fn of(&self, name: &str) -> Option<Named> {
        self.0.get(name).copied()
    }

    /// `NAME=KIND` for every proposal, to be confirmed by hand.
    pub fn proposals(&self) -> Vec<String> {
        let proposed = self.0.iter().filter(|(_, named)| named.proposed);
        proposed.map(|(name, named)| format!("{name}={}", named.kind)).collect()
    }
}

/// The row's name of its reward.
pub(super) fn name(row: &Row) -> Option<String> {
    row.reward.as_ref().map(wethink_data::OneOrMany::joined).filter(|name| !name.trim().is_empty())
}

fn propose(name: &str, rows: &[Row]) -> Kind {
    let folded = name.to_lowercase();
    let words: Vec<&str> = folded.split(|c: char| !c.is_alphanumeric()).collect();
    let hint = HINTS.iter().find(|(hints, _)| hints.iter().any(|hint| words.contains(hint)));
    let agrees = |kind: Kind| {
        let right = rows.iter().filter(|row| tried(row, kind) != Tried::Accepted).count();
        kind == Kind::Open || right as f64 <= (1.0 - AGREEMENT) * rows.len() as f64
    };
    match hint {
        Some(&(_, kind)) if agrees(kind) => kind,
        _ => {
            let shapes = [Kind::YesNo, Kind::Mcq, Kind::Number, Kind::Math, Kind::Text];
            let shaped = |kind: &Kind| {
                let like = rows.iter().filter(|row| looks_like(&row.truth(), *kind)).count();
                like as f64 >= AGREEMENT * rows.len() as f64 && agrees(*kind)
            };
            shapes.into_iter().find(shaped).unwrap_or(Kind::Open)
        }
    }
}

/// Whether a truth has the shape that the kind's truths have.
fn looks_like(truth: &str, kind: Kind) -> bool {
    let truth = truth.trim();
    match kind {
        Kind::YesNo => ["yes", "no", "true", "false"].contains(&truth.to_lowercase().trim_end_matches('.')),
        Kind::Mcq => {
            let bare = truth.trim_matches(|c: char| "().".contains(c));
            bare.len() == 1 && bare.chars().all(|c| c.is_ascii_uppercase())
        }
        Kind::Number => truth.replace([',', '%', '$'], "").trim().parse::<f64>().is_ok_and(f64::is_finite),
        Kind::Math => truth.contains(['\\', '^', '=', '$']) || looks_like(truth, Kind::Number),
        _ => truth.split_whitespace().count() <= 5,
    }
}

/// Gives the truth as a response to its own row: whatever a reward is, that must earn 1.
pub(super) fn tried(row: &Row, kind: Kind) -> Tried {
    let truth = row.truth();
    match verifier::scene(&name(row).unwrap_or_default(), row) {
        Ok(Some(scene)) if !scene.verify(&truth) => {
            return Tried::Failed(
                "field `answer`: its scene's verifier refuses it; make the row anew".into(),
            );
        }
        Err(error) => return Tried::Failed(error),
        Ok(_) => {}
    }
    let field = |names: [&str; 2]| names.iter().find_map(|name| row.extra.get(*name)).cloned();
    let record = json!({
        "kind": kind.name(),
        "gold": truth,
        "pred": format!("<think>\nSo it is.\n</think>\n<answer>\n{truth}\n</answer>"),
        "choices": field(["choices", "options"]).unwrap_or(Value::Null),
        "opts": row.extra.get("opts").cloned().unwrap_or(Value::Null),
    });
    let record = match Record::from_json(&record, &RewardMap::default()) {
        Ok(record) => record,
        Err(error) => return Tried::Failed(error.to_string()),
    };
    match wethink_reward::verify(&record) {
        Ok(verdict) if verdict.accepted() && verdict.score >= 1.0 => Tried::Accepted,
        Ok(verdict) if verdict.verdict == Decision::Unsure && kind == Kind::Open => Tried::Judge,
        Ok(verdict) => {
            let reason = serde_json::to_value(verdict.reason).unwrap_or_default();
            let reason = reason.as_str().unwrap_or_default().to_owned();
            Tried::Failed(format!(
                "field `answer`: as a response it earns {} by `{kind}` ({reason}), not 1; mend it or map the reward",
                verdict.score
            ))
        }
        Err(error) => Tried::Failed(error.to_string().replace("`gold`", "`answer`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(truths: &[&str]) -> Vec<Row> {
        truths.iter().map(|truth| Row::new("q", *truth)).collect()
    }

    #[test]
    fn a_proposal_is_what_the_name_says_if_the_truths_agree_and_else_their_shape() {
        for (name, truths, kind) in [
            ("MC", &["A", "C"][..], Kind::Mcq),
            ("rule", &["A", "(C)"], Kind::Mcq),
            ("rule", &["Yes", "no"], Kind::YesNo),
            ("rule", &["12", "1,300", "3.5"], Kind::Number),
            ("rule", &["\\frac{1}{2}", "3"], Kind::Math),
            ("FIB", &["blue", "left of it"], Kind::Text),
            ("number", &["blue", "red"], Kind::Text),
            ("DES", &["blue"], Kind::Open),
            ("rule", &["a long sentence that nobody can compare by rule"], Kind::Open),
            ("grounding IoU", &["[1, 2, 30, 40]"], Kind::Box),
        ] {
            assert_eq!(propose(name, &rows(truths)), kind, "{name} {truths:?}");
        }
    }

    #[test]
    fn a_maze_is_tried_by_its_own_verifier() {
        let mazes = wethink_scenes::Settings { tasks: vec![wethink_scenes::Task::C], ..Default::default() };
        let scene = mazes.scene(3, 0).expect("a maze");
        let mut row = Row { reward: Some(verifier::SCENE.into()), ..Row::new("q", scene.answer()) };
        assert!(
            matches!(tried(&row, verifier::COMPARED), Tried::Failed(reason) if reason.contains("`scene`"))
        );
        row.extra.insert("scene".into(), serde_json::to_value(&scene).expect("plain"));
        assert_eq!(tried(&row, verifier::COMPARED), Tried::Accepted);
        row.answer = "up up up up up up up up up".into();
        assert!(
            matches!(tried(&row, verifier::COMPARED), Tried::Failed(reason) if reason.contains("verifier"))
        );
    }

    #[test]
    fn a_truth_that_its_own_reward_refuses_is_found() {
        assert_eq!(tried(&rows(&["12"])[0], Kind::Number), Tried::Accepted);
        assert_eq!(tried(&rows(&["a cat on a mat"])[0], Kind::Open), Tried::Judge);
        for (truth, kind) in [("a cat", Kind::Number), ("cat", Kind::Mcq), ("[9, 9, 1, 1]", Kind::Box)] {
            let Tried::Failed(reason) = tried(&rows(&[truth])[0], kind) else { panic!("{truth}") };
            assert!(reason.contains("`answer`"), "{reason}");
        }
    }
}
