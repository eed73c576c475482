//! Arithmetic in bfloat16 beside float32 masters, as CUDA runs it, on the CPU, whose backend has the type as well.

use burn::tensor::{DType, Device};
use wethink_model::{Economy, Model};
use wethink_trainer::train::adamw::{AdamW, Rate, Settings};
use wethink_trainer::train::gradients::{Gradients, scalar};
use wethink_trainer::train::lora::of_adapter;
use wethink_trainer::train::loss::{Loss, loss};
use wethink_trainer::train::recipe::Recipe;
use wethink_trainer::train::replica::Replica;
use wethink_trainer::train::samples::logprobs_within;

use crate::golden_train::{ALL, Known, distance, values};
use crate::runs::Bench;

/// Loss and gradient of the batch with arithmetic of a type.
fn gradients(
    known: &Known,
    model: &Model,
    trained: &dyn Fn(&str) -> bool,
    compute: DType,
    economy: &Economy,
) -> (f64, Gradients) {
    let mut gradients = Gradients::default();
    let value = gradients.add(model, trained, compute, |model| {
        assert_eq!(model.dtype(), compute);
        let logprobs = logprobs_within(model, known.samples.iter(), economy, None)?;
        assert_eq!(logprobs.dtype(), DType::F32, "softmax and loss");
        let value = loss(logprobs, known.targets(), Loss::Nll);
        Ok((value.clone(), scalar(value.inner())))
    });
    (value.expect("a sound batch"), gradients)
}

fn flat(gradients: &Gradients) -> Vec<f32> {
    gradients.iter().flat_map(|(_, gradient)| values(gradient.clone())).collect()
}

#[test]
fn bfloat16_arithmetic_has_float32_gradients_near_those_of_float32() {
    let known = Known::open();
    let bench = Bench::new();
    bench.train_adapters();
    let recipe = Recipe::read(&bench.path("recipe.toml"), &[]).expect("a recipe");
    let replica = |compute| {
        let base = known.model(&Device::flex());
        Replica::new(&recipe, base, None, compute).expect("a replica").model
    };
    let full = known.model(&Device::flex());
    let adapters: &dyn Fn(&str) -> bool = &of_adapter;
    for (what, whole, half, trained) in
        [("all", full.clone(), full, ALL), ("adapters", replica(DType::F32), replica(DType::BF16), adapters)]
    {
        // What is trained is float32, what is frozen has the type of the arithmetic.
        half.each_parameter(&mut |name, value| {
            assert_eq!(value.dtype(), if trained(name) { DType::F32 } else { DType::BF16 }, "{what}, {name}");
        });
        let plain = Economy::default();
        let (want_loss, want) = gradients(&known, &whole, trained, DType::F32, &plain);
        let all = Economy { packed: true, recompute_layers: true, at_once: 5000 };
        for economy in [plain, all] {
            let (loss, got) = gradients(&known, &half, trained, DType::BF16, &economy);
            assert!((loss - want_loss).abs() < 0.01 * want_loss, "{what}: {loss} and {want_loss}");
            assert!(got.iter().all(|(_, gradient)| gradient.dtype() == DType::F32), "{what}");
            let error = distance(&flat(&got), &flat(&want));
            eprintln!("{what}, {economy:?}: loss {loss} for {want_loss}, gradient off by {error}");
            assert!(error > 1e-5, "{what}: nothing was rounded");
            assert!(error < 0.05, "{what}, {economy:?}: gradient off by {error}");
            let mut optimizer = AdamW::new(Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8 });
            // An update far below the last digit of bfloat16 is not lost.
            let rate = |_: &str| Rate { learning_rate: 1e-7, weight_decay: 0.0 };
            let moved = optimizer.step(half.clone(), &got, 1.0, &rate);
            let norm = "model.norm.weight";
            let of = |model: &Model| {
                let mut found = Vec::new();
                model.each_parameter(&mut |name, value| {
                    assert!(!trained(name) || value.dtype() == DType::F32, "{what}: masters stay float32");
                    if name == norm || name.ends_with("q_proj.lora_B.weight") {
                        found.extend(values(value.cast(burn::tensor::FloatDType::F32)));
                    }
                });
                found
            };
            assert_ne!(of(&moved), of(&half), "{what}");
        }
    }
}
