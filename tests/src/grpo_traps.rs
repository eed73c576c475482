//! What goes wrong when GRPO is written anew, and the test that would see it. Evidence for each is in the trackers of verl, TRL,
//! EasyR1, AReaL and R1-V; the tests of this file are those that have no better place.
//!
//! | trap | test |
//! |---|---|
//! | sampling and training compute two policies | `rollout::sampled_log_probabilities_are_those_of_training_on_{flex,wgpu}`, `grpo::a_run_leaves_every_response…` (ratio 1, mismatch), `grpo::alarms_save_the_run…` |
//! | softmax in half precision | [`log_probabilities_are_those_of_float64_whatever_the_logits_come_in`] |
//! | temperature left out of training | [`log_probabilities_are_those_of_float64_whatever_the_logits_come_in`] (three tokens, T = 0.7), `rollout::compare` (T left out must show) |
//! | top-p, top-k in sampling | `recipe::tests::the_defaults_are_easyr1s`, `…::shipped_recipes_are_complete…` (off); [`log_probabilities_know_nothing_of_top_p`] |
//! | padding, positions, packing | `rollout::compare` (alone, beside others), `economy::*`, `sft::layouts_train_alike…`, `grpo::adapters_take…` (packed) |
//! | image tokens against features, cut prompts | `golden_processor`, `hostile`; [`a_prompt_is_left_out_or_whole`] |
//! | responses turned into ids again | `rollout::sampled_ids_are_trained_on_as_they_are` |
//! | the end of a response not in the loss, padding that is an end, several ends | [`only_the_places_of_a_response_carry_loss`], `rollout::a_response_does_not_depend…` |
//! | responses cut off | `grpo::what_is_cut_off_is_masked_or_not…`, `reward::policy` (length penalty) |
//! | groups of equal rewards, groups of one | `advantage::equal_rewards_give_exactly_nothing`, `…::a_group_of_one_is_refused`, `grpo::equal_rewards_move_nothing_at_all`, `grpo::recipes_and_rows_that_do_not_fit…` |
//! | deviation by n in place of n − 1, its epsilon | `advantage::the_deviation_is_not_that_of_the_whole_population`, `…::two_hits_among_eight…`, `golden_grpo` |
//! | means of micro-batches | `policy::parts_of_any_size_add_up…`, `…::each_average_weighs…`, `grpo::micro_batches_and_rows…` |
//! | the divergence's gradient | `policy::enumerable::each_divergences_expected_gradient_is_known` |
//! | a loss near 0 taken for a fault | `policy::the_first_update_after_sampling…`, `grpo::a_run_leaves…` (loss near 0, gradient not) |
//! | advantages on prompt or padding | [`only_the_places_of_a_response_carry_loss`], `policy::a_response_without_tokens…` |
//! | rewards that are missing or no number | `advantage::what_has_no_reward_leaves_its_groups_baseline`, `grpo_rewards::what_a_judge_mumbles…` |
//! | prompts repeated or skipped, draws lost on resumption | `grpo::ctrl_c_and_resumption…`, `kills::a_run_of_grpo_killed…` |
//! | dropout between sampling and training | `grpo::adapters_take…` (refused) |
//! | a loss masked to nothing | `grpo::a_run_leaves…` (tokens above 0) |
//!
//! Deliberately absent: importance sampling against a mismatch (TIS, IcePop). Both paths are one set of kernels here, their
//! distance is measured in every step, and beyond its limit the run stops.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use pollster::block_on;
use wethink_kernels::{Launches, logprobs};
use wethink_model::{Options, Request, Rollout, Sampling};
use wethink_trainer::grpo::prompts::Question;

use crate::fixtures::Tiny;
use crate::runs::{Bench, metrics};

fn read(x: Tensor<1>) -> Vec<f32> {
    x.into_data().convert_dtype(DType::F32).try_into_vec().expect("floats")
}

/// `log softmax(logits / temperature)` in float64.
fn exact(logits: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = logits.iter().map(|&x| f64::from(x) / temperature).collect();
    let most = scaled.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(x));
    let sum: f64 = scaled.iter().map(|x| (x - most).exp()).sum();
    scaled.iter().map(|x| x - most - sum.ln()).collect()
}

#[test]
fn log_probabilities_are_those_of_float64_whatever_the_logits_come_in() {
    // Large and close together: half precision would lose the last of them altogether.
    let logits = [60.0f32, 59.75, 12.0];
    for dtype in [DType::F32, DType::BF16] {
        for temperature in [0.7, 1.0] {
            let device = Device::flex();
            let rows = TensorData::new(logits.repeat(3), [3, 3]).convert_dtype(dtype);
            let rows = Tensor::<2>::from_data(rows, (&device, dtype));
            let ids = Tensor::<1, Int>::from_data(TensorData::new(vec![0i32, 1, 2], [3]), &device);
            let got = logprobs(rows, ids, temperature, &mut Launches::new());
            assert_eq!(got.dtype(), DType::F32);
            for (got, want) in read(got).into_iter().zip(exact(&logits, temperature)) {
                let off = (f64::from(got) - want).abs();
                assert!(off <= 1e-5 * want.abs().max(1.0), "{dtype:?}, T = {temperature}: {got}, not {want}");
            }
        }
    }
}

