//! Samples that fit no open segment: late ones, and histograms, until the next checkpoint.

use std::collections::BTreeMap;

use rangekeeper_model::{HistogramSample, Samples, Window};

/// Samples of one stripe by series slot and window, in the order in which they came.
///
/// A histogram waits here too: it is a hundred times rarer than a float and needs no compression
/// while it waits.
#[derive(Debug, Default)]
pub(crate) struct Loose {
    windows: BTreeMap<(u32, Window), Unsorted>,
    samples: usize,
}

#[derive(Debug, Default)]
struct Unsorted {
    floats: Vec<(i64, i64, f64)>,
    histograms: Vec<HistogramSample>,
}

impl Loose {
    /// Adds a float sample.
    pub(crate) fn push_float(&mut self, slot: u32, at_ms: i64, start_ms: i64, value: f64) {
        let window = self.windows.entry((slot, Window::of(at_ms))).or_default();
        window.floats.push((at_ms, start_ms, value));
        self.samples += 1;
    }

    /// Adds a histogram sample.
    pub(crate) fn push_histogram(&mut self, slot: u32, sample: HistogramSample) {
        let window = self.windows.entry((slot, Window::of(sample.timestamp_ms))).or_default();
        window.histograms.push(sample);
        self.samples += 1;
    }

    /// Number of samples that wait.
    pub(crate) fn len(&self) -> usize {
        self.samples
    }

    /// Whether series `slot` has samples here.
    pub(crate) fn holds(&self, slot: u32) -> bool {
        self.of(slot).next().is_some()
    }

    /// The windows of series `slot`, each united to columns.
    pub(crate) fn windows_of(&self, slot: u32) -> impl Iterator<Item = (Window, Samples)> {
        self.of(slot).map(|((_, window), unsorted)| (*window, unsorted.unite()))
    }

    /// All that waits, by slot and window, each window united to columns.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (u32, Window, Samples)> {
        self.samples = 0;
        std::mem::take(&mut self.windows)
            .into_iter()
            .map(|((slot, window), unsorted)| (slot, window, unsorted.unite()))
    }

    fn of(&self, slot: u32) -> impl Iterator<Item = (&(u32, Window), &Unsorted)> {
        self.windows.range((slot, Window(0))..=(slot, Window(u32::MAX)))
    }
}

impl Unsorted {
    /// The samples rising in time, one a time, by the rule of [`Samples::unite`].
    fn unite(&self) -> Samples {
        let mut floats = self.floats.clone();
        let mut histograms = self.histograms.clone();
        floats.sort_by_key(|(at_ms, ..)| *at_ms);
        histograms.sort_by_key(|sample| sample.timestamp_ms);
        let mut united = Samples::default();
        // A layer takes one sample of each time; there are as many layers as the most samples that
        // share a time.
        while !floats.is_empty() || !histograms.is_empty() {
            let mut layer = Samples::default();
            floats.retain(|&(at_ms, start_ms, value)| {
                let repeated = layer.floats.timestamps.last() == Some(&at_ms);
                if !repeated {
                    layer.floats.push(at_ms, start_ms, value);
                }
                repeated
            });
            histograms.retain(|sample| {
                let last = layer.histograms.last().map(|taken| taken.timestamp_ms);
                let repeated = last == Some(sample.timestamp_ms);
                if !repeated {
                    layer.histograms.push(sample.clone());
                }
                repeated
            });
            // A float and a histogram of one time may share a layer: uniting with nothing settles
            // them.
            let mut settled = Samples { floats: layer.floats, ..Samples::default() };
            settled.unite(&Samples { histograms: layer.histograms, ..Samples::default() });
            united.unite(&settled);
        }
        united
    }
}
