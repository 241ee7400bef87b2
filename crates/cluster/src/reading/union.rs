//! What all places gave, as one set of series.

use std::ops::Range;

use rangekeeper_chunk::Decoder;
use rangekeeper_model::{ErrorClass, Labels, Samples, TimeRange};
use rangekeeper_storage::Selection;
use rangekeeper_wire::proto::peer as proto;

/// Series of peers, as they came.
#[derive(Default)]
pub(crate) struct Remote {
    series: Vec<(Labels, proto::SelectedSeries)>,
    /// Series whose labels cannot be read: a peer that sends such is broken.
    malformed: usize,
}

/// The series that a selector found at all places that had to be asked. Sorted by labels.
pub struct SelectedEverywhere {
    local: Vec<Selection>,
    remote: Remote,
    range: TimeRange,
    series: Vec<Found>,
    sources: Vec<Source>,
}

/// A series: where what there is of it lies.
struct Found {
    sources: Range<u32>,
}

#[derive(Clone, Copy)]
enum Source {
    Local { selection: u32, index: u32 },
    Remote { index: u32 },
}

/// A series cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SeriesError {
    /// What kind of failure it is.
    pub class: ErrorClass,
    /// Which series, and why.
    pub message: String,
}

impl Remote {
    pub(crate) fn add(&mut self, series: Vec<proto::SelectedSeries>) {
        for series in series {
            match Labels::from_canonical(&series.labels) {
                Ok(labels) => self.series.push((labels, series)),
                Err(_) => self.malformed += 1,
            }
        }
    }
}

impl SelectedEverywhere {
    pub(crate) fn new(local: Vec<Selection>, remote: Remote, range: TimeRange) -> Self {
        if remote.malformed > 0 {
            tracing::error!(series = remote.malformed, "a peer sent labels that are not canonical");
        }
        let mut everywhere = Self { local, remote, range, series: Vec::new(), sources: Vec::new() };
        everywhere.unite();
        everywhere
    }

    fn unite(&mut self) {
        let index = |index: usize| u32::try_from(index).expect("far below 2^32 series");
        let mut sources: Vec<Source> = Vec::new();
        for (selection, found) in self.local.iter().enumerate() {
            let of = |at: usize| Source::Local { selection: index(selection), index: index(at) };
            sources.extend((0..found.len()).map(of));
        }
        let remote = 0..self.remote.series.len();
        sources.extend(remote.map(|at| Source::Remote { index: index(at) }));
        // Selections are sorted by themselves, which a merge sort finds out.
        if self.local.len() + usize::from(!self.remote.series.is_empty()) > 1 {
            sources.sort_by(|a, b| self.labels_at(*a).cmp(self.labels_at(*b)));
        } else if self.local.is_empty() {
            sources.sort_unstable_by(|a, b| self.labels_at(*a).cmp(self.labels_at(*b)));
        }
        let mut from = 0;
        let same = |a: &Source, b: &Source| self.labels_at(*a) == self.labels_at(*b);
        let mut series = Vec::with_capacity(sources.len());
        for of_one in sources.chunk_by(same) {
            let end = from + index(of_one.len());
            series.push(Found { sources: from..end });
            from = end;
        }
        (self.series, self.sources) = (series, sources);
    }

    fn labels_at(&self, source: Source) -> &Labels {
        match source {
            Source::Local { selection, index } => {
                self.local[selection as usize].labels(index as usize)
            }
            Source::Remote { index } => &self.remote.series[index as usize].0,
        }
    }

    fn sources(&self, index: usize) -> &[Source] {
        let Range { start, end } = self.series[index].sources;
        &self.sources[start as usize..end as usize]
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
        self.labels_at(self.sources(index)[0])
    }

    /// Replaces the content of `samples` by those of series `index` that lie in the range. What is
    /// damaged in any copy fails: it is not known what else there was.
    pub fn read(
        &self,
        index: usize,
        decoder: &mut Decoder,
        samples: &mut Samples,
    ) -> Result<(), SeriesError> {
        if let [Source::Local { selection, index }] = *self.sources(index) {
            let read = self.local[selection as usize].read(index as usize, decoder, samples);
            return read
                .map_err(|error| SeriesError { class: error.class(), message: error.to_string() });
        }
        samples.clear();
        for source in self.sources(index) {
            match *source {
                Source::Local { selection, index } => {
                    let chunks = self.local[selection as usize].chunks(index as usize);
                    for chunk in chunks {
                        self.decode(chunk, *source, decoder, samples)?;
                    }
                }
                Source::Remote { index } => {
                    for chunk in &self.remote.series[index as usize].1.chunks {
                        self.decode(chunk, *source, decoder, samples)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn decode(
        &self,
        chunk: &[u8],
        source: Source,
        decoder: &mut Decoder,
        samples: &mut Samples,
    ) -> Result<(), SeriesError> {
        match decoder.decode(chunk, self.range, samples).into_iter().next() {
            None => Ok(()),
            Some(damage) => {
                let labels = self.labels_at(source);
                let message = format!("a chunk of series {labels} is damaged: {damage}");
                Err(SeriesError { class: ErrorClass::Internal, message })
            }
        }
    }
}
