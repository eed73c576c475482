//! Packs: the model over packed weights against the same model over the same weights unpacked, on every device.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Distribution, Tensor};
use pollster::block_on;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use wethink_kernels::{packed_add, packed_gate_up, packed_product};
use wethink_model::{
    Detokenize, Generation, KvCache, Launches, Loader, Model, Options, PackedMatrix, PackedRows, Packing,
    Prompt, Row, Sampling, pack_row,
};
use wethink_trainer::folder::Folder;
use wethink_trainer::pack::{Override, Quantize, plan, write};

use crate::fixtures::{Tiny, assert_close, wgpu};

pub(crate) fn values<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    block_on(tensor.into_data_async()).expect("the device works").try_into_vec().expect("float32")
}

/// A pack of the tiny checkpoint, its weights multiplied by `scale(name)`.
pub(crate) fn packed(
    quantize: Quantize,
    overrides: &[&str],
    scale: &(dyn Fn(&str) -> f32 + Sync),
) -> tempfile::TempDir {
    let set = Tiny::open().expect("the known answers can be read");
    let dense = dense_weights(&set.folder);
    let text = set.folder.read("config.json").expect("readable").expect("config.json");
    let config = serde_json::from_slice(&text).expect("JSON");
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().expect("an override")).collect();
    let plan = plan(config, quantize, &overrides).expect("a plan");
    let rows = |name: &str, width: usize, rows: std::ops::Range<usize>| {
        dense[name][rows.start * width..rows.end * width].iter().map(|x| x * scale(name)).collect()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("pack");
    write(plan, &rows, &set.folder, &Value::Null, &out, &mut |_, _| {}).expect("a pack");
    folder
}

fn dense_weights(folder: &Folder) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    for shard in folder.shards().expect("shards") {
        for (name, view) in SafeTensors::deserialize(shard.bytes()).expect("safetensors").tensors() {
            assert_eq!(view.dtype(), Dtype::F32);
            let floats = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            all.insert(wethink_model::canonical(&name), floats.collect());
        }
    }
    all
}

pub(crate) fn open(folder: &tempfile::TempDir) -> Folder {
    Folder::open(&folder.path().join("pack")).expect("a pack")
}

pub(crate) fn load(folder: &Folder, device: &Device) -> Model {
    folder.load(device, DType::F32, &mut |_, _| {}).expect("the pack loads")
}

/// The model of plain weights that a pack's bytes say, each read by its description alone.
pub(crate) fn unpacked(folder: &Folder, device: &Device) -> Model {
    let pack = folder.pack().expect("a pack");
    let shards: Vec<Vec<u8>> =
        pack.shards.iter().map(|s| std::fs::read(folder.dir().join(&s.file)).expect("a shard")).collect();
    let mut loader = Loader::new(&pack.config().expect("a configuration"), device, DType::F32);
    for tensor in &pack.tensors {
        let (rows, width) = tensor.matrix();
        let mut floats = Vec::with_capacity(rows * width);
        for part in &tensor.parts {
            let (own, scales) = tensor.ranges(part);
            let bytes = |range: std::ops::Range<u64>| {
                let bytes = &shards[part.shard][range.start as usize..range.end as usize];
                bytes
                    .chunks_exact(4)
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect::<Vec<_>>()
            };
            let (own, scales) = (bytes(own), scales.map(bytes).unwrap_or_default());
            let scale_words = scales.len() / part.rows;
            for (n, words) in own.chunks_exact(own.len() / part.rows).enumerate() {
                let mut row = vec![0.0; width];
                match tensor.dtype.packing() {
                    Some(packing) => {
                        packing.unpack(words, &scales[n * scale_words..(n + 1) * scale_words], &mut row)
                    }
                    None => row = words.iter().map(|&bits| f32::from_bits(bits)).collect(),
                }
                floats.extend(row);
            }
        }
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), &bytes).expect("a tensor");
        let file = safetensors::serialize([(tensor.name.as_str(), view)], None).expect("safetensors");
        loader.shard("unpacked", &file, &mut |_| {}).expect("a sound shard");
    }
    loader.finish().expect("every tensor")
}

