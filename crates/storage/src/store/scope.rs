//! Reading a part of a store: some shards whole, of others what is unsettled.
//!
//! What is unsettled is looked for where it is kept account of, not where the samples are: mostly
//! it is little or nothing. Records are looked at before entries, entries before the head, the head
//! before the database: each goes from one to the next, and is in the next before it leaves the
//! other.

use std::collections::BTreeMap;
use std::sync::Arc;

use rangekeeper_model::{
    Day, Labels, MatchOp, Matcher, SeriesHash, SeriesId, ShardId, TenantId, TimeRange, Window,
};
use rangekeeper_placement::{Unsettled, UnsettledKey};
use roaring::RoaringBitmap;

use super::engine::Engine;
use super::read::{Candidate, ReadLimits};
use super::selection::Selection;
use super::{Store, StoreError};
use crate::db::Stop;
use crate::head::Tenant;
use crate::unsettled::UnsettledSets;

/// Numbers of shards.
pub type ShardSet = RoaringBitmap;

/// What of a store is wanted, by numbers of shards. A shard that is in both is read in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Shards of which everything is wanted.
    pub full: ShardSet,
    /// Shards of which only that is wanted which is not known to be at all places. More may come.
    pub unsettled: ShardSet,
}

impl Store {
    /// The series of `tenant` that match and lie in `scope`, with their chunks in `range`. Blocks.
    ///
    /// Whoever unites one store's full shard with what is unsettled of it at others asks these
    /// others first: what was settled before they answered is in the full copy by then.
    pub fn select_in(
        &self,
        tenant: &TenantId,
        matchers: &[Matcher],
        range: TimeRange,
        limits: ReadLimits<'_>,
        scope: &Scope,
    ) -> Result<Selection, StoreError> {
        let engine = self.engine()?;
        let tenant = engine.head.tenant(tenant);
        let range = engine.clip(range);
        let search = Search { engine: &engine, tenant: &tenant, matchers, range, limits };
        let mut candidates = match &engine.unsettled {
            Some(unsettled) if !scope.unsettled.is_empty() => {
                search.unsettled(unsettled, &(&scope.unsettled - &scope.full))?
            }
            _ => Vec::new(),
        };
        if !scope.full.is_empty() {
            let wanted = |shard: ShardId| scope.full.contains(shard.0.into());
            candidates.extend(engine.candidates(&tenant, matchers, range, limits, &wanted)?);
            candidates.sort_unstable();
        }
        engine.read_candidates(&candidates, range, limits)
    }
}

/// A search for what is unsettled.
struct Search<'a> {
    engine: &'a Arc<Engine>,
    tenant: &'a Tenant,
    matchers: &'a [Matcher],
    range: TimeRange,
    limits: ReadLimits<'a>,
}

/// What is to be looked at: the windows of series, as bits, and days of shards.
#[derive(Default)]
struct Found {
    windows: BTreeMap<(SeriesId, Day), u16>,
    days: BTreeMap<Day, RoaringBitmap>,
}

