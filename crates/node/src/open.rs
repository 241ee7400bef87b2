//! Opens the store and puts what serves requests around it.

mod cluster;
mod figures;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use rangekeeper_ingest::{Receiver, Sink};
use rangekeeper_model::ErrorClass;
use rangekeeper_query::{Api, Data};
use rangekeeper_storage::log::Durability as LogDurability;
use rangekeeper_storage::seal::SealPolicy;
use rangekeeper_storage::{Clock, Status, Store, StoreError, StoreIdentity, StoreOptions};

use crate::config::{Config, Durability};
use crate::services::{
    Answering, Cluster, Failure, Identity, Opened, Opening, Operations, ReadPath, ReadRequest,
    Services, WriteOutcome, WritePath, WriteRequest, Written,
};

/// Between two looks at how far the replay is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Opens the store that is configured, and joins the cluster if one is. Blocks until the log is
/// replayed; must be called within a runtime.
#[expect(clippy::needless_pass_by_value, reason = "the shape that the start of a node calls")]
pub fn open(opening: Opening) -> anyhow::Result<Opened> {
    if let Some(member) = opening.config.member() {
        return cluster::open(&opening, &member);
    }
    let options = store_options(&opening.config, opening.available_bytes, opening.accept_loss);
    let store = start_store(options, &opening)?;
    let services = services(&opening, &store, store.clone().into(), store.clone().into(), None)?;
    let close = Box::new(move || {
        store.close();
        Ok(())
    });
    Ok(Opened { services, close })
}

/// Opens a store, and tells meanwhile how far it has come.
fn start_store(options: StoreOptions, opening: &Opening) -> anyhow::Result<Store> {
    let store = Store::start(options, Clock::system())?;
    let mut shown = u64::MAX;
    while let Status::Opening(percent) = store.status() {
        opening.readiness.starting("replaying the log", percent, 100);
        if percent / 10 != shown {
            shown = percent / 10;
            tracing::info!(percent, "replaying the log");
        }
        store.wait_change(PROGRESS_EVERY);
    }
    store.wait_open().map_err(|error| failed_to_open(&opening.config, &error))?;
    figures::register(&store, &opening.registry);
    Ok(store)
}

/// What serves requests: writes go into `sink`, answers come from `data`.
fn services(
    opening: &Opening,
    store: &Store,
    sink: Sink,
    data: Data,
    cluster: Option<Arc<dyn Cluster>>,
) -> anyhow::Result<Services> {
    let Opening { config, registry, .. } = opening;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("rk-eval-{number}"))
        .build()
        .context("failed to start the threads that evaluate")?;
    let receiver = Receiver::new(sink, ingest_limits(config), registry);
    let (limits, features) = (query_limits(config), &config.query.features);
    let api = Api::new(data, limits, features, Arc::new(pool), registry);
    Ok(Services {
        write: Arc::new(Writes(receiver)),
        read: Arc::new(Reads(api)),
        operations: Arc::new(Operates(store.clone())),
        cluster,
    })
}

fn failed_to_open(config: &Config, error: &Arc<StoreError>) -> anyhow::Error {
    let folder = config.storage.data_dir.display().to_string();
    anyhow::Error::new(Arc::clone(error)).context(format!("failed to open the store in {folder}"))
}

fn store_options(config: &Config, available_bytes: u64, accept_loss: bool) -> StoreOptions {
    let mut options = StoreOptions::new(&config.storage.data_dir);
    options.shards = config.storage.shards;
    options.durability = match config.storage.durability {
        Durability::Sync => LogDurability::Sync,
        Durability::Flush => LogDurability::Flush,
    };
    options.log_file_bytes = config.log.file.as_u64();
    options.log_bound_bytes = config.log.bound.as_u64();
    options.flush_samples = config.head.flush_samples.get() as usize;
    options.flush_age_s = seconds(config.head.flush_age);
    options.idle_s = seconds(config.head.idle);
    options.retention_ms = milliseconds(config.storage.retention);
    options.reserve_bytes = config.disk_reserve_bytes();
    let cache_bytes = config.rocksdb.cache.of(available_bytes);
    options.cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
    // Stripes are flushed well before writes are refused.
    options.memory_bound_bytes = config.limits.memory.of(available_bytes) / 10 * 9;
    options.database_threads = config.rocksdb.threads.get();
    options.seal_policy = SealPolicy {
        delay_ms: milliseconds(config.seal.delay),
        quiet_ms: milliseconds(config.seal.quiet),
        threads: config.seal.threads.get(),
    };
    options.accept_loss = accept_loss;
    options
}

