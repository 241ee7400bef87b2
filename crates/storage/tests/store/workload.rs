//! What senders send, at random: in and out of order, duplicates, conflicting values at one time,
//! stale markers, histograms, start timestamps, exemplars, metadata, several tenants, series that
//! come and go.

use std::sync::Arc;

use fastrand::Rng;
use rangekeeper_model::{
    Buckets, CounterResetHint, DAY_MS, Histogram, HistogramSample, Labels, MatchOp, Matcher,
    MetricType, STALE_NAN_BITS, Span, TenantId, TimeRange,
};
use rangekeeper_storage::FamilyMetadata;
use rangekeeper_storage::oracle::{Batch, Row};

const STEP_MS: i64 = 15_000;
const HOUR_MS: i64 = 60 * 60 * 1000;
/// Batches of which one may be sent again.
const REMEMBERED: usize = 20;

/// The seeds to run: the one in `RANGEKEEPER_SEED`; else `count`, or forty times as many where
/// `RANGEKEEPER_SOAK` is set.
pub fn seeds(count: u64) -> Vec<u64> {
    if let Ok(seed) = std::env::var("RANGEKEEPER_SEED") {
        return vec![seed.parse().expect("RANGEKEEPER_SEED is a number")];
    }
    let soak = std::env::var("RANGEKEEPER_SOAK").is_ok_and(|value| value == "1");
    let first = fastrand::u64(..) >> 16;
    (first..first + if soak { count * 40 } else { count }).collect()
}

/// Makes batches.
pub struct Workload {
    pub random: Rng,
    tenants: Vec<TenantId>,
    /// Number of series that were ever written: later ones take the place of earlier ones.
    newest_series: u32,
    sent: Vec<(TenantId, Batch)>,
}

impl Workload {
    pub fn new(seed: u64) -> Self {
        let tenants = ["anonymous", "team-a", "team-b.prod"];
        Self {
            random: Rng::with_seed(seed),
            tenants: tenants.iter().map(|name| TenantId::new(name).unwrap()).collect(),
            newest_series: 30,
            sent: Vec::new(),
        }
    }

    pub fn tenants(&self) -> &[TenantId] {
        &self.tenants
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(..100) < percent
    }

    /// A write at `now_ms` with samples back to `reach_ms` ago.
    pub fn batch(&mut self, now_ms: i64, reach_ms: i64) -> (TenantId, Batch) {
        if !self.sent.is_empty() && self.chance(10) {
            let at = self.random.usize(..self.sent.len());
            return self.sent[at].clone();
        }
        let tenant = self.tenants[self.random.usize(..self.tenants.len())].clone();
        let mut batch = Batch::default();
        for _ in 0..self.random.usize(1..25) {
            let row = self.row(now_ms, reach_ms);
            batch.rows.push(row);
        }
        for _ in 0..self.random.usize(..3) {
            let metadata = self.metadata();
            batch.metadata.push(metadata);
        }
        if self.chance(3) {
            batch.rows.clear();
        }
        self.sent.push((tenant.clone(), batch.clone()));
        if self.sent.len() > REMEMBERED {
            self.sent.remove(0);
        }
        (tenant, batch)
    }

    fn row(&mut self, now_ms: i64, reach_ms: i64) -> Row {
        if self.chance(2) {
            self.newest_series += 1;
        }
        let number = self.newest_series - self.random.u32(..30);
        let mut row = Row::new(labels(number));
        let kinds = number % 5;
        for _ in 0..self.random.usize(1..6) {
            let at_ms = self.time(now_ms, reach_ms);
            let start_ms = if self.chance(20) { at_ms - self.random.i64(1..HOUR_MS) } else { 0 };
            // Two of five series have histograms, one of them floats beside.
            if kinds == 0 || (kinds == 1 && self.random.bool()) {
                let histogram = Arc::new(self.histogram());
                row.histograms.push(HistogramSample { timestamp_ms: at_ms, start_ms, histogram });
            } else {
                row.floats.push((at_ms, start_ms, self.value()));
            }
            if self.chance(10) {
                // On the day of a sample: exemplars are found by the series of their day.
                let trace = Labels::from_pairs([("trace", self.random.u8(..9).to_string())]);
                row.exemplars.push((at_ms, self.value(), trace.unwrap()));
            }
        }
        if self.chance(50) {
            row.floats.sort_by_key(|(at_ms, ..)| *at_ms);
        }
        row
    }

