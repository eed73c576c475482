//! The model against transformers in float32: every stored stage, every greedy token, and the ways of computing them
//! against each other.

use burn::tensor::{Device, Tensor};
use pollster::block_on;
use wethink_model::{
    Detokenize, FinishReason, Generation, KvCache, Launches, Model, Options, Row, Sampling, Token,
};

use crate::fixtures::{Case, Tiny, assert_close, wgpu};

/// Tokens of the reference's greedy runs.
const LENGTH: usize = 48;

struct Suite {
    tiny: Tiny,
    model: Model,
    stop_ids: Vec<u32>,
}

impl Suite {
    fn open(device: &Device) -> Self {
        let tiny = Tiny::open().expect("the known answers can be read");
        let model = tiny.model(device).expect("the tiny checkpoint loads");
        let stop_ids = tiny.folder.stop_ids(model.config()).expect("generation_config.json");
        Self { tiny, model, stop_ids }
    }

    /// The reference's settings: stop ids suppressed throughout.
    fn options(&self, penalty: f64) -> Options {
        Options {
            sampling: Sampling { repetition_penalty: penalty, ..Sampling::default() },
            max_new_tokens: LENGTH,
            min_new_tokens: LENGTH,
            stop_ids: self.stop_ids.clone(),
            stop_strings: Vec::new(),
            seed: 0,
            step: 0,
        }
    }

    /// Generates for some cases as one batch; rows keep the random key of their place in the set.
    fn generate(&self, cases: &[usize], options: &Options) -> Vec<(Vec<u32>, Vec<f32>)> {
        let prompts: Vec<_> = cases.iter().map(|&i| self.tiny.cases[i].prompt()).collect();
        let rows: Vec<_> = cases.iter().map(|&i| Row { prompt: i as u32, sample: 3 }).collect();
        let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        let mut cache = self.model.cache(cases.len(), longest + options.max_new_tokens);
        let mut launches = Launches::new();
        let options = options.clone();
        let mut generation =
            Generation::new(&self.model, &prompts, &rows, &mut cache, options, None, &mut launches)
                .expect("sound");
        while block_on(generation.next()).expect("the device works").is_some() {}
        (0..cases.len())
            .map(|row| (generation.ids(row).to_vec(), generation.logprobs(row).to_vec()))
            .collect()
    }

    fn all(&self) -> Vec<usize> {
        (0..self.tiny.cases.len()).collect()
    }
}

fn values<const R: usize>(tensor: Tensor<R>) -> Vec<f32> {
    block_on(tensor.into_data_async()).expect("the device works").try_into_vec().expect("float32")
}

fn every_stage_equals_the_reference(device: &Device) {
    let suite = Suite::open(device);
    for case in &suite.tiny.cases {
        let trace = suite.model.trace(&[case.prompt()], &mut Launches::new()).expect("a sound prompt");
        let name = |stage: &str| format!("{} {stage}", case.name);
        match (case.floats("vision_embeds"), trace.vision) {
            (Some(want), Some(got)) => assert_close(&name("vision_embeds"), &values(got), &want),
            (want, got) => assert_eq!(want.is_some(), got.is_some(), "{}: pictures", case.name),
        }
        for (i, hidden) in trace.hidden.into_iter().enumerate() {
            let stage = format!("hidden_{i}");
            let want = case.floats(&stage).unwrap_or_else(|| panic!("{}: no {stage}", case.name));
            assert_close(&name(&stage), &values(hidden), &want);
        }
        let want = case.floats("logits").expect("every case has logits");
        assert_close(&name("logits"), &values(trace.logits), &want);
    }
}

fn greedy_tokens_equal_the_reference(device: &Device) {
    let suite = Suite::open(device);
    for (field, penalty) in [("greedy", 1.0), ("greedy_repetition_penalty_1_05", 1.05)] {
        let batch = suite.generate(&suite.all(), &suite.options(penalty));
        for (i, case) in suite.tiny.cases.iter().enumerate() {
            let alone = suite.generate(&[i], &suite.options(penalty)).remove(0);
            assert_eq!(alone.0, case.ids(field), "{} {field}", case.name);
            assert_eq!(batch[i].0, alone.0, "{} {field}: in a batch and alone", case.name);
            assert_close(&format!("{} {field}: log-probabilities", case.name), &batch[i].1, &alone.1);
        }
    }
}

fn a_row_sampled_in_a_batch_equals_the_row_alone(device: &Device) {
    let suite = Suite::open(device);
    let sampling = Sampling { temperature: 0.8, top_k: Some(50), top_p: Some(0.95), repetition_penalty: 1.1 };
    let options = Options { sampling, max_new_tokens: 16, min_new_tokens: 0, seed: 11, ..suite.options(1.0) };
    let batch = suite.generate(&suite.all(), &options);
    for (i, row) in batch.iter().enumerate() {
        let alone = suite.generate(&[i], &options).remove(0);
        assert_eq!(row.0, alone.0, "{}", suite.tiny.cases[i].name);
    }
    let other = suite.generate(&suite.all(), &Options { seed: 12, ..options });
    assert_ne!(
        batch.iter().map(|row| &row.0).collect::<Vec<_>>(),
        other.iter().map(|row| &row.0).collect::<Vec<_>>()
    );
}

