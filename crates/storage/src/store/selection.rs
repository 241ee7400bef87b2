//! What a selector found: series with their chunks, still encoded.

use std::sync::Arc;

use rangekeeper_chunk::Decoder;
use rangekeeper_model::{Labels, Samples, ShardId, TimeRange};
use rayon::prelude::*;

use super::StoreError;
use super::engine::Engine;

/// The series that a selector found, with their chunks still encoded. Sorted by labels.
#[derive(Debug)]
pub struct Selection {
    engine: Arc<Engine>,
    range: TimeRange,
    series: Vec<Selected>,
    parts: Vec<Part>,
    arenas: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Selected {
    labels: Labels,
    shard: ShardId,
    first_part: u32,
    end_part: u32,
}

/// A chunk value in an arena.
#[derive(Clone, Copy, Debug)]
struct Part {
    arena: u32,
    at: u32,
    len: u32,
}

impl Selection {
    /// Nothing yet.
    pub(super) fn new(engine: Arc<Engine>, range: TimeRange) -> Self {
        Self { engine, range, series: Vec::new(), parts: Vec::new(), arenas: Vec::new() }
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether nothing matched.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Labels of series `index`.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.series[index].labels
    }

    /// The shard that series `index` lies in.
    pub fn shard(&self, index: usize) -> ShardId {
        self.series[index].shard
    }

    /// The chunk values of series `index` as they lie: their union, clipped to the range that was
    /// asked for, is what [`Self::read`] gives. Some may reach beyond the range.
    pub fn chunks(&self, index: usize) -> impl Iterator<Item = &[u8]> {
        let series = &self.series[index];
        self.parts[series.first_part as usize..series.end_part as usize].iter().map(|part| {
            let arena = &self.arenas[part.arena as usize];
            &arena[part.at as usize..(part.at + part.len) as usize]
        })
    }

    /// Replaces the content of `samples` by those of series `index` that lie in the selection's
    /// range.
    ///
    /// Damaged frames are counted. A lone node leaves them out; what is left is right. Where there
    /// are other copies, the read fails, so that one of them is read.
    pub fn read(
        &self,
        index: usize,
        decoder: &mut Decoder,
        samples: &mut Samples,
    ) -> Result<(), StoreError> {
        samples.clear();
        let Selected { labels, shard, .. } = &self.series[index];
        for value in self.chunks(index) {
            for damage in decoder.decode(value, self.range, samples) {
                self.engine.db.count_damage();
                tracing::error!(%damage, %labels, "a chunk is damaged");
                if self.engine.options.replicated.is_some() {
                    return Err(self.engine.damaged(*shard, labels, &damage));
                }
            }
        }
        Ok(())
    }

    /// Adds what was gathered of some series.
    pub(super) fn add(&mut self, mut gathered: Gathered) {
        let arena = u32::try_from(self.arenas.len()).expect("as many as parts");
        gathered.parts.sort_by_key(|(series, ..)| *series);
        let mut parts = gathered.parts.into_iter().peekable();
        for ((series, labels), shard) in (0u32..).zip(gathered.labels).zip(gathered.shards) {
            let first_part = self.part_count();
            while let Some((_, at, len)) = parts.next_if(|(of, ..)| *of == series) {
                self.parts.push(Part { arena, at, len });
            }
            let end_part = self.part_count();
            // A series without labels was dropped by retention between the index and here.
            if let Some(labels) = labels {
                self.series.push(Selected { labels, shard, first_part, end_part });
            }
        }
        self.arenas.push(gathered.arena);
    }

    /// Puts the series into the order of labels.
    pub(super) fn sort(&mut self) {
        self.series.par_sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    }

    fn part_count(&self) -> u32 {
        u32::try_from(self.parts.len()).expect("bounded below 2^32 chunks")
    }
}

impl Engine {
    /// The error of a chunk of a series that cannot be read whole; its shard is remembered.
    pub(super) fn damaged(
        &self,
        shard: ShardId,
        labels: &Labels,
        damage: &dyn std::fmt::Display,
    ) -> StoreError {
        self.db.note_damaged_shard(shard);
        StoreError::DamagedSeries { series: labels.to_string(), detail: damage.to_string() }
    }
}

/// What was gathered of one part of the series.
pub(super) struct Gathered {
    pub(super) labels: Vec<Option<Labels>>,
    /// One for each of the labels.
    shards: Vec<ShardId>,
    /// Chunk values, each with the number of its series.
    parts: Vec<(u32, u32, u32)>,
    arena: Vec<u8>,
}

impl Gathered {
    /// Nothing yet of the series that lie in these shards.
    pub(super) fn of(shards: Vec<ShardId>) -> Self {
        Self { labels: vec![None; shards.len()], shards, parts: Vec::new(), arena: Vec::new() }
    }

    pub(super) fn push(&mut self, series: u32, value: &[u8]) {
        let at = u32::try_from(self.arena.len()).expect("a query's chunks are bounded below 4 GiB");
        let len = u32::try_from(value.len()).expect("a chunk is bounded below 4 GiB");
        self.arena.extend_from_slice(value);
        self.parts.push((series, at, len));
    }
}
