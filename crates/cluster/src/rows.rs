//! The rows of one request, kept until every place has them or is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use rangekeeper_model::{
    HistogramSample, Labels, SeriesHash, SeriesHasher, ShardCount, ShardId, TenantId,
};
use rangekeeper_storage::{FamilyKey, FamilyMetadata, RowIndex, Write};
use rangekeeper_wire::peer::FrameWriter;
use rangekeeper_wire::proto::v1;
use rangekeeper_wire::{Sample, histogram_message};

/// The rows, in the order in which they were begun.
#[derive(Debug)]
pub(crate) struct Batch {
    tenant: TenantId,
    hasher: SeriesHasher,
    shards: ShardCount,
    rows: Vec<Row>,
    samples: Vec<Sample>,
    /// Label bytes, one row's after the other's.
    labels: Vec<u8>,
    /// What rows have besides float samples.
    rests: BTreeMap<u32, Rest>,
    families: Vec<Family>,
    /// The rows that are to be stored, by shard.
    order: Vec<u32>,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Row {
    hash: SeriesHash,
    shard: ShardId,
    first_sample: u32,
    samples: u32,
    labels: Range<u32>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This router has seen the series.
    Known,
    /// It has not: the labels come along.
    New,
    /// The series has no name yet, or never will.
    Unnamed,
}

#[derive(Debug, Default)]
struct Rest {
    histograms: Vec<HistogramSample>,
    exemplars: Vec<(i64, f64, Labels)>,
}

#[derive(Debug)]
struct Family {
    shard: ShardId,
    key: FamilyKey,
    metadata: FamilyMetadata,
}

/// What there is for one shard.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) shard: ShardId,
    order: Range<usize>,
    families: Vec<usize>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Float samples.
    pub samples: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

impl Batch {
    pub(crate) fn new(tenant: TenantId, hasher: SeriesHasher, shards: ShardCount) -> Self {
        Self {
            tenant,
            hasher,
            shards,
            rows: Vec::with_capacity(2048),
            samples: Vec::with_capacity(2048),
            labels: Vec::new(),
            rests: BTreeMap::new(),
            families: Vec::new(),
            order: Vec::new(),
            runs: Vec::new(),
        }
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(crate) fn hasher(&self) -> &SeriesHasher {
        &self.hasher
    }

    /// Begins a series whose label bytes `labels` have `hash`.
    #[inline]
    pub(crate) fn series(&mut self, hash: SeriesHash, labels: &[u8]) -> RowIndex {
        let from = index(self.labels.len());
        self.labels.extend_from_slice(labels);
        self.rows.push(Row {
            hash,
            shard: self.shards.of(hash),
            first_sample: index(self.samples.len()),
            samples: 0,
            labels: from..index(self.labels.len()),
            state: State::Known,
        });
        RowIndex::of(index(self.rows.len() - 1))
    }

    /// Adds a float sample to the series that was begun last.
    #[inline]
    pub(crate) fn float(&mut self, timestamp_ms: i64, start_ms: i64, value: f64) {
        self.rows.last_mut().expect("series() comes before its samples").samples += 1;
        self.samples.push(Sample { timestamp_ms, start_ms, value });
    }

    pub(crate) fn histogram(&mut self, row: RowIndex, sample: HistogramSample) {
        self.rest(row).histograms.push(sample);
    }

    pub(crate) fn exemplar(&mut self, row: RowIndex, at_ms: i64, value: f64, labels: Labels) {
        self.rest(row).exemplars.push((at_ms, value, labels));
    }

    fn rest(&mut self, row: RowIndex) -> &mut Rest {
        self.rests.entry(index(row.number())).or_default()
    }

    pub(crate) fn family(&mut self, shard: ShardId, key: FamilyKey, metadata: FamilyMetadata) {
        self.families.push(Family { shard, key, metadata });
    }

    /// Float samples and histograms of a row.
    pub(crate) fn samples_of(&self, row: RowIndex) -> u64 {
        let rest = self.rests.get(&index(row.number()));
        let histograms = rest.map_or(0, |rest| rest.histograms.len());
        u64::from(self.rows[row.number()].samples) + histograms as u64
    }

    /// The hashes of all rows, as they came.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = (RowIndex, SeriesHash)> {
        (0u32..).zip(&self.rows).map(|(at, row)| (RowIndex::of(at), row.hash))
    }

