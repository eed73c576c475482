//! What a pass is laid out like must not show in its result: packed rows, chunks, layers computed again, features kept.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};
use wethink_model::{Economy, Features, Launches, Model, Prompt};
use wethink_trainer::train::features;
use wethink_trainer::train::gradients::Gradients;
use wethink_trainer::train::lora::{Lora, of_adapter};
use wethink_trainer::train::samples::Sample;

use crate::fixtures::{assert_close, wgpu};
use crate::golden_train::{ALL, Known, distance, gradients_equal_the_reference, values};

/// Chunks of a few targets and of one to three queries: V is 1088, the longest row some 150 tokens by 6 heads.
const SMALL: usize = 5000;

/// Everything that can be asked for, at once.
const ALL_AT_ONCE: Economy = Economy { packed: true, recompute_layers: true, at_once: SMALL };

fn bits(gradients: &Gradients) -> Vec<(String, Vec<u32>)> {
    let words = |value: &Tensor<1>| values(value.clone()).into_iter().map(f32::to_bits).collect();
    gradients.iter().map(|(name, value)| (name.to_owned(), words(value))).collect()
}

fn assert_near(what: &str, got: &Gradients, want: &Gradients) {
    let names = |gradients: &Gradients| gradients.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(got), names(want), "{what}");
    for (name, gradient) in want.iter() {
        let other = got.of(name).expect("the names agree").clone();
        let error = distance(&values(other), &values(gradient.clone()));
        assert!(error <= 2e-5, "{what}, {name}: off by {error}");
    }
}

/// Adapters beside every map, none of them zero.
fn adapted(model: Model) -> Model {
    let lora = Lora {
        rank: 3,
        alpha: 6.0,
        rslora: false,
        dropout: 0.0,
        targets: vec!["*".into()],
        learning_rate: 0.0,
        weight_decay: 0.0,
    };
    let mut place = 0f32;
    lora.adapt(model, 1).map_parameters(&mut |name, value| {
        if !of_adapter(name) {
            return value;
        }
        place += 1.0;
        let waves = Tensor::<1, Int>::arange(0..value.dims()[0] as i64, &value.device()).float();
        value + waves.add_scalar(place).sin().mul_scalar(0.05)
    })
}

#[test]
fn layers_computed_again_have_the_same_gradient_bits() {
    let known = Known::open();
    let base = known.model(&Device::flex());
    let adapters = adapted(base.clone());
    for (what, model, trained) in
        [("all", &base, ALL), ("adapters", &adapters, &of_adapter as &dyn Fn(&str) -> bool)]
    {
        for packed in [false, true] {
            for at_once in [Economy::default().at_once, SMALL] {
                let kept = Economy { packed, recompute_layers: false, at_once };
                let again = Economy { recompute_layers: true, ..kept };
                let (loss, want) = known.gradients_within(model, &[3], trained, &kept);
                let (same, got) = known.gradients_within(model, &[3], trained, &again);
                assert_eq!(same.to_bits(), loss.to_bits(), "{what}, {kept:?}");
                let (want, got) = (bits(&want), bits(&got));
                assert_eq!(want.len(), got.len(), "{what}, {kept:?}");
                for (want, got) in want.into_iter().zip(got) {
                    assert!(want == got, "{what}, {kept:?}: {} differs", want.0);
                }
            }
        }
    }
}

