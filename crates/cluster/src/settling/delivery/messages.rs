//! What is delivered, as messages have it.

use bytes::Bytes;
use rangekeeper_model::{
    Day, Labels, SeriesId, ShardId, TenantId, WINDOWS_A_DAY, Window, WindowInDay,
};
use rangekeeper_placement::{Mark, UnsettledKey};
use rangekeeper_storage::db::{EXEMPLARS, Entry, METADATA, MetadataEntry};
use rangekeeper_storage::{Bundle, Exemplar, Statement};
use rangekeeper_wire::proto::peer as proto;

use crate::error::Refusal;
use crate::replica::family_key;

/// Bytes of an element beside its texts and values, about.
const ELEMENT_BYTES: usize = 48;

/// What says in a message that a whole day is meant.
const WHOLE_DAY: u32 = u32::MAX;

/// One element of a delivery.
pub(super) enum Item {
    Chunk(proto::DeliveredChunk),
    Exemplar(proto::DeliveredExemplar),
    Statement(proto::DeliveredStatement),
}

impl Item {
    /// All that a bundle holds.
    pub(super) fn all_of(bundle: Bundle) -> impl Iterator<Item = Self> {
        let Bundle { chunks, exemplars, metadata } = bundle;
        let chunks = chunks.into_iter().flat_map(|(day, entries)| {
            entries.into_iter().map(move |entry| Self::Chunk(delivered_chunk(day, entry)))
        });
        let exemplars = exemplars.into_iter().map(|e| Self::Exemplar(delivered_exemplar(&e)));
        let statements = metadata.into_iter().map(|s| Self::Statement(delivered_statement(s)));
        chunks.chain(exemplars).chain(statements)
    }

    /// Its size in a message, about.
    pub(super) fn bytes(&self) -> usize {
        let texts = match self {
            Self::Chunk(chunk) => chunk.value.len() + chunk.labels.len(),
            Self::Exemplar(exemplar) => exemplar.labels.len(),
            Self::Statement(statement) => {
                let said = statement.said.as_ref();
                statement.family.len() + said.map_or(0, |said| said.help.len() + said.unit.len())
            }
        };
        texts + ELEMENT_BYTES
    }

    pub(super) fn add_to(self, request: &mut proto::DeliverRequest) {
        match self {
            Self::Chunk(chunk) => request.chunks.push(chunk),
            Self::Exemplar(exemplar) => request.exemplars.push(exemplar),
            Self::Statement(statement) => request.statements.push(statement),
        }
    }
}

fn delivered_chunk(day: Day, entry: Entry) -> proto::DeliveredChunk {
    proto::DeliveredChunk {
        day: day.0,
        window_in_day: u32::from(entry.window.0),
        series: Bytes::copy_from_slice(&entry.id.0),
        tenant: entry.tenant.as_str().to_owned(),
        labels: Bytes::copy_from_slice(entry.labels.as_bytes()),
        value: entry.value.into(),
    }
}

fn delivered_exemplar(exemplar: &Exemplar) -> proto::DeliveredExemplar {
    proto::DeliveredExemplar {
        series: Bytes::copy_from_slice(&exemplar.id.0),
        timestamp_ms: exemplar.timestamp_ms,
        value: exemplar.value,
        labels: Bytes::copy_from_slice(exemplar.labels.as_bytes()),
    }
}

fn delivered_statement(statement: Statement) -> proto::DeliveredStatement {
    let Statement { family, said } = statement;
    proto::DeliveredStatement {
        tenant: family.tenant.as_str().to_owned(),
        family: family.family,
        said: Some(proto::FamilyMetadata {
            metric_type: said.kind,
            help: said.help,
            unit: said.unit,
            last_day: said.last_day.0,
        }),
    }
}

