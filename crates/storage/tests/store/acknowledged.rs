//! The store as its users see it: what is acknowledged is there, at once, after a checkpoint, after
//! a crash.

use std::path::Path;

use rangekeeper_chunk::Decoder;
use rangekeeper_model::{
    Day, Labels, MatchOp, Matcher, STALE_NAN_BITS, Samples, ShardCount, TenantId, TimeRange,
};
use rangekeeper_storage::db::never;
use rangekeeper_storage::{Clock, ReadLimits, Store, StoreError, StoreOptions};

const T0: i64 = 1_760_000_000_000;

fn open(dir: &Path) -> Store {
    let mut options = StoreOptions::new(dir);
    options.shards = ShardCount::new(16).unwrap();
    options.reserve_bytes = 0;
    Store::open(options, Clock::new(|| T0 + 3_600_000)).unwrap()
}

fn labels(host: u32) -> Labels {
    let host = format!("h{host}");
    Labels::from_pairs([("__name__", "up"), ("instance", host.as_str()), ("job", "node")]).unwrap()
}

fn write(store: &Store, samples: &[(u32, i64, f64)]) {
    let mut write = store.write(&TenantId::default()).unwrap();
    for (host, at_ms, value) in samples {
        write.series(write.tenant().hasher().hash(labels(*host).as_bytes()));
        write.float(*at_ms, 0, *value);
    }
    for row in write.resolve() {
        let host = samples[row.number()].0;
        write.define(row, labels(host)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let committed = runtime.block_on(write.commit()).unwrap();
    assert_eq!(committed.samples, samples.len() as u64);
}

fn read(store: &Store, matcher: Matcher, range: TimeRange) -> Vec<(String, Vec<(i64, u64)>)> {
    let selection =
        store.select(&TenantId::default(), &[matcher], range, ReadLimits::NONE).unwrap();
    let (mut decoder, mut samples) = (Decoder::default(), Samples::default());
    (0..selection.len())
        .map(|index| {
            selection.read(index, &mut decoder, &mut samples).unwrap();
            let floats = samples.floats.timestamps.iter().zip(&samples.floats.values);
            let points = floats.map(|(at_ms, value)| (*at_ms, value.to_bits())).collect();
            (selection.labels(index).to_string(), points)
        })
        .collect()
}

fn up() -> Matcher {
    Matcher::new(MatchOp::Equal, "__name__", "up").unwrap()
}

fn tick_value(tick: i64) -> f64 {
    f64::from(u32::try_from(tick).expect("few ticks"))
}

/// Samples of `hosts` hosts, one every 15 s, with what senders do beside: a late one, a duplicate,
/// a stale marker.
fn stream(hosts: u32, ticks: i64) -> Vec<Vec<(u32, i64, f64)>> {
    (0..ticks)
        .map(|tick| {
            let at_ms = T0 + tick * 15_000;
            let mut batch: Vec<_> =
                (0..hosts).map(|host| (host, at_ms, f64::from(host) + tick_value(tick))).collect();
            if tick % 10 == 9 {
                batch.push((0, at_ms - 100_000, -1.0));
                batch.push((1, at_ms, 1.0 + tick_value(tick)));
            }
            if tick == ticks - 1 {
                batch.push((2, at_ms + 1, f64::from_bits(STALE_NAN_BITS)));
            }
            batch
        })
        .collect()
}

fn expected(stream: &[Vec<(u32, i64, f64)>], hosts: u32) -> Vec<(String, Vec<(i64, u64)>)> {
    let mut rows: Vec<_> = (0..hosts)
        .map(|host| {
            let mine = stream.iter().flatten().filter(|(h, ..)| *h == host);
            let points: std::collections::BTreeMap<i64, u64> =
                mine.map(|(_, at_ms, value)| (*at_ms, value.to_bits())).collect();
            (labels(host), points.into_iter().collect::<Vec<_>>())
        })
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.into_iter().map(|(labels, points)| (labels.to_string(), points)).collect()
}

#[test]
fn an_acknowledged_sample_is_visible_at_once_and_after_every_change_of_place() {
    let dir = tempfile::tempdir().unwrap();
    let stream = stream(50, 100);
    let expected = expected(&stream, 50);
    let store = open(dir.path());
    for batch in &stream {
        write(&store, batch);
    }
    assert_eq!(read(&store, up(), TimeRange::ALL), expected, "from the head");
    store.checkpoint().unwrap();
    assert_eq!(read(&store, up(), TimeRange::ALL), expected, "from the database");
    for batch in &stream[..10] {
        write(&store, batch);
    }
    assert_eq!(read(&store, up(), TimeRange::ALL), expected, "with a sender's retry");
    store.seal_all().unwrap();
    assert_eq!(read(&store, up(), TimeRange::ALL), expected, "sealed");
    store.close();
    let store = open(dir.path());
    assert_eq!(read(&store, up(), TimeRange::ALL), expected, "after a restart");
    store.close();
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let stream = stream(50, 100);
    let store = open(dir.path());
    for (at, batch) in stream.iter().enumerate() {
        write(&store, batch);
        if at == 60 {
            store.checkpoint().unwrap();
        }
    }
    store.abandon();
    drop(store);
    let store = open(dir.path());
    assert_eq!(read(&store, up(), TimeRange::ALL), expected(&stream, 50));
    store.close();
}

#[test]
fn a_snapshot_opens_as_a_store() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stream = stream(20, 40);
    let store = open(dir.path());
    for (at, batch) in stream.iter().enumerate() {
        write(&store, batch);
        if at == 20 {
            store.checkpoint().unwrap();
        }
    }
    let folder = copy.path().join("snapshot");
    store.snapshot(&folder).unwrap();
    write(&store, &[(99, T0, 1.0)]);
    store.close();
    let copied = open(&folder);
    assert_eq!(read(&copied, up(), TimeRange::ALL), expected(&stream, 20));
    copied.close();
}

#[test]
fn a_folder_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(StoreOptions::new(dir.path()), Clock::system()).unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    store.close();
}

