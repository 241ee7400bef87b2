//! Two answers to one query: whether they are the same, and how a table shows them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Relative difference of two values that still counts as the same: the order in which floats are
/// added is not promised by anybody.
const TOLERANCE: f64 = 1e-9;

/// The queries of a file, one a line, without blank lines and lines that begin with `#`.
pub fn queries(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Whether two `data` of the query API say the same: type, series with their labels, times and
/// values. The order of an instant vector counts only where the query sorts.
pub fn same(left: &Value, right: &Value) -> bool {
    if left["resultType"] != right["resultType"] {
        return false;
    }
    match (by_labels(left), by_labels(right)) {
        (Some(left), Some(right)) => {
            left.len() == right.len()
                && left.iter().zip(&right).all(|((left_labels, left), (right_labels, right))| {
                    left_labels == right_labels && equal(left, right)
                })
        }
        // A scalar or a string is one sample.
        _ => equal(&left["result"], &right["result"]),
    }
}

/// The samples of each series, by its labels as text; `None` where the result has no series.
fn by_labels(data: &Value) -> Option<BTreeMap<String, Value>> {
    let list = data["result"].as_array()?;
    let series = list.iter().map(|series| {
        let labels = series.get("metric")?.to_string();
        let samples = series.get("values").or_else(|| series.get("value"))?;
        Some((labels, samples.clone()))
    });
    series.collect()
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| equal(l, r))
        }
        (Value::String(left), Value::String(right)) => {
            left == right
                || match (left.parse::<f64>(), right.parse::<f64>()) {
                    (Ok(left), Ok(right)) => close(left, right),
                    _ => false,
                }
        }
        (left, right) => left == right,
    }
}

fn close(left: f64, right: f64) -> bool {
    // An infinity is within any fraction of itself, so it has to be ruled out first.
    let finite = left.is_finite() && right.is_finite();
    left == right || (finite && (left - right).abs() <= TOLERANCE * left.abs().max(right.abs()))
}

/// A few words for a table: the number of series and the value of the one whose labels come first,
/// because only sorting queries promise an order.
pub fn summary(data: &Value) -> String {
    let result = &data["result"];
    match by_labels(data) {
        Some(series) => match series.values().next() {
            None => "nothing".to_owned(),
            Some(first) => {
                format!("{}: {}", series.len(), shortened(first[1].as_str().unwrap_or("a range")))
            }
        },
        // A scalar or a string: time and value.
        None => shortened(result[1].as_str().unwrap_or_default()),
    }
}

fn shortened(number: &str) -> String {
    number.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vector(samples: &[(&str, &str)]) -> Value {
        let series: Vec<_> = samples
            .iter()
            .map(|(name, value)| json!({"metric": {"a": name}, "value": [1.5, value]}))
            .collect();
        json!({"resultType": "vector", "result": series})
    }

    #[test]
    fn the_order_of_a_vector_does_not_matter_but_its_samples_do() {
        let left = vector(&[("x", "1"), ("y", "2")]);
        assert!(same(&left, &vector(&[("y", "2"), ("x", "1.0000000000001")])));
        assert!(!same(&left, &vector(&[("x", "1"), ("y", "2.001")])));
        assert!(!same(&left, &vector(&[("x", "1")])));
        assert!(!same(&left, &vector(&[("x", "1"), ("z", "2")])));
    }

    #[test]
    fn special_values_are_equal_only_to_themselves() {
        assert!(same(&vector(&[("x", "NaN")]), &vector(&[("x", "NaN")])));
        assert!(same(&vector(&[("x", "+Inf")]), &vector(&[("x", "+Inf")])));
        assert!(!same(&vector(&[("x", "+Inf")]), &vector(&[("x", "-Inf")])));
        assert!(!same(&vector(&[("x", "NaN")]), &vector(&[("x", "0")])));
    }

    #[test]
    fn a_table_shows_the_same_series_of_both_answers() {
        let (left, right) = (vector(&[("x", "1"), ("y", "2")]), vector(&[("y", "2"), ("x", "1")]));
        assert_eq!((summary(&left), summary(&right)), ("2: 1".to_owned(), "2: 1".to_owned()));
        assert_eq!(summary(&vector(&[])), "nothing");
        assert_eq!(summary(&json!({"resultType": "scalar", "result": [1.5, "7"]})), "7");
    }

    #[test]
    fn a_scalar_is_one_sample() {
        let scalar = |text: &str| json!({"resultType": "scalar", "result": [1.5, text]});
        assert!(same(&scalar("2"), &scalar("2")));
        assert!(!same(&scalar("2"), &scalar("3")));
    }
}
