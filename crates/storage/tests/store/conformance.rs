//! One suite for the oracle and the store. What a case writes is asked of the oracle, and of a
//! store wherever the samples lie: in the head, in the database, sent once more, sealed, and after
//! a crash.

use std::sync::Arc;

use rangekeeper_model::{
    Buckets, CounterResetHint, DAY_MS, Day, Histogram, HistogramSample, Labels, MatchOp, Matcher,
    MetricType, STALE_NAN_BITS, Span, TenantId, TimeRange, WINDOW_MS, Window,
};
use rangekeeper_storage::oracle::{Batch, Oracle, Row};
use rangekeeper_storage::{FamilyMetadata, Store};

use crate::keeper::{Keeper, Point, Rows, TestClock, options};

/// Noon of some day, so that no case is near midnight without wanting to be.
const T0: i64 = 20_000 * DAY_MS + DAY_MS / 2;
const NOW: i64 = T0 + 60_000;
const RETENTION: i64 = 10 * DAY_MS;
const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

type Writes = Vec<(TenantId, Batch)>;

/// Puts all of `writes` to each keeper and has it checked.
fn run(writes: &Writes, check: impl Fn(&dyn Keeper)) {
    let clock = TestClock::at(NOW);
    let put = |keeper: &mut dyn Keeper| {
        for (tenant, batch) in writes {
            keeper.put(tenant, batch);
        }
    };
    let mut oracle = Oracle::new(clock.clock(), RETENTION);
    put(&mut oracle);
    check(&oracle);
    put(&mut oracle);
    check(&oracle);
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let mut options = options(dir.path());
        options.retention_ms = RETENTION;
        Store::open(options, clock.clock()).unwrap()
    };
    let mut store = open();
    put(&mut store);
    check(&store);
    store.abandon();
    drop(store);
    let mut store = open();
    check(&store);
    store.checkpoint().unwrap();
    check(&store);
    put(&mut store);
    check(&store);
    store.seal_all().unwrap();
    check(&store);
    put(&mut store);
    store.abandon();
    drop(store);
    let store = open();
    check(&store);
    store.close();
}

fn tenant() -> TenantId {
    TenantId::default()
}

fn labels(host: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("instance", host)]).unwrap()
}

fn floats(labels: Labels, floats: &[(i64, i64, f64)]) -> (TenantId, Batch) {
    let row = Row { floats: floats.to_vec(), ..Row::new(labels) };
    (tenant(), Batch { rows: vec![row], metadata: vec![] })
}

fn point(at_ms: i64, start_ms: i64, value: f64) -> Point {
    let mut bytes = vec![0];
    bytes.extend(value.to_bits().to_be_bytes());
    (at_ms, start_ms, bytes)
}

fn all(keeper: &dyn Keeper) -> Rows {
    keeper.ask(&tenant(), &[], TimeRange::ALL)
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).unwrap()
}

/// A histogram of one bucket with `count` observations.
fn histogram(float: bool, count: u8, sum: f64) -> Arc<Histogram> {
    let buckets = if float {
        let count = f64::from(count);
        Buckets::Float { count, zero_count: 0.0, positive: vec![count], negative: vec![] }
    } else {
        Buckets::Integer {
            count: count.into(),
            zero_count: 0,
            positive: vec![count.into()],
            negative: vec![],
        }
    };
    Arc::new(Histogram {
        reset_hint: CounterResetHint::NotReset,
        schema: 3,
        zero_threshold: 0.001,
        sum,
        buckets,
        positive_spans: vec![Span { offset: -2, length: 1 }],
        negative_spans: vec![],
        custom_values: vec![],
    })
}

fn histograms(labels: Labels, samples: &[(i64, i64, Arc<Histogram>)]) -> (TenantId, Batch) {
    let sample = |(timestamp_ms, start_ms, histogram): &(i64, i64, Arc<Histogram>)| {
        let (timestamp_ms, start_ms, histogram) = (*timestamp_ms, *start_ms, Arc::clone(histogram));
        HistogramSample { timestamp_ms, start_ms, histogram }
    };
    let row = Row { histograms: samples.iter().map(sample).collect(), ..Row::new(labels) };
    (tenant(), Batch { rows: vec![row], metadata: vec![] })
}

