//! A slot: who writes it, who answers for it, and since when.

use crate::ids::{NodeIndex, SlotEpoch};

/// The state of a slot.
///
/// ```text
/// Steady{a} ──move──▶ Moving{a, b} ──b caught up──▶ Cutover{a, b} ──b has all of a──▶ Steady{b}
///    ▲  ◀──cancel──────────┘                            │
///    │                 a dead: Repair{b}                │ a dead: Repair{b}; b dead: Repair{a}
///    └── union of R other places ── Repair{b} ◀── Steady{a}: a dead, damaged or without its disk
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// Nobody: the shard was never placed.
    Empty,
    /// One node has it.
    Steady {
        /// The node.
        node: NodeIndex,
    },
    /// `from` has it, writes it and answers for it; `to` copies.
    Moving {
        /// The old owner.
        from: NodeIndex,
        /// The new one.
        to: NodeIndex,
    },
    /// `to` writes; what it lacks `from` still has, so only both together answer.
    Cutover {
        /// The old owner, which is sealed when it has applied this.
        from: NodeIndex,
        /// The new one.
        to: NodeIndex,
    },
    /// `node` takes writes and gathers the rest from the other places; it answers for nothing.
    Repair {
        /// The node.
        node: NodeIndex,
    },
}

impl SlotState {
    /// Who takes the writes of the slot.
    #[inline]
    pub fn writer(self) -> Option<NodeIndex> {
        match self {
            Self::Empty => None,
            Self::Steady { node } | Self::Repair { node } => Some(node),
            Self::Moving { from, .. } => Some(from),
            Self::Cutover { to, .. } => Some(to),
        }
    }

    /// Who has to be asked, all of them, for an answer of the slot. None where the slot cannot
    /// answer.
    #[inline]
    pub fn readers(self) -> Readers {
        match self {
            Self::Empty | Self::Repair { .. } => Readers([None, None]),
            Self::Steady { node } | Self::Moving { from: node, .. } => Readers([Some(node), None]),
            Self::Cutover { from, to } => Readers([Some(from), Some(to)]),
        }
    }

    /// Whether the state names `node`.
    #[inline]
    pub fn names(self, node: NodeIndex) -> bool {
        match self {
            Self::Empty => false,
            Self::Steady { node: named } | Self::Repair { node: named } => named == node,
            Self::Moving { from, to } | Self::Cutover { from, to } => from == node || to == node,
        }
    }

    /// Every node that the state names.
    pub fn nodes(self) -> impl Iterator<Item = NodeIndex> {
        let both = match self {
            Self::Empty => [None, None],
            Self::Steady { node } | Self::Repair { node } => [Some(node), None],
            Self::Moving { from, to } | Self::Cutover { from, to } => [Some(from), Some(to)],
        };
        both.into_iter().flatten()
    }

    /// Who owns the slot when all that is under way is done.
    pub fn target(self) -> Option<NodeIndex> {
        match self {
            Self::Empty => None,
            Self::Steady { node } | Self::Repair { node } => Some(node),
            Self::Moving { to, .. } | Self::Cutover { to, .. } => Some(to),
        }
    }

    /// Whether the slot can answer a read.
    #[inline]
    pub fn is_readable(self) -> bool {
        !self.readers().is_empty()
    }
}

/// The nodes whose answers together are a slot's answer: none, one, or the two of a cutover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readers([Option<NodeIndex>; 2]);

impl Readers {
    /// Whether nobody answers.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0[0].is_none()
    }

    /// How many have to answer.
    pub fn len(self) -> usize {
        self.into_iter().count()
    }

    /// Whether `node` is one of them.
    #[inline]
    pub fn contains(self, node: NodeIndex) -> bool {
        self.0.contains(&Some(node))
    }
}

impl IntoIterator for Readers {
    type Item = NodeIndex;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<NodeIndex>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// One place of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its state.
    pub state: SlotState,
    /// The epoch that gave it this state.
    pub epoch: SlotEpoch,
}

impl Slot {
    /// A slot that was never placed.
    pub const EMPTY: Self =
        Self { state: SlotState::Empty, epoch: SlotEpoch(rangekeeper_model::Epoch(0)) };
}
