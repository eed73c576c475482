//! Every kernel against its twin, and the harness against perturbed twins. The same bodies run natively and, on
//! wasm32, in a browser.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use crate::case::{Case, Expected, Slot};
use crate::harness::{Gpu, judge};
use crate::{KERNELS, Kernel, MAX_GROUPS, Role, fold};

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test_configure!(run_in_browser);

macro_rules! async_test {
    ($name:ident, $body:expr) => {
        #[cfg(not(target_arch = "wasm32"))]
        #[test]
        fn $name() {
            pollster::block_on($body);
        }

        #[cfg(target_arch = "wasm32")]
        #[wasm_bindgen_test]
        async fn $name() {
            $body.await;
        }
    };
}

macro_rules! equals_its_twin {
    ($($name:ident),*) => {
        mod equals_its_twin {
            use super::*;
            $(async_test!($name, compare(crate::$name::KERNEL));)*
        }
        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

equals_its_twin!(
    add_rms_norm,
    argmax,
    attention_combine,
    attention_decode,
    attention_prefill,
    attention_vision,
    logprob_gather,
    mrope_append,
    mrope_append_joined,
    packed_gate_up,
    packed_gather,
    packed_matmul,
    packed_matvec,
    rms_norm,
    rope_vision,
    sample,
    silu_mul
);

async fn compare(kernel: Kernel) {
    assert!(TESTED.contains(&kernel.name));
    assert_eq!(TESTED.len(), KERNELS.len(), "a kernel is not tested");
    let gpu = Gpu::open().await;
    let pipeline = gpu.compile(&kernel).await;
    let mut failures = Vec::new();
    for case in (kernel.cases)() {
        let memory = gpu.launch(&pipeline, &case, case.grid).await;
        failures.extend(judge(&kernel, &case, &memory).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The case on which the harness itself is tried: the first, of which every written buffer is shared by workgroups.
fn shared_case(kernel: &Kernel) -> Case {
    let case = (kernel.cases)().into_iter().next().expect("a kernel has cases");
    for slot in &case.slots {
        if let Slot::Written { second_group, .. } | Slot::Updated { second_group, .. } = slot {
            assert!(second_group.is_some(), "{}: the first case has two workgroups", kernel.name);
        }
    }
    case
}

// More than 65,535 workgroups take software adapters minutes with some kernels, so only one elementwise, one row-wise
// and one attention kernel have such a case. All fold by the same line of text, tried here small.
async_test!(grids_may_be_folded, async {
    let gpu = Gpu::open().await;
    for kernel in KERNELS {
        let case = shared_case(&kernel);
        let pipeline = gpu.compile(&kernel).await;
        let lines = [case.grid[0].div_ceil(3), 3, 1];
        let memory = gpu.launch(&pipeline, &case, lines).await;
        judge(&kernel, &case, &memory).unwrap_or_else(|error| panic!("folded to {lines:?}: {error}"));
    }
});

async_test!(can_fail, async {
    let gpu = Gpu::open().await;
    for kernel in KERNELS {
        let case = shared_case(&kernel);
        let pipeline = gpu.compile(&kernel).await;
        let mut memory = gpu.launch(&pipeline, &case, case.grid).await;
        judge(&kernel, &case, &memory).expect("an unperturbed twin is met");

        for (at, slot) in case.slots.iter().enumerate() {
            for (how, wrong) in perturbed(slot) {
                let mut case = case.clone();
                case.slots[at] = wrong;
                assert!(judge(&kernel, &case, &memory).is_err(), "{} slot {at}: {how} passes", kernel.name);
            }
            // What the kernel left, altered: the last word of any buffer, and one that it should have written.
            let last = memory.buffers[at].len() - 1;
            let kept = memory.buffers[at][last];
            let unwritten = (kernel.bindings[at].role == Role::Written).then_some(f32::NAN.to_bits());
            for altered in [Some(kept ^ 0x4000_0000), unwritten].into_iter().flatten() {
                memory.buffers[at][last] = altered;
                assert!(
                    judge(&kernel, &case, &memory).is_err(),
                    "{} slot {at}: {altered:#x} passes",
                    kernel.name
                );
            }
            memory.buffers[at][last] = kept;
        }
        for at in [0, memory.sentinels.len() - 1] {
            memory.sentinels[at] ^= 1;
            assert!(judge(&kernel, &case, &memory).is_err(), "{}: a sentinel may change", kernel.name);
            memory.sentinels[at] ^= 1;
        }
    }
});

/// A written slot with a wrong twin: all of it off by 1 %, and one element at the last index and at the second
/// workgroup's first off by 1 % of the largest.
fn perturbed(slot: &Slot) -> Vec<(&'static str, Slot)> {
    let (want, second) = match slot {
        Slot::Read(_) => return Vec::new(),
        Slot::Written { want, second_group } => (want.clone(), *second_group),
        Slot::Updated { want, second_group, .. } => (Expected::F64(want.clone()), *second_group),
    };
    let one_off = |at: usize| match &want {
        Expected::F64(values) => {
            let mut values = values.clone();
            values[at] += 0.01 * values.iter().fold(0.0, |top: f64, x| top.max(x.abs()));
            Expected::F64(values)
        }
        Expected::U32(values) => {
            let mut values = values.clone();
            values[at] ^= 1;
            Expected::U32(values)
        }
    };
    let all_off = match &want {
        Expected::F64(values) => Expected::F64(values.iter().map(|x| x * 1.01).collect()),
        Expected::U32(values) => Expected::U32(values.iter().map(|id| id + id / 100 + 1).collect()),
    };
    [
        ("1 %", all_off),
        ("a wrong last element", one_off(want.len() - 1)),
        ("a wrong first element of the second workgroup", one_off(second.expect("two workgroups"))),
    ]
    .into_iter()
    .map(|(how, wrong)| (how, with_want(slot, wrong)))
    .collect()
}

fn with_want(slot: &Slot, want: Expected) -> Slot {
    match (slot, want) {
        (Slot::Updated { before, second_group, .. }, Expected::F64(want)) => {
            Slot::Updated { before: before.clone(), want, second_group: *second_group }
        }
        (Slot::Written { second_group, .. }, want) => Slot::Written { want, second_group: *second_group },
        _ => unreachable!("only written slots are perturbed, by their own kind"),
    }
}

/// A launch has no memory but its case's buffers and workgroup memory, so the largest buffer settles it.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn attention_over_4096_tokens_has_no_score_matrix() {
    let case = crate::attention_prefill::long_case();
    let tokens = 4096;
    let words: usize = case
        .slots
        .iter()
        .map(|slot| match slot {
            Slot::Read(values) => values.words().len(),
            Slot::Written { want, .. } => want.len(),
            Slot::Updated { want, .. } => want.len(),
        })
        .sum();
    assert_eq!(words, 4 * tokens * 16 + 2, "q, keys, values and output, and the span");
    assert!(words < tokens * tokens / 32);
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn folds_stay_within_the_limit_and_waste_less_than_a_line() {
    let most = u64::from(MAX_GROUPS);
    for groups in [0, 1, 2, most - 1, most, most + 1, 2 * most, 2 * most + 1, 1 << 31, most * most] {
        let [x, y, z] = fold(groups).map(u64::from);
        assert!(x <= most && y <= most && z == 1, "{groups}");
        assert!(x * y >= groups && x * y - groups < y, "{groups} became {x} * {y}");
    }
}

/// What a text cannot index or hold is a mistake of the caller, and stops before a launch.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn grids_refuse_what_their_texts_cannot_do() {
    use crate::{attention_decode, attention_prefill, mrope_append, rms_norm};
    let refused = |grid: fn() -> [u32; 3]| std::panic::catch_unwind(grid).is_err();
    assert!(refused(|| rms_norm::grid(&rms_norm::Params {
        rows: 1 << 20,
        width: 1 << 12,
        eps: 0.0,
        pad: 0
    })));

    fn appended(head_dim: u32, cache_len: u32) -> mrope_append::Params {
        mrope_append::Params { batch: 1, tokens: 1, heads: 4, kv_heads: 2, head_dim, cache_len }
    }
    assert!(!refused(|| mrope_append::grid(&appended(128, 1 << 23))));
    assert!(refused(|| mrope_append::grid(&appended(127, 1 << 23))));
    assert!(refused(|| mrope_append::grid(&appended(128, 1 << 24))));

    fn prefill(heads: u32, head_dim: u32) -> attention_prefill::Params {
        let (batch, tokens, kv_heads, cache_len, start_max, scale) = (1, 1, 4, 1, 0, 1.0);
        attention_prefill::Params { batch, tokens, heads, kv_heads, head_dim, cache_len, start_max, scale }
    }
    assert!(!refused(|| attention_prefill::grid(&prefill(28, 128))));
    assert!(refused(|| attention_prefill::grid(&prefill(27, 128))));
    assert!(refused(|| attention_prefill::grid(&prefill(28, 130))));

    fn decode(head_dim: u32) -> attention_decode::Params {
        let (batch, heads, kv_heads, cache_len, splits, scale, pad) = (1, 4, 2, 1, 1, 1.0, 0);
        attention_decode::Params { batch, heads, kv_heads, head_dim, cache_len, splits, scale, pad }
    }
    assert!(!refused(|| attention_decode::grid(&decode(128))));
    assert!(refused(|| attention_decode::grid(&decode(127))));
}
