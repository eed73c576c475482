//! A pack's shards to a model, one shard at a time and in any order: a caller never holds more than one, and each is free
//! once it has been read.
//!
//! Queries, keys and values of a layer go to the device as one matrix, of which the three weights are ranges: at decode one
//! launch computes all of them. They are held back on the host until all three have come, which is soon, since a pack lists
//! them one after the other. A matrix that came in parts is put together on the device, where one binding holds it.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::f16;
use wethink_kernels::{PackedMatrix, PackedRows, Packing};

use crate::checkpoint::Parts;
use crate::pack::{Pack, PackError, PackTensor, PackType};
use crate::{Config, Model};

/// Bytes of a matrix at most that is put together of several tensors or parts: WebGPU's default for one binding.
const JOINED_BYTES: usize = 128 << 20;

/// The names that are joined, in the order of their rows.
const JOINED: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// Collects the tensors of a pack on a device, shard by shard.
///
/// Bytes are trusted to be those whose SHA-256 the pack names: whoever fetched them has checked that. What a wrong byte
/// could do is limited to wrong weights all the same.
pub struct PackLoader {
    pack: Pack,
    config: Config,
    device: Device,
    /// Which shards have been read.
    read: Vec<bool>,
    /// Parts on the device, or on their way, by tensor and part.
    parts: BTreeMap<(usize, usize), Part>,
}

/// A part of a tensor.
#[expect(clippy::large_enum_variant, reason = "a thousand of them beside gigabytes of weights")]
enum Part {
    /// Plain floats, `[rows * width]`.
    Plain(Tensor<1>),
    /// Packed rows.
    Packed(PackedRows),
    /// Packed rows that are still to be joined with others: words and scales.
    Held(Vec<u8>, Vec<u8>),
}

