//! Reading the body of a record. Nothing is copied, and nothing in it is trusted: a checksum shows
//! that bytes are the ones that were written, not that a sane build wrote them.

use std::sync::Arc;

use rangekeeper_model::{Day, HistogramSample, SeriesId, ShardId, WindowInDay};

use super::bytes::Cursor;
use super::encode::{BODY_HEADER_BYTES, Exemplar, Import, Metadata};
use super::error::MalformedRecord;
use super::floats::Floats;
use super::histogram;
use super::{Position, SeriesRef};

/// Definitions, floats, histograms, exemplars, metadata, imports.
pub(super) const SECTIONS: usize = 6;

const IMPORT_BYTES: usize = SeriesId::BYTES + 4 + 1;

/// A record as it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    position: Position,
    base_ms: i64,
    sections: [&'a [u8]; SECTIONS],
}

/// Which series a reference means in the file of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition<'a> {
    /// The reference.
    pub reference: SeriesRef,
    /// The series.
    pub series: SeriesId,
    /// Its tenant.
    pub tenant: &'a str,
    /// Its canonical labels; `None` when the database had them for good when the record was
    /// written.
    pub labels: Option<&'a [u8]>,
}

/// What one shard has in one section.
#[derive(Clone, Copy, Debug)]
pub struct Run<T> {
    /// The shard.
    pub shard: ShardId,
    /// Iterates over the elements, each with its error where the bytes are malformed.
    pub elements: T,
}

impl<'a> RecordView<'a> {
    /// Cuts a body into its sections.
    pub(super) fn parse(position: Position, body: &'a [u8]) -> Result<Self, MalformedRecord> {
        let malformed = MalformedRecord { position, section: "sections" };
        let (mut head, mut rest) = body
            .split_at_checked(BODY_HEADER_BYTES)
            .map(|(head, rest)| (Cursor::new(head), Cursor::new(rest)))
            .ok_or(malformed)?;
        let base_ms = head.i64().ok_or(malformed)?;
        let mut sections = [&[][..]; SECTIONS];
        for section in &mut sections {
            let length = head.u32().ok_or(malformed)?;
            *section = rest.take(length as usize).ok_or(malformed)?;
        }
        if !rest.is_empty() {
            return Err(malformed);
        }
        Ok(Self { position, base_ms, sections })
    }

    /// The record's position.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The series that this record defines for its file. They hold for this record and all later
    /// ones.
    pub fn definitions(&self) -> Definitions<'a> {
        Definitions {
            rest: Cursor::new(self.sections[0]),
            tenant: "",
            left: 0,
            malformed: self.malformed("definitions"),
        }
    }

    /// Float samples, shard by shard.
    pub fn floats(
        &self,
    ) -> Result<impl Iterator<Item = Run<Floats<'a>>> + use<'a>, MalformedRecord> {
        let (base_ms, malformed) = (self.base_ms, self.malformed("float samples"));
        let runs = runs(self.sections[1], malformed)?;
        Ok(runs.map(move |run| Run {
            shard: run.shard,
            elements: Floats::new(run.elements.from, run.elements.bytes, base_ms, malformed),
        }))
    }

    /// Histogram samples, shard by shard.
    pub fn histograms(
        &self,
    ) -> Result<impl Iterator<Item = Run<Histograms<'a>>> + use<'a>, MalformedRecord> {
        let (base_ms, malformed) = (self.base_ms, self.malformed("histograms"));
        let runs = runs(self.sections[2], malformed)?;
        Ok(runs.map(move |run| Run {
            shard: run.shard,
            elements: Histograms(Elements::new(run.elements.only(), base_ms, malformed)),
        }))
    }

    /// Exemplars, shard by shard.
    pub fn exemplars(
        &self,
    ) -> Result<impl Iterator<Item = Run<Exemplars<'a>>> + use<'a>, MalformedRecord> {
        let (base_ms, malformed) = (self.base_ms, self.malformed("exemplars"));
        let runs = runs(self.sections[3], malformed)?;
        Ok(runs.map(move |run| Run {
            shard: run.shard,
            elements: Exemplars(Elements::new(run.elements.only(), base_ms, malformed)),
        }))
    }

    /// What senders told of metric families.
    pub fn metadata(&self) -> MetadataEntries<'a> {
        let malformed = self.malformed("metadata");
        MetadataEntries { rest: Cursor::new(self.sections[4]), malformed }
    }

    /// Keys of what went past the head straight into the database.
    pub fn imports(&self) -> Result<impl Iterator<Item = Import> + use<'a>, MalformedRecord> {
        let (entries, rest) = self.sections[5].as_chunks::<IMPORT_BYTES>();
        if !rest.is_empty() {
            return Err(self.malformed("imports"));
        }
        Ok(entries.iter().map(|entry| {
            let mut entry = Cursor::new(entry);
            let mut read = || {
                let series = SeriesId(entry.id()?);
                let (day, window) = (Day(entry.u32()?), WindowInDay(entry.u8()?));
                Some(Import { series, day, window })
            };
            read().expect("an entry has the bytes of its fields")
        }))
    }

    fn malformed(&self, section: &'static str) -> MalformedRecord {
        MalformedRecord { position: self.position, section }
    }
}

/// Where a run lies in its section.
struct RunBytes<'a> {
    /// The section from the run on, beyond its end.
    from: &'a [u8],
    bytes: usize,
}

impl<'a> RunBytes<'a> {
    fn only(&self) -> &'a [u8] {
        &self.from[..self.bytes]
    }
}

