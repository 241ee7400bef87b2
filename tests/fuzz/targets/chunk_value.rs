//! Any bytes as the value of a chunk.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rangekeeper_chunk::fuzz::value(data));
