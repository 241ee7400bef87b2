//! `info`: labels of info metrics, such as `target_info`, added to the series that they describe.
//!
//! A series and an info series belong together if they agree on `instance` and `job`. Which info
//! series that is may change from step to step, so one series may become several.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use rangekeeper_model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, Samples};

use super::column::{Row, Vector, is_absent};
use super::error::EvalError;
use super::evaluator::Evaluator;
use super::same_labels;
use super::selector::{Lookback, Told};
use super::steps::Steps;
use super::windows::Reference;
use crate::annotations::Annotations;
use crate::ast::{Call, Expr};

/// The labels by which info series are found.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
/// The info metric where none is named.
const TARGET_INFO: &str = "target_info";
/// The info metrics where only such are named that are none.
const ANY_INFO: &str = ".+_info";

/// What the second argument says.
struct Wanted {
    /// Conditions on the info metric's name.
    names: Vec<Matcher>,
    /// Whether series of these names are left as they are: not where the argument only says which
    /// they are not.
    ignores_by_name: bool,
    /// Conditions on other labels, which are also the only labels added, if there are any.
    labels: Vec<Matcher>,
}

/// The info series that describe the series of one `instance` and `job`, by the info metric's name.
/// Their values are the times of their samples.
type Described<'a> = BTreeMap<&'a str, Vec<&'a Row>>;

impl Wanted {
    fn of(call: &Call) -> Result<Self, EvalError> {
        let selector = call.args.get(1).and_then(Expr::as_vector_selector);
        let matchers = selector.map_or(&[][..], |selector| &selector.matchers);
        let (mut names, labels): (Vec<_>, Vec<_>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        let names_some = names.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex));
        let ignores_by_name = names_some || selector.is_none();
        if names.is_empty() {
            names.push(matcher(MatchOp::Equal, METRIC_NAME, TARGET_INFO)?);
        } else if !names_some {
            names.push(matcher(MatchOp::Regex, METRIC_NAME, ANY_INFO)?);
        }
        Ok(Self { names, ignores_by_name, labels })
    }

    /// Whether a series is an info series itself, and stays as it is.
    fn ignores(&self, row: &Row) -> bool {
        let name = row.labels.metric_name().unwrap_or_default();
        self.ignores_by_name && self.names.iter().all(|matcher| matcher.matches(name))
    }

    /// Whether a series without an info series stays.
    fn allows_none(&self) -> bool {
        self.labels.iter().all(Matcher::matches_empty)
    }

    fn adds(&self, name: &str) -> bool {
        name != METRIC_NAME
            && (self.labels.is_empty() || self.labels.iter().any(|m| m.name() == name))
    }
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Result<Matcher, EvalError> {
    Matcher::new(op, name, value).map_err(|error| EvalError::argument(error.to_string()))
}

/// The values of the identifying labels.
fn identity(labels: &Labels) -> [&str; 2] {
    IDENTIFYING.map(|name| labels.value(name).unwrap_or_default())
}

impl Evaluator<'_> {
    /// Evaluates `info`.
    pub fn info(
        &self,
        call: &Call,
        steps: Steps,
        notes: &mut Annotations,
    ) -> Result<Vector, EvalError> {
        let base = self.vector(&call.args[0], steps, notes)?;
        let wanted = Wanted::of(call)?;
        let reference = self.info_reference(&call.args[0]);
        let info = self.info_rows(&base.rows, &wanted, reference, steps)?;
        let mut described: HashMap<[&str; 2], Described<'_>> = HashMap::new();
        for row in &info {
            let by_name = described.entry(identity(&row.labels)).or_default();
            let name = row.labels.metric_name().unwrap_or_default();
            by_name.entry(name).or_default().push(row);
        }
        let mut rows = Vec::with_capacity(base.rows.len());
        let none = Described::new();
        for row in &base.rows {
            self.check()?;
            if wanted.ignores(row) {
                rows.push(row.clone());
                continue;
            }
            let described = described.get(&identity(&row.labels)).unwrap_or(&none);
            describe(row, described, &wanted, steps, &mut rows)?;
        }
        same_labels::merge(&mut rows)?;
        self.hold(rows, steps)
    }

    /// Where the first selector of the argument looks: info series are those of that time.
    fn info_reference(&self, arg: &Expr) -> Reference {
        let mut open = vec![(arg, Reference { at_ms: None, offset_ms: 0 })];
        while let Some((expr, outer)) = open.pop() {
            let (at, offset) = match expr {
                Expr::Vector(selector) => (selector.at, selector.offset.ms),
                Expr::Matrix(matrix) => (matrix.selector.at, matrix.selector.offset.ms),
                Expr::Subquery(subquery) => (subquery.at, subquery.offset.ms),
                _ => (None, 0),
            };
            let here = match at {
                Some(_) => self.reference(at, offset),
                None => Reference { offset_ms: outer.offset_ms + offset, ..outer },
            };
            if matches!(expr, Expr::Vector(_) | Expr::Matrix(_)) {
                return here;
            }
            open.extend(expr.children().into_iter().rev().map(|child| (child, here)));
        }
        Reference { at_ms: None, offset_ms: 0 }
    }

    /// The info series that may describe the rows; their values are the times of their samples.
    fn info_rows(
        &self,
        base: &[Row],
        wanted: &Wanted,
        reference: Reference,
        steps: Steps,
    ) -> Result<Vec<Row>, EvalError> {
        let mut matchers = Vec::new();
        for name in IDENTIFYING {
            let described = base.iter().filter(|row| !wanted.ignores(row));
            let values: BTreeSet<_> = described.filter_map(|row| row.labels.value(name)).collect();
            if !values.is_empty() {
                let values: Vec<_> = values.into_iter().map(regex::escape).collect();
                matchers.push(matcher(MatchOp::Regex, name, &values.join("|"))?);
            }
        }
        if matchers.is_empty() || steps.count == 0 {
            return Ok(Vec::new());
        }
        matchers.extend(wanted.labels.iter().chain(&wanted.names).cloned());
        let lookback = Lookback { reference, max_age_ms: self.lookback_ms, told: Told::Time };
        let set = self.select(&matchers, lookback.time_range(steps))?;
        let mut rows = Vec::with_capacity(set.len());
        let mut samples = Samples::default();
        for index in 0..set.len() {
            self.check()?;
            set.read(index, &mut samples)?;
            self.count_read(samples.len() as u64);
            let labels = set.labels(index);
            if !samples.histograms.is_empty() {
                let text = format!("this should be an info metric, with float samples: {labels}");
                return Err(EvalError::argument(text));
            }
            let mut row = Row::absent(labels.clone(), steps);
            lookback.fill(&samples, steps, &mut row);
            rows.push(row);
        }
        Ok(rows)
    }
}

