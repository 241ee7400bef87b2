//! Runs the commands of a script.

use std::sync::Arc;

use rangekeeper_model::HistogramSample;

use super::Outcome;
use super::expected::{self, Answer, Expectation};
use super::reader::{Command, Eval, Load, Times};
use super::rerun;
use super::storage::MemoryStorage;
use crate::ast::Expr;
use crate::eval::{Engine, Query};
use crate::series_description::SeriesValue;
use crate::value::{InstantSample, SampleValue, ScalarPoint, Series, Value};
use crate::{ParserOptions, parse};

/// Distance of the steps of the range query whose middle step must be the answer to an instant
/// query.
const AROUND_MS: i64 = 60_000;

/// Runs commands in order; what the evals gave.
pub(super) fn run(script: &str, commands: &[Command], engine: &Engine) -> Vec<Outcome> {
    let mut storage = MemoryStorage::new();
    let mut makes_histograms = false;
    let mut outcomes = Vec::new();
    for command in commands {
        match command {
            Command::Clear => {
                storage = MemoryStorage::new();
                makes_histograms = false;
            }
            Command::Load(load) => {
                fill(&mut storage, load);
                makes_histograms |= load.with_nhcb;
            }
            Command::Eval(eval) => outcomes.push(Outcome {
                script: script.to_owned(),
                line: eval.line,
                query: eval.text.clone(),
                has_histograms: makes_histograms || storage.has_histograms(),
                failure: Run { eval, engine, storage: &storage }.all().err(),
            }),
        }
    }
    outcomes
}

/// Loads series. Of two descriptions of one series the later counts.
fn fill(storage: &mut MemoryStorage, load: &Load) {
    for (place, series) in load.series.iter().enumerate() {
        if load.series[place + 1..].iter().any(|later| later.labels == series.labels) {
            continue;
        }
        for (index, value) in series.values.iter().enumerate() {
            let timestamp_ms = load.step_ms * index as i64;
            let offset = series.starts.get(index).copied().flatten();
            let start_ms = offset.map_or(0, |offset| timestamp_ms + offset);
            match value {
                SeriesValue::Gap => {}
                SeriesValue::Float(value) => {
                    storage.push_float(&series.labels, timestamp_ms, start_ms, *value);
                }
                SeriesValue::Histogram { histogram, .. } => {
                    let histogram = Arc::new((**histogram).clone());
                    let sample = HistogramSample { timestamp_ms, start_ms, histogram };
                    storage.push_histogram(&series.labels, sample);
                }
            }
        }
    }
}

/// One eval and what it runs on.
struct Run<'a> {
    eval: &'a Eval,
    engine: &'a Engine,
    storage: &'a MemoryStorage,
}

impl Run<'_> {
    /// Asks the query in all its forms.
    fn all(&self) -> Result<(), String> {
        let eval = self.eval;
        match eval.times {
            Times::Range { start_ms, end_ms, step_ms } => {
                let query = Query::range(&eval.expr, start_ms, end_ms, step_ms);
                let answer = self.answer(&query, &eval.text)?;
                answer.map_or(Ok(()), |value| eval.expected.check(&value, start_ms, step_ms))
            }
            Times::Instant(time_ms) => {
                self.instant(&eval.expr, &eval.text, time_ms)?;
                let Some(text) = rerun::pinned(&eval.expr, time_ms) else { return Ok(()) };
                let pinned = parse(&text, &ParserOptions::ALL)
                    .map_err(|errors| format!("printed as {text}: {errors}"))?;
                for time_ms in rerun::times(time_ms) {
                    self.instant(&pinned, &text, time_ms)
                        .map_err(|failure| format!("as {text} at {time_ms} ms: {failure}"))?;
                }
                Ok(())
            }
        }
    }

    /// Asks for one time, and for a range around it.
    fn instant(&self, expr: &Expr, text: &str, time_ms: i64) -> Result<(), String> {
        let expected = &self.eval.expected;
        let Some(value) = self.answer(&Query::instant(expr, time_ms), text)? else {
            return Ok(());
        };
        expected.check(&value, time_ms, 1)?;
        if !has_middle_step(expected, &self.eval.text) {
            return Ok(());
        }
        let around = (time_ms - AROUND_MS, time_ms + AROUND_MS);
        let query = Query::range(expr, around.0, around.1, AROUND_MS);
        let answer = self.engine.evaluate(self.storage, &query);
        let answer = answer.map_err(|error| format!("as a range query: {error}"))?;
        let Value::Matrix(series) = answer.value else {
            return Err("as a range query: the answer is no matrix".into());
        };
        expected::check_sorted(&series)?;
        if expected.ordered {
            return Ok(());
        }
        let middle = match value {
            Value::Scalar(_) => {
                let points = series.iter().flat_map(Series::floats);
                let at_time = points.filter(|(time, _)| *time == time_ms).map(|(_, value)| value);
                let value = at_time.last().ok_or("as a range query: no value at the time")?;
                Value::Scalar(ScalarPoint { timestamp_ms: time_ms, value })
            }
            _ => Value::Vector(series.iter().filter_map(|s| sample_at(s, time_ms)).collect()),
        };
        expected
            .check(&middle, time_ms, 1)
            .map_err(|failure| format!("as a range query: {failure}"))
    }

    /// The answer, after its annotations were compared; `None` if the query failed as expected.
    fn answer(&self, query: &Query<'_>, text: &str) -> Result<Option<Value>, String> {
        let expected = &self.eval.expected;
        let answer = self.engine.evaluate(self.storage, query);
        match (&expected.fail, answer) {
            (None, Ok(answer)) => {
                expected.check_annotations(&answer.annotations.render(text, 0))?;
                Ok(Some(answer.value))
            }
            (None, Err(error)) => Err(format!("failed: {error}")),
            (Some(fail), Err(error)) if fail.is(&error.to_string()) => Ok(None),
            (Some(fail), Err(error)) => Err(format!("expected failure {fail:?}, got {error}")),
            (Some(_), Ok(_)) => Err("expected a failure".into()),
        }
    }
}

/// Whether the query must answer the same as a step of a range query.
fn has_middle_step(expected: &Expectation, text: &str) -> bool {
    let asks_for_query = ["start()", "end()", "range()", "step()"].iter().any(|f| text.contains(f));
    let is_instant = !matches!(expected.answer, Some(Answer::Text(_) | Answer::RangeVector { .. }));
    is_instant && !asks_for_query
}

fn sample_at(series: &Series, time_ms: i64) -> Option<InstantSample> {
    let float = series.floats().find(|(time, _)| *time == time_ms);
    let histogram = || series.histograms().find(|(time, _)| *time == time_ms);
    let value = match float {
        Some((_, value)) => SampleValue::Float(value),
        None => SampleValue::Histogram(histogram()?.1.clone()),
    };
    Some(InstantSample { labels: series.labels.clone(), timestamp_ms: time_ms, value })
}
