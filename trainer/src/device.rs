//! The one place of the trainer that names devices.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use burn::tensor::wgpu::WgpuBackend;
use burn::tensor::{DType, Device, DeviceKind};
use clap::ValueEnum;

use crate::train::memory::Arithmetic;

/// `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceArg {
    /// CUDA where it works, else a GPU through wgpu, else the CPU.
    Auto,
    /// burn's CPU backend.
    Cpu,
    /// A GPU, or a software adapter, through wgpu.
    Wgpu,
    /// An NVIDIA GPU by index.
    Cuda(usize),
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is none of auto, cpu, wgpu, cuda, cuda:N");
        match text.split_once(':') {
            None => match text {
                "auto" => Ok(Self::Auto),
                "cpu" => Ok(Self::Cpu),
                "wgpu" => Ok(Self::Wgpu),
                "cuda" => Ok(Self::Cuda(0)),
                _ => Err(unknown()),
            },
            Some(("cuda", index)) => index.parse().map(Self::Cuda).map_err(|_| unknown()),
            Some(_) => Err(unknown()),
        }
    }
}

/// `--dtype`: the type of weights and activations. Norms, softmax and sampling are float32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    /// 32-bit floats.
    F32,
    /// bfloat16; CUDA only.
    Bf16,
}

/// What the CPU is called.
pub const CPU: &str = "cpu";

/// A device, ready for tensors, with the type the model computes in.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// The type of weights and activations.
    pub dtype: DType,
    /// What it is, for people.
    pub name: String,
}

