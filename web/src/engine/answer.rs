//! One question, answered token by token.

use burn::tensor::Device;
use js_sys::{Array, Function, Promise, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wethink_model::{FinishReason, Generation, KvCache, Launches, Prompt, Row};
use wethink_processor::{Encoded, Options, Picture};
use wethink_reward::Response;
use wethink_web::fit::token_bytes;
use wethink_web::pace::Pace;
use wethink_web::parts::{Parts, Piece};
use wethink_web::request::Request;

use crate::error::Error;
use crate::folder::{Checkpoint, plain};
use crate::preflight::cache_fits;

/// What an answer needs beside its question.
pub struct Ask<'a> {
    /// The model and its files.
    pub checkpoint: &'a Checkpoint,
    /// Where it runs.
    pub device: &'a Device,
    /// Whether that is the CPU.
    pub cpu: bool,
    /// Takes new pieces, gives a promise of whether to go on.
    pub turn: &'a Function,
}

/// `last` of `wethink.d.ts`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Last<'a> {
    token_ids: &'a [u32],
    prompt_ids: &'a [u32],
    logprobs: &'a [f32],
    text: &'a str,
    think: Option<&'a str>,
    answer: Option<&'a str>,
    finish_reason: FinishReason,
    timing: Timing,
}

/// `timing` of `wethink.d.ts`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timing {
    image_tokens: usize,
    prompt_tokens: usize,
    prefill_tokens: usize,
    picture_ms: f64,
    first_token_ms: f64,
    decode_tokens: usize,
    decode_ms: f64,
    readings: usize,
    wasm_bytes: usize,
    gpu_bytes: Option<u64>,
    cache_tokens: usize,
    cache_bytes: u64,
    kernels: std::collections::BTreeMap<&'static str, u64>,
}

/// Answers, and gives `last` with the cache for the next turn.
pub async fn answer(
    ask: &Ask<'_>,
    request: JsValue,
    pictures: &Array,
    cache: Option<KvCache>,
) -> Result<(JsValue, KvCache), Error> {
    let Checkpoint { model, processor, stop_ids, context } = ask.checkpoint;
    let began = now();
    let request = Request::read(serde_wasm_bindgen::Deserializer::from(request))?;
    let options = request.options(stop_ids)?;
    let pace = request.pace()?;
    let pictures = pictures.iter().map(|pair| picture(&pair)).collect::<Result<Vec<_>, _>>()?;
    let encoded = processor.process(&request.messages()?, &pictures, &Options::default())?;
    let limit = context.unwrap_or(model.config().text.max_position_embeddings);
    let tokens = request.tokens(encoded.ids.len(), limit)?;
    let mut cache = match cache {
        Some(cache) if cache.capacity() >= tokens => cache,
        // Room for a further turn of the same length, so that it finds this one's keys and values.
        _ => room(ask, context.unwrap_or(limit.min(tokens + options.max_new_tokens + TURN)))?,
    };
    let prepared = now();
    let cache_tokens = cache.capacity();

    let mut launches = Launches::new();
    let prompt = prompt(&encoded);
    let row = [Row { prompt: 0, sample: 0 }];
    let detokenize = |ids: &[u32]| processor.tokenizer.decode(ids, false).unwrap_or_default();
    let mut generation =
        Generation::new(model, &[prompt], &row, &mut cache, options, Some(&detokenize), &mut launches)?;
    let Spoken { first, ended, readings } = speak(&mut generation, ask, pace).await?;

    let ids = generation.ids(0).to_vec();
    let mut timing = Timing {
        image_tokens: generation.prefill().image_tokens,
        prompt_tokens: encoded.ids.len(),
        prefill_tokens: generation.prefill().computed_tokens,
        picture_ms: prepared - began,
        first_token_ms: first - began,
        decode_tokens: ids.len(),
        decode_ms: ended - first,
        readings,
        wasm_bytes: core::arch::wasm32::memory_size(0) << 16,
        gpu_bytes: ask.device.memory_pool_usage().map(|usage| usage.bytes_reserved),
        cache_tokens,
        cache_bytes: token_bytes(model.config()) * cache_tokens as u64,
        kernels: Default::default(),
    };
    let spoken = ids.split_last().filter(|(id, _)| stop_ids.contains(id)).map_or(&ids[..], |(_, rest)| rest);
    let text = processor.tokenizer.decode(spoken, false)?;
    let (logprobs, finish_reason) = (generation.logprobs(0).to_vec(), generation.finish_reason(0));
    drop(generation);
    timing.kernels = launches.iter().collect();
    let response = Response::parse(&text);
    let last = Last {
        token_ids: &ids,
        prompt_ids: &encoded.ids,
        logprobs: &logprobs,
        text: &text,
        think: response.think,
        answer: response.answer.map(|piece| piece.text),
        finish_reason,
        timing,
    };
    Ok((plain(&last)?, cache))
}

