//! Verifying and typesetting, without a sheet, and how values cross the border.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wasm_bindgen::prelude::*;
use wethink_reward::{Policy, Record, RewardMap};

/// `verify` of `wethink.d.ts`. The row comes as JSON: a JavaScript object may hold itself, JSON cannot.
#[wasm_bindgen]
pub fn verify(row: &str) -> Result<JsValue, JsValue> {
    let record = record(row)?;
    let mut verdict = wethink_reward::verify(&record).map_err(request)?;
    verdict.span = verdict.span.map(|span| utf16(&record.pred, span));
    to_js(&verdict)
}

/// `score` of `wethink.d.ts`.
#[wasm_bindgen]
pub fn score(row: &str, policy: &str, tokens: Option<usize>) -> Result<JsValue, JsValue> {
    let record = record(row)?;
    let policy: Policy = serde_json::from_str(policy).map_err(|error| request(format!("policy: {error}")))?;
    let mut score = wethink_reward::score(&record, &policy, tokens).map_err(request)?;
    score.verdict.span = score.verdict.span.map(|span| utf16(&record.pred, span));
    to_js(&score)
}

/// A case with everything the checker shows of it; what is wrong with the row is part of it.
#[wasm_bindgen]
pub fn examine(row: &str, policy: JsValue) -> Result<JsValue, JsValue> {
    let row: Value = serde_json::from_str(row).map_err(request)?;
    to_js(&wethink_checker::case(&row, &from_js(policy)?, None))
}

/// Texts, each with a span to mark and whether it is one formula, to pieces.
#[wasm_bindgen]
pub fn typeset(texts: JsValue) -> Result<JsValue, JsValue> {
    let texts: Vec<(String, Option<[usize; 2]>, bool)> = from_js(texts)?;
    let pieces = texts.iter().map(|(text, span, formula)| wethink_checker::typeset(text, *span, *formula));
    to_js(&pieces.collect::<Vec<_>>())
}

fn record(row: &str) -> Result<Record, JsValue> {
    let row: Value = serde_json::from_str(row).map_err(|error| request(format!("record: {error}")))?;
    Record::from_json(&row, &RewardMap::default()).map_err(request)
}

/// Bytes of a text as JavaScript counts letters, for `slice`.
fn utf16(text: &str, span: [usize; 2]) -> [usize; 2] {
    span.map(|end| text.get(..end).map_or(0, |before| before.encode_utf16().count()))
}

/// What the caller got wrong, as an error of `wethink.d.ts`.
pub fn request(problem: impl ToString) -> JsValue {
    let error: JsValue = js_sys::Error::new(&problem.to_string()).into();
    // Setting a property of an object made here cannot fail.
    let _ = js_sys::Reflect::set(&error, &"code".into(), &"request".into());
    error
}

/// A value as JSON would bring it across.
pub fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(value.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?)
}

/// A message of the page.
pub fn from_js<T: DeserializeOwned>(value: JsValue) -> Result<T, JsValue> {
    serde_wasm_bindgen::from_value(value).map_err(request)
}
