//! Exemplars and metadata on their way between copies: given for places that missed them, taken in
//! from places that hold them. Both are sets, as chunks are.

use std::collections::BTreeSet;

use rangekeeper_model::{Day, Labels, MetricType, SeriesId, ShardId, TenantId, TimeRange};
use rangekeeper_placement::{Mark, UnsettledKey};

use super::engine::Engine;
use super::{Store, StoreError};
use crate::db::{self, Batch, DbError, EXEMPLARS, Entry, METADATA, MetadataEntry, Stop};
use crate::head::{Exemplar, FamilyKey, FamilyMetadata};
use crate::log::Import;

/// What a place may lack of one shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bundle {
    /// Chunks, by day.
    pub chunks: Vec<(Day, Vec<Entry>)>,
    /// Exemplars. One may come more than once.
    pub exemplars: Vec<Exemplar>,
    /// What was said of metric families.
    pub metadata: Vec<Statement>,
}

/// One thing that was said of a metric family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Of which family.
    pub family: FamilyKey,
    /// What, and on which day for the last time.
    pub said: MetadataEntry,
}

/// What makes two exemplars one.
type ExemplarKey = (SeriesId, i64, u64, Labels);

impl Store {
    /// Unites exemplars and statements of other copies, all of `shard`, with what is here. Durable
    /// when it returns. Blocks.
    ///
    /// As with [chunks](Store::ingest), what is here already changes nothing, and what is new is
    /// unsettled in a replicated store; returned are the keys that hold nothing else.
    pub fn ingest_extras(
        &self,
        shard: ShardId,
        exemplars: &[Exemplar],
        metadata: &[Statement],
    ) -> Result<Vec<(UnsettledKey, Mark)>, StoreError> {
        self.engine()?.ingest_extras(shard, exemplars, metadata)
    }
}

impl Engine {
    /// The exemplars of `shard` on `day`: what the head holds first, then the database's.
    pub(super) fn exemplars_in(
        &self,
        shard: ShardId,
        day: Day,
        stop: Stop<'_>,
    ) -> Result<Vec<Exemplar>, DbError> {
        let mut found = self.head_exemplars(shard, |of, _| of == day);
        self.db.scan_exemplars(shard, day, stop, |id, stored| {
            let (timestamp_ms, value) = (stored.timestamp_ms, stored.value);
            found.push(Exemplar { id, timestamp_ms, value, labels: stored.labels });
        })?;
        Ok(found)
    }

    /// The exemplars of some series of `shard` on some days, in the same order.
    pub(super) fn exemplars_on(
        &self,
        shard: ShardId,
        series: &BTreeSet<(Day, SeriesId)>,
    ) -> Result<Vec<Exemplar>, DbError> {
        if series.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self.head_exemplars(shard, |day, id| series.contains(&(day, id)));
        for &(day, id) in series {
            let range = TimeRange { from_ms: day.start_ms(), to_ms: day.end_ms() - 1 };
            self.db.read_exemplars(day, id, range, |stored| {
                let (timestamp_ms, value) = (stored.timestamp_ms, stored.value);
                found.push(Exemplar { id, timestamp_ms, value, labels: stored.labels });
                true
            })?;
        }
        Ok(found)
    }

    fn head_exemplars(
        &self,
        shard: ShardId,
        wanted: impl Fn(Day, SeriesId) -> bool,
    ) -> Vec<Exemplar> {
        let stripe = self.head.stripe(self.head.stripe_of(shard));
        let is_wanted = |exemplar: &&Exemplar| {
            exemplar.id.shard() == shard && wanted(Day::of(exemplar.timestamp_ms), exemplar.id)
        };
        stripe.exemplars().filter(is_wanted).cloned().collect()
    }

    /// All that was said of the families of `shard`: what the head holds first, then the
    /// database's.
    pub(super) fn metadata_of(
        &self,
        shard: ShardId,
        stop: Stop<'_>,
    ) -> Result<Vec<Statement>, DbError> {
        let is_of_shard =
            |tenant: &TenantId, family: &str| self.family_shard(tenant, family) == shard;
        let last_day = Day::of(self.clock.now_ms());
        let in_head = self.head_metadata(shard).into_iter();
        let mut found: Vec<Statement> = in_head
            .filter(|(family, _)| is_of_shard(&family.tenant, &family.family))
            .map(|(family, said)| Statement { family, said: said.entry(last_day) })
            .collect();
        self.db.scan_metadata(stop, is_of_shard, |tenant, family, entries| {
            let family = FamilyKey { tenant, family: family.to_owned() };
            let statement = |said| Statement { family: family.clone(), said };
            found.extend(entries.into_iter().map(statement));
        })?;
        Ok(found)
    }

    /// What waits in the shard's stripe for a checkpoint; other shards' too.
    fn head_metadata(&self, shard: ShardId) -> BTreeSet<(FamilyKey, FamilyMetadata)> {
        let stripe = self.head.stripe(self.head.stripe_of(shard));
        stripe.metadata().map(|(family, said)| (family.clone(), said.clone())).collect()
    }

