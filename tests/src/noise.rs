//! Models of the released widths without their weights: packs of noise, for limits, memory and speed.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use half::f16;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wethink_model::{Model, PACK, Pack, PackFile, PackLoader, PackType};
use wethink_trainer::folder::Folder;

/// `config.json` of the 3B shape. The tower takes no part in decoding: one block stands for it.
pub fn shape_3b() -> Value {
    shape(2048, 16, 2, 11008, 36, true)
}

/// `config.json` of the 7B shape, with one block of the tower.
pub fn shape_7b() -> Value {
    shape(3584, 28, 4, 18944, 28, false)
}

fn shape(width: usize, heads: usize, kv_heads: usize, inner: usize, layers: usize, tied: bool) -> Value {
    json!({
        "model_type": "qwen2_5_vl", "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "vocab_size": if tied { 151936 } else { 152064 }, "tie_word_embeddings": tied,
        "rms_norm_eps": 1e-6, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "vision_config": {"hidden_size": 1280, "depth": 1, "fullatt_block_indexes": [], "out_hidden_size": width},
    })
}

/// A model of noise, one shard in memory at a time: every code is random, scales and plain weights are constants of a plausible size.
pub fn model(pack: &Pack, device: &Device) -> Result<Model> {
    let mut loader = PackLoader::new(pack, device)?;
    for (index, parts) in pack.parts_of_shards() {
        loader.shard(index, &shard(pack, index, &parts))?;
    }
    Ok(loader.finish()?)
}

/// Writes the same as a pack's folder, with the small files of a checkpoint.
pub fn write(mut pack: Pack, files: &Folder, out: &Path) -> Result<Pack> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let sum = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    for (index, parts) in pack.parts_of_shards() {
        let bytes = shard(&pack, index, &parts);
        pack.shards[index].sha256 = sum(&bytes);
        std::fs::write(out.join(&pack.shards[index].file), bytes)?;
    }
    for name in SMALL {
        let Some(bytes) = files.read(name)? else { continue };
        std::fs::write(out.join(name), &bytes)?;
        pack.files.push(PackFile { name: name.into(), bytes: bytes.len() as u64, sha256: sum(&bytes) });
    }
    pack.check()?;
    std::fs::write(out.join(PACK), serde_json::to_vec_pretty(&pack)?)?;
    Ok(pack)
}

/// What a pack needs to be asked anything.
const SMALL: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "chat_template.json",
    "generation_config.json",
];

fn shard(pack: &Pack, index: usize, parts: &[(usize, usize)]) -> Vec<u8> {
    let mut bytes = vec![0u8; pack.shards[index].bytes as usize];
    for &(t, p) in parts {
        let tensor = &pack.tensors[t];
        let (values, scales) = tensor.ranges(&tensor.parts[p]);
        fill(tensor.dtype, &mut bytes[values.start as usize..values.end as usize]);
        for half in scales.into_iter().flat_map(|range| (range.start as usize..range.end as usize).step_by(2))
        {
            let scale = if tensor.dtype == PackType::Q4 { 4e-3 } else { 2.5e-4 };
            bytes[half..half + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        }
    }
    bytes
}

fn fill(dtype: PackType, bytes: &mut [u8]) {
    let constant = |bytes: &mut [u8], value: &[u8]| {
        bytes.chunks_exact_mut(value.len()).for_each(|place| place.copy_from_slice(value));
    };
    match dtype {
        PackType::F32 => constant(bytes, &0.02f32.to_le_bytes()),
        PackType::F16 => constant(bytes, &f16::from_f32(0.01).to_le_bytes()),
        PackType::Q4 | PackType::Q8 => {
            let mut state = 0x9E37_79B9_7F4A_7C15u64;
            for place in bytes.chunks_mut(8) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                place.copy_from_slice(&(state ^ state >> 29).to_le_bytes()[..place.len()]);
            }
        }
    }
}

/// The most memory the process has held, where the system says.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
