//! What of each day is sealed and what was merged since.
//!
//! ```text
//! sealed u16 · pending u16 · finished u8      in `meta`, a bit a window, little-endian
//! ```
//!
//! *Pending* windows hold merges that no sealing has seen; *sealed* ones were sealed at least once;
//! a *finished* day had its last sealing. A record is written in the batch that first makes a
//! window pending, so that an open knows without reading chunks what is left to do.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;
use rangekeeper_model::{Day, WINDOWS_A_DAY, Window, WindowInDay};
use rocksdb::{DB, WriteBatch};

use super::SealPolicy;
use crate::db::{DbError, sealing_days, sealing_key};

/// Least quiet time after the last merge before a finished day is gone through once more, for what
/// came days late.
const AFTER_LATE_MERGE_MS: i64 = 60 * 60 * 1000;

/// All windows' bits of a day.
pub(super) const ALL_WINDOWS: u16 = (1 << WINDOWS_A_DAY) - 1;
/// Windows and the whole day's chunk: merges into that one count as well.
const WINDOWS_AND_DAY: usize = WINDOWS_A_DAY as usize + 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct DayState {
    sealed: u16,
    pending: u16,
    /// The part of `pending` that the record on disk has.
    recorded: u16,
    finished: bool,
    last_merge_ms: [i64; WINDOWS_AND_DAY],
}

/// What is to be sealed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Windows that ended, as bits.
    Windows(Day, u16),
    /// A day that ended: its last sealing.
    Day(Day),
}

/// The states of all days that have any.
pub(crate) struct SealStates {
    days: Mutex<BTreeMap<Day, DayState>>,
}

impl SealStates {
    /// Reads the states; as no merge's time is known, all count as merged now. Of a day whose
    /// record is lost, everything is pending.
    pub(crate) fn load(rocks: &DB, days: &BTreeSet<Day>, now_ms: i64) -> Result<Self, DbError> {
        let records: HashMap<_, _> = sealing_days(rocks)?.into_iter().collect();
        let states = days.iter().map(|day| {
            let lost = DayState { pending: ALL_WINDOWS, ..DayState::default() };
            let record = records.get(day).and_then(|value| decode(value));
            let mut state = record.unwrap_or(lost);
            state.last_merge_ms = [now_ms; WINDOWS_AND_DAY];
            (*day, state)
        });
        Ok(Self { days: Mutex::new(states.collect()) })
    }

    /// Notes the merges of a batch and writes it by `write`; windows that become pending are
    /// recorded in it.
    pub(crate) fn merging(
        &self,
        merged: &BTreeMap<Day, u16>,
        now_ms: i64,
        mut batch: WriteBatch,
        write: impl FnOnce(WriteBatch) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        if merged.is_empty() {
            return write(batch);
        }
        let mut days = self.days.lock();
        let mut unrecorded = HashMap::new();
        for (&day, &windows) in merged {
            let state = days.entry(day).or_default();
            state.pending |= windows;
            for (at, last) in state.last_merge_ms.iter_mut().enumerate() {
                if windows & (1 << at) != 0 {
                    *last = now_ms;
                }
            }
            if state.pending & !state.recorded != 0 {
                batch.put(sealing_key(day), encode(state));
                unrecorded.insert(day, state.pending);
            }
        }
        if unrecorded.is_empty() {
            drop(days);
            return write(batch);
        }
        // Written under the lock: records of one day must reach the disk in their order.
        write(batch)?;
        for (day, recorded) in unrecorded {
            days.entry(day).or_default().recorded = recorded;
        }
        Ok(())
    }

    /// What is due at `now_ms`, oldest first.
    pub(crate) fn due(&self, policy: &SealPolicy, now_ms: i64) -> Vec<Due> {
        let days = self.days.lock();
        days.iter().filter_map(|(day, state)| state.due(policy, *day, now_ms)).collect()
    }

    /// The days that have anything pending or are not finished.
    pub(crate) fn open_days(&self) -> Vec<Day> {
        let days = self.days.lock();
        let open = days.iter().filter(|(_, state)| !state.finished || state.pending != 0);
        open.map(|(day, _)| *day).collect()
    }

