//! The released layout of a checkpoint folder, beside its configuration: which files hold the weights, and which tokens end
//! an answer. The files' contents come as bytes; who reads them, and from where, is the caller's affair.

use std::collections::BTreeSet;

use crate::{Config, expected_tensors};
use serde_json::Value;

/// Names the files of the weights, where there are several.
pub const INDEX: &str = "model.safetensors.index.json";
/// The file of the weights, where there is one.
pub const SINGLE: &str = "model.safetensors";
/// Settings of generation; optional.
pub const GENERATION: &str = "generation_config.json";

/// A file of the folder that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct BadFile {
    file: &'static str,
    problem: String,
}

fn bad(file: &'static str, problem: impl ToString) -> BadFile {
    BadFile { file, problem: problem.to_string() }
}

/// The files named by the index, in order; [`SINGLE`] without one. A name that leaves the folder is refused.
pub fn shard_names(index: Option<&[u8]>) -> Result<Vec<String>, BadFile> {
    let Some(bytes) = index else { return Ok(vec![SINGLE.to_owned()]) };
    let json: Value = serde_json::from_slice(bytes).map_err(|e| bad(INDEX, format_args!("not JSON: {e}")))?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| bad(INDEX, "field `weight_map`: not an object"))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let plain = |name: &&str| {
            !name.is_empty() && !name.contains(['/', '\\', '?', '#', '%']) && !name.starts_with('.')
        };
        let name = file.as_str().filter(plain);
        let name = name.ok_or_else(|| {
            bad(INDEX, format_args!("field `weight_map.{tensor}`: {file} is not a plain file name"))
        })?;
        names.insert(name.to_owned());
    }
    if names.is_empty() {
        Err(bad(INDEX, "field `weight_map`: empty"))
    } else {
        Ok(names.into_iter().collect())
    }
}

/// Ids that end an answer: the generation settings' if they name any, else the model's.
pub fn stop_ids(generation: Option<&[u8]>, config: &Config) -> Result<Vec<u32>, BadFile> {
    let Some(bytes) = generation else { return Ok(config.eos_token_ids.clone()) };
    let json: Value =
        serde_json::from_slice(bytes).map_err(|e| bad(GENERATION, format_args!("not JSON: {e}")))?;
    let Some(value) = json.get("eos_token_id").filter(|value| !value.is_null()) else {
        return Ok(config.eos_token_ids.clone());
    };
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = items.iter().map(id).collect::<Option<_>>();
    ids.ok_or_else(|| {
        bad(GENERATION, format_args!("field `eos_token_id`: {value} is not a token id or a list of them"))
    })
}

/// Bytes of all weights in float32.
pub fn weight_bytes(config: &Config) -> u64 {
    let values = |shape: &Vec<usize>| shape.iter().map(|&n| n as u64).product::<u64>();
    expected_tensors(config).values().map(values).sum::<u64>() * 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(map: Value) -> Result<Vec<String>, BadFile> {
        shard_names(Some(json!({"weight_map": map}).to_string().as_bytes()))
    }

    #[test]
    fn an_index_names_each_file_once_and_never_leaves_the_folder() {
        assert_eq!(names(json!({"x": "b", "y": "a", "z": "b"})), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(shard_names(None), Ok(vec![SINGLE.into()]));
        for file in [
            json!("../b"),
            json!("/b"),
            json!("a/b"),
            json!(".."),
            json!(""),
            json!("a?b"),
            json!("%2e%2e"),
            json!(3),
        ] {
            let error = names(json!({"x": file})).expect_err("leaves the folder").to_string();
            assert!(error.contains("weight_map.x") && error.contains(INDEX), "{error}");
        }
        for map in [json!([]), json!({}), json!(null)] {
            assert!(names(map).expect_err("no map").to_string().contains("weight_map"));
        }
    }

    #[test]
    fn stop_ids_come_from_the_generation_settings_first() {
        let sizes = r#"{"eos_token_id": 7, "vision_config": {"out_hidden_size": 8192}}"#;
        let config = Config::from_json(sizes).expect("sizes that fit");
        let of = |text: &str| stop_ids(Some(text.as_bytes()), &config);
        assert_eq!(stop_ids(None, &config), Ok(vec![7]));
        assert_eq!(of("{}"), Ok(vec![7]));
        assert_eq!(of(r#"{"eos_token_id": null}"#), Ok(vec![7]));
        assert_eq!(of(r#"{"eos_token_id": 3}"#), Ok(vec![3]));
        assert_eq!(of(r#"{"eos_token_id": [3, 4]}"#), Ok(vec![3, 4]));
        for text in ["[", r#"{"eos_token_id": [-1]}"#, r#"{"eos_token_id": "x"}"#] {
            assert!(of(text).expect_err(text).to_string().contains(GENERATION));
        }
    }
}