fn ingest_limits(config: &Config) -> rangekeeper_ingest::Limits {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    rangekeeper_ingest::Limits {
        decoded_bytes: size(config.limits.decoded.as_u64()),
        labels: config.limits.labels.get() as usize,
        name_bytes: size(config.limits.name.as_u64()),
        value_bytes: size(config.limits.value.as_u64()),
        ahead_ms: milliseconds(config.limits.future),
        late_ms: config.limits.late.limit().map(milliseconds),
    }
}

fn query_limits(config: &Config) -> rangekeeper_query::Limits {
    rangekeeper_query::Limits {
        samples: config.query.samples.get(),
        series: config.query.series.get(),
        timeout: config.query.timeout,
        concurrent: config.query.concurrent.get(),
        text_bytes: usize::try_from(config.query.text.as_u64()).unwrap_or(usize::MAX),
        depth: config.query.depth.get() as usize,
        lookback_ms: milliseconds(config.query.lookback),
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

struct Writes(Receiver);

impl WritePath for Writes {
    fn decoded_bytes(&self, body: &[u8]) -> u64 {
        rangekeeper_wire::declared_bytes(body)
    }

    fn receive(&self, request: WriteRequest) -> Answering<'_, WriteOutcome> {
        Box::pin(async move {
            let WriteRequest { tenant, version, body } = request;
            let outcome = self.0.receive(&tenant, version, &body).await;
            let rangekeeper_ingest::Written { samples, histograms, exemplars } = outcome.written;
            WriteOutcome {
                result: outcome.result.map_err(|(class, text)| Failure::new(class, text)),
                written: Written { samples, histograms, exemplars },
            }
        })
    }
}

struct Reads(Api);

impl ReadPath for Reads {
    fn answer(&self, request: ReadRequest) -> Answering<'_, Result<Bytes, Failure>> {
        Box::pin(async move {
            let ReadRequest { tenant, question, parameters } = request;
            let parameters = parameters.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let answer = self.0.answer(tenant, question, parameters).await;
            answer.map(Bytes::from).map_err(|e| Failure::new(e.class(), e.to_string()))
        })
    }
}

struct Operates(Store);

impl Operations for Operates {
    fn may_write(&self) -> Result<(), String> {
        match self.0.status() {
            Status::Ready => Ok(()),
            Status::ReadOnly(reason) | Status::Failed(reason) => Err(reason),
            Status::Opening(percent) => Err(format!("{percent} % of the log is replayed")),
            Status::Closed => Err("the store is closed".to_owned()),
        }
    }

    fn seal(&self) -> Result<(), Failure> {
        self.0.seal_all().map_err(failure)
    }

    fn snapshot(&self, folder: &Path) -> Result<(), Failure> {
        if folder.exists() {
            let message = format!("{} exists already", folder.display());
            return Err(Failure::new(ErrorClass::Invalid, message));
        }
        self.0.snapshot(folder).map_err(failure)
    }

    fn confirm_clock(&self) -> Result<(), Failure> {
        self.0.confirm_time().map_err(failure)
    }

    fn identity(&self) -> Result<Identity, Failure> {
        let StoreIdentity { store, seed, shards, cluster, .. } =
            self.0.identity().map_err(failure)?;
        Ok(Identity { store, seed, shards: shards.count(), cluster })
    }
}

fn failure(error: StoreError) -> Failure {
    let class = error.class();
    // The operator who asked is told all of it, down to what the system said.
    Failure::new(class, format!("{:#}", anyhow::Error::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Sources};

    fn options_with(set: &[&str]) -> StoreOptions {
        let set = set.iter().map(|&text| text.to_owned()).collect();
        let sources = Sources { set, ..Sources::default() };
        let config = Settings::read(&sources).and_then(|settings| settings.config()).unwrap();
        store_options(&config, 1 << 30, false)
    }

    #[test]
    fn the_defaults_of_the_configuration_are_those_of_the_store() {
        let configured = options_with(&[]);
        let mut expected = StoreOptions::new("data");
        // The one default that depends on the machine: nine tenths of 60 % of its memory.
        expected.memory_bound_bytes = configured.memory_bound_bytes;
        assert_eq!(format!("{configured:?}"), format!("{expected:?}"));
    }

    #[test]
    fn every_key_of_the_store_changes_what_it_is_opened_with() {
        let defaults = format!("{:?}", options_with(&[]));
        for change in [
            "storage.data_dir=elsewhere",
            "storage.retention=90d",
            "storage.durability=flush",
            "storage.shards=64",
            "storage.disk_reserve=3GiB",
            "limits.memory=50%",
            "log.file=32MiB",
            "log.bound=1GiB",
            "head.flush_samples=30",
            "head.flush_age=20m",
            "head.idle=5m",
            "rocksdb.cache=10%",
            "rocksdb.threads=4",
            "seal.delay=30m",
            "seal.quiet=5m",
            "seal.threads=2",
        ] {
            assert_ne!(format!("{:?}", options_with(&[change])), defaults, "{change}");
        }
    }
}