/// Reads the table of a section and checks that the runs lie one after the other and fill it.
fn runs(
    section: &[u8],
    malformed: MalformedRecord,
) -> Result<impl Iterator<Item = Run<RunBytes<'_>>>, MalformedRecord> {
    let (table, data) = cut_table(section).ok_or(malformed)?;
    let entry = |[a, b, c, d, e, f]: &[u8; 6]| {
        (ShardId(u16::from_le_bytes([*a, *b])), u32::from_le_bytes([*c, *d, *e, *f]) as usize)
    };
    let mut previous = 0;
    for end in table.iter().map(|bytes| entry(bytes).1) {
        if end < previous || end > data.len() {
            return Err(malformed);
        }
        previous = end;
    }
    if previous != data.len() {
        return Err(malformed);
    }
    let mut start = 0;
    Ok(table.iter().map(move |bytes| {
        let (shard, end) = entry(bytes);
        let elements = RunBytes { from: &data[start..], bytes: end - start };
        start = end;
        Run { shard, elements }
    }))
}

fn cut_table(section: &[u8]) -> Option<(&[[u8; 6]], &[u8])> {
    let mut section = Cursor::new(section);
    if section.is_empty() {
        return Some((&[], &[]));
    }
    let runs = section.u32()? as usize;
    let table = section.take(runs.checked_mul(6)?)?;
    Some((table.as_chunks().0, section.rest))
}

/// The definitions of a record.
#[derive(Clone, Debug)]
pub struct Definitions<'a> {
    rest: Cursor<'a>,
    tenant: &'a str,
    left: u32,
    malformed: MalformedRecord,
}

impl<'a> Definitions<'a> {
    fn read(&mut self) -> Option<Definition<'a>> {
        while self.left == 0 {
            self.tenant = self.rest.text()?;
            self.left = self.rest.u32()?;
        }
        let reference = SeriesRef(self.rest.u32()?);
        let series = SeriesId(self.rest.id()?);
        let labels = match usize::try_from(self.rest.varint()?).ok()? {
            0 => None,
            more => Some(self.rest.take(more - 1)?),
        };
        self.left -= 1;
        Some(Definition { reference, series, tenant: self.tenant, labels })
    }
}

impl<'a> Iterator for Definitions<'a> {
    type Item = Result<Definition<'a>, MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && self.left == 0 {
            return None;
        }
        let read = self.read().ok_or(self.malformed);
        if read.is_err() {
            (self.rest, self.left) = (Cursor::default(), 0);
        }
        Some(read)
    }
}

/// Elements that begin with a reference and a timestamp.
#[derive(Clone, Debug)]
struct Elements<'a> {
    rest: Cursor<'a>,
    previous_reference: u32,
    previous_ms: i64,
    malformed: MalformedRecord,
}

impl<'a> Elements<'a> {
    fn new(run: &'a [u8], base_ms: i64, malformed: MalformedRecord) -> Self {
        Self { rest: Cursor::new(run), previous_reference: 0, previous_ms: base_ms, malformed }
    }

    fn begin(&mut self) -> Option<(SeriesRef, i64)> {
        let step = self.rest.signed()?;
        let reference = i64::from(self.previous_reference).checked_add(step)?;
        self.previous_reference = u32::try_from(reference).ok()?;
        self.previous_ms = self.previous_ms.wrapping_add(self.rest.signed()?);
        Some((SeriesRef(self.previous_reference), self.previous_ms))
    }

    /// Yields what `read` reads until the run ends, or an error and then nothing.
    fn step<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Result<T, MalformedRecord>> {
        if self.rest.is_empty() {
            return None;
        }
        let read = read(self).ok_or(self.malformed);
        if read.is_err() {
            self.rest = Cursor::default();
        }
        Some(read)
    }
}

/// The histogram samples of one run.
#[derive(Clone, Debug)]
pub struct Histograms<'a>(Elements<'a>);

impl Iterator for Histograms<'_> {
    type Item = Result<(SeriesRef, HistogramSample), MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.step(|elements| {
            let (reference, timestamp_ms) = elements.begin()?;
            let start_ms = timestamp_ms.wrapping_add(elements.rest.signed()?);
            let histogram = Arc::new(histogram::take(&mut elements.rest)?);
            Some((reference, HistogramSample { timestamp_ms, start_ms, histogram }))
        })
    }
}

/// The exemplars of one run.
#[derive(Clone, Debug)]
pub struct Exemplars<'a>(Elements<'a>);

impl<'a> Iterator for Exemplars<'a> {
    type Item = Result<Exemplar<'a>, MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.step(|elements| {
            let (reference, timestamp_ms) = elements.begin()?;
            let (value, labels) = (elements.rest.f64()?, elements.rest.bytes()?);
            Some(Exemplar { reference, timestamp_ms, value, labels })
        })
    }
}

/// The metadata of a record.
#[derive(Clone, Debug)]
pub struct MetadataEntries<'a> {
    rest: Cursor<'a>,
    malformed: MalformedRecord,
}

impl<'a> MetadataEntries<'a> {
    fn read(&mut self) -> Option<Metadata<'a>> {
        let rest = &mut self.rest;
        let (shard, metric_type) = (ShardId(rest.u16()?), rest.u8()?);
        let (tenant, family, help, unit) = (rest.text()?, rest.text()?, rest.text()?, rest.text()?);
        Some(Metadata { shard, tenant, family, metric_type, help, unit })
    }
}

impl<'a> Iterator for MetadataEntries<'a> {
    type Item = Result<Metadata<'a>, MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read().ok_or(self.malformed);
        if read.is_err() {
            self.rest = Cursor::default();
        }
        Some(read)
    }
}
