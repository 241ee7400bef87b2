//! One request's way into the store: resolve its series, log it, append it to the head.
//!
//! The order of events is DESIGN.md's: unknown series get an identity and a place in the head; the
//! record gets a position and a place in the log's group in one lock; when the group is durable the
//! samples are appended to each stripe, and only then does the record leave the flight. So
//! everything up to the log's watermark is in the head or in chunks, and what is acknowledged is
//! durable and visible.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rangekeeper_model::{Day, HistogramSample, Labels, SeriesHash, SeriesId, ShardId, Window};
use rangekeeper_placement::UnsettledKey;

use super::WriteError;
use super::columns::{Columns, Known, NO_SLOT, Row, index};
use super::engine::Engine;
use crate::head::{Exemplar, FamilyKey, FamilyMetadata, Tenant};
use crate::log::{
    self, FileSeq, Flight, FloatSample, Position, RecordEncoder, SeriesRef, SubmitError,
};
use crate::unsettled::{Extras, Record, Touched};

/// How often a record is encoded anew because the log began another file meanwhile. Files change
/// once in seconds; a second change within one encoding is already a sign that the log is stuck.
const FILE_CHANGES: usize = 8;

/// A request that is being written: its series as rows, its samples as columns.
#[derive(Debug)]
pub struct Write {
    engine: Arc<Engine>,
    tenant: Arc<Tenant>,
    columns: Columns,
}

/// Number of a series within one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowIndex(u32);

impl RowIndex {
    /// The row with this number.
    pub fn of(number: u32) -> Self {
        Self(number)
    }

    /// The number: rows are numbered as they were begun.
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// What [`Write::commit`] stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Float samples.
    pub samples: u64,
    /// Histogram samples.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Position of the record in the log; `None` where there was nothing to store.
    pub position: Option<Position>,
}

/// Label bytes whose hash another label set has already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("series {refused} has the hash of {existing}")]
pub struct HashCollision {
    /// The series that cannot be stored.
    pub refused: Labels,
    /// The series that has its place.
    pub existing: Labels,
}

impl Write {
    pub(super) fn new(engine: Arc<Engine>, tenant: Arc<Tenant>) -> Self {
        let columns = engine.spare_columns();
        Self { engine, tenant, columns }
    }

    /// The shard that keeps the series with this hash.
    pub fn shard_of(&self, hash: SeriesHash) -> ShardId {
        self.engine.head.shards().of(hash)
    }

    /// Begins a series, named by the hash of its label bytes.
    #[inline]
    pub fn series(&mut self, hash: SeriesHash) -> RowIndex {
        let shard = self.engine.head.shards().of(hash);
        let columns = &mut self.columns;
        let first = index(columns.timestamps.len());
        columns.rows.push(Row {
            hash,
            shard,
            slot: NO_SLOT,
            first,
            count: 0,
            defined_in: FileSeq::default(),
        });
        RowIndex(index(columns.rows.len() - 1))
    }

    /// Adds a float sample to the series that was begun last.
    #[inline]
    pub fn float(&mut self, timestamp_ms: i64, start_ms: i64, value: f64) {
        let columns = &mut self.columns;
        let row = columns.rows.last_mut().expect("series() comes before its samples");
        row.count += 1;
        if start_ms != 0 && columns.starts.is_empty() {
            columns.starts.resize(columns.timestamps.len(), 0);
            columns.starts.push(start_ms);
        } else if !columns.starts.is_empty() {
            columns.starts.push(start_ms);
        }
        columns.timestamps.push(timestamp_ms);
        columns.values.push(value);
        columns.newest_ms = columns.newest_ms.max(timestamp_ms);
    }

    /// Adds a histogram sample to a series.
    pub fn histogram(&mut self, row: RowIndex, sample: HistogramSample) {
        self.columns.newest_ms = self.columns.newest_ms.max(sample.timestamp_ms);
        self.columns.histograms.push((row.0, sample));
    }

    /// Adds an exemplar to a series.
    pub fn exemplar(&mut self, row: RowIndex, timestamp_ms: i64, value: f64, labels: Labels) {
        let id = SeriesId([0; 16]);
        self.columns.exemplars.push((row.0, Exemplar { id, timestamp_ms, value, labels }));
    }

