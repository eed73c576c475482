//! Operations against their definitions on one device, and what they allocate.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use wethink_kernels::{
    Cache, Launches, Segments, Span, add_rms_norm, add_rms_norm_composed, argmax, argmax_composed,
    attention_causal, attention_causal_composed, attention_segments, attention_segments_composed, logprobs,
    logprobs_composed, rms_norm, rms_norm_composed, rotate_append, rotate_append_composed, rotate_qkv,
    rotate_qkv_composed, silu_mul, silu_mul_composed,
};

use crate::fixtures::{assert_close, wgpu};

fn random<const R: usize>(shape: [usize; R], device: &Device) -> Tensor<R> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn values<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    pollster::block_on(tensor.into_data_async()).expect("the device works").try_into_vec().expect("float32")
}

fn ids<const R: usize>(tensor: Tensor<R, Int>) -> Vec<i32> {
    pollster::block_on(tensor.into_data_async()).expect("the device works").try_into_vec().expect("int32")
}

fn cache(shape: [usize; 4], device: &Device) -> Cache {
    Cache { k: random(shape, device), v: random(shape, device) }
}

#[test]
fn norms_and_gates_equal_their_definitions() {
    let device = wgpu();
    let mut launches = Launches::new();
    let (x, y) = (random([2, 7, 96], &device), random([2, 7, 96], &device));
    let weight = random([96], &device);
    let got = rms_norm(x.clone(), weight.clone(), 1e-6, &mut launches);
    let want = rms_norm_composed(x.clone(), weight.clone(), 1e-6, &mut Launches::new());
    assert_close("rms_norm", &values(got), &values(want));
    let (stream, normed) = add_rms_norm(x.clone(), y.clone(), weight.clone(), 1e-6, &mut launches);
    let (sum, want) = add_rms_norm_composed(x.clone(), y.clone(), weight, 1e-6, &mut Launches::new());
    assert_close("add_rms_norm: stream", &values(stream), &values(sum));
    assert_close("add_rms_norm: normed", &values(normed), &values(want));
    let got = silu_mul(x.clone(), y.clone(), &mut launches);
    assert_close("silu_mul", &values(got), &values(silu_mul_composed(x, y, &mut Launches::new())));
    assert_eq!(launches.iter().collect::<Vec<_>>(), [("add_rms_norm", 1), ("rms_norm", 1), ("silu_mul", 1)]);
}

#[test]
fn a_ragged_batch_is_rotated_stored_and_attended_as_defined() {
    let device = wgpu();
    // Head dims of the released models and of smaller ones; rows that start and end at different places.
    for (dim, heads, kv_heads) in [(16, 6, 2), (40, 4, 4), (128, 7, 1)] {
        for (width, starts, counts) in [(5, vec![0, 3, 9], vec![5, 2, 4]), (1, vec![4, 70, 0], vec![1, 1, 1])]
        {
            let rows = starts.len();
            let span = Span::new(starts, counts.clone(), width, &device);
            let q = random([rows, width, heads, dim], &device);
            let (k, v) = (
                random([rows, width, kv_heads, dim], &device),
                random([rows, width, kv_heads, dim], &device),
            );
            let table = random([rows, width, 2, dim / 2], &device);
            let held = cache([rows, kv_heads, 80, dim], &device);
            let mut launches = Launches::new();
            let step = (q, k, v, table);
            let (q, k, v, table) = step.clone();
            let (turned, own) = rotate_append(q, k, v, table, &span, held.clone(), &mut launches);
            let (q, k, v, table) = step;
            let mut defined = Launches::new();
            let (want, want_own) = rotate_append_composed(q, k, v, table, &span, held, &mut defined);
            assert_close("queries", &values(turned.clone()), &values(want.clone()));
            assert_close("keys", &values(own.k.clone()), &values(want_own.k.clone()));
            assert_close("values", &values(own.v.clone()), &values(want_own.v.clone()));
            let got = attention_causal(turned, &own, &span, &mut launches);
            let want = attention_causal_composed(want, &want_own, &span, &mut defined);
            for (row, &count) in counts.iter().enumerate() {
                let own = |x: &Tensor<3>| values(x.clone().slice([row..row + 1, 0..count, 0..heads * dim]));
                assert_close(&format!("attention of row {row}, head dim {dim}"), &own(&got), &own(&want));
            }
            assert_eq!(launches.of("attention_composed"), 0);
            assert_eq!(launches.of("attention_prefill") + launches.of("attention_decode"), 1);
        }
    }
}

