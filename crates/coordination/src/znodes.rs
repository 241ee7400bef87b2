//! The seam: what is asked of an ensemble. The client of ZooKeeper and the twin in memory are
//! behind it, and everything that decides stands above it.
//!
//! It is as narrow as it can be: all writes are transactions of conditional operations, all watches
//! fire once and come with what they watch.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

/// What a request gives, boxed because sessions are trait objects.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A data node's content and what the server knows of it.
pub(crate) type Content = (Bytes, Stat);

/// An ensemble that a [`Coordination`](crate::Coordination) can run on.
#[derive(Clone)]
pub struct Ensemble {
    pub(crate) connect: Arc<dyn Connect>,
    /// Where the cluster lies in its tree, without a slash at the end.
    pub(crate) root: String,
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensemble").field("root", &self.root).finish_non_exhaustive()
    }
}

/// Opens sessions.
pub(crate) trait Connect: Send + Sync {
    /// Opens a new session. Gives up by itself after about a session timeout.
    fn connect(&self) -> Answer<'_, Arc<dyn Session>>;
}

/// One session. When it has ended it stays so, and every request says it.
pub(crate) trait Session: Send + Sync {
    /// The id that its ephemeral nodes carry as their owner.
    fn id(&self) -> i64;

    /// Its connection, as the client sees it. A change may be seen late, or together with the next.
    fn link(&self) -> watch::Receiver<Link>;

    /// Reads a node.
    fn read<'a>(&'a self, path: &'a str) -> Answer<'a, Content>;

    /// Reads many nodes at one moment; `None` where there is no node.
    fn read_all(&self, paths: Vec<String>) -> Answer<'_, Vec<Option<Content>>>;

    /// Reads a node and watches it for another content and for its end.
    fn watch_data<'a>(&'a self, path: &'a str) -> Answer<'a, (Content, Watch)>;

    /// Looks whether a node is there, and watches it for anything.
    fn watch_presence<'a>(&'a self, path: &'a str) -> Answer<'a, (Option<Stat>, Watch)>;

    /// Lists the names of a node's children and watches for others.
    fn watch_children<'a>(&'a self, path: &'a str) -> Answer<'a, (Vec<String>, Watch)>;

    /// Does all of `operations`, or none.
    fn commit(&self, operations: Vec<Operation>) -> Answer<'_, ()>;

    /// Ends the session, so that its ephemeral nodes go at once, and waits until the server knows.
    /// Requests that are under way hold it up.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Resolves when what is watched has changed, or its session has ended. It may also do so for
/// nothing: whoever waits reads again.
pub(crate) type Watch = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The connection of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// A server answers.
    Connected,
    /// No server answers; the session may still live.
    Disconnected,
    /// The session is over.
    Ended(End),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server says so, or the client has not reached one for too long.
    Expired,
    /// The server refused who we say that we are.
    AuthFailed,
    /// We closed it.
    Closed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the session has expired",
            Self::AuthFailed => "the ensemble refused the credentials",
            Self::Closed => "the session was closed",
        })
    }
}

/// What the server knows of a node, as far as somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The transaction that created it: no two nodes ever have the same.
    pub(crate) czxid: i64,
    /// Changes of its content. Starts again at 0 when the node is created again.
    pub(crate) version: i32,
    /// The session that it ends with; 0 if it is persistent.
    pub(crate) owner: i64,
}

/// A conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Only if the node has this version.
    Check { path: String, version: i32 },
    /// Only if the node is not there.
    Create { path: String, data: Bytes, lifetime: Lifetime },
    /// Only if the node has this version.
    Set { path: String, data: Bytes, version: i32 },
    /// Only if the node has this version.
    Delete { path: String, version: i32 },
}

impl Operation {
    pub(crate) fn create(path: &str, data: Bytes, lifetime: Lifetime) -> Self {
        Self::Create { path: path.to_owned(), data, lifetime }
    }

    pub(crate) fn set(path: &str, data: Bytes, version: i32) -> Self {
        Self::Set { path: path.to_owned(), data, version }
    }

    pub(crate) fn delete(path: &str, version: i32) -> Self {
        Self::Delete { path: path.to_owned(), version }
    }

    /// About what it takes in a packet.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Create { path, data, .. } | Self::Set { path, data, .. } => {
                path.len() + data.len()
            }
            Self::Check { path, .. } | Self::Delete { path, .. } => path.len(),
        }
    }
}

/// How long a node stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Until it is deleted.
    Persistent,
    /// Until its session ends.
    Ephemeral,
}

/// Why a request failed, and what that says of its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server's answer: nothing was done, because of the operation at `index`.
    Refused { index: usize, refusal: Refusal },
    /// The session is over. Whether something was done is not known.
    Ended(End),
    /// There is no connection, and nothing was sent.
    Unsent,
    /// No answer, or not one of the server's: it may have been done, or be done yet.
    Unknown(String),
}

impl Failure {
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::Refused { index: 0, refusal }
    }

    pub(crate) fn is_no_node(&self) -> bool {
        matches!(self, Self::Refused { refusal: Refusal::NoNode, .. })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { refusal, .. } => refusal.fmt(f),
            Self::Ended(end) => end.fmt(f),
            Self::Unsent => f.write_str("no server of the ensemble is connected"),
            Self::Unknown(why) => f.write_str(why),
        }
    }
}

/// A server's typed "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node, or its parent, is not there.
    NoNode,
    /// The node is there already.
    NodeExists,
    /// The node has another version.
    BadVersion,
    /// The node has children.
    NotEmpty,
    /// Ephemeral nodes have no children.
    ChildOfEphemeral,
    /// Our identity may not do that.
    NoAuth,
    /// The list of permissions is not valid for our identity.
    InvalidAcl,
    /// A quota of the ensemble is used up.
    QuotaExceeded,
    /// The server does not know the request: it is too old.
    Unimplemented,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNode => "there is no such node",
            Self::NodeExists => "the node is there already",
            Self::BadVersion => "the node has another version",
            Self::NotEmpty => "the node has children",
            Self::ChildOfEphemeral => "an ephemeral node has no children",
            Self::NoAuth => "this identity is not permitted to",
            Self::InvalidAcl => "the list of permissions is not valid for this identity",
            Self::QuotaExceeded => "a quota of the ensemble is used up",
            Self::Unimplemented => "the server does not know the request; 3.8 is the oldest",
        })
    }
}
