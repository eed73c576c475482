//! The figures: accuracy with its interval, comparisons row by row, what several draws reach, and curves.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wethink_trainer::statistics::{mcnemar, wilson};

use crate::lab::Lab;
use crate::picture::{self, Curve};
use crate::stages::{self, ENDLESS, HEADLINE, SAMPLES, SETS, STARTS, VARIANTS, work};

/// What the models of a start are to each other.
const ROLES: [&str; 3] = ["parent", "grpo", "control"];

/// Answers of a model to a set, in the order of the rows.
struct Answers {
    accepted: Vec<bool>,
    /// Whether the count is that of the ticks in the thought.
    adds_up: Vec<bool>,
}

impl Answers {
    fn read(lab: &Lab, model: &str, set: &str) -> Result<Self> {
        let lines = lab.lines(&format!("answers/{model}-on-{set}.jsonl"))?;
        let adds_up = |line: &Value| {
            let response = line["response"].as_str().unwrap_or_default();
            let answer = response.split("<answer>").nth(1).and_then(|rest| rest.split("</answer>").next());
            let count = answer.and_then(|text| text.trim().parse::<usize>().ok());
            count == Some(response.matches('✓').count())
        };
        Ok(Self {
            accepted: lines.iter().map(|line| line["accepted"] == true).collect(),
            adds_up: lines.iter().map(adds_up).collect(),
        })
    }

    fn right(&self) -> usize {
        count(&self.accepted)
    }

    fn share(&self) -> Value {
        let [low, high] = wilson(self.right(), self.accepted.len());
        json!({
            "rows": self.accepted.len(),
            "right": self.right(),
            "accuracy": self.right() as f64 / self.accepted.len().max(1) as f64,
            "interval": [low, high],
            "answer_is_the_number_of_ticks": count(&self.adds_up) as f64 / self.adds_up.len().max(1) as f64,
        })
    }

    /// Rows that only one of both has right, and McNemar's probability.
    fn against(&self, other: &Self) -> Result<Value> {
        ensure!(self.accepted.len() == other.accepted.len(), "two models answered different rows");
        let pairs = || self.accepted.iter().zip(&other.accepted);
        let here = pairs().filter(|&(&here, &there)| here && !there).count();
        let there = pairs().filter(|&(&here, &there)| there && !here).count();
        Ok(json!({ "only_here": here, "only_there": there, "p": mcnemar(here, there) }))
    }
}

fn count(all: &[bool]) -> usize {
    all.iter().filter(|&&one| one).count()
}

/// A start of one seed, all of whose models have answered the set that the verdict is about.
struct Measured {
    name: String,
    start: &'static str,
    seed: u64,
    /// Parent, reinforcement learning, control.
    models: [String; 3],
}

/// What of the starts is measured, and names of those that are not.
fn measured(lab: &Lab, seeds: &[u64]) -> (Vec<Measured>, Vec<String>) {
    let (mut measured, mut missing) = (Vec::new(), Vec::new());
    for start in STARTS {
        for &seed in seeds {
            let name = format!("seed {seed}, after {}", start.after);
            let models = start.models.map(|model| format!("{model}-{seed}"));
            if models.iter().all(|model| lab.is_done(&format!("{model}-on-{HEADLINE}"))) {
                measured.push(Measured { name, start: start.name, seed, models });
            } else {
                missing.push(name);
            }
        }
    }
    (measured, missing)
}