    /// See [`Store::ingest_extras`].
    fn ingest_extras(
        &self,
        shard: ShardId,
        exemplars: &[Exemplar],
        metadata: &[Statement],
    ) -> Result<Vec<(UnsettledKey, Mark)>, StoreError> {
        let exemplars = self.new_exemplars(shard, exemplars)?;
        let metadata = self.new_statements(shard, metadata)?;
        let of = |exemplar: &&Exemplar| (Day::of(exemplar.timestamp_ms), exemplar.id);
        let series: BTreeSet<(Day, SeriesId)> = exemplars.iter().map(of).collect();
        let mut keys: Vec<UnsettledKey> =
            series.iter().map(|&(day, id)| UnsettledKey::Exemplars(day, id)).collect();
        keys.extend((!metadata.is_empty()).then_some(UnsettledKey::Metadata));
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = self.db.batch();
        for exemplar in exemplars {
            exemplar.put_into(&mut batch);
        }
        for Statement { family, said } in metadata {
            batch.metadata(&family.tenant, &family.family, said);
        }
        let now_ms = self.clock.now_ms();
        let mut added = Vec::with_capacity(keys.len());
        let writing = self.unsettled.as_ref().map(|unsettled| {
            let writing = unsettled.writing();
            added.extend(keys.iter().map(|&key| (shard, unsettled.add(shard, key, now_ms))));
            writing
        });
        self.write_with_account((shard, shard), batch)?;
        drop(writing);
        self.db.sync_wal()?;
        self.log_imports(keys.into_iter().filter_map(|key| import_of(shard, key)))?;
        Ok(self.unsettled.as_ref().map(|unsettled| unsettled.alone(added)).unwrap_or_default())
    }

    /// Those that are not here, each once.
    fn new_exemplars<'e>(
        &self,
        shard: ShardId,
        exemplars: &'e [Exemplar],
    ) -> Result<Vec<&'e Exemplar>, DbError> {
        let key = |exemplar: &Exemplar| -> ExemplarKey {
            let Exemplar { id, timestamp_ms, value, labels } = exemplar;
            (*id, *timestamp_ms, value.to_bits(), labels.clone())
        };
        let ids: BTreeSet<SeriesId> = exemplars.iter().map(|exemplar| exemplar.id).collect();
        // The head first, then the database: see `read`.
        let in_head = self.head_exemplars(shard, |_, id| ids.contains(&id));
        let mut known: BTreeSet<ExemplarKey> = in_head.iter().map(key).collect();
        let floor = self.db.floor();
        let mut new = Vec::new();
        for exemplar in exemplars {
            let day = Day::of(exemplar.timestamp_ms);
            if day >= floor
                && known.insert(key(exemplar))
                && !self.db.has_exemplar(day, exemplar.id, &exemplar.stored())?
            {
                new.push(exemplar);
            }
        }
        Ok(new)
    }

    /// Those that nobody made here, or not as late.
    fn new_statements<'s>(
        &self,
        shard: ShardId,
        statements: &'s [Statement],
    ) -> Result<Vec<&'s Statement>, DbError> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let in_head = self.head_metadata(shard);
        let (floor, today) = (self.db.floor(), Day::of(self.clock.now_ms()));
        let mut new = Vec::new();
        for statement in statements.iter().filter(|statement| statement.said.last_day >= floor) {
            let Statement { family, said } = statement;
            let is_this = |here: &MetadataEntry| {
                (&here.kind, &here.help, &here.unit) == (&said.kind, &said.help, &said.unit)
                    && here.last_day >= said.last_day
            };
            let waiting = FamilyMetadata {
                metric_type: MetricType::from_name(&said.kind),
                help: said.help.clone(),
                unit: said.unit.clone(),
            };
            let mut is_here =
                is_this(&waiting.entry(today)) && in_head.contains(&(family.clone(), waiting));
            self.db.read_metadata(&family.tenant, Some(&family.family), |_, entries| {
                is_here |= entries.iter().any(is_this);
                true
            })?;
            if !is_here {
                new.push(statement);
            }
        }
        Ok(new)
    }
}

/// How the log's tail names what was taken in.
fn import_of(shard: ShardId, key: UnsettledKey) -> Option<Import> {
    match key {
        UnsettledKey::Exemplars(day, series) => Some(Import { series, day, window: EXEMPLARS }),
        UnsettledKey::Metadata => {
            let mut series = SeriesId([0; SeriesId::BYTES]);
            series.0[..2].copy_from_slice(&shard.0.to_be_bytes());
            Some(Import { series, day: Day(0), window: METADATA })
        }
        UnsettledKey::Record(_) | UnsettledKey::Chunk(..) | UnsettledKey::Day(_) => None,
    }
}

impl Exemplar {
    fn stored(&self) -> db::Exemplar<'_> {
        let (timestamp_ms, value) = (self.timestamp_ms, self.value);
        db::Exemplar { timestamp_ms, value, labels: self.labels.as_bytes() }
    }

    /// Adds it to what the database keeps.
    pub(super) fn put_into(&self, batch: &mut Batch<'_>) {
        batch.exemplar(Day::of(self.timestamp_ms), self.id, &self.stored());
    }
}

impl FamilyMetadata {
    /// As the database keeps it, where `last_day` is the last day on which it was said.
    pub(super) fn entry(&self, last_day: Day) -> MetadataEntry {
        MetadataEntry {
            kind: self.metric_type.name().to_owned(),
            help: self.help.clone(),
            unit: self.unit.clone(),
            last_day,
        }
    }
}
