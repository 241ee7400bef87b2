//! Reading: which series match, and their chunks, as they lie in the head and in the database.
//!
//! The head is looked at before the database, and what a checkpoint takes out of the head stays
//! readable until the database has it. So a sample is seen once or twice, never zero times; series
//! likewise.

use std::collections::BTreeMap;
use std::sync::Arc;

use rangekeeper_model::{
    Day, Labels, Matcher, SeriesId, ShardId, TimeRange, WINDOWS_A_DAY, Window, WindowInDay,
};
use rayon::prelude::*;

use super::StoreError;
use super::engine::Engine;
use super::selection::{Gathered, Selection};
use crate::db::{DbError, Stop, WHOLE_DAY, Windows, never};
use crate::head::series::Series;
use crate::head::stripe::Stripe;
use crate::head::{Tenant, TenantIndex};

/// Series that one thread gathers at least, and parts that they are cut into at most. A part has
/// iterators of its own, which cost as much as the reading of some dozens of series.
const SERIES_A_PART: usize = 256;
const PARTS: usize = 16;

/// When a reader has enough.
#[derive(Clone, Copy)]
pub struct ReadLimits<'a> {
    /// Series beyond which nothing is read and the reader is told so.
    pub series: u64,
    /// Asked now and then whether to stop.
    pub stop: Stop<'a>,
}

/// A series that matches, on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) id: SeriesId,
    pub(super) day: Day,
    /// The windows of the day that are wanted, as bits.
    pub(super) windows: u16,
}

/// The series that are read of one day.
#[derive(Default)]
struct OfDay {
    ids: Vec<SeriesId>,
    /// One a series: its number in the selection, and the windows that are wanted.
    places: Vec<(u32, u16)>,
}

/// All windows of a day, as bits.
pub(super) const ALL_WINDOWS: u16 = (1 << WINDOWS_A_DAY) - 1;

impl ReadLimits<'static> {
    /// Everything is wanted.
    pub const NONE: Self = Self { series: u64::MAX, stop: &never };
}

impl ReadLimits<'_> {
    pub(super) fn check(&self, matched: u64) -> Result<(), StoreError> {
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
        let candidates = self.candidates(tenant, matchers, range, limits, &|_| true)?;
        self.read_candidates(&candidates, range, limits)
    }

    /// The chunks in `range` of `candidates`, which are sorted.
    pub(super) fn read_candidates(
        self: &Arc<Self>,
        candidates: &[Candidate],
        range: TimeRange,
        limits: ReadLimits<'_>,
    ) -> Result<Selection, StoreError> {
        let stop = limits.stop;
        let series: Vec<&[Candidate]> = candidates.chunk_by(|a, b| a.id == b.id).collect();
        limits.check(series.len() as u64)?;
        let windows = (Window::of(range.from_ms), Window::of(range.to_ms));
        let share = series.len().div_ceil(PARTS).max(SERIES_A_PART);
        let gathered: Vec<Result<Gathered, DbError>> =
            series.par_chunks(share).map(|series| self.gather(series, windows, stop)).collect();
        let mut selection = Selection::new(Arc::clone(self), range);
        for gathered in gathered {
            selection.add(gathered?);
        }
        selection.sort();
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
        let candidates = self.candidates(tenant, matchers, range, limits, &|_| true)?;
        let series: Vec<&[Candidate]> = candidates.chunk_by(|a, b| a.id == b.id).collect();
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

    /// Series and days that match, of the shards that are `wanted`, sorted. New series are looked
    /// for before the index: one that is registered meanwhile is found in the index, or twice.
    pub(super) fn candidates(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: TimeRange,
        limits: ReadLimits<'_>,
        wanted: &dyn Fn(ShardId) -> bool,
    ) -> Result<Vec<Candidate>, StoreError> {
        let whole = |id: SeriesId, day| Candidate { id, day, windows: ALL_WINDOWS };
        let new = self.unregistered_labels(tenant.index, matchers, range).into_iter();
        let mut candidates: Vec<Candidate> =
            new.filter(|(id, ..)| wanted(id.shard())).map(|(id, day, _)| whole(id, day)).collect();
        for day in self.days(range) {
            let numbers = self.db.find(&tenant.id, day, matchers, limits.stop)?;
            let before = candidates.len();
            let ids = self.db.ids(day, &numbers)?.into_iter();
            candidates.extend(ids.filter(|id| wanted(id.shard())).map(|id| whole(id, day)));
            limits.check((candidates.len() - before) as u64)?;
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
        let mut gathered = Gathered::of(series.iter().map(|days| days[0].id.shard()).collect());
        self.gather_head(series, windows, &mut gathered);
        self.database_labels(series, &mut gathered.labels, stop)?;
        let mut by_day: BTreeMap<Day, OfDay> = BTreeMap::new();
        for (at, days) in (0u32..).zip(series) {
            for Candidate { id, day, windows } in *days {
                let of_day = by_day.entry(*day).or_default();
                of_day.ids.push(*id);
                of_day.places.push((at, *windows));
            }
        }
        for (day, OfDay { ids, places }) in by_day {
            self.db.read_chunks(
                day,
                &ids,
                windows_of(day, windows),
                stop,
                |at, window, value| {
                    let (series, wanted) = places[at];
                    if window == WHOLE_DAY || wanted & (1 << window.0) != 0 {
                        gathered.push(series, value);
                    }
                    true
                },
            )?;
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
            let days = series[at as usize];
            stripe.append_chunks((slot, found), windows, |window, value| {
                if is_wanted(days, window) {
                    gathered.push(at, value);
                }
            });
        });
    }

    pub(super) fn head_labels(&self, series: &[&[Candidate]]) -> Vec<Option<Labels>> {
        let mut labels = vec![None; series.len()];
        self.in_head(series, |at, _, _, found| labels[at as usize] = Some(found.labels.clone()));
        labels
    }

    /// Calls `each` for those of the series that are in the head, one stripe's lock at a time.
    pub(super) fn in_head(
        &self,
        series: &[&[Candidate]],
        mut each: impl FnMut(u32, &Stripe, u32, &Series),
    ) {
        let stripe_of = |days: &[Candidate]| self.head.stripe_of(days[0].id.shard());
        let mut at = 0u32;
        for group in series.chunk_by(|a, b| stripe_of(a) == stripe_of(b)) {
            let stripe = self.head.stripe(stripe_of(group[0]));
            for days in group {
                if let Some((slot, found)) = stripe.series_of(days[0].id) {
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
            .map(|(at, days)| (days[0].day, days[0].id, at))
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

/// Whether a series' chunk in the head is wanted. Where all of the series is, so is what came under
/// days that it did not have when it was found.
fn is_wanted(days: &[Candidate], window: Window) -> bool {
    let is_whole = |candidate: &Candidate| candidate.windows == ALL_WINDOWS;
    let bit = 1 << window.in_day().0;
    days.iter().all(is_whole) || days.iter().any(|c| c.day == window.day() && c.windows & bit != 0)
}

/// The part of a range of windows that lies in `day`.
fn windows_of(day: Day, (first, last): (Window, Window)) -> Windows {
    let first_of_day = Window::new(day, WindowInDay(0));
    let last_of_day = Window::new(day, WindowInDay(WINDOWS_A_DAY - 1));
    Windows { first: first.max(first_of_day).in_day(), last: last.min(last_of_day).in_day() }
}
