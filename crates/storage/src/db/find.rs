//! Finding series: matchers to numbers.
//!
//! A label that is absent has the empty value. So a matcher that the empty value passes cannot be
//! answered by uniting postings; what it refuses is taken away instead. Matchers go from the
//! cheapest to the dearest, and one that would have to look at many values is answered from the
//! labels of the few series that the others left.

use rangekeeper_model::{Day, MatchOp, Matcher, TenantId};
use roaring::{MultiOps, RoaringBitmap};

use super::keys::{self, Family};
use super::pattern::{Candidates, candidates};
use super::read::Stop;
use super::{Db, DbError, postings};

const OPERATION: &str = "find series";

/// Values of a label to look at before reading the labels of the candidates is cheaper: so many a
/// candidate, and so many in any case.
const VALUES_A_CANDIDATE: u64 = 4;
const VALUES_FREE: u64 = 256;
/// Values looked at between two looks at [`Stop`].
const VALUES_A_CHECK: u64 = 1024;

/// A matcher, as what to do with the postings of its label.
struct Step<'m> {
    matcher: &'m Matcher,
    /// Whether the series with the chosen values are kept or taken away.
    effect: Effect,
    /// Whether the chosen values are those that pass the matcher, or those that do not.
    chosen_pass: bool,
    candidates: Candidates,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Keep,
    TakeAway,
}

impl<'m> Step<'m> {
    fn of(matcher: &'m Matcher) -> Self {
        let passes_empty = matcher.matches_empty();
        let effect = if passes_empty { Effect::TakeAway } else { Effect::Keep };
        // The values to unite or to take away are those that pass, or else those that do not.
        let chosen_pass = !passes_empty;
        let negative = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
        let candidates = match matcher.op() {
            // The text itself decides only where it is what is chosen.
            _ if chosen_pass == negative => Candidates::Prefixed(String::new()),
            MatchOp::Equal | MatchOp::NotEqual => Candidates::Among(vec![matcher.value().into()]),
            MatchOp::Regex | MatchOp::NotRegex => candidates(matcher.value()),
        };
        Self { matcher, effect, chosen_pass, candidates }
    }

    /// Rank by expected cost, cheapest first. Keeping comes before taking away: it makes what is
    /// left small.
    fn cost(&self) -> (u8, usize) {
        match (&self.candidates, self.effect) {
            (Candidates::Among(texts), Effect::Keep) => (0, texts.len()),
            (Candidates::Among(texts), Effect::TakeAway) => (1, texts.len()),
            (Candidates::Prefixed(prefix), _) => (2, usize::MAX - prefix.len()),
        }
    }

    fn chooses(&self, value: &str) -> bool {
        !value.is_empty() && self.matcher.matches(value) == self.chosen_pass
    }

    /// Whether it chooses no value at all, as `.*` that takes nothing away.
    fn is_idle(&self) -> bool {
        self.effect == Effect::TakeAway
            && self.matcher.op() == MatchOp::Regex
            && self.matcher.value() == ".*"
    }

    /// Whether it chooses every value, as `.+` and `!=""` do.
    fn chooses_all(&self) -> bool {
        let text = self.matcher.value();
        match self.matcher.op() {
            MatchOp::Regex => text == ".+",
            MatchOp::NotEqual | MatchOp::Equal | MatchOp::NotRegex => text.is_empty(),
        }
    }
}

impl Db {
    /// The numbers of the series of `tenant` under `day` that pass all `matchers`; without
    /// matchers, all of them.
    pub fn find(
        &self,
        tenant: &TenantId,
        day: Day,
        matchers: &[Matcher],
        stop: Stop<'_>,
    ) -> Result<RoaringBitmap, DbError> {
        if day < self.floor() {
            return Ok(RoaringBitmap::new());
        }
        let prefix = keys::postings_tenant(day, tenant);
        let mut steps: Vec<_> = matchers.iter().map(Step::of).filter(|s| !s.is_idle()).collect();
        steps.sort_by_key(Step::cost);
        let mut left: Option<RoaringBitmap> = None;
        for step in steps {
            let search = Search { db: self, day, prefix: &prefix, stop };
            let found = match &left {
                // Nothing to take away from yet.
                None if step.effect == Effect::TakeAway => {
                    let mut all = search.all()?;
                    all -= search.chosen(&step, u64::MAX)?.unwrap_or_default();
                    all
                }
                None => search.chosen(&step, u64::MAX)?.unwrap_or_default(),
                Some(left) => search.narrow(left, &step)?,
            };
            if found.is_empty() {
                return Ok(found);
            }
            left = Some(found);
        }
        match left {
            Some(left) => Ok(left),
            None => self.posting(day, &keys::postings_label(&prefix, "")),
        }
    }

