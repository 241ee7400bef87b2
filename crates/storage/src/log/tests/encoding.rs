//! What is encoded is read back, bit for bit.

use std::sync::Arc;

use proptest::prelude::*;
use rangekeeper_model::{
    Buckets, CounterResetHint, Day, Histogram, HistogramSample, Span, TenantId, WindowInDay,
};

use super::super::record::RecordView;
use super::*;

#[derive(Clone, Debug)]
enum Item {
    Define(u32, [u8; 16], &'static str, Option<Vec<u8>>),
    Float(u16, u32, i64, i64, u64),
    Histogram(u16, u32, i64, i64, Histogram),
    Exemplar(u16, u32, i64, u64, Vec<u8>),
    Metadata(u16, u8, [String; 4]),
    Import([u8; 16], u32, u8),
}

/// Timestamps near each other, as senders send them, and any others.
fn timestamps() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (0i64..100_000).prop_map(|ms| 1_700_000_000_000 + ms),
        1 => any::<i64>(),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)],
    ]
}

fn references() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..3000, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

fn floats() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..6)
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let span = (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length });
    proptest::collection::vec(span, 0..4)
}

fn buckets() -> impl Strategy<Value = Buckets> {
    let deltas = || proptest::collection::vec(any::<i64>(), 0..6);
    prop_oneof![
        (any::<u64>(), any::<u64>(), deltas(), deltas()).prop_map(
            |(count, zero_count, positive, negative)| {
                Buckets::Integer { count, zero_count, positive, negative }
            }
        ),
        (any::<u64>(), any::<u64>(), floats(), floats()).prop_map(
            |(count, zero_count, positive, negative)| {
                let (count, zero_count) = (f64::from_bits(count), f64::from_bits(zero_count));
                Buckets::Float { count, zero_count, positive, negative }
            }
        ),
    ]
}

fn histograms() -> impl Strategy<Value = Histogram> {
    let hints = prop_oneof![
        Just(CounterResetHint::Unknown),
        Just(CounterResetHint::Reset),
        Just(CounterResetHint::NotReset),
        Just(CounterResetHint::Gauge),
    ];
    let numbers = (any::<i32>(), any::<u64>(), any::<u64>());
    (hints, numbers, buckets(), spans(), spans(), floats()).prop_map(
        |(reset_hint, (schema, zero, sum), buckets, positive_spans, negative_spans, bounds)| {
            Histogram {
                reset_hint,
                schema,
                zero_threshold: f64::from_bits(zero),
                sum: f64::from_bits(sum),
                buckets,
                positive_spans,
                negative_spans,
                custom_values: bounds,
            }
        },
    )
}

fn items() -> impl Strategy<Value = Item> {
    let tenants = prop_oneof![Just("anonymous"), Just("other")];
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let texts = proptest::array::uniform4("\\PC{0,12}");
    let shards = || 0u16..5;
    prop_oneof![
        3 => (references(), any::<[u8; 16]>(), tenants, proptest::option::of(bytes()))
            .prop_map(|(r, id, tenant, labels)| Item::Define(r, id, tenant, labels)),
        12 => (shards(), references(), timestamps(), timestamps(), any::<u64>())
            .prop_map(|(s, r, t, start, value)| Item::Float(s, r, t, start, value)),
        2 => (shards(), references(), timestamps(), timestamps(), histograms())
            .prop_map(|(s, r, t, start, h)| Item::Histogram(s, r, t, start, h)),
        2 => (shards(), references(), timestamps(), any::<u64>(), bytes())
            .prop_map(|(s, r, t, value, labels)| Item::Exemplar(s, r, t, value, labels)),
        1 => (shards(), any::<u8>(), texts)
            .prop_map(|(s, kind, texts)| Item::Metadata(s, kind, texts)),
        1 => (any::<[u8; 16]>(), any::<u32>(), any::<u8>())
            .prop_map(|(id, day, window)| Item::Import(id, day, window)),
    ]
}

