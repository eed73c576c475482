//! Random weights as transformers draws them: matrices and embeddings normal with the configuration's
//! `initializer_range` as standard deviation, norms one, biases zero.
//!
//! Every value is addressed by (seed, name of its tensor, place in it) through Philox, so cores share the work and a tensor
//! does not depend on the ones before it. Tensors are made as their bytes are asked for, one at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{View, serialize_to_file};
use serde_json::json;
use sha2::{Digest, Sha256};
use wethink_model::{Config, expected_tensors, uniform};

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// Four bytes a weight.
    F32,
    /// Two bytes: the upper half of a float32, rounded to even.
    Bf16,
}

impl Precision {
    /// Its name in `config.json`.
    pub fn torch_name(self) -> &'static str {
        match self {
            Precision::F32 => "float32",
            Precision::Bf16 => "bfloat16",
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
        }
    }

    fn bytes(self) -> usize {
        self.dtype().bitsize() / 8
    }

    fn store(self, value: f32, to: &mut [u8]) {
        let bits = value.to_bits();
        match self {
            Precision::F32 => to.copy_from_slice(&bits.to_le_bytes()),
            Precision::Bf16 => {
                let rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
                to.copy_from_slice(&(rounded as u16).to_le_bytes());
            }
        }
    }
}

/// Bytes of a shard, unless one tensor alone is larger.
const SHARD: usize = 4 << 30;
/// Values made by one core at a time; even, since normal numbers come in pairs.
const BLOCK: usize = 1 << 14;

enum Fill {
    Constant(f32),
    Normal { seed: u64, stream: [u32; 2], deviation: f64 },
}

/// A tensor that is made when its bytes are asked for.
struct Drawn {
    shape: Vec<usize>,
    fill: Fill,
    precision: Precision,
}

