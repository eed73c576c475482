//! The rewards: the rule verifier and the checker's sheet in a worker.
//!
//! A program of its own, so that verifying needs neither the engine nor a model, and so that a page can end and restart it.
//! The worker's script (`web/js/wethink-rewards-worker.js`) calls what `calls` offers.

#[cfg(target_arch = "wasm32")]
mod archive;
#[cfg(target_arch = "wasm32")]
mod calls;
#[cfg(target_arch = "wasm32")]
mod checker;

/// The worker calls what it needs; there is nothing to do before that.
fn main() {}
