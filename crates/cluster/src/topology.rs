//! What routing needs to know of the cluster: the map in use, how to get a newer one, and what this
//! node may say to requests about a shard.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rangekeeper_model::{Epoch, ShardId, StoreId};
use rangekeeper_placement::{Assignment, NodeIndex, Place, Shard, SlotState, Verdict, Version};
use rangekeeper_storage::ShardSet;
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
    alike: OnceLock<Vec<ShardSet>>,
}

impl MapView {
    /// An assignment, and this node's row in it.
    pub fn new(assignment: Arc<Assignment>, me: Option<NodeIndex>) -> Self {
        Self { assignment, me, alike: OnceLock::new() }
    }

    /// The shards, those together whose places are at the same nodes in the same states: what
    /// holds for the reading of one holds for the others.
    pub fn alike(&self) -> &[ShardSet] {
        self.alike.get_or_init(|| {
            let mut alike: HashMap<Vec<SlotState>, ShardSet> = HashMap::new();
            for shard in self.assignment.shard_count().iter() {
                let states = self.shard(shard).slots.iter().map(|slot| slot.state).collect();
                alike.entry(states).or_default().insert(shard.0.into());
            }
            let mut alike: Vec<ShardSet> = alike.into_values().collect();
            alike.sort_unstable_by_key(ShardSet::min);
            alike
        })
    }

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

    /// Of which shards this node may not answer a read, and why; see
    /// [`rangekeeper_placement::Member::judge_read`].
    fn judge_reads(
        &self,
        shards: &ShardSet,
        routed: Version,
        target: StoreId,
    ) -> Vec<(ShardId, Verdict)>;

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
