//! The write-ahead log: encoding a request, reading it back, and the whole way to the disk and to
//! the answer. 2,000 samples a request in 256 shards, as a sorted request is cut. The last row
//! counts processor time, of all threads, because the disk is not what is measured; the wall clock
//! is in the row before it.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rangekeeper_model::{SeriesId, ShardId, TenantId};
use rangekeeper_storage::log::{
    Checkpoints, FileSeq, FloatSample, Log, LogOptions, Record, RecordEncoder, SeriesRef,
    SubmitError,
};

const SAMPLES: u32 = 2000;
const SHARDS: u32 = 256;
const SENDERS: u32 = 4;
const STORE: [u8; 16] = [7; 16];
/// What the kernel counts processor time in, wherever Linux runs.
const TICK: Duration = Duration::from_millis(10);

/// The samples of one request, grouped by shard.
fn samples(request: u32) -> Vec<(ShardId, FloatSample)> {
    let timestamp_ms = 1_763_800_000_137 + i64::from(request) * 15_000;
    let mut samples: Vec<_> = (0..SAMPLES)
        .map(|n| {
            let shard = n.wrapping_mul(2_654_435_761) % SHARDS;
            let value = f64::from(n * request) * 1.25;
            let reference = SeriesRef(request % SENDERS * SAMPLES + n);
            let shard = ShardId(u16::try_from(shard).expect("a small number"));
            (shard, FloatSample { reference, timestamp_ms, start_ms: 0, value })
        })
        .collect();
    samples.sort_by_key(|(shard, sample)| (*shard, sample.reference.0));
    samples
}

fn encode(encoder: &mut RecordEncoder, samples: &[(ShardId, FloatSample)], define: bool) -> Record {
    encoder.clear();
    if define {
        let tenant = TenantId::default();
        for (shard, sample) in samples {
            let mut id = [0; SeriesId::BYTES];
            id[..2].copy_from_slice(&shard.0.to_be_bytes());
            id[12..].copy_from_slice(&sample.reference.0.to_be_bytes());
            encoder.define(sample.reference, SeriesId(id), &tenant, None);
        }
    }
    for (shard, sample) in samples {
        encoder.float(*shard, sample);
    }
    encoder.finish().expect("a record of a usual size")
}

fn open(dir: &Path) -> Log {
    let opened = Log::open(dir, STORE, Checkpoints::default(), LogOptions::default());
    opened.expect("an empty folder opens").0
}

/// Each sender encodes, submits and waits, `requests` times; then the log is closed.
fn send(requests: u64) {
    let dir = tempfile::tempdir().expect("a folder for a log");
    let log = open(dir.path());
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let log = &log;
            scope.spawn(move || {
                let samples = samples(sender + SENDERS);
                let mut encoder = RecordEncoder::new();
                let mut defined_in = FileSeq(0);
                for _ in 0..requests {
                    let mut file = log.current_file();
                    let mut flight = loop {
                        let record = encode(&mut encoder, &samples, defined_in != file);
                        match log.submit(record, file) {
                            Ok(flight) => break flight,
                            Err(SubmitError::FileChanged { now, .. }) => file = now,
                            Err(error) => panic!("{error}"),
                        }
                    };
                    defined_in = flight.file();
                    flight.wait_durable().expect("a disk that works");
                }
            });
        }
    });
    log.close().expect("a disk that works");
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
    ticks.map(|n| TICK * n.expect("a number")).sum()
}

fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Elements(u64::from(SAMPLES)));
    let request = samples(5);
    let mut encoder = RecordEncoder::new();
    group.bench_function("encode", |b| {
        b.iter(|| encode(&mut encoder, black_box(&request), false));
    });

    let dir = tempfile::tempdir().expect("a folder for a log");
    let log = open(dir.path());
    let file = log.current_file();
    for request in 0..500 {
        let record = encode(&mut encoder, &samples(request), request < SENDERS);
        log.submit(record, file).expect("it all fits one file");
    }
    log.rotate().expect("an open log").wait().expect("a disk that works");
    let files = log.files();
    group.throughput(Throughput::Elements(500 * u64::from(SAMPLES)));
    group.bench_function("read", |b| {
        b.iter(|| {
            let mut reader = files[0].read().expect("a whole file");
            let mut sum = 0.0;
            while let Some(record) = reader.next_record().expect("whole records") {
                for run in record.floats().expect("whole runs") {
                    sum += run.elements.map(|s| s.expect("a whole sample").value).sum::<f64>();
                }
            }
            sum
        });
    });

    group.throughput(Throughput::Elements(u64::from(SENDERS * SAMPLES)));
    group.sample_size(10);
    group.bench_function("synced, 4 senders", |b| {
        b.iter_custom(|requests| {
            let begun = Instant::now();
            send(requests);
            begun.elapsed()
        });
    });
    group.bench_function("synced, 4 senders, processor time", |b| {
        b.iter_custom(|requests| {
            let begun = cpu();
            send(requests);
            cpu().saturating_sub(begun)
        });
    });
    group.finish();
}

criterion_group!(benches, log);
criterion_main!(benches);
