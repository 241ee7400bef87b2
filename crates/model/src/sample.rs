//! Samples: columns of them, and the one rule for two samples at one time.

mod unite;

use std::cmp::Ordering;
use std::sync::Arc;

use crate::histogram::Histogram;

/// The NaN with which Prometheus marks the end of a series. It differs from every other NaN by its
/// bits alone.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the stale marker, by its bits.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Float samples of one series as columns, rising in time, no time twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Floats {
    /// Milliseconds since the epoch.
    pub timestamps: Vec<i64>,
    /// One value a timestamp.
    pub values: Vec<f64>,
    /// Start timestamps, 0 where unset; **empty** when no sample has one, else one a timestamp.
    pub starts: Vec<i64>,
}

/// A histogram sample.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Start timestamp, 0 where unset.
    pub start_ms: i64,
    /// The histogram.
    pub histogram: Arc<Histogram>,
}

/// All samples of one series in a range of time. A time occurs in one of the two columns only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Float samples.
    pub floats: Floats,
    /// Histogram samples, rising in time.
    pub histograms: Vec<HistogramSample>,
}

impl Floats {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
        self.starts.clear();
    }

    /// Appends a sample; the caller keeps time rising.
    #[inline]
    pub fn push(&mut self, timestamp_ms: i64, start_ms: i64, value: f64) {
        if start_ms != 0 && self.starts.is_empty() {
            self.starts.resize(self.timestamps.len(), 0);
            self.starts.push(start_ms);
        } else if !self.starts.is_empty() {
            self.starts.push(start_ms);
        }
        self.timestamps.push(timestamp_ms);
        self.values.push(value);
    }

    /// The start timestamp of sample `index`, 0 where unset.
    #[inline]
    pub fn start_ms(&self, index: usize) -> i64 {
        self.starts.get(index).copied().unwrap_or(0)
    }

    /// Keeps the first `length` samples.
    pub fn truncate(&mut self, length: usize) {
        self.timestamps.truncate(length);
        self.values.truncate(length);
        self.starts.truncate(length);
    }

    /// Appends the samples of `other` that lie in `range` of its indices; the caller keeps time
    /// rising.
    pub fn extend(&mut self, other: &Self, range: std::ops::Range<usize>) {
        if !other.starts.is_empty() || !self.starts.is_empty() {
            self.starts.resize(self.timestamps.len(), 0);
            match other.starts.get(range.clone()) {
                Some(starts) if !other.starts.is_empty() => self.starts.extend_from_slice(starts),
                _ => self.starts.resize(self.timestamps.len() + range.len(), 0),
            }
        }
        self.timestamps.extend_from_slice(&other.timestamps[range.clone()]);
        self.values.extend_from_slice(&other.values[range]);
    }
}

impl Samples {
    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// Number of samples of both kinds.
    pub fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// The time of the last sample.
    pub fn last_ms(&self) -> Option<i64> {
        let histogram = self.histograms.last().map(|sample| sample.timestamp_ms);
        self.floats.timestamps.last().copied().max(histogram)
    }

    /// The time of the first sample.
    pub fn first_ms(&self) -> Option<i64> {
        let float = self.floats.timestamps.first().copied();
        let histogram = self.histograms.first().map(|sample| sample.timestamp_ms);
        match (float, histogram) {
            (Some(float), Some(histogram)) => Some(float.min(histogram)),
            (float, histogram) => float.or(histogram),
        }
    }
}

/// The order in which float samples of one time beat each other: any value beats a stale marker,
/// else the greater bits win, else the greater start timestamp. A total order, so that the winner
/// of a set does not depend on the order in which its members came: the union of sets of samples is
/// a join.
///
/// Between kinds, where neither or both are stale markers, a float histogram beats an integer
/// histogram, and that a float ([`Samples::unite`]).
///
/// Returns `Greater` when the candidate replaces the sample that is there.
#[inline]
pub fn replaces(candidate: (f64, i64), existing: (f64, i64)) -> Ordering {
    let rank = |(value, start_ms): (f64, i64)| (!is_stale(value), value.to_bits(), start_ms);
    rank(candidate).cmp(&rank(existing))
}

/// The same order for histograms of one time: any beats a stale marker, else the greater kind,
/// bytes ([`Histogram::canonical_bytes`], which begin with the kind), start timestamp.
pub fn histogram_replaces(candidate: &HistogramSample, existing: &HistogramSample) -> Ordering {
    let live = |sample: &HistogramSample| !sample.histogram.is_stale();
    live(candidate)
        .cmp(&live(existing))
        .then_with(|| {
            // Not by `==`: it takes 0 and −0 for the same, and a NaN for different from itself.
            if Arc::ptr_eq(&candidate.histogram, &existing.histogram) {
                return Ordering::Equal;
            }
            candidate.histogram.canonical_bytes().cmp(&existing.histogram.canonical_bytes())
        })
        .then_with(|| candidate.start_ms.cmp(&existing.start_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

    #[test]
    fn any_value_beats_a_stale_marker() {
        for value in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(replaces((value, 0), (STALE, 9)), Ordering::Greater);
            assert_eq!(replaces((STALE, 9), (value, 0)), Ordering::Less);
        }
        assert_eq!(replaces((1.0, 5), (1.0, 0)), Ordering::Greater);
        assert_eq!(replaces((1.0, 5), (1.0, 5)), Ordering::Equal);
    }

    #[test]
    fn starts_appear_with_the_first_that_is_set() {
        let mut floats = Floats::default();
        floats.push(1, 0, 1.0);
        assert!(floats.starts.is_empty());
        floats.push(2, 7, 2.0);
        floats.push(3, 0, 3.0);
        assert_eq!(floats.starts, [0, 7, 0]);
        assert_eq!(floats.start_ms(1), 7);
    }
}
