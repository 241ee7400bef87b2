//! Digests of a shard's day: equal where two copies hold the same samples, whatever frames hold
//! them.

use rangekeeper_chunk::{Decoder, digest, sealed_digest};
use rangekeeper_model::{Day, Samples, SeriesId, ShardId, TimeRange, WindowInDay};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::db::{Db, DbError, Family, Stop, WHOLE_DAY, chunk_key_parts, shard_bounds};

const OPERATION: &str = "compute a digest";
/// Series between two looks at [`Stop`].
const SERIES_A_CHECK: u64 = 256;

impl Db {
    /// The digest of all samples that `shard` has under `day`; 0 of none. What is sealed costs no
    /// decoding.
    ///
    /// It is the wrapping sum over the series of the xxh3-64 of the series' key, seeded with the
    /// digest of its set of samples.
    pub fn digest(&self, day: Day, shard: ShardId, stop: Stop<'_>) -> Result<u64, DbError> {
        if day < self.floor() {
            return Ok(0);
        }
        let (from, end) = shard_bounds(day, shard);
        let mut iterator = self.iterator(Family::Chunks, end, true);
        iterator.seek(from);
        let mut sum = 0_u64;
        let mut series: Option<SeriesId> = None;
        let mut rows: Vec<(WindowInDay, Vec<u8>)> = Vec::new();
        let mut read = 0_u64;
        while let Some((key, value)) = iterator.item() {
            let (_, id, window) = chunk_key_parts(key)
                .ok_or_else(|| self.unreadable(OPERATION, day, "a chunk key of another length"))?;
            if let Some(done) = series.filter(|series| *series != id) {
                sum = sum.wrapping_add(self.digest_series(day, done, &rows)?);
                rows.clear();
                read += 1;
                if read.is_multiple_of(SERIES_A_CHECK) && stop() {
                    return Err(DbError::Interrupted { operation: OPERATION });
                }
            }
            series = Some(id);
            rows.push((window, value.to_vec()));
            iterator.next();
        }
        iterator.status().map_err(|e| self.read_failed(OPERATION, Some(day), e))?;
        match series {
            Some(last) => Ok(sum.wrapping_add(self.digest_series(day, last, &rows)?)),
            None => Ok(sum),
        }
    }

    fn digest_series(
        &self,
        day: Day,
        id: SeriesId,
        rows: &[(WindowInDay, Vec<u8>)],
    ) -> Result<u64, DbError> {
        // Windows share no times; a chunk of the whole day may share some with what came after it.
        let apart = rows.len() == 1 || rows.iter().all(|(window, _)| *window != WHOLE_DAY);
        let sealed = rows
            .iter()
            .try_fold(0_u64, |sum, (_, value)| Some(sum.wrapping_add(sealed_digest(value)?)));
        let set = if let Some(set) = sealed.filter(|_| apart) {
            set
        } else {
            let mut samples = Samples::default();
            let mut decoder = Decoder::default();
            for (_, value) in rows {
                if let Some(damage) = decoder.decode(value, TimeRange::ALL, &mut samples).first() {
                    self.note_damaged_shard(id.shard());
                    return Err(self.unreadable(OPERATION, day, &format!("{damage:?}")));
                }
            }
            digest(&samples)
        };
        Ok(xxh3_64_with_seed(&id.0, set))
    }
}
