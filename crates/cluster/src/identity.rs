//! Who speaks: the header on every message, made here and read here.
//!
//! **Invariant:** a message of another cluster, or for another data folder, reaches no handler; an
//! answer of another node than the one that was asked reaches no caller.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rangekeeper_model::{ClusterId, Epoch, Generation, StoreId, Term};
use rangekeeper_wire::proto::peer as proto;

use crate::error::Refusal;

/// Which assignment somebody goes by. A later one is greater: generations count how often the
/// cluster was begun anew, epochs the assignments of one, terms the leaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    /// The generation of the cluster's state.
    pub generation: Generation,
    /// The epoch of the assignment.
    pub epoch: Epoch,
    /// The term of the leader that published it.
    pub term: Term,
}

impl View {
    /// The view of these numbers.
    pub const fn of(generation: u32, epoch: u64, term: u64) -> Self {
        Self { generation: Generation(generation), epoch: Epoch(epoch), term: Term(term) }
    }
}

/// This node, as its messages say. Clones share the view.
#[derive(Clone)]
pub struct Local(Arc<Inner>);

struct Inner {
    cluster: ClusterId,
    node: String,
    store: StoreId,
    boot: u64,
    view: Mutex<View>,
    now_ms: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// Whoever sent a message, as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The node.
    pub node: String,
    /// Its data folder.
    pub store: StoreId,
    /// How often it started on that.
    pub boot: u64,
    /// The assignment that it has applied.
    pub view: View,
    /// How far its clock is ahead of ours, in milliseconds. The time that the message took counts
    /// as ours, so the figure is good for seconds, not for milliseconds.
    pub clock_ahead_ms: i64,
}

impl Local {
    /// A node named `node` on the data folder `store`, which it has started on `boot` times, with
    /// the clock `now_ms`: milliseconds since the epoch.
    pub fn new(
        cluster: ClusterId,
        node: impl Into<String>,
        store: StoreId,
        boot: u64,
        now_ms: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Self {
        let (node, view) = (node.into(), Mutex::default());
        Self(Arc::new(Inner { cluster, node, store, boot, view, now_ms: Box::new(now_ms) }))
    }

    /// The assignment that this node says it has applied.
    pub fn view(&self) -> View {
        *self.0.view.lock()
    }

    /// Says from now on that the assignment `view` is applied.
    pub fn apply(&self, view: View) {
        *self.0.view.lock() = view;
    }

    /// The node's own name.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// The header of a message to the data folder `target`.
    pub(crate) fn header(&self, target: StoreId) -> proto::Header {
        proto::Header {
            cluster: bytes_of(self.0.cluster.0.as_u128()),
            store: bytes_of(target.0.as_u128()),
            node: self.0.node.clone(),
            boot: self.0.boot,
            view: Some(self.view().into()),
            clock_ms: (self.0.now_ms)(),
            sender_store: bytes_of(self.0.store.0.as_u128()),
        }
    }

    /// Reads the header of a message that came here; refuses one that was not meant to.
    pub(crate) fn read(&self, header: Option<&proto::Header>) -> Result<Speaker, Refusal> {
        let malformed = |text: &str| Refusal::new(proto::Reason::Malformed, text);
        let header = header.ok_or_else(|| malformed("the message has no header"))?;
        if id_of(&header.cluster) != Some(self.0.cluster.0.as_u128()) {
            let text = format!("node {} belongs to another cluster", self.0.node);
            return Err(Refusal::new(proto::Reason::WrongCluster, text));
        }
        if id_of(&header.store) != Some(self.0.store.0.as_u128()) {
            let text = format!("the message is for a data folder that {} has not", self.0.node);
            return Err(Refusal::new(proto::Reason::WrongStore, text));
        }
        let store = id_of(&header.sender_store).ok_or_else(|| malformed("no sender's store"))?;
        Ok(Speaker {
            node: header.node.clone(),
            store: StoreId::of(store),
            boot: header.boot,
            view: header.view.map(View::from).unwrap_or_default(),
            clock_ahead_ms: header.clock_ms.saturating_sub((self.0.now_ms)()),
        })
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("node", &self.0.node).field("view", &self.view()).finish()
    }
}

impl From<View> for proto::View {
    fn from(view: View) -> Self {
        let View { generation, epoch, term } = view;
        Self { generation: generation.0, epoch: epoch.0, term: term.0 }
    }
}

impl From<proto::View> for View {
    fn from(view: proto::View) -> Self {
        let proto::View { generation, epoch, term } = view;
        Self { generation: Generation(generation), epoch: Epoch(epoch), term: Term(term) }
    }
}

/// Whom an answer goes to whose question is refused: as far as its header tells.
pub(crate) fn asker_of(header: Option<&proto::Header>) -> StoreId {
    StoreId::of(header.and_then(|header| id_of(&header.sender_store)).unwrap_or_default())
}

fn bytes_of(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

fn id_of(bytes: &[u8]) -> Option<u128> {
    bytes.try_into().ok().map(u128::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(cluster: u128, node: &str, store: u128, now_ms: i64) -> Local {
        Local::new(ClusterId::of(cluster), node, StoreId::of(store), 7, move || now_ms)
    }

    #[test]
    fn a_header_says_who_speaks_and_what_it_has_applied() {
        let (a, b) = (local(1, "a", 10, 5_000), local(1, "b", 20, 3_000));
        let view = View::of(1, 5, 2);
        a.apply(view);
        let speaker = b.read(Some(&a.header(StoreId::of(20)))).expect("it is meant for b");
        let expected = Speaker {
            node: "a".into(),
            store: StoreId::of(10),
            boot: 7,
            view,
            clock_ahead_ms: 2_000,
        };
        assert_eq!(speaker, expected);
    }

    #[test]
    fn a_message_that_is_not_meant_for_this_node_is_refused() {
        let b = local(1, "b", 20, 0);
        let reason = |header: Option<&proto::Header>| b.read(header).map_err(|r| r.reason);
        let of_other_cluster = local(2, "a", 10, 0).header(StoreId::of(20));
        assert_eq!(reason(Some(&of_other_cluster)), Err(proto::Reason::WrongCluster));
        let for_other_store = local(1, "a", 10, 0).header(StoreId::of(21));
        assert_eq!(reason(Some(&for_other_store)), Err(proto::Reason::WrongStore));
        assert_eq!(reason(None), Err(proto::Reason::Malformed));
    }
}
