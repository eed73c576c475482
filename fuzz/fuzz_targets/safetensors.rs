//! Any bytes as a shard of a small model: a list of faults, never a panic. No such input is a whole checkpoint.
#![no_main]

#[allow(dead_code, reason = "only the check of shards is asked for")]
#[path = "../../crates/model/src/config.rs"]
mod config;
#[path = "../../crates/model/src/fields.rs"]
mod fields;
#[allow(dead_code, reason = "only the check of shards is asked for")]
#[path = "../../crates/model/src/shards.rs"]
mod shards;

pub use config::{Config, ConfigError};

const CONFIG: &str = r#"{"hidden_size": 8, "num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": 1,
    "rope_scaling": {"mrope_section": [1, 1, 2]},
    "vision_config": {"depth": 1, "hidden_size": 8, "num_heads": 1, "out_hidden_size": 8, "fullatt_block_indexes": []}}"#;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let config = Config::from_json(CONFIG).expect("a sound configuration");
    assert!(shards::check_shards(&config, [("shard", bytes)]).is_err());
});
