//! The command line.

pub mod cluster;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use humantime::parse_duration;

use crate::config::Sources;
use crate::version;

/// Where a node listens by default.
const DEFAULT_URL: &str = "http://127.0.0.1:9920";

/// Behind the options of all commands that read a configuration.
const CONFIGURATION: &str = "\
What wins, weakest first: the defaults, --config FILE, the environment
(RANGEKEEPER_<SECTION>__<KEY>, such as RANGEKEEPER_STORAGE__RETENTION=90d), --set, and
the other options.
\"rangekeeper print-config\" prints every key with its value.";

/// Behind the options of `query`.
const QUERIES: &str = "\
Examples:
  rangekeeper query 'up'
  rangekeeper query --range 1h 'sum by (job) (rate(node_cpu_seconds_total[5m]))'
  rangekeeper query --time 2026-11-22T10:00:00Z --range 1d --step 5m 'node_load1'";

/// A horizontally scalable store for Prometheus metrics.
#[derive(Debug, Parser)]
#[command(name = "rangekeeper", version = version::line(), arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node until it is told to stop (SIGTERM or Ctrl-C; a second one ends it at once)
    #[command(after_help = CONFIGURATION)]
    Serve(Serve),
    /// Check a configuration, and say what is wrong with it
    #[command(after_help = CONFIGURATION)]
    CheckConfig(Configured),
    /// Print the configuration that is in effect, and where each value comes from
    #[command(after_help = CONFIGURATION)]
    PrintConfig(Configured),
    /// Ask a node for the value of a PromQL expression, now or over a range of time
    #[command(after_help = QUERIES)]
    Query(Query),
    /// Operate a running node
    #[command(subcommand)]
    Admin(Admin),
    /// Make a cluster of several nodes, look at it, and say what is to become of its nodes
    #[command(subcommand)]
    Cluster(cluster::Cluster),
}

/// `rangekeeper serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub configured: Configured,
    /// Open a damaged store, giving up what the damage holds; the log says what was lost
    #[arg(long)]
    pub accept_loss: bool,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct Configured {
    /// A TOML file; none is needed
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen for HTTP (server.listen)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The folder that holds everything (storage.data_dir)
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// A file with the tokens that clients must send, one a line (auth.token_file)
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// Listen on an address that others can reach without asking them for a token (auth.no_auth)
    #[arg(long)]
    no_auth: bool,
    /// The cluster: the servers of ZooKeeper and its path, HOST:PORT,HOST:PORT/rangekeeper/NAME
    /// (cluster.zookeeper); a node that is alone needs none
    #[arg(long, value_name = "ZOOKEEPER")]
    zookeeper: Option<String>,
    /// The node's name in the cluster (cluster.node_id)
    #[arg(long, value_name = "NAME")]
    node_id: Option<String>,
    /// What fails together with the node (cluster.zone)
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Where to listen for other nodes (cluster.peer_listen)
    #[arg(long, value_name = "ADDRESS")]
    peer_listen: Option<String>,
    /// The host under which other nodes reach this one (cluster.advertise)
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// A file with what all nodes of the cluster share (cluster.secret_file)
    #[arg(long, value_name = "FILE")]
    cluster_secret_file: Option<String>,
    /// Set any key of the configuration; may come several times
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl Configured {
    /// The sources, weakest first, with `environment` between the file and the options.
    pub fn sources(self, environment: Vec<(String, String)>) -> Sources {
        let mut options = Vec::new();
        let mut option = |key, value: Option<String>, name| {
            options.extend(value.map(|value| (key, value, name)));
        };
        option("server.listen", self.listen, "--listen");
        option("storage.data_dir", self.data, "--data");
        option("auth.token_file", self.token_file, "--token-file");
        option("cluster.zookeeper", self.zookeeper, "--zookeeper");
        option("cluster.node_id", self.node_id, "--node-id");
        option("cluster.zone", self.zone, "--zone");
        option("cluster.peer_listen", self.peer_listen, "--peer-listen");
        option("cluster.advertise", self.advertise, "--advertise");
        option("cluster.secret_file", self.cluster_secret_file, "--cluster-secret-file");
        option("auth.no_auth", self.no_auth.then(|| "true".to_owned()), "--no-auth");
        Sources { file: self.config, environment, set: self.set, options }
    }
}

/// A node to talk to.
#[derive(Debug, Args)]
pub struct Target {
    /// The node, with the prefix of its paths if a proxy adds one
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    pub url: String,
    /// A file with tokens, one a line; the first one is sent
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// `rangekeeper query`
#[derive(Debug, Args)]
pub struct Query {
    /// The node.
    #[command(flatten)]
    pub target: Target,
    /// Whose data to ask for (the header X-Scope-OrgID)
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// The time, as Unix seconds or RFC 3339: the instant, or the end of the range [default: now]
    #[arg(long, value_name = "TIME", value_parser = unix_seconds)]
    pub time: Option<f64>,
    /// Ask for a range of this length, such as 1h, and draw it
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub range: Option<Duration>,
    /// The distance of the range's points [default: a hundredth of the range]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "range")]
    pub step: Option<Duration>,
    /// The PromQL expression
    #[arg(value_name = "EXPRESSION")]
    pub expression: String,
}

/// `rangekeeper admin`
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Write everything out in its final form now, and return when it is done
    Seal(Target),
    /// Copy the store into a folder on the node's machine that does not exist yet; the copy opens
    /// as a store
    Snapshot {
        /// The node.
        #[command(flatten)]
        target: Target,
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Confirm that a clock that jumped ahead by more than a day is right, so that retention
    /// deletes again
    ConfirmClock(Target),
}

/// Reads a time: Unix seconds or RFC 3339.
fn unix_seconds(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        return Ok(seconds);
    }
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|_| "expected Unix seconds or a time such as 2026-11-22T10:00:00Z".to_owned())?;
    let since = time.duration_since(std::time::UNIX_EPOCH);
    Ok(since.map_err(|_| "before 1970".to_owned())?.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_tells_what_was_built() {
        let printed = Cli::command().render_version();
        for part in [version::OURS, version::REVISION, version::PROMETHEUS] {
            assert!(!part.is_empty() && printed.contains(part), "no {part} in {printed}");
        }
    }

    #[test]
    fn reads_times_in_both_forms() {
        assert_eq!(unix_seconds("1763805600.5"), Ok(1_763_805_600.5));
        assert_eq!(unix_seconds("1970-01-02T00:00:00Z"), Ok(86_400.0));
        assert!(unix_seconds("yesterday").is_err());
        assert!(unix_seconds("NaN").is_err());
    }
}
