//! The command line of `rangekeeper cluster`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use humantime::parse_duration;
use rangekeeper_coordination::Address;
use rangekeeper_model::{NodeId, ShardCount};
use rangekeeper_placement::Replication;

/// Behind the options of `init`.
const INIT: &str = "\
Example:
  rangekeeper cluster init --zookeeper zk1:2181,zk2:2181/rangekeeper/prod --replication 3
Then on each node:
  rangekeeper serve --listen 10.0.0.1:9920 --data DIR --node-id a --cluster-secret-file FILE \\
    --token-file FILE --zookeeper zk1:2181,zk2:2181/rangekeeper/prod";

/// `rangekeeper cluster`
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Make a cluster in ZooKeeper, to which nodes can come then
    #[command(after_help = INIT)]
    Init(Init),
    /// Show the nodes, where the shards are, and what is wrong
    Status(Status),
    /// Have a node emptied, so that it can be taken away; it goes on serving
    Drain(OfNode),
    /// Have all shards stay where they are, whatever nodes come or go
    Freeze(Freeze),
    /// Say that a node is gone for good: it is not waited for any more
    Confirm(OfNode),
}

/// `rangekeeper cluster init`
#[derive(Debug, Args)]
pub struct Init {
    /// The cluster.
    #[command(flatten)]
    pub ensemble: Ensemble,
    /// Number of shards, a power of two from 1 to 65536. Fixed for ever: some tens for each node
    /// that there may once be
    #[arg(
        long, value_name = "COUNT", default_value = "256", value_parser = shard_count,
        conflicts_with = "adopt"
    )]
    pub shards: ShardCount,
    /// Copies of each shard: 1, 2, 3 or 5
    #[arg(long, value_name = "COPIES", default_value = "3", value_parser = replication)]
    pub replication: Replication,
    /// Nodes that have to be there before shards are given to them for the first time [default:
    /// as many as a shard has places]
    #[arg(
        long, value_name = "NODES", value_parser = clap::value_parser!(u32).range(1..=65535),
        conflicts_with = "adopt"
    )]
    pub expect: Option<u32>,
    /// Make the lone node at this URL, with all that it holds, the first node of the cluster
    #[arg(long, value_name = "URL")]
    pub adopt: Option<String>,
    /// A file with tokens for that node, one a line; the first one is sent
    #[arg(long, value_name = "FILE", requires = "adopt")]
    pub token_file: Option<PathBuf>,
}

/// `rangekeeper cluster status`
#[derive(Debug, Args)]
pub struct Status {
    /// The cluster: the servers of ZooKeeper and its path, HOST:PORT,HOST:PORT/rangekeeper/NAME
    #[arg(
        long, env = ZOOKEEPER_VARIABLE, value_name = "ZOOKEEPER", required_unless_present = "url"
    )]
    pub zookeeper: Option<Address>,
    /// A file with USER:PASSWORD for ZooKeeper
    #[arg(long, env = CREDENTIALS_VARIABLE, value_name = "FILE")]
    pub zookeeper_credentials_file: Option<PathBuf>,
    /// Ask this node alone, and not ZooKeeper
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A file with tokens for the nodes, one a line; the first one is sent
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How long to wait for ZooKeeper, and for each node that is asked
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Print JSON, as /api/cluster/v1 gives it
    #[arg(long)]
    pub json: bool,
}

/// A cluster in ZooKeeper.
#[derive(Debug, Args)]
pub struct Ensemble {
    /// The cluster: the servers of ZooKeeper and its path, HOST:PORT,HOST:PORT/rangekeeper/NAME
    #[arg(long, env = ZOOKEEPER_VARIABLE, value_name = "ZOOKEEPER")]
    pub zookeeper: Address,
    /// A file with USER:PASSWORD for ZooKeeper
    #[arg(long, env = CREDENTIALS_VARIABLE, value_name = "FILE")]
    pub zookeeper_credentials_file: Option<PathBuf>,
    /// How long to wait for ZooKeeper
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// `rangekeeper cluster drain` and `confirm`
#[derive(Debug, Args)]
pub struct OfNode {
    /// The cluster.
    #[command(flatten)]
    pub ensemble: Ensemble,
    /// Take it back
    #[arg(long)]
    pub undo: bool,
    /// The node's name
    #[arg(value_name = "NODE")]
    pub node: NodeId,
}

/// `rangekeeper cluster freeze`
#[derive(Debug, Args)]
pub struct Freeze {
    /// The cluster.
    #[command(flatten)]
    pub ensemble: Ensemble,
    /// Take it back
    #[arg(long)]
    pub undo: bool,
}

/// The variables of the keys that nodes have for the same: a shell beside a node needs no options.
const ZOOKEEPER_VARIABLE: &str = "RANGEKEEPER_CLUSTER__ZOOKEEPER";
/// See [`ZOOKEEPER_VARIABLE`].
const CREDENTIALS_VARIABLE: &str = "RANGEKEEPER_CLUSTER__ZOOKEEPER_CREDENTIALS_FILE";

fn shard_count(text: &str) -> Result<ShardCount, String> {
    let count = text.parse().map_err(|_| "expected a number".to_owned())?;
    ShardCount::new(count).map_err(|error| error.to_string())
}

fn replication(text: &str) -> Result<Replication, String> {
    let copies = text.parse().map_err(|_| "expected 1, 2, 3 or 5".to_owned())?;
    Replication::new(copies).map_err(|error| error.to_string())
}
