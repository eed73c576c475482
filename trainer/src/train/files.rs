//! Flat float tensors in safetensors files, written and read one at a time, and the sums that say a file is whole.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device, Tensor, TensorData};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};

use super::gradients::Values;

/// A tensor that is read from the device only when it is written: a checkpoint is never in memory as a whole.
struct Lazy {
    shape: Vec<usize>,
    dtype: DType,
    value: Tensor<1>,
}

impl View for Lazy {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            DType::BF16 => Dtype::BF16,
            DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let data = self.value.clone().into_data().convert_dtype(self.dtype);
        Cow::Owned(data.as_bytes().to_vec())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }
}

/// Writes tensors to a safetensors file and flushes it. `dtype` is F32, F16 or BF16.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a Tensor<1>)>,
    dtype: DType,
) -> Result<()> {
    let lazy = |(name, shape, value): (String, Vec<usize>, &Tensor<1>)| {
        (name, Lazy { shape, dtype, value: value.clone() })
    };
    let info = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(tensors.into_iter().map(lazy), Some(info), path)?;
    File::open(path)?.sync_all()?;
    Ok(())
}

/// Reads a file of float32 tensors to a device, each flat.
pub fn read_tensors(path: &Path, device: &Device) -> Result<Values> {
    let read = || -> Result<Values> {
        // SAFETY: as in every loader that maps, a file shortened meanwhile ends the process by a signal.
        let map = unsafe { Mmap::map(&File::open(path)?)? };
        let mut values = Values::new();
        for (name, view) in SafeTensors::deserialize(&map)?.tensors() {
            if view.dtype() != Dtype::F32 {
                bail!("{name} is {:?}, not F32", view.dtype());
            }
            let words = view.data().chunks_exact(4);
            let floats: Vec<f32> = words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let data = TensorData::new(floats, [view.data().len() / 4]);
            values.insert(name, Tensor::from_data(data, (device, DType::F32)));
        }
        Ok(values)
    };
    read().with_context(|| path.display().to_string())
}

/// SHA-256 of a file, in hexadecimal.
pub fn sum(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
