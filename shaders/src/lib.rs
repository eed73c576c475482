//! WGSL kernels of the Qwen2.5-VL forward pass, each beside its definition.
//!
//! `NAME.wgsl` is the kernel; `NAME.rs` holds its text, its [`Params`](rms_norm::Params), its `grid`, its **twin** (the
//! same function of the same buffers, sequential and in f64, never optimised: it is the definition) and `cases`, on
//! which the two are compared. One harness runs every case of every kernel on any adapter, natively and in a browser.
//!
//! # Rules that every kernel keeps
//!
//! - It is valid WGSL as it stands: no template, no import, nothing beyond WebGPU's default limits and features
//!   (8 storage buffers, 16 KiB of workgroup memory, 256 invocations, 65,535 workgroups a dimension), no subgroups.
//! - Entry point `main`. Group 0 holds the data buffers from binding 0 on, all `var<storage, read_write>` (an allocator
//!   may place several in one buffer, where mixed access is refused), then one `var<uniform>` block: `Params`, an even
//!   count of 32-bit words.
//! - Every binding is used: an automatic pipeline layout drops the others.
//! - Barriers stand under control flow that depends on the uniform block and the workgroup's index alone.
//! - It reads and writes nothing outside its shapes, without leaning on bounds checks, and initialises its workgroup
//!   memory.
//! - Sums, norms and softmax are f32: the vision tower of this model family overflows f16.
//! - Buffers that a kernel reads come out unchanged; what is padding is written as a defined value or not at all, as
//!   the header says.
//!
//! Deliberately absent: burn, the model, f16 arithmetic, subgroups, a kernel for the lookup of plain embeddings (a row
//! copy).
//!
//! # Running the suites
//!
//! `cargo test -p wethink-shaders` takes the default adapter; without a GPU, Mesa's software Vulkan is one
//! (`mesa-vulkan-drivers`). `-- --include-ignored` adds Dawn's `tint`, where it is installed. In Chromium, with
//! `wasm-bindgen-cli` of the version that the lock file holds (`webdriver.json` picks SwiftShader):
//!
//! ```sh
//! CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=wasm-bindgen-test-runner CHROMEDRIVER=$(which chromedriver) \
//! WASM_BINDGEN_TEST_TIMEOUT=600 cargo test -p wethink-shaders --lib --target wasm32-unknown-unknown
//! ```
//!
//! # Letters
//!
//! B rows of a batch, T new tokens, Tmax positions of a cache row, P patches, Hq query heads, Hkv key-value heads, D head
//! dim, C width, V vocabulary, N rows of a matrix, S splits or segments.

pub mod add_rms_norm;
pub mod argmax;
pub mod attention_combine;
pub mod attention_decode;
pub mod attention_prefill;
pub mod attention_vision;
pub mod case;
pub mod logprob_gather;
pub mod mrope_append;
pub mod mrope_append_joined;
mod packed_case;
pub mod packed_gate_up;
pub mod packed_gather;
pub mod packed_matmul;
pub mod packed_matvec;
pub mod packing;
pub mod rms_norm;
pub mod rope_vision;
pub mod sample;
pub mod silu_mul;
mod twins;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod tests;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod text_checks;

use case::Case;

/// What a kernel does to a data buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read; unchanged afterwards.
    Read,
    /// Written throughout; what it held before is never read.
    Written,
    /// Written in part (a cache); the rest is unchanged.
    Updated,
}

/// One data buffer of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The name of the variable in the WGSL text.
    pub name: &'static str,
    /// What the kernel does to it.
    pub role: Role,
}

impl Binding {
    /// A buffer that is read.
    pub const fn read(name: &'static str) -> Self {
        Self { name, role: Role::Read }
    }

    /// A buffer that is written throughout.
    pub const fn written(name: &'static str) -> Self {
        Self { name, role: Role::Written }
    }

    /// A buffer that is written in part.
    pub const fn updated(name: &'static str) -> Self {
        Self { name, role: Role::Updated }
    }
}

/// A kernel as data: all that a launcher, a counter or a test needs of it.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// The name of its files and module; launches are counted under it.
    pub name: &'static str,
    /// The text of `NAME.wgsl`.
    pub wgsl: &'static str,
    /// Invocations of a workgroup, as the text's `@workgroup_size` says.
    pub workgroup: u32,
    /// The data buffers in the order of their bindings; the uniform block follows.
    pub bindings: &'static [Binding],
    /// Bytes of its `Params`, the uniform block.
    pub params_bytes: usize,
    /// The cases on which it is compared with its twin.
    pub cases: fn() -> Vec<Case>,
}

/// Every kernel of the crate, by name.
pub const KERNELS: [Kernel; 17] = [
    add_rms_norm::KERNEL,
    argmax::KERNEL,
    attention_combine::KERNEL,
    attention_decode::KERNEL,
    attention_prefill::KERNEL,
    attention_vision::KERNEL,
    logprob_gather::KERNEL,
    mrope_append::KERNEL,
    mrope_append_joined::KERNEL,
    packed_gate_up::KERNEL,
    packed_gather::KERNEL,
    packed_matmul::KERNEL,
    packed_matvec::KERNEL,
    rms_norm::KERNEL,
    rope_vision::KERNEL,
    sample::KERNEL,
    silu_mul::KERNEL,
];

/// The most workgroups WebGPU launches along one dimension.
pub const MAX_GROUPS: u32 = 65_535;

/// The number of elements of a shape.
///
/// # Panics
///
/// From 2³² elements on: kernels index with `u32`.
pub(crate) fn elements(shape: &[u32]) -> u64 {
    let count = shape.iter().try_fold(1u64, |count, &len| count.checked_mul(u64::from(len)));
    match count {
        Some(count) if count < 1 << 32 => count,
        _ => panic!("a buffer of shape {shape:?} has more elements than u32 counts"),
    }
}

/// A number of workgroups folded into x and y, neither above [`MAX_GROUPS`]. Kernels number themselves
/// `y * count_of_x + x` and ignore the surplus of the last line. `[0, 1, 1]`, for an empty tensor, is nothing to
/// launch.
///
/// # Panics
///
/// Above `MAX_GROUPS`² workgroups: more than any buffer of 2³² elements asks for.
pub fn fold(groups: u64) -> [u32; 3] {
    let most = u64::from(MAX_GROUPS);
    assert!(groups <= most * most, "{groups} workgroups exceed the two dimensions of a launch");
    if groups <= most {
        return [groups as u32, 1, 1];
    }
    // The fewest lines, then the shortest line: fewer than `lines` workgroups are surplus.
    let lines = groups.div_ceil(most);
    [groups.div_ceil(lines) as u32, lines as u32, 1]
}
