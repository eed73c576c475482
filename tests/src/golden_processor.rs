//! The processor against transformers and Pillow: every chat of `tiny-qwen2_5_vl`, every file, resize and size of
//! `images`. Names and numbers come from the files; another set in `WETHINK_FIXTURES` brings its own.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;
use wethink_processor::{
    Encoded, Options, Picture, PreprocessorConfig, Processor, messages_from_json, positions, resize,
    smart_resize,
};

use crate::fixtures;

/// The bound on `pixel_values` of lossless files.
const PIXEL_BOUND: f32 = 1e-6;
/// Qwen2.5-VL's patch and merge sizes, with which the sizes of `images` were made.
const FACTOR: usize = 14 * 2;

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a Vec<Value> {
    value[key].as_array().unwrap_or_else(|| panic!("`{key}` is a list"))
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is a count")) as usize
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is a string"))
}

fn picture(path: &Path) -> Picture {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Picture::decode(&path.display().to_string(), &bytes).unwrap()
}

/// One chat of the tiny set: what it says, what we make of it, and the tensors the reference made.
struct Case {
    name: String,
    answer: Value,
    processor: Processor,
    encoded: Encoded,
    tensors: Vec<u8>,
}

impl Case {
    fn tensor<T>(&self, name: &str, width: usize, read: impl Fn(&[u8]) -> T) -> Option<Vec<T>> {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let tensor = tensors.tensor(name).ok()?;
        Some(tensor.data().chunks_exact(width).map(read).collect())
    }

    fn integers(&self, name: &str) -> Option<Vec<i64>> {
        self.tensor(name, 8, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
    }

    fn floats(&self, name: &str) -> Option<Vec<f32>> {
        self.tensor(name, 4, |bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
    }
}

fn cases() -> Vec<Case> {
    let dir = fixtures::dir().join("tiny-qwen2_5_vl");
    let answers = json(&dir.join("cases.json"));
    let answers = answers["cases"].as_object().expect("`cases` is a table");
    assert!(!answers.is_empty(), "there is at least one case");
    let one = |(name, answer): (&String, &Value)| {
        let processor = Processor::from_dir(&dir.join("checkpoint")).unwrap();
        let messages = messages_from_json("cases.json", answer["messages"].to_string().as_bytes()).unwrap();
        let files = list(answer, "images").iter().map(|file| dir.join("images").join(text(file)));
        let pictures: Vec<Picture> = files.map(|file| picture(&file)).collect();
        let encoded = processor.process(&messages, &pictures, &Options::default()).unwrap();
        assert_eq!(
            processor.render(&messages, &Options::default()).unwrap(),
            text(&answer["prompt_unexpanded"]),
            "{name}"
        );
        let tensors = std::fs::read(dir.join(format!("{name}.safetensors"))).unwrap();
        Case { name: name.clone(), answer: answer.clone(), processor, encoded, tensors }
    };
    answers.iter().map(one).collect()
}

#[test]
fn prompts_and_ids_equal_the_reference() {
    for case in cases() {
        assert_eq!(case.encoded.prompt, text(&case.answer["prompt"]), "{}", case.name);
        let ids: Vec<i64> = case.encoded.ids.iter().map(|&id| id.into()).collect();
        assert_eq!(Some(ids), case.integers("input_ids"), "{}", case.name);
        assert_eq!(case.encoded.ids.len(), number(&case.answer["n_tokens"]), "{}", case.name);
    }
}

#[test]
fn patches_and_grids_equal_the_reference() {
    let mut seen = 0;
    for case in cases() {
        let grids: Vec<i64> = case.encoded.grids.iter().flatten().map(|&n| n as i64).collect();
        assert_eq!(grids, case.integers("image_grid_thw").unwrap_or_default(), "{}", case.name);
        let wanted = case.floats("pixel_values").unwrap_or_default();
        assert_eq!(case.encoded.pixel_values.len(), wanted.len(), "{}", case.name);
        let worst =
            case.encoded.pixel_values.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= PIXEL_BOUND, "{}: a patch value is off by {worst}", case.name);
        seen += wanted.len();
    }
    assert!(seen > 0, "some case has a picture");
}

#[test]
fn positions_equal_the_reference() {
    for case in cases() {
        let wanted = case.integers("position_ids").expect("every case has positions");
        let axes = (0..3).flat_map(|axis| case.encoded.positions.iter().map(move |p| i64::from(p[axis])));
        assert_eq!(axes.collect::<Vec<_>>(), wanted, "{}", case.name);
        assert_eq!(Some(case.encoded.rope_delta), case.answer["rope_delta"].as_i64(), "{}", case.name);
    }
}

/// Not only whole cases: a picture less, or a token less, must not pass unnoticed.
#[test]
fn positions_refuse_other_counts_than_the_grids() {
    let mut seen = 0;
    for case in cases() {
        let (processor, encoded) = (&case.processor, &case.encoded);
        let merge = processor.preprocessor.merge_size;
        let Some(first) = encoded.ids.iter().position(|&id| id == processor.image_token_id) else {
            continue;
        };
        let mut short = encoded.ids.clone();
        short.remove(first);
        let error =
            positions(&short, &encoded.grids, processor.image_token_id, merge).unwrap_err().to_string();
        let features = encoded.grids[0].iter().product::<usize>() / (merge * merge);
        assert!(error.contains(&features.to_string()), "{error}");
        assert!(error.contains(&(features - 1).to_string()), "{error}");
        let fewer = &encoded.grids[1..];
        assert!(positions(&encoded.ids, fewer, processor.image_token_id, merge).is_err(), "{}", case.name);
        seen += 1;
    }
    assert!(seen > 0, "some case has a picture");
}

#[test]
fn greedy_answers_decode_and_stream_alike() {
    for case in cases() {
        let ids: Vec<u32> = list(&case.answer, "greedy").iter().map(|id| number(id) as u32).collect();
        let tokenizer = &case.processor.tokenizer;
        let wanted = text(&case.answer["greedy_text"]);
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), wanted, "{}", case.name);
        let mut stream = tokenizer.stream(false);
        let pieces: String = ids.iter().map(|&id| stream.push(id)).collect();
        assert_eq!(pieces + &stream.finish(), wanted, "{}", case.name);
    }
}

