//! TOML into a recipe, with `--set key=value` on top.
//!
//! A key that no recipe has is refused with the nearest one that exists, since a misspelt learning rate would otherwise train
//! for days at the default.

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Reads a recipe of any kind; `changes` are `key=value`, with the value in TOML or else taken as text.
pub fn parse<T: DeserializeOwned>(text: &str, changes: &[String]) -> Result<T> {
    let mut table: Table = text.parse().context("not TOML")?;
    for change in changes {
        set(&mut table, change).with_context(|| format!("--set {change}"))?;
    }
    table.try_into().map_err(|error: toml::de::Error| anyhow!(with_nearest(error.message())))
}

/// Puts one `a.b.c=value` into the table.
fn set(table: &mut Table, change: &str) -> Result<()> {
    let (key, value) = change.split_once('=').context("write it as key=value")?;
    let value = format!("x = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("x"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut at = table;
    for part in parts {
        let entry = at.entry(part).or_insert_with(|| Value::Table(Table::new()));
        at = entry.as_table_mut().with_context(|| format!("`{part}` is a value, not a section"))?;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

/// Adds the nearest known key to serde's message about an unknown one.
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown field"));
    let nearest = unknown.and_then(|unknown| {
        let distance = |known: &&str| (strsim::jaro_winkler(unknown, known) * 1e6) as u64;
        quoted.max_by_key(distance).map(|known| format!("; did you mean `{known}`?"))
    });
    format!("{message}{}", nearest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Recipe {
        rows: String,
        train: Train,
        #[serde(default)]
        optimizer: Table,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Train {
        steps: u64,
        learning_rate: f64,
        #[serde(default)]
        weight_decay: f64,
    }

    fn changed(changes: &[&str]) -> Result<Recipe> {
        let text = "rows = 'r'\n[train]\nsteps = 10\nlearning_rate = 1e-5\n";
        parse(text, &changes.iter().map(|&change| change.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn changes_are_values_or_texts_by_path() {
        let recipe = changed(&["train.steps=1_000", "rows=other dir/r.jsonl", "optimizer.beta.one=0.5"]);
        let recipe = recipe.expect("sound");
        assert_eq!((recipe.train.steps, recipe.rows.as_str()), (1000, "other dir/r.jsonl"));
        assert_eq!(recipe.optimizer["beta"]["one"].as_float(), Some(0.5));
        assert_eq!(changed(&["train={ steps = 2, learning_rate = 1.0 }"]).expect("sound").train.steps, 2);
        for (change, words) in [("train", "key=value"), ("rows.x=1", "not a section")] {
            let error = format!("{:#}", changed(&[change]).expect_err(change));
            assert!(error.contains(words) && error.contains(change), "{error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_name() {
        for (change, nearest) in [
            ("train.stepps=3", "`steps`"),
            ("train.lr=1e-5", "`learning_rate`"),
            ("optimiser={}", "`optimizer`"),
        ] {
            let error = format!("{:#}", changed(&[change]).expect_err(change));
            assert!(error.contains(&format!("did you mean {nearest}?")), "{change}: {error}");
        }
    }
}
