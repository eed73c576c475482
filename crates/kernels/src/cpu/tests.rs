//! Every operation against its definition: values, and gradients under an upstream gradient in which no error cancels.

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};

use crate::{
    Cache, Launches, SCORES_AT_ONCE, Segments, Span, attention_causal, attention_causal_composed,
    attention_segments, attention_segments_composed, attention_sequences, attention_sequences_composed,
    logprobs, logprobs_composed, rms_norm, rms_norm_composed, rotate, rotate_composed, rotate_qkv,
    rotate_qkv_composed, silu_mul, silu_mul_composed,
};

fn values<const R: usize>(x: Tensor<R>) -> Vec<f32> {
    x.into_data().try_into_vec().expect("float32")
}

fn random<const R: usize>(shape: [usize; R]) -> Tensor<R> {
    Tensor::random(shape, Distribution::Uniform(-1.5, 1.5), &Device::flex())
}

/// The result and the gradients of all inputs.
fn outcome<const N: usize, const R: usize, const S: usize>(
    inputs: &[Tensor<R>; N],
    run: impl Fn([Tensor<R>; N]) -> Tensor<S>,
) -> Vec<Vec<f32>> {
    let leaves = inputs.clone().map(|x| x.autodiff().require_grad());
    let output = run(leaves.clone());
    let count = output.shape().num_elements();
    let weights = Tensor::<1, Int>::arange(0..count as i64, &Device::flex()).float().sin();
    let mut gradients = (output.clone().reshape([count]) * weights).sum().backward();
    let gradients = leaves.map(|leaf| values(leaf.grad_remove(&mut gradients).expect("tracked")));
    [vec![values(output.inner())], gradients.to_vec()].concat()
}

fn assert_close(what: &str, got: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_eq!(got.len(), want.len());
    for (part, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.len(), want.len(), "{what}, part {part}");
        let scale = want.iter().fold(1f32, |top, x| top.max(x.abs()));
        for (a, b) in got.iter().zip(want) {
            assert!((a - b).abs() <= 2e-6 * scale, "{what}, part {part}: {a} against {b}, scale {scale}");
        }
    }
}

/// Runs both with gradients, and the fast one without; `name` is what it counts.
fn compare<const N: usize, const R: usize, const S: usize>(
    name: &'static str,
    inputs: [Tensor<R>; N],
    fast: impl Fn([Tensor<R>; N], &mut Launches) -> Tensor<S>,
    definition: impl Fn([Tensor<R>; N], &mut Launches) -> Tensor<S>,
) {
    let mut launches = Launches::new();
    let plain = values(fast(inputs.clone(), &mut launches));
    assert!(launches.of(name) > 0, "{name} ran: {launches:?}");
    let got = outcome(&inputs, |x| fast(x, &mut Launches::new()));
    let want = outcome(&inputs, |x| definition(x, &mut Launches::new()));
    assert_close(name, &got, &want);
    assert_eq!(plain, got[0], "{name}: the same bits with and without a record");
}

#[test]
fn norms_are_their_definition() {
    // One row, more rows than a piece has, a width that no vector divides.
    for shape in [[1, 1, 4], [3, 150, 130], [1, 17, 77]] {
        let weight = random([shape[2]]);
        let both = |x: [Tensor<3>; 2]| {
            let [x, w] = x;
            (x, w.slice([0..1, 0..1, 0..shape[2]]).reshape([shape[2]]))
        };
        let inputs = [random(shape), weight.reshape([1, 1, shape[2]]).expand(shape)];
        compare(
            "rms_norm_cpu",
            inputs,
            |x, launches| {
                let (x, w) = both(x);
                rms_norm(x, w, 1e-6, launches)
            },
            |x, launches| {
                let (x, w) = both(x);
                rms_norm_composed(x, w, 1e-6, launches)
            },
        );
    }
}

#[test]
fn gates_are_their_definition_also_where_they_are_shut() {
    let wide = |x: Tensor<2>| x.mul_scalar(60.0);
    for scale in [false, true] {
        let gate = random([130, 129]);
        let inputs = [if scale { wide(gate) } else { gate }, random([130, 129])];
        let fast = |[a, b]: [Tensor<2>; 2], launches: &mut Launches| silu_mul(a, b, launches);
        compare("silu_mul_cpu", inputs, fast, |[a, b], launches| silu_mul_composed(a, b, launches));
    }
}

