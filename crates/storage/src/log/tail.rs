//! What one shard got from a position on.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rangekeeper_model::{HistogramSample, SeriesId, ShardId};

use super::encode::{Exemplar, FloatSample, Import, Metadata};
use super::error::{LogError, MalformedRecord};
use super::queue::Shared;
use super::reader::FileReader;
use super::record::{Definition, RecordView, Run};
use super::{Position, SeriesRef};

/// Reads the mutations of one shard, record by record. Records that have nothing of the shard are
/// passed over.
///
/// Besides one record it keeps the names of the shard's series in one file.
pub struct Tail {
    shared: Arc<Shared>,
    shard: ShardId,
    next: Position,
    reader: Option<FileReader>,
    series: HashMap<SeriesRef, SeriesId>,
}

/// What the shard got in one record.
#[derive(Clone, Copy)]
pub struct TailRecord<'a> {
    view: RecordView<'a>,
    shard: ShardId,
    series: &'a HashMap<SeriesRef, SeriesId>,
}

impl Tail {
    pub(super) fn new(
        shared: Arc<Shared>,
        shard: ShardId,
        from: Position,
    ) -> Result<Self, LogError> {
        let mut tail = Self { shared, shard, next: from, reader: None, series: HashMap::new() };
        // From here on the file that holds the position is open: deleting it takes nothing away.
        tail.turn_to_file()?;
        Ok(tail)
    }

    /// The position from which the next record is sought: where to go on later.
    pub fn cursor(&self) -> Position {
        self.next
    }

