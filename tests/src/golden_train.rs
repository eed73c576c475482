//! Training against PyTorch: log-probabilities, gradients, and five steps of AdamW on one batch.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor};
use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use wethink_model::{Config, Economy, Launches, Loader, Model};
use wethink_processor::{Options, Picture, System, messages_from_json, with_system};
use wethink_trainer::train::adamw::{AdamW, Rate, Settings};
use wethink_trainer::train::gradients::{Gradients, clip_scale, scalar};
use wethink_trainer::train::groups::Group;
use wethink_trainer::train::loss::{Loss, loss};
use wethink_trainer::train::samples::{Sample, logprobs_within};

use crate::fixtures::{Tiny, assert_close, dir, wgpu};

/// The reference's batch and what it says about it.
pub(crate) struct Known {
    pub tiny: Tiny,
    answer: Value,
    tensors: Vec<u8>,
    pub samples: Vec<Sample>,
}

impl Known {
    pub fn open() -> Self {
        let tiny = Tiny::open().expect("the known answers can be read");
        let dir = dir().join("tiny-qwen2_5_vl");
        let answer: Value =
            serde_json::from_slice(&std::fs::read(dir.join("train.json")).expect("train.json"))
                .expect("JSON");
        let tensors = std::fs::read(dir.join("train.safetensors")).expect("train.safetensors");
        let rows = answer["rows"].as_array().expect("rows").iter().enumerate();
        let samples = rows.map(|(index, row)| sample(&tiny, index, row)).collect();
        Self { tiny, answer, tensors, samples }
    }

    pub fn model(&self, device: &Device) -> Model {
        self.tiny.model(device).expect("the tiny checkpoint loads")
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.tensors).expect("the reference writes safetensors")
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect()
    }

    /// Rows of a tensor of integers.
    fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        let words = view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight")));
        words.collect::<Vec<_>>().chunks_exact(view.shape()[1]).map(<[i64]>::to_vec).collect()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        let list = self.answer[name].as_array().unwrap_or_else(|| panic!("no {name}"));
        list.iter().map(|x| x.as_f64().expect("a number")).collect()
    }

    /// Names that the reference gives a tensor for, under a prefix.
    fn given(&self, prefix: &str) -> Vec<String> {
        let file = self.file();
        let names = file.names().into_iter().filter_map(|name| name.strip_prefix(prefix));
        names.map(str::to_owned).collect()
    }

    pub fn targets(&self) -> usize {
        self.samples.iter().map(|sample| sample.response.len()).sum()
    }

    /// Loss and gradient of the batch, split into parts of these numbers of rows.
    pub fn gradients(
        &self,
        model: &Model,
        parts: &[usize],
        trained: &dyn Fn(&str) -> bool,
    ) -> (f64, Gradients) {
        self.gradients_within(model, parts, trained, &Economy::default())
    }

    /// The same, laid out by `economy`.
    pub fn gradients_within(
        &self,
        model: &Model,
        parts: &[usize],
        trained: &dyn Fn(&str) -> bool,
        economy: &Economy,
    ) -> (f64, Gradients) {
        let mut gradients = Gradients::default();
        let (mut total, mut from) = (0.0, 0);
        for &rows in parts {
            let part = &self.samples[from..from + rows];
            from += rows;
            let value = gradients.add(model, trained, DType::F32, |model| {
                let logprobs = logprobs_within(model, part.iter(), economy, None)?;
                let value = loss(logprobs, self.targets(), Loss::Nll);
                Ok((value.clone(), scalar(value.inner())))
            });
            total += value.expect("a sound batch");
        }
        assert_eq!(from, self.samples.len(), "every row is used");
        (total, gradients)
    }
}

