//! Any bytes as the body of a frame whose checksum is right: what the codecs are given.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rangekeeper_chunk::fuzz::body(data));
