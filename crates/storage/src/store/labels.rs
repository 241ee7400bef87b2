//! Everything that is asked without samples: label names and values, series, metadata, exemplars,
//! cardinality.

use std::collections::{BTreeMap, BTreeSet};

use rangekeeper_model::{Day, Labels, Matcher, MetricType, SeriesId, TenantId, TimeRange};

use super::{ShardSet, Store, StoreError};
use crate::db::{Cardinality, Stop};
use crate::head::{Exemplar, FamilyMetadata};

/// What was found, sorted, and whether there is more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Whether the limit cut something off.
    pub truncated: bool,
}

/// What is known of a metric family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataRow {
    /// The family's name.
    pub family: String,
    /// What was said of it; more than one thing where senders differ.
    pub metadata: Vec<FamilyMetadata>,
}

/// A series and its exemplars, rising in time.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// The series' labels.
    pub labels: Labels,
    /// Its exemplars.
    pub exemplars: Vec<Exemplar>,
}

impl<T> Found<T> {
    fn of(mut items: Vec<T>, limit: usize) -> Self {
        let truncated = items.len() > limit;
        items.truncate(limit);
        Self { items, truncated }
    }
}

impl Store {
    /// Names of the labels that series matching any of `selectors` have on the days of `range`;
    /// without selectors, of all series. Blocks.
    pub fn label_names(
        &self,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Found<String>, StoreError> {
        let engine = self.engine()?;
        let index = engine.head.tenant(tenant).index;
        let range = engine.clip(range);
        let mut names = BTreeSet::new();
        for matchers in or_all(selectors) {
            for (_, _, labels) in engine.unregistered_labels(index, matchers, range) {
                names.extend(labels.iter().map(|(name, _)| name.to_owned()));
            }
            let days = engine.days(range);
            names.extend(engine.db.label_names(tenant, &days, matchers, limit, stop)?);
        }
        Ok(Found::of(names.into_iter().collect(), limit))
    }

    /// Values of label `name` of the series matching any of `selectors` on the days of `range`.
    /// Blocks.
    pub fn label_values(
        &self,
        tenant: &TenantId,
        name: &str,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Found<String>, StoreError> {
        let engine = self.engine()?;
        let index = engine.head.tenant(tenant).index;
        let range = engine.clip(range);
        let mut values = BTreeSet::new();
        for matchers in or_all(selectors) {
            for (_, _, labels) in engine.unregistered_labels(index, matchers, range) {
                values.extend(labels.value(name).map(str::to_owned));
            }
            let days = engine.days(range);
            values.extend(engine.db.label_values(tenant, &days, name, matchers, limit, stop)?);
        }
        Ok(Found::of(values.into_iter().collect(), limit))
    }

    /// Labels of the series matching any of `selectors` on the days of `range`. Blocks.
    pub fn series(
        &self,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Found<Labels>, StoreError> {
        let engine = self.engine()?;
        let tenant = engine.head.tenant(tenant);
        let range = engine.clip(range);
        let mut found = BTreeSet::new();
        for matchers in selectors {
            found.extend(engine.series(&tenant, matchers, range, stop)?);
        }
        Ok(Found::of(found.into_iter().collect(), limit))
    }

    /// What senders said of metric families; of one, where `family` names it. Blocks.
    pub fn metadata(
        &self,
        tenant: &TenantId,
        family: Option<&str>,
    ) -> Result<Vec<MetadataRow>, StoreError> {
        let engine = self.engine()?;
        let mut families: BTreeMap<String, BTreeSet<FamilyMetadata>> = BTreeMap::new();
        for stripe in 0..engine.head.stripe_count() {
            let stripe = engine.head.stripe(stripe);
            for (key, metadata) in stripe.metadata().filter(|(key, _)| key.tenant == *tenant) {
                if family.is_none_or(|wanted| wanted == key.family) {
                    families.entry(key.family.clone()).or_default().insert(metadata.clone());
                }
            }
        }
        engine.db.read_metadata(tenant, family, |name, entries| {
            let known = families.entry(name.to_owned()).or_default();
            known.extend(entries.into_iter().map(|entry| FamilyMetadata {
                metric_type: MetricType::from_name(&entry.kind),
                help: entry.help,
                unit: entry.unit,
            }));
            true
        })?;
        let row = |(family, metadata): (String, BTreeSet<FamilyMetadata>)| MetadataRow {
            family,
            metadata: metadata.into_iter().collect(),
        };
        Ok(families.into_iter().map(row).collect())
    }

    /// Exemplars in `range` of the series matching any of `selectors`, sorted by labels. Blocks.
    pub fn exemplars(
        &self,
        tenant: &TenantId,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        stop: Stop<'_>,
    ) -> Result<Vec<SeriesExemplars>, StoreError> {
        let engine = self.engine()?;
        let tenant = engine.head.tenant(tenant);
        let range = engine.clip(range);
        let mut series = BTreeSet::new();
        for matchers in selectors {
            series.extend(engine.series(&tenant, matchers, range, stop)?);
        }
        let mut found = Vec::new();
        for labels in series {
            let hash = tenant.hasher.hash(labels.as_bytes());
            let id = engine.head.new_series(&tenant, hash, labels.clone()).id;
            let exemplars = engine.exemplars_of(id, range)?;
            if !exemplars.is_empty() {
                found.push(SeriesExemplars { labels, exemplars });
            }
        }
        Ok(found)
    }

    /// How many series there are on the newest day, and of what; each list cut to its `limit`
    /// greatest. Blocks.
    pub fn cardinality(
        &self,
        tenant: &TenantId,
        limit: usize,
        stop: Stop<'_>,
    ) -> Result<Cardinality, StoreError> {
        let engine = self.engine()?;
        let day = Day::of(engine.newest_ms());
        Ok(engine.db.cardinality(tenant, day, limit, stop)?)
    }

    /// Pairs of label name and value that series of some shards have on a day, and how many; the
    /// pair of empty texts for how many series there are. Blocks.
    pub fn label_pairs(
        &self,
        tenant: &TenantId,
        day: Day,
        shards: &ShardSet,
        stop: Stop<'_>,
        each: &mut dyn FnMut(&str, &str, u64),
    ) -> Result<(), StoreError> {
        Ok(self.engine()?.db.label_pairs(tenant, day, Some(shards), stop, each)?)
    }
}

impl super::engine::Engine {
    fn exemplars_of(&self, id: SeriesId, range: TimeRange) -> Result<Vec<Exemplar>, StoreError> {
        let mut found: Vec<Exemplar> = {
            let stripe = self.head.stripe(self.head.stripe_of(id.shard()));
            let wanted = |e: &&Exemplar| e.id == id && range.contains(e.timestamp_ms);
            stripe.exemplars().filter(wanted).cloned().collect()
        };
        // Only now: a checkpoint may have brought the first of a day into the database meanwhile.
        for day in self.days(range) {
            self.db.read_exemplars(day, id, range, |stored| {
                let (timestamp_ms, value) = (stored.timestamp_ms, stored.value);
                found.push(Exemplar { id, timestamp_ms, value, labels: stored.labels });
                true
            })?;
        }
        let key = |e: &Exemplar| (e.timestamp_ms, e.value.to_bits());
        found.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.labels.cmp(&b.labels)));
        found.dedup_by(|a, b| key(a) == key(b) && a.labels == b.labels);
        Ok(found)
    }
}

/// The selectors, or where there is none, one that every series passes.
fn or_all(selectors: &[Vec<Matcher>]) -> impl Iterator<Item = &[Matcher]> {
    let all: &[Matcher] = &[];
    let all = selectors.is_empty().then_some(all);
    selectors.iter().map(Vec::as_slice).chain(all)
}
