//! What the operator has to know, while it holds.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tracing::{error, info};

/// What is wrong. Each kind is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AlarmKind {
    /// One version was published twice.
    TwoPublishes,
    /// So many nodes are gone that the map stays as it is.
    Frozen,
    /// Shards cannot be placed.
    Placement,
    /// The next map would contradict itself, or is too large.
    Unpublishable,
    /// The ensemble has no map although nodes have one: an operator has to restore it.
    Missing,
    /// The ensemble has no cluster any more: an operator has to restore it.
    Lost,
    /// A map cannot be read by this build.
    Unreadable,
    /// Another cluster's map was offered.
    OtherCluster,
    /// A map cannot be kept in the data folder, so it is not applied.
    NotKept,
    /// Somebody else has this node's name.
    NameTaken,
}

impl AlarmKind {
    pub(super) const ALL: [Self; 10] = [
        Self::TwoPublishes,
        Self::Frozen,
        Self::Placement,
        Self::Unpublishable,
        Self::Missing,
        Self::Lost,
        Self::Unreadable,
        Self::OtherCluster,
        Self::NotKept,
        Self::NameTaken,
    ];

    /// As metrics and the status name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TwoPublishes => "two_publishes",
            Self::Frozen => "frozen",
            Self::Placement => "placement",
            Self::Unpublishable => "unpublishable",
            Self::Missing => "missing_assignment",
            Self::Lost => "cluster_lost",
            Self::Unreadable => "unreadable_assignment",
            Self::OtherCluster => "other_cluster",
            Self::NotKept => "assignment_not_kept",
            Self::NameTaken => "name_taken",
        }
    }
}

/// An alarm that holds.
#[derive(Clone, Debug)]
pub(super) struct Alarm {
    pub(super) kind: AlarmKind,
    pub(super) text: String,
    /// Since when, in milliseconds since the epoch.
    pub(super) since_ms: i64,
}

/// The alarms that hold. Each is logged when it begins or says something else.
#[derive(Default)]
pub(super) struct Alarms(Mutex<BTreeMap<AlarmKind, Alarm>>);

impl Alarms {
    pub(super) fn raise(&self, kind: AlarmKind, text: impl Into<String>, now_ms: i64) {
        let text = text.into();
        let mut alarms = self.0.lock();
        let known = alarms.get(&kind);
        if known.is_some_and(|known| known.text == text) {
            return;
        }
        error!(alarm = kind.name(), "{text}");
        let since_ms = known.map_or(now_ms, |known| known.since_ms);
        alarms.insert(kind, Alarm { kind, text, since_ms });
    }

    pub(super) fn clear(&self, kind: AlarmKind) {
        if self.0.lock().remove(&kind).is_some() {
            info!(alarm = kind.name(), "over");
        }
    }

    pub(super) fn holds(&self, kind: AlarmKind) -> bool {
        self.0.lock().contains_key(&kind)
    }

    pub(super) fn all(&self) -> Vec<Alarm> {
        self.0.lock().values().cloned().collect()
    }
}
