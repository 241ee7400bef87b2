//! Samples made of any bytes: what is encoded is what is decoded.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rangekeeper_chunk::fuzz::round_trip(data));
