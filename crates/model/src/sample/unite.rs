//! The union of two sets of samples: commutative, associative, idempotent, and the one place that
//! applies the rule for two samples at one time.

use std::cmp::Ordering;

use super::{Floats, HistogramSample, Samples, histogram_replaces, is_stale, replaces};

impl Samples {
    /// Makes this the union of itself and `other`. Appending what is newer costs only the copy.
    pub fn unite(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        unite_floats(&mut self.floats, &other.floats);
        unite_histograms(&mut self.histograms, &other.histograms);
        if !self.floats.is_empty() && !self.histograms.is_empty() {
            self.settle_kinds();
        }
    }

    /// Where a time has a float and a histogram, drops the one that the other beats: the float,
    /// unless it is a value and the histogram a stale marker.
    fn settle_kinds(&mut self) {
        let Self { floats, histograms } = self;
        let mut lost_floats = Vec::new();
        let mut at = 0;
        histograms.retain(|histogram| {
            let time = histogram.timestamp_ms;
            at += floats.timestamps[at..].partition_point(|&timestamp| timestamp < time);
            if floats.timestamps.get(at) != Some(&time) {
                return true;
            }
            let float_wins = histogram.histogram.is_stale() && !is_stale(floats.values[at]);
            if !float_wins {
                lost_floats.push(at);
            }
            !float_wins
        });
        remove(floats, &lost_floats);
    }
}

fn unite_floats(ours: &mut Floats, theirs: &Floats) {
    let Some(&first) = theirs.timestamps.first() else { return };
    let overlap = match ours.timestamps.last() {
        Some(&last) if last >= first => ours.timestamps.partition_point(|&t| t < first),
        _ => return ours.extend(theirs, 0..theirs.len()),
    };
    let mut tail = Floats::default();
    tail.extend(ours, overlap..ours.len());
    ours.truncate(overlap);
    let (mut a, mut b) = (0, 0);
    while a < tail.len() && b < theirs.len() {
        match tail.timestamps[a].cmp(&theirs.timestamps[b]) {
            Ordering::Less => {
                ours.push(tail.timestamps[a], tail.start_ms(a), tail.values[a]);
                a += 1;
            }
            Ordering::Greater => {
                ours.push(theirs.timestamps[b], theirs.start_ms(b), theirs.values[b]);
                b += 1;
            }
            Ordering::Equal => {
                let mine = (tail.values[a], tail.start_ms(a));
                let other = (theirs.values[b], theirs.start_ms(b));
                let (value, start_ms) = if replaces(other, mine).is_gt() { other } else { mine };
                ours.push(tail.timestamps[a], start_ms, value);
                a += 1;
                b += 1;
            }
        }
    }
    ours.extend(&tail, a..tail.len());
    ours.extend(theirs, b..theirs.len());
}

