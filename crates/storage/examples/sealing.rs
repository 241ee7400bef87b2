//! What the database costs for a trace of real scrapes: CPU of merging and sealing, bytes of all
//! files, times of reads.
//!
//! `cargo run --release -p rangekeeper-storage --example sealing -- TRACE FOLDER HOSTS TICKS`, with
//! a trace of lines `name{label="value",…}`, tab, values; every host gets the same values, each
//! from another tick on.

#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::unchecked_time_subtraction,
    reason = "arithmetic over figures that are small or only printed"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rangekeeper_chunk::OpenFloats;
use rangekeeper_model::{
    Day, Labels, METRIC_NAME, MatchOp, Matcher, RunId, SeriesHasher, SeriesId, ShardCount, ShardId,
    TenantId, Window,
};
use rangekeeper_storage::db::{CreateWith, Db, DbOptions, Registration, Windows, never};

const START_MS: i64 = 1_764_000_000_000 / 7_200_000 * 7_200_000 + 137;
const STRIPES: u16 = 16;
const SHARDS: u16 = 256;

struct Series {
    id: SeriesId,
    labels: Labels,
    host: usize,
    row: usize,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, trace, folder, hosts, ticks] = args.as_slice() else {
        panic!("usage: sealing TRACE FOLDER HOSTS TICKS");
    };
    let (hosts, ticks): (usize, usize) = (hosts.parse().unwrap(), ticks.parse().unwrap());
    let trace = std::fs::read_to_string(trace).unwrap();
    let shards = ShardCount::new(SHARDS.into()).unwrap();
    let with = CreateWith {
        store_id: 1,
        seed: 1,
        shards,
        expect_seed: None,
        expect_shards: None,
        cluster: None,
        run: RunId::of(1),
    };
    let options = DbOptions::new(Arc::new(|| START_MS));
    let db = Db::open(Path::new(folder), options, &with).unwrap();

    let (rows, series) = read_trace(&trace, hosts, shards);
    let tenant = TenantId::default();
    let day = Day::of(START_MS);
    let samples = series.len() * ticks;
    println!("{} series, {samples} samples", series.len());

    let timer = Timer::start();
    for stripe in 0..STRIPES {
        let mut batch = db.batch();
        let mut new: Vec<_> = of_stripe(&series, stripe)
            .map(|s| Registration {
                id: s.id,
                tenant: &tenant,
                labels: s.labels.as_bytes(),
                number: None,
            })
            .collect();
        db.register(&mut batch, day, &mut new).unwrap();
        db.write(batch).unwrap();
    }
    timer.print("register", samples);

    let timer = Timer::start();
    let mut encoding = Duration::ZERO;
    for from in (0..ticks).step_by(60) {
        for stripe in 0..STRIPES {
            let begin = cpu();
            let values: Vec<_> = of_stripe(&series, stripe)
                .map(|s| (s.id, open_segment(&rows[s.row], s.host, from..ticks.min(from + 60))))
                .collect();
            encoding += cpu() - begin;
            let (first, last) = stripe_shards(stripe);
            let _guards = db.shard_guards(first, last);
            let mut batch = db.batch();
            for (id, value) in &values {
                batch.merge_chunk(day, *id, Window::of(START_MS).in_day(), value);
            }
            db.write(batch).unwrap();
        }
        db.sync_wal().unwrap();
    }
    timer.less(encoding).print("merge", samples);
    println!("{} MiB of files before sealing", bytes_of(Path::new(folder)) >> 20);

    let timer = Timer::start();
    let sealed = db.seal_all_now(&never).unwrap();
    timer.print("seal", samples);
    println!("{sealed:?}");
    print_files(&db, Path::new(folder), samples);
    reads(&db, &tenant, day);
    println!("{:?}, resident {} MiB", db.memory(), resident_mib());
}

fn read_trace(trace: &str, hosts: usize, shards: ShardCount) -> (Vec<Vec<f64>>, Vec<Series>) {
    let tenant = TenantId::default();
    let hasher = SeriesHasher::new(1, &tenant);
    let (mut rows, mut series) = (Vec::new(), Vec::new());
    for (row, line) in trace.lines().enumerate() {
        let (name, values) = line.split_once('\t').unwrap();
        rows.push(values.split(' ').map(|v| v.parse().unwrap()).collect());
        let pairs = parse_labels(name);
        for host in 0..hosts {
            let instance = format!("bench-{host:05}.example.com:9100");
            let cluster = format!("eu-west-{}", host % 4);
            let mut pairs = pairs.clone();
            pairs.push(("instance".into(), instance));
            pairs.push(("cluster".into(), cluster));
            let labels = Labels::from_pairs(pairs).unwrap();
            let hash = hasher.hash(labels.as_bytes());
            let id = hasher.id(hash, labels.metric_name().unwrap(), shards);
            series.push(Series { id, labels, host, row });
        }
    }
    series.sort_by_key(|s| s.id);
    (rows, series)
}

