use serde_json::{Value, json};

use super::*;

/// A pack of a model of one layer and one block, everything in f32 but what `dtype` says, each tensor in a shard of its own.
fn sound() -> Pack {
    let config = json!({
        "model_type": "qwen2_5_vl", "hidden_size": 40, "intermediate_size": 33, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 50, "image_token_id": 1,
        "video_token_id": 2, "rope_scaling": {"type": "mrope", "mrope_section": [2, 4, 4]},
        "vision_config": {"depth": 1, "hidden_size": 8, "intermediate_size": 6, "num_heads": 2,
            "patch_size": 2, "window_size": 4, "fullatt_block_indexes": [0], "out_hidden_size": 40},
    });
    let sum = "0123456789abcdef".repeat(4);
    let shapes = expected_tensors(&Config::from_json(&config.to_string()).expect("sizes that fit"));
    let mut pack = Pack {
        format: FORMAT.into(),
        version: VERSION,
        config,
        files: vec![PackFile { name: "tokenizer.json".into(), bytes: 3, sha256: sum.clone() }],
        shards: Vec::new(),
        tensors: Vec::new(),
    };
    for (index, (name, shape)) in shapes.into_iter().enumerate() {
        let dtype = match () {
            () if name.starts_with("model.layers") && shape.len() == 2 => PackType::Q4,
            () if name == "model.embed_tokens.weight" => PackType::Q8,
            () if name.starts_with("visual.blocks") && shape.len() == 2 => PackType::F16,
            () => PackType::F32,
        };
        let rows = shape[0];
        let mut tensor = PackTensor { name, dtype, shape, parts: Vec::new() };
        let part = PackPart { rows, shard: index, offset: 0, scales: None };
        let end = tensor.ranges(&part).0.end.next_multiple_of(ALIGNMENT);
        let quantized = matches!(dtype, PackType::Q4 | PackType::Q8);
        tensor.parts = vec![PackPart { scales: quantized.then_some(end), ..part }];
        let (values, scales) = tensor.ranges(&tensor.parts[0]);
        let bytes = scales.map_or(values.end, |scales| scales.end);
        pack.shards.push(PackShard { file: format!("shard-{index}.bin"), bytes, sha256: sum.clone() });
        pack.tensors.push(tensor);
    }
    pack
}

fn parsed(pack: &Pack) -> Result<Pack, PackError> {
    Pack::parse(&serde_json::to_vec(pack).expect("a pack is JSON"))
}

#[test]
fn a_sound_pack_survives_its_own_text() {
    let pack = sound();
    assert_eq!(parsed(&pack), Ok(pack.clone()));
    assert_eq!(pack.parts_of_shards().len(), pack.shards.len());
    for kind in [PackType::Q4, PackType::Q8, PackType::F16, PackType::F32] {
        assert!(pack.tensors.iter().any(|tensor| tensor.dtype == kind), "{kind:?} is tried");
    }
}

#[test]
fn every_wrong_field_is_named() {
    let at = |name: &str| {
        let pack = sound();
        pack.tensors.iter().position(|tensor| tensor.name == name).expect("a tensor of the model")
    };
    let (q4, norm) = (at("model.layers.0.mlp.up_proj.weight"), at("model.norm.weight"));
    let (conv, head) = (at("visual.patch_embed.proj.weight"), at("lm_head.weight"));
    type Change = Box<dyn Fn(&mut Pack)>;
    let cases: Vec<(String, Change)> = vec![
        ("format".into(), Box::new(|p| p.format = "gguf".into())),
        ("version".into(), Box::new(|p| p.version = 2)),
        ("hidden_size".into(), Box::new(|p| p.config["hidden_size"] = json!("wide"))),
        ("files[0].name".into(), Box::new(|p| p.files[0].name = "../x".into())),
        ("files[0].name".into(), Box::new(|p| p.files[0].name = PACK.into())),
        ("shards[1].file".into(), Box::new(|p| p.shards[1].file = p.shards[0].file.clone())),
        ("shards[0].sha256".into(), Box::new(|p| p.shards[0].sha256.truncate(63))),
        ("shards[0].sha256".into(), Box::new(|p| p.shards[0].sha256 = "A".repeat(64))),
        ("shards[0].bytes".into(), Box::new(|p| p.shards[0].bytes = SHARD_BYTES + 1)),
        ("model.norm.weight".into(), Box::new(move |p| drop(p.tensors.remove(norm)))),
        ("tensors[1].name".into(), Box::new(|p| p.tensors[1].name = p.tensors[0].name.clone())),
        (format!("tensors[{q4}].shape"), Box::new(move |p| p.tensors[q4].shape.reverse())),
        (format!("tensors[{norm}].dtype"), Box::new(move |p| p.tensors[norm].dtype = PackType::F16)),
        (format!("tensors[{conv}].dtype"), Box::new(move |p| p.tensors[conv].dtype = PackType::Q4)),
        (format!("tensors[{q4}].parts[0].scales"), Box::new(move |p| p.tensors[q4].parts[0].scales = None)),
        (
            format!("tensors[{q4}].parts[0].scales"),
            Box::new(move |p| p.tensors[q4].parts[0].scales = Some(8)),
        ),
        (
            format!("tensors[{head}].parts[0].scales"),
            Box::new(move |p| p.tensors[head].parts[0].scales = Some(0)),
        ),
        (format!("tensors[{q4}].parts[0].shard"), Box::new(move |p| p.tensors[q4].parts[0].shard = 99)),
        (
            format!("tensors[{q4}].parts[0].offset"),
            Box::new(move |p| p.tensors[q4].parts[0].offset = u64::MAX - 15),
        ),
        (format!("tensors[{head}].parts[0].rows"), Box::new(move |p| p.tensors[head].parts[0].rows = 0)),
        (
            format!("tensors[{head}].parts[0].offset"),
            Box::new(move |p| p.tensors[head].parts[0].rows = usize::MAX),
        ),
        (format!("tensors[{head}].parts"), Box::new(move |p| p.tensors[head].parts[0].rows = 49)),
        (format!("shards[{q4}]"), Box::new(move |p| p.tensors[q4].parts[0].scales = Some(16))),
    ];
    for (field, change) in cases {
        let mut pack = sound();
        change(&mut pack);
        let error = parsed(&pack).expect_err(&field).to_string();
        assert!(error.starts_with(PACK) && error.contains(&field), "{field} is not named in: {error}");
    }
}

#[test]
fn what_is_no_pack_is_refused() {
    for text in ["", "[]", "{}", "{\"format\": \"wethink-pack\", \"version\": 1}"] {
        assert!(Pack::parse(text.as_bytes()).is_err(), "{text}");
    }
    let mut json = serde_json::to_value(sound()).expect("a pack is JSON");
    json["shards"][0]["colour"] = Value::Null;
    let error = Pack::parse(json.to_string().as_bytes()).expect_err("an unknown field").to_string();
    assert!(error.contains("colour"), "{error}");
}
