//! Replay: what the log holds beyond the checkpoints goes back into the head.
//!
//! Each thread reads all files in order and takes the runs of its own stripes, which the records'
//! offset tables find without decoding the others. (By file, the samples of a series would come out
//! of order and end up as late ones.)

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rangekeeper_model::{Day, Labels, MetricType, ShardId, TenantId, Window};
use rangekeeper_placement::UnsettledKey;

use super::StoreError;
use super::engine::Engine;
use crate::db::DbError;
use crate::head::stripe::Stripe;
use crate::head::{Exemplar, FamilyKey, FamilyMetadata};
use crate::log::{Definition, FileSeq, LogError, LogFile, Loss, RecordView, SeriesRef};

/// How far a replay is.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    done_records: AtomicU64,
    total_records: AtomicU64,
}

impl ReplayProgress {
    /// Hundredths of the work that are done.
    pub fn percent(&self) -> u64 {
        let total = self.total_records.load(Ordering::Relaxed).max(1);
        (self.done_records.load(Ordering::Relaxed) * 100 / total).min(100)
    }
}

/// What a replay brought back.
#[derive(Clone, Debug, Default)]
pub(super) struct Replayed {
    pub(super) samples: u64,
    /// Samples of series whose labels are nowhere, though retention keeps them.
    pub(super) nameless: u64,
    pub(super) losses: Vec<Loss>,
}

/// Replays `files` into the head of `engine`.
pub(super) fn replay(
    engine: &Engine,
    files: &[LogFile],
    progress: &ReplayProgress,
) -> Result<Replayed, StoreError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.min(engine.head.stripe_count());
    let records: u64 = files.iter().map(|file| file.last.0 + 1 - file.first.0).sum();
    progress.total_records.store(records * threads as u64, Ordering::Relaxed);
    let parts: Vec<Result<Replayed, StoreError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let work = move || Replayer { engine, threads, thread }.run(files, progress);
                scope.spawn(work)
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("replay does not panic")).collect()
    });
    let mut replayed = Replayed::default();
    for part in parts {
        let part = part?;
        replayed.samples += part.samples;
        replayed.nameless += part.nameless;
        // Every thread reads every file and meets the same losses.
        replayed.losses = part.losses;
    }
    Ok(replayed)
}

struct Replayer<'a> {
    engine: &'a Engine,
    threads: usize,
    thread: usize,
}

/// The slots of one log file's series, by the reference that its records use.
type References = HashMap<SeriesRef, u32>;