fn put(encoder: &mut RecordEncoder, item: &Item) {
    match item {
        Item::Define(reference, id, tenant, labels) => {
            let tenant = TenantId::new(tenant).unwrap();
            encoder.define(SeriesRef(*reference), SeriesId(*id), &tenant, labels.as_deref());
        }
        Item::Float(shard, reference, timestamp_ms, start_ms, value) => {
            let (reference, value) = (SeriesRef(*reference), f64::from_bits(*value));
            let (timestamp_ms, start_ms) = (*timestamp_ms, *start_ms);
            let sample = FloatSample { reference, timestamp_ms, start_ms, value };
            encoder.float(ShardId(*shard), &sample);
        }
        Item::Histogram(shard, reference, timestamp_ms, start_ms, histogram) => {
            let histogram = Arc::new(histogram.clone());
            let (timestamp_ms, start_ms) = (*timestamp_ms, *start_ms);
            let sample = HistogramSample { timestamp_ms, start_ms, histogram };
            encoder.histogram(ShardId(*shard), SeriesRef(*reference), &sample);
        }
        Item::Exemplar(shard, reference, timestamp_ms, value, labels) => {
            let (reference, value) = (SeriesRef(*reference), f64::from_bits(*value));
            let timestamp_ms = *timestamp_ms;
            encoder.exemplar(ShardId(*shard), &Exemplar { reference, timestamp_ms, value, labels });
        }
        Item::Metadata(shard, metric_type, [tenant, family, help, unit]) => {
            let (shard, metric_type) = (ShardId(*shard), *metric_type);
            encoder.metadata(&Metadata { shard, tenant, family, metric_type, help, unit });
        }
        Item::Import(id, day, window) => {
            let (day, window) = (Day(*day), WindowInDay(*window));
            encoder.import(Import { series: SeriesId(*id), day, window });
        }
    }
}

/// The items in the order in which a record keeps them.
fn take(view: &RecordView<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    for definition in view.definitions().map(Result::unwrap) {
        let tenant = if definition.tenant == "other" { "other" } else { "anonymous" };
        let labels = definition.labels.map(<[u8]>::to_vec);
        items.push(Item::Define(definition.reference.0, definition.series.0, tenant, labels));
    }
    for run in view.floats().unwrap() {
        items.extend(run.elements.map(Result::unwrap).map(|s| {
            let value = s.value.to_bits();
            Item::Float(run.shard.0, s.reference.0, s.timestamp_ms, s.start_ms, value)
        }));
    }
    for run in view.histograms().unwrap() {
        items.extend(run.elements.map(Result::unwrap).map(|(reference, s)| {
            let histogram = Arc::unwrap_or_clone(s.histogram);
            Item::Histogram(run.shard.0, reference.0, s.timestamp_ms, s.start_ms, histogram)
        }));
    }
    for run in view.exemplars().unwrap() {
        items.extend(run.elements.map(Result::unwrap).map(|e| {
            let (value, labels) = (e.value.to_bits(), e.labels.to_vec());
            Item::Exemplar(run.shard.0, e.reference.0, e.timestamp_ms, value, labels)
        }));
    }
    for entry in view.metadata().map(Result::unwrap) {
        let texts = [entry.tenant, entry.family, entry.help, entry.unit].map(str::to_owned);
        items.push(Item::Metadata(entry.shard.0, entry.metric_type, texts));
    }
    for import in view.imports().unwrap() {
        items.push(Item::Import(import.series.0, import.day.0, import.window.0));
    }
    items
}

fn kind(item: &Item) -> usize {
    match item {
        Item::Define(..) => 0,
        Item::Float(..) => 1,
        Item::Histogram(..) => 2,
        Item::Exemplar(..) => 3,
        Item::Metadata(..) => 4,
        Item::Import(..) => 5,
    }
}

/// Text in which floats show their bits: NaNs are to be equal to themselves.
fn shown(item: &Item) -> String {
    let Item::Histogram(shard, reference, timestamp_ms, start_ms, histogram) = item else {
        return format!("{item:?}");
    };
    let bits = |floats: &[f64]| floats.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
    let Histogram { reset_hint, schema, zero_threshold, sum, buckets, .. } = histogram;
    let Histogram { positive_spans, negative_spans, custom_values, .. } = histogram;
    let buckets = match buckets {
        Buckets::Integer { .. } => format!("{buckets:?}"),
        Buckets::Float { count, zero_count, positive, negative } => {
            format!("{:?} {:?} {:?}", bits(&[*count, *zero_count]), bits(positive), bits(negative))
        }
    };
    let (numbers, bounds) = (bits(&[*zero_threshold, *sum]), bits(custom_values));
    let head = (shard, reference, timestamp_ms, start_ms, reset_hint, schema);
    format!("{head:?} {numbers:?} {buckets} {positive_spans:?} {negative_spans:?} {bounds:?}")
}

