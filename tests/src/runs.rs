//! Training runs of the built binary in folders of their own: what the tests of `trainer sft` and `trainer grpo` share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::commands::{own, run, trainer};

/// A folder with rows, a recipe, and room for runs.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    /// Rows made of the reference's training batch, twice over, and a recipe that trains everything on the CPU.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let read = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(own(name)).expect(name)).expect("JSON")
        };
        let (train, cases) = (read("train.json"), read("cases.json"));
        let mut lines = String::new();
        for round in 0..2 {
            for row in train["rows"].as_array().expect("rows") {
                let case = &cases["cases"][row["case"].as_str().expect("a case")];
                let (thought, answer) =
                    row["answer"].as_str().expect("an answer").split_once("</think>").expect("a thought");
                let images: Vec<_> = case["images"].as_array().expect("images").clone();
                let row = json!({
                    "problem": format!("Question {round} of the batch?"),
                    "answer": answer,
                    "category": row["case"],
                    "refined_cot": thought,
                    "image_path": images,
                    "reward": "text",
                });
                lines += &format!("{row}\n");
            }
        }
        let bench = Self { folder };
        std::fs::write(bench.path("rows.jsonl"), &lines).expect("written");
        let recipe = format!(
            "checkpoint = {:?}\nseed = 5\n\
             [data]\nrows = {:?}\nimages = {:?}\n\
             [train]\nsteps = 6\nbatch = 2\n\
             [schedule]\nwarmup = 2\n\
             [groups.vision]\nlearning_rate = 1e-4\n\
             [groups.merger]\nlearning_rate = 1e-4\n\
             [groups.embeddings]\nlearning_rate = 1e-3\n\
             [groups.language]\nlearning_rate = 1e-3\nweight_decay = 0.01\n\
             [groups.head]\nlearning_rate = 1e-3\n\
             [save]\nevery = 2\n",
            own("checkpoint"),
            bench.path("rows.jsonl"),
            own("images"),
        );
        std::fs::write(bench.path("recipe.toml"), recipe).expect("written");
        // No answer of a random model is right, but some are nearer than others.
        let nearer = |line: &str| {
            let mut row: Value = serde_json::from_str(line).expect("JSON");
            row["answer"] = "a stone near the other rail".into();
            row["reward"] = "edit_ratio".into();
            format!("{row}\n")
        };
        let graded: String = lines.lines().map(nearer).collect();
        std::fs::write(bench.path("graded.jsonl"), graded).expect("written");
        let grpo = format!(
            "checkpoint = {:?}\nseed = 5\n\
             [data]\nrows = {:?}\nimages = {:?}\n\
             [rollout]\ngroup = 4\nmax_new_tokens = 6\nrows = 5\n\
             [train]\nsteps = 4\nprompts = 3\nmini_batch = 3\nmicro_batch = 4\n\
             [loss]\nkl_weight = 0.0\n\
             [groups.merger]\nlearning_rate = 1e-4\n\
             [groups.language]\nlearning_rate = 1e-4\n\
             [groups.head]\nlearning_rate = 1e-4\n\
             [save]\nevery = 2\n",
            own("checkpoint"),
            bench.path("graded.jsonl"),
            own("images"),
        );
        std::fs::write(bench.path("grpo.toml"), grpo).expect("written");
        bench
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes the recipe's text.
    fn edit(&self, change: impl FnOnce(&str) -> String) {
        let path = self.path("recipe.toml");
        let text = std::fs::read_to_string(&path).expect("the recipe");
        std::fs::write(&path, change(&text)).expect("written");
    }

    /// Leaves the tower and the merger as they are.
    pub fn freeze_the_tower(&self) {
        self.edit(|text| {
            let (head, rest) = text.split_once("[groups.vision]").expect("the tower");
            let (_, tail) = rest.split_once("[groups.embeddings]").expect("a group after it");
            format!("{head}[groups.embeddings]{tail}")
        });
    }

    /// Trains adapters on maps of both the tower and the language model, and nothing else.
    pub fn train_adapters(&self) {
        self.edit(|text| {
            let (head, rest) = text.split_once("[groups.").expect("groups");
            let (_, tail) = rest.split_once("[save]").expect("a section after them");
            let lora = "rank = 4\nalpha = 32.0\nlearning_rate = 1e-2\n\
                targets = [\"layers.*\", \"attn.qkv\", \"mlp.2\"]\n";
            format!("{head}[lora]\n{lora}[save]{tail}")
        });
    }

    /// `trainer sft` of the recipe into the run `name`, with changes.
    pub fn sft(&self, name: &str, changes: &[&str]) -> Command {
        let mut command = trainer();
        command.arg("sft").arg(self.path("recipe.toml")).arg("--out").arg(self.path(name));
        command.args(changes.iter().flat_map(|change| ["--set", change])).args(["--device", "cpu"]);
        command
    }

    /// `trainer sft --resume` of the run `name`.
    pub fn resume(&self, name: &str) -> Command {
        let mut command = trainer();
        command.args(["sft", "--resume", "--device", "cpu", "--out"]).arg(self.path(name));
        command
    }

    /// `trainer grpo` of its recipe into the run `name`, with changes.
    pub fn grpo(&self, name: &str, changes: &[&str]) -> Command {
        let mut command = trainer();
        command.arg("grpo").arg(self.path("grpo.toml")).arg("--out").arg(self.path(name));
        command.args(changes.iter().flat_map(|change| ["--set", change])).args(["--device", "cpu"]);
        // What the machine is set up with is not tested here.
        command.env("NO_PROXY", "127.0.0.1").env_remove("OPENAI_API_KEY");
        command
    }

    /// `trainer grpo --resume` of the run `name`.
    pub fn resume_grpo(&self, name: &str) -> Command {
        let mut command = trainer();
        command.args(["grpo", "--resume", "--device", "cpu", "--out"]).arg(self.path(name));
        command.env("NO_PROXY", "127.0.0.1").env_remove("OPENAI_API_KEY");
        command
    }

    /// Runs to the end.
    pub fn succeed(&self, command: &mut Command) -> Output {
        let output = run(command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What a run leaves that must not depend on interruptions: the tensors of its last checkpoint, its state, its metrics
    /// but for times, its answers.
    pub fn outcome(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let run = self.path(name);
        let last = run.join("checkpoints/last");
        let mut all = BTreeMap::new();
        for file in ["weights.safetensors", "moments.safetensors", "state.json"] {
            all.insert(file.to_owned(), std::fs::read(last.join(file)).expect(file));
        }
        let timeless: Vec<u8> =
            metrics(&run).into_iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        all.insert("metrics".into(), timeless);
        all.insert("answers".into(), std::fs::read(run.join("answers.jsonl")).expect("answers.jsonl"));
        if let Ok(rollouts) = std::fs::read(run.join("rollouts.jsonl")) {
            all.insert("rollouts".into(), rollouts);
        }
        all
    }
}

/// A run's metrics without times, memory, and what a judge cost: replies that are known are not paid for.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics.jsonl");
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).expect("a JSON line");
        let fields = value.as_object_mut().expect("an object");
        fields.remove("seconds");
        fields.remove("tokens_per_second");
        fields.remove("paid");
        fields.remove("peak_memory_bytes");
        value
    };
    text.lines().map(line).collect()
}

/// Fails unless two outcomes are the same, bit for bit.
pub fn assert_same(got: &BTreeMap<String, Vec<u8>>, want: &BTreeMap<String, Vec<u8>>) {
    for (part, want) in want {
        let same = got[part] == *want;
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
        assert!(same, "{part} differs:\n{}\nexpected\n{}", text(&got[part]), text(want));
    }
}

/// Values of every tensor of a safetensors file of float32.
pub fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let floats = |data: &[u8]| {
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
    };
    file.tensors().into_iter().map(|(name, view)| (name, floats(view.data()))).collect()
}
