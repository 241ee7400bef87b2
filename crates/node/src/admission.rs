//! Bytes in flight: how much all writes together may hold at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rangekeeper_telemetry::{Family, Registry};

/// The bytes that writes hold at this moment, against a bound.
///
/// One write alone is always admitted, however large it is: otherwise a body that is within its own
/// limit but above the bound of a small machine would be refused for ever.
#[derive(Debug)]
pub struct InFlight {
    bound_bytes: u64,
    held_bytes: AtomicU64,
}

/// Bytes that one write holds; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    in_flight: Arc<InFlight>,
    bytes: u64,
}

impl InFlight {
    /// Room for `bound_bytes`.
    pub fn new(bound_bytes: u64) -> Arc<Self> {
        Arc::new(Self { bound_bytes, held_bytes: AtomicU64::new(0) })
    }

    /// A permit for `bytes`, if they fit.
    pub fn admit(self: &Arc<Self>, bytes: u64) -> Option<Permit> {
        let mut permit = Permit { in_flight: Arc::clone(self), bytes: 0 };
        permit.grow(bytes).then_some(permit)
    }

    /// Bytes held by all writes.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// The bound.
    pub fn bound_bytes(&self) -> u64 {
        self.bound_bytes
    }

    /// Exports both.
    pub fn register(self: &Arc<Self>, registry: &Registry) {
        let in_flight = Arc::clone(self);
        registry.snapshot(FAMILIES, move |readings| {
            #[expect(clippy::cast_precision_loss, reason = "exact below 8 PiB")]
            let mut set = |name, bytes: u64| readings.set(name, &[], bytes as f64);
            set("rangekeeper_write_in_flight_bytes", in_flight.held_bytes());
            set("rangekeeper_write_in_flight_limit_bytes", in_flight.bound_bytes());
        });
    }
}

const FAMILIES: &[Family] = &[
    Family::gauge(
        "rangekeeper_write_in_flight_bytes",
        &[],
        "Bytes of the writes that are being received, compressed and decompressed.",
    ),
    Family::gauge(
        "rangekeeper_write_in_flight_limit_bytes",
        &[],
        "Bytes of writes at once above which a further write is refused.",
    ),
];

impl Permit {
    /// Holds `more` bytes. Whether they fitted; if not, the permit is as it was.
    pub fn grow(&mut self, more: u64) -> bool {
        let own = self.bytes;
        let bound = self.in_flight.bound_bytes;
        let fits = |held: u64| {
            let wanted = held.checked_add(more)?;
            (wanted <= bound || held == own).then_some(wanted)
        };
        // Only a count: nothing else is ordered by it.
        let held = &self.in_flight.held_bytes;
        let grown = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += more;
        }
        grown
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_flight.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_fit_the_bound_together() {
        let in_flight = InFlight::new(100);
        let mut first = in_flight.admit(60).unwrap();
        assert!(in_flight.admit(41).is_none());
        let second = in_flight.admit(40).unwrap();
        assert!(!first.grow(1));
        drop(second);
        assert!(first.grow(40));
        assert_eq!(in_flight.held_bytes(), 100);
        drop(first);
        assert_eq!(in_flight.held_bytes(), 0);
    }

    #[test]
    fn one_write_alone_is_never_too_large() {
        let in_flight = InFlight::new(100);
        let mut only = in_flight.admit(500).unwrap();
        assert!(only.grow(500));
        assert!(in_flight.admit(1).is_none());
        drop(only);
        assert!(in_flight.admit(1).is_some());
    }
}
