//! Questions that evaluate an expression.

use std::time::{Duration, Instant};

use rangekeeper_model::Matcher;
use rangekeeper_promql::ast::Expr;
use rangekeeper_promql::eval::{Answer, EvalError, Query};
use rangekeeper_promql::{parse, pretty};

use crate::api::Asked;
use crate::data::{Look, Told, Which};
use crate::error::QueryError;
use crate::parameters::NS_PER_MS;
use crate::render::{Cost, Envelope, append_exemplars, append_value};

/// Most points of a series that a range query may ask for, as Prometheus has it: enough for 60 s
/// resolution over a week, or an hour's over a year.
const MAX_POINTS: i128 = 11_000;
/// Most annotations of either kind that an answer shows.
const MAX_ANNOTATIONS: usize = 10;

impl Asked<'_> {
    pub(crate) fn query(&self) -> Result<Vec<u8>, QueryError> {
        let limit = self.parameters.limit()?;
        let now_ms = self.shared.data.store().horizon().now_ms;
        let time_ms = self.parameters.time_ms("time", now_ms)?;
        self.parameters.timeout()?;
        let lookback_ms = self.parameters.lookback_ms()?;
        let (text, expr) = self.expression()?;
        let mut query = Query::instant(&expr, time_ms);
        query.lookback_ms = lookback_ms;
        let answer = self.evaluate(query)?;
        Ok(self.rendered(text, &answer, limit))
    }

    pub(crate) fn query_range(&self) -> Result<Vec<u8>, QueryError> {
        let limit = self.parameters.limit()?;
        let start_ms = self.parameters.required_time_ms("start")?;
        let end_ms = self.parameters.required_time_ms("end")?;
        if end_ms < start_ms {
            let reason = "end timestamp must not be before start time";
            return Err(QueryError::parameter("end", reason));
        }
        let step_ns = self.parameters.duration_ns("step")?.ok_or_else(|| {
            QueryError::parameter("step", "cannot parse \"\" to a valid duration")
        })?;
        // Prometheus takes a step of less than a millisecond, and then fails to divide by it.
        let step_ms = step_ns / NS_PER_MS;
        if step_ms <= 0 {
            let reason = "zero or negative query resolution step widths are not accepted. \
                          Try a positive integer";
            return Err(QueryError::parameter("step", reason));
        }
        let length_ns = (i128::from(end_ms) - i128::from(start_ms)) * i128::from(NS_PER_MS);
        if length_ns / i128::from(step_ns) > MAX_POINTS {
            return Err(QueryError::Invalid(
                "exceeded maximum resolution of 11,000 points per timeseries. \
                 Try decreasing the query resolution (?step=XX)"
                    .to_owned(),
            ));
        }
        self.parameters.timeout()?;
        let lookback_ms = self.parameters.lookback_ms()?;
        let (text, expr) = self.expression()?;
        let mut query = Query::range(&expr, start_ms, end_ms, step_ms);
        query.lookback_ms = lookback_ms;
        let answer = self.evaluate(query)?;
        Ok(self.rendered(text, &answer, limit))
    }

    pub(crate) fn query_exemplars(&self) -> Result<Vec<u8>, QueryError> {
        let range = self.parameters.range()?;
        if range.is_empty() {
            let reason = "end timestamp must not be before start timestamp";
            return Err(QueryError::Invalid(reason.to_owned()));
        }
        let expr = parse(self.text(), &self.shared.parser)
            .map_err(|error| QueryError::Invalid(error.to_string()))?;
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
            let which = Which { selectors: &selectors, range, limit: usize::MAX };
            self.look(&stop).exemplars(which)?
        };
        Ok(Envelope::default().render(|out| append_exemplars(out, &found)))
    }

    pub(crate) fn format_query(&self) -> Result<Vec<u8>, QueryError> {
        let (_, expr) = self.expression()?;
        let text = pretty(&expr);
        Ok(Envelope::default().render(|out| crate::render::append_text(out, &text)))
    }

    fn text(&self) -> &str {
        self.parameters.all("query").next().unwrap_or_default()
    }

    /// The text and what it means.
    fn expression(&self) -> Result<(&str, Expr), QueryError> {
        let text = self.text();
        let expr = parse(text, &self.shared.parser)
            .map_err(|error| QueryError::parameter("query", &error))?;
        Ok((text, expr))
    }

    /// The answer, and how long it took.
    fn evaluate(&self, query: Query<'_>) -> Result<(Answer, Duration), QueryError> {
        let began = Instant::now();
        let stop = || self.is_over();
        let interrupt = || self.interrupt();
        let told = Told { text: self.text(), features: &self.shared.features };
        let source = Look { told: Some(told), ..self.look(&stop) };
        let query = Query { interrupt: &interrupt, ..query };
        let answer = match self.interrupt() {
            None => self.shared.engine.evaluate(&source, &query),
            Some(interrupt) => Err(EvalError::from(interrupt)),
        };
        // What comes from how the query is written, not from what it finds, is a wrong parameter.
        let answer = answer.map_err(|error| match error {
            EvalError::Duration(error) => {
                QueryError::parameter("query", &error.in_query(self.text()))
            }
            EvalError::RangeType(_) => QueryError::parameter("query", &error),
            other => QueryError::Evaluation(other),
        })?;
        self.shared.metrics.samples.inc_by(answer.stats.samples_read);
        self.shared.metrics.series.inc_by(answer.stats.series);
        Ok((answer, began.elapsed()))
    }

    fn rendered(
        &self,
        text: &str,
        (answer, evaluated): &(Answer, Duration),
        limit: usize,
    ) -> Vec<u8> {
        let annotations = answer.annotations.render(text, MAX_ANNOTATIONS);
        let mut envelope = Envelope { warnings: annotations.warnings, infos: annotations.infos };
        let cost = self.parameters.first("stats").map(|_| Cost {
            samples: answer.stats,
            queued: self.admitted - self.started,
            evaluated: *evaluated,
            executed: self.started.elapsed(),
        });
        let mut truncated = false;
        let body = Envelope::body(|out| truncated = append_value(out, &answer.value, limit, cost));
        if truncated {
            envelope.warnings.push("results truncated due to limit".to_owned());
        }
        envelope.close(body)
    }
}
