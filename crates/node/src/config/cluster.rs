//! The node among others: what `[cluster]` says, and what follows from it.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rangekeeper_cluster::ClusterSecret;
use rangekeeper_coordination::{Address, Credentials};
use rangekeeper_model::{NodeId, Zone};
use rangekeeper_placement::Policy;
use serde::Deserialize;

use super::{Config, quantity};

/// The largest share: so that the shares of all nodes together fit into their sum.
const MAX_WEIGHT: u32 = 10_000;

/// With five copies, how long the second node that vanished is waited for at most.
const SECOND_GRACE: Duration = Duration::from_mins(1);

/// `[cluster]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// The ensemble and the cluster's place in it; none for a node that is alone.
    #[serde(deserialize_with = "quantity::parsed_unless_empty")]
    pub zookeeper: Option<Address>,
    /// The file that says who the nodes are in ZooKeeper; see [`read_credentials`].
    #[serde(deserialize_with = "quantity::path_unless_empty")]
    pub zookeeper_credentials_file: Option<PathBuf>,
    /// How long ZooKeeper keeps a node that is silent.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub session_timeout: Duration,
    /// The node's name.
    #[serde(deserialize_with = "quantity::parsed_unless_empty")]
    pub node_id: Option<NodeId>,
    /// What fails together with the node.
    #[serde(deserialize_with = "quantity::parsed_unless_empty")]
    pub zone: Option<Zone>,
    /// The node's share of the shards.
    pub weight: u32,
    /// Where peers are listened for, if not beside HTTP.
    #[serde(deserialize_with = "quantity::parsed_unless_empty")]
    pub peer_listen: Option<SocketAddr>,
    /// Under which host others reach the node, if not under the addresses it listens on.
    #[serde(deserialize_with = "quantity::parsed_unless_empty")]
    pub advertise: Option<Host>,
    /// The file with what all nodes share; see [`read_secret`].
    #[serde(deserialize_with = "quantity::path_unless_empty")]
    pub secret_file: Option<PathBuf>,
    /// How long a node that vanished is waited for.
    #[serde(deserialize_with = "quantity::positive_duration")]
    pub grace: Duration,
    /// How long the membership has to stay as it is before there is a plan.
    #[serde(deserialize_with = "quantity::duration")]
    pub settle: Duration,
    /// How long a new leader only completes what is under way, before the session's timeout is
    /// looked at; see [`Cluster::policy`].
    #[serde(deserialize_with = "quantity::duration")]
    pub quiet: Duration,
    /// How long a start waits for somebody who knows a newer map.
    #[serde(deserialize_with = "quantity::duration")]
    pub start_wait: Duration,
}

impl Cluster {
    /// The settings of a leader of a cluster that is first placed on `expect` nodes.
    pub fn policy(&self, expect: usize) -> Policy {
        Policy {
            quiet_ms: milliseconds(self.quiet.max(self.session_timeout.saturating_mul(2))),
            repair_after_ms: milliseconds(self.grace),
            repair_after_second_loss_ms: milliseconds(self.grace.min(SECOND_GRACE)),
            settle_ms: milliseconds(self.settle),
            ..Policy::new(expect)
        }
    }
}

/// What a node of a cluster cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The ensemble and the cluster's place in it.
    pub zookeeper: Address,
    /// The node's name.
    pub node: NodeId,
    /// Where peers are listened for.
    pub peer_listen: SocketAddr,
    /// Under which host others reach the node, if not under the addresses it listens on.
    pub advertise: Option<Host>,
}

impl Member {
    /// How others reach what listens on `bound`: `HOST:PORT`.
    pub fn reached_at(&self, bound: SocketAddr) -> String {
        match &self.advertise {
            Some(host) => format!("{host}:{}", bound.port()),
            None => bound.to_string(),
        }
    }
}

impl Config {
    /// What the node is in its cluster; none if it is alone.
    pub fn member(&self) -> Option<Member> {
        let cluster = &self.cluster;
        Some(Member {
            zookeeper: cluster.zookeeper.clone()?,
            node: cluster.node_id.clone()?,
            peer_listen: self.peer_listen()?,
            advertise: cluster.advertise.clone(),
        })
    }

    /// Where peers are listened for. None where the port after that of HTTP is none.
    fn peer_listen(&self) -> Option<SocketAddr> {
        self.cluster.peer_listen.or_else(|| {
            let mut address = self.server.listen;
            // Whoever lets the system choose the one port lets it choose the other.
            if address.port() != 0 {
                address.set_port(address.port().checked_add(1)?);
            }
            Some(address)
        })
    }

