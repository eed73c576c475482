//! `trainer examples`: a few responses of a run or an evaluation, with their pictures, as rows for the reward checker.
//!
//! Responses are sorted by what became of them (accepted, rejected, no answer found, cut off), and as many are taken of each
//! sort as of every other, spread evenly from the first to the last: rare mistakes are seen beside common ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};
use wethink_reward::Response;

use crate::gallery::samples::lines;
use crate::grpo::recipe::Recipe;
use crate::train::rows::Rows;
use crate::verifier;

const EXAMPLE: &str = "\
Examples:
  trainer examples runs/grpo-xs --out rollouts --force
  trainer eval --checkpoint xs-sft --data held-out/rows.jsonl --out e.jsonl
  trainer examples e.jsonl --data held-out/rows.jsonl --out examples

--out gets rows.jsonl and images/. The site's reward checker opens such a folder
once it is dropped there.";

/// A few responses with their pictures, as rows for the reward checker.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// A run folder of `trainer grpo`, or what `trainer eval` wrote
    #[arg(value_name = "RUN|E.jsonl")]
    from: PathBuf,
    /// The rows that were answered; a run names its own
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Folder that the rows' pictures are named from [default: the rows' own]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Folder for rows.jsonl and images/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace the folder
    #[arg(long)]
    force: bool,
    /// Number of responses at most
    #[arg(long, value_name = "N", default_value_t = 48)]
    n: usize,
}

/// A response, wherever it stands.
struct Told {
    id: String,
    row: usize,
    response: String,
    tokens: usize,
    sort: &'static str,
}

/// A line of a run's `rollouts.jsonl`.
#[derive(Deserialize)]
struct Sampled {
    step: u64,
    prompt_id: usize,
    sample: u32,
    token_ids: Vec<u32>,
    text: String,
    verdict: Value,
    finish: String,
}

/// A line of an evaluation.
#[derive(Deserialize)]
struct Evaluated {
    row: usize,
    accepted: bool,
    truncated: bool,
    tokens: usize,
    response: String,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (told, rows) = read(args)?;
    let known = |one: &Told| one.row < rows.len() && comparable(&rows, one.row);
    let told: Vec<Told> = told.into_iter().filter(known).collect();
    if told.is_empty() {
        bail!("{}: no responses to rows that a rule compares with a truth", args.from.display());
    }
    let chosen = chosen(&told, args.n);
    write(args, &chosen, &rows)?;
    let mut sorts: BTreeMap<&str, usize> = BTreeMap::new();
    chosen.iter().for_each(|one| *sorts.entry(one.sort).or_default() += 1);
    let sorts: Vec<String> = sorts.iter().map(|(sort, count)| format!("{count} {sort}")).collect();
    eprintln!("{}: {} responses of {}: {}", args.out.display(), chosen.len(), told.len(), sorts.join(", "));
    Ok(ExitCode::SUCCESS)
}

fn read(args: &Args) -> Result<(Vec<Told>, Rows)> {
    let name = args.from.display();
    let mut told = Vec::new();
    if args.from.is_dir() {
        let recipe = Recipe::read(&args.from.join("recipe.toml"), &[])
            .with_context(|| format!("{name}: no run of `trainer grpo`"))?;
        lines(&args.from.join("rollouts.jsonl"), |one: Sampled| told.push(sampled(one)))?;
        let data = args.data.as_ref().unwrap_or(&recipe.data.rows);
        let images = args.images.as_ref().or(recipe.data.images.as_ref());
        return Ok((told, Rows::open(data, images.map(PathBuf::as_path))?));
    }
    let Some(data) = &args.data else { bail!("{name}: --data names the rows that were answered") };
    lines(&args.from, |one: Evaluated| told.push(evaluated(one)))?;
    if told.is_empty() {
        bail!("{name}: no line of `trainer eval`");
    }
    Ok((told, Rows::open(data, args.images.as_deref())?))
}

fn sampled(one: Sampled) -> Told {
    Told {
        id: format!("step {}, row {}, sample {}", one.step, one.prompt_id, one.sample),
        row: one.prompt_id,
        tokens: one.token_ids.len(),
        sort: sort(one.verdict["verdict"] == "accept", one.finish == "length", &one.text),
        response: one.text,
    }
}

fn evaluated(one: Evaluated) -> Told {
    Told {
        id: format!("row {}", one.row),
        row: one.row,
        tokens: one.tokens,
        sort: sort(one.accepted, one.truncated, &one.response),
        response: one.response,
    }
}

