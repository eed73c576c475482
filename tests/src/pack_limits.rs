//! Packs at their limits: WebGPU's default ones, numbers beyond half precision, the widths of the 7B model.

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuOptions, WgpuSetup};
use pollster::block_on;
use wethink_model::{Launches, Model, Pack, Prompt};
use wethink_trainer::pack::{Quantize, plan};

use crate::fixtures::{Tiny, assert_close, wgpu};
use crate::packs::{greedy, load, open, packed, unpacked, values};

/// A device with exactly WebGPU's default limits: nothing asked for beyond them. burn takes the adapter's word for 64-bit
/// integers, which no browser's adapter has, so the device gets them where the adapter says so.
fn default_limits() -> Device {
    let mut options = ::wgpu::InstanceDescriptor::new_without_display_handle();
    options.backends = ::wgpu::Backends::PRIMARY;
    let instance = ::wgpu::Instance::new(options);
    let adapter = block_on(instance.request_adapter(&::wgpu::RequestAdapterOptions::default()))
        .or_else(|_| {
            block_on(instance.request_adapter(&::wgpu::RequestAdapterOptions {
                force_fallback_adapter: true,
                ..Default::default()
            }))
        })
        .expect("a WebGPU adapter");
    let (device, queue) = block_on(adapter.request_device(&::wgpu::DeviceDescriptor {
        required_features: adapter.features() & ::wgpu::Features::SHADER_INT64,
        required_limits: ::wgpu::Limits::default(),
        ..Default::default()
    }))
    .expect("WebGPU's default limits");
    let limits = device.limits();
    assert_eq!(limits.max_storage_buffer_binding_size, 128 << 20);
    assert_eq!((limits.max_buffer_size, limits.max_storage_buffers_per_shader_stage), (256 << 20, 8));
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup { instance, adapter, device, queue, backend };
    WgpuOptions::default().setup(setup).init().expect("burn takes the device")
}

#[test]
fn golden_webgpus_default_limits_run_the_whole_model() {
    let _turn = wgpu();
    let device = default_limits();
    let set = Tiny::open().expect("the known answers can be read");
    let folder = packed(Quantize::Q4, &[], &|_| 1.0);
    let folder = open(&folder);
    let (packed, plain) = (load(&folder, &device), unpacked(&folder, &Device::flex()));
    let case = set.cases.iter().find(|case| case.encoded.grids.len() > 1).expect("a case with two pictures");
    assert_eq!(greedy(&packed, case.prompt(), 1, 16).0, greedy(&plain, case.prompt(), 1, 16).0);
}

/// A checkerboard of black and white, and weights that drive the tower, the merger and the decoder far beyond what half
/// precision holds: everything stays finite, and what it should be.
fn large_magnitudes_stay_finite(device: &Device) {
    let set = Tiny::open().expect("the known answers can be read");
    let scale = |name: &str| match name {
        _ if name.starts_with("visual.blocks.") && name.ends_with("up_proj.weight") => 3e4,
        "visual.merger.mlp.2.weight" => 3e6,
        "model.layers.0.mlp.up_proj.weight" => 3e5,
        _ => 1.0,
    };
    let folder = packed(Quantize::Q4, &["visual.blocks.*=f16"], &scale);
    let folder = open(&folder);
    let side = 112;
    let rgb =
        (0..side * side).flat_map(|i| [if (i % side / 28 + i / side / 28) % 2 == 0 { 0 } else { 255 }; 3]);
    let picture =
        wethink_processor::Picture::from_rgb("checkerboard", side, side, rgb.collect()).expect("a picture");
    let parts = vec![
        wethink_processor::Part::Image,
        wethink_processor::Part::Text { text: "How many squares?".into() },
    ];
    let message = wethink_processor::Message {
        role: wethink_processor::Role::User,
        content: wethink_processor::Content::Parts(parts),
    };
    let options = wethink_processor::Options::default();
    let encoded = set.processor.process(&[message], &[picture], &options).expect("a prompt");
    let prompt = Prompt {
        ids: &encoded.ids,
        positions: &encoded.positions,
        patches: &encoded.pixel_values,
        grids: &encoded.grids,
    };
    let trace = |model: &Model| model.trace(&[prompt], &mut Launches::new()).expect("a sound prompt");
    let (got, want) = (trace(&load(&folder, device)), trace(&unpacked(&folder, &Device::flex())));
    let vision = values(got.vision.expect("a picture"));
    let top = vision.iter().fold(0f32, |top, x| top.max(x.abs()));
    assert!(top > 65504.0, "the features overflow half precision: {top}");
    assert_close("vision", &vision, &values(want.vision.expect("a picture")));
    for (i, (got, want)) in got.hidden.into_iter().zip(want.hidden).enumerate() {
        assert_close(&format!("hidden {i}"), &values(got), &values(want));
    }
    let logits = values(got.logits);
    assert!(logits.iter().all(|x| x.is_finite()));
    assert_close("logits", &logits, &values(want.logits));
}