    /// What holds between the keys of the section and others. A key and a reason for the first rule
    /// that is broken.
    pub(super) fn check_cluster(&self) -> Result<(), (&'static str, String)> {
        let cluster = &self.cluster;
        if !(1..=MAX_WEIGHT).contains(&cluster.weight) {
            return Err(("cluster.weight", format!("must be 1 to {MAX_WEIGHT}")));
        }
        if cluster.zookeeper.is_none() {
            // Passed over, it would be a node of no cluster whose owner believes otherwise.
            return match &cluster.node_id {
                Some(_) => Err((
                    "cluster.node_id",
                    "a node of a cluster needs cluster.zookeeper (--zookeeper) too".to_owned(),
                )),
                None => Ok(()),
            };
        }
        if cluster.node_id.is_none() {
            let reason = "a node of a cluster needs a name (--node-id)";
            return Err(("cluster.node_id", reason.to_owned()));
        }
        let Some(peer_listen) = self.peer_listen() else {
            let reason = "there is no port after that of server.listen: choose one (--peer-listen)";
            return Err(("cluster.peer_listen", reason.to_owned()));
        };
        let listen = self.server.listen;
        if peer_listen.port() != 0 && peer_listen.port() == listen.port() {
            let reason = format!("port {} is that of server.listen", listen.port());
            return Err(("cluster.peer_listen", reason));
        }
        let wildcards = [("server.listen", listen), ("cluster.peer_listen", peer_listen)];
        if let Some((key, address)) = wildcards.into_iter().find(|(_, a)| a.ip().is_unspecified())
            && cluster.advertise.is_none()
        {
            let reason = format!(
                "{key} is {address}, which is no address that others could use: say under which \
                 host they reach this node (--advertise)"
            );
            return Err(("cluster.advertise", reason));
        }
        let guarded = cluster.secret_file.is_some() || self.auth.no_auth;
        if !peer_listen.ip().is_loopback() && !guarded {
            let reason = format!(
                "{peer_listen} is an address that others can reach, so peers need \
                 cluster.secret_file (--cluster-secret-file) or, if nobody is to be asked for a \
                 secret, auth.no_auth (--no-auth)"
            );
            return Err(("cluster.peer_listen", reason));
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A name or an address of a host, without a port; an IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(String);

/// A text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the name or the address of a host, without a port")]
pub struct HostError;

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
            return if address.is_unspecified() {
                Err(HostError)
            } else {
                Ok(Self(format!("[{address}]")))
            };
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let is_wildcard = text.parse().is_ok_and(|address: IpAddr| address.is_unspecified());
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        // 253 is the longest name that DNS has.
        if !begins || is_wildcard || text.len() > 253 || !text.chars().all(fits) {
            return Err(HostError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file of the cluster's cannot be used. What it holds is never shown.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("failed to read {what} from {path}")]
    Read {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It holds something else.
    #[error("failed to read {what} from {path}: {reason}")]
    Content {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the secret that all nodes share: the file's one line.
pub fn read_secret(path: &Path) -> Result<ClusterSecret, FileError> {
    let what = "the cluster's secret";
    ClusterSecret::new(&line(what, path)?).map_err(|error| FileError::Content {
        what,
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

/// Reads who the nodes are in ZooKeeper: the file's one line, `USER:PASSWORD`.
pub fn read_credentials(path: &Path) -> Result<Credentials, FileError> {
    let what = "the credentials for ZooKeeper";
    let line = line(what, path)?;
    match line.trim().split_once(':') {
        Some((user, password)) if !user.is_empty() && !password.is_empty() => {
            Ok(Credentials { user: user.to_owned(), password: password.to_owned() })
        }
        _ => Err(FileError::Content {
            what,
            path: path.to_owned(),
            reason: "expected USER:PASSWORD in one line".to_owned(),
        }),
    }
}

/// The one line of a file that is not empty and no comment.
fn line(what: &'static str, path: &Path) -> Result<String, FileError> {
    let text = fs::read_to_string(path)
        .map_err(|source| FileError::Read { what, path: path.to_owned(), source })?;
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line.to_owned()),
        (first, _) => {
            let reason = if first.is_none() { "it has no line" } else { "it has several lines" };
            Err(FileError::Content { what, path: path.to_owned(), reason: reason.to_owned() })
        }
    }
}
