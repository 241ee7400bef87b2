//! The page of a cluster: the ring, the nodes, what the leader would move, every shard.

use maud::{Markup, html};

use super::framed;
use super::ring::{Band, Ring, color};
use crate::overview::{Health, Node, Overview, Unsettled};

/// Rows of moves: more than a hundred nodes give when one of them is gone.
const MAX_MOVES: usize = 200;

/// The whole page. `refusal` says why the node that shows it is not ready.
pub(super) fn page(overview: &Overview, refusal: Option<&str>) -> Markup {
    let name = overview.path.rsplit('/').next().filter(|name| !name.is_empty());
    let name = name.unwrap_or(&overview.cluster);
    let content = html! {
        h1 { (name) }
        p.soft { "cluster " code { (overview.cluster) } }
        @if let Some(reason) = refusal {
            p.bad { "This node is not ready: " (reason) }
        }
        @if !overview.alarms.is_empty() {
            div.alarms {
                h2.bad { "Alarms" }
                @for alarm in &overview.alarms { p { (alarm.text) } }
            }
        }
        div.beside {
            (ring(overview))
            div { (facts(overview)) (summary(overview)) (legend()) }
        }
        h2 { "Nodes" }
        div.wide { (nodes(overview)) }
        h2 { "Proposals" }
        (proposals(overview))
        (shards(overview))
    };
    let links = html! { " · " a href="api/cluster/v1" { "this page as JSON" } };
    framed(&format!("{name} – rangekeeper"), content, links)
}

fn ring(overview: &Overview) -> Markup {
    let ring = Ring::new(overview);
    let count = overview.shards.len();
    let label = format!("The {count} shards in a ring, in the colours of their nodes");
    html! {
        svg viewBox={ "0 0 " (ring.size) " " (ring.size) } width=(ring.size) height=(ring.size)
            role="img" aria-label=(label) {
            @for Band { width, strokes } in &ring.bands {
                g stroke-width=(width) {
                    @for stroke in strokes {
                        path stroke=[stroke.color.as_deref()] class=[stroke.class]
                            d=(stroke.path) {}
                    }
                }
            }
            text x=(ring.middle) y=(ring.middle) { (count) " shards" }
        }
    }
}

fn facts(overview: &Overview) -> Markup {
    let intents = &overview.intents;
    // The first day of all is the floor of a cluster that has dropped nothing yet.
    let floor = overview.retention_floor.as_ref().filter(|day| *day != "1970-01-01");
    html! {
        dl {
            dt { "Leader" }
            dd {
                @match &overview.leader {
                    Some(leader) => { (leader.node) ", in term " (leader.term) }
                    None => { span.bad { "nobody" } }
                }
            }
            dt { "Map" }
            dd {
                @match (overview.generation, overview.epoch) {
                    (Some(generation), Some(epoch)) => {
                        "generation " (generation) ", epoch " (epoch)
                    }
                    _ => { span.warn { "none yet" } }
                }
            }
            @if let Some(copies) = overview.replication {
                dt { "Copies" }
                dd { (copies) " of each shard" }
            }
            @if let Some(floor) = floor {
                dt { "Data from" }
                dd { (floor) }
            }
            @if let Some(session) = &overview.session {
                dt { "ZooKeeper" }
                dd.warn[session.state != "connected"] {
                    (session.state) @if let Some(error) = &session.error { ": " (error) }
                }
            }
            @if !intents.draining.is_empty() {
                dt { "To be emptied" }
                dd.warn { (intents.draining.join(", ")) }
            }
            @if !intents.confirmed_gone.is_empty() {
                dt { "Gone for good" }
                dd.warn { (intents.confirmed_gone.join(", ")) }
            }
            @if intents.frozen {
                dt { "Frozen" }
                dd.warn { "every shard stays where it is" }
            }
        }
    }
}

