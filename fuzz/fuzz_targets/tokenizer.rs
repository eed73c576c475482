//! Any bytes are a tokenizer that decodes a stream as it decodes the whole, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wethink_processor::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_json(bytes) else {
        return;
    };
    let Ok(mut ids) = tokenizer.encode("In the beginning, é 😀 <|im_end|>\n") else {
        return;
    };
    ids.extend([0, 1, 2, u32::MAX]);
    let mut stream = tokenizer.stream(false);
    let pieces: String = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(Ok(pieces + &stream.finish()), tokenizer.decode(&ids, false).map_err(|_| ()));
});
