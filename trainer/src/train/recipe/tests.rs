//! What recipes are refused for, and what their values come to.

use super::*;

const LEAST: &str = "checkpoint = 'c'\n[data]\nrows = 'r.jsonl'\n[train]\nsteps = 10\nbatch = 4\n\
    [groups.language]\nlearning_rate = 1e-5\n";

fn changed(changes: &[&str]) -> Result<Recipe> {
    Recipe::parse(LEAST, &changes.iter().map(|&change| change.to_owned()).collect::<Vec<_>>())
}

#[test]
fn what_is_written_back_is_complete_and_reads_the_same() {
    let recipe = changed(&["validation.rows=v.jsonl", "validation.every=5"]).expect("sound");
    let text = recipe.to_toml().expect("TOML");
    for field in ["beta1", "warmup", "clip", "max_tokens", "overlong", "seed", "keep", "patience"] {
        assert!(text.contains(field), "{field} is missing from\n{text}");
    }
    assert_eq!(Recipe::parse(&text, &[]).expect("sound"), recipe);
}

#[test]
fn values_outside_their_range_name_the_field() {
    for change in [
        "train.steps=0",
        "train.batch=0",
        "train.micro_batch=0",
        "train.clip=0",
        "train.clip=nan",
        "optimizer.beta2=1.0",
        "optimizer.eps=-1e-8",
        "schedule.floor=2.0",
        "groups.language.learning_rate=-1.0",
        "groups.language.weight_decay=inf",
        "save.every=0",
        "train.micro_tokens=0",
        "memory.chunk_mb=-1.0",
    ] {
        let error = format!("{:#}", changed(&[change]).expect_err(change));
        let field = change.split('=').next().expect("a key");
        assert!(error.contains(field), "{change}: {error}");
    }
    assert!(Recipe::parse(&LEAST.replace("[groups.language]\nlearning_rate = 1e-5\n", ""), &[]).is_err());
}

#[test]
fn adapters_are_trained_alone_and_tokens_need_packing() {
    let lora = ["lora.rank=4", "lora.alpha=8.0", "lora.learning_rate=1e-4"];
    let error = format!("{:#}", changed(&lora).expect_err("with a group"));
    assert!(error.contains("[lora]") && error.contains("[groups]"), "{error}");
    let text = LEAST.replace(
        "[groups.language]\nlearning_rate = 1e-5\n",
        "[lora]\nrank = 4\nalpha = 8.0\nlearning_rate = 1e-4\n",
    );
    let recipe = Recipe::parse(&text, &[]).expect("sound");
    assert!(recipe.trains("model.layers.0.mlp.up_proj.lora_A.weight"));
    assert!(!recipe.trains("model.layers.0.mlp.up_proj.weight"));
    assert_eq!(recipe.rate_of(0, "lora_A.weight").learning_rate, 1e-4);
    assert_eq!(recipe.highest_rate(0), 1e-4);
    let error = format!("{:#}", changed(&["train.micro_tokens=100"]).expect_err("padded"));
    assert!(error.contains("memory.layout"), "{error}");
    let packed = changed(&["train.micro_tokens=100", "memory.layout=packed"]).expect("sound");
    assert_eq!(packed.portion(), Portion::Tokens(100));
}

#[test]
fn shipped_recipes_are_complete_and_begin_with_their_command() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the recipes") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("text");
        let first = text.lines().next().expect("a line");
        if first.starts_with("# trainer grpo ") {
            continue;
        }
        assert!(first.starts_with(&format!("# trainer sft trainer/recipes/{name} ")), "{name}: {first}");
        let recipe = Recipe::read(&path, &[]).expect("a sound recipe");
        assert_complete(&name, &text, &recipe.to_toml().expect("TOML"));
        seen += 1;
    }
    assert!(seen > 0, "no recipes");
}