impl Replayer<'_> {
    fn run(&self, files: &[LogFile], progress: &ReplayProgress) -> Result<Replayed, StoreError> {
        let mut replayed = Replayed::default();
        for file in files {
            let mut references = References::new();
            let mut reader = file.read()?;
            while let Some(record) = reader.next_record()? {
                self.define(&record, &mut references)?;
                self.append(&record, &references, &mut replayed)?;
                self.append_rest(&record, &references)?;
                progress.done_records.fetch_add(1, Ordering::Relaxed);
            }
            replayed.losses.extend_from_slice(reader.losses());
        }
        Ok(replayed)
    }

    fn define(
        &self,
        record: &RecordView<'_>,
        references: &mut References,
    ) -> Result<(), StoreError> {
        for definition in record.definitions() {
            let definition = definition.map_err(LogError::from)?;
            let stripe = self.engine.head.stripe_of(definition.series.shard());
            if !self.is_mine(stripe) {
                continue;
            }
            // Labels go with the last day that has the series, and its samples with them.
            if let Some(slot) = self.slot(stripe, &definition)? {
                references.insert(definition.reference, slot);
            }
        }
        Ok(())
    }

    fn append(
        &self,
        record: &RecordView<'_>,
        references: &References,
        replayed: &mut Replayed,
    ) -> Result<(), LogError> {
        let now_s = self.engine.now_s();
        for run in record.floats()? {
            let Some(mut stripe) = self.due(record, run.shard) else { continue };
            let mut touched = Vec::new();
            for sample in run.elements {
                let sample = sample?;
                let Some(slot) = references.get(&sample.reference) else {
                    replayed.nameless += u64::from(self.is_kept(sample.timestamp_ms));
                    continue;
                };
                stripe.append(*slot, (sample.timestamp_ms, sample.start_ms, sample.value), now_s);
                let id = stripe.series(*slot).id;
                touched.push(UnsettledKey::Chunk(Window::of(sample.timestamp_ms), id));
                self.engine.saw(sample.timestamp_ms);
                replayed.samples += 1;
            }
            drop(stripe);
            self.keep_unsettled(record, run.shard, touched);
        }
        for run in record.histograms()? {
            let Some(mut stripe) = self.due(record, run.shard) else { continue };
            let mut touched = Vec::new();
            for element in run.elements {
                let (reference, sample) = element?;
                let Some(slot) = references.get(&reference) else {
                    replayed.nameless += u64::from(self.is_kept(sample.timestamp_ms));
                    continue;
                };
                self.engine.saw(sample.timestamp_ms);
                let id = stripe.series(*slot).id;
                touched.push(UnsettledKey::Chunk(Window::of(sample.timestamp_ms), id));
                stripe.append_histogram(*slot, sample, now_s);
                replayed.samples += 1;
            }
            drop(stripe);
            self.keep_unsettled(record, run.shard, touched);
        }
        Ok(())
    }

    fn append_rest(
        &self,
        record: &RecordView<'_>,
        references: &References,
    ) -> Result<(), LogError> {
        let now_s = self.engine.now_s();
        for run in record.exemplars()? {
            let Some(mut stripe) = self.due(record, run.shard) else { continue };
            let mut keys = Vec::new();
            for exemplar in run.elements {
                let exemplar = exemplar?;
                let Some(slot) = references.get(&exemplar.reference) else { continue };
                let Ok(labels) = Labels::from_canonical(exemplar.labels) else { continue };
                let id = stripe.series(*slot).id;
                let (timestamp_ms, value) = (exemplar.timestamp_ms, exemplar.value);
                keys.push(UnsettledKey::Exemplars(Day::of(timestamp_ms), id));
                stripe.push_exemplar(Exemplar { id, timestamp_ms, value, labels }, now_s);
            }
            drop(stripe);
            self.keep_unsettled(record, run.shard, keys);
        }
        for entry in record.metadata() {
            let entry = entry?;
            let Ok(tenant) = TenantId::new(entry.tenant) else { continue };
            let Some(mut stripe) = self.due(record, entry.shard) else { continue };
            let family = FamilyKey { tenant, family: entry.family.to_owned() };
            let metadata = FamilyMetadata {
                metric_type: MetricType::from_number(entry.metric_type),
                help: entry.help.to_owned(),
                unit: entry.unit.to_owned(),
            };
            stripe.push_metadata(family, metadata, now_s);
            drop(stripe);
            self.keep_unsettled(record, entry.shard, vec![UnsettledKey::Metadata]);
        }
        Ok(())
    }

    /// What a record holds that is not noted to be settled is unsettled again: by keys of one
    /// shard, as nobody remembers the record by its position.
    fn keep_unsettled(&self, record: &RecordView<'_>, shard: ShardId, mut keys: Vec<UnsettledKey>) {
        let Some(unsettled) = &self.engine.unsettled else { return };
        if record.position().0 <= self.engine.low_water.load(Ordering::Acquire) {
            return;
        }
        let now_ms = self.engine.clock.now_ms();
        keys.dedup();
        for key in keys {
            unsettled.add(shard, key, now_ms);
        }
    }

    /// The stripe of `shard`, if it is this thread's and its checkpoint does not hold the record.
    fn due(
        &self,
        record: &RecordView<'_>,
        shard: ShardId,
    ) -> Option<parking_lot::MutexGuard<'_, Stripe>> {
        let stripe = self.engine.head.stripe_of(shard);
        let checkpoint = self.engine.checkpoints[stripe].load(Ordering::Relaxed);
        let due = self.is_mine(stripe) && checkpoint < record.position().0;
        due.then(|| self.engine.head.stripe(stripe))
    }

    /// The slot of the series that a definition names; it is made if the head does not have it.
    fn slot(&self, stripe: usize, definition: &Definition<'_>) -> Result<Option<u32>, DbError> {
        let head = &self.engine.head;
        if let Some((slot, _)) = head.stripe(stripe).series_of(definition.series) {
            return Ok(Some(slot));
        }
        let labels = match definition.labels {
            Some(bytes) => Labels::from_canonical(bytes).ok(),
            None => self.engine.db.find_labels(definition.series)?.map(|(_, labels)| labels),
        };
        let (Some(labels), Ok(tenant)) = (labels, TenantId::new(definition.tenant)) else {
            return Ok(None);
        };
        let tenant = head.tenant(&tenant);
        let hash = tenant.hasher().hash(labels.as_bytes());
        let series = head.new_series(&tenant, hash, labels);
        Ok(Some(head.stripe(stripe).insert(hash, series, FileSeq::default())))
    }

    /// Whether retention keeps a sample of this time.
    fn is_kept(&self, timestamp_ms: i64) -> bool {
        Day::of(timestamp_ms) >= self.engine.db.floor()
    }

    fn is_mine(&self, stripe: usize) -> bool {
        stripe % self.threads == self.thread
    }
}