pub(crate) fn greedy(model: &Model, prompt: Prompt, ahead: usize, count: usize) -> (Vec<u32>, Vec<f32>) {
    let mut cache = model.cache(1, prompt.ids.len() + count);
    let options = Options {
        sampling: Sampling::default(),
        max_new_tokens: count,
        min_new_tokens: 0,
        stop_ids: Vec::new(),
        stop_strings: Vec::new(),
        seed: 0,
        step: 0,
    };
    generate(model, prompt, &mut cache, options, None, ahead)
}

fn generate(
    model: &Model,
    prompt: Prompt,
    cache: &mut KvCache,
    options: Options,
    detokenize: Option<Detokenize>,
    ahead: usize,
) -> (Vec<u32>, Vec<f32>) {
    let mut launches = Launches::new();
    let row = [Row { prompt: 0, sample: 0 }];
    let mut generation =
        Generation::new(model, &[prompt], &row, cache, options, detokenize, &mut launches).expect("sound");
    generation.ahead(ahead);
    while block_on(generation.next()).expect("the device works").is_some() {}
    (generation.ids(0).to_vec(), generation.logprobs(0).to_vec())
}

fn a_pack_equals_its_weights_unpacked(device: &Device) {
    let set = Tiny::open().expect("the known answers can be read");
    for (quantize, overrides) in
        [(Quantize::Q4, vec!["*.0.mlp.*=q8"]), (Quantize::Q8, vec!["visual.merger*=f16"])]
    {
        let folder = packed(quantize, &overrides, &|_| 1.0);
        let folder = open(&folder);
        let (packed, plain) = (load(&folder, device), unpacked(&folder, &Device::flex()));
        assert!(packed.model.layers[0].self_attn.q_proj.weight.packed().is_some(), "the weights stay packed");
        for case in &set.cases {
            let name = format!("{quantize:?} {}", case.name);
            let trace = |model: &Model| model.trace(&[case.prompt()], &mut Launches::new()).expect("sound");
            let (got, want) = (trace(&packed), trace(&plain));
            if let (Some(got), Some(want)) = (got.vision, want.vision) {
                assert_close(&format!("{name}: vision"), &values(got), &values(want));
            }
            assert_close(&format!("{name}: logits"), &values(got.logits), &values(want.logits));
            let want = greedy(&plain, case.prompt(), 1, 24);
            let got = greedy(&packed, case.prompt(), 1, 24);
            assert_eq!(got.0, want.0, "{name}: greedy tokens");
            assert_close(&format!("{name}: log-probabilities"), &got.1, &want.1);
        }
    }
}

#[test]
fn golden_a_pack_equals_its_weights_unpacked_on_flex() {
    a_pack_equals_its_weights_unpacked(&Device::flex());
}

#[test]
fn golden_a_pack_equals_its_weights_unpacked_on_wgpu() {
    a_pack_equals_its_weights_unpacked(&wgpu());
}

/// Eight bits on every weight of the language model lose little: the packed model is the model.
#[test]
fn golden_eight_bits_stay_close_to_the_reference() {
    let set = Tiny::open().expect("the known answers can be read");
    let folder = packed(Quantize::Q8, &[], &|_| 1.0);
    let model = load(&open(&folder), &Device::flex());
    for case in &set.cases {
        let want = case.floats("logits").expect("every case has logits");
        let got = values(model.trace(&[case.prompt()], &mut Launches::new()).expect("sound").logits);
        let top = want.iter().fold(0f32, |top, x| top.max(x.abs()));
        let error = got.iter().zip(&want).fold(0f32, |top, (a, b)| top.max((a - b).abs()));
        assert!(error < 0.05 * top, "{}: {error} of {top}", case.name);
    }
}