impl Drawn {
    fn new(name: &str, shape: Vec<usize>, seed: u64, deviation: f64, precision: Precision) -> Self {
        let fill = match (shape.len(), name.ends_with(".bias")) {
            (1, true) => Fill::Constant(0.0),
            (1, false) => Fill::Constant(1.0),
            _ => {
                let hash = Sha256::digest(name);
                let word = |i: usize| u32::from_le_bytes([hash[i], hash[i + 1], hash[i + 2], hash[i + 3]]);
                Fill::Normal { seed, stream: [word(0), word(4)], deviation }
            }
        };
        Self { shape, fill, precision }
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl View for &Drawn {
    fn dtype(&self) -> Dtype {
        self.precision.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let width = self.precision.bytes();
        let mut bytes = vec![0; self.data_len()];
        let fill = |(block, bytes): (usize, &mut [u8])| match self.fill {
            Fill::Constant(value) => {
                bytes.chunks_exact_mut(width).for_each(|to| self.precision.store(value, to))
            }
            Fill::Normal { seed, stream, deviation } => {
                for (i, pair) in bytes.chunks_mut(2 * width).enumerate() {
                    let values = normal_pair(seed, stream, (block * BLOCK / 2 + i) as u64);
                    for (to, value) in pair.chunks_exact_mut(width).zip(values) {
                        self.precision.store((deviation * value) as f32, to);
                    }
                }
            }
        };
        bytes.par_chunks_mut(BLOCK * width).enumerate().for_each(fill);
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.len() * self.precision.bytes()
    }
}

/// Two independent standard normal numbers (Box, Muller, 1958).
fn normal_pair(seed: u64, stream: [u32; 2], pair: u64) -> [f64; 2] {
    let place = |half: u32| uniform(seed, stream[0], stream[1], (pair >> 32) as u32 * 2 + half, pair as u32);
    // `uniform` may be 0, never 1.
    let radius = (-2.0 * (1.0 - place(0)).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * place(1)).sin_cos();
    [radius * cos, radius * sin]
}

/// Writes the shards and their index beside `config.json`; the number of parameters.
pub(super) fn write(
    folder: &Path,
    config: &Config,
    deviation: f64,
    seed: u64,
    precision: Precision,
) -> Result<usize> {
    let tensors: BTreeMap<String, Drawn> = expected_tensors(config)
        .into_iter()
        .map(|(name, shape)| {
            let drawn = Drawn::new(&name, shape, seed, deviation, precision);
            (name, drawn)
        })
        .collect();
    let shards = shards(&tensors, SHARD);
    let mut weight_map = serde_json::Map::new();
    for (i, names) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        let data = names.iter().map(|&name| (name, &tensors[name]));
        // transformers refuses a shard that does not say which library's layout it follows.
        let format = Some([("format".to_owned(), "pt".to_owned())].into());
        let path = folder.join(&file);
        serialize_to_file(data, format, &path)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        // safetensors writes through a temporary file that its owner alone may read; others read the folder too.
        fs::set_permissions(&path, fs::metadata(folder.join("config.json"))?.permissions())?;
        weight_map.extend(names.iter().map(|&name| (name.to_owned(), file.clone().into())));
    }
    let parameters: usize = tensors.values().map(Drawn::len).sum();
    let index =
        json!({ "metadata": { "total_size": parameters * precision.bytes() }, "weight_map": weight_map });
    super::write_json(folder, "model.safetensors.index.json", &index)?;
    Ok(parameters)
}

/// Names of tensors by shard, in order, each shard at most `limit` bytes.
fn shards(tensors: &BTreeMap<String, Drawn>, limit: usize) -> Vec<Vec<&str>> {
    let mut shards = vec![Vec::new()];
    let mut room = limit;
    for (name, tensor) in tensors {
        let bytes = (&tensor).data_len();
        if bytes > room && shards.last().is_some_and(|names| !names.is_empty()) {
            shards.push(Vec::new());
            room = limit;
        }
        room = room.saturating_sub(bytes);
        if let Some(names) = shards.last_mut() {
            names.push(name.as_str());
        }
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not the usual 0.02, so that it shows where it comes from.
    const DEVIATION: f64 = 0.05;

    fn values(tensor: &Drawn) -> Vec<f32> {
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    #[test]
    fn matrices_are_normal_norms_one_and_biases_zero() {
        let matrix =
            |seed, name: &str| values(&Drawn::new(name, vec![300, 401], seed, DEVIATION, Precision::F32));
        let drawn = matrix(1, "a.weight");
        let n = drawn.len() as f64;
        let mean = drawn.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let moment = |k| drawn.iter().map(|&v| (f64::from(v) / DEVIATION).powi(k)).sum::<f64>() / n;
        // Four standard errors of each moment of 120,300 normal numbers.
        assert!(mean.abs() < 4.0 * DEVIATION / n.sqrt(), "mean {mean}");
        assert!((moment(2) - 1.0).abs() < 4.0 * (2.0 / n).sqrt(), "variance {}", moment(2));
        assert!((moment(4) - 3.0).abs() < 4.0 * (96.0 / n).sqrt(), "fourth moment {}", moment(4));
        assert_eq!(drawn, matrix(1, "a.weight"));
        assert!(drawn != matrix(2, "a.weight") && drawn != matrix(1, "b.weight"));
        let distinct: std::collections::BTreeSet<u32> = drawn.iter().map(|v| v.to_bits()).collect();
        assert!(distinct.len() as f64 > 0.99 * n, "blocks repeat each other");
        assert_eq!(values(&Drawn::new("x.norm.weight", vec![3], 1, DEVIATION, Precision::F32)), [1.0; 3]);
        assert_eq!(values(&Drawn::new("x.bias", vec![3], 1, DEVIATION, Precision::F32)), [0.0; 3]);
    }

    #[test]
    fn bfloat16_rounds_to_even() {
        for (value, want) in [
            (1.0f32, 0x3f80u16),
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (-0.02, 0xbca4),
        ] {
            let mut bytes = [0; 2];
            Precision::Bf16.store(value, &mut bytes);
            assert_eq!(u16::from_le_bytes(bytes), want, "{value}");
        }
    }

    #[test]
    fn shards_hold_every_tensor_once_and_keep_their_limit() {
        let tensor = |n: usize| Drawn::new("w", vec![n, 1], 0, DEVIATION, Precision::F32);
        let tensors: BTreeMap<String, Drawn> = [("a", 10), ("b", 10), ("c", 30), ("d", 5), ("e", 1)]
            .map(|(name, n)| (name.into(), tensor(n)))
            .into();
        assert_eq!(shards(&tensors, 100), [vec!["a", "b"], vec!["c"], vec!["d", "e"]]);
        assert_eq!(shards(&tensors, usize::MAX), [vec!["a", "b", "c", "d", "e"]]);
    }
}