fn sample(tiny: &Tiny, index: usize, row: &Value) -> Sample {
    let name = row["case"].as_str().expect("a case");
    let case = tiny.cases.iter().find(|case| case.name == name).expect("a case of the set");
    let messages =
        messages_from_json(name, case.answer["messages"].to_string().as_bytes()).expect("messages");
    let pictures: Vec<_> = case.answer["images"]
        .as_array()
        .expect("images")
        .iter()
        .map(|file| {
            let path = dir().join("tiny-qwen2_5_vl/images").join(file.as_str().expect("a name"));
            Picture::decode(name, &std::fs::read(path).expect("a picture")).expect("a picture")
        })
        .collect();
    let messages = with_system(messages, System::None);
    let target = row["answer"].as_str().expect("an answer");
    Sample::new(&tiny.processor, index, &messages, &pictures, target, &Options::default()).expect("sound")
}

pub(crate) fn values<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    block_on(tensor.into_data_async()).expect("the device works").try_into_vec().expect("float32")
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// `||a - b|| / ||b||`.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

fn assert_within(what: &str, got: f64, want: f64, relative: f64) {
    assert!((got - want).abs() <= relative * want.abs(), "{what}: {got}, expected {want}");
}

pub(crate) const ALL: &dyn Fn(&str) -> bool = &|_| true;

/// The optimizer that `train.json` names.
fn reference_optimizer() -> (AdamW, Rate) {
    let settings = Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
    (AdamW::new(settings), Rate { learning_rate: 1e-3, weight_decay: 0.01 })
}

#[test]
fn golden_samples_are_the_references_ids_and_labels() {
    let known = Known::open();
    let (ids, mask, labels) = (known.rows("input_ids"), known.rows("attention_mask"), known.rows("labels"));
    for (row, sample) in known.samples.iter().enumerate() {
        let length = mask[row].iter().sum::<i64>() as usize;
        let got: Vec<i64> = sample.prompt().ids.iter().map(|&id| i64::from(id)).collect();
        assert_eq!(got, ids[row][..length], "ids of row {row}");
        let places: Vec<usize> = (0..length).filter(|&place| labels[row][place] >= 0).collect();
        assert_eq!(sample.response.clone().collect::<Vec<_>>(), places, "targets of row {row}");
    }
}

fn log_probabilities_equal_the_reference(device: &Device) {
    let known = Known::open();
    let model = known.model(device);
    let width = known.rows("input_ids")[0].len() - 1;
    let want = known.floats("logprobs_step0");
    let prompts: Vec<_> = known.samples.iter().map(Sample::prompt).collect();
    let wanted: Vec<_> = prompts.iter().map(|prompt| 1..prompt.ids.len()).collect();
    let got = model.logprobs(&prompts, &wanted, 1.0, &mut Launches::new()).expect("sound prompts");
    let rows = wanted.iter().enumerate().flat_map(|(row, range)| {
        let start = row * width;
        want[start..start + range.len()].to_vec()
    });
    assert_close("log-probabilities", &values(got), &rows.collect::<Vec<_>>());
}

/// Gradients of the whole batch in one pass, laid out by `economy`.
pub(crate) fn gradients_equal_the_reference(device: &Device, economy: &Economy) {
    let known = Known::open();
    let (_, gradients) = known.gradients_within(&known.model(device), &[known.samples.len()], ALL, economy);
    let norms = known.answer["grad_norm_per_param_step0"].as_object().expect("norms by name");
    let scale = clip_scale(gradients.norm(), 1.0) as f32;
    let clipped: BTreeMap<&str, Vec<f32>> = gradients
        .iter()
        .map(|(name, gradient)| (name, values(gradient.clone()).iter().map(|g| g * scale).collect()))
        .collect();
    assert_eq!(
        clipped.keys().copied().collect::<Vec<_>>(),
        BTreeMap::from_iter(norms.iter()).into_keys().collect::<Vec<_>>(),
        "every parameter has a gradient, under the name of the released layout"
    );
    for (name, want) in norms {
        assert_within(name, norm(&clipped[name.as_str()]), want.as_f64().expect("a norm"), 1e-3);
    }
    let given = known.given("grad_step0.");
    assert!(!given.is_empty(), "a set without gradients proves nothing");
    for name in given {
        let error = distance(&clipped[name.as_str()], &known.floats(&format!("grad_step0.{name}")));
        // The reference differs from itself by 2e-6; an approximate GELU, say, is off by 3e-4.
        assert!(error <= 1e-4, "gradient of {name}: off by {error}");
    }
}