fn cached_logits_equal_uncached_ones(device: &Device) {
    let suite = Suite::open(device);
    for case in &suite.tiny.cases {
        let answer = &case.ids("greedy")[..4];
        let mut cache = suite.model.cache(1, case.encoded.ids.len() + answer.len());
        let mut launches = Launches::new();
        let prefill =
            suite.model.prefill(&[case.prompt()], &mut cache, &mut launches).expect("a sound prompt");
        let mut cached = vec![values(prefill.logits)];
        for &id in answer {
            let logits = suite.model.step(&[Some(id)], &mut cache, &mut launches).expect("room is left");
            cached.push(values(logits));
        }
        let whole = Longer::new(case, answer);
        let uncached =
            values(suite.model.trace(&[whole.prompt()], &mut launches).expect("a sound prompt").logits);
        let vocab = cached[0].len();
        for (i, got) in cached.iter().enumerate() {
            let row = case.encoded.ids.len() - 1 + i;
            assert_close(&format!("{} token {i}", case.name), got, &uncached[row * vocab..(row + 1) * vocab]);
        }
    }
}

fn a_further_turn_computes_only_new_tokens(device: &Device) {
    let suite = Suite::open(device);
    for case in &suite.tiny.cases {
        let further: Vec<u32> = case.ids("greedy")[..7].to_vec();
        let whole = Longer::new(case, &further);
        let mut launches = Launches::new();
        let mut cache = suite.model.cache(1, whole.ids.len());
        suite.model.prefill(&[case.prompt()], &mut cache, &mut launches).expect("a sound prompt");
        let again =
            suite.model.prefill(&[whole.prompt()], &mut cache, &mut launches).expect("a sound prompt");
        assert_eq!(again.computed_tokens, further.len(), "{}", case.name);
        assert_eq!(again.computed_pictures, 0, "{}", case.name);
        let fresh = prefilled(&suite.model, &whole, &mut suite.model.cache(1, whole.ids.len()));
        assert_close(&format!("{}: reused prefix", case.name), &values(again.logits), &fresh);

        // Another picture in the same place is computed anew, tokens after it included.
        if let Some(first) = case.encoded.ids.iter().position(|&id| id == suite.model.config().image_token_id)
        {
            let mut changed = Longer::new(case, &further);
            changed.patches.iter_mut().for_each(|value| *value = -*value);
            let other =
                suite.model.prefill(&[changed.prompt()], &mut cache, &mut launches).expect("a sound prompt");
            assert_eq!(other.computed_tokens, whole.ids.len() - first, "{}", case.name);
            assert_eq!(other.computed_pictures, case.encoded.grids.len(), "{}", case.name);
            let fresh = prefilled(&suite.model, &changed, &mut suite.model.cache(1, whole.ids.len()));
            assert_close(&format!("{}: changed picture", case.name), &values(other.logits), &fresh);
        }
    }
}

fn generation_ends_as_it_is_told(device: &Device) {
    let suite = Suite::open(device);
    let case = &suite.tiny.cases[0];
    let greedy = case.ids("greedy");
    // Stop at the first id that was not seen before it, so that the place is certain.
    let place = (3..LENGTH).find(|&i| !greedy[..i].contains(&greedy[i])).expect("some token is new");
    let run = |options: Options, detokenize: Option<Detokenize>, pulls: usize| {
        let mut cache = suite.model.cache(1, case.encoded.ids.len() + LENGTH);
        let mut launches = Launches::new();
        let row = [Row { prompt: 0, sample: 0 }];
        let mut generation = Generation::new(
            &suite.model,
            &[case.prompt()],
            &row,
            &mut cache,
            options,
            detokenize,
            &mut launches,
        )
        .expect("sound");
        for _ in 0..pulls {
            let Some(tokens) = block_on(generation.next()).expect("the device works") else {
                break;
            };
            assert!(matches!(tokens[..], [Token { row: 0, .. }]));
        }
        (generation.ids(0).to_vec(), generation.finish_reason(0))
    };
    let stop = Options { stop_ids: vec![greedy[place]], min_new_tokens: 0, ..suite.options(1.0) };
    assert_eq!(run(stop, None, 99), (greedy[..=place].to_vec(), FinishReason::Stop));
    // The stop id is the best token at that place, but may not be chosen yet.
    let late = Options { stop_ids: vec![greedy[place]], min_new_tokens: place + 1, ..suite.options(1.0) };
    let (ids, reason) = run(Options { max_new_tokens: place + 1, ..late }, None, 99);
    assert_eq!((&ids[..place], reason), (&greedy[..place], FinishReason::Length));
    assert_ne!(ids[place], greedy[place]);
    let length = Options { max_new_tokens: 5, min_new_tokens: 0, ..suite.options(1.0) };
    assert_eq!(run(length, None, 99), (greedy[..5].to_vec(), FinishReason::Length));
    let nothing = Options { max_new_tokens: 0, min_new_tokens: 0, ..suite.options(1.0) };
    assert_eq!(run(nothing, None, 99), (vec![], FinishReason::Length));
    assert_eq!(run(suite.options(1.0), None, 3), (greedy[..3].to_vec(), FinishReason::Cancelled));
    let decode = |ids: &[u32]| ids.iter().map(|id| format!("<{id}>")).collect::<String>();
    let text = Options { stop_strings: vec![decode(&greedy[place..=place])], ..suite.options(1.0) };
    assert_eq!(run(text, Some(&decode), 99), (greedy[..=place].to_vec(), FinishReason::Stop));
}

