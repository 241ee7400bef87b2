//! The same queries to all systems: how long each takes, and whether the node answers as Prometheus
//! does.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::load::{Generator, Load};
use super::system::{Kind, System};
use crate::{answers, interrupt, programs};

/// Median milliseconds of one query, in the order of the systems.
#[derive(Debug)]
pub struct Timing {
    /// The query.
    pub query: String,
    /// `None` where the system refuses it.
    pub medians_ms: Vec<Option<f64>>,
}

/// Times the generator's own queries over the hour of the load.
pub fn time_queries(
    generator: &Generator,
    systems: &[&System],
    load: &Load,
    runs: u32,
) -> Result<Vec<Timing>> {
    let text = fs::read_to_string(generator.queries()).context("failed to read the queries")?;
    let queries = answers::queries(&text);
    let mut arguments = vec!["query".to_owned(), format!("--runs={runs}")];
    arguments.extend(systems.iter().map(|system| format!("--base={}", system.api().base())));
    arguments.extend(window(&generator.queries(), load));
    // VictoriaMetrics would answer the second run out of its cache of results.
    arguments.push("--param=nocache=1".to_owned());
    let printed = generator.run(&arguments)?;
    let rows: Vec<&str> = printed.lines().collect();
    ensure!(rows.len() == queries.len(), "{} rows for {} queries", rows.len(), queries.len());
    rows.iter().zip(queries).map(|(row, query)| timing(row, query, systems.len())).collect()
}

/// A row is `200 12.34ms 1234B | 200 ... |` for each system, then the query.
fn timing(row: &str, query: &str, systems: usize) -> Result<Timing> {
    let mut words = row.split_whitespace();
    let mut medians_ms = Vec::new();
    for _ in 0..systems {
        let status = words.by_ref().find(|word| *word != "|").context("a short row")?;
        let milliseconds = words.next().and_then(|word| word.strip_suffix("ms"));
        let milliseconds: f64 = milliseconds.context("a row without a time")?.parse()?;
        words.next().context("a row without a size")?;
        medians_ms.push((status == "200").then_some(milliseconds));
    }
    Ok(Timing { query: query.to_owned(), medians_ms })
}

/// Whether the node and Prometheus say the same, for both lists, as range and as instant queries.
/// One line for each, after the differences themselves.
pub fn agreement(generator: &Generator, systems: &[&System], load: &Load) -> Result<Vec<String>> {
    let of = |kind| systems.iter().find(|system| system.kind == kind);
    let (Some(reference), Some(node)) = (of(Kind::Prometheus), of(Kind::Rangekeeper)) else {
        return Ok(Vec::new());
    };
    let own = programs::root().join("tests/system/queries.txt");
    let mut lines = Vec::new();
    for (name, list) in [("the generator's queries", generator.queries()), ("our queries", own)] {
        for instant in [false, true] {
            interrupt::check()?;
            let mut arguments = vec![
                "diff".to_owned(),
                format!("--reference={}", reference.api().base()),
                format!("--test={}", node.api().base()),
            ];
            arguments.extend(window(&list, load));
            arguments.extend(instant.then(|| "--instant".to_owned()));
            let printed = generator.run(&arguments)?;
            let form = if instant { "instant" } else { "range" };
            lines.push(format!("{name}, {form}: {}", printed.trim_end()));
        }
    }
    Ok(lines)
}

fn window(list: &Path, load: &Load) -> Vec<String> {
    vec![
        format!("--queries={}", list.display()),
        format!("--start={}", load.start_s),
        format!("--end={}", load.end_s),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_generator_is_read_for_every_system() {
        let row = "200      6.10ms        123B | 422     28.70ms          9B  sum(a | b)";
        let timing = timing(row, "sum(a | b)", 2).expect("a row");
        assert_eq!(timing.medians_ms, [Some(6.1), None]);
    }
}
