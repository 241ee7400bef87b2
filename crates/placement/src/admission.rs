//! What a node may do with a request about a shard, by its own applied map. Functions of one
//! shard's view; they allocate nothing.
//!
//! **Invariant:** a write is taken only by the slot's writer in its own view, and a read answered
//! only by one of its readers, for routers whose map is not older than the shard's last change.
//! Then all acknowledgements of a write, and all answers of a read, hold under one view.
//!
//! **Invariant:** a new writer acknowledges nothing until enough of the places that were readable
//! before the change have applied it. Until then somebody with the old map could still gather
//! enough answers, none of them from here.

use crate::assignment::Shard;
use crate::ids::{NodeIndex, Place, SlotEpoch};
use crate::quorum::Quorum;
use crate::slot::SlotState;
use rangekeeper_model::Epoch;

/// What a node says to a request about a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Go on.
    Ok,
    /// The maps of the two do not agree about this shard. The one whose epoch is lower has to catch
    /// up: the router refreshes and asks again, or hands its map to the node.
    StaleEpoch {
        /// The epoch that the node has applied.
        mine: Epoch,
    },
    /// The node is replaying its log, its copy is damaged, or it may not acknowledge yet.
    NotReady,
    /// The request means another data folder than the one that is here.
    WrongStore,
    /// The request comes from another cluster, or from before or after an operator's reset.
    WrongCluster,
}

/// Whether `me` may take a write for the slot at `place` that was routed by the map of `routed`.
/// `mine` is the epoch of `shard`'s map. Whether the writer is [active](is_active) comes on top.
#[inline]
pub fn may_write(
    shard: &Shard,
    mine: Epoch,
    me: NodeIndex,
    place: Place,
    routed: Epoch,
) -> Verdict {
    let is_writer =
        shard.slots.get(place.index()).is_some_and(|slot| slot.state.writer() == Some(me));
    if is_writer && routed >= shard.since { Verdict::Ok } else { Verdict::StaleEpoch { mine } }
}

/// Whether `me` may answer a read for the slot at `place` that was routed by the map of `routed`.
#[inline]
pub fn may_read(shard: &Shard, mine: Epoch, me: NodeIndex, place: Place, routed: Epoch) -> Verdict {
    let is_reader =
        shard.slots.get(place.index()).is_some_and(|slot| slot.state.readers().contains(me));
    if is_reader && routed >= shard.rsince { Verdict::Ok } else { Verdict::StaleEpoch { mine } }
}

/// Whether `me` may give its copy to a slot that took its state at `wanted`: it has applied that
/// change itself, so nothing can still be acknowledged here by the map before it.
#[inline]
pub fn may_export(
    shard: &Shard,
    mine: Epoch,
    me: NodeIndex,
    place: Place,
    wanted: SlotEpoch,
) -> Verdict {
    let is_reader =
        shard.slots.get(place.index()).is_some_and(|slot| slot.state.readers().contains(me));
    if is_reader && mine >= wanted.0 { Verdict::Ok } else { Verdict::StaleEpoch { mine } }
}

/// Whether `me` is sealed: it gives the slot away and takes no more writes, so its tail has an end.
#[inline]
pub fn is_sealed(shard: &Shard, me: NodeIndex, place: Place) -> bool {
    matches!(shard.slot(place).state, SlotState::Cutover { from, .. } if from == me)
}

/// Whether the writer of the slot may acknowledge. Only the new writer of a cutover or a repair has
/// to wait: for as many places as a write needs, of those that were readable before the change, to
/// have applied the epoch of the slot. `applied` says which epoch a node was heard to have applied.
///
/// A place counts when all its readers have applied it. In a cutover the old owner counts for the
/// slot's own place.
pub fn is_active(
    shard: &Shard,
    place: Place,
    quorum: Quorum,
    applied: impl Fn(NodeIndex) -> Epoch,
) -> bool {
    let slot = shard.slot(place);
    let has_applied = |node: NodeIndex| applied(node) >= slot.epoch.0;
    let own = match slot.state {
        SlotState::Repair { .. } => false,
        SlotState::Cutover { from, .. } => has_applied(from),
        SlotState::Empty | SlotState::Steady { .. } | SlotState::Moving { .. } => return true,
    };
    let others = shard.places().filter(|(other, slot)| {
        *other != place
            && slot.state.is_readable()
            && slot.state.readers().into_iter().all(has_applied)
    });
    others.count() + usize::from(own) >= quorum.write()
}

