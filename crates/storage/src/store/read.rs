//! Reading: which series match, and their chunks, as they lie in the head and in the database.
//!
//! The head is looked at before the database, and what a checkpoint takes out of the head stays
//! readable until the database has it. So a sample is seen once or twice, never zero times; series
//! likewise.

use std::collections::BTreeMap;
use std::sync::Arc;

use rangekeeper_chunk::Decoder;
use rangekeeper_model::{
    Day, Labels, Matcher, Samples, SeriesId, TimeRange, WINDOWS_A_DAY, Window, WindowInDay,
};
use rayon::prelude::*;

use super::StoreError;
use super::engine::Engine;
use crate::db::{DbError, Stop, Windows, never};
use crate::head::series::Series;
use crate::head::stripe::Stripe;
use crate::head::{Tenant, TenantIndex};

/// Series that one thread gathers at least, and parts that they are cut into at most. A part has
/// iterators of its own, which cost as much as the reading of some dozens of series.
const SERIES_A_PART: usize = 256;
const PARTS: usize = 16;

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

/// When a reader has enough.
#[derive(Clone, Copy)]
pub struct ReadLimits<'a> {
    /// Series beyond which nothing is read and the reader is told so.
    pub series: u64,
    /// Asked now and then whether to stop.
    pub stop: Stop<'a>,
}

/// A series that matches, on one day.
type Candidate = (SeriesId, Day);

impl Selection {
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

    /// Replaces the content of `samples` by those of series `index` that lie in the selection's
    /// range.
    ///
    /// Damaged frames are counted and left out; what is left is right.
    pub fn read(&self, index: usize, decoder: &mut Decoder, samples: &mut Samples) {
        samples.clear();
        let series = &self.series[index];
        for part in &self.parts[series.first_part as usize..series.end_part as usize] {
            let arena = &self.arenas[part.arena as usize];
            let value = &arena[part.at as usize..(part.at + part.len) as usize];
            for damage in decoder.decode(value, self.range, samples) {
                self.engine.db.count_damage();
                tracing::error!(%damage, labels = %series.labels, "a chunk is damaged");
            }
        }
    }
}

impl ReadLimits<'static> {
    /// Everything is wanted.
    pub const NONE: Self = Self { series: u64::MAX, stop: &never };
}

impl ReadLimits<'_> {
    fn check(&self, matched: u64) -> Result<(), StoreError> {
        let limit = self.series;
        if matched > limit {
            return Err(StoreError::TooManySeries { matched, limit });
        }
        Ok(())
    }
}

impl Engine {
    /// The series of `tenant` that match, with their chunks in `range`.
    pub(super) fn select(
        self: &Arc<Self>,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
        limits: ReadLimits<'_>,
    ) -> Result<Selection, StoreError> {
        let stop = limits.stop;
        let candidates = self.candidates(tenant, matchers, range, limits)?;
        let series: Vec<&[Candidate]> = candidates.chunk_by(|a, b| a.0 == b.0).collect();
        limits.check(series.len() as u64)?;
        let windows = (Window::of(range.from_ms), Window::of(range.to_ms));
        let share = series.len().div_ceil(PARTS).max(SERIES_A_PART);
        let gathered: Vec<Result<Gathered, DbError>> =
            series.par_chunks(share).map(|series| self.gather(series, windows, stop)).collect();
        let mut selection = Selection {
            engine: Arc::clone(self),
            range,
            series: Vec::with_capacity(series.len()),
            parts: Vec::new(),
            arenas: Vec::new(),
        };
        for gathered in gathered {
            selection.add(gathered?);
        }
        selection.series.par_sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        Ok(selection)
    }

    /// Labels of the series of `tenant` that match on the days of `range`, not sorted.
    pub(super) fn series(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
        stop: Stop<'_>,
    ) -> Result<Vec<Labels>, StoreError> {
        let limits = ReadLimits { series: u64::MAX, stop };
        let candidates = self.candidates(tenant, matchers, range, limits)?;
        let series: Vec<&[Candidate]> = candidates.chunk_by(|a, b| a.0 == b.0).collect();
        let mut labels = self.head_labels(&series);
        self.database_labels(&series, &mut labels, stop)?;
        Ok(labels.into_iter().flatten().collect())
    }

    /// The days that `range` touches and that may have data.
    pub(super) fn days(&self, range: TimeRange) -> Vec<Day> {
        let (first, last) = (Day::of(range.from_ms), Day::of(range.to_ms));
        let mut days = self.db.days();
        days.retain(|day| first <= *day && *day <= last);
        days
    }

