//! The records of the log that are not settled, with what each touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use rangekeeper_model::{SeriesId, ShardId, Window};
use rangekeeper_placement::UnsettledKey;

use crate::head::TenantIndex;
use crate::log::Position;

/// A series that a record has samples of, and one of the windows that they lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Touched {
    pub(crate) id: SeriesId,
    pub(crate) window: Window,
}

/// A record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Whose all of it is.
    pub(crate) tenant: TenantIndex,
    /// When it was noted.
    pub(crate) noted_ms: i64,
    /// In the order of shards.
    touched: Arc<Vec<Touched>>,
    /// What is unsettled of it.
    runs: Vec<Run>,
    extras: Extras,
}

/// Exemplars and metadata that a record has, mostly none, each with its shard.
pub(crate) type Extras = Vec<(ShardId, UnsettledKey)>;

/// What lies in one shard.
#[derive(Clone, Copy, Debug)]
struct Run {
    shard: ShardId,
    start: u32,
    end: u32,
}

impl Record {
    /// A record that touched these, which are in the order of shards, and has `extras`.
    pub(crate) fn new(
        tenant: TenantIndex,
        noted_ms: i64,
        touched: Vec<Touched>,
        extras: Extras,
    ) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for (at, touched) in (0u32..).zip(&touched) {
            let shard = touched.id.shard();
            match runs.last_mut() {
                Some(run) if run.shard == shard => run.end = at + 1,
                _ => runs.push(Run { shard, start: at, end: at + 1 }),
            }
        }
        debug_assert!(runs.is_sorted_by(|a, b| a.shard < b.shard));
        Self { tenant, noted_ms, touched: Arc::new(touched), runs, extras }
    }

    /// What is unsettled of it, by shard.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (ShardId, &[Touched])> {
        let touched = |run: &Run| &self.touched[run.start as usize..run.end as usize];
        self.runs.iter().map(move |run| (run.shard, touched(run)))
    }

    /// What is unsettled of it besides samples.
    pub(crate) fn extras(&self) -> &[(ShardId, UnsettledKey)] {
        &self.extras
    }

    fn count(&self) -> usize {
        self.touched.len() + self.extras.len()
    }

    /// Forgets its part in `shards`.
    fn settle(&mut self, shards: &[ShardId]) {
        self.runs.retain(|run| !shards.contains(&run.shard));
        self.extras.retain(|(shard, _)| !shards.contains(shard));
    }

    fn is_settled(&self) -> bool {
        self.runs.is_empty() && self.extras.is_empty()
    }

    fn holds(&self, shard: ShardId) -> bool {
        self.runs.binary_search_by_key(&shard, |run| run.shard).is_ok()
            || self.extras.iter().any(|(of, _)| *of == shard)
    }
}

/// The records, by position.
#[derive(Debug, Default)]
pub(super) struct Records {
    by_position: BTreeMap<Position, Arc<Record>>,
    touched: usize,
}

impl Records {
    pub(super) fn insert(&mut self, position: Position, record: Record) {
        if record.is_settled() {
            return;
        }
        self.touched += record.count();
        let before = self.by_position.insert(position, Arc::new(record));
        self.touched -= before.map_or(0, |record| record.count());
    }

    /// Forgets a record, or its part in `shards`. Returns what is to be dropped without the lock.
    pub(super) fn settle(
        &mut self,
        position: Position,
        shards: Option<&[ShardId]>,
    ) -> Option<Arc<Record>> {
        let record = self.by_position.get_mut(&position)?;
        if let Some(shards) = shards {
            let mut left = Record::clone(record);
            left.settle(shards);
            if !left.is_settled() {
                self.touched -= record.count() - left.count();
                return Some(std::mem::replace(record, Arc::new(left)));
            }
        }
        let settled = self.by_position.remove(&position)?;
        self.touched -= settled.count();
        Some(settled)
    }

    /// The record with the lowest position.
    pub(super) fn first(&self) -> Option<(Position, Arc<Record>)> {
        let (position, record) = self.by_position.first_key_value()?;
        Some((*position, Arc::clone(record)))
    }

    pub(super) fn all(&self) -> Vec<Arc<Record>> {
        self.by_position.values().cloned().collect()
    }

    pub(super) fn holds(&self, shard: ShardId) -> bool {
        self.by_position.values().any(|record| record.holds(shard))
    }

    pub(super) fn len(&self) -> usize {
        self.by_position.len()
    }

    /// Series and windows, and extras, that all records hold together.
    pub(super) fn touched(&self) -> usize {
        self.touched
    }
}
