//! `report.html` of a run: its curves, held-out answers, and what it sampled at first and at last, on one page without scripts,
//! from the files of the run alone.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::recipe::Recipe;
use crate::folder::write_whole;
use crate::gallery::STYLE;
use crate::gallery::curves::curves;
use crate::gallery::samples::{article, chosen, read, steps};
use crate::train::metrics;
use crate::train::report::{escaped, last_answers};
use crate::train::rows::Rows;

/// Steps shown, the first and the last.
const STEPS: usize = 2;

/// Prompts shown of each.
const PROMPTS: usize = 4;

/// Writes the page of a run. `rows` are those that `rollouts.jsonl` counts by, `held_out` those of `answers.jsonl`.
pub fn write(run: &Path, recipe: &Recipe, rows: &Rows, held_out: Option<&Rows>) -> Result<()> {
    let name = escaped(&run.file_name().unwrap_or_default().to_string_lossy());
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src \
         'unsafe-inline'\"><title>{name}</title><style>{STYLE}</style></head>\n<body><main><h1>{name}</h1>\n"
    );
    curves(&mut page, &metrics::read(&run.join("metrics.jsonl"))?)?;
    last_answers(&mut page, run, held_out)?;
    let path = run.join("rollouts.jsonl");
    let group = recipe.rollout.group;
    let sampled = read(&path, &chosen(&steps(&path)?, STEPS), PROMPTS * group)?;
    if !sampled.is_empty() {
        page += "<h2>Sampled at first and at last</h2>\n";
    }
    sampled.chunks(group).try_for_each(|group| article(&mut page, group, rows))?;
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).context("recipe.toml")?;
    writeln!(page, "<h2>Recipe</h2><pre class=\"text\">{}</pre></main></body></html>", escaped(&recipe))?;
    write_whole(&run.join("report.html"), page.as_bytes())
}
