//! Packs: a checkpoint's weights in few bits, written shard by shard, and measured against what they came from.
//!
//! The plan comes first and needs only the configuration: which tensor gets which type, and which bytes of which shard.
//! Then each shard is computed and written by itself, so that memory holds one shard and whatever pages of the checkpoint
//! are being read, and a run that was stopped continues with the first shard it lacks.

mod plan;
mod report;
mod source;
mod write;

pub use plan::{Override, Quantize, plan};
pub use report::{Rows as ReportRows, report};
pub use source::Source;
pub use write::{Values, write};