#[test]
fn rotations_are_their_definition() {
    let table = random([2, 90, 2, 8]);
    compare(
        "rotate_cpu",
        [random([2, 90, 6, 16])],
        |[x], launches| rotate(x, table.clone(), launches),
        |[x], _| rotate_composed(x, table.clone()),
    );
    let table = random([90, 2, 8]);
    compare(
        "rotate_qkv_cpu",
        [random([90, 3, 6, 16])],
        |[x], launches| rotate_qkv(x, table.clone(), launches),
        |[x], launches| rotate_qkv_composed(x, table.clone(), launches),
    );
}

#[test]
fn log_probabilities_are_their_definition() {
    let ids: Vec<i32> = (0..70).map(|i| i * 7 % 300).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [70]), &Device::flex());
    for scale in [1.0, 40.0] {
        compare(
            "logprobs_cpu",
            [random([70, 300]).mul_scalar(scale)],
            |[x], launches| logprobs(x, ids.clone(), 0.7, launches),
            |[x], launches| logprobs_composed(x, ids.clone(), 0.7, launches),
        );
    }
}

#[test]
fn whole_sequences_attend_as_defined() {
    // More queries than a block; grouped heads; packed sequences of unequal lengths, one of them a single token.
    let packed = [70, 1, 133];
    for (shape, lengths) in [([3, 75, 4, 8], None), ([1, 204, 4, 8], Some(&packed[..]))] {
        let few = |x: Tensor<4>| x.narrow(2, 0, 2);
        compare(
            "attention_cpu",
            [random(shape), random(shape), random(shape)],
            |[q, k, v], launches| attention_sequences(q, few(k), few(v), lengths, SCORES_AT_ONCE, launches),
            |[q, k, v], launches| {
                attention_sequences_composed(q, few(k), few(v), lengths, SCORES_AT_ONCE, launches)
            },
        );
    }
}

#[test]
fn segments_attend_as_defined() {
    let segments = Segments::new(vec![64, 70, 0, 64, 4], &Device::flex());
    compare(
        "attention_cpu",
        [random([202, 3, 2, 16])],
        |[x], launches| attention_segments(x, &segments, launches),
        |[x], launches| attention_segments_composed(x, &segments, launches),
    );
}

/// Rows of a cache that hold different numbers of tokens, prefilled and decoded.
#[test]
fn caches_are_attended_as_defined() {
    let device = Device::flex();
    let cache = Cache { k: random([3, 2, 90, 8]), v: random([3, 2, 90, 8]) };
    for (starts, counts) in [(vec![0, 7, 20], vec![70, 3, 40]), (vec![10, 0, 89], vec![1, 1, 1])] {
        let width = counts.iter().copied().max().expect("rows");
        let span = Span::new(starts, counts.clone(), width, &device);
        let q = random([3, width, 4, 8]);
        let mut launches = Launches::new();
        let got = attention_causal(q.clone(), &cache, &span, &mut launches);
        assert_eq!((launches.of("attention_cpu"), launches.of("attention_composed")), (1, 0));
        let want = attention_causal_composed(q, &cache, &span, &mut launches);
        for (row, &count) in counts.iter().enumerate() {
            let own = |x: &Tensor<3>| values(x.clone().slice([row..row + 1, 0..count, 0..32]));
            assert_close("a cache", &[own(&got)], &[own(&want)]);
        }
    }
}

#[test]
fn exponentials_are_exact_to_two_units() {
    for i in -8700..=8800 {
        let x = i as f32 / 100.0;
        let (got, want) = (f64::from(super::exp(x)), f64::from(x).exp());
        assert!((got - want).abs() <= 2.5e-7 * want, "e^{x}: {got} against {want}");
    }
    assert_eq!(super::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(super::exp(0.0), 1.0);
    assert!(super::exp(f32::NAN).is_nan());
}