/// A cache that someone else holds too is copied, not changed under its other holder.
#[test]
fn a_shared_cache_is_not_written_to() {
    let device = wgpu();
    let held = cache([1, 2, 8, 16], &device);
    let before = values(held.k.clone());
    let span = Span::new(vec![0], vec![3], 3, &device);
    let (q, k) = (random([1, 3, 4, 16], &device), random([1, 3, 2, 16], &device));
    let table = random([1, 3, 2, 8], &device);
    let (_, changed) = rotate_append(q, k.clone(), k, table, &span, held.clone(), &mut Launches::new());
    assert_ne!(values(changed.k), before);
    assert_eq!(values(held.k), before);
}

#[test]
fn pictures_are_rotated_and_attended_as_defined() {
    let device = wgpu();
    for (dim, heads, lengths) in
        [(16, 4, vec![64, 16, 32, 8, 1]), (80, 2, vec![64, 64, 64]), (32, 2, vec![131])]
    {
        let patches = lengths.iter().sum();
        let segments = Segments::new(lengths, &device);
        let (qkv, table) =
            (random([patches, 3, heads, dim], &device), random([patches, 2, dim / 2], &device));
        let (mut launches, mut defined) = (Launches::new(), Launches::new());
        let got = rotate_qkv(qkv.clone(), table.clone(), &mut launches);
        let want = rotate_qkv_composed(qkv, table, &mut defined);
        assert_close("rotated", &values(got.clone()), &values(want.clone()));
        let got = attention_segments(got, &segments, &mut launches);
        let want = attention_segments_composed(want, &segments, &mut defined);
        assert_close(&format!("attention, head dim {dim}"), &values(got), &values(want));
        assert_eq!(launches.iter().collect::<Vec<_>>(), [("attention_vision", 1), ("rope_vision", 1)]);
    }
}

#[test]
fn the_best_token_and_its_probability_equal_their_definitions() {
    let gpu = wgpu();
    for device in [gpu.clone(), Device::flex()] {
        let mut logits = vec![0.5f32; 3 * 300];
        // Equal logits: the lowest wins. A banned best: the next one does.
        for (place, value) in [(17, 4.0), (250, 4.0), (300 + 9, 9.0), (300 + 40, 3.0), (600 + 299, 1.0)] {
            logits[place] = value;
        }
        let logits = Tensor::from_data(TensorData::new(logits, [3, 300]), &device);
        let mut launches = Launches::new();
        let best = argmax(logits.clone(), [9, 44], &mut launches);
        assert_eq!(ids(best.clone()), [17, 40, 299]);
        assert_eq!(ids(argmax_composed(logits.clone(), [9, 44], &mut launches)), [17, 40, 299]);
        let got = logprobs(logits.clone(), best.clone(), 0.7, &mut launches);
        assert_close("logprobs", &values(got), &values(logprobs_composed(logits, best, 0.7, &mut launches)));
    }
}

/// The scores of one head would be 64 MiB: far more than all that the operation may reserve.
#[test]
fn attention_over_4096_tokens_reserves_no_score_matrix() {
    let device = wgpu();
    let (tokens, heads, dim) = (4096, 2, 16);
    let span = Span::new(vec![0], vec![tokens], tokens, &device);
    let segments = Segments::new(vec![tokens], &device);
    let q = random([1, tokens, heads, dim], &device);
    let own = cache([1, heads, tokens, dim], &device);
    let qkv = random([tokens, 3, heads, dim], &device);
    let reserved = || {
        device.sync().expect("the device works");
        device.memory_pool_usage().expect("this device keeps count").bytes_reserved
    };
    let before = reserved();
    values(attention_causal(q.clone(), &own, &span, &mut Launches::new()));
    values(attention_segments(qkv, &segments, &mut Launches::new()));
    let grown = reserved().saturating_sub(before);
    assert!(grown < 16 << 20, "attention reserved {grown} bytes");
    // The same measure sees the composed body's scores.
    values(attention_causal_composed(q, &own, &span, &mut Launches::new()));
    let grown = reserved().saturating_sub(before);
    assert!(grown > 64 << 20, "the composed body reserved only {grown} bytes");
}