fn summary(overview: &Overview) -> Markup {
    let summary = &overview.summary;
    let is_short = summary.below_replication > 0;
    html! {
        table {
            thead { tr { th { "Shards" } th.number { (summary.shards) } } }
            tbody {
                tr { td { "given to nodes" } td.number { (summary.placed) } }
                tr { td { "steady" } td.number { (summary.steady) } }
                tr.bad[is_short] {
                    td { "below their copies" } td.number { (summary.below_replication) }
                }
                @for (state, count) in &summary.slots_by_state {
                    tr { td { "slots " (state) } td.number { (count) } }
                }
            }
        }
    }
}

fn legend() -> Markup {
    html! {
        p.soft {
            "From the middle outwards, the ring shows who has each shard's places; faint is a node "
            "that does not answer. The thin line outside is red where a copy cannot be used, amber "
            "where one is on its way, dotted where none was given to a node yet."
        }
    }
}

fn nodes(overview: &Overview) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th { "Node" } th { "Zone" } th { "Status" } th { "Registered" } th { "Answers" }
                    th.number { "Slots" } th.number { "Epoch" } th.number { "Clock" }
                    th { "Unsettled" } th { "Version" } th { "API" } th { "Peers" } th {}
                }
            }
            tbody { @for row in &overview.nodes { (node(overview, row)) } }
        }
    }
}

fn node(overview: &Overview, row: &Node) -> Markup {
    let background = format!("background:{}", color(overview, &row.id));
    html! {
        tr {
            td {
                span.swatch.silent[!row.serves()] style=(background) {} " "
                span.name { (row.id) }
                @if overview.leads(row) { span.soft { " leads" } }
            }
            td { (or_dash(Some(&row.zone))) }
            td.warn[row.status != "up"] { (row.status) }
            td { (yes_or_no(row.registered)) }
            td {
                @match (row.is_self, row.reachable) {
                    (true, _) => { span.soft { "itself" } }
                    (false, Some(answers)) => { (yes_or_no(answers)) }
                    (false, None) => { "-" }
                }
            }
            td.number { (row.slots) }
            td.number { (row.applied_epoch.map_or("-".to_owned(), |epoch| epoch.to_string())) }
            td.number {
                (row.clock_ahead_seconds.map_or("-".to_owned(), |ahead| format!("{ahead:+.2} s")))
            }
            td { (row.unsettled.as_ref().map_or("-".to_owned(), Unsettled::text)) }
            td { (or_dash(row.software.as_deref())) }
            td {
                @match &row.http {
                    Some(http) => {
                        a href={ "http://" (http) "/" } rel="noreferrer" { (http) }
                    }
                    None => { "-" }
                }
            }
            td { (or_dash(Some(&row.address))) }
            td.text.warn { @if let Some(text) = &row.text { (text) } }
        }
    }
}

fn yes_or_no(is: bool) -> Markup {
    html! { @if is { "yes" } @else { span.bad { "no" } } }
}

fn or_dash(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("-")
}

fn proposals(overview: &Overview) -> Markup {
    let all = overview.proposals.len();
    if all == 0 {
        return html! { p { "The leader would move nothing, as far as this node knows." } };
    }
    let moves = overview.moves();
    html! {
        p {
            "A move of " (all) @if all == 1 { " slot" } @else { " slots" }
            " would bring the shards where they should be. Nothing is moved by itself yet."
        }
        div.wide {
            table {
                thead { tr { th { "Why" } th { "From" } th { "To" } th.number { "Slots" } } }
                tbody {
                    @for (kind, from, to, slots) in moves.iter().take(MAX_MOVES) {
                        tr {
                            td { (kind) } td { (from) } td { (to) } td.number { (slots) }
                        }
                    }
                }
            }
        }
        @if moves.len() > MAX_MOVES {
            p.soft { "and so on; the JSON has all" }
        }
    }
}

/// Every shard, last on the page: a terminal shows all of it. Open where somebody has to look.
fn shards(overview: &Overview) -> Markup {
    let runs = overview.runs();
    html! {
        details open[runs.iter().any(|run| run.health == Health::Short)] {
            summary { "Every shard" }
            table {
                thead { tr { th.number { "Shards" } th { "Nodes of their places" } } }
                tbody {
                    @for run in &runs {
                        tr.bad[run.health == Health::Short] {
                            td.number { (run.numbers()) }
                            td { (run.places) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
