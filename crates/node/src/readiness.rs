//! Whether the node may take writes now, and what it is busy with otherwise.

use parking_lot::RwLock;

/// How far the life of the node has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The store is being opened; says what is going on.
    Starting(String),
    /// Requests are served.
    Serving,
    /// No new connections; what is in flight is being answered.
    Stopping,
}

/// The phase of the node, for all to see.
#[derive(Debug)]
pub struct Readiness {
    phase: RwLock<Phase>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { phase: RwLock::new(Phase::Starting("opening the store".to_owned())) }
    }
}

impl Readiness {
    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase.read().clone()
    }

    /// Says what the start is doing: `done` of `total` units of `what` (`replaying the log`).
    /// Passed over once the node serves or stops.
    pub fn starting(&self, what: &str, done: u64, total: u64) {
        let text = match (u128::from(done) * 100).checked_div(u128::from(total)) {
            Some(percent) => format!("{what}: {percent}%"),
            None => what.to_owned(),
        };
        let mut phase = self.phase.write();
        if let Phase::Starting(now) = &mut *phase {
            *now = text;
        }
    }

    /// The start is over.
    pub(crate) fn serving(&self) {
        let mut phase = self.phase.write();
        if matches!(*phase, Phase::Starting(_)) {
            *phase = Phase::Serving;
        }
    }

    /// The end has begun.
    pub(crate) fn stopping(&self) {
        *self.phase.write() = Phase::Stopping;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_progress_only_while_starting() {
        let readiness = Readiness::default();
        readiness.starting("replaying the log", 1, 3);
        assert_eq!(readiness.phase(), Phase::Starting("replaying the log: 33%".to_owned()));
        readiness.starting("opening the database", 0, 0);
        assert_eq!(readiness.phase(), Phase::Starting("opening the database".to_owned()));
        readiness.serving();
        readiness.starting("replaying the log", 3, 3);
        assert_eq!(readiness.phase(), Phase::Serving);
        readiness.stopping();
        readiness.serving();
        assert_eq!(readiness.phase(), Phase::Stopping);
    }
}
