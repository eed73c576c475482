//! Any bytes are messages that survive being written and read, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wethink_processor::{System, messages_from_json, with_system};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(messages) = messages_from_json("messages.json", bytes) {
        let messages = with_system(messages, System::Default);
        let json = serde_json::to_vec(&messages).expect("messages have a JSON form");
        assert_eq!(messages_from_json("messages.json", &json).ok(), Some(messages));
    }
});