#[test]
fn what_is_written_is_answered_in_order_of_time() {
    let writes = vec![
        floats(labels("a"), &[(T0, 0, 1.0), (T0 + 15_000, 0, 2.0)]),
        floats(labels("b"), &[(T0 + 30_000, 0, 5.0), (T0, 0, 4.0), (T0 + 15_000, 0, 6.0)]),
        floats(labels("a"), &[(T0 - 15_000, 0, 0.5)]),
    ];
    run(&writes, |keeper| {
        let a = vec![point(T0 - 15_000, 0, 0.5), point(T0, 0, 1.0), point(T0 + 15_000, 0, 2.0)];
        let b = vec![point(T0, 0, 4.0), point(T0 + 15_000, 0, 6.0), point(T0 + 30_000, 0, 5.0)];
        assert_eq!(all(keeper), [(labels("a"), a), (labels("b"), b)]);
    });
}

#[test]
fn a_series_that_comes_twice_in_a_write_is_one() {
    let mut batch = floats(labels("a"), &[(T0, 0, 1.0)]).1;
    batch.rows.extend(floats(labels("b"), &[(T0, 0, 7.0)]).1.rows);
    batch.rows.extend(floats(labels("a"), &[(T0 + 1, 0, 2.0)]).1.rows);
    run(&vec![(tenant(), batch)], |keeper| {
        let a = vec![point(T0, 0, 1.0), point(T0 + 1, 0, 2.0)];
        assert_eq!(all(keeper), [(labels("a"), a), (labels("b"), vec![point(T0, 0, 7.0)])]);
    });
}

#[test]
fn the_greater_of_two_values_at_one_time_stays_whatever_their_order() {
    let writes = vec![
        floats(labels("a"), &[(T0, 0, 1.0)]),
        floats(labels("a"), &[(T0, 0, 2.0)]),
        floats(labels("b"), &[(T0, 0, 2.0)]),
        floats(labels("b"), &[(T0, 0, 1.0)]),
        floats(labels("c"), &[(T0, 0, 2.0), (T0, 0, 1.0), (T0, 0, 2.0)]),
    ];
    run(&writes, |keeper| {
        let row = |host| (labels(host), vec![point(T0, 0, 2.0)]);
        assert_eq!(all(keeper), [row("a"), row("b"), row("c")]);
    });
}

#[test]
fn any_value_beats_a_stale_marker() {
    let writes = vec![
        floats(labels("a"), &[(T0, 0, STALE)]),
        floats(labels("a"), &[(T0, 0, -5.0)]),
        floats(labels("b"), &[(T0, 0, f64::NEG_INFINITY), (T0, 0, STALE)]),
        floats(labels("c"), &[(T0, 0, STALE)]),
    ];
    run(&writes, |keeper| {
        let row = |host, value| (labels(host), vec![point(T0, 0, value)]);
        let rows = [row("a", -5.0), row("b", f64::NEG_INFINITY), row("c", STALE)];
        assert_eq!(all(keeper), rows);
    });
}

#[test]
fn a_histogram_beats_a_float_and_a_float_histogram_an_integer_one() {
    let (whole, fraction) = (histogram(false, 9, 9.0), histogram(true, 2, 1.0));
    let stale = histogram(true, 2, STALE);
    let writes = vec![
        floats(labels("a"), &[(T0, 0, 1e9)]),
        histograms(labels("a"), &[(T0, 0, Arc::clone(&whole))]),
        histograms(labels("b"), &[(T0, 0, Arc::clone(&fraction)), (T0, 0, Arc::clone(&whole))]),
        floats(labels("b"), &[(T0, 0, 1e9)]),
        histograms(labels("c"), &[(T0, 0, Arc::clone(&stale))]),
        floats(labels("c"), &[(T0, 0, 1.0)]),
    ];
    run(&writes, |keeper| {
        let rows = [
            (labels("a"), vec![(T0, 0, whole.canonical_bytes())]),
            (labels("b"), vec![(T0, 0, fraction.canonical_bytes())]),
            (labels("c"), vec![point(T0, 0, 1.0)]),
        ];
        assert_eq!(all(keeper), rows);
    });
}

