//! A plan to files, one shard at a time.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde_json::{Value, json};
use wethink_model::{PACK, Pack, PackFile, PackTensor, Packing, pack_row};

use crate::folder::{Folder, write_whole};
use crate::train::files::sum;

/// Rows of a tensor, by name, width and range: what the weights are read from.
pub type Values<'a> = &'a (dyn Fn(&str, usize, Range<usize>) -> Vec<f32> + Sync);

/// Says what the shards in an unfinished folder were made of.
const PLAN: &str = "plan.json";

/// Bytes of values that one task converts; enough to be worth a task, few enough for a cache.
const TASK: usize = 1 << 18;

/// Writes the pack: shards, small files, then `pack.json`, in a folder beside `out` that takes its place at the end.
///
/// A folder left by a run that was stopped is continued: its shards are whole, because each is renamed into place.
/// `identity` tells checkpoints apart, so that one is not continued with another's weights. `progress` is told the bytes of
/// shards done and of all.
///
/// # Errors
/// A file cannot be written, the unfinished folder holds another pack, or a value cannot be packed.
pub fn write(
    mut pack: Pack,
    values: Values,
    folder: &Folder,
    identity: &Value,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Pack> {
    let part = out.with_added_extension("part");
    let described = serde_json::to_vec(&json!({"source": identity, "pack": pack}))?;
    begin(&part, &described)?;
    let total = pack.bytes();
    let mut done = 0;
    let of_shards = pack.parts_of_shards();
    for (index, parts) in &of_shards {
        let shard = &pack.shards[*index];
        let path = part.join(&shard.file);
        if !fs::metadata(&path).is_ok_and(|file| file.len() == shard.bytes) {
            write_whole(&path, &shard_bytes(&pack, *index, parts, values)?)?;
        }
        let digest = sum(&path)?;
        done += shard.bytes;
        pack.shards[*index].sha256 = digest;
        progress(done, total);
    }
    pack.files = copy_files(folder, &part)?;
    pack.check()?;
    write_whole(&part.join(PACK), &serde_json::to_vec_pretty(&pack)?)?;
    fs::remove_file(part.join(PLAN))?;
    fs::rename(&part, out).with_context(|| format!("{}: cannot be written", out.display()))?;
    Ok(pack)
}

/// Makes the unfinished folder, or finds the one that this plan left.
fn begin(part: &Path, described: &[u8]) -> Result<()> {
    let plan = part.join(PLAN);
    match fs::read(&plan) {
        Ok(found) if found == described => Ok(()),
        Ok(_) => bail!("{}: left by another export; remove it, or take another --out", part.display()),
        Err(_) => {
            fs::create_dir_all(part).with_context(|| format!("{}: cannot be made", part.display()))?;
            write_whole(&plan, described)
        }
    }
}

/// One shard's bytes, computed in parallel.
fn shard_bytes(pack: &Pack, index: usize, parts: &[(usize, usize)], values: Values) -> Result<Vec<u8>> {
    let mut bytes = vec![0; pack.shards[index].bytes as usize];
    for &(t, p) in parts {
        let tensor = &pack.tensors[t];
        let first = tensor.parts[..p].iter().map(|part| part.rows).sum();
        let part = &tensor.parts[p];
        let (own, scales) = tensor.ranges(part);
        let (packed, own_scales) =
            part_bytes(tensor, first..first + part.rows, values).with_context(|| tensor.name.clone())?;
        bytes[own.start as usize..own.end as usize].copy_from_slice(&packed);
        if let Some(range) = scales {
            bytes[range.start as usize..range.end as usize].copy_from_slice(&own_scales);
        }
    }
    Ok(bytes)
}

/// Values and scales of some rows.
fn part_bytes(tensor: &PackTensor, rows: Range<usize>, values: Values) -> Result<(Vec<u8>, Vec<u8>)> {
    let (_, width) = tensor.matrix();
    let step = (TASK / width.max(1)).max(1);
    let packing = tensor.dtype.packing();
    let starts: Vec<usize> = rows.clone().step_by(step).collect();
    let tasks = starts
        .into_par_iter()
        .map(|start| task(&values(&tensor.name, width, start..rows.end.min(start + step)), width, packing));
    let done = tasks.collect::<Result<Vec<_>>>()?;
    let (words, scales): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    Ok((bytes(words), bytes(scales)))
}

/// Words of all tasks, little-endian. A task's words are freed as they are taken.
fn bytes(tasks: Vec<Vec<u32>>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tasks.iter().map(|words| 4 * words.len()).sum());
    for words in tasks {
        bytes.extend(words.into_iter().flat_map(u32::to_le_bytes));
    }
    bytes
}

fn task(values: &[f32], width: usize, packing: Option<Packing>) -> Result<(Vec<u32>, Vec<u32>)> {
    let (mut words, mut scales) = (Vec::new(), Vec::new());
    match packing {
        None => words.extend(values.iter().map(|value| value.to_bits())),
        Some(packing) => {
            for row in values.chunks_exact(width) {
                pack_row(packing, row, &mut words, &mut scales)?;
            }
        }
    }
    Ok((words, scales))
}

/// Copies what is neither weights nor configuration, and lists it by name.
fn copy_files(folder: &Folder, part: &Path) -> Result<Vec<PackFile>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder.dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let taken = name.ends_with(".json") || name.ends_with(".txt") || name.ends_with(".jinja");
        let weights = name == "config.json" || name.contains(".safetensors");
        if !taken || weights || name.starts_with('.') || !name.chars().all(plain) || !entry.path().is_file() {
            continue;
        }
        let path = part.join(&name);
        fs::copy(entry.path(), &path).with_context(|| name.clone())?;
        let bytes = fs::metadata(&path)?.len();
        files.insert(name.clone(), PackFile { name, bytes, sha256: sum(&path)? });
    }
    Ok(files.into_values().collect())
}
