//! What senders and askers saw.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};

/// The longest that a request may go without success while a quorum is there: issue and README
/// promise it.
pub(super) const REFUSAL_LIMIT: Duration = Duration::from_secs(5);

/// A success after this time is worth a line.
const SLOW: Duration = Duration::from_secs(1);

/// Refusals that are kept; of more only the number is known.
const KEPT_REFUSALS: usize = 2000;

/// Wrong answers that are kept in words.
const KEPT_WRONG: usize = 20;

/// Which kind of request it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Query,
}

/// A request that did not succeed.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub(super) kind: Kind,
    /// The node that was asked.
    pub node: usize,
    /// Whether the node was there all the time, by the test's own account.
    pub there: bool,
    /// When it was sent, since the start of the run.
    pub at: Duration,
    /// How long the refusal took.
    pub took: Duration,
    /// HTTP status; `None` if there was no answer.
    pub status: Option<u16>,
    /// The beginning of the body, or the client's error.
    pub said: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or("no answer".to_owned(), |status| status.to_string());
        write!(
            f,
            "{:?} at {:.1} s to node {}{}, after {:.2} s: {status} {}",
            self.kind,
            self.at.as_secs_f64(),
            self.node,
            if self.there { "" } else { " (away)" },
            self.took.as_secs_f64(),
            self.said.trim(),
        )
    }
}

/// What was seen in a run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Acknowledged samples.
    pub acknowledged: u64,
    /// Answers that were held against the ledgers.
    pub questions: u64,
    /// Requests of each kind that nodes refused which were there: writes, queries.
    pub refused: [u64; 2],
    /// The longest time in which nodes that were there left a request without success: a write, a
    /// query.
    pub longest: [Duration; 2],
    /// The first refusals, those of nodes that were away included.
    pub refusals: Vec<Refusal>,
    /// The first successes that came late, in words.
    pub slow: Vec<String>,
    /// Answers in which samples were missing or invented, in words; the first ones.
    pub wrong: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} samples acknowledged, {} answers checked; refused by nodes that were there: {} \
             writes (one for {:.2} s), {} queries (one for {:.2} s)",
            self.acknowledged,
            self.questions,
            self.refused[0],
            self.longest[0].as_secs_f64(),
            self.refused[1],
            self.longest[1].as_secs_f64(),
        )?;
        self.slow.iter().take(8).try_for_each(|slow| write!(f, "; {slow}"))
    }
}

impl Report {
    /// An error if an answer was wrong or a request was refused longer than the product promises.
    pub fn check(&self) -> Result<()> {
        println!("{self}");
        ensure!(self.wrong.is_empty(), "wrong answers during the run: {:#?}", self.wrong);
        ensure!(self.questions > 0, "nothing was ever asked");
        ensure!(
            self.longest.iter().all(|longest| *longest <= REFUSAL_LIMIT),
            "{self}; such as\n{}",
            self.by_survivors(12)
        );
        Ok(())
    }

    /// As [`Self::check`], and an error if any node that was there refused any request.
    pub fn check_unharmed(&self) -> Result<()> {
        self.check()?;
        ensure!(self.refused == [0, 0], "{self}; such as\n{}", self.by_survivors(12));
        Ok(())
    }

    /// The first refusals of nodes that were there, a line each.
    pub fn by_survivors(&self, count: usize) -> String {
        let refusals = self.refusals.iter().filter(|refusal| refusal.there);
        let lines: Vec<String> = refusals.take(count).map(ToString::to_string).collect();
        lines.join("\n")
    }
}

/// The report while it grows.
#[derive(Debug, Default)]
pub(super) struct Records(Mutex<Report>);

impl Records {
    pub(super) fn refused(&self, refusal: Refusal) {
        let mut report = self.lock();
        report.refused[refusal.kind as usize] += u64::from(refusal.there);
        if report.refusals.len() < KEPT_REFUSALS {
            report.refusals.push(refusal);
        }
    }

    /// A request of this kind, to this node in the end, succeeded at this time of the run, this
    /// long after it was first tried.
    pub(super) fn succeeded(&self, kind: Kind, node: usize, at: Duration, after: Duration) {
        let mut report = self.lock();
        let longest = &mut report.longest[kind as usize];
        *longest = after.max(*longest);
        if after > SLOW && report.slow.len() < KEPT_REFUSALS {
            let [at, after] = [at, after].map(|time| time.as_secs_f64());
            report.slow.push(format!("{kind:?} to node {node} until {at:.1} s, for {after:.2} s"));
        }
    }

    pub(super) fn checked(&self, wrong: Option<String>) {
        let mut report = self.lock();
        report.questions += 1;
        if let Some(wrong) = wrong.filter(|_| report.wrong.len() < KEPT_WRONG) {
            report.wrong.push(wrong);
        }
    }

    pub(super) fn report(&self, acknowledged: u64) -> Report {
        Report { acknowledged, ..self.lock().clone() }
    }

    /// The last refusal in words, for messages.
    pub(super) fn last(&self) -> String {
        self.lock().refusals.last().map_or_else(String::new, ToString::to_string)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Report> {
        self.0.lock().expect("nothing panics while it holds the report")
    }
}