#[test]
fn start_timestamps_are_kept_and_the_greater_wins() {
    let hist = histogram(false, 3, 3.0);
    let writes = vec![
        floats(labels("a"), &[(T0, 0, 1.0), (T0 + 1, T0 - 9, 1.0), (T0 + 2, 0, 1.0)]),
        floats(labels("a"), &[(T0, T0 - 5, 1.0), (T0 + 1, T0 - 10, 1.0)]),
        histograms(labels("b"), &[(T0, T0 - 3, Arc::clone(&hist)), (T0, 0, Arc::clone(&hist))]),
    ];
    run(&writes, |keeper| {
        let a = vec![point(T0, T0 - 5, 1.0), point(T0 + 1, T0 - 9, 1.0), point(T0 + 2, 0, 1.0)];
        let b = vec![(T0, T0 - 3, hist.canonical_bytes())];
        assert_eq!(all(keeper), [(labels("a"), a), (labels("b"), b)]);
    });
}

#[test]
fn values_are_kept_bit_for_bit() {
    let bits = [
        f64::NAN.to_bits(),
        0x7ff8_0000_dead_beef,
        0xfff0_0000_0000_0001,
        STALE_NAN_BITS,
        (-0.0_f64).to_bits(),
        f64::MIN_POSITIVE.to_bits() - 1,
        f64::NEG_INFINITY.to_bits(),
        0.1_f64.to_bits(),
    ];
    let samples: Vec<_> =
        (0..).zip(bits).map(|(at, bits)| (T0 + at, 0, f64::from_bits(bits))).collect();
    run(&vec![floats(labels("a"), &samples)], |keeper| {
        let points = samples.iter().map(|(at, start, value)| point(*at, *start, *value)).collect();
        assert_eq!(all(keeper), [(labels("a"), points)]);
    });
}

#[test]
fn tenants_do_not_see_each_other() {
    let (ours, theirs) = (tenant(), TenantId::new("other").unwrap());
    let mut of_others = floats(labels("a"), &[(T0, 0, 2.0)]);
    of_others.0 = theirs.clone();
    let writes = vec![floats(labels("a"), &[(T0, 0, 1.0)]), of_others];
    run(&writes, |keeper| {
        let found = |tenant| keeper.ask(tenant, &[], TimeRange::ALL);
        assert_eq!(found(&ours), [(labels("a"), vec![point(T0, 0, 1.0)])]);
        assert_eq!(found(&theirs), [(labels("a"), vec![point(T0, 0, 2.0)])]);
        let nobody = TenantId::new("nobody").unwrap();
        assert_eq!(found(&nobody), []);
        assert!(keeper.names(&nobody, &[], TimeRange::ALL).is_empty());
    });
}

#[test]
fn both_ends_of_a_range_belong_to_it() {
    let samples: Vec<_> = (0..5i32).map(|at| (T0 + i64::from(at), 0, f64::from(at))).collect();
    run(&vec![floats(labels("a"), &samples)], |keeper| {
        let times = |from_ms, to_ms| -> Vec<i64> {
            let range = TimeRange { from_ms, to_ms };
            let rows = keeper.ask(&tenant(), &[], range);
            rows.into_iter().flat_map(|(_, points)| points).map(|(at, ..)| at - T0).collect()
        };
        assert_eq!(times(T0 + 1, T0 + 3), [1, 2, 3]);
        assert_eq!(times(T0 + 4, T0 + 4), [4]);
        assert_eq!(times(T0 + 5, T0 + 99), [0i64; 0]);
        assert_eq!(times(T0 + 3, T0 + 1), [0i64; 0]);
    });
}

