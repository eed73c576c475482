//! Known answers of the reference implementations, read from a folder.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use burn::tensor::{DType, Device};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use wethink_model::{Model, Prompt};
use wethink_processor::{Encoded, Options, Picture, Processor, System, messages_from_json, with_system};
use wethink_trainer::device::DeviceArg;
use wethink_trainer::folder::Folder;

/// The folder of known answers: `WETHINK_FIXTURES`, else the copy in the repository.
pub fn dir() -> PathBuf {
    match std::env::var_os("WETHINK_FIXTURES") {
        Some(dir) => dir.into(),
        None => own(),
    }
}

/// The copy in the repository: what tests of runs work on, whose recipes and expectations are made for its shape.
pub fn own() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The WebGPU device of this machine, held by one test at a time: memory is measured on it.
pub struct Wgpu {
    device: Device,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Wgpu {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

/// The folder of scripts for Python: `WETHINK_INTEROP`, else the one of the repository.
pub fn interop() -> PathBuf {
    match std::env::var_os("WETHINK_INTEROP") {
        Some(dir) => dir.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("interop"),
    }
}

/// Opens the WebGPU device, a software one where there is no other. None at all is a failure.
pub fn wgpu() -> Wgpu {
    static DEVICE: LazyLock<Device> = LazyLock::new(|| {
        let opened = wethink_trainer::device::open(DeviceArg::Wgpu, None).expect("a WebGPU adapter");
        eprintln!("kernels run on {opened}");
        opened.device
    });
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Wgpu { device: DEVICE.clone(), _turn: turn }
}

/// The first CUDA device. A build with CUDA asks for one: none is a failure.
#[cfg(feature = "cuda")]
pub fn cuda() -> Device {
    let float32 = Some(wethink_trainer::device::DtypeArg::F32);
    wethink_trainer::device::open(DeviceArg::Cuda(0), float32).expect("a CUDA device").device
}

/// The tiny checkpoint and its cases.
pub struct Tiny {
    /// The checkpoint's folder.
    pub folder: Folder,
    /// Tokenizer, template, picture settings.
    pub processor: Processor,
    /// The cases, by name.
    pub cases: Vec<Case>,
}

/// One chat with everything the reference says about it.
pub struct Case {
    /// Its name.
    pub name: String,
    /// `cases.json`'s entry.
    pub answer: Value,
    /// The chat as this project encodes it.
    pub encoded: Encoded,
    tensors: Vec<u8>,
}

impl Tiny {
    /// Reads everything but the weights.
    pub fn open() -> Result<Self> {
        Self::of(dir())
    }

    /// The same of the copy in the repository.
    pub fn own() -> Result<Self> {
        Self::of(own())
    }

    fn of(set: PathBuf) -> Result<Self> {
        let dir = set.join("tiny-qwen2_5_vl");
        let folder = Folder::open(&dir.join("checkpoint"))?;
        let processor = folder.processor()?;
        let text = std::fs::read(dir.join("cases.json")).context("cases.json")?;
        let json: Value = serde_json::from_slice(&text)?;
        let names = json["cases"].as_object().context("cases.json: field `cases`")?;
        let mut cases = Vec::new();
        for (name, answer) in names {
            let messages = messages_from_json(name, answer["messages"].to_string().as_bytes())?;
            let files = answer["images"].as_array().context("field `images`")?;
            let pictures = files.iter().map(|file| {
                let path = dir.join("images").join(file.as_str().context("a file name")?);
                Ok(Picture::decode(name, &std::fs::read(&path)?)?)
            });
            let pictures = pictures.collect::<Result<Vec<_>>>()?;
            let encoded =
                processor.process(&with_system(messages, System::None), &pictures, &Options::default())?;
            let tensors = std::fs::read(dir.join(format!("{name}.safetensors")))?;
            cases.push(Case { name: name.clone(), answer: answer.clone(), encoded, tensors });
        }
        assert!(!cases.is_empty(), "a set without cases proves nothing");
        Ok(Self { folder, processor, cases })
    }

    /// The weights, in float32.
    pub fn model(&self, device: &Device) -> Result<Model> {
        self.folder.load(device, DType::F32, &mut |_, _| {})
    }
}

impl Case {
    /// The chat as the model takes it.
    pub fn prompt(&self) -> Prompt<'_> {
        Prompt {
            ids: &self.encoded.ids,
            positions: &self.encoded.positions,
            patches: &self.encoded.pixel_values,
            grids: &self.encoded.grids,
        }
    }

    /// A float tensor of the reference, or `None` where the case has none of that name.
    pub fn floats(&self, name: &str) -> Option<Vec<f32>> {
        let file = SafeTensors::deserialize(&self.tensors).expect("the reference writes safetensors");
        let view = file.tensor(name).ok()?;
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        Some(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// A list of ids in `cases.json`.
    pub fn ids(&self, name: &str) -> Vec<u32> {
        let list = self.answer[name].as_array().unwrap_or_else(|| panic!("{}: field `{name}`", self.name));
        list.iter().map(|id| id.as_u64().expect("an id") as u32).collect()
    }
}

/// Fails unless `max |a - b| <= 1e-4 * max(1, max |b|)`, the project's bound against the reference.
pub fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let scale = want.iter().fold(1f32, |top, x| top.max(x.abs()));
    let mut worst = (0, 0f32);
    for (index, (a, b)) in got.iter().zip(want).enumerate() {
        let error = (a - b).abs();
        if error.is_nan() || error > worst.1 {
            worst = (index, error);
        }
        assert!(!error.is_nan(), "{what}: value {index} is {a}, expected {b}");
    }
    let (index, error) = worst;
    assert!(
        error <= 1e-4 * scale,
        "{what}: value {index} is {}, expected {}; off by {error}, allowed {}",
        got[index],
        want[index],
        1e-4 * scale
    );
}