/// Seven launches a layer, for one row and for several.
#[test]
fn golden_decoding_takes_seven_launches_a_layer() {
    let device = wgpu();
    let set = Tiny::open().expect("the known answers can be read");
    let folder = packed(Quantize::Q4, &[], &|_| 1.0);
    let folder = open(&folder);
    let model = load(&folder, &device);
    let layers = model.config().text.num_hidden_layers as u64;
    let parts = |name: &str| {
        let tensors = &folder.pack().expect("a pack").tensors;
        tensors.iter().find(|tensor| tensor.name == name).expect(name).parts.len() as u64
    };
    let head =
        if model.config().tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    for rows in [1, 3] {
        let prompts: Vec<_> = set.cases[..rows].iter().map(|case| case.prompt()).collect();
        let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().expect("a prompt");
        let mut cache = model.cache(rows, longest + 1);
        model.prefill(&prompts, &mut cache, &mut Launches::new()).expect("sound");
        let mut launches = Launches::new();
        model.step(&vec![Some(1); rows], &mut cache, &mut launches).expect("room is left");
        let want = [
            ("attention_combine", layers),
            ("attention_decode", layers),
            ("mrope_append_joined", layers),
            ("packed_gate_up", layers),
            ("packed_gather", parts("model.embed_tokens.weight")),
            ("packed_matvec", 3 * layers + parts(head)),
            ("rms_norm", 1),
        ];
        let text = &model.config().text;
        let inner = text.num_attention_heads * text.head_dim();
        if [text.hidden_size, text.intermediate_size, inner].iter().all(|width| width.is_multiple_of(4)) {
            assert_eq!(launches.iter().collect::<Vec<_>>(), want, "{rows} rows");
        } else {
            // The kernels for few rows read vectors; those for many, with a norm of its own, take what is left.
            assert!(launches.of("packed_matmul") > 0, "{rows} rows");
            assert_eq!(launches.of("packed_product_composed"), 0, "{rows} rows");
        }
    }
}

/// Products of every number of rows and of every range of a matrix's buffer, against the same values unpacked.
#[test]
fn packed_products_equal_plain_ones() {
    let turn = wgpu();
    let device: Device = (*turn).clone();
    let random = |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    for packing in [Packing::Q4, Packing::Q8, Packing::F16] {
        for (out, width) in [(37, 96), (130, 57)] {
            let matrix = |rows: usize| {
                let (mut words, mut scales) = (Vec::new(), Vec::new());
                for row in values(random([rows, width])).chunks_exact(width) {
                    pack_row(packing, row, &mut words, &mut scales).expect("finite");
                }
                let bytes =
                    |words: Vec<u32>| words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
                PackedRows::new(packing, width, &bytes(words), &bytes(scales), &device)
            };
            // A range in the middle of one buffer, then a second buffer.
            let middle = matrix(out + 9).split(&[5, out - 16, 20]).remove(1);
            let weight = PackedMatrix::new(packing, width, vec![middle, matrix(16)]);
            let dense = weight.dense(&device);
            let norm = Tensor::<1>::random([width], Distribution::Normal(0.0, 1.0), &device);
            let bias = Tensor::<1>::random([out], Distribution::Normal(0.0, 1.0), &device);
            let [whole, other] =
                [(); 2].map(|()| PackedMatrix::new(packing, width, vec![matrix(24), matrix(16)]));
            for rows in [1, 3, 8, 9, 70] {
                let x = random([rows, width]);
                let mut launches = Launches::new();
                let place = format!("{packing:?}, {rows} rows of {width} to {out}");
                let got = packed_product(x.clone(), &weight, None, Some(bias.clone()), &mut launches);
                let plain = x.clone().matmul(dense.clone().transpose());
                let want = plain.clone() + bias.clone().unsqueeze();
                assert_close(&place, &values(got), &values(want));
                let stream = random([rows, out]);
                let got = packed_add(x.clone(), &weight, stream.clone(), &mut launches);
                assert_close(&format!("{place}, added"), &values(got), &values(stream + plain));
                let normed = wethink_kernels::rms_norm(x.clone(), norm.clone(), 1e-6, &mut launches);
                let plain = normed.matmul(dense.clone().transpose());
                let got = packed_product(x.clone(), &weight, Some((norm.clone(), 1e-6)), None, &mut launches);
                assert_close(&format!("{place}, normed"), &values(got), &values(plain.clone()));
                let by = |m: &PackedMatrix| {
                    let normed =
                        wethink_kernels::rms_norm(x.clone(), norm.clone(), 1e-6, &mut Launches::new());
                    normed.matmul(m.dense(&device).transpose())
                };
                let want = burn::tensor::activation::silu(by(&whole)) * by(&other);
                let got = packed_gate_up(x, (norm.clone(), 1e-6), &whole, &other, &mut launches);
                assert_close(&format!("{place}, gated"), &values(got), &values(want));
                assert_eq!(launches.of("packed_product_composed"), 0);
            }
        }
    }
}

