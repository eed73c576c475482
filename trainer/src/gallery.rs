//! `trainer gallery`: what a run of GRPO sampled, as one page: pictures, responses side by side, thinking, rewards, verdicts,
//! advantages, with the run's curves on top.
//!
//! The page is one file that asks for nothing from elsewhere. Its one script sorts and filters what is there, and is named to
//! the browser by its hash, so that nothing a policy writes can ever run.

pub(crate) mod curves;
pub(crate) mod samples;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use clap::Parser;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::folder::write_whole;
use crate::grpo::recipe::Recipe;
use crate::train::metrics;
use crate::train::report::escaped;
use crate::train::rows::Rows;
use curves::curves;
use samples::{Sampled, article, chosen, read, steps};

const EXAMPLE: &str = "\
Example:
  trainer gallery runs/grpo-xs --out gallery.html";

pub(crate) const STYLE: &str = include_str!("gallery/gallery.css");
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