fn five_steps_equal_the_reference(device: &Device) {
    let known = Known::open();
    let mut model = known.model(device);
    let before = all_values(&model);
    let (mut optimizer, rate) = reference_optimizer();
    let (losses, norms) = (known.numbers("losses"), known.numbers("grad_norms"));
    assert_eq!(losses.len(), norms.len());
    for (step, (&want_loss, &want_norm)) in losses.iter().zip(&norms).enumerate() {
        // Another split every step: it must not matter.
        let parts: &[usize] = if step % 2 == 0 { &[1, 2] } else { &[3] };
        let (loss, gradients) = known.gradients(&model, parts, ALL);
        let norm = gradients.norm();
        assert_within(&format!("loss of step {step}"), loss, want_loss, 1e-3);
        assert_within(&format!("gradient norm of step {step}"), norm, want_norm, 1e-3);
        model = optimizer.step(model, &gradients, clip_scale(norm, 1.0), &|_| rate);
    }
    let after = all_values(&model);
    let given = known.given("param_step5.");
    assert!(!given.is_empty(), "a set without parameters proves nothing");
    for name in given {
        let want = known.floats(&format!("param_step5.{name}"));
        let moved = |after: &[f32]| after.iter().zip(&before[&name]).map(|(a, b)| a - b).collect::<Vec<_>>();
        let error = distance(&moved(&after[&name]), &moved(&want));
        // AdamW divides by a gradient's size, so the least gradients' noise comes through; a weight
        // decay left out changes a norm's by 1e-2.
        assert!(error <= 2e-3, "what five steps change of {name}: off by {error}");
    }
}

fn a_split_batch_has_the_same_gradient(device: &Device) {
    let known = Known::open();
    let model = known.model(device);
    let (whole_loss, whole) = known.gradients(&model, &[3], ALL);
    for parts in [&[1, 2][..], &[2, 1], &[1, 1, 1]] {
        let (loss, split) = known.gradients(&model, parts, ALL);
        assert_within(&format!("loss in parts of {parts:?}"), loss, whole_loss, 1e-6);
        for (name, gradient) in whole.iter() {
            let other = split.of(name).unwrap_or_else(|| panic!("{name} in parts of {parts:?}")).clone();
            let error = distance(&values(other), &values(gradient.clone()));
            assert!(error <= 2e-5, "{name} in parts of {parts:?}: off by {error}");
        }
    }
}

fn only_trained_groups_are_tracked_and_moved(device: &Device) {
    let known = Known::open();
    let before = all_values(&known.model(device));
    for group in Group::ALL {
        let trained = |name: &str| Group::of(name) == group;
        let model = known.model(device);
        let (_, gradients) = known.gradients(&model, &[3], &trained);
        let expected: Vec<&str> = before.keys().map(String::as_str).filter(|name| trained(name)).collect();
        assert_eq!(gradients.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected, "{group:?}");
        let (mut optimizer, rate) = reference_optimizer();
        let after = all_values(&optimizer.step(model, &gradients, 1.0, &|_| rate));
        for (name, value) in &before {
            assert_eq!(after[name] == *value, !trained(name), "{name} while {group:?} is trained");
        }
        assert_eq!(optimizer.moments.len(), expected.len());
    }
}

fn all_values(model: &Model) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    model.each_parameter(&mut |name, value| drop(all.insert(name.to_owned(), values(value))));
    all
}

