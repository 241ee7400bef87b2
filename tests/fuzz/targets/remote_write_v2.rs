//! Any bytes as an uncompressed body of remote write 2.0, against prost.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rangekeeper_wire::fuzz::remote_write_v2(data));