#[test]
fn samples_on_both_sides_of_windows_and_days_belong_to_one_series() {
    let midnight = Day::of(T0).start_ms();
    let edge = Window::of(T0).start_ms();
    let times = [
        midnight - WINDOW_MS,
        midnight - 1,
        midnight,
        midnight + WINDOW_MS - 1,
        midnight + WINDOW_MS,
        edge - 1,
        edge,
    ];
    let mut samples = times.map(|at| (at, 0, 1.5));
    let forward = floats(labels("a"), &samples);
    samples.reverse();
    run(&vec![forward, floats(labels("b"), &samples)], |keeper| {
        let points = times.map(|at| point(at, 0, 1.5)).to_vec();
        assert_eq!(all(keeper), [(labels("a"), points.clone()), (labels("b"), points)]);
        let range = TimeRange { from_ms: midnight - 1, to_ms: midnight };
        let found = keeper.ask(&tenant(), &[], range);
        assert_eq!(found[0].1, [point(midnight - 1, 0, 1.5), point(midnight, 0, 1.5)]);
    });
}

#[test]
fn matchers_choose_series_as_prometheus_does() {
    let series = |instance: &str, zone: &str| {
        Labels::from_pairs([("__name__", "up"), ("instance", instance), ("zone", zone)]).unwrap()
    };
    let hosts = [("h1", ""), ("h10", "a"), ("h2", "b"), ("ä\u{1}", "a")];
    let writes = hosts.map(|(host, zone)| floats(series(host, zone), &[(T0, 0, 1.0)])).to_vec();
    run(&writes, |keeper| {
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        let hosts = |matchers: &[Matcher]| -> Vec<String> {
            let rows = keeper.ask(&tenant(), matchers, TimeRange::ALL);
            rows.iter().map(|(l, _)| l.value("instance").unwrap().to_owned()).collect()
        };
        assert_eq!(hosts(&[matcher(Equal, "instance", "h1")]), ["h1"]);
        assert_eq!(hosts(&[matcher(Equal, "instance", "ä\u{1}")]), ["ä\u{1}"]);
        assert_eq!(hosts(&[matcher(Regex, "instance", "h1.*")]), ["h1", "h10"]);
        assert_eq!(hosts(&[matcher(Regex, "instance", "h2|h10")]), ["h10", "h2"]);
        assert_eq!(hosts(&[matcher(NotRegex, "instance", "h.*")]), ["ä\u{1}"]);
        assert_eq!(hosts(&[matcher(Equal, "zone", "")]), ["h1"]);
        assert_eq!(hosts(&[matcher(NotEqual, "zone", "")]), ["h10", "h2", "ä\u{1}"]);
        assert_eq!(hosts(&[matcher(Regex, "zone", "b|")]), ["h1", "h2"]);
        assert_eq!(hosts(&[matcher(Equal, "none", "")]).len(), 4);
        assert_eq!(hosts(&[matcher(NotEqual, "none", "")]), [""; 0]);
        let both = [matcher(Regex, "instance", "h.*"), matcher(Equal, "zone", "a")];
        assert_eq!(hosts(&both), ["h10"]);
    });
}

#[test]
fn names_values_and_series_are_those_of_the_days_asked_for() {
    let old = Labels::from_pairs([("__name__", "gone"), ("since", "monday")]).unwrap();
    let yesterday = T0 - DAY_MS;
    let writes = vec![
        floats(labels("a"), &[(T0, 0, 1.0), (yesterday, 0, 1.0)]),
        floats(old.clone(), &[(yesterday, 0, 1.0)]),
    ];
    run(&writes, |keeper| {
        let today = TimeRange { from_ms: T0, to_ms: T0 };
        let names = |range| keeper.names(&tenant(), &[], range).into_iter().collect::<Vec<_>>();
        assert_eq!(names(today), ["__name__", "instance"]);
        assert_eq!(names(TimeRange::ALL), ["__name__", "instance", "since"]);
        let values = |matchers: &[Matcher], range| -> Vec<String> {
            keeper.values(&tenant(), "__name__", matchers, range).into_iter().collect()
        };
        assert_eq!(values(&[], today), ["up"]);
        assert_eq!(values(&[], TimeRange::ALL), ["gone", "up"]);
        let of_a = [matcher(MatchOp::Equal, "instance", "a")];
        assert_eq!(values(&of_a, TimeRange::ALL), ["up"]);
        let series = |selectors: &[Vec<Matcher>], range| -> Vec<Labels> {
            keeper.list(&tenant(), selectors, range).into_iter().collect()
        };
        let since = vec![matcher(MatchOp::Equal, "since", "monday")];
        assert_eq!(
            series(&[of_a.to_vec(), since.clone()], TimeRange::ALL),
            [old.clone(), labels("a")]
        );
        assert_eq!(series(&[of_a.to_vec(), since], today), [labels("a")]);
    });
}

