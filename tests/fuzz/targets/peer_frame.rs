//! Any bytes as a frame of rows between nodes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rangekeeper_wire::fuzz::peer_frame(data));
