//! Any text as PromQL, a selector and a line of series.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rangekeeper_promql::fuzz::parse_anything(data));