/// Whether a node that is named nowhere in the shard may delete what it has of it: every slot is
/// steady at others.
pub fn may_drop(shard: &Shard, me: NodeIndex) -> bool {
    shard.is_steady() && shard.place_of(me).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::Replication;
    use crate::transition::Transition;

    fn shard(changes: &[(u8, Transition)]) -> Shard {
        let mut shard = Shard::empty(Replication::Three.quorum());
        for place in 0..3 {
            let node = NodeIndex(place.into());
            shard.apply(Place(place), Transition::Place(node), Epoch(1)).unwrap();
        }
        for ((place, change), epoch) in changes.iter().zip(2..) {
            shard.apply(Place(*place), *change, Epoch(epoch)).unwrap();
        }
        shard
    }

    #[test]
    fn a_router_with_an_older_map_is_told_so() {
        let moved = shard(&[(0, Transition::Move(NodeIndex(5))), (0, Transition::Cutover)]);
        let write = |me, place, routed| {
            may_write(&moved, Epoch(9), NodeIndex(me), Place(place), Epoch(routed))
        };
        let stale = Verdict::StaleEpoch { mine: Epoch(9) };
        assert_eq!(write(5, 0, 3), Verdict::Ok);
        assert_eq!(write(5, 0, 2), stale, "an old map");
        assert_eq!(write(0, 0, 3), stale, "not the writer any more");
        assert_eq!(write(1, 1, 2), stale, "another slot's change is the shard's");
        assert_eq!(write(1, 4, 3), stale, "no such place");
        let read = |me, place, routed| {
            may_read(&moved, Epoch(9), NodeIndex(me), Place(place), Epoch(routed))
        };
        assert_eq!(read(0, 0, 3), Verdict::Ok);
        assert_eq!(read(5, 0, 3), Verdict::Ok);
        assert_eq!(read(1, 1, 2), stale);
        assert!(is_sealed(&moved, NodeIndex(0), Place(0)));
        assert!(!is_sealed(&moved, NodeIndex(5), Place(0)));
    }

    #[test]
    fn a_new_writer_waits_until_the_old_map_can_no_longer_be_read() {
        let quorum = Replication::Three.quorum();
        let repaired = shard(&[(0, Transition::Repair(NodeIndex(5)))]);
        let active = |epochs: [u64; 3]| {
            is_active(&repaired, Place(0), quorum, |node| Epoch(epochs[node.index()]))
        };
        assert!(!active([2, 2, 1]), "who was replaced does not count");
        assert!(active([1, 2, 2]));
        let cut = shard(&[(0, Transition::Move(NodeIndex(5))), (0, Transition::Cutover)]);
        let active = |epochs: [u64; 3]| {
            is_active(&cut, Place(0), quorum, |node| Epoch(epochs[node.index()]))
        };
        assert!(active([3, 3, 1]));
        assert!(!active([3, 2, 2]));
    }

    #[test]
    fn nobody_deletes_before_all_slots_are_steady_elsewhere() {
        let changes = [
            (0, Transition::Move(NodeIndex(5))),
            (0, Transition::Cutover),
            (0, Transition::Finish),
        ];
        assert!(may_drop(&shard(&changes), NodeIndex(0)));
        assert!(!may_drop(&shard(&changes[..2]), NodeIndex(0)));
        assert!(!may_drop(&shard(&changes), NodeIndex(5)));
        let other = [changes.as_slice(), &[(1, Transition::Repair(NodeIndex(6)))]].concat();
        assert!(!may_drop(&shard(&other), NodeIndex(0)));
    }
}
