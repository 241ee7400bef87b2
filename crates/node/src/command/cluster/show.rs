//! A cluster's status as text for a terminal.

use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::status::Found;
use crate::overview::{Health, Node, Overview, Unsettled, text_of};

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
        overview.alarms.iter().for_each(|alarm| line(&format!("  {}", text_of(alarm))));
    }
    let wishes = wishes(overview);
    if !wishes.is_empty() {
        line("\nWANTED");
        wishes.iter().for_each(|wish| line(&format!("  {wish}")));
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
    let name = overview.path.as_deref().unwrap_or("");
    let copies = overview.replication.map_or_else(String::new, |n| format!(", {n} copies"));
    let leader = overview.leader.as_deref().unwrap_or("nobody");
    format!(
        "cluster {} {name}\nleader {leader}, term {}, generation {}, epoch {}, {} shards{copies}",
        overview.cluster, overview.term, overview.generation, overview.epoch,
        overview.summary.shards
    )
}

fn wishes(overview: &Overview) -> Vec<String> {
    let intents = &overview.intents;
    let drained = intents.draining.iter().map(|node| format!("node {node} is to be emptied"));
    let gone = intents.confirmed.iter().map(|node| format!("node {node} is gone for good"));
    let frozen = intents.frozen.then(|| "every shard stays where it is".to_owned());
    drained.chain(gone).chain(frozen).collect()
}

fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    rows.into_iter().for_each(|row| drop(table.add_row(row)));
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
        "node", "zone", "status", "registered", "answers", "slots", "epoch", "clock", "unsettled",
        "version", "http", "peers",
    ];
    table(&header, overview.nodes.iter().map(|node| row_of(overview, node)))
}

fn row_of(overview: &Overview, node: &Node) -> Vec<String> {
    let or_dash = |text: Option<String>| text.filter(|t| !t.is_empty()).unwrap_or("-".to_owned());
    let yes_or_no = |is: Option<bool>| or_dash(is.map(|is| if is { "yes" } else { "NO" }.to_owned()));
    let is_leader = overview.leader.as_deref() == Some(&node.id) && node.status != "lost";
    vec![
        if is_leader { format!("{} *", node.id) } else { node.id.clone() },
        or_dash(node.zone.clone()),
        node.status.clone(),
        yes_or_no(node.registered),
        yes_or_no(node.reachable),
        node.slots.to_string(),
        or_dash(node.applied.map(|epoch| epoch.to_string())),
        or_dash(node.clock_ahead_s.map(|ahead| format!("{ahead:+.2}s"))),
        or_dash(node.unsettled.as_ref().map(Unsettled::text)),
        or_dash(node.software.clone()),
        or_dash(node.http.clone()),
        or_dash(node.address.clone()),
    ]
}

fn shards(overview: &Overview) -> String {
    let summary = &overview.summary;
    let mut rows = vec![
        ("shards", summary.shards),
        ("given to nodes", summary.placed),
        ("steady", summary.steady),
        ("below their copies", summary.below_rf),
    ];
    let states: Vec<_> =
        summary.by_state.iter().map(|(state, count)| (format!("slots {state}"), *count)).collect();
    rows.extend(states.iter().map(|(state, count)| (state.as_str(), *count)));
    table(&[], rows.into_iter().map(|(name, count)| vec![name.to_owned(), count.to_string()]))
}

/// The shards of which not every copy can be had.
fn unwell(overview: &Overview) -> String {
    let is_unwell = |health| matches!(health, Health::Short | Health::Changing);
    let unwell: Vec<_> =
        overview.shards.iter().filter(|shard| is_unwell(overview.health(shard))).collect();
    if unwell.is_empty() {
        return String::new();
    }
    let rows = unwell.iter().take(MAX_ROWS).map(|shard| {
        let slots: Vec<_> = shard.slots.iter().map(|slot| overview.slot_text(slot)).collect();
        vec![shard.shard.to_string(), slots.join(", ")]
    });
    more(table(&["shard", "slots"], rows), unwell.len())
}

fn proposals(overview: &Overview) -> String {
    if overview.proposals.is_empty() {
        return "none".to_owned();
    }
    let rows = overview.proposals.iter().take(MAX_ROWS).map(|proposal| {
        let (kind, shard) = (proposal.kind.clone(), proposal.shard.to_string());
        vec![kind, shard, proposal.from.clone(), proposal.to.clone()]
    });
    let table = table(&["why", "shard", "from", "to"], rows);
    format!("{}\nNothing is moved by itself yet.", more(table, overview.proposals.len()))
}

fn more(table: String, total: usize) -> String {
    match total.saturating_sub(MAX_ROWS) {
        0 => table,
        left => format!("{table}\n… and {left} more; --json has all"),
    }
}
