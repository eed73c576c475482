//! Any bytes are a configuration that gives a small picture patches of the size it says, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wethink_processor::{Patches, Picture, PreprocessorConfig};

/// More pixels than this are only time.
const MAX_PIXELS: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = PreprocessorConfig::from_json(bytes) else {
        return;
    };
    if config.min_pixels > MAX_PIXELS || config.factor() > 1024 {
        return;
    }
    let picture = Picture::from_rgb("picture", 9, 7, vec![128; 9 * 7 * 3]).expect("a sound picture");
    if let Ok(patches) = Patches::of(&picture, &config) {
        assert_eq!(patches.pixel_values.len(), patches.grid.iter().product::<usize>() * config.row_len());
    }
});