/// Writes figures.json, figures.md and curves.svg, and prints the tables.
pub fn write(lab: &Lab, seeds: &[u64]) -> Result<()> {
    let mut all = serde_json::Map::new();
    let (starts, missing) = measured(lab, seeds);
    for name in missing {
        eprintln!("{name}: not measured yet; the figures leave it out");
    }
    for start in &starts {
        all.insert(start.name.clone(), of_start(lab, start).with_context(|| start.name.clone())?);
    }
    let variants: Vec<Value> = VARIANTS
        .iter()
        .filter(|(name, ..)| lab.is_done(&format!("{}-on-{HEADLINE}", stages::variant(name))))
        .map(|(name, set, about)| variant(lab, name, set, about))
        .collect::<Result<_>>()?;
    all.insert("variants of seed 1".into(), variants.into());
    if SETS.iter().all(|(set, ..)| lab.is_done(&format!("{}-on-{set}", ENDLESS.0))) {
        all.insert("endless annotation".into(), endless(lab)?);
    }
    let figures = Value::Object(all);
    let text = tables(&figures);
    let save = |name: &str, text: &str| {
        let path = lab.path(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    save("figures.json", &serde_json::to_string_pretty(&figures)?)?;
    save("figures.md", &text)?;
    save("curves.svg", &picture::curves(&curves(lab, &starts)?)?)?;
    print!("{text}");
    println!("{}", lab.path("figures.json").display());
    Ok(())
}

fn of_start(lab: &Lab, start: &Measured) -> Result<Value> {
    let mut sets = serde_json::Map::new();
    for (set, ..) in SETS {
        let mut row = serde_json::Map::new();
        let answers = start.models.iter().map(|model| {
            let done = lab.is_done(&format!("{model}-on-{set}"));
            done.then(|| Answers::read(lab, model, set)).transpose()
        });
        let answers: Vec<Option<Answers>> = answers.collect::<Result<_>>()?;
        for (role, answers) in ROLES.iter().zip(&answers) {
            row.insert((*role).into(), answers.as_ref().map_or(Value::Null, Answers::share));
        }
        let [parent, grpo, control] = [0, 1, 2].map(|role| answers[role].as_ref());
        for (name, other) in [("grpo against parent", parent), ("grpo against control", control)] {
            if let (Some(grpo), Some(other)) = (grpo, other) {
                row.insert(name.into(), grpo.against(other)?);
            }
        }
        sets.insert(set.into(), row.into());
    }
    let runs = ROLES.iter().zip(&start.models).map(|(role, run)| {
        Ok((
            (*role).to_owned(),
            json!({
                "run": run,
                "minutes": minutes(lab, run)?,
                "floating-point operations": work(lab, run)?,
                "drawn": drawn(lab, run)?,
                "questions": questions(lab, run)?,
            }),
        ))
    });
    let runs = runs.collect::<Result<serde_json::Map<_, _>>>()?;
    Ok(json!({ "start": start.start, "seed": start.seed, "sets": sets, "runs": runs }))
}

fn variant(lab: &Lab, name: &str, set: &[&str], about: &str) -> Result<Value> {
    let run = stages::variant(name);
    let answers = Answers::read(lab, &run, HEADLINE)?;
    let varied = stages::varied();
    let against = match lab.is_done(&format!("{varied}-on-{HEADLINE}")) {
        true => answers.against(&Answers::read(lab, &varied, HEADLINE)?)?,
        false => Value::Null,
    };
    Ok(json!({
        "name": name,
        "set": set,
        "about": about,
        HEADLINE: answers.share(),
        "against the run it varies": against,
        "questions": questions(lab, &run)?,
        "minutes": minutes(lab, &run)?,
    }))
}

fn endless(lab: &Lab) -> Result<Value> {
    let (run, about) = ENDLESS;
    let share = |(set, ..): (&str, _, _)| Ok((set.to_owned(), Answers::read(lab, run, set)?.share()));
    let sets = SETS.into_iter().map(share).collect::<Result<serde_json::Map<_, _>>>()?;
    let drawn = drawn(lab, run)?;
    Ok(json!({ "about": about, "sets": sets, "drawn": drawn, "minutes": minutes(lab, run)? }))
}

/// What several draws to a row reach, once they are drawn: the mean, and how often one of them is right.
fn drawn(lab: &Lab, model: &str) -> Result<Value> {
    let name = format!("{model}-on-{HEADLINE}-sampled");
    if !lab.is_done(&name) {
        return Ok(Value::Null);
    }
    let lines = lab.lines(&format!("answers/{name}.jsonl"))?;
    let right = |line: &Value| line["sampled"]["accepted"].as_f64().unwrap_or(0.0);
    let rows = lines.len().max(1) as f64;
    let mean = lines.iter().map(|line| right(line) / SAMPLES as f64).sum::<f64>() / rows;
    let any = lines.iter().filter(|line| right(line) > 0.0).count() as f64 / rows;
    Ok(json!({ "rows": lines.len(), "pass@1": mean, (format!("pass@{SAMPLES}")): any }))
}

/// Questions that a run of reinforcement learning asked, those whose responses were all alike, and those it learned from.
fn questions(lab: &Lab, run: &str) -> Result<Value> {
    let lines = lab.lines(&format!("runs/{run}/metrics.jsonl"))?;
    let sum = |name: &str| lines.iter().filter_map(|line| line["groups"][name].as_u64()).sum::<u64>();
    Ok(match sum("sampled") {
        0 => Value::Null,
        asked => json!({ "asked": asked, "alike": sum("without_signal"), "used": sum("kept") }),
    })
}

fn minutes(lab: &Lab, run: &str) -> Result<f64> {
    let seconds = |line: &Value| line["seconds"].as_f64().or_else(|| line["seconds"]["step"].as_f64());
    let lines = lab.lines(&format!("runs/{run}/metrics.jsonl"))?;
    Ok(lines.iter().filter_map(seconds).sum::<f64>() / 60.0)
}

/// Accuracy on the validation scenes of the rewarded kind, along the share of the run, from the late start: its parent was
/// measured on the same scenes.
fn curves(lab: &Lab, starts: &[Measured]) -> Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for start in starts.iter().filter(|start| start.start == "late") {
        let [parent, grpo, control] = &start.models;
        let from = validated(lab, parent)?.last().map(|&(_, accuracy)| (0.0, accuracy));
        for (name, run, rewarded) in [("GRPO", grpo, true), ("continued SFT", control, false)] {
            let points = from.into_iter().chain(validated(lab, run)?).collect();
            curves.push(Curve { name: format!("{name}, seed {}", start.seed), first: rewarded, points });
        }
    }
    Ok(curves)
}

/// Shares of a run, and the share of right answers to its validation scenes there.
fn validated(lab: &Lab, run: &str) -> Result<Vec<(f64, f64)>> {
    let mut points = std::collections::BTreeMap::<u64, (f64, f64)>::new();
    for line in lab.lines(&format!("runs/{run}/answers.jsonl"))? {
        let point = points.entry(line["step"].as_u64().unwrap_or(0)).or_default();
        *point = (point.0 + f64::from(u8::from(line["accepted"] == true)), point.1 + 1.0);
    }
    let end = points.keys().next_back().copied().unwrap_or(1) as f64;
    Ok(points.iter().map(|(&step, (right, all))| (step as f64 / end, right / all)).collect())
}

/// A share in per cent.
fn percent(value: &Value) -> String {
    value.as_f64().map_or("–".to_owned(), |share| format!("{:.1}", 100.0 * share))
}

/// Tables in Markdown.
fn tables(figures: &Value) -> String {
    let mut text = String::new();
    let share = |value: &Value| {
        if value.is_null() {
            return "–".to_owned();
        }
        let ends = [0, 1].map(|end| percent(&value["interval"][end]));
        format!("{} ({}–{})", percent(&value["accuracy"]), ends[0], ends[1])
    };
    let p = |value: &Value| match value["p"].as_f64() {
        Some(p) if p < 1e-3 => format!("{p:.0e}"),
        Some(p) => format!("{p:.3}"),
        None => "–".to_owned(),
    };
    let seeds = || figures.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("seed"));
    for (seed, of_seed) in seeds() {
        text += &format!(
            "{seed}\n\n| held-out scenes | parent | GRPO | continued SFT | p, parent | p, continued SFT |\n|---|---|---|---|---|---|\n"
        );
        for (set, _, about) in SETS {
            let row = &of_seed["sets"][set];
            let [parent, grpo, control] = ["parent", "grpo", "control"].map(|model| share(&row[model]));
            let [above, beside] = ["grpo against parent", "grpo against control"].map(|pair| p(&row[pair]));
            let _ = writeln!(text, "| {about} | {parent} | {grpo} | {control} | {above} | {beside} |");
        }
        text += &format!(
            "\n| | minutes | 10¹² operations | pass@1 | pass@{SAMPLES} | answers that are the number of ticks |\n|---|---|---|---|---|---|\n"
        );
        for model in ["parent", "grpo", "control"] {
            let run = &of_seed["runs"][model];
            let _ = writeln!(
                text,
                "| {model} | {:.0} | {:.1} | {} | {} | {} |",
                run["minutes"].as_f64().unwrap_or(0.0),
                run["floating-point operations"].as_f64().unwrap_or(0.0) / 1e12,
                percent(&run["drawn"]["pass@1"]),
                percent(&run["drawn"][format!("pass@{SAMPLES}")]),
                percent(&of_seed["sets"][HEADLINE][model]["answer_is_the_number_of_ticks"])
            );
        }
        text.push('\n');
    }
    let variants = figures["variants of seed 1"].as_array().filter(|all| !all.is_empty());
    if let Some(variants) = variants {
        text += "| variant of late GRPO, seed 1 | accuracy | p, late GRPO | minutes | answers that are the number of ticks |\n|---|---|---|---|---|\n";
        for row in variants {
            let (about, minutes) =
                (row["about"].as_str().unwrap_or_default(), row["minutes"].as_f64().unwrap_or(0.0));
            let adds_up = percent(&row[HEADLINE]["answer_is_the_number_of_ticks"]);
            let beside = p(&row["against the run it varies"]);
            let _ = writeln!(
                text,
                "| {about} | {} | {beside} | {minutes:.0} | {adds_up} |",
                share(&row[HEADLINE])
            );
        }
        text.push('\n');
    }
    let endless = &figures["endless annotation"];
    if endless.is_object() {
        text += &format!("| {} | |\n|---|---|\n", endless["about"].as_str().unwrap_or_default());
        for (set, _, about) in SETS {
            let _ = writeln!(text, "| {about} | {} |", share(&endless["sets"][set]));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_row_by_row() {
        let answers =
            |accepted: &[bool]| Answers { accepted: accepted.to_vec(), adds_up: vec![true; accepted.len()] };
        let (one, other) = (answers(&[true, true, false, true]), answers(&[true, false, true, false]));
        let pair = one.against(&other).expect("the same rows");
        assert_eq!(
            (&pair["only_here"], &pair["only_there"], &pair["p"]),
            (&json!(2), &json!(1), &json!(1.0))
        );
        assert!(one.against(&answers(&[true])).is_err());
        assert_eq!(one.share()["accuracy"], 0.75);
    }

    #[test]
    fn tables_hold_every_set_and_say_what_is_missing() {
        let share = json!({ "accuracy": 0.5, "interval": [0.45, 0.55] });
        let set = json!({ "parent": share, "grpo": share, "control": share, "grpo against parent": { "p": 1e-9 }, "grpo against control": { "p": 0.25 } });
        let sets: serde_json::Map<_, _> =
            SETS.iter().map(|(name, ..)| ((*name).to_owned(), set.clone())).collect();
        let shares: serde_json::Map<_, _> =
            SETS.iter().map(|(name, ..)| ((*name).to_owned(), share.clone())).collect();
        let endless = json!({ "about": "without end", "sets": shares });
        let mut fewer = sets.clone();
        fewer[SETS[2].0] = json!({ "parent": share, "grpo": null, "control": null });
        let text = tables(&json!({
            "seed 1": { "sets": sets, "runs": {} },
            "seed 2": { "sets": fewer, "runs": {} },
            "variants of seed 1": [
                { "about": "one", HEADLINE: share, "against the run it varies": { "p": 1e-4 }, "minutes": 20.4 },
                { "about": "other", HEADLINE: share, "against the run it varies": null, "minutes": 3.0 },
            ],
            "endless annotation": endless,
        }));
        for row in ["| one | 50.0 (45.0–55.0) | 1e-4 | 20 | – |", "| other | 50.0 (45.0–55.0) | – | 3 | – |"]
        {
            assert!(text.contains(row), "{text}");
        }
        let open = format!("| {} | 50.0 (45.0–55.0) | – | – | – | – |", SETS[2].2);
        assert_eq!(text.matches(&open).count(), 1, "{text}");
        let alone = format!("| without end | |\n|---|---|\n| {} | 50.0 (45.0–55.0) |", SETS[0].2);
        assert!(text.contains(&alone), "{text}");
        for (.., about) in SETS {
            let row = format!(
                "| {about} | 50.0 (45.0–55.0) | 50.0 (45.0–55.0) | 50.0 (45.0–55.0) | 1e-9 | 0.250 |"
            );
            assert!(text.contains(&row), "{text}");
        }
        assert!(text.contains("| grpo | 0 | 0.0 | – | – | – |"), "{text}");
    }

    #[test]
    fn curves_are_drawn_with_their_names() {
        let curve =
            |name: &str, first| Curve { name: name.into(), first, points: vec![(0.0, 0.4), (1.0, 0.6)] };
        let svg = picture::curves(&[curve("GRPO, seed 1", true), curve("continued SFT, seed 1", false)])
            .expect("an SVG");
        assert!(
            svg.starts_with("<svg") && svg.contains("GRPO, seed 1") && svg.contains("continued SFT, seed 1")
        );
    }
}