impl Opened {
    /// How the model's operations run here.
    pub fn arithmetic(&self) -> Arithmetic {
        match self.dtype {
            DType::BF16 => Arithmetic::Composed(2),
            _ if self.name == CPU => Arithmetic::Cpu,
            _ => Arithmetic::Composed(4),
        }
    }
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Opens a device. bf16 where CUDA runs, float32 elsewhere, unless asked otherwise.
pub fn open(device: DeviceArg, dtype: Option<DtypeArg>) -> Result<Opened> {
    let opened = match device {
        DeviceArg::Cpu => cpu(),
        DeviceArg::Wgpu => wgpu(false)?,
        DeviceArg::Cuda(index) => cuda(index)?,
        DeviceArg::Auto => auto(),
    };
    let cuda = opened.dtype == DType::BF16;
    match dtype {
        None => Ok(opened),
        Some(DtypeArg::F32) => Ok(Opened { dtype: DType::F32, ..opened }),
        Some(DtypeArg::Bf16) if cuda => Ok(opened),
        Some(DtypeArg::Bf16) => bail!("--dtype bf16 needs --device cuda; {} computes in f32", opened.name),
    }
}

/// Opens so many devices that share a run: CUDA's, from the one that is named on, or threads of the CPU.
pub fn open_several(device: DeviceArg, dtype: Option<DtypeArg>, count: usize) -> Result<Vec<Opened>> {
    let first = open(device, dtype)?;
    if count <= 1 {
        return Ok(vec![first]);
    }
    let from = match device {
        DeviceArg::Cpu => return Ok(vec![first; count]),
        DeviceArg::Cuda(from) => from,
        DeviceArg::Auto if first.name.starts_with("cuda:") => 0,
        _ => bail!(
            "--devices {count} needs --device cuda, or cpu for a trial; there is no way to add up gradients of several \
             devices on {}",
            first.name
        ),
    };
    nccl()?;
    (from..from + count).map(|index| open(DeviceArg::Cuda(index), dtype)).collect()
}

fn cpu() -> Opened {
    Opened { device: Device::flex(), dtype: DType::F32, name: CPU.into() }
}

/// The best that works. What does not work is no error here: the CPU always does.
fn auto() -> Opened {
    cuda(0).or_else(|_| wgpu(true)).unwrap_or_else(|_| cpu())
}

/// `hardware`: refuse software adapters, which burn's own CPU backend outruns.
fn wgpu(hardware: bool) -> Result<Opened> {
    // OpenGL, the other choice on Linux, cannot run our kernels and complains on machines without a display.
    let api = if cfg!(target_os = "linux") { WgpuBackend::Vulkan } else { WgpuBackend::Auto };
    let open =
        |kind: DeviceKind| Device::wgpu_options().graphics_api(api).device_kind(kind).init_with_setup();
    let (device, setup) = match open(DeviceKind::DefaultDevice) {
        Ok(opened) => opened,
        // The default selector may pass over software adapters.
        Err(_) if !hardware => open(DeviceKind::Cpu).context(
            "no WebGPU adapter found; install a Vulkan driver for the GPU (Mesa's `mesa-vulkan-drivers` also brings \
             a software one), or use --device cpu",
        )?,
        Err(error) => return Err(error.into()),
    };
    let info = setup.adapter.get_info();
    if hardware && info.device_type == ::wgpu::DeviceType::Cpu {
        bail!("only the software adapter {}", info.name);
    }
    Ok(Opened { device, dtype: DType::F32, name: format!("wgpu ({}, {:?})", info.name, info.backend) })
}

/// Whether CUDA devices can add up gradients. Without the library the first sum would panic inside burn.
#[cfg(feature = "cuda")]
fn nccl() -> Result<()> {
    let names = ["libnccl.so", "libnccl.so.2", "nccl.dll"];
    // SAFETY: the library runs no code of consequence when it is loaded.
    let found = names.iter().any(|name| unsafe { libloading::Library::new(name) }.is_ok());
    if found {
        Ok(())
    } else {
        bail!("libnccl.so not found; install NCCL (on Debian libnccl2), or use one device")
    }
}

/// There is no CUDA device that could have been opened before.
#[cfg(not(feature = "cuda"))]
fn nccl() -> Result<()> {
    cuda(0).map(drop)
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Opened> {
    // Creating a CUDA device without a driver panics inside the bindings: look for the libraries first.
    let names: [&[&str]; 2] = if cfg!(windows) {
        [&["nvcuda.dll"], &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]]
    } else {
        [&["libcuda.so.1", "libcuda.so"], &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"]]
    };
    for (names, fix) in names.into_iter().zip(["install NVIDIA's driver", "install the CUDA toolkit's NVRTC"])
    {
        // SAFETY: both libraries run no code of consequence when they are loaded.
        let found = names.iter().any(|name| unsafe { libloading::Library::new(name) }.is_ok());
        if !found {
            bail!("{} not found; {fix}, or use --device wgpu or --device cpu", names[0]);
        }
    }
    let count = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec().len();
    if index >= count {
        bail!("cuda:{index} does not exist; {count} CUDA devices were found");
    }
    Ok(Opened { device: Device::cuda(index), dtype: DType::BF16, name: format!("cuda:{index}") })
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: usize) -> Result<Opened> {
    bail!(
        "cuda:{index} needs a build with CUDA: cargo build --release -p wethink-trainer --features cuda; or use \
         --device wgpu, which also runs on NVIDIA's GPUs"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_by_name_and_index() {
        assert_eq!("auto".parse(), Ok(DeviceArg::Auto));
        assert_eq!("cuda".parse(), Ok(DeviceArg::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceArg::Cuda(3)));
        for wrong in ["gpu", "cuda:", "cuda:x", "cpu:0", ""] {
            let error = wrong.parse::<DeviceArg>().expect_err(wrong);
            assert!(error.contains("auto, cpu, wgpu"), "{error}");
        }
    }

    #[test]
    fn bf16_away_from_cuda_is_refused_with_the_fix() {
        let error = open(DeviceArg::Cpu, Some(DtypeArg::Bf16)).expect_err("flex computes in f32").to_string();
        assert!(error.contains("--device cuda"), "{error}");
    }

    #[test]
    fn threads_of_the_cpu_can_share_a_run() {
        let names = |count| {
            let opened = open_several(DeviceArg::Cpu, None, count).expect("the CPU");
            opened.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(1), ["cpu"]);
        assert_eq!(names(3), ["cpu", "cpu", "cpu"]);
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_the_feature_says_how_to_build_it() {
        let error = open(DeviceArg::Cuda(0), None).expect_err("built without cuda").to_string();
        assert!(error.contains("--features cuda"), "{error}");
    }
}
