//! A cluster's status as text for a terminal.

use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::status::Found;
use crate::overview::{Health, Node, Overview, Unsettled};

/// Rows of shards that are not well, and of proposals. Whoever wants all takes `--json`.
const MAX_ROWS: usize = 20;

/// All of it.
pub(super) fn status(overview: &Overview, found: &Found) -> String {
    let mut out = String::new();
    let mut line = |text: &str| writeln!(out, "{text}").expect("a string takes all");
    line(&cluster(overview));
    line(&format!("as told by {}", found.from));
    for silent in &found.silent {
        line(&format!("no answer of {silent}"));
    }
    if !overview.alarms.is_empty() {
        line("\nALARMS");
        for alarm in &overview.alarms {
            line(&format!("  {}", alarm.text));
        }
    }
    let wishes = wishes(overview);
    if !wishes.is_empty() {
        line("\nWANTED");
        for wish in wishes {
            line(&format!("  {wish}"));
        }
    }
    line("\nNODES");
    line(&indented(&nodes(overview)));
    line("\nSHARDS");
    line(&indented(&shards(overview)));
    let unwell = unwell(overview);
    if !unwell.is_empty() {
        line("\nNOT WHOLE");
        line(&indented(&unwell));
    }
    line("\nPROPOSALS");
    line(&indented(&proposals(overview)));
    out.trim_end().to_owned()
}

fn cluster(overview: &Overview) -> String {
    let leader = overview.leader.as_ref();
    let leader = leader.map_or("nobody leads".to_owned(), |leader| {
        format!("node {} leads in term {}", leader.node, leader.term)
    });
    let map = match (overview.generation, overview.epoch, overview.term) {
        (Some(generation), Some(epoch), Some(term)) => {
            format!("map of generation {generation}, epoch {epoch}, term {term}")
        }
        _ => "no map yet".to_owned(),
    };
    let copies = overview.replication.map_or_else(String::new, |n| format!(" of {n} copies"));
    let shards = overview.summary.shards;
    format!(
        "cluster {} {}\n{leader}; {map}; {shards} shards{copies}",
        overview.cluster, overview.path
    )
}

fn wishes(overview: &Overview) -> Vec<String> {
    let intents = &overview.intents;
    let drained = intents.draining.iter().map(|node| format!("node {node} is to be emptied"));
    let gone = intents.confirmed_gone.iter().map(|node| format!("node {node} is gone for good"));
    let frozen = intents.frozen.then(|| "every shard stays where it is".to_owned());
    drained.chain(gone).chain(frozen).collect()
}

fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if !header.is_empty() {
        table.set_header(header);
    }
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {}", line.trim_start())).collect::<Vec<_>>().join("\n")
}

fn nodes(overview: &Overview) -> String {
    if overview.nodes.is_empty() {
        return "none yet".to_owned();
    }
    let header = [
        "node",
        "zone",
        "status",
        "registered",
        "answers",
        "slots",
        "epoch",
        "clock",
        "unsettled",
        "version",
        "http",
        "peers",
        "",
    ];
    table(&header, overview.nodes.iter().map(|row| row_of(overview, row)))
}

fn row_of(overview: &Overview, row: &Node) -> Vec<String> {
    let or_dash = |text: Option<String>| text.filter(|t| !t.is_empty()).unwrap_or("-".to_owned());
    let yes_or_no = |is: bool| if is { "yes" } else { "NO" }.to_owned();
    vec![
        if overview.leads(row) { format!("{} *", row.id) } else { row.id.clone() },
        or_dash(Some(row.zone.clone())),
        row.status.clone(),
        yes_or_no(row.registered),
        if row.is_self { "itself".to_owned() } else { or_dash(row.reachable.map(yes_or_no)) },
        row.slots.to_string(),
        or_dash(row.applied_epoch.map(|epoch| epoch.to_string())),
        or_dash(row.clock_ahead_seconds.map(|ahead| format!("{ahead:+.2}s"))),
        or_dash(row.unsettled.as_ref().map(Unsettled::text)),
        or_dash(row.software.clone()),
        or_dash(row.http.clone()),
        or_dash(Some(row.address.clone())),
        row.text.clone().unwrap_or_default(),
    ]
}

fn shards(overview: &Overview) -> String {
    let summary = &overview.summary;
    let mut rows = vec![
        ("shards", summary.shards),
        ("given to nodes", summary.placed),
        ("steady", summary.steady),
        ("below their copies", summary.below_replication),
    ];
    let states: Vec<_> = summary
        .slots_by_state
        .iter()
        .map(|(state, count)| (format!("slots {state}"), *count))
        .collect();
    rows.extend(states.iter().map(|(state, count)| (state.as_str(), *count)));
    table(&[], rows.into_iter().map(|(name, count)| vec![name.to_owned(), count.to_string()]))
}

/// The shards of which not every copy can be used.
fn unwell(overview: &Overview) -> String {
    let mut runs = overview.runs();
    runs.retain(|run| matches!(run.health, Health::Short | Health::Changing));
    if runs.is_empty() {
        return String::new();
    }
    let rows = runs.iter().take(MAX_ROWS).map(|run| vec![run.numbers(), run.places.clone()]);
    more(table(&["shards", "nodes of their places"], rows), runs.len())
}

fn proposals(overview: &Overview) -> String {
    let moves = overview.moves();
    if moves.is_empty() {
        return "none".to_owned();
    }
    let rows = moves.iter().take(MAX_ROWS).map(|(kind, from, to, slots)| {
        [*kind, *from, *to, &slots.to_string()].map(str::to_owned).to_vec()
    });
    let table = table(&["why", "from", "to", "slots"], rows);
    format!("{}\nNothing is moved by itself yet.", more(table, moves.len()))
}

fn more(table: String, total: usize) -> String {
    match total.saturating_sub(MAX_ROWS) {
        0 => table,
        left => format!("{table}\n… and {left} more; --json has all"),
    }
}