fn images() -> (PathBuf, Value) {
    let dir = fixtures::dir().join("images");
    let answers = json(&dir.join("known_answers.json"));
    (dir, answers)
}

#[test]
fn formats_decode_as_pillow_reads_them() {
    let (dir, answers) = images();
    let formats = list(&answers, "formats");
    assert!(!formats.is_empty(), "there is at least one file");
    for entry in formats {
        let (ours, wanted) =
            (picture(&dir.join(text(&entry["file"]))), picture(&dir.join(text(&entry["want"]))));
        assert_eq!((ours.width(), ours.height()), (wanted.width(), wanted.height()), "{entry}");
        let worst = ours.rgb().iter().zip(wanted.rgb()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(
            worst.is_some_and(|worst| usize::from(worst) <= number(&entry["max_abs"])),
            "{entry}: {worst:?}"
        );
    }
}

#[test]
fn resizes_equal_pillow_bit_for_bit() {
    let (dir, answers) = images();
    let resizes = list(&answers, "resize");
    assert!(!resizes.is_empty(), "there is at least one resize");
    for entry in resizes {
        let (input, wanted) =
            (picture(&dir.join(text(&entry["input"]))), picture(&dir.join(text(&entry["want"]))));
        let (width, height) = (number(&entry["size"][0]), number(&entry["size"][1]));
        assert_eq!((width, height), (wanted.width(), wanted.height()), "{entry}");
        let ours = resize(input.rgb(), input.width(), input.height(), width, height);
        assert!(ours == wanted.rgb(), "{entry}: the pixels differ");
    }
}

#[test]
fn sizes_equal_the_reference() {
    let (_, answers) = images();
    let sizes = list(&answers, "smart_resize");
    assert!(!sizes.is_empty(), "there is at least one size");
    assert_eq!(PreprocessorConfig::from_json(b"{}").unwrap().factor(), FACTOR);
    for entry in sizes {
        let field = |key: &str| number(&entry[key]);
        let ours =
            smart_resize(field("height"), field("width"), FACTOR, field("min_pixels"), field("max_pixels"));
        match entry["out"].as_array() {
            Some(out) => assert_eq!(ours, Ok((number(&out[0]), number(&out[1]))), "{entry}"),
            None => assert!(ours.is_err(), "{entry}: the reference refuses it, we say {ours:?}"),
        }
    }
}
