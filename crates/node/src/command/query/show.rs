//! Answers of the Prometheus API as text for a terminal.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::Value;
use textplots::{Chart, LabelBuilder, LabelFormat, Plot, Shape};

/// Rows of a table. Whoever wants more asks for less at a time, or asks the API.
const MAX_ROWS: usize = 200;

/// Lines of a plot: more in one colour cannot be told apart.
const MAX_LINES: usize = 10;

/// Dots of a plot: two a column, four a line.
const PLOT_WIDTH: u32 = 160;
const PLOT_HEIGHT: u32 = 48;

/// The `data` of an answer as text; of a range as statistics of each series and a plot.
pub(super) fn answer(data: &Value, is_range: bool) -> anyhow::Result<String> {
    let result = &data["result"];
    match data["resultType"].as_str().context("an answer without resultType")? {
        "scalar" | "string" => Ok(point(result)?.1.to_owned()),
        "vector" => vector(series(result)?),
        "matrix" if is_range => range(series(result)?),
        "matrix" => matrix(series(result)?),
        other => bail!("an answer of the unknown type {other}"),
    }
}

fn series(result: &Value) -> anyhow::Result<&[Value]> {
    Ok(result.as_array().context("an answer whose result is no list")?)
}

/// The time in seconds and the value of a point.
fn point(value: &Value) -> anyhow::Result<(f64, &str)> {
    let time = value[0].as_f64().context("a point without a time")?;
    Ok((time, value[1].as_str().context("a point without a value")?))
}

/// `name{label="value", …}`
fn labels(metric: &Value) -> String {
    let pairs = metric.as_object().into_iter().flatten();
    let pairs: Vec<_> = pairs.map(|(name, value)| (name, value.as_str().unwrap_or(""))).collect();
    let name = pairs.iter().find(|(name, _)| *name == "__name__").map_or("", |(_, value)| value);
    let others = pairs.iter().filter(|(name, _)| *name != "__name__");
    let others: Vec<_> = others.map(|(name, value)| format!("{name}={value:?}")).collect();
    if others.is_empty() && !name.is_empty() {
        return name.to_owned();
    }
    format!("{name}{{{}}}", others.join(", "))
}

fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>, total: usize) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for row in rows.take(MAX_ROWS) {
        table.add_row(row);
    }
    let text = table.trim_fmt();
    match total.saturating_sub(MAX_ROWS) {
        _ if total == 0 => "no series".to_owned(),
        0 => text,
        left => format!("{text}\n… and {left} more"),
    }
}

fn vector(series: &[Value]) -> anyhow::Result<String> {
    let mut rows = Vec::with_capacity(series.len().min(MAX_ROWS));
    for one in series.iter().take(MAX_ROWS) {
        let value = if one["value"].is_null() {
            one["histogram"][1].to_string()
        } else {
            point(&one["value"])?.1.to_owned()
        };
        rows.push(vec![labels(&one["metric"]), value]);
    }
    Ok(table(&["series", "value"], rows.into_iter(), series.len()))
}

fn matrix(series: &[Value]) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for one in series.iter().take(MAX_ROWS) {
        for value in one["values"].as_array().into_iter().flatten() {
            let (time, text) = point(value)?;
            rows.push(vec![labels(&one["metric"]), instant(time), text.to_owned()]);
        }
    }
    let total = rows.len();
    Ok(table(&["series", "time", "value"], rows.into_iter(), total))
}

/// The points of one series of a range, times in seconds.
fn points(one: &Value) -> anyhow::Result<Vec<(f64, f64)>> {
    let values = one["values"].as_array().into_iter().flatten();
    values
        .map(|value| {
            let (time, text) = point(value)?;
            Ok((time, text.parse().with_context(|| format!("the value {text:?}"))?))
        })
        .collect()
}

fn range(series: &[Value]) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for one in series.iter().take(MAX_ROWS) {
        let points = points(one)?;
        rows.push(statistics(labels(&one["metric"]), &points));
        if lines.len() < MAX_LINES {
            lines.push(points);
        }
    }
    let header = ["series", "points", "min", "mean", "max", "last"];
    let table = table(&header, rows.into_iter(), series.len());
    Ok(match plot(&lines) {
        Some(plot) => format!("{plot}\n{table}"),
        None => table,
    })
}

fn statistics(labels: String, points: &[(f64, f64)]) -> Vec<String> {
    let values = || points.iter().map(|&(_, value)| value);
    #[expect(clippy::cast_precision_loss, reason = "a range has at most thousands of points")]
    let mean = values().sum::<f64>() / points.len() as f64;
    let mut row = vec![labels, points.len().to_string()];
    let Some(last) = values().next_back() else { return row };
    let numbers =
        [values().fold(f64::NAN, f64::min), mean, values().fold(f64::NAN, f64::max), last];
    row.extend(numbers.map(shown));
    row
}

