//! What a step holds, by the allocator's own count, beside what `trainer plan` computes from shapes.

use std::path::Path;

use burn::tensor::{DType, Device, Distribution, Tensor};
use serde_json::json;
use wethink_kernels::{Launches, SCORES_AT_ONCE, attention_sequences, attention_sequences_composed};
use wethink_model::{Config, Loader, Model, Prompt, expected_tensors};
use wethink_trainer::train::gradients::{Gradients, scalar};
use wethink_trainer::train::loss::{Loss, loss};
use wethink_trainer::train::memory::{Arithmetic, Memory, Shapes, memory};
use wethink_trainer::train::recipe::Recipe;

use crate::allocation::{alone, most_held};

/// The configuration of a language model that is wide enough for its activations to outweigh everything else, with the
/// smallest of towers.
pub(crate) fn config(vocab: usize) -> Config {
    let text = json!({
        "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 160,
        "num_hidden_layers": 6, "vocab_size": vocab, "image_token_id": 5, "video_token_id": 6,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32,
            "out_hidden_size": 64, "fullatt_block_indexes": [0]},
    });
    Config::from_json(&text.to_string()).expect("a sound configuration")
}

/// Small waves for weights: nothing here depends on their values.
pub(crate) fn model(config: &Config) -> Model {
    let tensors: Vec<_> = expected_tensors(config)
        .into_iter()
        .map(|(name, shape)| {
            let values = (0..shape.iter().product::<usize>()).map(|i| (i as f32).sin() * 0.05);
            (name, shape, values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name, view.expect("shape and data agree"))
    });
    let file = safetensors::serialize(views, None).expect("serialised");
    let mut loader = Loader::new(config, &Device::flex(), DType::F32);
    loader.shard("waves", &file, &mut |_| {}).expect("sound");
    loader.finish().expect("all tensors")
}

fn recipe(more: &str) -> Recipe {
    let text = format!("checkpoint = 'c'\n[data]\nrows = 'r'\n[train]\nsteps = 1\nbatch = 1\n{more}");
    Recipe::parse(&text, &[]).expect("sound")
}

const FULL: &str = "[groups.language]\nlearning_rate = 1.0\n[groups.embeddings]\nlearning_rate = 1.0\n\
    [groups.head]\nlearning_rate = 1.0\n";
const LORA: &str = "[lora]\nrank = 8\nalpha = 16.0\nlearning_rate = 1.0\n";

/// How far what is computed may be from what is held, relative to it.
const NEAR: f64 = 0.15;

fn off(computed: &Memory, held: f64) -> f64 {
    computed.held() as f64 / held - 1.0
}

/// The most that one pass over sequences of these lengths holds, the last `targets` tokens of each being targets, and what is
/// computed for it.
fn step(config: &Config, recipe: &Recipe, lengths: &[usize], targets: usize) -> (f64, Memory) {
    let shapes = Shapes {
        lengths: lengths.iter().map(|&length| length as u64).collect(),
        targets: (targets * lengths.len()) as u64,
        grids: Vec::new(),
    };
    let computed = memory(config, recipe, &shapes, Arithmetic::Cpu, false);
    let mut held = alone(|| self::held(config, recipe, lengths, targets));
    // Any thread's backward pass sweeps the graphs of all threads, and what it frees of this one's is not seen to be given back.
    // Rare, beside other tests; a figure that is wrong stays wrong.
    for _ in 0..2 {
        if off(&computed, held).abs() <= NEAR {
            break;
        }
        held = alone(|| self::held(config, recipe, lengths, targets));
    }
    (held, computed)
}

/// The first of the two.
fn held(config: &Config, recipe: &Recipe, lengths: &[usize], targets: usize) -> f64 {
    let base = model(config);
    let model = match &recipe.lora {
        Some(lora) => lora.adapt(base, 1),
        None => base,
    };
    let rows: Vec<(Vec<u32>, Vec<[u32; 3]>)> = lengths
        .iter()
        .map(|&length| {
            (
                (0..length).map(|i| 10 + (i * 7 % 50) as u32).collect(),
                (0..length as u32).map(|p| [p; 3]).collect(),
            )
        })
        .collect();
    let prompts: Vec<Prompt> =
        rows.iter().map(|(ids, positions)| Prompt { ids, positions, patches: &[], grids: &[] }).collect();
    let wanted: Vec<_> = lengths.iter().map(|&length| length - targets..length).collect();
    let economy = recipe.memory.economy();
    // The first pass of a process fills caches that stay.
    let run = || {
        let mut gradients = Gradients::default();
        let value = gradients.add(&model, &|name| recipe.trains(name), DType::F32, |model| {
            let launches = &mut Launches::new();
            let logprobs = model.logprobs_within(&prompts, &wanted, 1.0, &economy, None, launches)?;
            let value = loss(logprobs, targets * lengths.len(), Loss::Nll);
            Ok((value.clone(), scalar(value.inner())))
        });
        assert!(value.expect("a sound batch").is_finite());
        gradients
    };
    drop(run());
    let (gradients, most) = most_held(run);
    assert!(gradients.iter().next().is_some());
    most as f64
}