/// Steps on the same batch until the model knows it by heart.
#[test]
fn one_batch_is_learned_by_heart() {
    let known = Known::open();
    let mut model = known.model(&Device::flex());
    let (mut optimizer, _) = reference_optimizer();
    let rate = Rate { learning_rate: 3e-3, weight_decay: 0.0 };
    let mut last = f64::INFINITY;
    for _ in 0..40 {
        let (loss, gradients) = known.gradients(&model, &[3], ALL);
        let scale = clip_scale(gradients.norm(), 1.0);
        model = optimizer.step(model, &gradients, scale, &|_| rate);
        last = loss;
    }
    assert!(last < 0.05, "loss {last}");
}

/// With a tied head the embedding's gradient is what the embedding and the head would get apart.
#[test]
fn a_tied_embedding_gets_both_gradients() {
    let known = Known::open();
    let folder = dir().join("tiny-qwen2_5_vl/checkpoint");
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).expect("config.json"))
            .expect("JSON");
    let tied_set = config["tie_word_embeddings"] == json!(true);
    let shards = known.tiny.folder.shards().expect("shards");
    let mut load = |tie: bool| {
        config["tie_word_embeddings"] = json!(tie);
        let config = Config::from_json(&config.to_string()).expect("a sound configuration");
        let mut loader = Loader::new(&config, &Device::flex(), DType::F32);
        for shard in &shards {
            loader.shard(shard.name(), shard.bytes(), &mut |_| {}).expect("a sound shard");
            let file = SafeTensors::deserialize(shard.bytes()).expect("a sound shard");
            if let (true, Ok(embedding)) = (tied_set && !tie, file.tensor("model.embed_tokens.weight")) {
                let head = safetensors::serialize([("lm_head.weight", embedding)], None).expect("a tensor");
                loader.shard("head", &head, &mut |_| {}).expect("a sound shard");
            }
        }
        loader.finish().expect("all tensors")
    };
    let (tied, untied) = (load(true), load(false));
    let mut embedding = None;
    tied.each_parameter(&mut |name, value| {
        if name == "model.embed_tokens.weight" {
            embedding = Some(value);
        }
    });
    let embedding = embedding.expect("an embedding");
    let untied = untied.map_parameters(&mut |name, value| match name {
        "lm_head.weight" => embedding.clone(),
        _ => value,
    });
    let (loss, together) = known.gradients(&tied, &[3], ALL);
    let (same, apart) = known.gradients(&untied, &[3], ALL);
    assert_within("loss", loss, same, 1e-6);
    let of = |gradients: &Gradients, name: &str| gradients.of(name).expect(name).clone();
    let sum = of(&apart, "model.embed_tokens.weight") + of(&apart, "lm_head.weight");
    let error = distance(&values(of(&together, "model.embed_tokens.weight")), &values(sum));
    assert!(error <= 1e-5, "off by {error}");
    assert!(together.of("lm_head.weight").is_none());
}

/// The same bodies on every device.
macro_rules! on {
    ($module:ident, $device:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn golden_train_log_probabilities_equal_the_reference() {
                log_probabilities_equal_the_reference(&$device);
            }

            #[test]
            fn golden_train_gradients_equal_the_reference() {
                gradients_equal_the_reference(&$device, &Economy::default());
            }

            #[test]
            fn golden_train_five_steps_equal_the_reference() {
                five_steps_equal_the_reference(&$device);
            }

            #[test]
            fn golden_train_a_split_batch_has_the_same_gradient() {
                a_split_batch_has_the_same_gradient(&$device);
            }

            #[test]
            fn golden_train_only_trained_groups_are_tracked_and_moved() {
                only_trained_groups_are_tracked_and_moved(&$device);
            }
        }
    };
}

on!(flex, Device::flex());
on!(on_wgpu, wgpu());
#[cfg(feature = "cuda")]
on!(on_cuda, crate::fixtures::cuda());
