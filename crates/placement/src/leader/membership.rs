//! Who is there, who is gone, and since when: both a missing registration and a silent probe are
//! needed, since trouble with ZooKeeper is not trouble with a node.

use std::collections::{BTreeMap, BTreeSet};

use super::{Intents, Policy, Probe, Registration};
use rangekeeper_model::{NodeId, Zone};

/// A node that has registered at some time.
#[derive(Clone, Debug)]
struct Known {
    registration: Registration,
    presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Registered,
    /// Not registered; nobody has said that it does not answer.
    Doubtful,
    /// Not registered and silent, since then.
    GoneSince(u64),
}

/// All nodes that are known, and when that last changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Membership {
    nodes: BTreeMap<NodeId, Known>,
    changed_ms: u64,
}

impl Membership {
    pub(super) fn touch(&mut self, now_ms: u64) {
        self.changed_ms = now_ms;
    }

    /// The list of those who are registered now.
    pub(super) fn registered(&mut self, now_ms: u64, list: Vec<Registration>) {
        let mut absent: BTreeSet<NodeId> = self.nodes.keys().cloned().collect();
        for registration in list {
            absent.remove(&registration.id);
            let known = self.nodes.get_mut(&registration.id);
            match known {
                Some(known)
                    if known.registration == registration
                        && known.presence == Presence::Registered => {}
                _ => {
                    self.changed_ms = now_ms;
                    let presence = Presence::Registered;
                    let id = registration.id.clone();
                    self.nodes.insert(id, Known { registration, presence });
                }
            }
        }
        for id in absent {
            let known = self.nodes.get_mut(&id).expect("it is one of them");
            if known.presence == Presence::Registered {
                known.presence = Presence::Doubtful;
                self.changed_ms = now_ms;
            }
        }
    }

    /// What a probe of a node that is not registered found. The grace begins with the first that is
    /// not answered, and an answer ends it.
    pub(super) fn probed(&mut self, now_ms: u64, id: &NodeId, probe: Probe) {
        let Some(known) = self.nodes.get_mut(id) else { return };
        known.presence = match (known.presence, probe) {
            (Presence::Doubtful, Probe::Silent) => Presence::GoneSince(now_ms),
            (Presence::GoneSince(_), Probe::Answered) => Presence::Doubtful,
            (presence, _) => presence,
        };
    }

    /// A new leader has seen nobody's silence itself.
    pub(super) fn forget_probes(&mut self) {
        for known in self.nodes.values_mut() {
            if matches!(known.presence, Presence::GoneSince(_)) {
                known.presence = Presence::Doubtful;
            }
        }
    }

    /// The last registration of a node.
    pub(super) fn registration(&self, id: &NodeId) -> Option<&Registration> {
        self.nodes.get(id).map(|known| &known.registration)
    }

    pub(super) fn is_registered(&self, id: &NodeId) -> bool {
        self.nodes.get(id).is_some_and(|known| known.presence == Presence::Registered)
    }

    /// All that have registered and whose registration stands.
    pub(super) fn present(&self) -> impl Iterator<Item = &Registration> {
        let present = |known: &&Known| known.presence == Presence::Registered;
        self.nodes.values().filter(present).map(|known| &known.registration)
    }

    /// Those who have to be probed: again and again while they are away.
    pub(super) fn absent(&self) -> impl Iterator<Item = &NodeId> {
        let absent = |(_, known): &(&NodeId, &Known)| known.presence != Presence::Registered;
        self.nodes.iter().filter(absent).map(|(id, _)| id)
    }

    /// Whether the membership stays as it is for long enough to plan by it.
    pub(super) fn is_settled(&self, now_ms: u64, policy: &Policy) -> bool {
        now_ms >= self.changed_ms + policy.settle_ms
    }

    /// When it will be, if it stays.
    pub(super) fn settles_at(&self, policy: &Policy) -> u64 {
        self.changed_ms + policy.settle_ms
    }

    /// How many are gone of those who count, if that freezes the map: more than one and more than a
    /// share of all, or more than one whole zone.
    pub(super) fn breaker(&self, policy: &Policy, intents: &Intents) -> Option<(usize, usize)> {
        let counts = |id: &NodeId| !intents.confirmed_gone.contains(id);
        let all = self.nodes.iter().filter(|(id, _)| counts(id)).count();
        let gone = self.absent().filter(|id| counts(id)).count();
        let most = (all * policy.breaker_percent / 100).max(1);
        let zones = |present: bool| -> BTreeSet<&Zone> {
            let of = self.nodes.iter().filter(|(id, known)| {
                counts(id) && (known.presence == Presence::Registered) == present
            });
            of.map(|(_, known)| &known.registration.zone).collect()
        };
        let lost_zones = zones(false).difference(&zones(true)).count();
        (gone > most || lost_zones > 1).then_some((gone, all))
    }

    /// Whether a node was gone for longer than it is waited for, or the operator says that it will
    /// not come back.
    pub(super) fn is_given_up(
        &self,
        id: &NodeId,
        now_ms: u64,
        grace_ms: u64,
        intents: &Intents,
    ) -> bool {
        match self.nodes.get(id).map(|known| known.presence) {
            Some(Presence::Registered) => false,
            Some(Presence::GoneSince(since)) if now_ms >= since + grace_ms => true,
            _ => intents.confirmed_gone.contains(id),
        }
    }

    /// How many are silent.
    pub(super) fn silent(&self) -> usize {
        let is_silent = |known: &&Known| matches!(known.presence, Presence::GoneSince(_));
        self.nodes.values().filter(is_silent).count()
    }

    /// When the next of those who are silent is given up, after `now_ms`.
    pub(super) fn next_given_up(&self, now_ms: u64, grace_ms: u64) -> Option<u64> {
        let at = self.nodes.values().filter_map(|known| match known.presence {
            Presence::GoneSince(since) => Some(since + grace_ms).filter(|at| *at > now_ms),
            Presence::Registered | Presence::Doubtful => None,
        });
        at.min()
    }
}
