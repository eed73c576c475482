//! Continuous batching: what it computes, how often, and that no response depends on its neighbours.

use burn::tensor::Device;
use pollster::block_on;
use wethink_model::{
    Counts, FinishReason, Generation, Launches, Model, Options, Prompt, Request, Rollout, Row, Sampling,
    Sequence,
};
use wethink_trainer::grpo::prompts::Question;

use crate::fixtures::{Tiny, wgpu};

const SAMPLES: u32 = 5;

/// Many ids end a response, so that lengths differ.
fn options(temperature: f64, vocab: u32) -> Options {
    Options {
        sampling: Sampling { temperature, ..Sampling::default() },
        max_new_tokens: 24,
        min_new_tokens: 0,
        stop_ids: (0..vocab).filter(|id| id % 9 == 4).collect(),
        stop_strings: Vec::new(),
        seed: 11,
        step: 3,
    }
}

fn requests(tiny: &Tiny) -> Vec<Request<'_>> {
    let request =
        |(key, case)| Request { prompt: crate::fixtures::Case::prompt(case), key, samples: SAMPLES };
    (40..).zip(&tiny.cases).map(request).collect()
}

/// Every response, by request and sample.
fn rollout(
    model: &Model,
    requests: &[Request],
    rows: usize,
    options: &Options,
) -> (Vec<Sequence>, Counts, Launches) {
    let mut launches = Launches::new();
    let mut running =
        Rollout::new(model, requests, rows, options.clone(), None, &mut launches).expect("sound");
    let mut all = Vec::new();
    while let Some(ended) = block_on(running.next()).expect("sound prompts") {
        assert!(!ended.is_empty());
        all.extend(ended);
    }
    let counts = running.counts();
    all.sort_by_key(|sequence| (sequence.request, sequence.sample));
    (all, counts, launches)
}

fn assert_same(what: &str, got: &[Sequence], want: &[Sequence]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let address = (want.request, want.sample);
        assert_eq!((&got.ids, got.reason), (&want.ids, want.reason), "{what}: {address:?}");
        let off = got.logprobs.iter().zip(&want.logprobs).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off < 1e-4, "{what}: log-probabilities of {address:?} are off by {off}");
    }
}

#[test]
fn a_response_does_not_depend_on_what_else_is_under_way() {
    let tiny = Tiny::open().expect("the known answers can be read");
    let model = tiny.model(&Device::flex()).expect("the tiny checkpoint loads");
    let (requests, options) = (requests(&tiny), options(0.9, model.config().text.vocab_size as u32));
    let (alone, _, _) = rollout(&model, &requests, 1, &options);
    assert_eq!(alone.len(), requests.len() * SAMPLES as usize);
    for rows in [2, 7, 64] {
        assert_same(&format!("{rows} rows"), &rollout(&model, &requests, rows, &options).0, &alone);
    }
    let mut lengths: Vec<usize> = alone.iter().map(|sequence| sequence.ids.len()).collect();
    for sequence in &alone {
        // The id that ended a response is its last, and only there when one did.
        let ended = options.stop_ids.contains(sequence.ids.last().expect("a token"));
        assert_eq!(ended, sequence.reason == FinishReason::Stop);
        assert_eq!(sequence.ids.len(), sequence.logprobs.len());
        assert!(ended || sequence.ids.len() == options.max_new_tokens);
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 4, "responses of many lengths: {lengths:?}");
    // The same draws as generation of a batch that starts and ends together.
    let prompts: Vec<Prompt> = requests.iter().map(|request| request.prompt).collect();
    let rows: Vec<Row> = requests.iter().map(|request| Row { prompt: request.key, sample: 2 }).collect();
    let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().expect("prompts");
    let mut cache = model.cache(prompts.len(), longest + options.max_new_tokens);
    let mut launches = Launches::new();
    let generation =
        Generation::new(&model, &prompts, &rows, &mut cache, options.clone(), None, &mut launches);
    let mut generation = generation.expect("sound");
    while block_on(generation.next()).expect("sound").is_some() {}
    for (row, _) in prompts.iter().enumerate() {
        assert_eq!(generation.ids(row), alone[row * SAMPLES as usize + 2].ids, "prompt {row}");
    }
    let other = Options { step: 4, ..options };
    assert_ne!(rollout(&model, &requests, 7, &other).0, alone, "a step's draws are its own");
}

