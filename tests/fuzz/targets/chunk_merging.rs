//! Chunks made of any bytes: merging is a union, in whatever order.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rangekeeper_chunk::fuzz::merging(data));
