//! Any bytes are a picture of the size they say, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wethink_processor::Picture;

/// Low, so that the fuzzer spends its time on parsing.
const MAX_PIXELS: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(picture) = Picture::decode_within("picture", bytes, MAX_PIXELS) {
        assert_eq!(picture.rgb().len(), picture.width() * picture.height() * 3);
    }
});