/// What came in parts is the same matrix in one buffer.
#[test]
fn parts_put_together_are_the_same_rows() {
    let turn = wgpu();
    for device in [Device::flex(), (*turn).clone()] {
        for packing in [Packing::Q4, Packing::Q8, Packing::F16] {
            let part = |rows: usize, from: usize| {
                let (mut words, mut scales) = (Vec::new(), Vec::new());
                for row in from..from + rows {
                    let row: Vec<f32> = (0..65).map(|i| ((row * 65 + i) as f32).sin()).collect();
                    pack_row(packing, &row, &mut words, &mut scales).expect("finite");
                }
                let bytes =
                    |words: Vec<u32>| words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
                PackedRows::new(packing, 65, &bytes(words), &bytes(scales), &device)
            };
            let parts = vec![part(7, 0), part(4, 7), part(9, 11)];
            let whole = PackedMatrix::new(packing, 65, vec![PackedRows::concatenated(&parts, &device)]);
            let parts = PackedMatrix::new(packing, 65, parts);
            assert_eq!((whole.rows(), whole.bytes()), (20, parts.bytes()));
            assert_eq!(values(whole.dense(&device)), values(parts.dense(&device)), "{packing:?}");
        }
    }
}

/// Several tokens before one reading are the tokens of one reading each, sampled ones too, and what is drawn on the device
/// is what is drawn here.
#[test]
fn golden_tokens_computed_ahead_are_the_same() {
    let device = wgpu();
    let set = Tiny::open().expect("the known answers can be read");
    let folder = packed(Quantize::Q4, &[], &|_| 1.0);
    let folder = open(&folder);
    let (model, host) = (load(&folder, &device), load(&folder, &Device::flex()));
    let processor = folder.processor().expect("a tokenizer");
    let decode = |ids: &[u32]| processor.tokenizer.decode(ids, false).expect("ids of the vocabulary");
    let warm = Sampling { temperature: 0.8, top_k: Some(50), top_p: Some(0.95), repetition_penalty: 1.0 };
    let with_picture = set.cases.iter().find(|case| !case.encoded.grids.is_empty());
    let without = set.cases.iter().find(|case| case.encoded.grids.is_empty());
    for case in with_picture.into_iter().chain(without) {
        for sampling in [Sampling::default(), warm.clone()] {
            let options = |stop_ids: &[u32], stop_strings: &[String]| Options {
                sampling: sampling.clone(),
                max_new_tokens: 13,
                min_new_tokens: 0,
                stop_ids: stop_ids.to_vec(),
                stop_strings: stop_strings.to_vec(),
                seed: 4,
                step: 0,
            };
            let run = |model: &Model, stop_ids: &[u32], stop_strings: &[String], ahead: usize| {
                let mut cache = model.cache(1, case.encoded.ids.len() + 13);
                let options = options(stop_ids, stop_strings);
                let said = generate(model, case.prompt(), &mut cache, options, Some(&decode), ahead);
                // Every token but the last is in the cache, whatever was computed beyond.
                assert_eq!(cache.len(0), case.encoded.ids.len() + said.0.len() - 1, "{}", case.name);
                said
            };
            let want = run(&host, &[], &[], 1);
            // Two letters from the middle of the answer.
            let text: Vec<char> = decode(&want.0).chars().collect();
            let stop_text: String = text[text.len() / 2..text.len() / 2 + 2].iter().collect();
            let holds = |count: &usize| decode(&want.0[..*count]).contains(&stop_text);
            let text_end = (1..=want.0.len()).find(holds).expect("the whole answer holds it");
            for ahead in [1, 4] {
                let got = run(&model, &[], &[], ahead);
                assert_eq!(got.0, want.0, "{} {sampling:?} {ahead} ahead", case.name);
                assert_close(&format!("{} {ahead} ahead", case.name), &got.1, &want.1);
                let stop = [want.0[6]];
                let end = want.0.iter().position(|id| *id == stop[0]).expect("it is there") + 1;
                assert_eq!(run(&model, &stop, &[], ahead).0, want.0[..end], "{} stopped", case.name);
                let stopped = run(&model, &[], std::slice::from_ref(&stop_text), ahead).0;
                assert_eq!(stopped, want.0[..text_end], "{} stopped at {stop_text:?}", case.name);
            }
        }
    }
}
