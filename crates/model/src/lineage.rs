//! The starts of a data folder, by which a copy of it is told from what became of the original.

use std::sync::Arc;

use crate::RunId;

/// The runs of a data folder, oldest first; the last is the present one. Clones share them.
///
/// A folder holds what was acknowledged before a run began exactly if that run is among its own: an
/// older copy lacks the runs that the original has begun since, however often it is started itself.
///
/// **Invariant:** there is a last one, and there are at most [`Self::MOST`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage(Arc<[RunId]>);

impl Lineage {
    /// Runs that are kept. A cluster names the last one that it was told of, so this is how often a
    /// folder may be opened without that.
    pub const MOST: usize = 1024;

    /// The lineage of a new folder.
    pub fn begun(run: RunId) -> Self {
        Self(Arc::new([run]))
    }

    /// The lineage of these runs, of which the last is the present one; none of no runs.
    pub fn of(mut runs: Vec<RunId>) -> Option<Self> {
        runs.drain(..runs.len().saturating_sub(Self::MOST));
        (!runs.is_empty()).then(|| Self(runs.into()))
    }

    /// The same when `run` has begun; a run begins once.
    #[must_use]
    pub fn continued(&self, run: RunId) -> Self {
        if self.run() == run {
            return self.clone();
        }
        let runs = self.0.iter().copied().chain([run]).collect();
        Self::of(runs).expect("one was added")
    }

    /// The present run.
    pub fn run(&self) -> RunId {
        *self.0.last().expect("there is a last one")
    }

    /// All of them, oldest first.
    pub fn runs(&self) -> &[RunId] {
        &self.0
    }

    /// The last ones, at most `count`.
    pub fn recent(&self, count: usize) -> &[RunId] {
        &self.0[self.0.len().saturating_sub(count)..]
    }

    /// Whether the folder has begun this run.
    pub fn contains(&self, run: RunId) -> bool {
        // Mostly it is one of the last.
        self.0.iter().rev().any(|known| *known == run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_lacks_the_runs_of_its_original_however_often_it_is_started() {
        let older = Lineage::begun(RunId::of(1));
        let original = older.continued(RunId::of(2));
        let mut copy = older;
        for run in 10..20 {
            copy = copy.continued(RunId::of(run));
            assert!(!copy.contains(original.run()) && !original.contains(copy.run()));
        }
        assert!(copy.contains(RunId::of(1)) && original.contains(RunId::of(1)));
    }

    #[test]
    fn the_last_runs_are_kept_and_each_counts_once() {
        let most = u128::try_from(Lineage::MOST).unwrap();
        let mut lineage = Lineage::begun(RunId::of(0));
        for run in 1..=most {
            lineage = lineage.continued(RunId::of(run)).continued(RunId::of(run));
        }
        assert_eq!(lineage.runs().len(), Lineage::MOST);
        assert!(!lineage.contains(RunId::of(0)) && lineage.contains(RunId::of(1)));
        assert_eq!(lineage.run(), RunId::of(most));
        assert_eq!(lineage.recent(2), [RunId::of(most - 1), RunId::of(most)]);
        assert_eq!(Lineage::of(Vec::new()), None);
    }
}
