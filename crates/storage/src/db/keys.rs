//! The storage format: column families, keys and the small values. Numbers are big-endian in keys,
//! so that the order of bytes is the order of meaning, and little-endian in values.
//!
//! The day is the first part of every key that grows with time: a day holds its own index, expires
//! as a whole, and its files are not rewritten for the sake of later days. [`FORMAT_VERSION`]
//! counts changes of anything said here.
//!
//! ```text
//! chunks      ┌─────────┬─────────────┬───────────┐   window: 0 to 11, or 12 = the whole day in one chunk
//!             │ day u32 │ SeriesId 16 │ window u8 │ → frames (crate `chunk`); merge appends frames
//!             └─────────┴─────────────┴───────────┘
//! series      ┌─────────┬─────────────┐   ┌────────────┬────────────┬────────┬──────────────────┐
//!             │ day u32 │ SeriesId 16 │ → │ number u32 │ length u8  │ tenant │ canonical labels │
//!             └─────────┴─────────────┘   └────────────┴────────────┴────────┴──────────────────┘
//! numbers     ┌─────────┬────────────┐   ┌─────────────┐
//!             │ day u32 │ number u32 │ → │ SeriesId 16 │   local to this node and day, never reused in a day
//!             └─────────┴────────────┘   └─────────────┘
//! postings    ┌─────────┬────────┬───────┬────────────┬───────┬─────────────┐
//!             │ day u32 │ tenant │ 00 01 │ label name │ 00 01 │ label value │ → parts (see `postings`); merge unites
//!             └─────────┴────────┴───────┴────────────┴───────┴─────────────┘
//! exemplars   ┌─────────┬─────────────┬─────────────────────┬──────────┐   ┌───────────┬──────────────────┐
//!             │ day u32 │ SeriesId 16 │ timestamp i64, sign │ hash u64 │ → │ value f64 │ canonical labels │
//!             │         │             │ bit flipped         │          │   │           │                  │
//!             └─────────┴─────────────┴─────────────────────┴──────────┘   └───────────┴──────────────────┘
//! metadata    ┌────────┬───────┬────────┐
//!             │ tenant │ 00 01 │ family │ → entries (see `metadata`); merge unites
//!             └────────┴───────┴────────┘
//! unsettled   keys of what is not known to be at all places of a shard, see `unsettled`
//! meta        text keys, see `meta`
//! ```
//!
//! In `postings` and `metadata` a zero byte inside of a tenant or name is written `00 ff`; `00 01`
//! ends the part. So keys sort as the tuple of their parts does, no part can run into the next, and
//! the keys of all values that begin with some text are neighbours. The last part needs no end and
//! is not escaped. The empty label name with the empty value holds all series of the tenant.

use rangekeeper_model::{Day, SeriesId, ShardId, TenantId, WINDOWS_A_DAY, WindowInDay};

/// The version of all that this module describes. A store of a newer version is not opened.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The window number under which a day's windows lie once they are encoded together.
pub const WHOLE_DAY: WindowInDay = WindowInDay(WINDOWS_A_DAY);

/// In the place of a window, where parts of a day are named: a series' exemplars.
pub const EXEMPLARS: WindowInDay = WindowInDay(WINDOWS_A_DAY + 1);

/// In the place of a window, where a shard's parts are named: what was said of metric families. Of
/// series and day only the shard counts.
pub const METADATA: WindowInDay = WindowInDay(WINDOWS_A_DAY + 2);

/// A column family. The number is its id in RocksDB's manifest: families are created in this order
/// and never dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Meta = 0,
    Chunks = 1,
    Series = 2,
    Numbers = 3,
    Postings = 4,
    Exemplars = 5,
    Metadata = 6,
    Unsettled = 7,
}

impl Family {
    /// All families, by id.
    pub(crate) const ALL: [Self; 8] = [
        Self::Meta,
        Self::Chunks,
        Self::Series,
        Self::Numbers,
        Self::Postings,
        Self::Exemplars,
        Self::Metadata,
        Self::Unsettled,
    ];

    /// The families whose keys begin with the day.
    pub(crate) const OF_DAYS: [Self; 5] =
        [Self::Chunks, Self::Series, Self::Numbers, Self::Postings, Self::Exemplars];

    /// The name in RocksDB. `meta` is RocksDB's default family, which always exists.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "default",
            Self::Chunks => "chunks",
            Self::Series => "series",
            Self::Numbers => "numbers",
            Self::Postings => "postings",
            Self::Exemplars => "exemplars",
            Self::Metadata => "metadata",
            Self::Unsettled => "unsettled",
        }
    }

    /// The family with this name in RocksDB.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// Length of the day in front of a key.
pub(crate) const DAY_BYTES: usize = 4;
/// Length of day and series in front of a key.
pub(crate) const DAY_ID_BYTES: usize = DAY_BYTES + SeriesId::BYTES;
/// Length of a key in `chunks`.
pub(crate) const CHUNK_KEY_BYTES: usize = DAY_ID_BYTES + 1;