    /// Begins a sealing of `windows`: merges from here on are pending again.
    pub(crate) fn begin(&self, day: Day, windows: u16) {
        let mut days = self.days.lock();
        let state = days.entry(day).or_default();
        state.pending &= !windows;
        state.recorded = 0;
    }

    /// The sealing that began did not end well: what it covered is pending again.
    pub(crate) fn abandon(&self, day: Day, windows: u16) {
        self.days.lock().entry(day).or_default().pending |= windows;
    }

    /// The sealing ended: records it by `write`.
    pub(crate) fn sealed(
        &self,
        day: Day,
        windows: u16,
        finished: bool,
        write: impl FnOnce(WriteBatch) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        let mut days = self.days.lock();
        let state = days.entry(day).or_default();
        state.sealed |= windows & ALL_WINDOWS;
        state.finished = finished;
        let mut batch = WriteBatch::default();
        batch.put(sealing_key(day), encode(state));
        let recorded = state.pending;
        write(batch)?;
        state.recorded = recorded;
        Ok(())
    }

    /// Forgets the days below `floor`.
    pub(crate) fn drop_below(&self, floor: Day) {
        self.days.lock().retain(|day, _| *day >= floor);
    }
}

impl DayState {
    fn due(&self, policy: &SealPolicy, day: Day, now_ms: i64) -> Option<Due> {
        let SealPolicy { delay_ms, quiet_ms, .. } = *policy;
        let quiet = |at: usize, wait_ms: i64| now_ms - self.last_merge_ms[at] >= wait_ms;
        let pending = |at: usize| self.pending & (1 << at) != 0;
        if now_ms - day.end_ms() >= delay_ms {
            let wait_ms = if self.finished { quiet_ms.max(AFTER_LATE_MERGE_MS) } else { quiet_ms };
            let all_quiet = (0..WINDOWS_AND_DAY).all(|at| !pending(at) || quiet(at, wait_ms));
            let open = !self.finished || self.pending != 0;
            return (open && all_quiet).then_some(Due::Day(day));
        }
        let mut windows = 0;
        for in_day in 0..WINDOWS_A_DAY {
            let at = usize::from(in_day);
            let ended_ms = now_ms - Window::new(day, WindowInDay(in_day)).end_ms();
            // What came after a window's first sealing lies beside it until the day's last.
            let fresh = self.sealed & (1 << at) == 0;
            if fresh && pending(at) && ended_ms >= delay_ms && quiet(at, quiet_ms) {
                windows |= 1 << at;
            }
        }
        (windows != 0).then_some(Due::Windows(day, windows))
    }
}

fn encode(state: &DayState) -> [u8; 5] {
    let (sealed, pending) = (state.sealed.to_le_bytes(), state.pending.to_le_bytes());
    [sealed[0], sealed[1], pending[0], pending[1], u8::from(state.finished)]
}

fn decode(value: &[u8]) -> Option<DayState> {
    let value: &[u8; 5] = value.try_into().ok()?;
    let pending = u16::from_le_bytes([value[2], value[3]]);
    Some(DayState {
        sealed: u16::from_le_bytes([value[0], value[1]]),
        pending,
        recorded: pending,
        finished: value[4] != 0,
        last_merge_ms: [0; WINDOWS_AND_DAY],
    })
}

#[cfg(test)]
mod tests {
    use rangekeeper_model::WINDOW_MS;

    use super::*;

    const HOUR_MS: i64 = WINDOW_MS / 2;

    const QUIET_MS: i64 = 10 * 60 * 1000;

    fn due(states: &SealStates, now_ms: i64) -> Vec<Due> {
        states.due(&SealPolicy::default(), now_ms)
    }

    fn states() -> SealStates {
        SealStates { days: Mutex::default() }
    }

