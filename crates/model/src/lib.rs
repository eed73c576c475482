//! Qwen2.5-VL (arXiv 2502.13923) in burn: token ids and picture patches in, logits and tokens out.
//!
//! One definition serves training, the terminal and the browser. Field names follow the released checkpoint
//! (`visual.blocks`, `q_proj`), so that loading needs no rename table. What a layer needs beyond its weights comes as an
//! argument: the cache, the random key, the counters, the device.
//!
//! Letters used in shape comments: B batch, T tokens of this step, L cached tokens, P patches, N merged patches (tokens of
//! pictures), H heads (Hq queries, Hkv keys and values), D head dim, C width, V vocabulary.
//!
//! Deliberately absent: files, URLs, clocks, printing, the name of any device or backend, picture decoding, the tokenizer.

mod adapter;
mod cache;
mod checkpoint;
mod config;
mod decode;
mod fields;
mod generate;
mod layout;
mod linear;
mod model;
mod pack;
mod pack_loader;
mod parameters;
mod philox;
mod prompt;
mod quantize;
mod recompute;
mod rollout;
mod rotary;
mod sampling;
mod shards;
mod text;
mod training;
mod vision;
mod windows;

pub use adapter::{Adapter, Dropout, LORA_A, LORA_B, MakeAdapter};
pub use cache::KvCache;
pub use checkpoint::Loader;
pub use config::{Config, ConfigError, TextConfig, VisionConfig};
pub use generate::{Detokenize, FinishReason, GenerateError, Generation, Options, Row, Token};
pub use layout::{BadFile, GENERATION, INDEX, SINGLE, shard_names, stop_ids, weight_bytes};
pub use linear::{Linear, Packed, Weight};
pub use model::{Model, Prefill, Trace};
pub use pack::{
    ALIGNMENT, FORMAT, PACK, Pack, PackError, PackFile, PackPart, PackShard, PackTensor, PackType,
    SHARD_BYTES, VERSION,
};
pub use pack_loader::PackLoader;
pub use philox::uniform;
pub use prompt::{Prompt, PromptError};
pub use quantize::{QuantizeError, pack_row};
pub use rollout::{Counts, Request, Rollout, Sequence};
pub use sampling::{Choice, Sampling, SamplingError};
pub use shards::{CheckpointError, Faults, canonical, check_shards, expected_tensors};
pub use text::{Decoder, DecoderLayer, Embedding, Mlp, RmsNorm, SelfAttention};
pub use training::{Economy, Features, Forced};
pub use vision::{Block, Merger, PatchEmbed, VisionAttention, VisionTower};
pub use wethink_kernels::{Launches, PackedMatrix, PackedRows, Packing, Span};
pub use windows::{Windows, windows};