/// The prefix of all keys of a day; also the end of the keys of the day before.
pub(crate) fn day_prefix(day: Day) -> [u8; DAY_BYTES] {
    day.0.to_be_bytes()
}

/// The first key after all keys of `day`.
pub(crate) fn day_end(day: Day) -> Vec<u8> {
    match day.0.checked_add(1) {
        Some(next) => next.to_be_bytes().to_vec(),
        None => vec![0xff; 64],
    }
}

/// The first key of `day` and the first behind it.
pub(crate) fn day_bounds(day: Day) -> (Vec<u8>, Vec<u8>) {
    (day_prefix(day).to_vec(), day_end(day))
}

/// The first key of `shard` under `day` and the first behind it, in the families whose keys go on
/// with the series.
pub(crate) fn shard_bounds(day: Day, shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    let start = |shard: u16| [day_prefix(day).as_slice(), &shard.to_be_bytes()].concat();
    let end = shard.0.checked_add(1).map_or_else(|| day_end(day), start);
    (start(shard.0), end)
}

/// The day of a key that begins with one.
pub(crate) fn day_of(key: &[u8]) -> Option<Day> {
    Some(Day(u32::from_be_bytes(*key.first_chunk()?)))
}

/// Key in `series`, and prefix in `chunks` and `exemplars`.
pub(crate) fn day_id(day: Day, id: SeriesId) -> [u8; DAY_ID_BYTES] {
    let mut key = [0; DAY_ID_BYTES];
    key[..DAY_BYTES].copy_from_slice(&day_prefix(day));
    key[DAY_BYTES..].copy_from_slice(&id.0);
    key
}

/// The series of a key that begins with day and series.
pub(crate) fn id_of(key: &[u8]) -> Option<SeriesId> {
    key.get(DAY_BYTES..DAY_ID_BYTES)?.first_chunk().copied().map(SeriesId)
}

/// Key in `chunks`.
pub(crate) fn chunk(day: Day, id: SeriesId, window: WindowInDay) -> [u8; CHUNK_KEY_BYTES] {
    let mut key = [0; CHUNK_KEY_BYTES];
    key[..DAY_ID_BYTES].copy_from_slice(&day_id(day, id));
    key[DAY_ID_BYTES] = window.0;
    key
}

/// The parts of a key in `chunks`.
pub(crate) fn chunk_parts(key: &[u8]) -> Option<(Day, SeriesId, WindowInDay)> {
    let key: &[u8; CHUNK_KEY_BYTES] = key.try_into().ok()?;
    Some((day_of(key)?, id_of(key)?, WindowInDay(key[DAY_ID_BYTES])))
}

/// Key in `numbers`.
pub(crate) fn number(day: Day, number: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..DAY_BYTES].copy_from_slice(&day_prefix(day));
    key[DAY_BYTES..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in a key of `numbers`.
pub(crate) fn number_of(key: &[u8]) -> Option<u32> {
    let key: &[u8; 8] = key.try_into().ok()?;
    key.last_chunk().copied().map(u32::from_be_bytes)
}

/// Prefix in `postings` of all labels of a tenant.
pub(crate) fn postings_tenant(day: Day, tenant: &TenantId) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(&day_prefix(day));
    append_part(&mut key, tenant.as_str().as_bytes());
    key
}

/// Prefix in `postings` of all values of a label, made from the tenant's prefix.
pub(crate) fn postings_label(tenant_prefix: &[u8], name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(tenant_prefix.len() + name.len() + 34);
    key.extend_from_slice(tenant_prefix);
    append_part(&mut key, name.as_bytes());
    key
}

/// The parts of a key in `postings` behind its day.
pub(crate) struct PostingParts {
    pub(crate) tenant: String,
    /// Empty where the key stands for all series of the tenant.
    pub(crate) name: String,
    pub(crate) value: String,
}

/// The parts of a key in `postings`.
pub(crate) fn posting_parts(key: &[u8]) -> Option<PostingParts> {
    let (tenant, rest) = take_part(key.get(DAY_BYTES..)?)?;
    let (name, value) = take_part(rest)?;
    Some(PostingParts {
        tenant: String::from_utf8(tenant).ok()?,
        name: String::from_utf8(name).ok()?,
        value: std::str::from_utf8(value).ok()?.to_owned(),
    })
}

/// The first key after all that begin with `prefix`, which must hold a byte below 0xff.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0xff; prefix.len() + 1]
}

/// The first escaped part of `key` and what follows its end.
pub(crate) fn take_part(key: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut part = Vec::with_capacity(key.len());
    let mut at = 0;
    loop {
        let zero = at + key.get(at..)?.iter().position(|b| *b == 0)?;
        part.extend_from_slice(&key[at..zero]);
        match key.get(zero + 1)? {
            0x01 => return Some((part, &key[zero + 2..])),
            0xff => part.push(0),
            _ => return None,
        }
        at = zero + 2;
    }
}

fn append_part(key: &mut Vec<u8>, part: &[u8]) {
    for piece in part.split_inclusive(|b| *b == 0) {
        key.extend_from_slice(piece);
        if piece.ends_with(&[0]) {
            key.push(0xff);
        }
    }
    key.extend_from_slice(&[0x00, 0x01]);
}