    /// Adds what the sender says of a metric family, unless it was said today.
    pub fn metadata(&mut self, family: FamilyKey, metadata: FamilyMetadata) {
        if self.engine.is_news(&family, &metadata) {
            self.columns.metadata.push((family, metadata));
        }
    }

    /// The hash by which a series is looked up.
    pub fn hash_of(&self, row: RowIndex) -> SeriesHash {
        self.columns.rows[row.0 as usize].hash
    }

    /// Number of float samples and histograms of a series.
    pub fn samples_of(&self, row: RowIndex) -> u64 {
        let histograms = self.columns.histograms.iter().filter(|(at, _)| *at == row.0).count();
        u64::from(self.columns.rows[row.0 as usize].count) + histograms as u64
    }

    /// Whose write it is.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Looks all series up; returns those that nobody knows. Each of them has to be
    /// [defined](Self::define), or it is left out.
    pub fn resolve(&mut self) -> Vec<RowIndex> {
        let now_s = self.engine.now_s();
        self.columns.sort(&self.engine.head, |_| true);
        let mut unknown = self.look_up(now_s);
        if self.follow_aliases(&unknown) {
            // They are of other shards now.
            self.columns.sort(&self.engine.head, |_| true);
            unknown = self.look_up(now_s);
        }
        self.columns.had_unknown = !unknown.is_empty();
        unknown
    }

    /// Pins the series of the rows that have none yet; returns those that nobody knows.
    fn look_up(&mut self, now_s: u32) -> Vec<RowIndex> {
        let mut unknown = Vec::new();
        for (stripe, range) in &self.columns.stripes {
            let mut stripe = self.engine.head.stripe(*stripe);
            let mut guess = NO_SLOT;
            for &at in &self.columns.order[range.clone()] {
                let row = &mut self.columns.rows[at as usize];
                if row.slot == NO_SLOT {
                    let Some(slot) = stripe.find_near(row.hash, guess) else {
                        unknown.push(RowIndex(at));
                        continue;
                    };
                    row.pin(slot, &mut stripe, now_s);
                }
                guess = row.slot + 1;
            }
        }
        unknown
    }

    /// Gives rows whose label bytes are another way to write a known series that series' hash; says
    /// whether there were any.
    fn follow_aliases(&mut self, rows: &[RowIndex]) -> bool {
        if rows.is_empty() {
            return false;
        }
        let head = &self.engine.head;
        let aliases = head.aliases();
        let mut any = false;
        for row in rows {
            let row = &mut self.columns.rows[row.0 as usize];
            if let Some(hash) = aliases.get(&row.hash) {
                (row.hash, row.shard) = (*hash, head.shards().of(*hash));
                any = true;
            }
        }
        any
    }

    /// Gives an unknown series its identity: `labels` are those whose bytes had the row's hash.
    ///
    /// Reads the database if the series may be there already, so this is the slow path.
    pub fn define(&mut self, row: RowIndex, labels: Labels) -> Result<(), HashCollision> {
        let raw = self.columns.rows[row.0 as usize].hash;
        let hash = self.tenant.hasher.hash(labels.as_bytes());
        let series = self.engine.head.new_series(&self.tenant, hash, labels);
        self.engine.check_collision(&series)?;
        if raw != hash {
            self.engine.head.remember_alias(raw, hash);
        }
        let now_s = self.engine.now_s();
        let shard = self.engine.head.shards().of(hash);
        let mut stripe = self.engine.head.stripe(self.engine.head.stripe_of(shard));
        let slot = match stripe.find(hash) {
            None => {
                self.engine.counters.series_created.fetch_add(1, Ordering::Relaxed);
                stripe.insert(hash, series, self.engine.log().current_file())
            }
            Some(slot) if stripe.series(slot).labels == series.labels => slot,
            Some(slot) => {
                let existing = stripe.series(slot).labels.clone();
                return Err(HashCollision { refused: series.labels, existing });
            }
        };
        let row = &mut self.columns.rows[row.0 as usize];
        (row.hash, row.shard) = (hash, shard);
        row.pin(slot, &mut stripe, now_s);
        Ok(())
    }