impl PackLoader {
    /// A loader of the model that `pack` describes. Plain weights and activations are float32.
    ///
    /// # Errors
    /// As [`Pack::check`].
    pub fn new(pack: &Pack, device: &Device) -> Result<Self, PackError> {
        pack.check()?;
        Ok(Self {
            config: pack.config()?,
            read: vec![false; pack.shards.len()],
            pack: pack.clone(),
            device: device.clone(),
            parts: BTreeMap::new(),
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Moves the tensors of shard `index` to the device; a shard that was read already changes nothing.
    ///
    /// # Errors
    /// The shard is unknown, of another length than the pack says, or holds scales that are not finite.
    pub fn shard(&mut self, index: usize, bytes: &[u8]) -> Result<(), PackError> {
        let Some(shard) = self.pack.shards.get(index) else {
            let problem = format!("{} shards, but number {index} was read", self.pack.shards.len());
            return Err(PackError::Field { field: "shards".into(), problem });
        };
        let fault = |problem: String| PackError::Shard { file: shard.file.clone(), problem };
        if bytes.len() as u64 != shard.bytes {
            return Err(fault(format!("{} bytes instead of {}", bytes.len(), shard.bytes)));
        }
        if std::mem::replace(&mut self.read[index], true) {
            return Ok(());
        }
        for (t, tensor) in self.pack.tensors.iter().enumerate() {
            for (p, part) in tensor.parts.iter().enumerate().filter(|(_, part)| part.shard == index) {
                let (values, scales) = tensor.ranges(part);
                let range = |range: std::ops::Range<u64>| &bytes[range.start as usize..range.end as usize];
                let (values, scales) = (range(values), scales.map(range).unwrap_or_default());
                let halves = scales.as_chunks::<2>().0.iter();
                if halves.copied().any(|half| !f16::from_le_bytes(half).is_finite()) {
                    return Err(fault(format!("scales of {} that are not finite", tensor.name)));
                }
                self.parts.insert((t, p), self.part(tensor, values, scales));
            }
        }
        self.join();
        self.concatenate(index);
        Ok(())
    }

    fn part(&self, tensor: &PackTensor, values: &[u8], scales: &[u8]) -> Part {
        let (_, width) = tensor.matrix();
        match tensor.dtype.packing() {
            Some(packing) if is_weight(tensor) => match self.joined(tensor) {
                true => Part::Held(values.to_vec(), scales.to_vec()),
                false => Part::Packed(PackedRows::new(packing, width, values, scales, &self.device)),
            },
            _ => Part::Plain(self.plain(tensor.dtype, width, values)),
        }
    }

    /// Floats, whatever their type in the pack.
    fn plain(&self, dtype: PackType, width: usize, values: &[u8]) -> Tensor<1> {
        let floats: Vec<f32> = match dtype.packing() {
            Some(_) => {
                let words: Vec<u32> =
                    values.as_chunks::<4>().0.iter().copied().map(u32::from_le_bytes).collect();
                let row_words = Packing::F16.row_words(width);
                let mut floats = vec![0.0; words.len() / row_words * width];
                for (out, words) in floats.chunks_exact_mut(width).zip(words.chunks_exact(row_words)) {
                    Packing::F16.unpack(words, &[], out);
                }
                floats
            }
            None => values.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect(),
        };
        let count = floats.len();
        let target = (&self.device, DType::F32);
        self.device.memory_persistent_allocations(TensorData::new(floats, [count]), |data| {
            Tensor::from_data(data, target)
        })
    }

    /// Whether a tensor is one of three that are joined: all in one part, packed alike, and small enough together.
    fn joined(&self, tensor: &PackTensor) -> bool {
        let Some(group) = self.group(tensor) else { return false };
        let members = group.map(|t| &self.pack.tensors[t]);
        let bytes = |member: &PackTensor| {
            let (rows, width) = member.matrix();
            rows as u64 * (member.dtype.row_bytes(width) + member.dtype.scale_bytes(width))
        };
        members.iter().all(|member| member.dtype == tensor.dtype && member.parts.len() == 1)
            && members.iter().map(|member| bytes(member)).sum::<u64>() <= JOINED_BYTES as u64
    }

    /// Numbers of the tensors that belong together with this one, in order.
    fn group(&self, tensor: &PackTensor) -> Option<[usize; 3]> {
        let own = JOINED.iter().find(|name| tensor.name.ends_with(&format!(".{name}.weight")))?;
        let group = JOINED.map(|name| {
            let name = tensor.name.replace(own, name);
            self.pack.tensors.iter().position(|tensor| tensor.name == name)
        });
        let [Some(q), Some(k), Some(v)] = group else { return None };
        Some([q, k, v])
    }

    /// Moves every complete group of held parts to the device.
    fn join(&mut self) {
        let held: Vec<[usize; 3]> = self
            .parts
            .iter()
            .filter(|(_, part)| matches!(part, Part::Held(..)))
            .filter_map(|(&(t, _), _)| self.group(&self.pack.tensors[t]).filter(|group| group[0] == t))
            .collect();
        for group in held {
            if !group.iter().all(|&t| self.parts.contains_key(&(t, 0))) {
                continue;
            }
            let (mut words, mut scales, mut counts) = (Vec::new(), Vec::new(), Vec::new());
            for t in group {
                let Some(Part::Held(own_words, own_scales)) = self.parts.remove(&(t, 0)) else { continue };
                words.extend(own_words);
                scales.extend(own_scales);
                counts.push(self.pack.tensors[t].matrix().0);
            }
            let tensor = &self.pack.tensors[group[0]];
            let Some(packing) = tensor.dtype.packing() else { continue };
            let rows = PackedRows::new(packing, tensor.matrix().1, &words, &scales, &self.device);
            for (t, rows) in group.into_iter().zip(rows.split(&counts)) {
                self.parts.insert((t, 0), Part::Packed(rows));
            }
        }
    }

    /// Puts the parts of a tensor together that this shard completes, if one binding holds it whole. The parts go to the
    /// device as they come: a host never holds more than one.
    fn concatenate(&mut self, shard: usize) {
        for (t, tensor) in self.pack.tensors.iter().enumerate() {
            let bytes = {
                let (rows, width) = tensor.matrix();
                rows as u64 * (tensor.dtype.row_bytes(width) + tensor.dtype.scale_bytes(width))
            };
            let here = tensor.parts.iter().any(|part| part.shard == shard);
            if !here || tensor.parts.len() < 2 || bytes > JOINED_BYTES as u64 {
                continue;
            }
            let of = |p| match self.parts.get(&(t, p)) {
                Some(Part::Packed(rows)) => Some(rows.clone()),
                _ => None,
            };
            let Some(parts) = (0..tensor.parts.len()).map(of).collect::<Option<Vec<_>>>() else { continue };
            let whole = PackedRows::concatenated(&parts, &self.device);
            (1..tensor.parts.len()).for_each(|p| drop(self.parts.remove(&(t, p))));
            self.parts.insert((t, 0), Part::Packed(whole));
        }
    }

    /// The model, when every shard has been read.
    ///
    /// # Errors
    /// Shards are missing.
    pub fn finish(mut self) -> Result<Model, PackError> {
        let missing = self.pack.shards.iter().zip(&self.read).filter(|(_, read)| !**read);
        let missing: Vec<String> = missing.map(|(shard, _)| shard.file.clone()).collect();
        if !missing.is_empty() {
            return Err(PackError::Missing(missing));
        }
        let (mut tensors, mut packed) = (BTreeMap::new(), BTreeMap::new());
        for (t, tensor) in self.pack.tensors.iter().enumerate() {
            let (mut plain, mut rows) = (Vec::new(), Vec::new());
            for p in 0..tensor.parts.len() {
                match self.parts.remove(&(t, p)) {
                    Some(Part::Plain(part)) => plain.push(part),
                    Some(Part::Packed(part)) => rows.push(part),
                    Some(Part::Held(..)) => unreachable!("all shards were read, so all groups are whole"),
                    // It was put together with the first.
                    None => {}
                }
            }
            match tensor.dtype.packing().filter(|_| plain.is_empty()) {
                Some(packing) => {
                    packed.insert(tensor.name.clone(), PackedMatrix::new(packing, tensor.matrix().1, rows));
                }
                None => {
                    let whole = if plain.len() == 1 { plain.remove(0) } else { Tensor::cat(plain, 0) };
                    tensors.insert(tensor.name.clone(), whole);
                }
            }
        }
        let biases: Vec<Option<Tensor<1>>> =
            (0..self.config.text.num_hidden_layers).map(|layer| joined_bias(&tensors, layer)).collect();
        let mut model = Parts { tensors, packed, config: &self.config }.model();
        for (layer, bias) in model.model.layers.iter_mut().zip(biases) {
            layer.self_attn.joined_bias = bias;
        }
        Ok(model)
    }
}

/// Whether a tensor is the weight of an affine map, or the embedding; others are plain floats in the model.
fn is_weight(tensor: &PackTensor) -> bool {
    tensor.shape.len() == 2
}

/// Biases of a layer's queries, keys and values side by side.
fn joined_bias(tensors: &BTreeMap<String, Tensor<1>>, layer: usize) -> Option<Tensor<1>> {
    let own = JOINED.map(|name| tensors.get(&format!("model.layers.{layer}.self_attn.{name}.bias")).cloned());
    let [Some(q), Some(k), Some(v)] = own else { return None };
    Some(Tensor::cat(vec![q, k, v], 0))
}