fn prefilled(model: &Model, whole: &Longer, cache: &mut KvCache) -> Vec<f32> {
    values(model.prefill(&[whole.prompt()], cache, &mut Launches::new()).expect("a sound prompt").logits)
}

/// A case with tokens added behind it.
struct Longer {
    ids: Vec<u32>,
    positions: Vec<[u32; 3]>,
    patches: Vec<f32>,
    grids: Vec<[usize; 3]>,
}

impl Longer {
    fn new(case: &Case, further: &[u32]) -> Self {
        let encoded = &case.encoded;
        let mut ids = encoded.ids.clone();
        let mut positions = encoded.positions.clone();
        for &id in further {
            let position = (ids.len() as i64 + encoded.rope_delta) as u32;
            ids.push(id);
            positions.push([position; 3]);
        }
        Self { ids, positions, patches: encoded.pixel_values.clone(), grids: encoded.grids.clone() }
    }

    fn prompt(&self) -> wethink_model::Prompt<'_> {
        wethink_model::Prompt {
            ids: &self.ids,
            positions: &self.positions,
            patches: &self.patches,
            grids: &self.grids,
        }
    }
}

/// Exactly these kernels run for a picture's prompt and one further token: none composed, none twice.
#[test]
fn golden_launches_are_those_of_the_architecture() {
    let device = wgpu();
    let suite = Suite::open(&device);
    let config = suite.model.config();
    let (layers, blocks) = (config.text.num_hidden_layers as u64, config.vision.depth as u64);
    let case =
        suite.tiny.cases.iter().find(|case| !case.encoded.grids.is_empty()).expect("a case with a picture");
    let mut cache = suite.model.cache(1, case.encoded.ids.len() + 1);
    let mut prefill = Launches::new();
    suite.model.prefill(&[case.prompt()], &mut cache, &mut prefill).expect("a sound prompt");
    let want = [
        ("add_rms_norm", 2 * blocks + 2 * layers),
        ("attention_prefill", layers),
        ("attention_vision", blocks),
        ("mrope_append", layers),
        ("rms_norm", 2),
        ("rope_vision", blocks),
        ("silu_mul", blocks + layers),
    ];
    assert_eq!(prefill.iter().collect::<Vec<_>>(), want);
    let mut decode = Launches::new();
    suite.model.step(&[Some(1)], &mut cache, &mut decode).expect("room is left");
    let want = [
        ("add_rms_norm", 2 * layers),
        ("attention_combine", layers),
        ("attention_decode", layers),
        ("mrope_append", layers),
        ("rms_norm", 1),
        ("silu_mul", layers),
    ];
    assert_eq!(decode.iter().collect::<Vec<_>>(), want);
    // A greedy token is chosen on the device: the logits stay there.
    let mut greedy = Launches::new();
    let options =
        Options { max_new_tokens: 3, min_new_tokens: 0, stop_ids: Vec::new(), ..suite.options(1.0) };
    let mut cache = suite.model.cache(1, case.encoded.ids.len() + 3);
    let row = [Row { prompt: 0, sample: 0 }];
    let mut generation =
        Generation::new(&suite.model, &[case.prompt()], &row, &mut cache, options, None, &mut greedy)
            .expect("sound");
    while block_on(generation.next()).expect("the device works").is_some() {}
    assert_eq!((greedy.of("argmax"), greedy.of("logprob_gather")), (3, 3));
    assert_eq!(greedy.of("attention_composed"), 0);
}

/// The same bodies on every device.
macro_rules! on {
    ($module:ident, $device:expr) => {
        mod $module {
            use super::*;

            #[test]
            fn golden_every_stage_equals_the_reference() {
                every_stage_equals_the_reference(&$device);
            }

            #[test]
            fn golden_greedy_tokens_equal_the_reference() {
                greedy_tokens_equal_the_reference(&$device);
            }

            #[test]
            fn golden_a_row_sampled_in_a_batch_equals_the_row_alone() {
                a_row_sampled_in_a_batch_equals_the_row_alone(&$device);
            }

            #[test]
            fn golden_cached_logits_equal_uncached_ones() {
                cached_logits_equal_uncached_ones(&$device);
            }

            #[test]
            fn golden_a_further_turn_computes_only_new_tokens() {
                a_further_turn_computes_only_new_tokens(&$device);
            }

            #[test]
            fn golden_generation_ends_as_it_is_told() {
                generation_ends_as_it_is_told(&$device);
            }
        }
    };
}

on!(flex, Device::flex());
on!(on_wgpu, wgpu());
#[cfg(feature = "cuda")]
on!(on_cuda, crate::fixtures::cuda());
