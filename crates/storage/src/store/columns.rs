//! The memory of one request: its series as rows, its samples as columns.

use std::ops::Range;

use rangekeeper_model::{HistogramSample, SeriesHash, ShardId};

use crate::head::stripe::Stripe;
use crate::head::{Exemplar, FamilyKey, FamilyMetadata, Head};
use crate::log::FileSeq;

/// The slot of a row whose series is not known.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// A request in memory; the memory is used again by the next one.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) rows: Vec<Row>,
    /// Rows in the order of their shards, once they are sorted.
    pub(super) order: Vec<u32>,
    /// What is to be stored, in the order of shards, once that is settled.
    pub(super) known: Vec<Known>,
    /// The stripes that the rows fall into, with their ranges of `order` and `known`.
    pub(super) stripes: Vec<(usize, Range<usize>)>,
    pub(super) timestamps: Vec<i64>,
    pub(super) values: Vec<f64>,
    /// Empty, or one a sample.
    pub(super) starts: Vec<i64>,
    pub(super) histograms: Vec<(u32, HistogramSample)>,
    pub(super) exemplars: Vec<(u32, Exemplar)>,
    pub(super) metadata: Vec<(FamilyKey, FamilyMetadata)>,
    pub(super) newest_ms: i64,
    /// Whether some rows were not known, so that `order` is not what is to be stored.
    pub(super) had_unknown: bool,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) hash: SeriesHash,
    pub(super) shard: ShardId,
    pub(super) slot: u32,
    /// First of its float samples; they end where the next row's begin.
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) defined_in: FileSeq,
}

/// A row whose series is known, as the passes after resolving need it: they go through these one
/// after the other, not through the rows in the order of shards.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) slot: u32,
    first: u32,
    pub(super) count: u32,
    pub(super) defined_in: FileSeq,
    pub(super) shard: ShardId,
}

impl Known {
    #[inline]
    pub(super) fn samples(&self) -> Range<usize> {
        self.first as usize..(self.first + self.count) as usize
    }
}

impl Row {
    #[inline]
    pub(super) fn pin(&mut self, slot: u32, stripe: &mut Stripe, now_s: u32) {
        self.slot = slot;
        self.defined_in = stripe.pin(slot, now_s);
    }
}

impl Columns {
    /// Whether there is nothing to store.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.metadata.is_empty()
    }

    /// Settles what is to be stored: all rows but those that nobody defined.
    pub(super) fn settle(&mut self, head: &Head) {
        if self.had_unknown {
            self.drop_unknown(head);
        }
        let Self { rows, order, known, .. } = self;
        known.clear();
        known.extend(order.iter().map(|&at| {
            let Row { shard, slot, first, count, defined_in, .. } = rows[at as usize];
            Known { slot, first, count, defined_in, shard }
        }));
    }

    fn drop_unknown(&mut self, head: &Head) {
        let Self { rows, histograms, exemplars, .. } = self;
        let known = |at: u32| rows[at as usize].slot != NO_SLOT;
        histograms.retain(|(at, _)| known(*at));
        exemplars.retain(|(at, _)| known(*at));
        self.sort(head, |row| row.slot != NO_SLOT);
    }

    /// Sorts the rows that `wanted` names by shard, and so by stripe too.
    pub(super) fn sort(&mut self, head: &Head, wanted: impl Fn(&Row) -> bool) {
        let shards = head.shards();
        let Self { rows, order, stripes, .. } = self;
        let mut ends = vec![0u32; shards.count() as usize + 1];
        for row in rows.iter().filter(|row| wanted(row)) {
            ends[usize::from(row.shard.0) + 1] += 1;
        }
        for shard in 1..ends.len() {
            ends[shard] += ends[shard - 1];
        }
        stripes.clear();
        let mut last: Option<(usize, Range<usize>)> = None;
        for (shard, bounds) in shards.iter().zip(ends.windows(2)) {
            let (start, end) = (bounds[0] as usize, bounds[1] as usize);
            let stripe = head.stripe_of(shard);
            match &mut last {
                _ if start == end => {}
                Some((of, range)) if *of == stripe => range.end = end,
                _ => stripes.extend(last.replace((stripe, start..end))),
            }
        }
        stripes.extend(last);
        order.clear();
        order.resize(*ends.last().expect("one more than shards") as usize, 0);
        for (at, row) in (0u32..).zip(rows.iter()).filter(|(_, row)| wanted(row)) {
            let place = &mut ends[usize::from(row.shard.0)];
            order[*place as usize] = at;
            *place += 1;
        }
    }

    /// Bytes of the greater parts of the memory.
    pub(super) fn capacity_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.known.capacity() * size_of::<Known>()
            + self.histograms.capacity() * size_of::<(u32, HistogramSample)>()
            + self.exemplars.capacity() * size_of::<(u32, Exemplar)>()
            + (self.timestamps.capacity() + self.values.capacity() + self.starts.capacity()) * 8
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.order.clear();
        self.known.clear();
        self.stripes.clear();
        self.timestamps.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
        self.newest_ms = 0;
        self.had_unknown = false;
    }
}

pub(super) fn index(length: usize) -> u32 {
    u32::try_from(length).expect("a request is bounded far below 2^32 samples")
}
