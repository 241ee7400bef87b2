//! Encoding the body of a record: no lock, no allocation a sample.

use rangekeeper_model::{Day, HistogramSample, SeriesId, ShardId, TenantId, WindowInDay};

use super::SeriesRef;
use super::bytes::{put_bytes, put_signed, put_varint};
use super::error::RecordTooLarge;
use super::floats::FloatRuns;
use super::format::{MAX_RECORD_BYTES, RECORD_HEADER_BYTES, filled};
use super::histogram;
use super::record::SECTIONS;

/// Bytes that precede the sections of a body: the base timestamp and each section's length.
pub(super) const BODY_HEADER_BYTES: usize = 8 + 4 * SECTIONS;

/// An encoded record, ready to be submitted.
pub struct Record {
    /// Room for the header, the body, and its filling.
    pub(super) bytes: Vec<u8>,
    pub(super) body_bytes: u32,
    pub(super) body_crc: u32,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("body_bytes", &self.body_bytes).finish_non_exhaustive()
    }
}

impl Record {
    /// Bytes that the record takes in a file.
    pub fn file_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// A float sample of a series that the file defines.
#[derive(Clone, Copy, Debug)]
pub struct FloatSample {
    /// The series.
    pub reference: SeriesRef,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Start timestamp, 0 where unset.
    pub start_ms: i64,
    /// The value; its bits are kept.
    pub value: f64,
}

/// An exemplar of a series that the file defines.
#[derive(Clone, Copy, Debug)]
pub struct Exemplar<'a> {
    /// The series.
    pub reference: SeriesRef,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The value; its bits are kept.
    pub value: f64,
    /// Its labels, canonical.
    pub labels: &'a [u8],
}

/// What a metric family is, as a sender told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// The shard that keeps it.
    pub shard: ShardId,
    /// Whose it is.
    pub tenant: &'a str,
    /// Name of the family.
    pub family: &'a str,
    /// As remote write numbers them: 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 gauge histogram,
    /// 5 summary, 6 info, 7 stateset.
    pub metric_type: u8,
    /// Help text.
    pub help: &'a str,
    /// Unit.
    pub unit: &'a str,
}

/// What went past the head straight into the database: a chunk, a series' exemplars of a day, or
/// what was said of a shard's metric families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import {
    /// The series.
    pub series: SeriesId,
    /// The chunk's day.
    pub day: Day,
    /// The chunk's window in that day; or [`EXEMPLARS`](crate::db::EXEMPLARS) or
    /// [`METADATA`](crate::db::METADATA).
    pub window: WindowInDay,
}

/// Encodes records, one after the other, with buffers that it keeps.
///
/// What is put in stays in until [`clear`](Self::clear): when a record comes back because the log
/// went on to another file, [`clear_definitions`](Self::clear_definitions), define every series
/// again, and finish once more. Samples of one shard put in one after the other make one run; a run
/// costs 6 bytes and a longer first reference.
#[derive(Default)]
pub struct RecordEncoder {
    base_ms: Option<i64>,
    definitions: Definitions,
    floats: FloatRuns,
    histograms: Runs,
    exemplars: Runs,
    metadata: Vec<u8>,
    imports: Vec<u8>,
}

/// Definitions, in groups of one tenant.
#[derive(Default)]
struct Definitions {
    bytes: Vec<u8>,
    /// The tenant of the last group, and where that group's count stands.
    group: Option<(TenantId, usize)>,
    in_group: u32,
}

/// Elements in runs of one shard.
#[derive(Default)]
pub(super) struct Runs {
    /// Each run's shard, and where it begins.
    pub starts: Vec<(ShardId, usize)>,
    pub data: Vec<u8>,
    pub previous_reference: u32,
    pub previous_ms: i64,
}

