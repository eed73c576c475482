//! Any text as `config.json`: a configuration or a named field, never a panic; what is accepted has a list of tensors.
#![no_main]

#[path = "../../crates/model/src/config.rs"]
mod config;
#[path = "../../crates/model/src/fields.rs"]
mod fields;
#[allow(dead_code, reason = "only the list of tensors is asked for")]
#[path = "../../crates/model/src/shards.rs"]
mod shards;

pub use config::{Config, ConfigError};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = Config::from_json(text) {
        assert!(!shards::expected_tensors(&config).is_empty());
    }
});
