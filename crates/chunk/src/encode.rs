//! From columns to frames in the form that is quick to write: late samples, imports, and what tests
//! compare with.

use rangekeeper_model::{Floats, Samples};

use crate::frame::VALUE_HEAD;
use crate::histograms;
use crate::open::OpenFloats;
use crate::sealed::Scratch;

/// A chunk value of the samples in the same form as the head flushes; of no samples, nothing.
pub fn encode(samples: &Samples) -> Vec<u8> {
    let mut value = Vec::new();
    if !samples.is_empty() {
        value.extend_from_slice(&VALUE_HEAD);
        put_floats(&mut value, &samples.floats);
        if !samples.histograms.is_empty() {
            histograms::put(&mut value, &samples.histograms, &mut Scratch::default());
        }
    }
    value
}

fn put_floats(out: &mut Vec<u8>, floats: &Floats) {
    let mut open = OpenFloats::new();
    for (index, (&timestamp, &value)) in floats.timestamps.iter().zip(&floats.values).enumerate() {
        let start_ms = floats.start_ms(index);
        if open.append(timestamp, start_ms, value).is_err() {
            open.put_frame(out);
            open = OpenFloats::new();
            open.append(timestamp, start_ms, value).expect("an empty segment takes any sample");
        }
    }
    if !open.is_empty() {
        open.put_frame(out);
    }
}