fn unite_histograms(ours: &mut Vec<HistogramSample>, theirs: &[HistogramSample]) {
    let Some(first) = theirs.first().map(|sample| sample.timestamp_ms) else { return };
    let overlap = ours.partition_point(|sample| sample.timestamp_ms < first);
    let mut tail = ours.split_off(overlap).into_iter().peekable();
    let mut theirs = theirs.iter().peekable();
    loop {
        let order = match (tail.peek(), theirs.peek()) {
            (Some(mine), Some(other)) => mine.timestamp_ms.cmp(&other.timestamp_ms),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let mine = if order.is_le() { tail.next() } else { None };
        let other = if order.is_ge() { theirs.next() } else { None };
        ours.extend(match (mine, other) {
            (Some(mine), Some(other)) if histogram_replaces(other, &mine).is_gt() => {
                Some(other.clone())
            }
            (Some(mine), _) => Some(mine),
            (None, other) => other.cloned(),
        });
    }
}

/// Drops the samples at the indices `lost`, which rise.
fn remove(floats: &mut Floats, lost: &[usize]) {
    if lost.is_empty() {
        return;
    }
    let kept = |index: &mut usize, lost: &mut &[usize]| {
        let gone = lost.first() == Some(index);
        *index += 1;
        if gone {
            *lost = &lost[1..];
        }
        !gone
    };
    let (mut index, mut rest) = (0, lost);
    floats.timestamps.retain(|_| kept(&mut index, &mut rest));
    (index, rest) = (0, lost);
    floats.values.retain(|_| kept(&mut index, &mut rest));
    (index, rest) = (0, lost);
    floats.starts.retain(|_| kept(&mut index, &mut rest));
    if floats.starts.iter().all(|&start_ms| start_ms == 0) {
        floats.starts.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::STALE_NAN_BITS;
    use super::*;
    use crate::histogram::{Buckets, CounterResetHint, Histogram, Span};

    fn histogram(bits: u8) -> Histogram {
        let sum = if bits & 1 == 0 { f64::from_bits(STALE_NAN_BITS) } else { 4.5 };
        let buckets = if bits & 2 == 0 {
            Buckets::Integer { count: 3, zero_count: 0, positive: vec![3], negative: vec![] }
        } else {
            Buckets::Float { count: 3.0, zero_count: 0.0, positive: vec![3.0], negative: vec![] }
        };
        Histogram {
            reset_hint: CounterResetHint::Unknown,
            schema: i32::from(bits >> 2),
            zero_threshold: 0.0,
            sum,
            buckets,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            negative_spans: vec![],
            custom_values: vec![],
        }
    }

    /// One element as a set.
    fn single((time, kind, payload, start_ms): (i64, u8, u8, i64)) -> Samples {
        let mut samples = Samples::default();
        if kind == 0 {
            let values = [f64::from_bits(STALE_NAN_BITS), f64::NAN, 0.0, -0.0, 1.0];
            samples.floats.push(time, start_ms, values[usize::from(payload) % values.len()]);
        } else {
            let histogram = Arc::new(histogram(payload));
            samples.histograms.push(HistogramSample { timestamp_ms: time, start_ms, histogram });
        }
        samples
    }

    fn sets() -> impl Strategy<Value = Samples> {
        prop::collection::vec((0..12i64, 0..2u8, 0..8u8, 0..3i64), 0..24).prop_map(|elements| {
            let mut all = Samples::default();
            for element in elements {
                all.unite(&single(element));
            }
            all
        })
    }

    /// What can be compared: NaNs by their bits, and no difference between unset starts and none.
    fn content(samples: &Samples) -> Vec<(i64, i64, Vec<u8>)> {
        let floats = &samples.floats;
        assert!(floats.timestamps.is_sorted_by(|a, b| a < b));
        assert!(samples.histograms.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
        let mut rows: Vec<_> = (0..floats.len())
            .map(|index| {
                let bits = floats.values[index].to_bits().to_be_bytes().to_vec();
                (floats.timestamps[index], floats.start_ms(index), bits)
            })
            .chain(samples.histograms.iter().map(|sample| {
                (sample.timestamp_ms, sample.start_ms, sample.histogram.canonical_bytes())
            }))
            .collect();
        rows.sort();
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "a time occurs twice: {rows:?}");
        rows
    }

    fn united(a: &Samples, b: &Samples) -> Samples {
        let mut all = a.clone();
        all.unite(b);
        all
    }

    proptest! {
        #[test]
        fn union_is_a_join(a in sets(), b in sets(), c in sets()) {
            prop_assert_eq!(content(&united(&a, &b)), content(&united(&b, &a)));
            let left = united(&united(&a, &b), &c);
            prop_assert_eq!(content(&left), content(&united(&a, &united(&b, &c))));
            prop_assert_eq!(content(&united(&a, &a)), content(&a));
            prop_assert_eq!(content(&united(&left, &b)), content(&left));
        }
    }

    #[test]
    fn a_value_of_any_kind_beats_a_stale_marker_of_any_kind() {
        let (stale_float, float) = (single((1, 0, 0, 0)), single((1, 0, 4, 0)));
        let (stale_histogram, whole) = (single((1, 1, 0, 0)), single((1, 1, 1, 0)));
        let fractional = single((1, 1, 3, 0));
        for (weaker, stronger) in [
            (&stale_histogram, &float),
            (&stale_float, &stale_histogram),
            (&stale_float, &whole),
            (&float, &whole),
            (&whole, &fractional),
        ] {
            assert_eq!(content(&united(weaker, stronger)), content(stronger));
            assert_eq!(content(&united(stronger, weaker)), content(stronger));
        }
    }
}
