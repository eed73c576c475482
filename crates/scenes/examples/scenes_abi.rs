//! Scenes behind two C functions, for making the same ones in WASM without a JavaScript toolkit.
//!
//! `alloc(len)` gives room for a request `{"settings", "seed", "from", "to"}`; `run()` answers it, at the place of
//! `[length: u32][JSON]`: an array with an object `{"row", "png"}` a scene, where `row` is the row's JSON and `png` the
//! SHA-256 of the picture's file; or `{"error"}`. One thread; the answer lives until the next call.

use std::cell::RefCell;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wethink_scenes::{Row, Settings};

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[derive(Deserialize)]
struct Request {
    settings: Settings,
    seed: u64,
    from: u64,
    to: u64,
}

/// Room for `len` bytes of input.
#[unsafe(no_mangle)]
pub extern "C" fn alloc(len: usize) -> *mut u8 {
    INPUT.with_borrow_mut(|input| {
        input.resize(len, 0);
        input.as_mut_ptr()
    })
}

/// Answers the request that lies in the input.
#[unsafe(no_mangle)]
pub extern "C" fn run() -> *const u8 {
    let answer = INPUT.with_borrow(|input| answer(input)).unwrap_or_else(|error| json!({ "error": error }));
    let text = answer.to_string();
    OUTPUT.with_borrow_mut(|output| {
        output.clear();
        output.extend_from_slice(&(text.len() as u32).to_le_bytes());
        output.extend_from_slice(text.as_bytes());
        output.as_ptr()
    })
}

fn answer(input: &[u8]) -> Result<Value, String> {
    let Request { settings, seed, from, to } = serde_json::from_slice(input).map_err(|e| e.to_string())?;
    let one = |index| {
        let scene = settings.scene(seed, index).map_err(|e| e.to_string())?;
        let png: String =
            Sha256::digest(scene.draw().png()).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(json!({ "row": Row::new(scene, format!("{index}.png")).to_json(), "png": png }))
    };
    (from..to).map(one).collect()
}
