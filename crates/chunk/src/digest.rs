//! Digests of sets of samples: equal where the sets are, whatever frames hold them and whichever
//! codec wrote those.
//!
//! The digest is the wrapping sum, over the elements, of the xxh3-64 of
//!
//! ```text
//! timestamp i64 │ start timestamp i64 │ a float's bits u64, or a histogram's canonical bytes
//! ```
//!
//! little-endian, but for the canonical bytes, which are as `Histogram::canonical_bytes` has them.
//! A sum, so that the digest of disjoint sets is the sum of theirs.

use rangekeeper_model::{Floats, HistogramSample, Samples};
use xxhash_rust::xxh3::xxh3_64;

/// The digest of a set of samples; of none, 0.
pub fn digest(samples: &Samples) -> u64 {
    floats_digest(&samples.floats, 0..samples.floats.len())
        .wrapping_add(histograms_digest(&samples.histograms))
}

pub(crate) fn floats_digest(floats: &Floats, range: std::ops::Range<usize>) -> u64 {
    range.fold(0, |sum: u64, index| {
        let mut element = [0; 24];
        element[..8].copy_from_slice(&floats.timestamps[index].to_le_bytes());
        element[8..16].copy_from_slice(&floats.start_ms(index).to_le_bytes());
        element[16..].copy_from_slice(&floats.values[index].to_bits().to_le_bytes());
        sum.wrapping_add(xxh3_64(&element))
    })
}

pub(crate) fn histograms_digest<'a>(
    histograms: impl IntoIterator<Item = &'a HistogramSample>,
) -> u64 {
    histograms.into_iter().fold(0, |sum: u64, sample| {
        let mut element = Vec::with_capacity(256);
        element.extend(sample.timestamp_ms.to_le_bytes());
        element.extend(sample.start_ms.to_le_bytes());
        element.extend(sample.histogram.canonical_bytes());
        sum.wrapping_add(xxh3_64(&element))
    })
}
