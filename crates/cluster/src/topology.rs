//! What routing needs to know of the cluster: the map in use, how to get a newer one, and what this
//! node may say to requests about a shard.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use rangekeeper_model::{Epoch, ShardId, StoreId};
use rangekeeper_placement::{Assignment, NodeIndex, Place, Shard, Verdict, Version};
use tokio::time::Instant;

use crate::identity::{Speaker, View};
use crate::peer::Peer;
use crate::server::Report;

/// An assignment as a node sees it.
#[derive(Clone, Debug)]
pub struct MapView {
    /// The assignment.
    pub assignment: Arc<Assignment>,
    /// The node's row in it, if it has one with the store that it has.
    pub me: Option<NodeIndex>,
}

impl MapView {
    /// The number of the assignment.
    pub fn epoch(&self) -> Epoch {
        self.assignment.epoch
    }

    /// What orders it.
    pub fn version(&self) -> Version {
        self.assignment.version()
    }

    /// As messages name it.
    pub fn view(&self) -> View {
        let Assignment { generation, epoch, term, .. } = *self.assignment;
        View { generation, epoch, term }
    }

    /// A shard.
    #[inline]
    pub fn shard(&self, shard: ShardId) -> &Shard {
        self.assignment.shard(shard)
    }
}

/// The map and its keeper.
pub trait Topology: Send + Sync + 'static {
    /// The map in use; none before the first. Cheap.
    fn view(&self) -> Option<Arc<MapView>>;

    /// Gets a map of this epoch or later; says whether it is in use now.
    fn at_least(
        &self,
        epoch: Epoch,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;

    /// Whether this node may take a write; see [`rangekeeper_placement::Member::judge_write`].
    fn judge_write(
        &self,
        shard: ShardId,
        place: Place,
        routed: Version,
        target: StoreId,
    ) -> Verdict;

    /// Whether this node may answer a read.
    fn judge_read(&self, shard: ShardId, place: Place, routed: Version, target: StoreId)
    -> Verdict;

    /// The epoch under which an acknowledgement of this node is given.
    fn given(&self, routed: Version) -> Epoch;

    /// The node at a row of the map in use; none for this node itself, and for rows of stores that
    /// are gone.
    fn peer(&self, node: NodeIndex) -> Option<Peer>;

    /// How this node is, as a probe tells.
    fn report(&self) -> Report;

    /// The assignment in use, encoded, if it is newer than `than`.
    fn assignment_newer(&self, than: View) -> Option<Bytes>;

    /// A message came from there.
    fn heard(&self, from: &Speaker);
}