    fn merge(states: &SealStates, day: Day, windows: u16, now_ms: i64) -> bool {
        let mut recorded = false;
        let merged = [(day, windows)].into();
        let write = |batch: WriteBatch| {
            recorded = !batch.is_empty();
            Ok(())
        };
        states.merging(&merged, now_ms, WriteBatch::default(), write).unwrap();
        recorded
    }

    #[test]
    fn a_window_is_due_an_hour_after_its_end_and_ten_minutes_after_its_last_merge() {
        let (states, day) = (states(), Day(10));
        let end_ms = day.start_ms() + WINDOW_MS;
        assert!(merge(&states, day, 0b1, end_ms));
        assert!(!merge(&states, day, 0b1, end_ms + HOUR_MS - 1));
        assert_eq!(due(&states, end_ms + HOUR_MS), []);
        let quiet_ms = end_ms + HOUR_MS - 1 + QUIET_MS;
        assert_eq!(due(&states, quiet_ms - 1), []);
        assert_eq!(due(&states, quiet_ms), [Due::Windows(day, 0b1)]);
    }

    #[test]
    fn delay_and_quiet_time_are_the_policys() {
        let (states, day) = (states(), Day(10));
        let end_ms = day.start_ms() + WINDOW_MS;
        merge(&states, day, 0b1, end_ms - 5_000);
        let policy = SealPolicy { delay_ms: 0, quiet_ms: 0, threads: 1 };
        assert_eq!(states.due(&policy, end_ms - 1), []);
        assert_eq!(states.due(&policy, end_ms), [Due::Windows(day, 0b1)]);
        let policy = SealPolicy { quiet_ms: 20_000, ..policy };
        assert_eq!(states.due(&policy, end_ms + 14_999), []);
        assert_eq!(states.due(&policy, end_ms + 15_000), [Due::Windows(day, 0b1)]);
        let policy = SealPolicy { delay_ms: 60_000, ..policy };
        assert_eq!(states.due(&policy, end_ms + 59_999), []);
        assert_eq!(states.due(&policy, end_ms + 60_000), [Due::Windows(day, 0b1)]);
        assert_eq!(states.due(&policy, day.end_ms() + 59_999), [Due::Windows(day, 0b1)]);
        assert_eq!(states.due(&policy, day.end_ms() + 60_000), [Due::Day(day)]);
    }

    #[test]
    fn late_data_waits_for_the_days_last_sealing() {
        let (states, day) = (states(), Day(10));
        merge(&states, day, 0b11, day.start_ms());
        states.begin(day, 0b1);
        states.sealed(day, 0b1, false, |_| Ok(())).unwrap();
        assert!(merge(&states, day, 0b1, day.start_ms() + 4 * HOUR_MS));
        let later_ms = day.start_ms() + 8 * HOUR_MS;
        assert_eq!(due(&states, later_ms), [Due::Windows(day, 0b10)]);
        let over_ms = day.end_ms() + HOUR_MS;
        assert_eq!(due(&states, over_ms), [Due::Day(day)]);
        states.begin(day, u16::MAX);
        states.sealed(day, ALL_WINDOWS, true, |_| Ok(())).unwrap();
        assert_eq!((due(&states, over_ms), states.open_days()), (vec![], vec![]));
        assert!(merge(&states, day, 0b100, over_ms));
        assert_eq!(due(&states, over_ms + QUIET_MS), []);
        assert_eq!(due(&states, over_ms + AFTER_LATE_MERGE_MS), [Due::Day(day)]);
    }

    #[test]
    fn a_failed_write_records_again() {
        let (states, day) = (states(), Day(10));
        let failed = states.merging(&[(day, 1)].into(), 0, WriteBatch::default(), |_| {
            Err(DbError::Busy { operation: "write" })
        });
        assert!(failed.is_err());
        assert!(merge(&states, day, 1, 0));
    }

    #[test]
    fn records_give_back_the_state() {
        let state = DayState { sealed: 5, pending: 0x803, finished: true, ..DayState::default() };
        let back = decode(&encode(&state)).unwrap();
        assert_eq!((back.sealed, back.pending, back.finished), (5, 0x803, true));
        assert_eq!(decode(&[1, 2]), None);
    }
}
