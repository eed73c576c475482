//! What every training recipe shares: samples, gradients, the optimizer, the run folder and its checkpoints.
//!
//! Algorithms are plain functions over parameters named as in the released layout, each a flat tensor: an optimizer need not
//! know whether it moves a matrix or a norm, nor a checkpoint. The recipes themselves (`sft`) are stories of their own;
//! nothing here calls them back.

pub mod adamw;
pub mod advantage;
pub(crate) mod changes;
pub mod economy;
pub mod features;
pub mod feed;
pub mod files;
pub mod gradients;
pub mod groups;
pub mod journal;
pub mod lora;
pub mod loss;
pub mod memory;
pub mod metrics;
pub mod parallel;
pub mod policy;
pub mod recipe;
pub mod replica;
pub mod report;
pub mod rows;
pub mod samples;
pub mod schedule;
pub mod start;
pub mod store;
pub mod tensorboard;
pub mod trained;
pub mod validation;
