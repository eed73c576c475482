//! How a run of any kind begins: with a recipe that is kept in its folder, or by going on with the one that is there.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::folder::write_whole;

/// The recipe of a new run, or that of a run to resume. `given` is what the command line names, if it names one; `read` reads
/// what the folder keeps.
pub fn recipe<R: PartialEq>(
    run: &Path,
    resume: bool,
    given: Option<R>,
    read: impl FnOnce(&Path) -> Result<R>,
) -> Result<R> {
    let kept = run.join("recipe.toml");
    if resume {
        let recipe = read(&kept)
            .with_context(|| format!("{}: no run to resume; leave out --resume", run.display()))?;
        if given.is_some_and(|given| given != recipe) {
            bail!(
                "the recipe differs from {}; a run is resumed as it was started: leave RECIPE.toml and --set out",
                kept.display()
            );
        }
        return Ok(recipe);
    }
    if kept.exists() {
        bail!("{}: holds a run already; go on with --resume, or take another --out", run.display());
    }
    given.context("RECIPE.toml is missing")
}

/// Puts the recipe of a new run into its folder, once everything that it names has proved sound.
pub fn keep(recipe: &str, run: &Path) -> Result<()> {
    std::fs::create_dir_all(run).with_context(|| format!("{}: cannot be made", run.display()))?;
    write_whole(&run.join("recipe.toml"), recipe.as_bytes())
}