fn body(record: &Record) -> &[u8] {
    let head = super::super::format::RECORD_HEADER_BYTES;
    &record.bytes[head..head + record.body_bytes as usize]
}

proptest! {
    #[test]
    fn any_record_is_read_back_as_it_was_put_in(
        items in proptest::collection::vec(items(), 0..60),
    ) {
        let mut encoder = RecordEncoder::new();
        // What an encoder held before must not show.
        put(&mut encoder, &Item::Float(1, 2, 3, 4, 5));
        put(&mut encoder, &Item::Define(1, [9; 16], "other", None));
        encoder.clear();
        for item in &items {
            put(&mut encoder, item);
        }
        prop_assert_eq!(encoder.is_empty(), items.is_empty());
        let record = encoder.finish().unwrap();
        let view = RecordView::parse(Position(1), body(&record)).unwrap();
        let mut expected = items;
        expected.sort_by_key(kind);
        let expected: Vec<_> = expected.iter().map(shown).collect();
        let found: Vec<_> = take(&view).iter().map(shown).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_body_of_any_bytes_reads_or_is_refused(
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let dir = scratch();
        super::super::fuzz::log_file(&body, dir.path());
    }
}

#[test]
fn a_shards_samples_are_found_without_reading_the_others() {
    let mut encoder = RecordEncoder::new();
    for n in 0..100u32 {
        let reference = SeriesRef(n);
        let sample = FloatSample { reference, timestamp_ms: 5, start_ms: 0, value: f64::from(n) };
        encoder.float(ShardId(u16::try_from(n / 10).unwrap()), &sample);
    }
    let record = encoder.finish().unwrap();
    let mut bytes = body(&record).to_vec();
    // Spoil the data of all runs but the last: 10 samples of 10 or, the first of a run, 11 bytes.
    let end = bytes.len();
    let last_run = end - (10 * 10);
    bytes[32 + 4 + 60..last_run].fill(0xff);
    let view = RecordView::parse(Position(1), &bytes).unwrap();
    let run = view.floats().unwrap().find(|run| run.shard == ShardId(9)).unwrap();
    let values: Vec<_> = run.elements.map(|sample| sample.unwrap().value).collect();
    assert_eq!(values, (90..100).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn a_scrape_takes_at_most_fourteen_bytes_a_sample() {
    let mut encoder = RecordEncoder::new();
    let mut samples = 0;
    for shard in 0..256u16 {
        for n in 0..8u32 {
            let reference = SeriesRef(n * 256 + u32::from(shard) + 70_000);
            let timestamp_ms = 1_700_000_000_137;
            let sample = FloatSample { reference, timestamp_ms, start_ms: 0, value: 0.1 };
            encoder.float(ShardId(shard), &sample);
            samples += 1;
        }
    }
    let bytes = encoder.finish().unwrap().file_bytes();
    assert!(bytes <= samples * 14, "{bytes} bytes for {samples} samples");
}

#[test]
fn a_definition_without_labels_takes_21_bytes() {
    let mut encoder = RecordEncoder::new();
    let tenant = TenantId::default();
    let length = |encoder: &RecordEncoder| body(&encoder.finish().unwrap()).len();
    encoder.define(SeriesRef(0), series(0), &tenant, None);
    let before = length(&encoder);
    encoder.define(SeriesRef(1), series(1), &tenant, None);
    assert_eq!(length(&encoder) - before, 21);
}

#[test]
fn mutated_files_never_panic() {
    let dir = scratch();
    let (log, _) = open(dir.path());
    for value in [1.0, 2.0, 3.0] {
        write(&log, 5, value);
    }
    log.close().unwrap();
    let path = log_files(dir.path()).remove(0);
    let file = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    super::super::fuzz::log_file(&file, dir.path());
    for _ in 0..300 {
        let mut changed = file.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..changed.len());
            changed[at] = random.u8(..);
        }
        changed.truncate(random.usize(..=changed.len()).max(changed.len() / 2));
        super::super::fuzz::log_file(&changed, dir.path());
        assert!(log_files(dir.path()).is_empty());
    }
}
