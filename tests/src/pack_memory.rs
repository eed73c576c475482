//! What packing holds at once, by the allocator's own count: a shard's worth, whatever the size of the model.

use std::ops::Range;

use burn::tensor::Device;
use serde_json::{Value, json};
use wethink_model::{Pack, SHARD_BYTES, weight_bytes};
use wethink_reward::RewardMap;
use wethink_trainer::folder::Folder;
use wethink_trainer::pack::{Override, Quantize, ReportRows, Source, plan, report, write};
use wethink_trainer::train::rows::Rows;

use crate::allocation::{alone, most_held};
use crate::commands::{run, tiny, trainer};
use crate::noise;

/// The widths of the 3B model with some of its layers and a small vocabulary.
fn wide(layers: usize) -> Value {
    let mut config = noise::shape_3b();
    config["num_hidden_layers"] = layers.into();
    config["vocab_size"] = 2048.into();
    config["image_token_id"] = 5.into();
    config["video_token_id"] = 6.into();
    config
}

/// Packs waves of these widths: the pack, and what was held at most.
fn packed(layers: usize, overrides: &[&str]) -> (Pack, u64) {
    let files = Folder::open(&tiny("checkpoint")).expect("a checkpoint");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("pack");
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().expect("an override")).collect();
    let pack = plan(wide(layers), Quantize::Q4, &overrides).expect("a plan");
    let values = |_: &str, width: usize, rows: Range<usize>| vec![0.01; width * rows.len()];
    let (pack, most) =
        alone(|| most_held(|| write(pack, &values, &files, &Value::Null, &out, &mut |_, _| {})));
    (pack.expect("written"), most as u64)
}

#[test]
fn packing_holds_a_few_shards_whatever_the_size_of_the_model() {
    // Halves, since they take the least time for their bytes; blocks of four bits below.
    let halves = ["model.layers.*=f16"];
    let (small, few) = packed(1, &halves);
    let (large, many) = packed(3, &halves);
    let bits = packed(1, &[]);
    for (pack, most) in [(&small, few), (&large, many), (&bits.0, bits.1)] {
        eprintln!("{} bytes in {} shards, {most} held", pack.bytes(), pack.shards.len());
        assert!(most < 4 * SHARD_BYTES, "{most} bytes held for shards of {SHARD_BYTES}");
    }
    assert!(large.bytes() > 2 * many, "{} bytes, {many} held", large.bytes());
    assert!(
        large.bytes() > small.bytes() + 4 * SHARD_BYTES && many < few + (8 << 20),
        "{few} and {many} bytes"
    );
}

/// Errors of tensors take rows; on rows of data, the whole model and then the pack.
#[test]
fn the_report_holds_one_model_at_a_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let text = std::fs::read(tiny("checkpoint/config.json")).expect("config.json");
    let mut config: Value = serde_json::from_slice(&text).expect("JSON");
    config["hidden_size"] = 384.into();
    config["intermediate_size"] = 1536.into();
    config["num_attention_heads"] = 24.into();
    config["num_hidden_layers"] = 10.into();
    config["vision_config"]["out_hidden_size"] = 384.into();
    std::fs::write(path("config.json"), config.to_string()).expect("written");
    let made = run(trainer()
        .args(["init", "--config"])
        .arg(path("config.json"))
        .arg("--tokenizer")
        .arg(tiny("checkpoint"))
        .arg("--out")
        .arg(path("whole")));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let row = json!({
        "problem": "1 + 1?", "answer": "2", "category": "sums", "refined_cot": "Two.", "image_path": [], "reward": "number",
    });
    std::fs::write(path("rows.jsonl"), format!("{row}\n")).expect("written");

    let whole = Folder::open(&path("whole")).expect("a checkpoint");
    let source = Source::open(&whole).expect("weights");
    let values = |name: &str, width: usize, rows: Range<usize>| source.rows(name, width, rows);
    let json =
        serde_json::from_slice(&std::fs::read(path("whole/config.json")).expect("read")).expect("JSON");
    // Eight bits: the pack is a quarter of the model, which is to be seen if both are there.
    let pack = plan(json, Quantize::Q8, &[]).expect("a plan");
    let pack = write(pack, &values, &whole, &Value::Null, &path("pack"), &mut |_, _| {}).expect("a pack");
    let packed = Folder::open(&path("pack")).expect("a pack");
    let (data, rewards) = (
        Rows::open(&path("rows.jsonl"), None).expect("rows"),
        RewardMap::from_entries(&[] as &[&str]).expect("no names"),
    );
    let device = Device::flex();
    let rows = ReportRows { data: &data, limit: 1, max_new_tokens: 2, device: &device, rewards: &rewards };
    let all = weight_bytes(&whole.config().expect("a configuration"));
    let most = |rows: Option<&ReportRows>| {
        let (report, most) = alone(|| most_held(|| report(&whole, &packed, &values, rows)));
        report.expect("a report");
        most as u64
    };
    let (errors, both) = (most(None), most(Some(&rows)));
    eprintln!("{all} bytes whole, {} packed: {errors} held for errors, {both} with rows", pack.bytes());
    assert!(errors < all / 8, "{errors} of {all} bytes");
    assert!(both < all + pack.bytes() / 2, "{both} bytes for {all} whole and {} packed", pack.bytes());
}