/// Measures a step and compares it with what is computed; returns megabytes.
fn compared(what: &str, config: &Config, recipe: &str, lengths: &[usize], targets: usize) -> f64 {
    let (held, computed) = step(config, &self::recipe(recipe), lengths, targets);
    let planned = computed.held() as f64;
    eprintln!("{what}: held {:.2} MB, computed {:.2} MB: {computed:?}", held / 1e6, planned / 1e6);
    assert!(off(&computed, held).abs() <= NEAR, "{what}: held {held}, computed {planned}: {computed:?}");
    held / 1e6
}

#[test]
fn layers_computed_again_leave_one_layer_in_memory() {
    let config = config(256);
    for trained in [FULL, LORA] {
        let kept = compared("kept", &config, trained, &[320, 300], 20);
        let chunks = format!("{trained}[memory]\nchunk_mb = 0.1\n");
        let chunks = compared("kept, in chunks", &config, &chunks, &[320, 300], 20);
        // Attention on the CPU holds no matrix that chunks could make smaller.
        assert!((chunks - kept).abs() < 0.02 * kept, "{kept} and {chunks} MB");
        let again = format!("{trained}[memory]\nrecompute_layers = true\n");
        let again = compared("again", &config, &again, &[320, 300], 20);
        // One layer of six, with the streams between layers, and what products pack.
        assert!(again < 0.36 * kept, "{kept} and {again} MB");
    }
}

#[test]
fn packed_rows_hold_no_padding() {
    let config = config(256);
    for trained in [FULL, LORA] {
        let padded = compared("padded", &config, trained, &[400, 80, 60, 40], 20);
        let packed = format!("{trained}[memory]\nlayout = \"packed\"\n");
        let packed = compared("packed", &config, &packed, &[400, 80, 60, 40], 20);
        assert!(packed < 0.45 * padded, "{padded} and {packed} MB");
        let all =
            format!("{trained}[memory]\nlayout = \"packed\"\nrecompute_layers = true\nchunk_mb = 0.1\n");
        let all = compared("packed, again, in chunks", &config, &all, &[400, 80, 60, 40], 20);
        assert!(all < 0.5 * packed, "{packed} and {all} MB");
    }
}

/// Shapes, lengths and layouts unlike those that the factors of the computation were measured on.
#[test]
fn steps_of_other_shapes_hold_what_is_computed() {
    let shape = |width: usize, heads: [usize; 2], inner: usize, layers: usize, vocab: usize| {
        let half = width / heads[0] / 2;
        let mrope = [half / 4, half * 3 / 8, half - half / 4 - half * 3 / 8];
        let text = json!({
            "hidden_size": width, "num_attention_heads": heads[0], "num_key_value_heads": heads[1],
            "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": vocab, "image_token_id": 5,
            "video_token_id": 6, "rope_scaling": {"type": "mrope", "mrope_section": mrope},
            "vision_config": {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32,
                "out_hidden_size": width, "fullatt_block_indexes": [0]},
        });
        Config::from_json(&text.to_string()).expect("a sound configuration")
    };
    let xs = shape(128, [2, 1], 352, 4, 512);
    let wide = shape(96, [6, 2], 512, 3, 300);
    let narrow = shape(64, [8, 8], 64, 5, 2000);
    let layouts = ["", "layout = \"packed\"\n", "recompute_layers = true\n", "chunk_mb = 0.2\n"];
    let everything = "layout = \"packed\"\nrecompute_layers = true\nchunk_mb = 0.2\n";
    let mut misfits = Vec::new();
    for (name, config, lengths, targets) in [
        ("XS", &xs, &[130, 128, 125, 131, 90, 97, 131, 120][..], 60),
        ("XS", &xs, &[700], 300),
        ("wide", &wide, &[210, 60, 45, 200], 30),
        ("narrow", &narrow, &[64, 350, 150], 50),
    ] {
        for trained in [FULL, LORA] {
            for layout in layouts.into_iter().chain([everything]) {
                let recipe = recipe(&format!("{trained}[memory]\n{layout}"));
                let (held, computed) = step(config, &recipe, lengths, targets);
                let off = off(&computed, held);
                let kind = if recipe.lora.is_some() { "adapters" } else { "full" };
                let line = format!(
                    "{name} {lengths:?} {kind} {layout:?}: held {:.2} MB, off by {:.1} %: {computed:?}",
                    held / 1e6,
                    100.0 * off
                );
                eprintln!("{line}");
                if off.abs() > NEAR {
                    misfits.push(line);
                }
            }
        }
    }
    assert!(misfits.is_empty(), "{}", misfits.join("\n"));
}

