//! Exports in transformers, and transformers' own files here.
//!
//! Needs a Python with the packages of `tests/interop/train/requirements.txt`, named by `WETHINK_PYTHON`:
//!
//! ```text
//! WETHINK_PYTHON=venv/bin/python cargo test interop_ -- --ignored
//! ```

use std::path::Path;
use std::process::Command;

use burn::tensor::{DType, Device};
use safetensors::{Dtype, tensor::TensorView};
use wethink_model::{Launches, Model};
use wethink_trainer::folder::Folder;

use crate::commands::{run, trainer};
use crate::fixtures::{Case, Tiny, assert_close, interop};
use crate::runs::Bench;

/// Runs a script of `tests/interop`; its output.
pub fn python(script: &str, arguments: &[&Path]) -> String {
    let python = std::env::var_os("WETHINK_PYTHON").expect("WETHINK_PYTHON names a Python with transformers");
    let path = interop().join(script);
    let output = run(Command::new(python).arg(path).args(arguments));
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn logits(model: &Model, case: &Case) -> Vec<f32> {
    let trace = model.trace(&[case.prompt()], &mut Launches::new()).expect("a sound prompt");
    trace.logits.into_data().try_into_vec().expect("float32")
}

fn load(folder: &Path) -> Model {
    let folder = Folder::open(folder).expect("a checkpoint");
    folder.load(&Device::flex(), DType::F32, &mut |_, _| {}).expect("it loads")
}

/// Prompts and our logits as `roundtrip.py` reads them.
pub fn write_cases(path: &Path, tiny: &Tiny, model: &Model) {
    let bytes = |values: Vec<f32>| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let words = |values: Vec<i64>| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let mut tensors = Vec::new();
    for case in &tiny.cases {
        let prompt = case.prompt();
        let ids: Vec<i64> = prompt.ids.iter().map(|&id| i64::from(id)).collect();
        let grids: Vec<i64> = prompt.grids.iter().flatten().map(|&n| n as i64).collect();
        let (count, pictures) = (ids.len(), prompt.grids.len());
        let vocab = model.config().text.vocab_size;
        let mut add = |name: &str, dtype, shape, data| {
            tensors.push((format!("{}/{name}", case.name), dtype, shape, data));
        };
        add("ids", Dtype::I64, vec![1, count], words(ids));
        add("logits", Dtype::F32, vec![1, count, vocab], bytes(logits(model, case)));
        if pictures > 0 {
            let row = model.config().vision.patch_len();
            let rows = prompt.patches.len() / row;
            add("grids", Dtype::I64, vec![pictures, 3], words(grids));
            add("pixel_values", Dtype::F32, vec![rows, row], bytes(prompt.patches.to_vec()));
        }
    }
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).expect("shape and data agree"))
    });
    std::fs::write(path, safetensors::serialize(views, None).expect("serialised")).expect("written");
}

#[test]
#[ignore = "needs WETHINK_PYTHON; see the module's documentation"]
fn interop_an_export_loads_in_transformers_and_comes_back() {
    let bench = Bench::new();
    bench.succeed(&mut bench.sft("run", &["train.steps=3"]));
    let export = bench.path("export");
    let mut command = trainer();
    command.arg("export").arg(bench.path("run")).arg("--out").arg(&export).args(["--dtype", "f32"]);
    bench.succeed(&mut command);
    let tiny = Tiny::own().expect("the known answers can be read");
    let ours = load(&export);
    let before = tiny.model(&Device::flex()).expect("the tiny checkpoint loads");
    assert_ne!(logits(&ours, &tiny.cases[0]), logits(&before, &tiny.cases[0]), "training shows");
    let (cases, back) = (bench.path("cases.safetensors"), bench.path("back"));
    write_cases(&cases, &tiny, &ours);
    let errors = python("train/roundtrip.py", &[&export, &cases, &back]);
    eprintln!("largest differences of logits: {errors}");
    let returned = load(&back);
    for case in &tiny.cases {
        assert_close(&case.name, &logits(&returned, case), &logits(&ours, case));
    }
}