    /// The hash of a row, as it came or was given.
    pub(crate) fn hash_of(&self, row: RowIndex) -> SeriesHash {
        self.rows[row.number()].hash
    }

    /// Nobody knows the series yet; it is left out unless it is [named](Self::name).
    pub(crate) fn unname(&mut self, row: RowIndex) {
        self.rows[row.number()].state = State::Unnamed;
    }

    /// Gives a series its canonical labels. `is_new`: this router has not seen it.
    pub(crate) fn name(&mut self, row: RowIndex, hash: SeriesHash, canonical: &[u8], is_new: bool) {
        let Self { rows, labels, shards, .. } = self;
        let row = &mut rows[row.number()];
        row.state = if is_new { State::New } else { State::Known };
        if row.hash != hash {
            (row.hash, row.shard) = (hash, shards.of(hash));
            let from = index(labels.len());
            labels.extend_from_slice(canonical);
            row.labels = from..index(labels.len());
        }
    }

    /// Orders what is to be stored by shard. Nothing is added after this.
    pub(crate) fn seal(&mut self) {
        let rows = &self.rows;
        self.order = ordered(rows);
        let mut families: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        for (at, family) in self.families.iter().enumerate() {
            families.entry(family.shard).or_default().push(at);
        }
        let mut from = 0;
        self.runs.clear();
        for run in self.order.chunk_by(|&a, &b| rows[a as usize].shard == rows[b as usize].shard) {
            let shard = rows[run[0] as usize].shard;
            let families = families.remove(&shard).unwrap_or_default();
            self.runs.push(Run { shard, order: from..from + run.len(), families });
            from += run.len();
        }
        let lone = families.into_iter();
        self.runs.extend(lone.map(|(shard, families)| Run { shard, order: 0..0, families }));
    }

    /// What there is for each shard.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Bytes that the rows hold in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.samples.len() * size_of::<Sample>()
            + self.rows.len() * (size_of::<Row>() + size_of::<u32>())
            + self.labels.len()
    }

    /// The rows of some runs, in the order in which a frame has them.
    pub(crate) fn rows_of<'a>(&'a self, runs: &'a [usize]) -> impl Iterator<Item = u32> + 'a {
        runs.iter().flat_map(|&run| self.order[self.runs[run].order.clone()].iter().copied())
    }

    /// The shard of a row.
    pub(crate) fn shard_of(&self, row: u32) -> ShardId {
        self.rows[row as usize].shard
    }

    /// What a row holds.
    pub(crate) fn stored_of(&self, row: u32) -> Stored {
        let rest = self.rests.get(&row);
        Stored {
            samples: u64::from(self.rows[row as usize].samples),
            histograms: rest.map_or(0, |rest| rest.histograms.len() as u64),
            exemplars: rest.map_or(0, |rest| rest.exemplars.len() as u64),
        }
    }

    /// What a run holds.
    pub(crate) fn stored_in(&self, run: usize) -> Stored {
        let mut stored = Stored::default();
        self.rows_of(&[run]).for_each(|row| stored += self.stored_of(row));
        stored
    }

    fn samples(&self, row: &Row) -> &[Sample] {
        let first = row.first_sample as usize;
        &self.samples[first..first + row.samples as usize]
    }

    fn labels(&self, row: &Row) -> &[u8] {
        &self.labels[row.labels.start as usize..row.labels.end as usize]
    }

    /// Canonical label bytes of a row.
    pub(crate) fn labels_of(&self, row: u32) -> &[u8] {
        self.labels(&self.rows[row as usize])
    }

