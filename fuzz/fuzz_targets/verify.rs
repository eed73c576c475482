//! Any JSON as a row of `trainer verify`: an error or a verdict within its fuel, never a panic.
#![no_main]

use wethink_reward::{FUEL, Record, RewardMap, verify};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(row) = serde_json::from_str(text) else { return };
    if let Ok(record) = Record::from_json(&row, &RewardMap::default())
        && let Ok(verdict) = verify(&record)
    {
        assert!(verdict.fuel <= FUEL);
    }
});
