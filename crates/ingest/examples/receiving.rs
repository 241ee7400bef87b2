//! Measures what receiving costs, from the body to a place in the log's group: CPU time of the
//! receiving thread a sample, of both versions, with and without metadata. The log is not synced,
//! because the disk is not what is measured; the figure is the median over the requests.
//!
//! ```text
//! cargo run --release --workspace --example receiving -- [ROUNDS [V1|V2|V2WithMetadata]]
//! ```

use std::fs;

use rangekeeper_ingest::{Limits, Receiver};
use rangekeeper_model::TenantId;
use rangekeeper_storage::log::Durability;
use rangekeeper_storage::{Clock, Store, StoreOptions};
use rangekeeper_telemetry::Registry;
use rangekeeper_wire::Version;
use rangekeeper_wire::encode::{SymbolTable, labels_v1, request_v1, request_v2};
use rangekeeper_wire::proto::{v1, v2};

const HOSTS: usize = 10;
const SERIES_A_HOST: usize = 2_000;
/// A scrape of node_exporter has three series a family, side by side.
const SERIES_A_FAMILY: usize = 3;
const STEP_MS: i64 = 15_000;

#[derive(Clone, Copy, Debug)]
enum Kind {
    V1,
    V2,
    V2WithMetadata,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(300, |text| text.parse().expect("a number"));
    let only = arguments.next();
    for kind in [Kind::V1, Kind::V2, Kind::V2WithMetadata] {
        if only.as_ref().is_none_or(|only| *only == format!("{kind:?}")) {
            println!("{kind:?}: {} ns of CPU a sample", measure(kind, rounds));
        }
    }
}

fn measure(kind: Kind, rounds: i64) -> u64 {
    let dir = tempfile::tempdir().expect("a folder for a store");
    let mut options = StoreOptions::new(dir.path());
    options.durability = Durability::Flush;
    let store = Store::open(options, Clock::system()).expect("the store opens");
    let receiver = Receiver::new(store.clone(), Limits::default(), &Registry::new());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let start_ms = Clock::system().now_ms() - rounds * STEP_MS;
    let bodies: Vec<_> = (0..rounds)
        .flat_map(|round| (0..HOSTS).map(move |host| (round, host)))
        .map(|(round, host)| (round, body(kind, host, start_ms + round * STEP_MS)))
        .collect();
    let mut spent = Vec::new();
    for (round, (version, body)) in &bodies {
        let before = cpu_nanoseconds();
        let outcome = runtime.block_on(receiver.receive(&TenantId::default(), *version, body));
        assert_eq!(outcome.result, Ok(()));
        // The first rounds make the series.
        if *round > 1 {
            spent.push(cpu_nanoseconds() - before);
        }
    }
    store.abandon();
    spent.sort_unstable();
    spent[spent.len() / 2] / SERIES_A_HOST as u64
}

fn body(kind: Kind, host: usize, at_ms: i64) -> (Version, Vec<u8>) {
    let instance = format!("host-{host:05}.example.com:9100");
    let mut symbols = SymbolTable::new();
    let (mut all_v1, mut all_v2) = (Vec::new(), Vec::new());
    #[expect(clippy::cast_precision_loss, reason = "any value will do")]
    for at in 0..SERIES_A_HOST {
        let family = at / SERIES_A_FAMILY;
        let (name, device) = (format!("node_family_{family:04}_total"), format!("nvme{at}"));
        let pairs = [
            ("__name__", name.as_str()),
            ("cluster", "eu-west-1"),
            ("device", &device),
            ("instance", &instance),
            ("job", "node"),
        ];
        let value = at as f64 * 1.25;
        if let Kind::V1 = kind {
            let samples = vec![v1::Sample { value, timestamp: at_ms }];
            let labels = labels_v1(&pairs);
            all_v1.push(v1::TimeSeries { labels, samples, ..Default::default() });
            continue;
        }
        let help = format!("Number of things of kind {family} that were seen since the start.");
        let metadata = match kind {
            Kind::V2WithMetadata => {
                Some(v2::Metadata { r#type: 1, help_ref: symbols.symbol(&help), unit_ref: 0 })
            }
            _ => None,
        };
        let samples = vec![v2::Sample { value, timestamp: at_ms, start_timestamp: 0 }];
        let labels_refs = symbols.labels(&pairs);
        all_v2.push(v2::TimeSeries { labels_refs, samples, metadata, ..Default::default() });
    }
    if let Kind::V1 = kind {
        let request = v1::WriteRequest { timeseries: all_v1, metadata: Vec::new() };
        return (Version::V1, request_v1(&request));
    }
    let symbols = symbols.into_symbols();
    (Version::V2, request_v2(&v2::Request { timeseries: all_v2, symbols }))
}

/// CPU time of this thread, which uncompresses, walks, judges and logs.
fn cpu_nanoseconds() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let first = text.split_whitespace().next().expect("it tells the time first");
    first.parse().expect("nanoseconds")
}
