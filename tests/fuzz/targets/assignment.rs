//! Any bytes as an encoded assignment of shards.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rangekeeper_placement::fuzz::assignment(data));