fn sort(accepted: bool, cut: bool, text: &str) -> &'static str {
    match (cut, accepted, Response::parse(text).answer.is_some()) {
        (true, ..) => "cut off",
        (_, true, _) => "accepted",
        (_, _, true) => "rejected",
        _ => "without an answer",
    }
}

/// Whether the row's truth is all that its reward compares with: a maze brings a verifier, which the checker has not.
fn comparable(rows: &Rows, index: usize) -> bool {
    let row = rows.row(index);
    row.reward.as_ref().is_some_and(|kind| kind.joined() != verifier::SCENE)
}

/// So many of the responses, the sorts in turn, each spread from its first to its last; in the order they came in.
fn chosen(told: &[Told], count: usize) -> Vec<&Told> {
    let mut sorts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, one) in told.iter().enumerate() {
        sorts.entry(one.sort).or_default().push(at);
    }
    let mut shares = vec![0; sorts.len()];
    let mut left = count.min(told.len());
    while left > 0 {
        for (share, places) in shares.iter_mut().zip(sorts.values()) {
            if left > 0 && *share < places.len() {
                *share += 1;
                left -= 1;
            }
        }
    }
    let spread = |(places, share): (&Vec<usize>, usize)| -> Vec<usize> {
        (0..share).map(|i| places[i * places.len() / share]).collect()
    };
    let places: BTreeSet<usize> = sorts.values().zip(shares).flat_map(spread).collect();
    places.into_iter().map(|at| &told[at]).collect()
}

/// Writes the folder beside its place first, so that no half of one is ever found there.
fn write(args: &Args, chosen: &[&Told], rows: &Rows) -> Result<()> {
    let out = args.out.display();
    if args.out.exists() && !args.force {
        bail!("{out}: exists already; --force replaces it");
    }
    let part = args.out.with_added_extension("part");
    let write = || -> Result<()> {
        fs::create_dir_all(part.join("images"))?;
        let mut text = String::new();
        for one in chosen {
            let row = rows.row(one.row);
            let mut paths = Vec::new();
            for (place, (name, bytes)) in rows.picture_bytes(one.row)?.into_iter().enumerate() {
                let ending = Path::new(&name).extension().and_then(|ending| ending.to_str()).unwrap_or("png");
                let path = format!("images/{:06}-{place}.{ending}", one.row);
                fs::write(part.join(&path), bytes)?;
                paths.push(path);
            }
            let image = if let [path] = &paths[..] { json!(path) } else { json!(paths) };
            let kind = row.reward.as_ref().map(|kind| kind.joined()).unwrap_or_default();
            let line = json!({
                "id": one.id, "kind": kind, "problem": row.problem, "gold": row.truth(),
                "response": one.response, "tokens": one.tokens, "image_path": image,
            });
            text += &format!("{line}\n");
        }
        fs::write(part.join("rows.jsonl"), text)?;
        if args.out.exists() {
            fs::remove_dir_all(&args.out)?;
        }
        Ok(fs::rename(&part, &args.out)?)
    };
    write()
        .inspect_err(|_| drop(fs::remove_dir_all(&part)))
        .with_context(|| format!("{out}: cannot be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sorts: &[&'static str]) -> Vec<Told> {
        let one = |(row, &sort): (usize, &&'static str)| Told {
            id: String::new(),
            row,
            response: String::new(),
            tokens: 0,
            sort,
        };
        sorts.iter().enumerate().map(one).collect()
    }

    #[test]
    fn rare_sorts_are_taken_beside_common_ones_and_all_are_spread() {
        let mut sorts = vec!["accepted"; 90];
        sorts.extend(["rejected"; 9]);
        sorts.push("cut off");
        let all = told(&sorts);
        let rows: Vec<usize> = chosen(&all, 9).iter().map(|one| one.row).collect();
        assert_eq!(rows, [0, 22, 45, 67, 90, 92, 94, 96, 99]);
        assert_eq!(chosen(&all, 1000).len(), 100);
        assert!(chosen(&all, 0).is_empty() && chosen(&[], 5).is_empty());
    }

    #[test]
    fn a_response_is_sorted_by_what_became_of_it() {
        let text = "<think>\na\n</think>\n<answer>\n3\n</answer>";
        assert_eq!(sort(true, false, text), "accepted");
        assert_eq!(sort(false, false, text), "rejected");
        assert_eq!(sort(false, true, text), "cut off");
        assert_eq!(sort(false, false, "<think>\n"), "without an answer");
    }
}
