//! What a checkpoint takes out of a stripe: chunk values on their way to the database, still
//! readable.

use rangekeeper_model::{SeriesId, Window};

/// The chunk values of one stripe's checkpoint, until the database has them.
#[derive(Debug, Default)]
pub(crate) struct FlushBatch {
    /// Sorted by key and window; one key and window may occur twice (segment and loose samples).
    entries: Vec<FlushEntry>,
    bytes: Vec<u8>,
}

/// One chunk value in a [`FlushBatch`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushEntry {
    pub(crate) id: SeriesId,
    pub(crate) window: Window,
    at: usize,
    len: usize,
}

impl FlushBatch {
    /// Adds a chunk value.
    pub(crate) fn push(&mut self, id: SeriesId, window: Window, value: &[u8]) {
        let (at, len) = (self.bytes.len(), value.len());
        self.bytes.extend_from_slice(value);
        self.entries.push(FlushEntry { id, window, at, len });
    }

    /// Puts the entries into the order of the database's keys.
    pub(crate) fn sort(&mut self) {
        self.entries.sort_unstable_by_key(|e| (e.window.day(), e.id, e.window, e.at));
    }

    /// All chunk values, in the order of the database's keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FlushEntry, &[u8])> {
        self.entries.iter().map(|e| (e, self.value(e)))
    }

    /// The chunk values of one series on the days of `windows`.
    pub(crate) fn of(&self, id: SeriesId, first: Window, last: Window) -> Vec<(Window, &[u8])> {
        let mut values = Vec::new();
        let mut day = first.day();
        // From one day that is here to the next: a range may span all of time.
        while day <= last.day() {
            let from = self.entries.partition_point(|e| (e.window.day(), e.id) < (day, id));
            let Some(next) = self.entries.get(from) else { break };
            if (next.window.day(), next.id) > (day, id) {
                let id_is_past = next.window.day() == day;
                day = if id_is_past { day.next() } else { next.window.day() };
                continue;
            }
            values.extend(
                self.entries[from..]
                    .iter()
                    .take_while(|e| e.id == id && e.window.day() == day)
                    .filter(|e| first <= e.window && e.window <= last)
                    .map(|e| (e.window, self.value(e))),
            );
            day = day.next();
        }
        values
    }

    /// Bytes of memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<FlushEntry>()
    }

    fn value(&self, entry: &FlushEntry) -> &[u8] {
        &self.bytes[entry.at..entry.at + entry.len]
    }
}