/// Key in `exemplars`.
pub(crate) fn exemplar(day: Day, id: SeriesId, timestamp_ms: i64, hash: u64) -> Vec<u8> {
    let mut key = day_id(day, id).to_vec();
    key.extend_from_slice(&ordered(timestamp_ms).to_be_bytes());
    key.extend_from_slice(&hash.to_be_bytes());
    key
}

/// The timestamp in a key of `exemplars`.
pub(crate) fn exemplar_timestamp_ms(key: &[u8]) -> Option<i64> {
    let bytes = key.get(DAY_ID_BYTES..DAY_ID_BYTES + 8)?.first_chunk()?;
    Some((u64::from_be_bytes(*bytes) ^ SIGN).cast_signed())
}

/// Prefix in `exemplars` of a series' exemplars from `timestamp_ms` on.
pub(crate) fn exemplars_from(day: Day, id: SeriesId, timestamp_ms: i64) -> Vec<u8> {
    let mut key = day_id(day, id).to_vec();
    key.extend_from_slice(&ordered(timestamp_ms).to_be_bytes());
    key
}

/// Prefix in `metadata` of all families of a tenant.
pub(crate) fn metadata_tenant(tenant: &TenantId) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    append_part(&mut key, tenant.as_str().as_bytes());
    key
}

/// Key in `metadata`.
pub(crate) fn metadata(tenant: &TenantId, family: &str) -> Vec<u8> {
    let mut key = metadata_tenant(tenant);
    key.extend_from_slice(family.as_bytes());
    key
}

const SIGN: u64 = 1 << 63;

fn ordered(timestamp_ms: i64) -> u64 {
    timestamp_ms.cast_unsigned() ^ SIGN
}

/// Value in `series`.
pub(crate) fn series_value(number: u32, tenant: &TenantId, labels: &[u8]) -> Vec<u8> {
    let tenant = tenant.as_str().as_bytes();
    let mut value = Vec::with_capacity(5 + tenant.len() + labels.len());
    value.extend_from_slice(&number.to_le_bytes());
    value.push(u8::try_from(tenant.len()).expect("a tenant has at most 150 bytes"));
    value.extend_from_slice(tenant);
    value.extend_from_slice(labels);
    value
}

/// Number, tenant and canonical labels in a value of `series`.
pub(crate) fn series_parts(value: &[u8]) -> Option<(u32, &str, &[u8])> {
    let (number, rest) = value.split_first_chunk()?;
    let (length, rest) = rest.split_first()?;
    let (tenant, labels) = rest.split_at_checked(usize::from(*length))?;
    Some((u32::from_le_bytes(*number), std::str::from_utf8(tenant).ok()?, labels))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn posting(tenant: &str, name: &str, value: &str) -> Vec<u8> {
        let tenant = postings_tenant(Day(7), &TenantId::new(tenant).unwrap());
        [postings_label(&tenant, name).as_slice(), value.as_bytes()].concat()
    }

    proptest! {
        #[test]
        fn postings_sort_as_the_tuple_of_their_parts(
            a in ("[ab.]{0,2}[ab]", "[\\x00\\x01a\u{ff}]{0,4}", "[\\x00a]{0,3}"),
            b in ("[ab.]{0,2}[ab]", "[\\x00\\x01a\u{ff}]{0,4}", "[\\x00a]{0,3}"),
        ) {
            let keys = (posting(&a.0, &a.1, &a.2), posting(&b.0, &b.1, &b.2));
            prop_assert_eq!(keys.0.cmp(&keys.1), a.cmp(&b));
            let (tenant, rest) = take_part(&keys.0[DAY_BYTES..]).unwrap();
            let (name, value) = take_part(rest).unwrap();
            prop_assert_eq!(tenant, a.0.as_bytes());
            prop_assert_eq!((name, value), (a.1.as_bytes().to_vec(), a.2.as_bytes()));
        }

        #[test]
        fn exemplars_sort_by_time(a in any::<i64>(), b in any::<i64>()) {
            let key = |t| exemplar(Day(1), SeriesId([3; 16]), t, 9);
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            prop_assert_eq!(exemplar_timestamp_ms(&key(a)), Some(a));
        }
    }

    #[test]
    fn keys_and_values_give_back_their_parts() {
        let (day, id) = (Day(20_779), SeriesId(*b"0123456789abcdef"));
        assert_eq!(chunk_parts(&chunk(day, id, WHOLE_DAY)), Some((day, id, WHOLE_DAY)));
        assert_eq!(number_of(&number(day, 77)), Some(77));
        let tenant = TenantId::new("team-a").unwrap();
        let value = series_value(5, &tenant, b"labels");
        assert_eq!(series_parts(&value), Some((5, "team-a", b"labels".as_slice())));
        assert_eq!(series_parts(&value[..8]), None);
        assert!(day_end(day).as_slice() > chunk(day, SeriesId([0xff; 16]), WHOLE_DAY).as_slice());
        assert_eq!(after_prefix(&[1, 0xff]), [2]);
    }
}
