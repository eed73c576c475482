//! From burn tensors to a launch of our WGSL, and back.

use burn::cubecl::ir::attributes::BufferIOAttr;
use burn::cubecl::prelude::{CubeCount, CubeDim, KernelId};
use burn::cubecl::server::{KernelArguments, MetadataBindingInfo};
use burn::tensor::{DType, Int, Tensor};
use burn_wgpu::{CubeBackend, CubeTensor, KernelSource, SourceKernel, SourceTemplate, into_contiguous};
use bytemuck::Pod;
use wethink_shaders::{Kernel, Role, case::words};

use crate::Launches;

/// Whether operations on this tensor run our WGSL rather than their composed bodies.
pub fn runs_wgsl<const R: usize>(x: &Tensor<R>) -> bool {
    Wgsl::of(x).is_some()
}

/// A device that compiles WGSL.
pub(crate) struct Wgsl {
    /// Any tensor of the device: it carries the client and the device's name.
    like: CubeTensor,
}

/// A tensor as a kernel sees it: contiguous, row by row.
pub(crate) struct Buffer(CubeTensor);

/// Kernels are cached by this identity; their text never changes within a process.
struct Source(&'static Kernel);

impl KernelSource for Source {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.wgsl)
    }

    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(self.0.name)
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

impl Wgsl {
    /// The tensor's device, if our kernels run there: float32, WGSL as the language, no gradient tracked (an autodiff
    /// tensor is no plain tensor of the backend). An operation of several tensors asks of the others whether they are
    /// tracked: weights may be where activations are not.
    pub fn of<const R: usize>(x: &Tensor<R>) -> Option<Self> {
        if x.dtype() != DType::F32 {
            return None;
        }
        let like = x.clone().try_into_primitive::<CubeBackend>().ok()?;
        (like.client.name() == "wgpu<wgsl>").then_some(Self { like })
    }

    /// A new tensor whose contents a kernel will write.
    pub fn empty<const R: usize>(&self, shape: [usize; R]) -> Buffer {
        self.empty_of(shape, DType::F32)
    }

    /// A new tensor of integers.
    pub fn empty_ids<const R: usize>(&self, shape: [usize; R]) -> Buffer {
        self.empty_of(shape, DType::I32)
    }

    fn empty_of<const R: usize>(&self, shape: [usize; R], dtype: DType) -> Buffer {
        let CubeTensor { client, device, .. } = &self.like;
        let bytes = shape.iter().product::<usize>() * dtype.size();
        let handle = client.empty(bytes);
        Buffer(CubeTensor::new_contiguous(client.clone(), device.clone(), shape.into(), handle, dtype))
    }

    /// Launches `kernel` over `buffers`, in the order of its bindings, and counts it. An empty grid launches nothing.
    pub fn launch<P: Pod>(
        &self,
        kernel: &'static Kernel,
        params: &P,
        grid: [u32; 3],
        buffers: &[&Buffer],
        launches: &mut Launches,
    ) {
        assert_eq!(buffers.len(), kernel.bindings.len(), "{}: one buffer per binding", kernel.name);
        if grid.contains(&0) {
            return;
        }
        let mut arguments = KernelArguments::new();
        for (binding, buffer) in kernel.bindings.iter().zip(buffers) {
            let io = match binding.role {
                Role::Read => BufferIOAttr::ReadOnly,
                Role::Written => BufferIOAttr::WriteOnly,
                Role::Updated => BufferIOAttr::ReadWrite,
            };
            arguments = arguments.with_buffer_io(buffer.0.handle.clone().binding(), io);
        }
        let pairs = words(params).chunks_exact(2).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32).collect();
        let arguments = arguments.with_info(MetadataBindingInfo::custom(pairs));
        let source = SourceKernel::new(Source(kernel), CubeDim::new_1d(kernel.workgroup));
        self.like.client.launch(Box::new(source), CubeCount::Static(grid[0], grid[1], grid[2]), arguments);
        launches.count(kernel.name);
    }
}

impl Buffer {
    /// A float tensor for a kernel to read.
    pub fn read<const R: usize>(x: Tensor<R>) -> Self {
        Self(into_contiguous(primitive(x)))
    }

    /// A tensor of indices for a kernel to read.
    pub fn read_ids<const R: usize>(x: Tensor<R, Int>) -> Self {
        let cube = x.try_into_primitive::<CubeBackend>().expect("indices live beside the data they index");
        Self(into_contiguous(cube))
    }

    /// A float tensor for a kernel to change in place; copied first if anyone else holds it.
    pub fn update<const R: usize>(x: Tensor<R>) -> Self {
        let cube = into_contiguous(primitive(x));
        Self(if cube.can_mut() { cube } else { cube.copy() })
    }

    /// The tensor, for burn.
    pub fn tensor<const R: usize>(self) -> Tensor<R> {
        Tensor::from_primitive::<CubeBackend>(self.0)
    }

    /// The tensor of integers, for burn.
    pub fn ids<const R: usize>(self) -> Tensor<R, Int> {
        Tensor::from_primitive::<CubeBackend>(self.0)
    }
}

fn primitive<const R: usize>(x: Tensor<R>) -> CubeTensor {
    x.try_into_primitive::<CubeBackend>().expect("all tensors of an operation live on one device")
}
