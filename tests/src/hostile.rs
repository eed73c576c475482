//! Files nobody should trust: safetensors shards and configurations, broken on purpose and at random.

use burn::tensor::{DType, Device};
use proptest::prelude::*;
use wethink_model::{CheckpointError, Config, Loader, check_shards, expected_tensors};

use crate::fixtures::dir;

fn config() -> Config {
    let path = dir().join("tiny-qwen2_5_vl/checkpoint/config.json");
    Config::from_json(&std::fs::read_to_string(path).expect("config.json")).expect("the tiny configuration")
}

/// A safetensors file from a header and data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn load(bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut loader = Loader::new(&config(), &Device::flex(), DType::F32);
    loader.shard("x.safetensors", bytes, &mut |_| {})?;
    loader.finish().map(|_| ())
}

#[test]
fn a_shard_that_is_no_safetensors_file_is_named() {
    let tensor = |shape: &str, from: u64, to: u64| {
        format!(
            r#"{{"model.norm.weight": {{"dtype": "F32", "shape": {shape}, "data_offsets": [{from}, {to}]}}}}"#
        )
    };
    let overlapping = r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}"#;
    for (what, bytes) in [
        ("empty", vec![]),
        ("a cut length", vec![1, 0, 0]),
        ("a header longer than the file", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("a header of 100 MB", [&100_000_000u64.to_le_bytes()[..], b"{}"].concat()),
        ("no JSON", file("[", b"")),
        ("not UTF-8", [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()),
        ("offsets beyond the file", file(&tensor("[96]", 0, 384), b"")),
        ("offsets backwards", file(&tensor("[1]", 4, 0), &[0; 4])),
        ("a hole", file(&tensor("[1]", 4, 8), &[0; 8])),
        ("a shape that overflows", file(&tensor("[18446744073709551615, 2]", 0, 4), &[0; 4])),
        ("a shape unlike its data", file(&tensor("[96]", 0, 4), &[0; 4])),
        ("overlapping tensors", file(overlapping, &[0; 12])),
        ("data without a tensor", file("{}", &[0; 4])),
    ] {
        let error = load(&bytes).expect_err(what);
        assert!(matches!(error, CheckpointError::Shard { .. }), "{what}: {error}");
        assert!(error.to_string().contains("x.safetensors"), "{what}: {error}");
        assert_eq!(check_shards(&config(), [("x.safetensors", &bytes[..])]), Err(error), "{what}");
    }
}

#[test]
fn every_fault_of_every_tensor_is_listed_at_once() {
    let header = r#"{"model.norm.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "model.language_model.norm.weight": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        "model.visual.merger.ln_q.weight": {"dtype": "I64", "shape": [64], "data_offsets": [8, 520]},
        "stray": {"dtype": "F32", "shape": [1], "data_offsets": [520, 524]}}"#;
    let bytes = file(header, &[0; 524]);
    let error = check_shards(&config(), [("x.safetensors", &bytes[..])]).expect_err("hardly a checkpoint");
    let CheckpointError::Tensors(faults) = error else { panic!("{error}") };
    let tower = expected_tensors(&config())["visual.merger.ln_q.weight"].clone();
    let width = expected_tensors(&config())["model.norm.weight"].clone();
    assert_eq!(faults.missing.len(), expected_tensors(&config()).len() - 2);
    assert_eq!(faults.superfluous, [("stray".to_owned(), "x.safetensors".to_owned())]);
    assert_eq!(faults.doubled.len(), 1);
    assert!(faults.misshapen.contains(&("model.norm.weight".into(), vec![1], width)));
    assert_eq!(faults.mistyped.len() + faults.misshapen.len(), 2, "the tower's norm is {tower:?}");
}

#[test]
fn both_key_layouts_load() {
    let set = crate::fixtures::Tiny::open().expect("the known answers can be read");
    let folder = dir().join("tiny-qwen2_5_vl/checkpoint");
    let mut loader = Loader::new(&config(), &Device::flex(), DType::F32);
    for entry in std::fs::read_dir(folder).expect("the checkpoint") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|kind| kind == "safetensors") {
            let bytes = std::fs::read(&path).expect("a shard");
            loader.shard("renamed", &renamed(&bytes), &mut |_| {}).expect("a sound shard");
        }
    }
    let nested = loader.finish().expect("all tensors under their newer names");
    let flat = set.model(&Device::flex()).expect("the tiny checkpoint loads");
    let data = |model: &wethink_model::Model| model.model.norm.weight.val().into_data();
    assert_eq!(data(&nested), data(&flat));
}

/// A shard with its tensors under the names of the newer layout.
fn renamed(bytes: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).expect("JSON");
    let header =
        header.replace("\"model.", "\"model.language_model.").replace("\"visual.", "\"model.visual.");
    file(&header, &bytes[8 + length..])
}

#[test]
fn configurations_are_refused_by_field() {
    for (text, field) in [
        (r#"{"hidden_size": 0}"#, "hidden_size"),
        (r#"{"hidden_size": -1}"#, "hidden_size"),
        (r#"{"hidden_size": 1e30}"#, "hidden_size"),
        (r#"{"num_attention_heads": 7}"#, "num_attention_heads"),
        (r#"{"num_key_value_heads": 3}"#, "num_key_value_heads"),
        (r#"{"num_hidden_layers": 100000}"#, "num_hidden_layers"),
        (r#"{"rms_norm_eps": "small"}"#, "rms_norm_eps"),
        (r#"{"rope_scaling": {"type": "yarn"}}"#, "rope_scaling.type"),
        (r#"{"rope_scaling": {"mrope_section": [1, 2]}}"#, "mrope_section"),
        (r#"{"use_sliding_window": true}"#, "use_sliding_window"),
        (r#"{"hidden_act": "gelu"}"#, "hidden_act"),
        (r#"{"model_type": "llama"}"#, "model_type"),
        (r#"{"vision_config": []}"#, "vision_config"),
        (r#"{"vision_config": {"fullatt_block_indexes": [99]}}"#, "fullatt_block_indexes"),
        (r#"{"vision_config": {"window_size": 8}}"#, "window_size"),
        (r#"{"vision_config": {"out_hidden_size": 8}}"#, "out_hidden_size"),
        (r#"{"image_token_id": 999999999}"#, "image_token_id"),
        ("[]", "JSON"),
        ("", "JSON"),
    ] {
        let error = Config::from_json(&on_defaults(text)).expect_err(text).to_string();
        assert!(error.contains(field), "{text}: {error}");
    }
    assert!(Config::from_json(&on_defaults("{}")).is_ok(), "the base of the table is sound");
}

/// The defaults of transformers do not fit together by themselves (the text model is of the 72B size).
fn on_defaults(text: &str) -> String {
    let Ok(serde_json::Value::Object(overrides)) = serde_json::from_str(text) else {
        return text.into();
    };
    let mut base =
        serde_json::json!({"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4});
    base.as_object_mut().expect("an object").extend(overrides);
    base.to_string()
}

proptest! {
    #[test]
    fn a_shard_of_noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(load(&bytes).is_err());
    }

    #[test]
    fn a_header_of_noise_never_panics(header in ".{0,200}", data in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(load(&file(&header, &data)).is_err());
    }

    #[test]
    fn a_configuration_of_noise_never_panics(key in "(hidden_size|vocab_size|depth|rope_scaling|vision_config|text_config)",
                                             value in "(-?[0-9]{1,20}|null|\\[\\]|\\{\\}|\"[a-z]{0,5}\"|1e400|true)") {
        let _ = Config::from_json(&format!(r#"{{"{key}": {value}}}"#));
    }
}