#[test]
fn logits_go_in_chunks() {
    let config = config(20_000);
    let whole = compared("logits at once", &config, LORA, &[200], 190);
    let chunks = format!("{LORA}[memory]\nchunk_mb = 0.8\n");
    let chunks = compared("logits in chunks", &config, &chunks, &[200], 190);
    // Ten of 190 targets at a time.
    assert!(chunks < 0.35 * whole, "{whole} and {chunks} MB");
}

/// The op alone: what the backward pass of one attention holds, composed as on a GPU, and on the CPU.
#[test]
fn attention_holds_no_square_of_its_length() {
    type Attend = fn(Tensor<4>, Tensor<4>, Tensor<4>, Option<&[usize]>, usize, &mut Launches) -> Tensor<3>;
    let held_by = |attend: Attend, width: usize, scores: usize| {
        alone(|| {
            let random = |heads: usize| {
                let x = Tensor::<4>::random([1, width, heads, 16], Distribution::Default, &Device::flex());
                x.autodiff().require_grad()
            };
            let (q, k, v) = (random(4), random(2), random(2));
            let (_, most) =
                most_held(|| attend(q, k, v, None, scores, &mut Launches::new()).sum().backward());
            most as f64 / 1e6
        })
    };
    let held = |width, scores| held_by(attention_sequences_composed, width, scores);
    held(64, SCORES_AT_ONCE);
    let (whole, twice) = (held(512, SCORES_AT_ONCE), held(1024, SCORES_AT_ONCE));
    let square = |width: f64| 4.0 * 4.0 * width * width / 1e6;
    eprintln!(
        "at once: {whole:.2} MB of 512, {twice:.2} MB of 1024; one matrix of scores: {:.2} MB",
        square(512.0)
    );
    assert!(whole > 2.0 * square(512.0) && twice > 3.5 * whole, "the square rules");
    // Chunks of 1 MB of scores.
    let (chunks, of_twice) = (held(512, 1 << 18), held(1024, 1 << 18));
    eprintln!("in chunks: {chunks:.2} MB of 512, {of_twice:.2} MB of 1024");
    assert!(of_twice < 2.0 * chunks && of_twice < 0.2 * twice, "{chunks} and {of_twice} MB");
    let [on_cpu, twice_on_cpu] = [512, 1024].map(|width| held_by(attention_sequences, width, SCORES_AT_ONCE));
    eprintln!("on the CPU: {on_cpu:.2} MB of 512, {twice_on_cpu:.2} MB of 1024");
    assert!(twice_on_cpu < 2.5 * on_cpu && twice_on_cpu < of_twice, "{on_cpu} and {twice_on_cpu} MB");
}

/// What the recipes shipped for large models need, on paper: the 7B shape with adapters within a device of 80 GB.
#[test]
fn adapters_of_the_released_shape_fit_where_full_training_does_not() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../trainer/recipes/sft-wethink-7b-lora.toml");
    let lora = Recipe::read(&path, &[]).expect("the shipped recipe");
    let text = json!({"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "num_hidden_layers": 28});
    let config = Config::from_json(&text.to_string()).expect("the released shape");
    let shapes = Shapes { lengths: vec![4096, 4096], targets: 4000, grids: vec![[1, 36, 36]; 2] };
    let of = |recipe: &Recipe| {
        memory(&config, recipe, &shapes, Arithmetic::Composed(2), true).total() as f64 / 1e9
    };
    let full = recipe("[groups.language]\nlearning_rate = 1.0\n[groups.embeddings]\nlearning_rate = 1.0\n");
    let kept = Recipe { memory: full.memory, ..lora.clone() };
    let (lora, kept, full) = (of(&lora), of(&kept), of(&full));
    eprintln!("adapters {lora:.1} GB, without economies {kept:.1} GB, in full {full:.1} GB");
    assert!(lora < 40.0 && kept > 50.0 && full > 130.0, "{lora}, {kept}, {full} GB");
}