/// Log-probabilities of every token but the first, under each of the layouts.
#[test]
fn packed_padded_and_single_rows_have_the_same_log_probabilities() {
    let known = Known::open();
    let model = known.model(&Device::flex());
    let rows: Vec<Prompt> = known.samples.iter().map(Sample::prompt).collect();
    let wanted: Vec<Range<usize>> = rows.iter().map(|row| 1..row.ids.len()).collect();
    let of = |rows: &[Prompt], wanted: &[Range<usize>], economy: &Economy| {
        let launches = &mut Launches::new();
        values(model.logprobs_within(rows, wanted, 0.7, economy, None, launches).expect("sound prompts"))
    };
    let single: Vec<f32> = rows
        .iter()
        .zip(&wanted)
        .flat_map(|(row, wanted)| of(&[*row], std::slice::from_ref(wanted), &Economy::default()))
        .collect();
    for packed in [false, true] {
        for at_once in [Economy::default().at_once, SMALL] {
            let economy = Economy { packed, recompute_layers: false, at_once };
            assert_close(&format!("{economy:?}"), &of(&rows, &wanted, &economy), &single);
        }
    }
    // No row sees the one before it, whichever that is.
    let swapped = of(&[rows[1], rows[0]], &[wanted[1].clone(), wanted[0].clone()], &ALL_AT_ONCE);
    assert_close("swapped", &swapped[wanted[1].len()..], &single[..wanted[0].len()]);
}

#[test]
fn packed_padded_and_single_rows_have_the_same_gradient() {
    let known = Known::open();
    let base = known.model(&Device::flex());
    let adapters = adapted(base.clone());
    for (what, model, trained) in
        [("all", &base, ALL), ("adapters", &adapters, &of_adapter as &dyn Fn(&str) -> bool)]
    {
        let (_, single) = known.gradients(model, &[1, 1, 1], trained);
        let (_, padded) = known.gradients(model, &[3], trained);
        assert_near(&format!("{what}, padded"), &padded, &single);
        for economy in [
            Economy { packed: true, ..Economy::default() },
            Economy { at_once: SMALL, ..Economy::default() },
            Economy { at_once: 1, packed: true, recompute_layers: false },
            ALL_AT_ONCE,
        ] {
            let (_, got) = known.gradients_within(model, &[3], trained, &economy);
            assert_near(&format!("{what}, {economy:?}"), &got, &single);
        }
    }
}

#[test]
fn golden_train_everything_at_once_has_the_references_gradients() {
    gradients_equal_the_reference(&Device::flex(), &ALL_AT_ONCE);
}

#[test]
fn golden_train_on_wgpu_everything_at_once_has_the_references_gradients() {
    gradients_equal_the_reference(&wgpu(), &ALL_AT_ONCE);
}

/// A store that counts how often the tower is asked, over the one of the trainer.
struct Counted(features::Store, usize);

impl Features for Counted {
    fn of(&mut self, patches: &[f32], grid: [usize; 3], compute: &mut dyn FnMut() -> Tensor<2>) -> Tensor<2> {
        let Self(store, runs) = self;
        store.of(patches, grid, &mut || {
            *runs += 1;
            compute()
        })
    }
}

#[test]
fn a_frozen_tower_runs_once_for_each_distinct_picture() {
    let known = Known::open();
    let model = adapted(known.model(&Device::flex()));
    let rows: Vec<Prompt> = known.samples.iter().chain(&known.samples).map(Sample::prompt).collect();
    let wanted: Vec<_> =
        known.samples.iter().chain(&known.samples).map(|sample| sample.response.clone()).collect();
    let mut pictures = Vec::new();
    for row in &rows {
        let mut rest = row.patches;
        for grid in row.grids {
            let (picture, after) =
                rest.split_at(grid.iter().product::<usize>() * model.config().vision.patch_len());
            rest = after;
            if !pictures.contains(&(grid, picture)) {
                pictures.push((grid, picture));
            }
        }
    }
    assert!(!pictures.is_empty(), "a batch without pictures proves nothing");
    let width = model.config().vision.out_hidden_size;
    let mut store = Counted(features::Store::new(&Device::flex(), model.dtype(), width, 1 << 30), 0);
    let of = |store: Option<&mut dyn Features>| {
        let (economy, launches) = (Economy::default(), &mut Launches::new());
        values(model.logprobs_within(&rows, &wanted, 1.0, &economy, store, launches).expect("sound prompts"))
    };
    let want = of(None);
    let first = of(Some(&mut store));
    assert_close("through the store", &first, &want);
    assert_eq!(of(Some(&mut store)), first, "kept features are the computed ones");
    assert_eq!((store.1, store.0.computed), (pictures.len(), pictures.len() as u64));
}