    /// The labels of series that are in the head and not in the database's index of their day yet.
    pub(super) fn unregistered_labels(
        &self,
        tenant: TenantIndex,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Vec<(SeriesId, Day, Labels)> {
        let (first, last) = (Day::of(range.from_ms), Day::of(range.to_ms));
        let mut found = Vec::new();
        for stripe in 0..self.head.stripe_count() {
            let stripe = self.head.stripe(stripe);
            let new = stripe.unregistered().filter(|(series, _, day)| {
                series.tenant == tenant && first <= *day && *day <= last
            });
            for (series, _, day) in new {
                let matches = |m: &Matcher| m.matches(series.labels.value(m.name()).unwrap_or(""));
                if matchers.iter().all(matches) {
                    found.push((series.id, day, series.labels.clone()));
                }
            }
        }
        found
    }

    /// Series and days that match, sorted. New series are looked for before the index: one that is
    /// registered meanwhile is found in the index, or twice.
    fn candidates(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
        limits: ReadLimits<'_>,
    ) -> Result<Vec<Candidate>, StoreError> {
        let new = self.unregistered_labels(tenant.index, matchers, range);
        let mut candidates: Vec<Candidate> =
            new.into_iter().map(|(id, day, _)| (id, day)).collect();
        for day in self.days(range) {
            let numbers = self.db.find(&tenant.id, day, matchers, limits.stop)?;
            limits.check(numbers.len())?;
            candidates.extend(self.db.ids(day, &numbers)?.into_iter().map(|id| (id, day)));
        }
        candidates.sort_unstable();
        candidates.dedup();
        Ok(candidates)
    }

    /// Labels and chunks of some series, which are sorted by key.
    fn gather(
        &self,
        series: &[&[Candidate]],
        windows: (Window, Window),
        stop: Stop<'_>,
    ) -> Result<Gathered, DbError> {
        let mut gathered = Gathered { labels: vec![None; series.len()], ..Gathered::default() };
        self.gather_head(series, windows, &mut gathered);
        self.database_labels(series, &mut gathered.labels, stop)?;
        let mut by_day: BTreeMap<Day, (Vec<SeriesId>, Vec<u32>)> = BTreeMap::new();
        for (at, days) in (0u32..).zip(series) {
            for (id, day) in *days {
                let (ids, places) = by_day.entry(*day).or_default();
                ids.push(*id);
                places.push(at);
            }
        }
        for (day, (ids, places)) in by_day {
            self.db.read_chunks(day, &ids, windows_of(day, windows), stop, |at, _, value| {
                gathered.push(places[at], value);
                true
            })?;
        }
        Ok(gathered)
    }

    fn gather_head(
        &self,
        series: &[&[Candidate]],
        windows: (Window, Window),
        gathered: &mut Gathered,
    ) {
        self.in_head(series, |at, stripe, slot, found| {
            gathered.labels[at as usize] = Some(found.labels.clone());
            stripe.append_chunks((slot, found), windows, |_, value| gathered.push(at, value));
        });
    }

    fn head_labels(&self, series: &[&[Candidate]]) -> Vec<Option<Labels>> {
        let mut labels = vec![None; series.len()];
        self.in_head(series, |at, _, _, found| labels[at as usize] = Some(found.labels.clone()));
        labels
    }

    /// Calls `each` for those of the series that are in the head, one stripe's lock at a time.
    fn in_head(&self, series: &[&[Candidate]], mut each: impl FnMut(u32, &Stripe, u32, &Series)) {
        let stripe_of = |days: &[Candidate]| self.head.stripe_of(days[0].0.shard());
        let mut at = 0u32;
        for group in series.chunk_by(|a, b| stripe_of(a) == stripe_of(b)) {
            let stripe = self.head.stripe(stripe_of(group[0]));
            for days in group {
                if let Some((slot, found)) = stripe.series_of(days[0].0) {
                    each(at, &stripe, slot, found);
                }
                at += 1;
            }
        }
    }

    /// Reads the labels that the head did not have.
    fn database_labels(
        &self,
        series: &[&[Candidate]],
        labels: &mut [Option<Labels>],
        stop: Stop<'_>,
    ) -> Result<(), DbError> {
        let mut missing: Vec<(Day, SeriesId, usize)> = series
            .iter()
            .enumerate()
            .filter(|(at, _)| labels[*at].is_none())
            .map(|(at, days)| (days[0].1, days[0].0, at))
            .collect();
        missing.sort_unstable();
        for of_day in missing.chunk_by(|a, b| a.0 == b.0) {
            let ids: Vec<SeriesId> = of_day.iter().map(|(_, id, _)| *id).collect();
            self.db.read_labels(of_day[0].0, &ids, stop, |at, _, found| {
                labels[of_day[at].2] = Some(found);
                true
            })?;
        }
        Ok(())
    }
}

/// The part of a range of windows that lies in `day`.
fn windows_of(day: Day, (first, last): (Window, Window)) -> Windows {
    let first_of_day = Window::new(day, WindowInDay(0));
    let last_of_day = Window::new(day, WindowInDay(WINDOWS_A_DAY - 1));
    Windows { first: first.max(first_of_day).in_day(), last: last.min(last_of_day).in_day() }
}

/// What was gathered of one part of the series.
#[derive(Default)]
struct Gathered {
    labels: Vec<Option<Labels>>,
    /// Chunk values, each with the number of its series.
    parts: Vec<(u32, u32, u32)>,
    arena: Vec<u8>,
}

impl Gathered {
    fn push(&mut self, series: u32, value: &[u8]) {
        let at = u32::try_from(self.arena.len()).expect("a query's chunks are bounded below 4 GiB");
        let len = u32::try_from(value.len()).expect("a chunk is bounded below 4 GiB");
        self.arena.extend_from_slice(value);
        self.parts.push((series, at, len));
    }
}

impl Selection {
    fn add(&mut self, mut gathered: Gathered) {
        let arena = u32::try_from(self.arenas.len()).expect("as many as parts");
        gathered.parts.sort_by_key(|(series, ..)| *series);
        let mut parts = gathered.parts.into_iter().peekable();
        for (series, labels) in (0u32..).zip(gathered.labels) {
            let first_part = self.part_count();
            while let Some((_, at, len)) = parts.next_if(|(of, ..)| *of == series) {
                self.parts.push(Part { arena, at, len });
            }
            let end_part = self.part_count();
            // A series without labels was dropped by retention between the index and here.
            if let Some(labels) = labels {
                self.series.push(Selected { labels, first_part, end_part });
            }
        }
        self.arenas.push(gathered.arena);
    }

    fn part_count(&self) -> u32 {
        u32::try_from(self.parts.len()).expect("bounded below 2^32 chunks")
    }
}