#[test]
fn exemplars_are_kept_once_by_time_value_and_labels() {
    let trace = |id: &str| Labels::from_pairs([("trace_id", id)]).unwrap();
    let mut write = floats(labels("a"), &[(T0, 0, 1.0)]);
    write.1.rows[0].exemplars = vec![
        (T0, 1.0, trace("x")),
        (T0, 1.0, trace("y")),
        (T0, 2.0, trace("x")),
        (T0 - 5, 1.0, Labels::empty()),
        (T0, 1.0, trace("x")),
    ];
    let other = floats(labels("b"), &[(T0, 0, 1.0)]);
    run(&vec![write, other], |keeper| {
        let found = keeper.examples(&tenant(), &[], TimeRange::ALL);
        let (one, two) = (1.0_f64.to_bits(), 2.0_f64.to_bits());
        let mut expected = vec![
            (T0 - 5, one, Labels::empty()),
            (T0, one, trace("x")),
            (T0, one, trace("y")),
            (T0, two, trace("x")),
        ];
        expected.sort();
        assert_eq!(found, [(labels("a"), expected)]);
        let before = TimeRange { from_ms: T0 - 9, to_ms: T0 - 1 };
        assert_eq!(keeper.examples(&tenant(), &[], before)[0].1.len(), 1);
        let none = [matcher(MatchOp::Equal, "instance", "b")];
        assert_eq!(keeper.examples(&tenant(), &none, TimeRange::ALL), []);
    });
}

#[test]
fn all_that_senders_say_of_a_family_is_kept() {
    let said = |metric_type, help: &str| FamilyMetadata {
        metric_type,
        help: help.to_owned(),
        unit: "seconds".to_owned(),
    };
    let (one, other) = (said(MetricType::Counter, "one"), said(MetricType::Gauge, "other"));
    let write = |family: &str, metadata: &FamilyMetadata| {
        let metadata = vec![(family.to_owned(), metadata.clone())];
        (tenant(), Batch { rows: vec![], metadata })
    };
    let writes = vec![write("up", &one), write("up", &other), write("up", &one), write("z", &one)];
    run(&writes, |keeper| {
        let found = keeper.statements(&tenant());
        let families: Vec<_> = found.iter().map(|row| row.family.as_str()).collect();
        assert_eq!(families, ["up", "z"]);
        let mut up = [one.clone(), other.clone()];
        up.sort();
        assert_eq!(found[0].metadata, up);
        assert_eq!(found[1].metadata, std::slice::from_ref(&one));
        assert!(keeper.statements(&TenantId::new("other").unwrap()).is_empty());
    });
}

#[test]
fn what_is_older_than_retention_is_not_answered() {
    let writes = vec![
        floats(labels("a"), &[(T0, 0, 1.0)]),
        floats(labels("a"), &[(T0 - RETENTION - 1, 0, 8.0), (T0 - RETENTION, 0, 9.0)]),
    ];
    run(&writes, |keeper| {
        let points = vec![point(T0 - RETENTION, 0, 9.0), point(T0, 0, 1.0)];
        assert_eq!(all(keeper), [(labels("a"), points)]);
    });
}
