//! The operations of Qwen2.5-VL that a plain tensor library does not have, or not fast enough.
//!
//! Each is one function over burn tensors with two ways to run. Its `*_composed` body, made of ordinary burn operations, is
//! the definition: it is what every device without a kernel of its own runs, and what automatic differentiation follows.
//! Where a tensor is float32, lives on a device that compiles WGSL and tracks no gradient, the kernel of `wethink-shaders`
//! runs instead.
//!
//! Every function takes [`Launches`], the caller's count of what ran: kernels under their names, composed bodies under
//! theirs. Counts are state of the caller, never of a layer or of the process, so two models in one program do not mix
//! theirs.
//!
//! Letters: B batch, T new tokens, L cached tokens, P patches, N rows, H heads (Hq of queries, Hkv of keys and values), D
//! head dim, C width, V vocabulary.

mod attention;
mod choice;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "nothing is trained in a browser"))]
mod cpu;
mod host;
mod launches;
mod packed;
mod pointwise;
mod recompute;
mod rotary;
mod sequences;
mod span;
mod wgsl;

pub use attention::{
    attention_causal, attention_causal_composed, attention_segments, attention_segments_composed,
};
pub use choice::{Draw, argmax, argmax_composed, logprobs, logprobs_composed, sample};
pub use cpu::{AdamwStep, adamw};
pub use launches::Launches;
pub use packed::{
    PackedMatrix, PackedRows, packed_add, packed_gate_up, packed_gate_up_composed, packed_gather,
    packed_gather_composed, packed_product, packed_product_composed, rotate_append_joined,
};
pub use pointwise::{
    add_rms_norm, add_rms_norm_composed, gelu, rms_norm, rms_norm_composed, silu_mul, silu_mul_composed,
};
pub use recompute::{MOST_INPUTS, recompute};
pub use rotary::{
    Cache, rotate, rotate_append, rotate_append_composed, rotate_composed, rotate_qkv, rotate_qkv_composed,
};
pub use sequences::{SCORES_AT_ONCE, attention_sequences, attention_sequences_composed};
pub use span::{Segments, Span};
pub use wethink_shaders::packing::Packing;
pub use wgsl::runs_wgsl;