/// Adds to `rows` what a series becomes: a row for each way in which it is described over the
/// steps.
fn describe(
    row: &Row,
    described: &Described<'_>,
    wanted: &Wanted,
    steps: Steps,
    rows: &mut Vec<Row>,
) -> Result<(), EvalError> {
    let first = rows.len();
    let mut before: Option<(Vec<&Row>, Option<usize>)> = None;
    for step in 0..steps.count {
        if !row.has_sample(step) {
            continue;
        }
        let mut info = Vec::with_capacity(described.len());
        for candidates in described.values() {
            info.extend(newest(candidates, step)?);
        }
        let same = |(before, _): &(Vec<&Row>, _)| {
            before.len() == info.len()
                && before.iter().zip(&info).all(|(a, b)| std::ptr::eq(*a, *b))
        };
        let place = match before.as_ref().filter(|before| same(before)) {
            Some((_, place)) => *place,
            None if info.is_empty() && !wanted.allows_none() => None,
            None => {
                let labels = labels_with(&row.labels, &info, wanted)?;
                let known = rows[first..].iter().position(|made| made.labels == labels);
                Some(known.map_or_else(
                    || {
                        let mut made = Row::absent(labels, steps);
                        made.drop_name = row.drop_name;
                        rows.push(made);
                        rows.len() - 1
                    },
                    |at| first + at,
                ))
            }
        };
        if let Some(place) = place {
            rows[place].values[step] = row.values[step];
            if let Some(histogram) = row.histogram(step) {
                let column = rows[place].histograms.get_or_insert_with(|| vec![None; steps.count]);
                column[step] = Some(histogram.clone());
            }
        }
        before = Some((info, place));
    }
    Ok(())
}

/// The info series with the newest sample at a step; an error if two are equally new.
fn newest<'a>(candidates: &[&'a Row], step: usize) -> Result<Option<&'a Row>, EvalError> {
    let mut best: Option<&Row> = None;
    for row in candidates.iter().filter(|row| !is_absent(row.values[step])) {
        let time = row.values[step];
        match best {
            Some(other) if other.values[step] > time => {}
            Some(other) if other.values[step] == time => {
                let time_ms = (time * 1000.0).round();
                return Err(EvalError::argument(format!(
                    "found duplicate series for info metric: \
                     existing {} @ {time_ms}, new {} @ {time_ms}",
                    other.labels, row.labels
                )));
            }
            _ => best = Some(row),
        }
    }
    Ok(best)
}

/// The labels of a series and what its info series add. An error if two of those differ on a label.
fn labels_with(base: &Labels, info: &[&Row], wanted: &Wanted) -> Result<Labels, EvalError> {
    let mut added = LabelsBuilder::new();
    for (name, value) in info.iter().flat_map(|row| row.labels.iter()) {
        if !wanted.adds(name) {
            continue;
        }
        if added.value(name).is_some_and(|other| other != value) {
            return Err(EvalError::argument(format!("conflicting label: {name}")));
        }
        if base.value(name).is_none() {
            added.set(name, value);
        }
    }
    let mut labels = LabelsBuilder::from_labels(base);
    for (name, value) in &added.build() {
        labels.set(name, value);
    }
    Ok(labels.build())
}
