//! The engine: the model in a worker.
//!
//! All work of a device happens on the one thread of this program, and every read-back is awaited: a browser offers no
//! other. The worker's script (`web/js/wethink-worker.js`) gives it files and messages; [`engine`] is all it sees of this.

#[cfg(target_arch = "wasm32")]
mod answer;
#[cfg(target_arch = "wasm32")]
mod device;
#[cfg(target_arch = "wasm32")]
mod engine;
#[cfg(target_arch = "wasm32")]
mod error;
#[cfg(target_arch = "wasm32")]
mod folder;
#[cfg(target_arch = "wasm32")]
mod preflight;
#[cfg(target_arch = "wasm32")]
mod self_test;

/// The worker calls what it needs; there is nothing to do before that.
fn main() {}