    /// Some runs as a frame between nodes: with the labels of series that this router has not seen,
    /// or, if `only` names rows, these alone and all with their labels.
    pub(crate) fn encode(&self, runs: &[usize], only: Option<&BTreeSet<u32>>) -> Bytes {
        let mut writer = FrameWriter::new();
        let base_ms = self.samples.first().map_or(0, |sample| sample.timestamp_ms);
        let metadata: Vec<v1::MetricMetadata> = match only {
            Some(_) => Vec::new(),
            None => runs
                .iter()
                .flat_map(|&run| &self.runs[run].families)
                .map(|&at| self.families[at].message())
                .collect(),
        };
        writer.request(&self.tenant, &metadata, base_ms);
        for at in self.rows_of(runs).filter(|at| only.is_none_or(|only| only.contains(at))) {
            let row = &self.rows[at as usize];
            let has_labels = only.is_some() || row.state == State::New;
            let labels = has_labels.then(|| self.labels(row));
            let rest = self.rests.get(&at).map(Rest::message);
            writer.row(row.hash, labels, self.samples(row), rest.as_ref());
        }
        writer.finish().into()
    }

    /// Puts some runs into a write of this node's own store.
    pub(crate) fn fill(&self, runs: &[usize], write: &mut Write) {
        for at in self.rows_of(runs) {
            let row = &self.rows[at as usize];
            let written = write.series(row.hash);
            for sample in self.samples(row) {
                write.float(sample.timestamp_ms, sample.start_ms, sample.value);
            }
            let Some(rest) = self.rests.get(&at) else { continue };
            for sample in &rest.histograms {
                write.histogram(written, sample.clone());
            }
            for (at_ms, value, labels) in &rest.exemplars {
                write.exemplar(written, *at_ms, *value, labels.clone());
            }
        }
        for &at in runs.iter().flat_map(|&run| &self.runs[run].families) {
            let Family { key, metadata, .. } = &self.families[at];
            write.metadata(key.clone(), metadata.clone());
        }
    }
}

impl Rest {
    fn message(&self) -> v1::TimeSeries {
        let exemplars = self.exemplars.iter().map(|(timestamp, value, labels)| {
            let label = |(name, value): (&str, &str)| v1::Label {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            let labels = labels.iter().map(label).collect();
            v1::Exemplar { labels, value: *value, timestamp: *timestamp }
        });
        v1::TimeSeries {
            histograms: self.histograms.iter().map(histogram_message).collect(),
            exemplars: exemplars.collect(),
            ..v1::TimeSeries::default()
        }
    }
}

impl Family {
    fn message(&self) -> v1::MetricMetadata {
        v1::MetricMetadata {
            r#type: i32::from(self.metadata.metric_type.number()),
            metric_family_name: self.key.family.clone(),
            help: self.metadata.help.clone(),
            unit: self.metadata.unit.clone(),
        }
    }
}

impl std::ops::AddAssign for Stored {
    fn add_assign(&mut self, other: Self) {
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
    }
}

impl std::ops::SubAssign for Stored {
    fn sub_assign(&mut self, other: Self) {
        self.samples -= other.samples;
        self.histograms -= other.histograms;
        self.exemplars -= other.exemplars;
    }
}

/// The rows that are to be stored, by shard, those of a shard as they came: sorted by counting,
/// because there are few shards.
fn ordered(rows: &[Row]) -> Vec<u32> {
    let stored = || (0_u32..).zip(rows).filter(|(_, row)| row.state != State::Unnamed);
    let most = rows.iter().map(|row| row.shard.0).max().map_or(0, usize::from);
    // Where the next row of each shard goes.
    let mut next = vec![0_u32; most + 2];
    stored().for_each(|(_, row)| next[usize::from(row.shard.0) + 1] += 1);
    for shard in 1..next.len() {
        next[shard] += next[shard - 1];
    }
    let mut order = vec![0; next[most + 1] as usize];
    for (at, row) in stored() {
        let place = &mut next[usize::from(row.shard.0)];
        order[*place as usize] = at;
        *place += 1;
    }
    order
}

fn index(len: usize) -> u32 {
    u32::try_from(len).expect("a request is far below 4 GiB")
}
