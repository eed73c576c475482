//! Stand-in for `cubecl-llvm` 0.11.3, put in its place by `[patch.crates-io]`.
//!
//! cubecl-cuda has two ways to turn a kernel into something the driver loads: CUDA C++ through NVRTC, and LLVM. Both are
//! always linked, and the build script of the real crate downloads an LLVM bundle: slow everywhere, impossible behind a
//! closed network. This project selects the NVRTC way (`cubecl/cuda-cpp`), so the LLVM way is never taken at run time and
//! only its names have to exist. Everything here refuses to compile a kernel.

use cubecl_core::ir::{DeviceProperties, attributes::BufferIOAttr, nvidia::SmArch};
use cubecl_core::prelude::KernelDefinition;
use cubecl_server::compiler::CompilationError;
use nvptx::ptx_version::PtxVersion;

/// Names of the NVPTX target.
pub mod nvptx {
    /// Versions of the PTX language.
    pub mod ptx_version {
        use core::fmt;

        /// The PTX version of the LLVM way; none exists here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// Always `None`: no PTX is emitted here, whatever the driver loads.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {}
            }
        }
    }
}

/// Names shared by the targets of the real crate.
pub mod shared {
    /// What a lowering supports.
    pub mod lowered_features {
        use crate::DeviceProperties;

        /// The GPU a kernel is lowered for.
        #[derive(Clone, Copy, Debug)]
        pub enum GpuTarget {
            /// NVIDIA's virtual instruction set.
            Nvptx,
        }

        /// Leaves the properties as they are: only the LLVM way, never taken here, restricts them.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}

/// What the compiler emits code for.
#[derive(Clone, Copy, Debug)]
pub enum LlvmTarget {
    /// NVIDIA's virtual instruction set.
    Nvptx,
}

/// The options the CUDA runtime fills in; all ignored.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// Architecture by name.
    pub arch: Option<String>,
    /// Architecture as the runtime read it from the device.
    pub sm_arch: Option<SmArch>,
    /// The newest PTX version the driver loads.
    pub ptx_version: Option<PtxVersion>,
    /// Whether parameters come as grid constants.
    pub grid_constants: bool,
}

/// A compiled module; never produced here.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// LLVM's text.
    pub ir: String,
    /// PTX, as the driver takes it.
    pub ptx: Vec<core::ffi::c_char>,
    /// Shared memory of a launch, in bytes.
    pub shared_memory_size: usize,
    /// How each buffer is used.
    pub io: Vec<BufferIOAttr>,
}

/// What a compilation yields; never produced here.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// Code for NVIDIA's GPUs.
    NvptxCode(NvptxModule),
    /// Code for the host.
    HostCode,
}

/// The compiler that refuses.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What it would emit code for.
    pub target: LlvmTarget,
}

impl PlironCompiler {
    /// Refuses every kernel, naming the feature that selects the way that works.
    pub fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build carries no LLVM: enable the feature `cuda-cpp` of cubecl".into(),
            backtrace: cubecl_environment::backtrace::BackTrace::capture(),
        })
    }

    /// The language of the artifact.
    pub fn lang_tag(&self) -> &'static str {
        "ptx"
    }
}