#[test]
fn a_reader_is_told_of_too_many_series_before_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for batch in stream(50, 2) {
        write(&store, &batch);
    }
    let select = |series| {
        let limits = ReadLimits { series, ..ReadLimits::NONE };
        store.select(&TenantId::default(), &[up()], TimeRange::ALL, limits)
    };
    for place in ["from the head", "from the database"] {
        assert_eq!(select(50).unwrap().len(), 50, "{place}");
        let refused = select(49).err();
        assert!(
            matches!(refused, Some(StoreError::TooManySeries { matched: 50, limit: 49 })),
            "{place}: {refused:?}"
        );
        store.checkpoint().unwrap();
    }
}

#[test]
fn the_first_exemplar_of_a_day_is_seen_while_a_checkpoint_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let trace = Labels::from_pairs([("trace", "1")]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for day in (0..25).rev() {
        let at_ms = T0 - day * 86_400_000;
        let mut write = store.write(&TenantId::default()).unwrap();
        let row = write.series(write.tenant().hasher().hash(labels(1).as_bytes()));
        write.float(at_ms, 0, 1.0);
        write.exemplar(row, at_ms, 1.0, trace.clone());
        for row in write.resolve() {
            write.define(row, labels(1)).unwrap();
        }
        runtime.block_on(write.commit()).unwrap();
        let range = TimeRange { from_ms: at_ms, to_ms: at_ms };
        std::thread::scope(|scope| {
            let checkpoint = scope.spawn(|| store.checkpoint().unwrap());
            let mut is_last = false;
            while !is_last {
                is_last = checkpoint.is_finished();
                let selectors = [vec![up()]];
                let found =
                    store.exemplars(&TenantId::default(), &selectors, range, &never).unwrap();
                assert_eq!(found.len(), 1, "{day} days ago");
                assert!(store.days().unwrap().contains(&Day::of(at_ms)), "{day} days ago");
            }
        });
    }
    store.close();
}
