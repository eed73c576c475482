//! A chat and its pictures to what Qwen2.5-VL takes, and ids back to text.
//!
//! ```text
//! messages ── template ── prompt ──┐
//!                                  ├─ expand ── tokenizer ── ids ── positions
//! files ── picture ── resize ── patches ── pixel_values, grids
//! ids ── tokenizer (whole) or stream (one at a time) ── text
//! ```
//!
//! The reference is Hugging Face transformers with its Pillow path, which the released model was trained with; every
//! number is equal to it but for the pixels of a JPEG, whose decoders differ, and of 16-bit grey. The crate knows no
//! tensor library, no device and no network, reads files only through its caller, and builds for wasm32.
//!
//! Two laws hold everywhere: a prompt has exactly as many image tokens as the vision tower gives features, or there is
//! an error with both counts; and nothing is ever truncated.

pub mod chat;
mod config;
mod error;
mod jpeg;
mod outline;
pub mod patches;
mod picture;
mod positions;
mod processor;
mod released_files;
mod resize;
mod rows;
mod stream;
mod template;
#[cfg(test)]
mod testing;
mod to_json;
mod tokenizer;
mod truncation;

pub use chat::{
    Content, Message, Part, Role, System, WETHINK_SYSTEM_PROMPT, messages_from_json, with_system,
};
pub use config::PreprocessorConfig;
pub use error::Error;
pub use patches::{Patches, smart_resize};
pub use picture::{MAX_SOURCE_PIXELS, Picture};
pub use positions::{Positions, positions};
pub use processor::{Encoded, Options, Processor};
pub use resize::resize;
pub use stream::DecodeStream;
pub use template::ChatTemplate;
pub use tokenizer::Tokenizer;
