//! The verifier behind three C functions, for running the same rows in WASM without a JavaScript toolkit.
//!
//! `alloc(len)` gives room for a JSON row, `run(ptr, len)` verifies it and gives the place of `[length: u32][JSON]`. Either an
//! object with the verdict or `{"error"}`. One thread; the answer lives until the next call.

use std::cell::RefCell;

use serde_json::{Value, json};
use wethink_reward::{Record, RewardMap, verify};

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Room for `len` bytes of input.
#[unsafe(no_mangle)]
pub extern "C" fn alloc(len: usize) -> *mut u8 {
    INPUT.with_borrow_mut(|input| {
        input.resize(len, 0);
        input.as_mut_ptr()
    })
}

/// Verifies the row that lies in the input.
#[unsafe(no_mangle)]
pub extern "C" fn run() -> *const u8 {
    let answer = INPUT.with_borrow(|input| answer(input));
    let text = answer.to_string();
    OUTPUT.with_borrow_mut(|output| {
        output.clear();
        output.extend_from_slice(&(text.len() as u32).to_le_bytes());
        output.extend_from_slice(text.as_bytes());
        output.as_ptr()
    })
}

fn answer(input: &[u8]) -> Value {
    let verdict = serde_json::from_slice::<Value>(input)
        .map_err(|e| e.to_string())
        .and_then(|row| Record::from_json(&row, &RewardMap::default()).map_err(|e| e.to_string()))
        .and_then(|record| verify(&record).map_err(|e| e.to_string()));
    match verdict {
        Ok(verdict) => serde_json::to_value(verdict).unwrap_or(Value::Null),
        Err(error) => json!({ "error": error }),
    }
}
