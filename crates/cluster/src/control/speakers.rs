//! What the nodes of the cluster last said of themselves, and what follows from their clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use rangekeeper_model::StoreId;
use rangekeeper_placement::Version;
use tokio::time::Instant;

use crate::identity::{Speaker, View};

/// How far this node's clock may be off most others'.
pub(super) const CLOCK_LIMIT: Duration = Duration::from_mins(1);

/// A clock that was not heard for so long says nothing any more: either may have been set since.
const CLOCK_FRESH: Duration = Duration::from_mins(1);

/// The last message of a node.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) speaker: Speaker,
    at: Instant,
}

/// By data folder.
#[derive(Default)]
pub(super) struct Speakers(Mutex<BTreeMap<StoreId, Heard>>);

impl Speakers {
    /// Takes a message in; whether it names another map than the last one.
    pub(super) fn note(&self, speaker: &Speaker) -> bool {
        let heard = Heard { speaker: speaker.clone(), at: Instant::now() };
        let before = self.0.lock().insert(speaker.store, heard);
        before.is_none_or(|before| before.speaker.view != speaker.view)
    }

    /// What the owner of a data folder said last.
    pub(super) fn of(&self, store: StoreId) -> Option<Speaker> {
        self.0.lock().get(&store).map(|heard| heard.speaker.clone())
    }

    /// The newest map that anybody has.
    pub(super) fn newest(&self) -> Option<Version> {
        self.0.lock().values().map(|heard| version(heard.speaker.view)).max()
    }

    /// The map that the owner of a data folder said it had.
    pub(super) fn version_of(&self, store: StoreId) -> Option<Version> {
        self.0.lock().get(&store).map(|heard| version(heard.speaker.view))
    }

    /// Forgets all but these.
    pub(super) fn retain(&self, stores: &BTreeSet<StoreId>) {
        self.0.lock().retain(|store, _| stores.contains(store));
    }

    /// How far the clocks of most nodes are ahead of this one's, in milliseconds.
    pub(super) fn majority_ahead_ms(&self) -> i64 {
        let heard = self.0.lock();
        let fresh = heard.values().filter(|heard| heard.at.elapsed() < CLOCK_FRESH);
        majority(fresh.map(|heard| heard.speaker.clock_ahead_ms).collect())
    }
}

/// What a header's view is to the rules of placement.
pub(super) fn version(view: View) -> Version {
    Version { generation: view.generation, epoch: view.epoch }
}

/// The median of the others' clocks and one's own, which is 0 ahead. Of two in the middle the one
/// that is nearer to one's own: half of the nodes are no majority against it.
fn majority(mut ahead_ms: Vec<i64>) -> i64 {
    ahead_ms.push(0);
    ahead_ms.sort_unstable();
    let (low, high) = (ahead_ms[(ahead_ms.len() - 1) / 2], ahead_ms[ahead_ms.len() / 2]);
    if low.unsigned_abs() < high.unsigned_abs() { low } else { high }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_only_if_more_than_half_of_all_say_so() {
        const DAY: i64 = 86_400_000;
        for (ahead_ms, expected) in [
            (vec![], 0),
            (vec![DAY], 0),
            (vec![DAY, 5], 5),
            (vec![DAY, DAY + 3], DAY),
            (vec![-DAY, DAY], 0),
            (vec![-DAY, -DAY, 0], 0),
            (vec![-DAY, -DAY, 0, -DAY], -DAY),
        ] {
            assert_eq!(majority(ahead_ms.clone()), expected, "{ahead_ms:?}");
        }
    }
}