/// The key that a message means.
pub(super) fn key_of(held: &proto::HeldChunk) -> Option<UnsettledKey> {
    let day = Day(held.day);
    if held.window_in_day == WHOLE_DAY {
        return Some(UnsettledKey::Day(day));
    }
    let series = || Some(SeriesId(<[u8; SeriesId::BYTES]>::try_from(&held.series[..]).ok()?));
    match WindowInDay(u8::try_from(held.window_in_day).ok()?) {
        METADATA => Some(UnsettledKey::Metadata),
        EXEMPLARS => Some(UnsettledKey::Exemplars(day, series()?)),
        window if window.0 < WINDOWS_A_DAY => {
            Some(UnsettledKey::Chunk(Window::new(day, window), series()?))
        }
        _ => None,
    }
}

/// How a message names a key; a record has no name.
pub(super) fn held_of(key: UnsettledKey, mark: Mark) -> Option<proto::HeldChunk> {
    let of_series = |id: SeriesId| Bytes::copy_from_slice(&id.0);
    let (day, window_in_day, series) = match key {
        UnsettledKey::Record(_) => return None,
        UnsettledKey::Chunk(window, id) => {
            (window.day(), u32::from(window.in_day().0), of_series(id))
        }
        UnsettledKey::Day(day) => (day, WHOLE_DAY, Bytes::new()),
        UnsettledKey::Exemplars(day, id) => (day, u32::from(EXEMPLARS.0), of_series(id)),
        UnsettledKey::Metadata => (Day(0), u32::from(METADATA.0), Bytes::new()),
    };
    Some(proto::HeldChunk { day: day.0, window_in_day, series, mark: mark.0 })
}

/// A chunk that was brought for `shard`.
pub(super) fn entry_of(chunk: &proto::DeliveredChunk, shard: ShardId) -> Result<Entry, Refusal> {
    let id = series_of(&chunk.series, shard)?;
    let window = u8::try_from(chunk.window_in_day).map(WindowInDay);
    Ok(Entry {
        id,
        tenant: tenant_of(&chunk.tenant)?,
        labels: labels_of(&chunk.labels)?,
        window: window.map_err(|_| malformed("a window that cannot be"))?,
        value: chunk.value.to_vec(),
    })
}

/// An exemplar that was brought for `shard`.
pub(super) fn exemplar_of(
    brought: &proto::DeliveredExemplar,
    shard: ShardId,
) -> Result<Exemplar, Refusal> {
    Ok(Exemplar {
        id: series_of(&brought.series, shard)?,
        timestamp_ms: brought.timestamp_ms,
        value: brought.value,
        labels: labels_of(&brought.labels)?,
    })
}

/// What was said of a family, as it was brought.
pub(super) fn statement_of(brought: &proto::DeliveredStatement) -> Result<Statement, Refusal> {
    let said = brought.said.as_ref().ok_or_else(|| malformed("a statement that says nothing"))?;
    let said = said.clone();
    Ok(Statement {
        family: family_key(&tenant_of(&brought.tenant)?, &brought.family),
        said: MetadataEntry {
            kind: said.metric_type,
            help: said.help,
            unit: said.unit,
            last_day: Day(said.last_day),
        },
    })
}

fn series_of(bytes: &[u8], shard: ShardId) -> Result<SeriesId, Refusal> {
    let id = <[u8; SeriesId::BYTES]>::try_from(bytes);
    let id = SeriesId(id.map_err(|_| malformed("an id that is none"))?);
    if id.shard() != shard {
        return Err(malformed("a series of another shard"));
    }
    Ok(id)
}

fn tenant_of(name: &str) -> Result<TenantId, Refusal> {
    TenantId::new(name).map_err(|error| malformed(&error.to_string()))
}

fn labels_of(bytes: &[u8]) -> Result<Labels, Refusal> {
    Labels::from_canonical(bytes).map_err(|error| malformed(&error.to_string()))
}

/// What no peer of ours sends.
pub(super) fn malformed(text: &str) -> Refusal {
    Refusal::new(proto::Reason::Malformed, text)
}
