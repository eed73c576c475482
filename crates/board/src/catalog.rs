//! The bundled models: `models/models.json`, beside the folders it names.

use serde::Deserialize;
use wethink_scenes::{Count, Settings, Task};

/// Where the list lies, from the page.
pub const LIST: &str = "models/models.json";

/// The bundled models, the one that is loaded first at the beginning.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The models; one at least.
    pub models: Vec<Bundled>,
    /// Responses of these models, for the reward checker.
    #[serde(default)]
    pub rollouts: Option<Rollouts>,
}

/// A bundled model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundled {
    /// Its folder beside the list.
    pub name: String,
    /// What a person calls it, on the switch.
    pub label: String,
    /// What it is and has seen, in a sentence or two.
    pub about: String,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// The scenes it was trained on.
    pub scenes: Settings,
    /// Fewest and most objects of the few scenes that went beyond `scenes.objects`.
    #[serde(default)]
    pub rare_objects: Option<[u8; 2]>,
}

/// Responses as rows for the reward checker, made by `trainer examples`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollouts {
    /// The folder beside the list, with `rows.jsonl` and the pictures it names.
    pub name: String,
    /// Whose they are, in a few words.
    pub about: String,
}

/// Why a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("models/models.json: field `{field}`: {problem}")]
pub struct CatalogError {
    field: String,
    problem: String,
}

impl Catalog {
    /// Reads the list.
    ///
    /// # Errors
    /// The field at fault, and what is wrong with it.
    pub fn read(text: &str) -> Result<Self, CatalogError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read: Result<Self, _> = serde_path_to_error::deserialize(&mut json);
        let catalog = read.map_err(|error| CatalogError {
            field: error.path().to_string(),
            problem: error.inner().to_string(),
        })?;
        catalog.check()?;
        Ok(catalog)
    }

    fn check(&self) -> Result<(), CatalogError> {
        let require = |holds: bool, field: String, problem: &str| {
            if holds { Ok(()) } else { Err(CatalogError { field, problem: problem.to_owned() }) }
        };
        require(!self.models.is_empty(), "models".into(), "empty; one at least")?;
        for (i, model) in self.models.iter().enumerate() {
            let field = |name: &str| format!("models[{i}].{name}");
            require(is_folder(&model.name), field("name"), "not the name of a folder beside the list")?;
            let mut before = self.models[..i].iter();
            let fresh = before.all(|other| other.name != model.name && other.label != model.label);
            require(fresh, field("name"), "name or label comes twice")?;
            require(!model.label.trim().is_empty(), field("label"), "empty")?;
            require(model.max_new_tokens > 0, field("max_new_tokens"), "0; 1 at least")?;
            require(model.scenes.tasks == [Task::A], field("scenes.tasks"), "this page draws task A alone")?;
            model
                .scenes
                .check()
                .map_err(|error| CatalogError { field: field("scenes"), problem: error.to_string() })?;
            let rare = model.rare_objects.is_none_or(|[low, high]| 1 <= low && low <= high);
            require(rare, field("rare_objects"), "fewest and most, from 1")?;
        }
        let rollouts = self.rollouts.as_ref().is_none_or(|rollouts| is_folder(&rollouts.name));
        require(rollouts, "rollouts.name".into(), "not the name of a folder beside the list")
    }

    /// The most objects that the page offers: some beyond what any model was trained on, as far as there are cells.
    pub fn most_objects(&self) -> u8 {
        const BEYOND: u8 = 6;
        let most = |model: &Bundled| {
            let rare = model.rare_objects.map_or(0, |[_, high]| high);
            model.scenes.objects[1].max(rare)
        };
        let trained = self.models.iter().map(most).max().unwrap_or(0);
        let cells = |model: &Bundled| {
            let [side, _] = model.scenes.sides;
            let (columns, rows) = Count::grid(side, side, model.scenes.cell);
            columns * rows
        };
        let room = self.models.iter().map(cells).min().unwrap_or(1);
        trained.saturating_add(BEYOND).min(room)
    }
}

impl Bundled {
    /// Its address, from the page.
    pub fn url(&self) -> String {
        format!("models/{}/", self.name)
    }
}

impl Rollouts {
    /// The address of a file of them, from the page.
    pub fn url(&self, file: &str) -> String {
        format!("models/{}/{file}", self.name)
    }
}

