//! One series in memory: who it is, and its open segments.

use rangekeeper_chunk::OpenFloats;
use rangekeeper_model::{Day, Labels, SeriesId, Window};

use super::TenantIndex;

/// How many days a series remembers itself to be registered under: the one that is written and its
/// neighbour.
const REMEMBERED_DAYS: usize = 2;

/// A series that the head knows.
///
/// **Invariant:** `newest` holds a later window than `older`; neither is empty, and without the one
/// there is not the other.
#[derive(Debug)]
pub(crate) struct Series {
    newest: Option<Segment>,
    /// Apart, because few series have one, and most of what a head holds is series.
    older: Option<Box<Segment>>,
    pub(crate) id: SeriesId,
    pub(crate) labels: Labels,
    pub(crate) tenant: TenantIndex,
    /// Whether the labels are in the database and synced, so that the log may name the series by
    /// its key alone.
    pub(crate) labels_durable: bool,
    /// Days under which the database's index has this series; the newest first.
    registered: [Option<Day>; REMEMBERED_DAYS],
}

#[derive(Debug)]
struct Segment {
    window: Window,
    floats: OpenFloats,
}

/// Where a sample went.
#[derive(Debug)]
pub(crate) enum Placed {
    /// To an open segment.
    Appended,
    /// Nowhere: it is there already.
    Duplicate,
    /// Nowhere yet: it is not later than what its window's segment holds, or both segments are of
    /// other windows.
    Late,
}

impl Series {
    pub(crate) fn new(id: SeriesId, labels: Labels, tenant: TenantIndex) -> Self {
        Self {
            newest: None,
            older: None,
            id,
            labels,
            tenant,
            labels_durable: false,
            registered: [None; REMEMBERED_DAYS],
        }
    }

    /// Appends a float sample to the segment of its window, opening one if there is a place for it.
    #[inline]
    pub(crate) fn append(&mut self, timestamp_ms: i64, start_ms: i64, value: f64) -> Placed {
        let window = Window::of(timestamp_ms);
        if let Some(newest) = &mut self.newest
            && newest.window == window
        {
            return newest.push(timestamp_ms, start_ms, value);
        }
        self.append_elsewhere(window, timestamp_ms, start_ms, value)
    }

    #[cold]
    fn append_elsewhere(
        &mut self,
        window: Window,
        at_ms: i64,
        start_ms: i64,
        value: f64,
    ) -> Placed {
        let segment = match (&mut self.newest, &mut self.older) {
            (None, _) => self.newest.insert(Segment::new(window)),
            (Some(newest), older @ None) if window > newest.window => {
                *older = Some(Box::new(std::mem::replace(newest, Segment::new(window))));
                newest
            }
            (Some(_), older @ None) => older.insert(Box::new(Segment::new(window))),
            (_, Some(older)) if window == older.window => older,
            _ => return Placed::Late,
        };
        segment.push(at_ms, start_ms, value)
    }

    /// Whether no sample waits in a segment.
    pub(crate) fn is_flushed(&self) -> bool {
        self.newest.is_none()
    }

    /// Number of open segments.
    #[inline]
    pub(crate) fn segment_count(&self) -> usize {
        usize::from(self.newest.is_some()) + usize::from(self.older.is_some())
    }

    /// The open segments, the older first.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (Window, &OpenFloats)> {
        self.older.as_deref().into_iter().chain(&self.newest).map(|s| (s.window, &s.floats))
    }

    /// Takes the open segments out, the older first.
    pub(crate) fn take_segments(&mut self) -> impl Iterator<Item = (Window, OpenFloats)> + use<> {
        let (older, newest) = (self.older.take().map(|older| *older), self.newest.take());
        older.into_iter().chain(newest).map(|s| (s.window, s.floats))
    }

    /// Whether the database's index is known to have the series under `day`.
    pub(crate) fn is_registered(&self, day: Day) -> bool {
        self.registered.contains(&Some(day))
    }

    /// Whether the log may name the series by its key alone: a day that stays has its labels.
    pub(crate) fn labels_are_durable(&self, floor: Day) -> bool {
        self.labels_durable && self.registered[0].is_some_and(|day| day >= floor)
    }

    /// Remembers that the database's index has the series under `day`.
    pub(crate) fn remember_registered(&mut self, day: Day) {
        if !self.is_registered(day) {
            self.registered[REMEMBERED_DAYS - 1] = Some(day);
            self.registered.sort_by(|a, b| b.cmp(a));
        }
    }

    /// Bytes of memory that belong to this series, besides its slot.
    pub(crate) fn heap_bytes(&self) -> usize {
        let floats: usize = self.segments().map(|(_, floats)| floats.heap_bytes()).sum();
        let older = self.older.as_ref().map_or(0, |_| size_of::<Segment>());
        floats + older + self.labels.as_bytes().len() + 16
    }
}

impl Segment {
    fn new(window: Window) -> Self {
        Self { window, floats: OpenFloats::new() }
    }

    #[inline]
    fn push(&mut self, timestamp_ms: i64, start_ms: i64, value: f64) -> Placed {
        if self.floats.append(timestamp_ms, start_ms, value).is_ok() {
            return Placed::Appended;
        }
        let same = self.floats.last().is_some_and(|(t, s, v)| {
            (t, s, v.to_bits()) == (timestamp_ms, start_ms, value.to_bits())
        });
        if same { Placed::Duplicate } else { Placed::Late }
    }
}
