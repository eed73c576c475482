//! The released repository's index and configuration, without its weights.

use std::collections::BTreeSet;

use serde_json::Value;
use wethink_model::{Config, expected_tensors};

use crate::fixtures;

fn read(name: &str) -> String {
    let path = fixtures::dir().join("wethink-7b").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
#[ignore = "needs wethink-7b/ of the fixtures"]
fn released_index_names_exactly_the_expected_tensors() {
    let config = Config::from_json(&read("config.json")).expect("the released configuration");
    let index: Value = serde_json::from_str(&read("model.safetensors.index.json")).expect("JSON");
    let named: BTreeSet<String> =
        index["weight_map"].as_object().expect("weight_map").keys().cloned().collect();
    let expected: BTreeSet<String> = expected_tensors(&config).into_keys().collect();
    assert_eq!(named, expected);
    assert_eq!(named.len(), 729);
}

#[test]
#[ignore = "needs wethink-7b/ of the fixtures"]
fn released_parameters_have_the_stated_size() {
    let config = Config::from_json(&read("config.json")).expect("the released configuration");
    let index: Value = serde_json::from_str(&read("model.safetensors.index.json")).expect("JSON");
    let parameters: usize =
        expected_tensors(&config).values().map(|shape| shape.iter().product::<usize>()).sum();
    assert_eq!(2 * parameters as u64, index["metadata"]["total_size"].as_u64().expect("total_size"));
}