/// Whether a name stays where it is put: one folder, not hidden, nothing that an address would read otherwise.
fn is_folder(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::path::{Path, PathBuf};

    fn list() -> Value {
        let scenes =
            json!({"tasks": ["A"], "sides": [112, 112], "square": true, "shapes": 4, "objects": [3, 6]});
        let model = |name: &str| json!({"name": name, "label": name, "about": "", "max_new_tokens": 9, "scenes": scenes});
        json!({"models": [model("a"), model("b")], "rollouts": {"name": "rollouts", "about": ""}})
    }

    #[test]
    fn what_is_wrong_with_a_list_is_named() {
        assert!(Catalog::read(&list().to_string()).is_ok());
        let cases: [(&str, Value); 11] = [
            ("/models", json!([])),
            ("/models/0/name", json!("../a")),
            ("/models/0/name", json!(".a")),
            ("/models/1/name", json!("a")),
            ("/models/1/label", json!(" ")),
            ("/models/0/max_new_tokens", json!(0)),
            ("/models/0/scenes/tasks", json!(["B"])),
            ("/models/0/scenes/objects", json!([3, 26])),
            ("/models/0/scenes/sides", json!([112])),
            ("/models/0/about", json!(7)),
            ("/rollouts/name", json!("a/b")),
        ];
        for (pointer, value) in cases {
            let mut broken = list();
            *broken.pointer_mut(pointer).expect(pointer) = value;
            let error = Catalog::read(&broken.to_string()).expect_err(pointer).to_string();
            let field = pointer.rsplit('/').find(|part| !part.is_empty()).expect("a field");
            assert!(error.contains(field) || error.contains("scenes"), "{pointer}: {error}");
            assert!(error.contains("models/models.json"), "{error}");
        }
        let mut unknown = list();
        unknown["models"][0]["scale"] = json!(1);
        assert!(
            Catalog::read(&unknown.to_string()).expect_err("a field too many").to_string().contains("scale")
        );
        assert!(Catalog::read("nothing").is_err());
    }

    #[test]
    fn more_objects_are_offered_than_were_trained_on_but_no_more_than_there_are_cells() {
        let mut list = list();
        let most = |list: &Value| Catalog::read(&list.to_string()).expect("sound").most_objects();
        assert_eq!(most(&list), 12);
        list["models"][1]["rare_objects"] = json!([5, 10]);
        assert_eq!(most(&list), 16);
        list["models"][1]["scenes"]["objects"] = json!([5, 24]);
        assert_eq!(most(&list), 25);
    }

    fn models() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/models")
    }

    fn bundled() -> Catalog {
        let text = std::fs::read_to_string(models().join("models.json")).expect("the list of this site");
        Catalog::read(&text).expect("a sound list")
    }

    #[test]
    fn the_models_of_this_site_are_there_in_half_precision_and_light() {
        let mut bytes = 0;
        for model in bundled().models {
            let folder = models().join(&model.name);
            let read = |file: &str| -> Value {
                let path = folder.join(file);
                let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                serde_json::from_slice(&text).expect("JSON")
            };
            let map = read("model.safetensors.index.json")["weight_map"].as_object().expect("a map").clone();
            let shards: std::collections::BTreeSet<_> = map.values().filter_map(Value::as_str).collect();
            for shard in shards {
                let weights = std::fs::read(folder.join(shard)).expect("a shard");
                let length = u64::from_le_bytes(weights[..8].try_into().expect("eight bytes")) as usize;
                let header: Value = serde_json::from_slice(&weights[8..8 + length]).expect("a header");
                let tensors =
                    header.as_object().expect("tensors").iter().filter(|(name, _)| *name != "__metadata__");
                let types: std::collections::BTreeSet<_> =
                    tensors.map(|(_, t)| t["dtype"].to_string()).collect();
                assert!(
                    types.iter().eq(["\"F16\""]),
                    "{}/{shard} holds {types:?}; export it with --dtype f16",
                    model.name
                );
                bytes += weights.len();
            }
            // A photo of millions of pixels would take more tokens than the model has positions.
            let most = read("preprocessor_config.json")["max_pixels"].as_u64().expect("max_pixels");
            assert!(
                most <= 512 * 512,
                "{}: max_pixels {most}; export it with --max-pixels 50176",
                model.name
            );
        }
        assert!(bytes <= 35_000_000, "{bytes} bytes of weights; 35 MB at most");
    }

    #[test]
    fn the_rollouts_of_this_site_are_rows_with_their_pictures() {
        let rollouts = bundled().rollouts.expect("a set of rollouts");
        let folder = models().join(rollouts.name);
        let rows = std::fs::read_to_string(folder.join("rows.jsonl")).expect("rows");
        let (mut count, mut bytes) = (0, rows.len());
        for line in rows.lines() {
            let row: Value = serde_json::from_str(line).expect("JSON");
            for field in ["kind", "problem", "gold", "response", "image_path"] {
                assert!(row[field].is_string(), "{field}: {line}");
            }
            let picture = folder.join(row["image_path"].as_str().expect("a path"));
            bytes += std::fs::metadata(&picture)
                .unwrap_or_else(|e| panic!("{}: {e}", picture.display()))
                .len() as usize;
            count += 1;
        }
        assert!((20..=200).contains(&count) && bytes < 1_000_000, "{count} rows, {bytes} bytes");
    }
}
