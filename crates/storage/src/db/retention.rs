//! Retention by day. The order is what matters: any other resurrects expired data.
//!
//! 1. The floor is raised and synced, and writers that began before are waited for.
//! 2. Files that lie wholly below the floor are dropped.
//! 3. What is left below it in other files is deleted in all families in one batch.
//!
//! 2 and 3 are repeated at every open, and readers and writers clip at the floor: whatever a crash,
//! a replay or a late writer leaves below it is never seen.

use std::sync::atomic::Ordering;

use rangekeeper_model::Day;
use rocksdb::WriteBatch;

use super::keys::{self, Family};
use super::{Db, DbError, meta, synced};

impl Db {
    /// Drops everything before `day`, for good. A floor only rises: a lower `day` changes nothing.
    pub fn raise_floor(&self, day: Day) -> Result<(), DbError> {
        if day <= self.floor() {
            return Ok(());
        }
        // Once more beside the database: a lost record must not bring back what expired.
        let file = meta::identity_file(&self.identity, day);
        if let Err(error) = file.write(&self.folder) {
            tracing::warn!(%error, "the identity file is not written");
        }
        let mut batch = WriteBatch::default();
        batch.put(meta::FLOOR, day.0.to_le_bytes());
        self.write_raw("raise the floor", batch, &synced())?;
        self.floor.fetch_max(day.0, Ordering::AcqRel);
        let writers = self.writers.write();
        self.drop_below_floor()?;
        self.expire_metadata()?;
        drop(writers);
        Ok(())
    }

    /// Steps 2 and 3.
    pub(super) fn drop_below_floor(&self) -> Result<(), DbError> {
        let floor = self.floor();
        let end = keys::day_prefix(floor);
        self.days.drop_below(floor);
        self.sealing.drop_below(floor);
        for family in Family::OF_DAYS {
            self.rocks()
                .delete_file_in_range_cf(self.family(family), [0_u8; 4], end)
                .map_err(|e| self.write_failed("drop expired files", e))?;
        }
        let mut batch = WriteBatch::default();
        for family in Family::OF_DAYS {
            // Each deletion of a range costs readers until it is compacted away, so none is written
            // for nothing. What cannot be read is deleted as well.
            let mut iterator = self.iterator(family, end, false);
            iterator.seek_to_first();
            if iterator.valid() || iterator.status().is_err() {
                batch.delete_range_cf(self.family(family), [0_u8; 4], end);
            }
        }
        let family = self.family(Family::Meta);
        for (from, to) in [
            (meta::next_number(Day(0)), meta::next_number(floor)),
            (meta::sealing(Day(0)), meta::sealing(floor)),
        ] {
            batch.delete_range_cf(family, from, to);
        }
        self.write_raw("delete expired data", batch, &synced())
    }
}