    /// The numbers of one label value.
    pub(super) fn posting(&self, day: Day, key: &[u8]) -> Result<RoaringBitmap, DbError> {
        let value = self.rocks().get_pinned_cf(self.family(Family::Postings), key);
        match value.map_err(|e| self.read_failed(OPERATION, Some(day), e))? {
            Some(value) => self.parse_posting(day, &value),
            None => Ok(RoaringBitmap::new()),
        }
    }

    pub(super) fn parse_posting(&self, day: Day, value: &[u8]) -> Result<RoaringBitmap, DbError> {
        postings::decode(value)
            .map_err(|_| self.unreadable(OPERATION, day, "a posting is unreadable"))
    }
}

/// Where a search looks.
struct Search<'s> {
    db: &'s Db,
    day: Day,
    /// Prefix of the tenant's postings of the day.
    prefix: &'s [u8],
    stop: Stop<'s>,
}

impl Search<'_> {
    fn all(&self) -> Result<RoaringBitmap, DbError> {
        self.db.posting(self.day, &keys::postings_label(self.prefix, ""))
    }

    /// What of `left` passes.
    fn narrow(&self, left: &RoaringBitmap, step: &Step<'_>) -> Result<RoaringBitmap, DbError> {
        let budget = VALUES_FREE + left.len().saturating_mul(VALUES_A_CANDIDATE);
        match (self.chosen(step, budget)?, step.effect) {
            (Some(chosen), Effect::Keep) => Ok(left & chosen),
            (Some(chosen), Effect::TakeAway) => Ok(left - chosen),
            (None, _) => self.filter(left, step.matcher),
        }
    }

    /// The numbers with the values that `step` chooses; `None` when more than `budget` values had
    /// to be looked at.
    fn chosen(&self, step: &Step<'_>, budget: u64) -> Result<Option<RoaringBitmap>, DbError> {
        let label = keys::postings_label(self.prefix, step.matcher.name());
        match &step.candidates {
            Candidates::Among(texts) => {
                let mut postings = Vec::new();
                for text in texts.iter().filter(|text| step.chooses(text)) {
                    let key = [label.as_slice(), text.as_bytes()].concat();
                    postings.push(self.db.posting(self.day, &key)?);
                }
                Ok(Some(postings.union()))
            }
            Candidates::Prefixed(prefix) => self.scan(step, &label, prefix, budget),
        }
    }

    fn scan(
        &self,
        step: &Step<'_>,
        label: &[u8],
        prefix: &str,
        budget: u64,
    ) -> Result<Option<RoaringBitmap>, DbError> {
        let everything = step.chooses_all();
        let from = [label, prefix.as_bytes()].concat();
        let mut iterator = self.db.iterator(Family::Postings, keys::after_prefix(&from), false);
        iterator.seek(&from);
        let mut looked = 0_u64;
        let mut postings = Vec::new();
        while let Some((key, value)) = iterator.item() {
            let text = std::str::from_utf8(&key[label.len()..])
                .map_err(|_| self.db.unreadable(OPERATION, self.day, "a value is no UTF-8"))?;
            if everything || step.chooses(text) {
                postings.push(self.db.parse_posting(self.day, value)?);
            }
            looked += 1;
            if looked > budget {
                return Ok(None);
            }
            if looked.is_multiple_of(VALUES_A_CHECK) && (self.stop)() {
                return Err(DbError::Interrupted { operation: OPERATION });
            }
            iterator.next();
        }
        iterator.status().map_err(|e| self.db.read_failed(OPERATION, Some(self.day), e))?;
        Ok(Some(postings.union()))
    }

    /// Tries the matcher on the labels of each candidate.
    fn filter(&self, left: &RoaringBitmap, matcher: &Matcher) -> Result<RoaringBitmap, DbError> {
        let ids = self.db.ids(self.day, left)?;
        let mut passed = RoaringBitmap::new();
        self.db.read_numbered(self.day, &ids, self.stop, |number, labels| {
            if matcher.matches(labels.value(matcher.name()).unwrap_or_default()) {
                passed.insert(number);
            }
        })?;
        Ok(passed)
    }
}
