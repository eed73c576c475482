//! Tests that cross crate borders. Each module proves one promise; the library part finds the known answers and makes
//! datasets.
//!
//! Known answers come from the reference implementations. The folder in `WETHINK_FIXTURES` is used where it is set, else
//! the copy in this crate. Suites named `released_` need parts that are not copied, and are ignored unless asked for.

#[cfg(test)]
mod allocation;
#[cfg(test)]
mod arrows;
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod data_commands;
pub mod dataset;
#[cfg(test)]
mod economy;
#[cfg(test)]
mod examples;
pub mod fixtures;
#[cfg(test)]
mod golden_grpo;
#[cfg(test)]
mod golden_model;
#[cfg(test)]
mod golden_processor;
#[cfg(test)]
mod golden_train;
#[cfg(test)]
mod grpo;
#[cfg(test)]
mod grpo_figures;
#[cfg(test)]
mod grpo_judge;
#[cfg(test)]
mod grpo_learning;
#[cfg(test)]
mod grpo_plan;
#[cfg(test)]
mod grpo_rewards;
#[cfg(test)]
mod grpo_traps;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod init;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod judge_local;
#[cfg(test)]
mod judge_server;
#[cfg(test)]
mod kernels;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lora;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod mixed;
pub mod noise;
#[cfg(test)]
mod pack_commands;
#[cfg(test)]
mod pack_limits;
#[cfg(test)]
mod pack_memory;
#[cfg(test)]
mod packs;
#[cfg(test)]
mod parallel;
#[cfg(test)]
mod plans;
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
#[cfg(test)]
mod rollout;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod scenes;
#[cfg(test)]
mod scenes_wasm;
#[cfg(test)]
mod score;
#[cfg(test)]
mod score_rules;
#[cfg(test)]
mod sft;

/// Tests of memory ask the allocator.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;