impl Search<'_> {
    /// Series, days and windows that are unsettled in `shards` and match, sorted.
    fn unsettled(
        &self,
        unsettled: &UnsettledSets,
        shards: &RoaringBitmap,
    ) -> Result<Vec<Candidate>, StoreError> {
        let found = self.look(unsettled, shards);
        let mut candidates = self.matching(&found)?;
        for (day, shards) in &found.days {
            let range = TimeRange { from_ms: day.start_ms(), to_ms: day.end_ms() - 1 };
            let wanted = |shard: ShardId| shards.contains(shard.0.into());
            let Self { engine, tenant, matchers, limits, .. } = *self;
            candidates.extend(engine.candidates(tenant, matchers, range, limits, &wanted)?);
        }
        // Of a series and day that both ways have found, one has all windows.
        candidates.sort_unstable();
        candidates.dedup_by(|later, earlier| {
            let same = (later.id, later.day) == (earlier.id, earlier.day);
            if same {
                earlier.windows |= later.windows;
            }
            same
        });
        Ok(candidates)
    }

    /// What is unsettled, whoever's it is.
    fn look(&self, unsettled: &UnsettledSets, shards: &RoaringBitmap) -> Found {
        let mut found = Found::default();
        let windows = (Window::of(self.range.from_ms), Window::of(self.range.to_ms));
        let metric = self.metric();
        for record in unsettled.records() {
            if record.tenant != self.tenant.index {
                continue;
            }
            let runs = record.runs().filter(|(shard, _)| shards.contains(shard.0.into()));
            for touched in runs.flat_map(|(_, touched)| touched) {
                let is_of_metric = metric.is_none_or(|metric| metric == touched.id.0[2..6]);
                if is_of_metric && windows.0 <= touched.window && touched.window <= windows.1 {
                    found.add(touched.window, touched.id);
                }
            }
        }
        for shard in shards {
            let shard = ShardId(u16::try_from(shard).expect("shards have numbers of 16 bits"));
            unsettled.with(shard, |entries| found.look(entries, shard, windows, metric));
        }
        found
    }

    /// What all series of the metric that is asked for have in their keys behind the shard.
    fn metric(&self) -> Option<[u8; 4]> {
        let is_name =
            |m: &&Matcher| m.op() == MatchOp::Equal && m.name() == rangekeeper_model::METRIC_NAME;
        let name = self.matchers.iter().find(is_name)?.value();
        let id = self.tenant.hasher.id(SeriesHash(0), name, self.engine.head.shards());
        id.0[2..6].try_into().ok()
    }

    /// Those of the series that match; their labels are in the head or in the database.
    fn matching(&self, found: &Found) -> Result<Vec<Candidate>, StoreError> {
        let floor = self.engine.db.floor();
        let candidates: Vec<Candidate> = found
            .windows
            .iter()
            .filter(|((_, day), _)| *day >= floor)
            .map(|(&(id, day), &windows)| Candidate { id, day, windows })
            .collect();
        let series: Vec<&[Candidate]> = candidates.chunk_by(|a, b| a.id == b.id).collect();
        let mut verdicts: Vec<Option<bool>> = vec![None; series.len()];
        self.engine.in_head(&series, |at, _, _, found| {
            let is_own = found.tenant == self.tenant.index;
            verdicts[at as usize] = Some(is_own && self.matches(&found.labels));
        });
        self.judge_rest(&series, &mut verdicts, self.limits.stop)?;
        let matched = series.iter().zip(verdicts).filter(|(_, verdict)| *verdict == Some(true));
        Ok(matched.flat_map(|(days, _)| days.iter().copied()).collect())
    }

    /// Judges the series that the head does not have, by the labels of each day: where the index
    /// lost one, another has them.
    fn judge_rest(
        &self,
        series: &[&[Candidate]],
        verdicts: &mut [Option<bool>],
        stop: Stop<'_>,
    ) -> Result<(), StoreError> {
        let mut rest: BTreeMap<Day, (Vec<SeriesId>, Vec<usize>)> = BTreeMap::new();
        for (at, days) in series.iter().enumerate().filter(|(at, _)| verdicts[*at].is_none()) {
            for Candidate { id, day, .. } in *days {
                let (ids, places) = rest.entry(*day).or_default();
                ids.push(*id);
                places.push(at);
            }
        }
        for (day, (ids, places)) in rest {
            self.engine.db.read_labels(day, &ids, stop, |at, tenant, labels| {
                let is_own = *tenant == self.tenant.id;
                verdicts[places[at]] = Some(is_own && self.matches(&labels));
                true
            })?;
        }
        Ok(())
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches(labels.value(m.name()).unwrap_or_default()))
    }
}

impl Found {
    fn add(&mut self, window: Window, id: SeriesId) {
        *self.windows.entry((id, window.day())).or_default() |= 1 << window.in_day().0;
    }

    /// Adds the entries of a shard that lie in the windows, from the one to the other, and belong
    /// to the metric.
    fn look(
        &mut self,
        entries: &Unsettled,
        shard: ShardId,
        (first, last): (Window, Window),
        metric: Option<[u8; 4]>,
    ) {
        let (lowest, highest) = ids_of(shard, metric);
        let mut from = UnsettledKey::Chunk(first, lowest);
        // A jump to each window that has something of the metric.
        while let Some(UnsettledKey::Chunk(window, id)) = entries.keys_from(from).next()
            && window <= last
        {
            let begin = UnsettledKey::Chunk(window, id.max(lowest));
            for key in entries.keys_from(begin) {
                match key {
                    UnsettledKey::Chunk(of, id) if of == window && id <= highest => {
                        self.add(window, id);
                    }
                    _ => break,
                }
            }
            let Some(next) = window.0.checked_add(1) else { break };
            from = UnsettledKey::Chunk(Window(next), lowest);
        }
        for key in entries.keys_from(UnsettledKey::Day(first.day())) {
            match key {
                UnsettledKey::Day(day) if day <= last.day() => {
                    self.days.entry(day).or_default().insert(shard.0.into());
                }
                _ => break,
            }
        }
    }
}

/// The least and the greatest key that a shard's series of a metric can have.
fn ids_of(shard: ShardId, metric: Option<[u8; 4]>) -> (SeriesId, SeriesId) {
    let mut bounds = (SeriesId([0; SeriesId::BYTES]), SeriesId([0xff; SeriesId::BYTES]));
    for id in [&mut bounds.0, &mut bounds.1] {
        id.0[..2].copy_from_slice(&shard.0.to_be_bytes());
        if let Some(metric) = metric {
            id.0[2..6].copy_from_slice(&metric);
        }
    }
    bounds
}
