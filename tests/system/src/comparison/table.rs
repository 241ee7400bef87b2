//! The one table that the comparison prints.

use std::fmt::Write;

use super::queries::Timing;
use super::system::{Cost, Kind, System};

/// Width of the first column; a longer query is cut.
const NAME_WIDTH: usize = 58;

/// Width of a figure.
const FIGURE_WIDTH: usize = 17;

/// How a row reads a figure out of what a system cost.
type Row = (&'static str, usize, fn(&Cost) -> f64);

const ROWS: &[Row] = &[
    ("CPU-s per million samples, to the last answer", 3, |cost| cost.cpu_taken),
    ("CPU-s per million samples, sealed or merged", 3, |cost| cost.cpu_settled),
    ("seconds to the last answer", 1, |cost| cost.wall_s),
    ("MiB resident at the last answer", 0, |cost| cost.memory_mib),
    ("MiB resident at most", 0, |cost| cost.peak_mib),
    ("bytes a sample at the last answer", 3, |cost| cost.bytes_taken),
    ("bytes a sample, sealed or merged", 3, |cost| cost.bytes_settled),
];

/// A row a figure and a row a query; the last column is ours over the best peer's.
pub fn render(systems: &[(System, Cost)], timings: &[Timing]) -> String {
    let kinds: Vec<Kind> = systems.iter().map(|(system, _)| system.kind).collect();
    let costs: Vec<&Cost> = systems.iter().map(|(_, cost)| cost).collect();
    let mut text = format!("{:NAME_WIDTH$}", "");
    for kind in &kinds {
        write!(text, "{:>FIGURE_WIDTH$}", kind.to_string()).expect("a String takes everything");
    }
    text += "  ours / best peer\n";
    for (name, digits, figure) in ROWS {
        let figures: Vec<_> = costs.iter().map(|cost| Some(figure(cost))).collect();
        text += &line(name, *digits, &kinds, &figures);
    }
    for timing in timings {
        text += &line(&format!("ms: {}", timing.query), 2, &kinds, &timing.medians_ms);
    }
    text
}

fn line(name: &str, digits: usize, kinds: &[Kind], figures: &[Option<f64>]) -> String {
    let name: String = name.chars().take(NAME_WIDTH - 1).collect();
    let mut text = format!("{name:NAME_WIDTH$}");
    for figure in figures {
        let figure = figure.map_or_else(|| "refused".to_owned(), |f| format!("{f:.digits$}"));
        write!(text, "{figure:>FIGURE_WIDTH$}").expect("a String takes everything");
    }
    if let Some(ratio) = ratio(kinds, figures) {
        write!(text, "{ratio:>18.2}").expect("a String takes everything");
    }
    text.push('\n');
    text
}

/// Ours over the least of the others'.
fn ratio(kinds: &[Kind], figures: &[Option<f64>]) -> Option<f64> {
    let both = || kinds.iter().zip(figures);
    let ours = both().find(|(kind, _)| **kind == Kind::Rangekeeper)?.1.as_ref()?;
    let best = both()
        .filter(|(kind, _)| **kind != Kind::Rangekeeper)
        .filter_map(|(_, figure)| *figure)
        .min_by(f64::total_cmp)?;
    Some(ours / best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_ours_over_the_best_peer_that_answers() {
        let figures = [Some(1.0), Some(4.0), None];
        assert_eq!(ratio(&Kind::ALL, &figures), Some(0.25));
        assert_eq!(ratio(&Kind::ALL, &[None, Some(4.0), None]), None);
        assert_eq!(ratio(&Kind::ALL[..1], &figures[..1]), None);
    }
}