    /// The next record with something of the shard; `None` when there is none yet. Asked again
    /// later, it goes on.
    pub fn next_record(&mut self) -> Result<Option<TailRecord<'_>>, LogError> {
        loop {
            if !self.turn_to_file()? {
                return Ok(None);
            }
            if self.advance()? {
                break;
            }
        }
        let view = self.reader.as_ref().expect("advance has read from it").current()?;
        Ok(Some(TailRecord { view, shard: self.shard, series: &self.series }))
    }

    /// Has the reader of the file that holds the next position, up to what is durable now; `false`
    /// when nothing is.
    fn turn_to_file(&mut self) -> Result<bool, LogError> {
        if let Some(reader) = &self.reader
            && self.next <= reader.last_position()
        {
            return Ok(true);
        }
        // Files are shown before the durable position rises: what it covers is in the list, or was
        // deleted.
        let durable = self.shared.durable.load(std::sync::atomic::Ordering::Acquire);
        let files = self.shared.files.lock();
        let oldest = files.first().map_or(Position(durable + 1), |file| file.first);
        let reachable = files.first().map_or(Position(durable), |file| file.header.follows);
        let file = files.iter().find(|file| file.last >= self.next).cloned();
        drop(files);
        if let Some(reader) = &mut self.reader
            && let Some(file) = &file
            && reader.header().sequence == file.sequence
        {
            reader.extend(file.last)?;
            return Ok(true);
        }
        if self.next <= reachable {
            return Err(LogError::CursorTooOld { oldest });
        }
        let Some(file) = file else { return Ok(false) };
        self.series.clear();
        match file.read() {
            Ok(reader) => self.reader = Some(reader),
            Err(LogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(LogError::CursorTooOld { oldest: file.last.next() });
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Reads a record; says whether it is one to show.
    fn advance(&mut self) -> Result<bool, LogError> {
        let reader = self.reader.as_mut().expect("there is a file");
        if !reader.advance()? {
            // The rest of the file is lost, which was accepted.
            self.next = reader.last_position().next();
            return Ok(false);
        }
        let view = reader.current()?;
        for definition in view.definitions() {
            let definition = definition?;
            if definition.series.shard() == self.shard {
                self.series.insert(definition.reference, definition.series);
            }
        }
        if view.position() < self.next {
            return Ok(false);
        }
        self.next = view.position().next();
        Ok(has_shard(&view, self.shard)?)
    }
}

/// Whether the record changes anything in the shard. A definition alone does not.
fn has_shard(view: &RecordView<'_>, shard: ShardId) -> Result<bool, MalformedRecord> {
    let runs = view.floats()?.any(|run| run.shard == shard)
        || view.histograms()?.any(|run| run.shard == shard)
        || view.exemplars()?.any(|run| run.shard == shard)
        || view.imports()?.any(|import| import.series.shard() == shard);
    if runs {
        return Ok(true);
    }
    for metadata in view.metadata() {
        if metadata?.shard == shard {
            return Ok(true);
        }
    }
    Ok(false)
}

impl<'a> TailRecord<'a> {
    /// The record's position.
    pub fn position(&self) -> Position {
        self.view.position()
    }

    /// The shard's series that this record defines.
    pub fn definitions(
        &self,
    ) -> impl Iterator<Item = Result<Definition<'a>, MalformedRecord>> + use<'a> {
        let shard = self.shard;
        self.view.definitions().filter(move |definition| {
            definition.as_ref().map_or(true, |d| d.series.shard() == shard)
        })
    }

    /// Float samples.
    pub fn floats(
        &self,
    ) -> Result<
        impl Iterator<Item = Result<(SeriesId, FloatSample), MalformedRecord>> + use<'a>,
        MalformedRecord,
    > {
        let names = self.names();
        Ok(of_shard(self.shard, self.view.floats()?).map(move |sample| {
            let sample = sample?;
            Ok((names.of(sample.reference)?, sample))
        }))
    }

    /// Histogram samples.
    pub fn histograms(
        &self,
    ) -> Result<
        impl Iterator<Item = Result<(SeriesId, HistogramSample), MalformedRecord>> + use<'a>,
        MalformedRecord,
    > {
        let names = self.names();
        Ok(of_shard(self.shard, self.view.histograms()?).map(move |sample| {
            let (reference, sample) = sample?;
            Ok((names.of(reference)?, sample))
        }))
    }

    /// Exemplars.
    pub fn exemplars(
        &self,
    ) -> Result<
        impl Iterator<Item = Result<(SeriesId, Exemplar<'a>), MalformedRecord>> + use<'a>,
        MalformedRecord,
    > {
        let names = self.names();
        Ok(of_shard(self.shard, self.view.exemplars()?).map(move |exemplar| {
            let exemplar = exemplar?;
            Ok((names.of(exemplar.reference)?, exemplar))
        }))
    }

    /// Metadata that the shard keeps.
    pub fn metadata(
        &self,
    ) -> impl Iterator<Item = Result<Metadata<'a>, MalformedRecord>> + use<'a> {
        let shard = self.shard;
        self.view.metadata().filter(move |entry| entry.as_ref().map_or(true, |m| m.shard == shard))
    }

    /// Keys of what went straight into the database.
    pub fn imports(&self) -> Result<impl Iterator<Item = Import> + use<'a>, MalformedRecord> {
        let shard = self.shard;
        Ok(self.view.imports()?.filter(move |import| import.series.shard() == shard))
    }

    fn names(&self) -> Names<'a> {
        let section = "references to series that its file does not define";
        Names {
            series: self.series,
            unknown: MalformedRecord { position: self.view.position(), section },
        }
    }
}

/// The elements of the shard's runs, the others' not looked at.
fn of_shard<T: Iterator>(
    shard: ShardId,
    runs: impl Iterator<Item = Run<T>>,
) -> impl Iterator<Item = T::Item> {
    runs.filter(move |run| run.shard == shard).flat_map(|run| run.elements)
}

/// Which series a reference means.
struct Names<'a> {
    series: &'a HashMap<SeriesRef, SeriesId>,
    unknown: MalformedRecord,
}

impl Names<'_> {
    fn of(&self, reference: SeriesRef) -> Result<SeriesId, MalformedRecord> {
        self.series.get(&reference).copied().ok_or(self.unknown)
    }
}
