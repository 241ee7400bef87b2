//! The small records that are this crate's own, and how they lie in the ensemble: JSON with a
//! `format` that a reader looks at before everything else. What it does not know it refuses by
//! name; fields that it does not know it leaves alone, so they may be added within a format.

use bytes::Bytes;
use rangekeeper_model::NodeId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The only format so far.
const FORMAT: u32 = 1;

/// What a cluster is, from its first moment on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Drawn at `init`; nodes of another cluster are refused.
    pub uuid: Uuid,
    /// Raised by an operator who resets the map; orders maps before their epoch does.
    pub generation: u32,
    /// Count of shards, a power of two.
    pub shards: u32,
    /// The hash of series, by name.
    pub hash: String,
    /// The seed of that hash.
    pub hash_seed: u64,
    /// Copies of each shard.
    pub replication: u8,
    /// Nodes that have to be registered before shards are placed for the first time.
    pub expect: u32,
    /// Whether it was made around a node with data, whose store's id is the cluster's: all shards
    /// are given to that one first.
    #[serde(default)]
    pub adopted: bool,
    /// What assignment, messages, log and chunks may use; raised when all nodes can.
    pub format_level: u32,
}

/// What a node says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its name.
    pub node: NodeId,
    /// The id of its data folder.
    pub store: Uuid,
    /// How often that folder was opened.
    pub boot: u64,
    /// The run of that folder, drawn when it is opened at a start.
    pub run: Uuid,
    /// Runs that the folder has begun before: the last ones, and whatever the assignment named when
    /// this was written. The node table goes on only from one of these.
    #[serde(default)]
    pub after: Vec<Uuid>,
    /// Where peers reach it, `HOST:PORT`.
    pub peer_address: String,
    /// Where its API is, `HOST:PORT`.
    pub http_address: String,
    /// What fails together with it; empty if nothing is said.
    pub zone: String,
    /// Its share of the data beside others' shares.
    pub weight: u32,
    /// The version of its software.
    pub software: String,
    /// The highest format level that it can use.
    pub format_level: u32,
}

/// What a leader says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its name.
    pub node: NodeId,
    /// The term that it leads.
    pub term: u64,
    /// Where nodes report to, `HOST:PORT`.
    pub address: String,
}

/// A record that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// Written by a newer build.
    #[error("format {found} of {path} is not known to this build, which knows {FORMAT}")]
    Format {
        /// Where it lies.
        path: String,
        /// What it says.
        found: u32,
    },
    /// Not a record at all.
    #[error("{path} does not hold what it should: {reason}")]
    Malformed {
        /// Where it lies.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The part of a record that is read first.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// A record under its format.
#[derive(Serialize)]
struct Envelope<'a, T> {
    format: u32,
    #[serde(flatten)]
    record: &'a T,
}

pub(crate) fn encode<T: Serialize>(record: &T) -> Bytes {
    let envelope = Envelope { format: FORMAT, record };
    serde_json::to_vec(&envelope).expect("records are maps with strings as keys").into()
}

/// Reads what lies at `path`.
pub(crate) fn decode<T: DeserializeOwned>(path: &str, data: &[u8]) -> Result<T, RecordError> {
    let malformed = |error: serde_json::Error| RecordError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let head: Head = serde_json::from_slice(data).map_err(malformed)?;
    if head.format != FORMAT {
        return Err(RecordError::Format { path: path.to_owned(), found: head.format });
    }
    serde_json::from_slice(data).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader() -> Leader {
        Leader { node: "a".parse().unwrap(), term: 7, address: "127.0.0.1:1".to_owned() }
    }

    #[test]
    fn reads_what_it_wrote() {
        let cluster = Cluster {
            uuid: Uuid::from_u128(5),
            generation: 1,
            shards: 256,
            hash: "xxh3-128".to_owned(),
            hash_seed: u64::MAX,
            replication: 3,
            expect: 3,
            adopted: false,
            format_level: 1,
        };
        assert_eq!(decode("/cluster", &encode(&cluster)), Ok(cluster));
        assert_eq!(decode("/leader", &encode(&leader())), Ok(leader()));
    }

    #[test]
    fn refuses_another_format_by_name_whatever_else_it_holds() {
        let error = decode::<Leader>("/x/leader", br#"{"format":2,"nodes":[]}"#).unwrap_err();
        assert_eq!(error, RecordError::Format { path: "/x/leader".to_owned(), found: 2 });
        assert!(error.to_string().contains("format 2 of /x/leader"), "{error}");
    }

    #[test]
    fn leaves_fields_alone_that_it_does_not_know() {
        let text = br#"{"format":1,"node":"a","term":7,"address":"127.0.0.1:1","mood":"good"}"#;
        assert_eq!(decode("/leader", text), Ok(leader()));
    }

    #[test]
    fn refuses_what_is_no_record() {
        for data in [&b""[..], b"\0\xff", b"[]", br#"{"format":1}"#, br#"{"node":"a"}"#] {
            let error = decode::<Leader>("/leader", data).unwrap_err();
            assert!(matches!(error, RecordError::Malformed { .. }), "{error}");
        }
    }
}
