//! The forms a checkpoint comes in: one file or several, half precision, a tied head, flat and nested configuration.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device};
use half::bf16;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use wethink_model::{Config, Launches, Loader, Model};

use crate::fixtures::{Tiny, assert_close, dir};

/// Name to shape and values of every tensor of the tiny checkpoint.
fn tensors() -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir().join("tiny-qwen2_5_vl/checkpoint")).expect("the checkpoint") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|kind| kind == "safetensors") {
            let bytes = std::fs::read(&path).expect("a shard");
            for (name, view) in SafeTensors::deserialize(&bytes).expect("safetensors").tensors() {
                let word = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("four bytes"));
                let values = view.data().chunks_exact(4).map(word).collect();
                all.insert(name, (view.shape().to_vec(), values));
            }
        }
    }
    all
}

/// One file with all of them, converted value by value.
fn one_file<const N: usize>(
    tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    dtype: Dtype,
    to: fn(f32) -> [u8; N],
) -> Vec<u8> {
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|&x| to(x)).collect()))
        .collect();
    let views = bytes.iter().map(|(name, shape, data)| {
        (*name, TensorView::new(dtype, (*shape).clone(), data).expect("shape and data agree"))
    });
    safetensors::serialize(views, None).expect("serialised")
}

fn config() -> Value {
    let path = dir().join("tiny-qwen2_5_vl/checkpoint/config.json");
    serde_json::from_slice(&std::fs::read(path).expect("config.json")).expect("JSON")
}

fn load(config: &Value, file: &[u8]) -> Model {
    let config = Config::from_json(&config.to_string()).expect("a sound configuration");
    let mut loader = Loader::new(&config, &Device::flex(), DType::F32);
    loader.shard("model.safetensors", file, &mut |_| {}).expect("a sound shard");
    loader.finish().expect("all tensors")
}

fn logits(model: &Model) -> Vec<f32> {
    let tiny = Tiny::open().expect("the known answers can be read");
    let trace = model.trace(&[tiny.cases[0].prompt()], &mut Launches::new()).expect("a sound prompt");
    trace.logits.into_data().try_into_vec().expect("float32")
}

#[test]
fn one_file_in_bfloat16_loads_as_its_rounded_values() {
    let rounded = |x: f32| bf16::from_f32(x);
    let mut tensors = tensors();
    let model = load(&config(), &one_file(&tensors, Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes()));
    for (_, values) in tensors.values_mut() {
        values.iter_mut().for_each(|x| *x = rounded(*x).to_f32());
    }
    let same = load(&config(), &one_file(&tensors, Dtype::F32, f32::to_le_bytes));
    assert_eq!(logits(&model), logits(&same));
    let exact = Tiny::open().and_then(|tiny| tiny.model(&Device::flex())).expect("the tiny checkpoint loads");
    assert_ne!(logits(&model), logits(&exact), "rounding shows");
}

#[test]
fn a_tied_head_is_the_embedding_whether_it_is_stored_or_not() {
    let [tied, untied] = [true, false].map(|tie| {
        let mut config = config();
        config["tie_word_embeddings"] = json!(tie);
        config
    });
    let mut tensors = tensors();
    let embedding = tensors["model.embed_tokens.weight"].clone();
    // Another head than the embedding: a tied model does not look at it.
    tensors.insert("lm_head.weight".into(), (embedding.0.clone(), vec![0.5; embedding.1.len()]));
    let stored = load(&tied, &one_file(&tensors, Dtype::F32, f32::to_le_bytes));
    tensors.remove("lm_head.weight");
    let absent = load(&tied, &one_file(&tensors, Dtype::F32, f32::to_le_bytes));
    tensors.insert("lm_head.weight".into(), embedding);
    let untied = load(&untied, &one_file(&tensors, Dtype::F32, f32::to_le_bytes));
    assert_eq!(logits(&stored), logits(&absent));
    assert_close("tied and untied", &logits(&absent), &logits(&untied));
}

#[test]
fn a_nested_configuration_says_the_same_as_a_flat_one() {
    let flat = config();
    let read = |value: &Value| Config::from_json(&value.to_string()).expect("a sound configuration");
    let mut text = flat.as_object().expect("an object").clone();
    let mut nested = serde_json::Map::new();
    for key in ["model_type", "vision_config", "image_token_id", "video_token_id", "tie_word_embeddings"] {
        nested.insert(key.into(), text.remove(key).expect(key));
    }
    // transformers 5 puts the rotary fields into one object.
    let mut rope = text.remove("rope_scaling").expect("rope_scaling");
    rope["rope_theta"] = text.remove("rope_theta").expect("rope_theta");
    text.insert("rope_parameters".into(), rope);
    text.insert("model_type".into(), json!("qwen2_5_vl_text"));
    nested.insert("text_config".into(), Value::Object(text));
    assert_eq!(read(&Value::Object(nested)), read(&flat));
}

/// The released vision section leaves most fields to transformers' defaults.
#[test]
fn absent_fields_take_the_defaults_of_transformers() {
    let text = json!({"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
        "vision_config": {"hidden_size": 1280}});
    let config = Config::from_json(&text.to_string()).expect("the released shape");
    let vision = config.vision;
    assert_eq!((vision.depth, vision.num_heads, vision.intermediate_size), (32, 16, 3420));
    assert_eq!((vision.window_size, vision.fullatt_block_indexes), (112, vec![7, 15, 23, 31]));
    assert_eq!((vision.out_hidden_size, vision.patch_size), (3584, 14));
    assert_eq!((vision.spatial_merge_size, vision.temporal_patch_size, vision.in_channels), (2, 2, 3));
    assert_eq!((config.text.vocab_size, config.text.mrope_section), (152064, [16, 24, 24]));
}
