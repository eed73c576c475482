//! Packs as a user meets them: `trainer export --quantize`, `trainer ask` and what they say of damaged ones.

use std::path::Path;

use burn::tensor::Device;
use serde_json::Value;
use wethink_model::{Pack, PackType, Prompt};
use wethink_trainer::folder::Folder;
use wethink_trainer::pack::Quantize;

use crate::commands::{assert_fails, own, run, stdout, trainer};
use crate::packs::{greedy, load, open, packed};

fn export(out: &Path) -> std::process::Command {
    let mut command = trainer();
    command.arg("export").arg(own("checkpoint")).args(["--quantize", "q4", "--out"]).arg(out);
    command
}

fn ask(folder: &Path) -> std::process::Command {
    let mut command = trainer();
    command.arg("ask").arg("--checkpoint").arg(folder);
    command.args(["--device", "cpu", "--question", "Hm?", "--max-new-tokens", "6", "--json"]);
    command
}

#[test]
fn export_writes_a_pack_that_ask_reads_and_reports_what_it_cost() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (out, report) = (folder.path().join("pack"), folder.path().join("report.json"));
    let rows = folder.path().join("rows.jsonl");
    let row = serde_json::json!({
        "problem": "What is 1 + 1?", "answer": "2", "category": "sums", "refined_cot": "One and one.",
        "image_path": [], "reward": "number",
    });
    std::fs::write(&rows, format!("{row}\n")).expect("written");
    let output = run(export(&out)
        .args(["--override", "model.layers.0.*=q8", "--device", "cpu", "--max-new-tokens", "3", "--report"])
        .arg(&report)
        .arg("--rows")
        .arg(&rows));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pack = Pack::parse(&std::fs::read(out.join("pack.json")).expect("pack.json")).expect("a sound pack");
    let dtype = |name: &str| pack.tensors.iter().find(|tensor| tensor.name == name).expect(name).dtype;
    assert_eq!(dtype("model.layers.0.mlp.up_proj.weight"), PackType::Q8);
    assert_eq!(dtype("model.layers.1.mlp.up_proj.weight"), PackType::Q4);
    let json: Value = serde_json::from_slice(&std::fs::read(&report).expect("the report")).expect("JSON");
    for tensor in json["tensors"].as_array().expect("tensors") {
        let error = tensor["relative_error"].as_f64().expect("an error");
        let (least, most) = match tensor["dtype"].as_str() {
            Some("q4") => (0.02, 0.12),
            Some("q8") => (1e-4, 0.01),
            Some("f16") => (1e-6, 1e-3),
            _ => (0.0, 0.0),
        };
        assert!(error >= least && error <= most, "{tensor}");
    }
    assert!(json["rows"]["tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{}", json["rows"]);
    assert!(json["rows"]["logprob_difference_mean"].as_f64().is_some_and(|mean| mean > 0.0));
    assert!(json["rows"]["accuracy_packed"].is_number());
    let output = run(&mut ask(&out));
    let answer: Value = serde_json::from_str(stdout(&output)).expect("one object");
    let model = load(&Folder::open(&out).expect("a pack"), &Device::flex());
    let ids: Vec<u32> = answer["prompt_ids"]
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| id.as_u64().expect("an id") as u32)
        .collect();
    let positions: Vec<[u32; 3]> = (0..ids.len() as u32).map(|i| [i; 3]).collect();
    let prompt = Prompt { ids: &ids, positions: &positions, patches: &[], grids: &[] };
    let tokens = answer["token_ids"].as_array().expect("tokens").len();
    assert_eq!(answer["token_ids"], serde_json::json!(greedy(&model, prompt, 1, tokens).0));
}

#[test]
fn an_interrupted_export_is_continued_and_another_one_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (whole, again) = (folder.path().join("whole"), folder.path().join("again"));
    assert!(run(&mut export(&whole)).status.success());
    assert!(run(&mut export(&again)).status.success());
    let pack = Pack::parse(&std::fs::read(whole.join("pack.json")).expect("pack.json")).expect("a pack");
    assert_fails(&run(export(&whole).arg("--report").arg(folder.path().join("r"))), 1, &["exists already"]);
    // As a stopped run leaves it: one shard is there (its content shows that it is taken as it is), the rest is not.
    let part = folder.path().join("third.part");
    let plan = |pack: &Pack| {
        let mut plan = pack.clone();
        plan.files.clear();
        plan.shards.iter_mut().for_each(|shard| shard.sha256 = "0".repeat(64));
        plan
    };
    std::fs::create_dir(&part).expect("a folder");
    let checkpoint = own("checkpoint");
    let sizes = |name: &str| std::fs::metadata(checkpoint.join(name)).expect("a shard").len();
    let shards: Vec<(String, u64)> = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        .into_iter()
        .filter(|name| checkpoint.join(name).is_file())
        .map(|name| (name.to_owned(), sizes(name)))
        .collect();
    let identity = serde_json::json!({"folder": checkpoint, "shards": shards});
    let described = serde_json::json!({"source": identity, "pack": plan(&pack)});
    std::fs::write(part.join("plan.json"), serde_json::to_vec(&described).expect("JSON")).expect("written");
    let marked = vec![0u8; pack.shards[0].bytes as usize];
    std::fs::write(part.join(&pack.shards[0].file), &marked).expect("written");
    let third = folder.path().join("third");
    assert_fails(&run(export(&third).args(["--override", "lm_head.weight=q4"])), 1, &["third.part", "--out"]);
    let output = run(&mut export(&third));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        std::fs::read(third.join(&pack.shards[0].file)).expect("a shard"),
        marked,
        "not written again"
    );
    assert!(!part.exists() && !third.join("plan.json").exists());
}

#[test]
fn damaged_packs_are_named() {
    let folder = packed(Quantize::Q4, &[], &|_| 1.0);
    let dir = folder.path().join("pack");
    let pack = open(&folder).pack().expect("a pack").clone();
    let shard = dir.join(&pack.shards[0].file);
    let bytes = std::fs::read(&shard).expect("a shard");
    let mut wrong = bytes.clone();
    wrong[1000] ^= 1;
    std::fs::write(&shard, &wrong).expect("written");
    assert_fails(&run(&mut ask(&dir)), 1, &[&pack.shards[0].file, "fetch it again"]);
    std::fs::remove_file(&shard).expect("removed");
    assert_fails(&run(&mut ask(&dir)), 1, &[&pack.shards[0].file]);
    std::fs::write(dir.join("pack.json"), "{").expect("written");
    assert_fails(&run(&mut ask(&dir)), 1, &["pack.json"]);
    // What takes whole weights says so.
    std::fs::write(dir.join("pack.json"), serde_json::to_vec(&pack).expect("JSON")).expect("written");
    let mut command = trainer();
    command.arg("export").arg(&dir).args(["--quantize", "q8", "--out"]).arg(folder.path().join("x"));
    assert_fails(&run(&mut command), 1, &["pack"]);
}