#[test]
fn prompts_are_computed_once_and_rows_are_never_left_waiting() {
    let tiny = Tiny::open().expect("the known answers can be read");
    let model = tiny.model(&Device::flex()).expect("the tiny checkpoint loads");
    let (requests, options) = (requests(&tiny), options(1.0, model.config().text.vocab_size as u32));
    let rows = 6;
    let (all, counts, launches) = rollout(&model, &requests, rows, &options);
    assert_eq!(counts.prefills, requests.len());
    let tokens: usize = requests.iter().map(|request| request.prompt.ids.len()).sum();
    assert_eq!(counts.prefill_tokens, tokens, "a prompt's tokens are computed once for all of its samples");
    let pictures: usize = requests.iter().map(|request| request.prompt.grids.len()).sum();
    assert_eq!(counts.pictures, pictures, "and so are its pictures");
    let with_pictures = requests.iter().filter(|request| !request.prompt.grids.is_empty()).count();
    let depth = model.config().vision.depth;
    assert_eq!(launches.of("rotate_qkv_cpu") as usize, with_pictures * depth);
    assert_eq!(counts.tokens, all.iter().map(|sequence| sequence.ids.len()).sum::<usize>());
    // Batches that start and end together take as many steps as their longest; the first token costs none.
    let lengths: Vec<usize> = all.iter().map(|sequence| sequence.ids.len() - 1).collect();
    let together: usize = lengths.chunks(rows).map(|batch| batch.iter().copied().max().unwrap_or(0)).sum();
    assert!(counts.steps < together, "{} steps, {together} without continuous batching", counts.steps);
    // Every row of every step works, but for the last ones, when nothing waits any more.
    let idle = counts.rows - lengths.iter().sum::<usize>();
    assert!(idle <= rows * options.max_new_tokens, "{idle} rows idled");
}

/// Sampling against the path that gradients take, at a temperature: rows of many lengths in one pass, and each alone.
fn compare(device: &Device, bound: f32) {
    let tiny = Tiny::open().expect("the known answers can be read");
    let model = tiny.model(device).expect("the tiny checkpoint loads");
    let requests = requests(&tiny);
    let mut options = options(0.7, model.config().text.vocab_size as u32);
    options.max_new_tokens = 12;
    let (all, _, _) = rollout(&model, &requests, 8, &options);
    let whole: Vec<_> = all
        .iter()
        .map(|sequence| {
            let case = &tiny.cases[sequence.request];
            let question = Question { row: 0, drawn: 0, encoded: case.encoded.clone().into() };
            question.answered(&sequence.ids).expect("positions")
        })
        .collect();
    let of = |part: &[wethink_trainer::grpo::prompts::Sequence], temperature| -> Vec<f32> {
        let prompts: Vec<_> = part.iter().map(|sequence| sequence.prompt()).collect();
        let wanted: Vec<_> = part.iter().map(|sequence| sequence.response.clone()).collect();
        let logprobs = model.logprobs(&prompts, &wanted, temperature, &mut Launches::new()).expect("sound");
        block_on(logprobs.into_data_async()).expect("the device works").try_into_vec().expect("float32")
    };
    let sampled: Vec<f32> = all.iter().flat_map(|sequence| sequence.logprobs.clone()).collect();
    let worst = |values: &[f32]| {
        assert_eq!(values.len(), sampled.len());
        values.iter().zip(&sampled).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()))
    };
    let together: Vec<f32> = whole.chunks(6).flat_map(|part| of(part, 0.7)).collect();
    let alone: Vec<f32> =
        whole.iter().step_by(3).flat_map(|one| of(std::slice::from_ref(one), 0.7)).collect();
    let (off, tokens) = (worst(&together), together.len());
    eprintln!("sampling and training differ by at most {off:.2e} over {tokens} tokens");
    assert!(off <= bound, "{off} over {tokens} tokens");
    let mut at = 0;
    let mut place = 0;
    for (index, sequence) in whole.iter().enumerate() {
        let count = sequence.response.len();
        if index % 3 == 0 {
            let (one, padded) = (&alone[at..at + count], &together[place..place + count]);
            let off = one.iter().zip(padded).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
            assert!(off <= bound, "row {index} beside others is off by {off}");
            at += count;
        }
        place += count;
    }
    // The temperature belongs to both paths: without it they are far apart.
    let other: Vec<f32> = whole.chunks(6).flat_map(|part| of(part, 1.0)).collect();
    assert!(worst(&other) > 100.0 * bound, "a temperature that is left out must show");
}

#[test]
fn sampled_log_probabilities_are_those_of_training_on_flex() {
    compare(&Device::flex(), 1e-4);
}

#[test]
fn sampled_log_probabilities_are_those_of_training_on_wgpu() {
    compare(&wgpu(), 1e-3);
}

/// Text does not always turn into the ids it came from: what was sampled is trained on as ids.
#[test]
fn sampled_ids_are_trained_on_as_they_are() {
    let tiny = Tiny::open().expect("the known answers can be read");
    let tokenizer = &tiny.processor.tokenizer;
    let whole = tokenizer.encode("the").expect("ids");
    let apart: Vec<u32> = ["t", "h", "e"].iter().flat_map(|c| tokenizer.encode(c).expect("ids")).collect();
    let text = tokenizer.decode(&apart, false).expect("text");
    assert_eq!(text, tokenizer.decode(&whole, false).expect("text"));
    assert_ne!(apart, whole, "two ways to write one text");
    let case = &tiny.cases[0];
    let question = Question { row: 0, drawn: 0, encoded: case.encoded.clone().into() };
    let sequence = question.answered(&apart).expect("positions");
    assert_eq!(sequence.prompt().ids[sequence.response.clone()], apart);
    assert_eq!(sequence.prompt().ids[..sequence.response.start], case.encoded.ids);
    assert_eq!(sequence.prompt().positions.len(), sequence.tokens());
}
