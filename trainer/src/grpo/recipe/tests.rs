//! What a recipe may say, and that the shipped ones say it.

use super::*;
use crate::train::policy::Average;
use crate::train::recipe::assert_complete;

const LEAST: &str = "checkpoint = 'c'\n[data]\nrows = 'r.jsonl'\n[train]\nsteps = 10\n\
    [groups.language]\nlearning_rate = 1e-6\n";

fn changed(changes: &[&str]) -> Result<Recipe> {
    Recipe::parse(LEAST, &changes.iter().map(|&change| change.to_owned()).collect::<Vec<_>>())
}

#[test]
fn the_defaults_are_easyr1s() {
    let recipe = changed(&[]).expect("sound");
    assert_eq!((recipe.rollout.group, recipe.train.prompts, recipe.train.mini_batch), (5, 512, 128));
    assert_eq!((recipe.updates(), recipe.train.epochs, recipe.train.clip), (4, 1, 1.0));
    assert_eq!((recipe.rollout.temperature, recipe.rollout.top_p, recipe.rollout.top_k), (1.0, None, None));
    let Policy { clip_low, clip_high, clip_dual, kl_weight, average, .. } = recipe.loss;
    assert_eq!((clip_low, clip_high, clip_dual, kl_weight, average), (0.2, 0.3, 3.0, 0.01, Average::Token));
    assert_eq!((recipe.reward.accuracy, recipe.reward.format), (0.7, 0.3));
    assert_eq!((recipe.schedule.shape, recipe.filter.rounds), (Shape::Constant, 0));
}

#[test]
fn what_is_written_back_is_complete_and_reads_the_same() {
    let judge = ["judge.server=http://j/v1", "judge.model=m", "judge.price_in=0.3", "judge.budget=2.50"];
    let paid = changed(&judge).expect("sound");
    let text = paid.to_toml().expect("TOML");
    assert!(text.contains("budget = 2.5") && text.contains("price_out"), "{text}");
    assert_eq!(Recipe::parse(&text, &[]).expect("sound"), paid);
    let changes = ["judge.local=j", "validation.rows=v", "validation.every=5", "validation.answers=2"];
    let recipe = changed(&[&changes[..], &["loss.clip_dual=inf", "loss.log_ratio_limit=inf"]].concat());
    let recipe = recipe.expect("sound");
    let text = recipe.to_toml().expect("TOML");
    for field in ["clip_dual = inf", "mismatch_max", "judge_cap", "rounds", "mask_truncated", "patience"] {
        assert!(text.contains(field), "{field} is missing from\n{text}");
    }
    assert_eq!(Recipe::parse(&text, &[]).expect("sound"), recipe);
}

#[test]
fn values_outside_their_range_name_the_field() {
    for change in [
        "rollout.group=1",
        "rollout.temperature=0.0",
        "rollout.max_new_tokens=0",
        "train.steps=0",
        "train.mini_batch=513",
        "train.clip=nan",
        "loss.clip_low=-0.1",
        "loss.clip_dual=1.0",
        "loss.log_ratio_limit=nan",
        "loss.kl_weight=inf",
        "reward.judge_cap=1.5",
        "reward.accuracy=nan",
        "reward.overlong={ limit = 9, margin = 3, weight = inf }",
        "filter.low=0.99",
        "alarms.entropy=-1.0",
        "optimizer.beta1=1.0",
        "groups.language.learning_rate=nan",
    ] {
        let error = format!("{:#}", changed(&[change]).expect_err(change));
        let field = change.split('=').next().expect("a key");
        assert!(error.contains(field), "{change}: {error}");
    }
    for (changes, words) in [
        (&["rollout.top_p=1.5"][..], "top-p"),
        (&["judge.server=http://j/v1"], "judge.model"),
        (&["judge.local=j", "judge.server=http://j/v1", "judge.model=m"], "either"),
        (&["loss.objective=gspo", "loss.average=fixed"], "sequence"),
        (&["judge.server=http://j/v1", "judge.model=m", "judge.budget=2.5"], "judge.price_in"),
        (&["judge.server=http://j/v1", "judge.model=m", "judge.budget=some"], "200000tokens"),
        (&["judge.local=j", "judge.budget=9tokens"], "judge.budget"),
        (&["judge.local=j", "judge.price_in=-1.0"], "judge.price_in"),
        (&["rollout.rowz=3"], "did you mean `rows`?"),
    ] {
        let error = format!("{:#}", changed(changes).expect_err(words));
        assert!(error.contains(words), "{changes:?}: {error}");
    }
}

#[test]
fn shipped_recipes_are_complete_and_begin_with_their_command() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the recipes") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("text");
        let first = text.lines().next().expect("a line");
        if !first.starts_with("# trainer grpo ") {
            continue;
        }
        assert!(first.starts_with(&format!("# trainer grpo trainer/recipes/{name} ")), "{name}: {first}");
        let recipe = Recipe::read(&path, &[]).expect("a sound recipe");
        assert_complete(&name, &text, &recipe.to_toml().expect("TOML"));
        seen.push(name);
    }
    seen.sort_unstable();
    let shipped = ["dapo.toml", "dr-grpo.toml", "scenes-s.toml", "scenes-xs.toml", "wethink-7b.toml"];
    assert_eq!(seen, shipped);
}