/// A time in seconds since the epoch, for people: RFC 3339, to the millisecond.
fn instant(seconds: f64) -> String {
    let since = Duration::try_from_secs_f64(seconds).ok();
    let time = since.and_then(|since| UNIX_EPOCH.checked_add(since));
    time.map_or_else(
        || seconds.to_string(),
        |time| humantime::format_rfc3339_millis(time).to_string(),
    )
}

/// A number of a statistic: twelve digits, so that what a sum of floats is off by does not show.
fn shown(number: f64) -> String {
    let rounded: f64 = format!("{number:.11e}").parse().unwrap_or(number);
    rounded.to_string()
}

/// The lines over each other; nothing where no two points are finite. The axes say where they begin
/// and end.
fn plot(lines: &[Vec<(f64, f64)>]) -> Option<String> {
    let finite = |line: &Vec<(f64, f64)>| -> Vec<(f64, f64)> {
        line.iter().copied().filter(|(_, value)| value.is_finite()).collect()
    };
    let lines: Vec<_> = lines.iter().map(finite).collect();
    let times = || lines.iter().flatten().map(|&(time, _)| time);
    let start = times().reduce(f64::min)?;
    let end = times().reduce(f64::max)?;
    if start >= end {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "dots need no more than 24 bits")]
    let dots = |line: &Vec<(f64, f64)>| -> Vec<(f32, f32)> {
        line.iter().map(|&(time, value)| ((time - start) as f32, value as f32)).collect()
    };
    let dots: Vec<_> = lines.iter().map(dots).collect();
    let shapes: Vec<_> = dots.iter().map(|line| Shape::Lines(line)).collect();
    #[expect(clippy::cast_possible_truncation, reason = "dots need no more than 24 bits")]
    let width = (end - start) as f32;
    let mut chart = Chart::new(PLOT_WIDTH, PLOT_HEIGHT, 0.0, width);
    let chart = shapes.iter().fold(&mut chart, |chart, shape| chart.lineplot(shape));
    let time = move |offset: f32| instant(start + f64::from(offset));
    // The chart has 32 bits of a number: seven digits are all that it can say.
    let value = |value: f32| format!("{value:.6e}").parse().unwrap_or(value).to_string();
    let chart = chart.x_label_format(LabelFormat::Custom(Box::new(time)));
    let chart = chart.y_label_format(LabelFormat::Custom(Box::new(value)));
    chart.axis();
    chart.figures();
    Some(chart.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_scalars_vectors_and_matrices() {
        let scalar = json!({"resultType": "scalar", "result": [4, "2"]});
        assert_eq!(answer(&scalar, false).unwrap(), "2");
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "up", "job": "a\"b"}, "value": [4, "1"]},
            {"metric": {}, "value": [4, "NaN"]},
        ]});
        let text = answer(&vector, false).unwrap();
        for part in ["up{job=\"a\\\"b\"}", "NaN", "{}"] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "up"}, "values": [[4, "1"], [5.5, "0"]]},
        ]});
        assert!(answer(&matrix, false).unwrap().contains("1970-01-01T00:00:05.500Z"));
        assert!(answer(&json!({"resultType": "poem", "result": []}), false).is_err());
    }

    #[test]
    fn draws_a_range_with_its_statistics() {
        let values: Vec<_> = (0..50).map(|i| json!([1000 + i, (i * i).to_string()])).collect();
        let data = json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "squares"}, "values": values},
            {"metric": {"__name__": "none"}, "values": [[1000, "NaN"], [1001, "+Inf"]]},
        ]});
        let text = answer(&data, true).unwrap();
        let axis = "1970-01-01T00:16:40.000Z";
        for part in ["squares", "2401", "808.5", axis, "1970-01-01T00:17:29.000Z"] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
        assert!(text.chars().filter(|&c| is_braille(c)).count() > 20, "no plot in\n{text}");
    }

    #[test]
    fn an_answer_without_series_says_so() {
        let matrix = json!({"resultType": "matrix", "result": []});
        assert_eq!(answer(&matrix, true).unwrap(), "no series");
        assert_eq!(answer(&matrix, false).unwrap(), "no series");
        let vector = json!({"resultType": "vector", "result": []});
        assert_eq!(answer(&vector, false).unwrap(), "no series");
    }

    #[test]
    fn statistics_do_not_show_what_a_sum_of_floats_is_off_by() {
        assert_eq!(shown(0.1 + 0.2), "0.3");
        assert_eq!(shown(0.001_249_999_999_998_863_1), "0.00125");
        assert_eq!(shown(1_725_123_456.0), "1725123456");
        assert_eq!(shown(f64::NAN), "NaN");
    }
}