/// What came of [`speak`]: when the first token came and the last, and how often the device was waited for.
struct Spoken {
    first: f64,
    ended: f64,
    readings: usize,
}

/// Hands over the answer's pieces as they come, until it ends or nobody wants more.
async fn speak(generation: &mut Generation<'_>, ask: &Ask<'_>, mut pace: Pace) -> Result<Spoken, Error> {
    let Checkpoint { processor, stop_ids, .. } = ask.checkpoint;
    let mut stream = processor.tokenizer.stream(false);
    let mut parts = Parts::default();
    let (mut first, mut readings) = (None, 0);
    loop {
        let reads = generation.waiting() == 0;
        let since = now();
        generation.ahead(pace.tokens());
        let Some(tokens) = generation.next().await? else { break };
        if reads {
            readings += 1;
            // The first one waits for the prompt.
            if first.is_some() {
                pace.took(generation.waiting() + 1, now() - since);
            }
        }
        first.get_or_insert_with(now);
        let spoken = tokens.iter().filter(|token| !stop_ids.contains(&token.id));
        let text: String = spoken.map(|token| stream.push(token.id)).collect();
        if !turn(ask.turn, parts.push(&text)).await? {
            break;
        }
    }
    let ended = now();
    let mut rest = parts.push(&stream.finish());
    rest.extend(parts.finish());
    turn(ask.turn, rest).await?;
    Ok(Spoken { first: first.unwrap_or(ended), ended, readings })
}

/// Tokens that a further question is expected to take, its tags included.
const TURN: usize = 256;

/// A cache for this many tokens.
fn room(ask: &Ask<'_>, tokens: usize) -> Result<KvCache, Error> {
    let model = &ask.checkpoint.model;
    if ask.cpu {
        cache_fits(model.config(), tokens)?;
    }
    Ok(model.cache(1, tokens))
}

fn prompt(encoded: &Encoded) -> Prompt<'_> {
    Prompt {
        ids: &encoded.ids,
        positions: &encoded.positions,
        patches: &encoded.pixel_values,
        grids: &encoded.grids,
    }
}

fn picture(pair: &JsValue) -> Result<Picture, Error> {
    let pair: &Array = pair.unchecked_ref();
    let name = pair.get(0).as_string().unwrap_or_default();
    let bytes = pair.get(1).dyn_ref::<Uint8Array>().map(Uint8Array::to_vec).unwrap_or_default();
    Ok(Picture::decode(&name, &bytes)?)
}

/// Hands pieces over and waits; true to go on.
async fn turn(turn: &Function, pieces: Vec<Piece>) -> Result<bool, Error> {
    let pairs = pieces.iter().map(|(kind, text)| Array::of2(&kind.name().into(), &text.into()));
    let promise = turn.call1(&JsValue::NULL, &pairs.collect::<Array>()).map_err(Error::Script)?;
    let go_on = JsFuture::from(Promise::resolve(&promise)).await.map_err(Error::Script)?;
    Ok(go_on.is_truthy())
}

/// Milliseconds of the page's clock.
fn now() -> f64 {
    let scope: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
    scope.performance().map_or(0.0, |performance| performance.now())
}
