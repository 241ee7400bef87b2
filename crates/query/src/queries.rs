//! Questions that evaluate an expression.

use rangekeeper_model::Matcher;
use rangekeeper_promql::ast::Expr;
use rangekeeper_promql::eval::{Answer, Query};
use rangekeeper_promql::{parse, pretty};

use crate::api::Asked;
use crate::error::QueryError;
use crate::render::{Envelope, append_exemplars, append_value};
use crate::source::StoreSource;

/// Most points of a series that a range query may ask for, as Prometheus has it: enough for 60 s
/// resolution over a week, or an hour's over a year.
const MAX_POINTS: i64 = 11_000;
/// Most annotations of either kind that an answer shows.
const MAX_ANNOTATIONS: usize = 10;

impl Asked<'_> {
    pub(crate) fn query(&self) -> Result<Vec<u8>, QueryError> {
        let now_ms = self.shared.store.horizon().now_ms;
        let time_ms = self.parameters.time_ms("time", now_ms)?;
        let limit = self.parameters.limit("limit")?;
        let (text, expr) = self.expression()?;
        let mut query = Query::instant(&expr, time_ms);
        query.lookback_ms = self.lookback_ms()?;
        let answer = self.evaluate(query)?;
        Ok(self.rendered(text, &answer, limit))
    }

    pub(crate) fn query_range(&self) -> Result<Vec<u8>, QueryError> {
        let required = |name: &'static str| {
            let absent = || {
                let reason = "cannot parse \"\" to a valid timestamp";
                QueryError::parameter(name, &reason)
            };
            self.parameters.first(name).ok_or_else(absent)
        };
        required("start")?;
        let start_ms = self.parameters.time_ms("start", 0)?;
        required("end")?;
        let end_ms = self.parameters.time_ms("end", 0)?;
        if end_ms < start_ms {
            let reason = "end timestamp must not be before start time";
            return Err(QueryError::parameter("end", reason));
        }
        let step_ms = self.parameters.duration_ms("step")?.ok_or_else(|| {
            QueryError::parameter("step", "cannot parse \"\" to a valid duration")
        })?;
        if step_ms <= 0 {
            let reason = "zero or negative query resolution step widths are not accepted. \
                          Try a positive integer";
            return Err(QueryError::parameter("step", reason));
        }
        if end_ms.saturating_sub(start_ms) / step_ms > MAX_POINTS {
            return Err(QueryError::Invalid(
                "exceeded maximum resolution of 11,000 points per timeseries. \
                 Try decreasing the query resolution (?step=XX)"
                    .to_owned(),
            ));
        }
        let limit = self.parameters.limit("limit")?;
        let (text, expr) = self.expression()?;
        let mut query = Query::range(&expr, start_ms, end_ms, step_ms);
        query.lookback_ms = self.lookback_ms()?;
        let answer = self.evaluate(query)?;
        Ok(self.rendered(text, &answer, limit))
    }

    pub(crate) fn query_exemplars(&self) -> Result<Vec<u8>, QueryError> {
        let range = self.parameters.range()?;
        let (_, expr) = self.expression()?;
        let mut selectors: Vec<Vec<Matcher>> = Vec::new();
        expr.visit(|expr| {
            if let Expr::Vector(selector) = expr {
                selectors.push(selector.matchers.clone());
            } else if let Expr::Matrix(matrix) = expr {
                selectors.push(matrix.selector.matchers.clone());
            }
        });
        let found = if selectors.is_empty() {
            Vec::new()
        } else {
            let stop = || self.is_over();
            self.shared.store.exemplars(self.tenant, &selectors, range, &stop)?
        };
        Ok(Envelope::default().render(|out| append_exemplars(out, &found)))
    }

    pub(crate) fn format_query(&self) -> Result<Vec<u8>, QueryError> {
        let (_, expr) = self.expression()?;
        let text = pretty(&expr);
        Ok(Envelope::default().render(|out| crate::render::append_text(out, &text)))
    }

    /// The text and what it means.
    fn expression(&self) -> Result<(&str, Expr), QueryError> {
        let text = self.parameters.all("query").next().unwrap_or_default();
        let expr = parse(text, &self.shared.parser)
            .map_err(|error| QueryError::parameter("query", &error))?;
        Ok((text, expr))
    }

    fn lookback_ms(&self) -> Result<Option<i64>, QueryError> {
        let lookback_ms = self.parameters.duration_ms("lookback_delta")?;
        if lookback_ms.is_some_and(|ms| ms <= 0) {
            return Err(QueryError::parameter("lookback_delta", "must be a positive duration"));
        }
        Ok(lookback_ms)
    }

    fn evaluate(&self, query: Query<'_>) -> Result<Answer, QueryError> {
        let stop = || self.is_over();
        let interrupt = || self.interrupt();
        let source = StoreSource { store: &self.shared.store, tenant: self.tenant, stop: &stop };
        let query = Query { interrupt: &interrupt, ..query };
        let answer = self.shared.engine.evaluate(&source, &query)?;
        self.shared.metrics.samples.inc_by(answer.stats.samples_read);
        self.shared.metrics.series.inc_by(answer.stats.series);
        Ok(answer)
    }

    fn rendered(&self, text: &str, answer: &Answer, limit: usize) -> Vec<u8> {
        let annotations = answer.annotations.render(text, MAX_ANNOTATIONS);
        let mut envelope = Envelope { warnings: annotations.warnings, infos: annotations.infos };
        let stats = self.parameters.first("stats").map(|_| answer.stats);
        let mut truncated = false;
        let body = Envelope::body(|out| truncated = append_value(out, &answer.value, limit, stats));
        if truncated {
            envelope.warnings.push("results truncated due to limit".to_owned());
        }
        envelope.close(body)
    }
}