    /// Stores every series that is known or was defined, and answers when all of it is durable and
    /// visible.
    ///
    /// Runs to its end even if the caller no longer waits.
    pub async fn commit(mut self) -> Result<Committed, WriteError> {
        self.columns.settle(&self.engine.head);
        if self.columns.is_empty() {
            return Ok(Committed::default());
        }
        let mut flight = self.submit()?;
        let written = tokio::spawn(async move {
            flight.durable().await?;
            let committed = self.append(flight.position());
            // Only now: up to the watermark everything is in the head.
            drop(flight);
            Ok(committed)
        });
        written.await.map_err(|_| WriteError::Stopping)?
    }

    fn submit(&self) -> Result<Flight, WriteError> {
        let mut encoder = self.engine.spare_encoder();
        encoder.clear();
        self.encode_samples(&mut encoder);
        self.encode_rest(&mut encoder);
        let flight = self.submit_encoded(&mut encoder);
        self.engine.return_encoder(encoder);
        flight
    }

    fn submit_encoded(&self, encoder: &mut RecordEncoder) -> Result<Flight, WriteError> {
        let log = self.engine.log();
        let mut file = log.current_file();
        for _ in 0..FILE_CHANGES {
            encoder.clear_definitions();
            let defined = self.encode_definitions(encoder, file);
            match log.submit(encoder.finish()?, file) {
                Ok(flight) => {
                    self.mark_defined(&defined, file);
                    return Ok(flight);
                }
                Err(SubmitError::FileChanged { now, .. }) => file = now,
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Busy)
    }

    fn encode_samples(&self, encoder: &mut RecordEncoder) {
        let Columns { known, timestamps, values, starts, .. } = &self.columns;
        for known in known {
            let (shard, reference) = (known.shard, self.reference(known.shard, known.slot));
            for at in known.samples() {
                let start_ms = starts.get(at).copied().unwrap_or(0);
                let (timestamp_ms, value) = (timestamps[at], values[at]);
                encoder.float(shard, &FloatSample { reference, timestamp_ms, start_ms, value });
            }
        }
    }

    /// Defines the series that `file` does not define yet; returns them.
    fn encode_definitions(&self, encoder: &mut RecordEncoder, file: FileSeq) -> Vec<&Known> {
        let known = self.columns.known.iter();
        let undefined: Vec<_> = known.filter(|known| known.defined_in != file).collect();
        let floor = self.engine.db.floor();
        for Known { shard, slot, .. } in &undefined {
            let stripe = self.engine.head.stripe(self.engine.head.stripe_of(*shard));
            let series = stripe.series(*slot);
            let labels = (!series.labels_are_durable(floor)).then(|| series.labels.as_bytes());
            encoder.define(self.reference(*shard, *slot), series.id, &self.tenant.id, labels);
        }
        undefined
    }

    fn encode_rest(&self, encoder: &mut RecordEncoder) {
        let columns = &self.columns;
        for (at, sample) in &columns.histograms {
            let row = &columns.rows[*at as usize];
            encoder.histogram(row.shard, self.reference(row.shard, row.slot), sample);
        }
        for (at, exemplar) in &columns.exemplars {
            let row = &columns.rows[*at as usize];
            let encoded = log::Exemplar {
                reference: self.reference(row.shard, row.slot),
                timestamp_ms: exemplar.timestamp_ms,
                value: exemplar.value,
                labels: exemplar.labels.as_bytes(),
            };
            encoder.exemplar(row.shard, &encoded);
        }
        for (family, metadata) in &columns.metadata {
            encoder.metadata(&log::Metadata {
                shard: self.engine.family_shard(&family.tenant, &family.family),
                tenant: family.tenant.as_str(),
                family: &family.family,
                metric_type: metadata.metric_type.number(),
                help: &metadata.help,
                unit: &metadata.unit,
            });
        }
    }

    /// The series that `defined` names have their definitions in `file` now. Only after the record
    /// has its position: a record without a definition must lie behind the one that has it.
    fn mark_defined(&self, defined: &[&Known], file: FileSeq) {
        let head = &self.engine.head;
        for known in defined {
            head.stripe(head.stripe_of(known.shard)).defined(known.slot, file);
        }
    }

    fn append(&mut self, position: Position) -> Committed {
        let now_s = self.engine.now_s();
        let mut committed = Committed { position: Some(position), ..Committed::default() };
        let most = self.columns.known.len() + self.columns.histograms.len();
        let mut noted = self.engine.unsettled.as_ref().map(|_| Noted::with_capacity(most));
        self.append_rest(&mut committed, noted.as_mut(), now_s);
        let has_histograms = noted.as_ref().is_some_and(|noted| !noted.touched.is_empty());
        // From here on each series is let go as soon as it has its samples.
        self.columns.rows.clear();
        let Columns { known, stripes, timestamps, values, starts, .. } = &self.columns;
        for (stripe, range) in stripes {
            let mut stripe = self.engine.head.stripe(*stripe);
            for known in &known[range.clone()] {
                for at in known.samples() {
                    let start_ms = starts.get(at).copied().unwrap_or(0);
                    stripe.append(known.slot, (timestamps[at], start_ms, values[at]), now_s);
                }
                committed.samples += u64::from(known.count);
                if let Some(noted) = &mut noted {
                    let id = stripe.series(known.slot).id;
                    touch(&mut noted.touched, id, &timestamps[known.samples()]);
                }
                stripe.unpin(known.slot);
            }
        }
        self.engine.saw(self.columns.newest_ms);
        if let (Some(Noted { mut touched, mut extras }), Some(unsettled)) =
            (noted, &self.engine.unsettled)
        {
            if has_histograms {
                touched.sort_unstable();
                touched.dedup();
            }
            extras.sort_unstable();
            extras.dedup();
            let now_ms = self.engine.clock.now_ms();
            let record = Record::new(self.tenant.index, now_ms, touched, extras);
            unsettled.note(position, record, now_ms);
        }
        let samples = committed.samples + committed.histograms;
        self.engine.counters.samples.fetch_add(samples, Ordering::Relaxed);
        committed
    }

    fn append_rest(
        &mut self,
        committed: &mut Committed,
        mut noted: Option<&mut Noted>,
        now_s: u32,
    ) {
        for (at, sample) in std::mem::take(&mut self.columns.histograms) {
            let row = &self.columns.rows[at as usize];
            let mut stripe = self.engine.head.stripe(self.stripe_of(row));
            if let Some(noted) = &mut noted {
                touch(&mut noted.touched, stripe.series(row.slot).id, &[sample.timestamp_ms]);
            }
            stripe.append_histogram(row.slot, sample, now_s);
            committed.histograms += 1;
        }
        for (at, mut exemplar) in std::mem::take(&mut self.columns.exemplars) {
            let row = &self.columns.rows[at as usize];
            let mut stripe = self.engine.head.stripe(self.stripe_of(row));
            exemplar.id = stripe.series(row.slot).id;
            if let Some(noted) = &mut noted {
                let key = UnsettledKey::Exemplars(Day::of(exemplar.timestamp_ms), exemplar.id);
                noted.extras.push((row.shard, key));
            }
            stripe.push_exemplar(exemplar, now_s);
            committed.exemplars += 1;
        }
        for (family, metadata) in std::mem::take(&mut self.columns.metadata) {
            let shard = self.engine.put_metadata(family, metadata);
            if let Some(noted) = &mut noted {
                noted.extras.push((shard, UnsettledKey::Metadata));
            }
        }
    }

    fn stripe_of(&self, row: &Row) -> usize {
        self.engine.head.stripe_of(row.shard)
    }

    fn reference(&self, shard: ShardId, slot: u32) -> SeriesRef {
        self.engine.head.reference(self.engine.head.stripe_of(shard), slot)
    }
}

/// What a record is noted by as long as it is not settled.
struct Noted {
    touched: Vec<Touched>,
    extras: Extras,
}

impl Noted {
    fn with_capacity(touched: usize) -> Self {
        Self { touched: Vec::with_capacity(touched), extras: Extras::new() }
    }
}

/// Notes the windows of a series' samples: mostly one, as samples come in their order.
#[inline]
fn touch(touched: &mut Vec<Touched>, id: SeriesId, timestamps: &[i64]) {
    let mut last = None;
    for timestamp_ms in timestamps {
        let window = Window::of(*timestamp_ms);
        if last != Some(window) {
            touched.push(Touched { id, window });
            last = Some(window);
        }
    }
}

/// Lets go of the series that are pinned still, because the request failed, and of the memory.
impl Drop for Write {
    fn drop(&mut self) {
        let mut columns = std::mem::take(&mut self.columns);
        for row in columns.rows.iter().filter(|row| row.slot != NO_SLOT) {
            self.engine.head.stripe(self.stripe_of(row)).unpin(row.slot);
        }
        columns.clear();
        self.engine.return_columns(columns);
    }
}
