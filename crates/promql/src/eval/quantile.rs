//! Quantiles of values, and of the buckets of a classic histogram.

/// The order in which Prometheus sorts values: NaN first, so that it never beats a number.
pub(crate) fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.partial_cmp(&b).expect("neither is NaN"),
    }
}

/// What quantile `q` is of anything when it is no quantile.
fn outside(q: f64) -> Option<f64> {
    if q.is_nan() {
        Some(f64::NAN)
    } else if q < 0.0 {
        Some(f64::NEG_INFINITY)
    } else if q > 1.0 {
        Some(f64::INFINITY)
    } else {
        None
    }
}

/// Quantile `q` of `values`, which it sorts; between two values it weighs both.
pub(crate) fn of_values(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    if let Some(result) = outside(q) {
        return result;
    }
    values.sort_unstable_by(|a, b| nan_first(*a, *b));
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// A bucket of a classic histogram: how many observations are at or below a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    /// The bound: the value of `le`.
    pub upper_bound: f64,
    /// Observations at or below it.
    pub count: f64,
}

/// What had to be mended before buckets could be used: a bucket held less than the one below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mended {
    /// Bound of the lowest bucket that was raised.
    pub lowest_bound: f64,
    /// Bound of the highest bucket that was raised.
    pub highest_bound: f64,
    /// The most that a bucket was raised by.
    pub most: f64,
}

/// Differences of counts below this part of them are taken for rounding.
const ROUNDING: f64 = 1e-12;

/// Quantile `q` of the observations in `buckets`, which it sorts and mends; linear inside a bucket.
pub(crate) fn of_buckets(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Mended>) {
    if let Some(result) = outside(q) {
        return (result, None);
    }
    let Some(mended) = prepare(buckets) else { return (f64::NAN, None) };
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, None);
    }
    let mut rank = q * observations;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank);
    if at == last {
        return (buckets[last - 1].upper_bound, mended);
    }
    let bucket = buckets[at];
    if at == 0 && bucket.upper_bound <= 0.0 {
        return (bucket.upper_bound, mended);
    }
    let (mut start, mut count) = (0.0, bucket.count);
    if at > 0 {
        start = buckets[at - 1].upper_bound;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    (start + (bucket.upper_bound - start) * (rank / count), mended)
}

/// The part of the observations in `buckets`, which it sorts and mends, between two bounds.
pub(crate) fn fraction_of_buckets(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if prepare(buckets).is_none() {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, count) - rank_of(lower, buckets, count)) / count
}

/// How many observations are below `bound`, at most `count`.
fn rank_of(bound: f64, buckets: &[Bucket], count: f64) -> f64 {
    let mut rank = 0.0;
    for (at, bucket) in buckets.iter().enumerate() {
        let start = match at {
            0 if bucket.upper_bound > 0.0 => 0.0,
            0 => f64::NEG_INFINITY,
            _ => buckets[at - 1].upper_bound,
        };
        if start >= bound {
            return rank;
        }
        if bound < bucket.upper_bound {
            let inside = bucket.count - rank;
            let part = if start.is_infinite() || bucket.upper_bound.is_infinite() {
                0.0
            } else {
                inside * (bound - start) / (bucket.upper_bound - start)
            };
            return (rank + part).min(count);
        }
        rank = bucket.count;
    }
    count
}

/// Sorts buckets, joins those of one bound and makes counts rise. `None` where the highest bound is
/// not infinite.
#[expect(clippy::option_option, reason = "no answer, and nothing to mend, are two things")]
fn prepare(buckets: &mut Vec<Bucket>) -> Option<Option<Mended>> {
    buckets.sort_by(|a, b| nan_first(a.upper_bound, b.upper_bound));
    if buckets.last()?.upper_bound != f64::INFINITY {
        return None;
    }
    buckets.dedup_by(|bucket, kept| {
        let same = bucket.upper_bound == kept.upper_bound;
        if same {
            kept.count += bucket.count;
        }
        same
    });
    Some(make_rise(buckets))
}

/// Makes the counts rise with the bounds. Differences that are rounding are levelled; a real fall
/// is reported.
fn make_rise(buckets: &mut [Bucket]) -> Option<Mended> {
    let mut mended: Option<Mended> = None;
    let mut highest = buckets[0].count;
    for bucket in buckets.iter_mut().skip(1) {
        let fall = highest - bucket.count;
        if fall == 0.0 {
            continue;
        }
        if fall.abs() / (highest.abs() + bucket.count.abs()) < ROUNDING {
            bucket.count = highest;
        } else if fall > 0.0 {
            bucket.count = highest;
            let bound = bucket.upper_bound;
            let mend = mended.get_or_insert(Mended {
                lowest_bound: bound,
                highest_bound: bound,
                most: 0.0,
            });
            mend.highest_bound = bound;
            mend.most = mend.most.max(fall);
        } else {
            highest = bucket.count;
        }
    }
    mended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs
            .iter()
            .map(|(upper_bound, count)| Bucket { upper_bound: *upper_bound, count: *count })
            .collect()
    }

    #[test]
    fn a_quantile_lies_on_the_line_inside_its_bucket() {
        let mut set = buckets(&[(f64::INFINITY, 4.0), (0.5, 3.0), (0.25, 1.0)]);
        assert_eq!(of_buckets(0.5, &mut set), (0.375, None));
        assert_eq!(of_buckets(1.0, &mut set).0, 0.5);
        assert_eq!(of_buckets(-1.0, &mut set).0, f64::NEG_INFINITY);
    }

    #[test]
    fn a_bucket_below_the_one_before_it_is_raised_and_told() {
        let mut set = buckets(&[(1.0, 5.0), (2.0, 3.0), (f64::INFINITY, 6.0)]);
        let (_, mended) = of_buckets(0.5, &mut set);
        assert_eq!(mended, Some(Mended { lowest_bound: 2.0, highest_bound: 2.0, most: 2.0 }));
        let mut rounded = buckets(&[(1.0, 5.0), (2.0, 5.0 - 1e-15), (f64::INFINITY, 6.0)]);
        assert_eq!(of_buckets(0.5, &mut rounded).1, None);
    }

    #[test]
    fn fractions_and_quantiles_are_each_others_inverse() {
        let set = buckets(&[(1.0, 2.0), (2.0, 6.0), (4.0, 9.0), (f64::INFINITY, 10.0)]);
        for q in [0.1, 0.25, 0.5, 0.8] {
            let (value, _) = of_buckets(q, &mut set.clone());
            let back = fraction_of_buckets(f64::NEG_INFINITY, value, &mut set.clone());
            assert!((back - q).abs() < 1e-12, "{q}: {back}");
        }
    }

    #[test]
    fn values_between_two_ranks_are_weighed() {
        assert_eq!(of_values(0.75, &mut [3.0, 1.0, 2.0]), 2.5);
        assert!(of_values(0.0, &mut [3.0, f64::NAN]).is_nan());
    }
}