    /// Mostly the newest tick of a scrape, and now and then late, very late, or at the edge of a
    /// window.
    fn time(&mut self, now_ms: i64, reach_ms: i64) -> i64 {
        let tick_ms = now_ms - now_ms % STEP_MS;
        match self.random.u8(..20) {
            0..12 => tick_ms - self.random.i64(0..4) * STEP_MS,
            12..15 => tick_ms - self.random.i64(0..40) * STEP_MS,
            15 => now_ms - self.random.i64(0..3 * HOUR_MS),
            16 => now_ms - now_ms % (2 * HOUR_MS) - self.random.i64(0..2),
            17 => now_ms - now_ms % DAY_MS - self.random.i64(0..2),
            _ => now_ms - self.random.i64(0..reach_ms),
        }
    }

    fn value(&mut self) -> f64 {
        match self.random.u8(..20) {
            0 => f64::from_bits(STALE_NAN_BITS),
            1 => f64::NAN,
            2 => -0.0,
            3 => f64::INFINITY,
            4 => f64::from_bits(self.random.u64(..)),
            5..12 => f64::from(self.random.u16(..8)),
            _ => f64::from(self.random.i32(..100_000)) / 100.0,
        }
    }

    fn histogram(&mut self) -> Histogram {
        let custom = self.chance(30);
        let counts: Vec<u8> = (0..self.random.usize(1..6)).map(|_| self.random.u8(..50)).collect();
        let buckets = u32::try_from(counts.len()).unwrap();
        let total: u32 = counts.iter().map(|count| u32::from(*count)).sum();
        let zero = if custom { 0 } else { self.random.u32(..5) };
        let sum = if self.chance(10) { f64::from_bits(STALE_NAN_BITS) } else { self.value() };
        let buckets_of = if self.random.bool() {
            let before = std::iter::once(&0).chain(&counts);
            let deltas = counts.iter().zip(before).map(|(c, b)| i64::from(*c) - i64::from(*b));
            let (count, zero_count) = (u64::from(total + zero), u64::from(zero));
            Buckets::Integer { count, zero_count, positive: deltas.collect(), negative: vec![] }
        } else {
            let positive = counts.iter().map(|count| f64::from(*count)).collect();
            let (count, zero_count) = (f64::from(total + zero), f64::from(zero));
            Buckets::Float { count, zero_count, positive, negative: vec![] }
        };
        let offset = if custom { 0 } else { self.random.i32(-3..4) };
        Histogram {
            reset_hint: [CounterResetHint::Unknown, CounterResetHint::Gauge]
                [self.random.usize(..2)],
            schema: if custom { Histogram::CUSTOM_SCHEMA } else { self.random.i32(-4..9) },
            zero_threshold: if custom { 0.0 } else { 0.001 },
            sum,
            buckets: buckets_of,
            positive_spans: vec![Span { offset, length: buckets }],
            negative_spans: vec![],
            custom_values: if custom { (0..buckets).map(f64::from).collect() } else { vec![] },
        }
    }

    fn metadata(&mut self) -> (String, FamilyMetadata) {
        let family = format!("metric_{}", self.random.u8(..4));
        let metric_type = [MetricType::Counter, MetricType::Gauge][self.random.usize(..2)];
        let help = format!("help {}", self.random.u8(..3));
        (family, FamilyMetadata { metric_type, help, unit: String::new() })
    }

    /// A condition of any kind.
    pub fn matchers(&mut self) -> Vec<Matcher> {
        let all = [
            (MatchOp::Equal, "__name__", "metric_1"),
            (MatchOp::Regex, "__name__", "metric_[12]"),
            (MatchOp::NotEqual, "instance", "h2"),
            (MatchOp::Regex, "instance", "h1.*"),
            (MatchOp::NotRegex, "instance", "h[0-9]"),
            (MatchOp::Equal, "rare", ""),
            (MatchOp::NotEqual, "rare", ""),
            (MatchOp::Equal, "instance", "nowhere"),
        ];
        (0..self.random.usize(1..3))
            .map(|_| all[self.random.usize(..all.len())])
            .map(|(op, name, value)| Matcher::new(op, name, value).unwrap())
            .collect()
    }

    /// A range that ends near `now_ms`.
    pub fn range(&mut self, now_ms: i64, reach_ms: i64) -> TimeRange {
        let to_ms = now_ms - self.random.i64(0..reach_ms / 2) + HOUR_MS;
        TimeRange { from_ms: to_ms - self.random.i64(0..reach_ms), to_ms }
    }
}

/// Labels of series `number`.
pub fn labels(number: u32) -> Labels {
    let name = format!("metric_{}", number % 4);
    let instance = format!("h{number}");
    let rare = if number.is_multiple_of(7) { "é\u{1}x" } else { "" };
    Labels::from_pairs([
        ("__name__", name.as_str()),
        ("instance", instance.as_str()),
        ("job", "node"),
        ("rare", rare),
    ])
    .unwrap()
}
