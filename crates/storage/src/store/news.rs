//! What of an import is new here. In a cluster the holders of what a copy missed deliver it to all
//! others, each its own; most of that is at its place already, and must not become unsettled there
//! again and travel back.

use std::collections::BTreeMap;

use rangekeeper_chunk::{Decoder, digest};
use rangekeeper_model::{Day, Samples, SeriesId, TimeRange, WINDOWS_A_DAY, Window, WindowInDay};

use super::StoreError;
use super::engine::Engine;
use crate::db::{Entry, Windows, never};
use crate::unsettled::Touched;

/// What is new.
#[derive(Default)]
pub(super) struct News<'e> {
    /// Entries with something new.
    pub(super) entries: Vec<&'e Entry>,
    /// The series and windows that they have samples in, rising, each once.
    pub(super) keys: Vec<Touched>,
}

impl Engine {
    /// Those of `entries` that hold samples which are not here. An entry that cannot be read whole
    /// is refused.
    pub(super) fn news_of<'e>(
        &self,
        day: Day,
        entries: &'e [Entry],
    ) -> Result<News<'e>, StoreError> {
        let mut news = News::default();
        if day < self.db.floor() {
            return Ok(news);
        }
        let mut by_series: BTreeMap<SeriesId, Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            by_series.entry(entry.id).or_default().push(entry);
        }
        let ids: Vec<SeriesId> = by_series.keys().copied().collect();
        let mut present: Vec<Samples> = vec![Samples::default(); ids.len()];
        let mut decoder = Decoder::default();
        // The head first, then the database: see `read`. What of it is damaged counts as missing,
        // so that the import makes it good.
        let (first, last) = (Window::new(day, WindowInDay(0)), last_window(day));
        for (id, samples) in ids.iter().zip(&mut present) {
            let stripe = self.head.stripe(self.head.stripe_of(id.shard()));
            let Some(found) = stripe.series_of(*id) else { continue };
            stripe.append_chunks(found, (first, last), |_, value| {
                decoder.decode(value, TimeRange::ALL, samples);
            });
        }
        self.db.read_chunks(day, &ids, Windows::ALL, &never, |at, _, value| {
            decoder.decode(value, TimeRange::ALL, &mut present[at]);
            true
        })?;
        for (entries, mut united) in by_series.into_values().zip(present) {
            for entry in entries {
                let before = digest(&united);
                let damages = decoder.decode(&entry.value, TimeRange::ALL, &mut united);
                if let Some(damage) = damages.first() {
                    let (series, detail) = (entry.labels.to_string(), damage.to_string());
                    return Err(StoreError::DamagedSeries { series, detail });
                }
                if digest(&united) != before {
                    news.entries.push(entry);
                    news.add_windows(entry, day, &mut decoder);
                }
            }
        }
        news.keys.sort_unstable();
        news.keys.dedup();
        Ok(news)
    }
}

impl News<'_> {
    fn add_windows(&mut self, entry: &Entry, day: Day, decoder: &mut Decoder) {
        let id = entry.id;
        if entry.window.0 < WINDOWS_A_DAY {
            self.keys.push(Touched { id, window: Window::new(day, entry.window) });
            return;
        }
        // A chunk of the whole day.
        let mut samples = Samples::default();
        decoder.decode(&entry.value, TimeRange::ALL, &mut samples);
        let floats = samples.floats.timestamps.iter().copied();
        let times = floats.chain(samples.histograms.iter().map(|sample| sample.timestamp_ms));
        self.keys.extend(times.map(|at_ms| Touched { id, window: Window::of(at_ms) }));
        self.keys.dedup();
    }
}

fn last_window(day: Day) -> Window {
    Window::new(day, WindowInDay(WINDOWS_A_DAY - 1))
}