fn parse_labels(text: &str) -> Vec<(String, String)> {
    let (name, rest) = text.split_once('{').unwrap_or((text, ""));
    let mut pairs = vec![(METRIC_NAME.to_owned(), name.to_owned())];
    let mut rest = rest.trim_end_matches('}');
    while let Some((label, after)) = rest.split_once("=\"") {
        let end = (0..after.len())
            .find(|&at| after[at..].starts_with('"') && !after[..at].ends_with('\\'))
            .unwrap();
        pairs.push((label.trim_start_matches(',').to_owned(), after[..end].replace('\\', "")));
        rest = &after[end + 1..];
    }
    pairs
}

fn stripe_shards(stripe: u16) -> (ShardId, ShardId) {
    let share = SHARDS / STRIPES;
    (ShardId(stripe * share), ShardId((stripe + 1) * share - 1))
}

fn of_stripe(series: &[Series], stripe: u16) -> impl Iterator<Item = &Series> {
    let (first, last) = stripe_shards(stripe);
    series.iter().filter(move |s| first <= s.id.shard() && s.id.shard() <= last)
}

fn open_segment(row: &[f64], host: usize, ticks: std::ops::Range<usize>) -> Vec<u8> {
    let mut open = OpenFloats::new();
    for tick in ticks {
        let random = (tick * 2_654_435_761 + host * 40_503) >> 7;
        let jitter = if random.is_multiple_of(20) { (random / 20 % 20) as i64 } else { 0 };
        let at = START_MS + tick as i64 * 15_000 + (host as i64 * 7919) % 15_000 + jitter;
        open.append(at, 0, row[(tick + host * 37) % row.len()]).unwrap();
    }
    open.finish()
}

fn print_files(db: &Db, folder: &Path, samples: usize) {
    let all = bytes_of(folder);
    println!("{all} bytes of files, {:.3} a sample", all as f64 / samples as f64);
    for statistic in db.statistics() {
        if statistic.name == "rocksdb.total-sst-files-size" {
            let bytes = statistic.value as f64 / samples as f64;
            println!("  {:12} {bytes:.3}", statistic.family.unwrap_or_default());
        }
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if Path::new(&name).extension().is_none_or(|e| e != "sst") {
            println!("  {name} {}", bytes_of(&entry.path()));
        }
    }
}

fn reads(db: &Db, tenant: &TenantId, day: Day) {
    let queries = [
        vec![Matcher::new(MatchOp::Equal, METRIC_NAME, "node_cpu_seconds_total").unwrap()],
        vec![Matcher::new(MatchOp::Regex, METRIC_NAME, "node_.*").unwrap()],
        vec![Matcher::new(MatchOp::Equal, "instance", "bench-00007.example.com:9100").unwrap()],
        vec![Matcher::new(MatchOp::NotEqual, METRIC_NAME, "").unwrap()],
    ];
    for matchers in queries {
        for run in 0..3 {
            let mut lap = Lap::start();
            let numbers = db.find(tenant, day, &matchers, &never).unwrap();
            let found = lap.lap();
            let ids = db.ids(day, &numbers).unwrap();
            let named = lap.lap();
            let mut bytes = 0;
            db.read_chunks(day, &ids, Windows::ALL, &never, |_, _, value| {
                bytes += value.len();
                true
            })
            .unwrap();
            let read = lap.lap();
            db.read_labels(day, &ids, &never, |_, _, labels| {
                bytes += labels.as_bytes().len();
                true
            })
            .unwrap();
            let (matcher, count) = (&matchers[0], ids.len());
            println!(
                "{matcher} run {run}, {count} series, {bytes} bytes, ms of CPU: \
                 find {found:.2}, ids {named:.2}, chunks {read:.2}, labels {:.2}",
                lap.lap()
            );
        }
    }
}

/// CPU time of this thread between two calls, in milliseconds: on a busy machine the only steady
/// figure.
struct Lap(f64);

impl Lap {
    fn start() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Self(text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6)
    }

    fn lap(&mut self) -> f64 {
        let before = std::mem::replace(self, Self::start()).0;
        self.0 - before
    }
}

fn bytes_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    if path.is_file() {
        let metadata = path.metadata().unwrap();
        return metadata.len().max(metadata.blocks() * 512);
    }
    std::fs::read_dir(path).unwrap().map(|entry| bytes_of(&entry.unwrap().path())).sum()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

/// CPU time of the process, all threads, in steps of the kernel's hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

struct Timer {
    cpu: Duration,
    wall: Instant,
}

impl Timer {
    fn start() -> Self {
        Self { cpu: cpu(), wall: Instant::now() }
    }

    fn less(mut self, other: Duration) -> Self {
        self.cpu += other;
        self
    }

    fn print(&self, what: &str, samples: usize) {
        let spent = cpu().saturating_sub(self.cpu);
        let nanos = spent.as_nanos() as f64 / samples as f64;
        println!("{what}: {spent:.2?} CPU, {nanos:.1} ns a sample, {:.2?}", self.wall.elapsed());
    }
}
