//! The configuration of a node: raw text at the rim, validated types behind it.
//!
//! The defaults are `config/rangekeeper.toml` itself; see [`Settings`] for what lies over it.
//! Whoever holds a [`Config`] holds values that were parsed and checked against each other.

mod cluster;
mod error;
mod quantity;
mod settings;

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use rangekeeper_model::ShardCount;
use rangekeeper_query::Feature;
use serde::Deserialize;

pub use cluster::{Cluster, FileError, Host, HostError, Member, read_credentials, read_secret};
pub use error::{ConfigError, Origin};
pub use quantity::{Late, Share};
pub use settings::{DEFAULTS, Settings, Sources};

/// Everything that can be set. The comments on each key are in `config/rangekeeper.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Listening and stopping.
    pub server: Server,
    /// Who may ask.
    pub auth: Auth,
    /// The folder and what is kept in it.
    pub storage: Storage,
    /// What a write may hold and how much of it is taken.
    pub limits: Limits,
    /// The files of the log.
    pub log: Log,
    /// What is in memory.
    pub head: Head,
    /// The database under the chunks.
    pub rocksdb: RocksDb,
    /// When windows get their final form.
    pub seal: Seal,
    /// What a query may cost.
    pub query: Query,
    /// The node among others.
    pub cluster: Cluster,
    /// The log output.
    pub telemetry: Telemetry,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where HTTP is listened for.
    pub listen: SocketAddr,
    /// Connections at once.
    pub max_connections: NonZeroUsize,
    /// For the head of a request, the idle time before it included.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub idle_timeout: Duration,
    /// For the body of a request.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub body_timeout: Duration,
    /// For the answers to requests that have begun when the node stops.
    #[serde(deserialize_with = "quantity::duration")]
    pub drain: Duration,
}

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The file with the tokens, if clients must have one.
    #[serde(deserialize_with = "quantity::path_unless_empty")]
    pub token_file: Option<PathBuf>,
    /// Whether a foreign address may be listened on without tokens.
    pub no_auth: bool,
}

/// `[storage]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// The folder.
    #[serde(deserialize_with = "quantity::path")]
    pub data_dir: PathBuf,
    /// How long samples are kept.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub retention: Duration,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Shards of a store that this start creates.
    #[serde(deserialize_with = "quantity::shard_count")]
    pub shards: ShardCount,
    /// Free bytes on the disk below which writing stops, before the log's bound is looked at; see
    /// [`Config::disk_reserve_bytes`].
    #[serde(deserialize_with = "quantity::size")]
    pub disk_reserve: ByteSize,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once it is on the disk.
    Sync,
    /// Once the operating system has it.
    Flush,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a body as it is sent.
    #[serde(deserialize_with = "quantity::size")]
    pub body: ByteSize,
    /// Bytes of a body once it is decompressed.
    #[serde(deserialize_with = "quantity::size")]
    pub decoded: ByteSize,
    /// Labels of a series.
    pub labels: NonZeroU32,
    /// Bytes of a label's name.
    #[serde(deserialize_with = "quantity::size")]
    pub name: ByteSize,
    /// Bytes of a label's value.
    #[serde(deserialize_with = "quantity::size")]
    pub value: ByteSize,
    /// How far ahead of the clock a sample may be.
    #[serde(deserialize_with = "quantity::duration")]
    pub future: Duration,
    /// How far behind a sample may be.
    pub late: Late,
    /// Bytes of all writes at once.
    pub in_flight: Share,
    /// Memory of the process above which writes are refused.
    pub memory: Share,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Bytes of a file.
    #[serde(deserialize_with = "quantity::size")]
    pub file: ByteSize,
    /// Bytes of all files.
    #[serde(deserialize_with = "quantity::size")]
    pub bound: ByteSize,
}

/// `[head]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Samples a series, on average, at which a stripe is written out.
    pub flush_samples: NonZeroU32,
    /// Age of a stripe's oldest sample at which it is written out.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub flush_age: Duration,
    /// Time without a sample after which a series leaves the memory.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub idle: Duration,
}

/// `[rocksdb]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RocksDb {
    /// Memory of blocks, indexes, filters and write buffers.
    pub cache: Share,
    /// Threads that flush and compact.
    pub threads: NonZeroU16,
}

/// `[seal]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// From the end of a window to its sealing.
    #[serde(deserialize_with = "quantity::duration")]
    pub delay: Duration,
    /// From the last late sample to the sealing.
    #[serde(deserialize_with = "quantity::duration")]
    pub quiet: Duration,
    /// Threads that seal in the background.
    pub threads: NonZeroU16,
}

/// `[query]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Samples that one query may hold at a time.
    pub samples: NonZeroU64,
    /// Series that the selectors of one query may match together.
    pub series: NonZeroU64,
    /// How long one query may run.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub timeout: Duration,
    /// Queries that run at once.
    pub concurrent: NonZeroUsize,
    /// Bytes of the text of a query.
    #[serde(deserialize_with = "quantity::size")]
    pub text: ByteSize,
    /// How deep the text of a query may be nested.
    pub depth: NonZeroU32,
    /// How far an instant selector looks back.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub lookback: Duration,
    /// Parts of the language that are off otherwise.
    #[serde(deserialize_with = "quantity::features")]
    pub features: Vec<Feature>,
}

/// `[telemetry]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// How a line is written.
    pub format: Format,
    /// What is logged.
    pub level: String,
}

/// How a line of the log output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

const DAY: Duration = Duration::from_hours(24);

impl Config {
    /// Free bytes on the disk below which writing stops: room to write out the whole log, twice.
    pub fn disk_reserve_bytes(&self) -> u64 {
        self.storage.disk_reserve.as_u64().max(self.log.bound.as_u64().saturating_mul(2))
    }

    /// What holds between keys. A key and a reason for the first rule that is broken.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let guarded = self.auth.token_file.is_some();
        if guarded && self.auth.no_auth {
            return Err(("auth.no_auth", "auth.token_file is set too: choose one".to_owned()));
        }
        if !self.server.listen.ip().is_loopback() && !guarded && !self.auth.no_auth {
            let reason = "an address that others can reach needs auth.token_file (--token-file) \
                          or, if nobody is to be asked for a token, auth.no_auth (--no-auth)";
            return Err(("server.listen", reason.to_owned()));
        }
        if self.storage.retention < DAY {
            return Err(("storage.retention", "must be at least 1d".to_owned()));
        }
        if self.limits.decoded < self.limits.body {
            return Err(("limits.decoded", "must not be less than limits.body".to_owned()));
        }
        if self.limits.body.as_u64() == 0 {
            return Err(("limits.body", "must be more than nothing".to_owned()));
        }
        if self.log.file < ByteSize::mib(1) {
            return Err(("log.file", "must be at least 1MiB".to_owned()));
        }
        if self.log.bound.as_u64() / 4 < self.log.file.as_u64() {
            return Err(("log.bound", "must be at least four times log.file".to_owned()));
        }
        self.check_cluster()?;
        rangekeeper_telemetry::subscriber(
            rangekeeper_telemetry::LogFormat::Text,
            &self.telemetry.level,
            false,
            std::io::sink,
        )
        .map(drop)
        .map_err(|error| ("telemetry.level", error.to_string()))
    }
}