impl RecordEncoder {
    /// An encoder with empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.base_ms = None;
        self.clear_definitions();
        self.floats.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata.clear();
        self.imports.clear();
    }

    /// Bytes of the memory that is kept.
    pub fn capacity_bytes(&self) -> usize {
        self.definitions.bytes.capacity()
            + self.floats.capacity_bytes()
            + self.histograms.data.capacity()
            + self.exemplars.data.capacity()
            + self.metadata.capacity()
            + self.imports.capacity()
    }

    /// Forgets the definitions alone.
    pub fn clear_definitions(&mut self) {
        self.definitions.bytes.clear();
        self.definitions.group = None;
    }

    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.definitions.bytes.is_empty()
            && self.floats.is_empty()
            && self.histograms.data.is_empty()
            && self.exemplars.data.is_empty()
            && self.metadata.is_empty()
            && self.imports.is_empty()
    }

    /// Says which series `reference` means in this file. `labels` are the canonical bytes, or
    /// `None` when the database already has them for good.
    pub fn define(
        &mut self,
        reference: SeriesRef,
        series: SeriesId,
        tenant: &TenantId,
        labels: Option<&[u8]>,
    ) {
        let definitions = &mut self.definitions;
        if definitions.group.as_ref().is_none_or(|(last, _)| last != tenant) {
            put_bytes(&mut definitions.bytes, tenant.as_str().as_bytes());
            definitions.group = Some((tenant.clone(), definitions.bytes.len()));
            definitions.in_group = 0;
            definitions.bytes.extend_from_slice(&[0; 4]);
        }
        let bytes = &mut definitions.bytes;
        bytes.extend_from_slice(&reference.0.to_le_bytes());
        bytes.extend_from_slice(&series.0);
        match labels {
            None => bytes.push(0),
            Some(labels) => {
                put_varint(bytes, labels.len() as u64 + 1);
                bytes.extend_from_slice(labels);
            }
        }
        definitions.in_group += 1;
        let at = definitions.group.as_ref().map_or(0, |(_, at)| *at);
        bytes[at..at + 4].copy_from_slice(&definitions.in_group.to_le_bytes());
    }

    /// Adds a float sample of a series in `shard`.
    #[inline]
    pub fn float(&mut self, shard: ShardId, sample: &FloatSample) {
        let base_ms = *self.base_ms.get_or_insert(sample.timestamp_ms);
        self.floats.push(shard, base_ms, sample);
    }

    /// Adds a histogram sample of a series in `shard`.
    pub fn histogram(&mut self, shard: ShardId, reference: SeriesRef, sample: &HistogramSample) {
        let base_ms = *self.base_ms.get_or_insert(sample.timestamp_ms);
        let data = self.histograms.begin(shard, base_ms, reference, sample.timestamp_ms);
        put_signed(data, sample.start_ms.wrapping_sub(sample.timestamp_ms));
        histogram::put(data, &sample.histogram);
    }

    /// Adds an exemplar of a series in `shard`.
    pub fn exemplar(&mut self, shard: ShardId, exemplar: &Exemplar<'_>) {
        let base_ms = *self.base_ms.get_or_insert(exemplar.timestamp_ms);
        let data = self.exemplars.begin(shard, base_ms, exemplar.reference, exemplar.timestamp_ms);
        data.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        put_bytes(data, exemplar.labels);
    }

    /// Adds what a metric family is.
    pub fn metadata(&mut self, metadata: &Metadata<'_>) {
        let bytes = &mut self.metadata;
        bytes.extend_from_slice(&metadata.shard.0.to_le_bytes());
        bytes.push(metadata.metric_type);
        for text in [metadata.tenant, metadata.family, metadata.help, metadata.unit] {
            put_bytes(bytes, text.as_bytes());
        }
    }

    /// Adds the key of a chunk that went straight into the database.
    pub fn import(&mut self, import: Import) {
        self.imports.extend_from_slice(&import.series.0);
        self.imports.extend_from_slice(&import.day.0.to_le_bytes());
        self.imports.push(import.window.0);
    }

    /// The record of all that is in. The encoder keeps its content.
    pub fn finish(&self) -> Result<Record, RecordTooLarge> {
        let (floats, histograms, exemplars) =
            (self.floats.runs(), self.histograms.runs(), self.exemplars.runs());
        let lengths: [usize; SECTIONS] = [
            self.definitions.bytes.len(),
            floats.section_bytes(),
            histograms.section_bytes(),
            exemplars.section_bytes(),
            self.metadata.len(),
            self.imports.len(),
        ];
        let body = BODY_HEADER_BYTES + lengths.iter().sum::<usize>();
        let body_bytes = u32::try_from(body)
            .ok()
            .filter(|_| body <= MAX_RECORD_BYTES)
            .ok_or(RecordTooLarge { bytes: body })?;
        let mut bytes = Vec::with_capacity(RECORD_HEADER_BYTES + filled(body));
        bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        bytes.extend_from_slice(&self.base_ms.unwrap_or(0).to_le_bytes());
        for length in lengths {
            bytes.extend_from_slice(&small(length).to_le_bytes());
        }
        bytes.extend_from_slice(&self.definitions.bytes);
        floats.write(&mut bytes);
        histograms.write(&mut bytes);
        exemplars.write(&mut bytes);
        bytes.extend_from_slice(&self.metadata);
        bytes.extend_from_slice(&self.imports);
        bytes.resize(RECORD_HEADER_BYTES + filled(body), 0);
        let body_crc = crc32c::crc32c(&bytes[RECORD_HEADER_BYTES..]);
        Ok(Record { bytes, body_bytes, body_crc })
    }
}

impl Runs {
    fn clear(&mut self) {
        self.starts.clear();
        self.data.clear();
    }

    /// Begins an element: a new run where the shard changes, then reference and timestamp.
    fn begin(
        &mut self,
        shard: ShardId,
        base_ms: i64,
        reference: SeriesRef,
        timestamp_ms: i64,
    ) -> &mut Vec<u8> {
        if self.starts.last().is_none_or(|(last, _)| *last != shard) {
            self.starts.push((shard, self.data.len()));
            (self.previous_reference, self.previous_ms) = (0, base_ms);
        }
        let delta = i64::from(reference.0) - i64::from(self.previous_reference);
        put_signed(&mut self.data, delta);
        put_signed(&mut self.data, timestamp_ms.wrapping_sub(self.previous_ms));
        (self.previous_reference, self.previous_ms) = (reference.0, timestamp_ms);
        &mut self.data
    }

    fn runs(&self) -> FinishedRuns<'_> {
        FinishedRuns { starts: &self.starts, data: &self.data }
    }
}

/// Runs as a section: the number of runs, each one's shard and end, then their bytes.
pub(super) struct FinishedRuns<'a> {
    pub starts: &'a [(ShardId, usize)],
    pub data: &'a [u8],
}

impl FinishedRuns<'_> {
    fn section_bytes(&self) -> usize {
        if self.starts.is_empty() { 0 } else { 4 + 6 * self.starts.len() + self.data.len() }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.starts.is_empty() {
            return;
        }
        out.extend_from_slice(&small(self.starts.len()).to_le_bytes());
        let ends = self.starts.iter().skip(1).map(|(_, start)| *start).chain([self.data.len()]);
        for ((shard, _), end) in self.starts.iter().zip(ends) {
            out.extend_from_slice(&shard.0.to_le_bytes());
            out.extend_from_slice(&small(end).to_le_bytes());
        }
        out.extend_from_slice(self.data);
    }
}

fn small(length: usize) -> u32 {
    u32::try_from(length).expect("no longer than the record, whose length was checked")
}
