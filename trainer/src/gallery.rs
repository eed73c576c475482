//! `trainer gallery`: what a run of GRPO sampled, as one page: pictures, responses side by side, thinking, rewards, verdicts,
//! advantages, with the run's curves on top.
//!
//! The page is one file that asks for nothing from elsewhere. Its one script sorts and filters what is there, and is named to
//! the browser by its hash, so that nothing a policy writes can ever run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use clap::Parser;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use wethink_reward::Response;

use crate::folder::write_whole;
use crate::grpo::recipe::Recipe;
use crate::picture::data_url;
use crate::train::advantage::{has_signal, spread};
use crate::train::metrics;
use crate::train::report::{curve, escaped, plot};
use crate::train::rows::Rows;

const EXAMPLE: &str = "\
Example:
  trainer gallery runs/grpo-xs --out gallery.html";

const STYLE: &str = include_str!("gallery/gallery.css");
const SCRIPT: &str = include_str!("gallery/gallery.js");

/// What a run of GRPO sampled, as one page.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Where the page goes
    #[arg(long, value_name = "F.html")]
    out: PathBuf,
    /// Steps shown, spread evenly from the first to the last
    #[arg(long, value_name = "N", default_value_t = 4)]
    steps: usize,
    /// Prompts shown of each step
    #[arg(long, value_name = "N", default_value_t = 12)]
    prompts: usize,
}

/// A response, as `rollouts.jsonl` has it.
#[derive(Debug, Deserialize)]
struct Sampled {
    step: u64,
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

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let name = args.run.display().to_string();
    let recipe = Recipe::read(&args.run.join("recipe.toml"), &[])
        .with_context(|| format!("{name}: no run of `trainer grpo`"))?;
    let rows = Rows::open(&recipe.data.rows, recipe.data.images.as_deref())?;
    let path = args.run.join("rollouts.jsonl");
    let steps = chosen(&steps(&path)?, args.steps);
    let sampled = read(&path, &steps, args.prompts * recipe.rollout.group)?;
    if sampled.is_empty() {
        bail!("{}: no responses yet", path.display());
    }
    let groups: Vec<&[Sampled]> = sampled.chunks(recipe.rollout.group).collect();
    let lines = metrics::read(&args.run.join("metrics.jsonl"))?;
    let page = page(&name, &lines, &steps, &groups, &rows)?;
    write_whole(&args.out, page.as_bytes())?;
    eprintln!("{} shows {} prompts of {} steps", args.out.display(), groups.len(), steps.len());
    Ok(ExitCode::SUCCESS)
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

fn steps(path: &Path) -> Result<BTreeSet<u64>> {
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
fn chosen(steps: &BTreeSet<u64>, count: usize) -> BTreeSet<u64> {
    let all: Vec<u64> = steps.iter().copied().collect();
    let (last, gaps) = (all.len().saturating_sub(1), count.saturating_sub(1).max(1));
    (0..count).filter_map(|place| all.get(last - last * (gaps - place.min(gaps)) / gaps).copied()).collect()
}

/// The first responses of each step, groups whole.
fn read(path: &Path, steps: &BTreeSet<u64>, of_a_step: usize) -> Result<Vec<Sampled>> {
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

fn page(
    name: &str,
    lines: &[Value],
    steps: &BTreeSet<u64>,
    groups: &[&[Sampled]],
    rows: &Rows,
) -> Result<String> {
    let hash = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    let title = escaped(name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src \
         'unsafe-inline'; script-src 'sha256-{hash}'\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body><header><h1>{title}</h1>\n"
    );
    curves(&mut page, lines)?;
    controls(&mut page, steps)?;
    page += "</header>\n<main>\n";
    for group in groups {
        article(&mut page, group, rows)?;
    }
    writeln!(page, "</main><script>{SCRIPT}</script></body></html>")?;
    Ok(page)
}

fn curves(page: &mut String, lines: &[Value]) -> Result<()> {
    *page += "<div class=\"curves\">";
    for (title, pointers) in [
        ("Reward and accuracy", &["/reward/all/mean", "/reward/accuracy/mean"][..]),
        ("Share of held-out answers accepted", &["/validation/accuracy"]),
        ("Tokens of a response", &["/length/mean"]),
        ("Entropy", &["/entropy"]),
        ("Divergence from the reference", &["/kl_reference"]),
        ("Norm of the gradient", &["/norm"]),
        ("Sampling against training, mean and largest", &["/mismatch_mean", "/mismatch_max"]),
        ("Prompts sampled, and without signal", &["/groups/sampled", "/groups/without_signal"]),
    ] {
        let curves: Vec<Vec<(f64, f64)>> = pointers.iter().map(|pointer| curve(lines, pointer)).collect();
        if curves.iter().any(|curve| !curve.is_empty()) {
            writeln!(page, "<figure><figcaption>{title}</figcaption>{}</figure>", plot(pointers, &curves)?)?;
        }
    }
    *page += "</div>\n";
    Ok(())
}

fn controls(page: &mut String, steps: &BTreeSet<u64>) -> Result<()> {
    *page += "<form><label>Order<select name=\"sort\"><option value=\"step\">as sampled</option>\
        <option value=\"best\">highest reward first</option><option value=\"worst\">lowest reward first</option>\
        <option value=\"spread\">widest rewards first</option><option value=\"longest\">longest first</option></select></label>\
        <label>Step<select name=\"step\"><option value=\"\">all shown</option>";
    for step in steps {
        write!(page, "<option value=\"{step}\">{step}</option>")?;
    }
    *page += "</select></label><label>Prompts<select name=\"kind\"><option value=\"\">all</option>\
        <option value=\"signal\">with signal</option><option value=\"equal\">equal rewards</option>\
        <option value=\"right\">some accepted</option><option value=\"wrong\">none accepted</option>\
        <option value=\"cut\">some cut off</option><option value=\"unscored\">some without a reward</option></select></label>\
        <label>Words<input name=\"words\" type=\"search\" autocomplete=\"off\"></label>\
        <p class=\"soft\" id=\"shown\" role=\"status\"></p></form>\n";
    Ok(())
}

fn article(page: &mut String, group: &[Sampled], rows: &Rows) -> Result<()> {
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