#[test]
fn golden_a_checkerboard_and_large_weights_stay_finite_on_flex() {
    large_magnitudes_stay_finite(&Device::flex());
}

#[test]
fn golden_a_checkerboard_and_large_weights_stay_finite_on_wgpu() {
    large_magnitudes_stay_finite(&wgpu());
}

/// A pack of noise in the true widths of the 7B model, of one layer: it loads and answers a prompt of `tokens` tokens.
fn the_7b_shape_decodes(
    device: &Device,
    quantize: Quantize,
    vocabulary: usize,
    tokens: u32,
) -> (Pack, Model) {
    let mut config = crate::noise::shape_7b();
    config["num_hidden_layers"] = 1.into();
    config["vocab_size"] = vocabulary.into();
    config["image_token_id"] = 5.into();
    config["video_token_id"] = 6.into();
    let pack = plan(config, quantize, &[]).expect("a plan");
    let model = crate::noise::model(&pack, device).expect("a model");
    let ids: Vec<u32> = (20..20 + tokens).collect();
    let positions: Vec<[u32; 3]> = (0..tokens).map(|i| [i; 3]).collect();
    let prompt = Prompt { ids: &ids, positions: &positions, patches: &[], grids: &[] };
    let (answer, logprobs) = greedy(&model, prompt, 2, 3);
    assert_eq!(answer.len(), 3);
    assert!(logprobs.iter().all(|x| x.is_finite() && *x < 0.0), "{logprobs:?}");
    (pack, model)
}

#[test]
fn golden_the_7b_widths_take_seven_launches_a_layer() {
    let _turn = wgpu();
    // In 8 bits gate, value and the way back come in two shards each.
    for quantize in [Quantize::Q4, Quantize::Q8] {
        let (pack, model) = the_7b_shape_decodes(&default_limits(), quantize, 2048, 4);
        let parts = |name: &str| {
            let mut tensors = pack.tensors.iter();
            tensors.find(|tensor| tensor.name == name).expect(name).parts.len() as u64
        };
        let in_two = parts("model.layers.0.mlp.down_proj.weight") == 2;
        assert_eq!(in_two, quantize == Quantize::Q8);
        let mut launches = Launches::new();
        model.step(&[Some(21)], &mut model.cache(1, 1), &mut launches).expect("there is room");
        let around = parts("model.embed_tokens.weight") + parts("lm_head.weight") + 1;
        let all: u64 = launches.iter().map(|(_, count)| count).sum();
        assert_eq!(all, 7 + around, "{launches:?}");
    }
}

/// With the whole vocabulary: memory stays near the pack's own size.
fn the_7b_shape_loads_in_its_own_size(device: &Device) {
    let before = crate::noise::peak_memory();
    let (pack, _) = the_7b_shape_decodes(device, Quantize::Q4, 152_064, 12);
    if let (Some(before), Some(after)) = (before, crate::noise::peak_memory()) {
        eprintln!("pack of {} bytes, memory {before} to {after}", pack.bytes());
        assert!(after - before.min(after) < pack.bytes() * 3 / 2 + (600 << 20), "{before} to {after}");
    }
}

#[test]
#[ignore = "1.5 GB of noise, a minute or two"]
fn large_the_7b_shape_loads_and_decodes_on_flex() {
    the_7b_shape_loads_in_its_own_size(&Device::flex());
}

#[test]
#[ignore = "1.5 GB of noise, a minute or two"]
fn large_the_7b_shape_loads_and_decodes_within_default_limits() {
    let _turn = wgpu();
    the_7b_shape_loads_in_its_own_size(&default_limits());
}