/// What is recorded belongs to the whole distribution, which is the one that is trained: a narrower one that sampled shows as
/// responses that are likelier than they say, never as another record.
#[test]
fn log_probabilities_know_nothing_of_top_p() {
    let tiny = Tiny::own().expect("the known answers can be read");
    let model = tiny.model(&Device::flex()).expect("the tiny checkpoint loads");
    let case = &tiny.cases[0];
    let request = Request { prompt: case.prompt(), key: 3, samples: 6 };
    let options = Options {
        sampling: Sampling { temperature: 1.0, top_p: Some(0.3), ..Sampling::default() },
        max_new_tokens: 6,
        min_new_tokens: 0,
        stop_ids: Vec::new(),
        stop_strings: Vec::new(),
        seed: 2,
        step: 1,
    };
    let mut launches = Launches::new();
    let requests = [request];
    let mut running = Rollout::new(&model, &requests, 6, options, None, &mut launches).expect("sound");
    let mut all = Vec::new();
    while let Some(ended) = block_on(running.next()).expect("sound") {
        all.extend(ended);
    }
    assert_eq!(all.len(), 6);
    for sequence in all {
        let question = Question { row: 0, drawn: 0, encoded: case.encoded.clone().into() };
        let whole = question.answered(&sequence.ids).expect("positions");
        let wanted = [whole.response.clone()];
        let trained = model.logprobs(&[whole.prompt()], &wanted, 1.0, &mut Launches::new()).expect("sound");
        for (a, b) in read(trained).iter().zip(&sequence.logprobs) {
            assert!((a - b).abs() < 1e-4, "{a} and {b}");
        }
    }
}

/// Two responses that hold the ids of padding and of an end: lengths alone say what is a token, and each token's
/// log-probability is that of its own place.
#[test]
fn only_the_places_of_a_response_carry_loss() {
    let tiny = Tiny::own().expect("the known answers can be read");
    let model = tiny.model(&Device::flex()).expect("the tiny checkpoint loads");
    let (end, pad) = (1002, 1000);
    let responses = [vec![17, pad, 23, end], vec![end, 31, pad, pad, 40, 52, end]];
    let whole: Vec<_> = tiny
        .cases
        .iter()
        .zip(&responses)
        .map(|(case, ids)| {
            let question = Question { row: 0, drawn: 0, encoded: case.encoded.clone().into() };
            question.answered(ids).expect("positions")
        })
        .collect();
    let prompts: Vec<_> = whole.iter().map(|sequence| sequence.prompt()).collect();
    let of = |wanted: &[std::ops::Range<usize>]| {
        read(model.logprobs(&prompts, wanted, 1.0, &mut Launches::new()).expect("sound"))
    };
    let own: Vec<_> = whole.iter().map(|sequence| sequence.response.clone()).collect();
    let everything: Vec<_> = whole.iter().map(|sequence| 1..sequence.tokens()).collect();
    let (own_logprobs, all) = (of(&own), of(&everything));
    assert_eq!(own_logprobs.len(), 4 + 7);
    let mut from = 0;
    let mut expected = Vec::new();
    for (range, whole) in own.iter().zip(&everything) {
        expected.extend_from_slice(&all[from + range.start - 1..from + range.end - 1]);
        from += whole.len();
    }
    for (got, want) in own_logprobs.iter().zip(&expected) {
        assert!((got - want).abs() < 1e-5, "{own_logprobs:?}, expected {expected:?}");
    }
}

/// A prompt beyond its limit is left out and counted; nothing is ever cut, a picture least of all.
#[test]
fn a_prompt_is_left_out_or_whole() {
    let bench = Bench::new();
    bench.succeed(&mut bench.grpo("all", &["train.steps=1", "train.prompts=6", "train.mini_batch=6"]));
    let all = metrics(&bench.path("all")).remove(0);
    let tokens = all["sampling"]["prompt_tokens"].as_u64().expect("a number");
    // Some are shorter than the mean, and some longer.
    let limit = format!("data.max_prompt_tokens={}", tokens / 6);
    bench.succeed(
        &mut bench.grpo("short", &[&limit, "train.steps=1", "train.prompts=3", "train.mini_batch=3"]),
    );
    let short = metrics(&bench.path("short")).remove(0);
    assert!(short["dropped"].as_u64().expect("a number") > 0, "{short}");
    assert_eq!(short["groups"]["sampled"], 3);
    assert!(short["sampling"]["prompt_tokens"].as_u64().expect("a number") <= 3 * (tokens / 6), "{short}");
}
