//! Tests that cross crate borders. Each module proves one promise; the library part only finds the known answers.
//!
//! Known answers come from the reference implementations. The folder in `WETHINK_FIXTURES` is used where it is set, else
//! the copy in this crate. Suites named `released_` need parts that are not copied, and are ignored unless asked for.

pub mod fixtures;

#[cfg(test)]
mod arrows;
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod golden_model;
#[cfg(test)]
mod golden_processor;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod kernels;
#[cfg(test)]
mod released_checkpoint;
#[cfg(test)]
mod released_tokenizer;
#[cfg(test)]
mod reward_released;
#[cfg(test)]
mod reward_verify;
#[cfg(test)]
mod reward_wasm;
