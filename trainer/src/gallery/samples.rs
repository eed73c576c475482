//! Responses of a run, read from `rollouts.jsonl` and shown prompt by prompt.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use wethink_reward::Response;

use crate::picture::data_url;
use crate::train::advantage::{has_signal, spread};
use crate::train::report::escaped;
use crate::train::rows::Rows;

/// A response, as `rollouts.jsonl` has it.
#[derive(Debug, Deserialize)]
pub(crate) struct Sampled {
    pub step: u64,
    prompt_id: usize,
    sample: u32,
    token_ids: Vec<u32>,
    text: String,
    reward: Option<f64>,
    parts: BTreeMap<String, f64>,
    verdict: Value,
    unscored: Option<String>,
    advantage: Option<f64>,
    finish: String,
}

/// Whole lines of a file; one cut short, by a run that is under way, ends it.
pub(crate) fn lines<T: for<'de> Deserialize<'de>>(path: &Path, mut see: impl FnMut(T)) -> Result<()> {
    let context = || path.display().to_string();
    for line in BufReader::new(File::open(path).with_context(context)?).lines() {
        match serde_json::from_str(&line.with_context(context)?) {
            Ok(value) => see(value),
            Err(_) => break,
        }
    }
    Ok(())
}

/// The steps that have responses.
pub(crate) fn steps(path: &Path) -> Result<BTreeSet<u64>> {
    #[derive(Deserialize)]
    struct Step {
        step: u64,
    }
    let mut steps = BTreeSet::new();
    lines(path, |Step { step }| {
        steps.insert(step);
    })?;
    Ok(steps)
}

/// So many of the steps, the first and the last among them.
pub(crate) fn chosen(steps: &BTreeSet<u64>, count: usize) -> BTreeSet<u64> {
    let all: Vec<u64> = steps.iter().copied().collect();
    let (last, gaps) = (all.len().saturating_sub(1), count.saturating_sub(1).max(1));
    (0..count).filter_map(|place| all.get(last - last * (gaps - place.min(gaps)) / gaps).copied()).collect()
}

/// The first responses of each step, groups whole.
pub(crate) fn read(path: &Path, steps: &BTreeSet<u64>, of_a_step: usize) -> Result<Vec<Sampled>> {
    let mut taken: BTreeMap<u64, usize> = BTreeMap::new();
    let mut all = Vec::new();
    lines(path, |sampled: Sampled| {
        let count = taken.entry(sampled.step).or_default();
        if steps.contains(&sampled.step) && *count < of_a_step {
            *count += 1;
            all.push(sampled);
        }
    })?;
    Ok(all)
}

/// A prompt with its responses.
pub(crate) fn article(page: &mut String, group: &[Sampled], rows: &Rows) -> Result<()> {
    let Some(first) = group.first() else { return Ok(()) };
    let rewards: Vec<Option<f64>> = group.iter().map(|sampled| sampled.reward).collect();
    let known: Vec<f64> = rewards.iter().flatten().copied().collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let tokens: usize = group.iter().map(|sampled| sampled.token_ids.len()).sum();
    let accepted = group.iter().filter(|sampled| sampled.verdict["verdict"] == "accept").count();
    let mut kinds = vec![if has_signal(&rewards) { "signal" } else { "equal" }];
    kinds.push(if accepted > 0 { "right" } else { "wrong" });
    kinds.extend(group.iter().any(|sampled| sampled.finish == "length").then_some("cut"));
    kinds.extend(rewards.contains(&None).then_some("unscored"));
    writeln!(
        page,
        "<article data-step=\"{}\" data-mean=\"{mean}\" data-spread=\"{}\" data-tokens=\"{tokens}\" data-kind=\"{}\">\
         <h2>Step {}, row {}: {accepted} of {} accepted, mean reward {mean:.3}</h2><div class=\"ask\"><div>",
        first.step,
        spread(&known),
        kinds.join(" "),
        first.step,
        first.prompt_id,
        group.len()
    )?;
    if first.prompt_id < rows.len() {
        let row = rows.row(first.prompt_id);
        for (name, bytes) in rows.picture_bytes(first.prompt_id)? {
            let name = escaped(&name);
            match data_url(&bytes) {
                Ok(url) => write!(page, "<img alt=\"{name}\" src=\"{url}\">")?,
                Err(error) => {
                    write!(page, "<p class=\"soft\">{name}: {}</p>", escaped(&error.to_string()))?;
                }
            }
        }
        let (problem, truth) = (escaped(&row.problem), escaped(&row.truth()));
        write!(
            page,
            "</div><div><p class=\"text\">{problem}</p><p class=\"soft\">Truth: {truth}</p></div></div>"
        )?;
    } else {
        *page += "</div></div>";
    }
    *page += "<div class=\"side\">";
    group.iter().try_for_each(|sampled| section(page, sampled))?;
    *page += "</div></article>\n";
    Ok(())
}

fn section(page: &mut String, sampled: &Sampled) -> Result<()> {
    let word = |value: &Value| escaped(value.as_str().unwrap_or_default()).replace('_', " ");
    let reward = match (sampled.reward, &sampled.unscored) {
        (Some(reward), _) => format!("reward {reward:.3}"),
        (None, Some(reason)) => format!("no reward: {}", escaped(reason)),
        (None, None) => "no reward".to_owned(),
    };
    let advantage = match sampled.advantage {
        Some(advantage) if advantage > 0.0 => format!("<span class=\"up\">+{advantage:.3}</span>"),
        Some(advantage) if advantage < 0.0 => format!("<span class=\"down\">−{:.3}</span>", -advantage),
        Some(_) => "0".to_owned(),
        None => "not trained on".to_owned(),
    };
    let parts: Vec<String> = sampled
        .parts
        .iter()
        .filter(|(_, value)| **value != 0.0)
        .map(|(name, value)| format!("{} {value:.2}", escaped(name)))
        .collect();
    writeln!(
        page,
        "<section><h3>Sample {}: {reward}</h3><dl><dt>advantage</dt><dd>{advantage}</dd><dt>verdict</dt><dd>{}, {}</dd>\
         <dt>parts</dt><dd>{}</dd><dt>tokens</dt><dd>{}, ended by {}</dd></dl>",
        sampled.sample,
        word(&sampled.verdict["verdict"]),
        word(&sampled.verdict["reason"]),
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") },
        sampled.token_ids.len(),
        escaped(&sampled.finish)
    )?;
    let response = Response::parse(&sampled.text);
    if let Some(think) = response.think.map(str::trim).filter(|think| !think.is_empty()) {
        let think = escaped(think);
        write!(page, "<details open><summary>Thinking</summary><p class=\"text\">{think}</p></details>")?;
    }
    match &response.answer {
        Some(answer) => write!(page, "<p class=\"answer text\">{}</p>", escaped(answer.text.trim()))?,
        None => write!(page, "<p class=\"text\">{}</p>", escaped(response.body.text.trim()))?,
    }
    writeln!(
        page,
        "<details><summary>The whole text</summary><p class=\"text\">{}</p></details></section>",
        escaped(&sampled.text)
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_spread_evenly_with_the_first_and_the_last() {
        let steps: BTreeSet<u64> = (1..=10).collect();
        let of = |count| chosen(&steps, count).into_iter().collect::<Vec<_>>();
        assert_eq!(of(4), [1, 4, 7, 10]);
        assert_eq!(of(2), [1, 10]);
        assert_eq!(of(99), (1..=10).collect::<Vec<_>>());
        assert_eq!(of(1).len(), 1);
        assert!(of(0).is_empty() && chosen(&BTreeSet::new(), 4).is_empty());
    }
}
