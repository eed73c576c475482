//! [`mrope_append`](crate::mrope_append) for queries, keys and values that lie side by side: what one product over all
//! three leaves.

use crate::case::{Case, Slot, Values};
use crate::mrope_append::{self, Appended, Tokens};
pub use crate::mrope_append::{Params, grid};
use crate::{Binding, Kernel};

/// The kernel's text.
pub const WGSL: &str = include_str!("mrope_append_joined.wgsl");

/// This kernel as data.
pub const KERNEL: Kernel = Kernel {
    name: "mrope_append_joined",
    wgsl: WGSL,
    workgroup: 256,
    bindings: &[
        Binding::read("qkv"),
        Binding::read("rotary"),
        Binding::read("spans"),
        Binding::written("turned"),
        Binding::updated("k_cache"),
        Binding::updated("v_cache"),
    ],
    params_bytes: size_of::<Params>(),
    cases,
};

/// The definition: `qkv` is `[B, T, Hq + 2 Hkv, D]`; the rest is as in [`mrope_append::twin`].
pub fn twin(
    params: &Params,
    qkv: &[f32],
    rotary: &[f32],
    spans: &[u32],
    k_cache: &[f32],
    v_cache: &[f32],
) -> Appended {
    let (q, kv) = ((params.heads * params.head_dim) as usize, (params.kv_heads * params.head_dim) as usize);
    let part = |from: usize, len: usize| -> Vec<f32> {
        qkv.chunks_exact(q + 2 * kv).flat_map(|token| token[from..from + len].to_vec()).collect()
    };
    let (queries, keys, values) = (part(0, q), part(q, kv), part(q + kv, kv));
    let tokens = Tokens { q: &queries, k: &keys, v: &values, rotary, spans };
    mrope_append::twin(params, &tokens, k_cache, v_cache)
}

/// The cases of [`mrope_append`](crate::mrope_append) with its first three buffers side by side.
pub fn cases() -> Vec<Case> {
    mrope_append::cases().into_iter().map(joined).collect()
}

fn joined(mut case: Case) -> Case {
    let rest = case.slots.split_off(3);
    let parts: Vec<Vec<f32>> = case
        .slots
        .iter()
        .map(|slot| match slot {
            Slot::Read(Values::F32(values)) => values.clone(),
            _ => unreachable!("q, k and v are floats that are read"),
        })
        .collect();
    let params: Params = bytemuck::pod_read_unaligned(bytemuck::cast_slice(&case.words));
    let tokens = (params.batch * params.tokens) as usize;
    let mut qkv = Vec::new();
    for token in 0..tokens {
        for part in &parts {
            let len = part.len() / tokens;
            qkv.extend_from_slice(&part[token * len..][..len]);
        }
    }
    case.slots = [Slot::Read(Values::F32(qkv))].into_iter().chain(rest).collect();
    case
}
