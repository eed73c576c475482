//! A known product and a whole small model, run where the real one is to run, before it does.
//!
//! Browsers have shipped shader compilers that gave wrong numbers without a word. The product has whole numbers for
//! entries, so its result is exact; the model, with every kernel a real one runs, is compared with burn's CPU backend.

use burn::tensor::{DType, Device, Tensor, TensorData};
use serde_json::{Map, Value, json};
use wethink_model::{Config, Launches, Loader, Model, Prompt, expected_tensors};

/// Rows, inner length and columns of the product: none a multiple of a tile.
const PRODUCT: [usize; 3] = [37, 65, 41];

/// Bound of the model's logits, relative to the largest one.
const BOUND: f32 = 1e-3;

/// Says what is wrong with a device.
pub async fn run(device: &Device) -> Result<(), String> {
    product(device).await?;
    let [want, got] = [logits(&Device::flex()).await?, logits(device).await?];
    let scale = want.iter().fold(1f32, |top, x| top.max(x.abs()));
    let worst = want.iter().zip(&got).map(|(a, b)| (a - b).abs());
    // A NaN must not be taken for small.
    let worst = worst.fold(0f32, |top, x| if x <= top { top } else { x });
    if got.len() == want.len() && worst <= BOUND * scale {
        Ok(())
    } else {
        Err(format!("a small model's logits are off by {worst}, where {} is allowed", BOUND * scale))
    }
}

async fn product(device: &Device) -> Result<(), String> {
    let [rows, inner, columns] = PRODUCT;
    let a: Vec<i32> = (0..rows * inner).map(|i| (i * 7 % 11) as i32 - 5).collect();
    let b: Vec<i32> = (0..inner * columns).map(|i| (i * 5 % 13) as i32 - 6).collect();
    let tensor = |values: &[i32], shape: [usize; 2]| {
        let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        Tensor::<2>::from_data(TensorData::new(values, shape), (device, DType::F32))
    };
    let got = read(tensor(&a, [rows, inner]).matmul(tensor(&b, [inner, columns]))).await?;
    let want = (0..rows * columns).map(|i| {
        let (row, column) = (i / columns, i % columns);
        (0..inner).map(|k| a[row * inner + k] * b[k * columns + column]).sum::<i32>() as f32
    });
    if got.into_iter().eq(want) { Ok(()) } else { Err("a product of whole numbers is wrong".into()) }
}

/// Logits after a prompt with a picture, and after one further token.
async fn logits(device: &Device) -> Result<Vec<f32>, String> {
    let model = model(device)?;
    let ids = [1, 2, 60, 60, 60, 60, 3, 4];
    let positions: Vec<[u32; 3]> = (0..ids.len() as u32).map(|i| [i, i / 2, i % 3]).collect();
    let row = model.config().vision.patch_len();
    let patches: Vec<f32> = (0..16 * row).map(noise).collect();
    let prompt = Prompt { ids: &ids, positions: &positions, patches: &patches, grids: &[[1, 4, 4]] };
    let mut cache = model.cache(1, ids.len() + 1);
    let mut launches = Launches::new();
    let prefill = model.prefill(&[prompt], &mut cache, &mut launches).map_err(|e| e.to_string())?;
    let step = model.step(&[Some(5)], &mut cache, &mut launches).map_err(|e| e.to_string())?;
    let mut all = read(prefill.logits).await?;
    all.extend(read(step).await?);
    Ok(all)
}

/// A Qwen2.5-VL of two layers and two blocks, with grouped heads, one block in windows and one over everything.
fn model(device: &Device) -> Result<Model, String> {
    let config = json!({
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "image_token_id": 60,
        "video_token_id": 61, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        "vision_config": {
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
    });
    let config = Config::from_json(&config.to_string()).map_err(|e| e.to_string())?;
    let mut header = Map::new();
    let mut values: Vec<u8> = Vec::new();
    for (name, shape) in expected_tensors(&config) {
        let from = values.len();
        let count: usize = shape.iter().product();
        // Norms near one and matrices of about unit gain keep every stage's numbers of one size.
        let (base, gain) = match shape[..] {
            [_] if name.ends_with("weight") => (1.0, 0.1),
            [_] => (0.0, 0.1),
            [rows, ..] => (0.0, (3.0 * rows as f32 / count as f32).sqrt()),
            [] => (0.0, 1.0),
        };
        values.extend((0..count).flat_map(|i| (base + gain * noise(from + i)).to_le_bytes()));
        let entry: Value = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, values.len()]});
        header.insert(name, entry);
    }
    let header = Value::Object(header).to_string();
    let shard = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &values].concat();
    let mut loader = Loader::new(&config, device, DType::F32);
    loader.shard("self-test", &shard, &mut |_| {}).map_err(|e| e.to_string())?;
    loader.finish().map_err(|e| e.to_string())
}

/// A number in -1..1 that looks random: the fractional part of multiples of the golden ratio.
fn noise(i: usize) -> f32 {
    ((i as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0) as f32
}

async fn read<const R: usize>(x: Tensor<R>) -> Result<Vec<f32>, String> {
    let data = x.into_data_async().await.map_err(|e| e.to_string())?;
    data.try_into_vec().map_err(|e| format!("{e:?}"))
}
