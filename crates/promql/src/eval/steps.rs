//! The times at which an expression is evaluated.

/// Equidistant times, the first included: those of the query, or those of a subquery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// The first time.
    pub start_ms: i64,
    /// Distance of two times; above 0.
    pub step_ms: i64,
    /// How many there are.
    pub count: usize,
}

impl Steps {
    /// The times from `start_ms` to `end_ms`, both included where the step meets them.
    pub fn between(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let count = if end_ms < start_ms {
            0
        } else {
            usize::try_from((end_ms - start_ms) / step_ms + 1).unwrap_or(usize::MAX)
        };
        Self { start_ms, step_ms, count }
    }

    /// The first time alone: what does not depend on the step is evaluated there.
    pub fn first_only(self) -> Self {
        Self { count: self.count.min(1), ..self }
    }

    /// Time number `index`.
    #[inline]
    pub fn time(self, index: usize) -> i64 {
        self.start_ms + self.step_ms * index as i64
    }

    /// The last time.
    pub fn end_ms(self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    /// All times.
    pub fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |index| self.time(index))
    }

    /// The steps of a subquery that ends with `end_ms` and reaches back beyond `after_ms`: the
    /// multiples of `step_ms` in between, so that they are the same whenever the query is asked.
    pub fn of_subquery(after_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let first = after_ms.div_euclid(step_ms) * step_ms + step_ms;
        Self::between(first, end_ms, step_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subquery_steps_on_multiples_after_its_left_end() {
        let steps = Steps::of_subquery(-60, 130, 60);
        assert_eq!(steps.times().collect::<Vec<_>>(), [0, 60, 120]);
        assert_eq!(Steps::of_subquery(-61, 0, 60).start_ms, -60);
        assert_eq!(Steps::of_subquery(10, 59, 60).count, 0);
    }
}
