//! The page is whole at the largest size that it is meant for, and light.

use super::*;
use crate::overview::{Proposal, Shard, Slot};

/// Nodes in three zones, each shard at three of them; `edit` changes what is wrong.
fn overview(nodes: u16, shards: u32, edit: impl FnOnce(&mut Overview)) -> Overview {
    let row = |index: u16| Node {
        index: Some(index),
        id: format!("node-{index}"),
        zone: format!("zone-{}", index % 3),
        address: format!("10.0.{}.{}:9921", index / 250, index % 250),
        http: Some(format!("10.0.{}.{}:9920", index / 250, index % 250)),
        status: "up".to_owned(),
        registered: true,
        reachable: Some(true),
        ..Node::default()
    };
    let slot = |node| Slot { state: "steady".to_owned(), node: Some(node), from: None };
    let shard = |number: u32| {
        let at = |place: u32| u16::try_from((number * 7 + place * 5) % u32::from(nodes)).unwrap();
        Shard { shard: number, slots: [0, 1, 2].map(at).map(slot).to_vec(), ..Shard::default() }
    };
    let mut overview = Overview {
        nodes: (0..nodes).map(row).collect(),
        shards: (0..shards).map(shard).collect(),
        ..Overview::default()
    };
    edit(&mut overview);
    overview
}

/// How often the page has it.
fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

#[test]
fn every_node_and_every_shard_is_in_it_and_it_stays_light() {
    let page = page(&overview(100, 1024, |_| {}), None).into_string();
    for node in 0..100 {
        assert_eq!(count(&page, &format!("<span class=\"name\">node-{node}</span>")), 1);
    }
    for shard in 0..1024 {
        assert_eq!(count(&page, &format!("<td class=\"number\">{shard}</td><td>node-")), 1);
    }
    // An arc begins with a move: one a place, and one of the band of health.
    let arcs: usize =
        page.split(" d=\"").skip(1).map(|d| count(d.split('"').next().unwrap(), "M")).sum();
    assert_eq!(arcs, 1024 * 4);
    assert!(page.len() < 400 << 10, "{} bytes", page.len());
    assert!(count(&page, "<path") <= 301, "{} paths", count(&page, "<path"));
}

#[test]
fn shards_whose_places_are_alike_share_a_row() {
    let page =
        page(&overview(1, 16, |o| o.shards.iter_mut().for_each(|s| s.slots.truncate(1))), None);
    let page = page.into_string();
    assert!(page.contains("<td class=\"number\">0 – 15</td><td>node-0</td>"), "{page}");
}

#[test]
fn what_is_wrong_is_drawn() {
    let overview = overview(6, 8, |o| {
        o.nodes[5].reachable = Some(false);
        o.shards[3].below_replication = true;
        o.shards[4].slots[0] = Slot { state: "moving".into(), node: Some(1), from: Some(2) };
        o.shards[6]
            .slots
            .iter_mut()
            .for_each(|slot| *slot = Slot { state: "empty".into(), node: None, from: None });
    });
    let page = page(&overview, None).into_string();
    for (class, arcs) in [("short", 1), ("changing", 1), ("unplaced", 1), ("whole", 5)] {
        let path = page.split(&format!("<path class=\"{class}\" d=\"")).nth(1);
        let path = path.and_then(|rest| rest.split('"').next()).unwrap_or_default();
        assert_eq!(count(path, "M"), arcs, "{class}");
    }
    assert!(page.contains("class=\"silent\" d="), "{page}");
    assert!(page.contains("<details open>"), "{page}");
    assert!(page.contains("node-2 → node-1 moving"), "{page}");
}

#[test]
fn moves_are_counted_by_why_and_between_whom() {
    let overview = overview(4, 64, |o| {
        let proposal = |shard| Proposal { kind: "repair".to_owned(), shard, from: 2, to: 3 };
        o.proposals = (0..40).map(proposal).collect();
    });
    let page = page(&overview, None).into_string();
    let row = "<td>repair</td><td>node-2</td><td>node-3</td><td class=\"number\">40</td>";
    assert_eq!(count(&page, row), 1, "{page}");
}

#[test]
fn a_ring_of_one_shard_is_a_whole_circle() {
    let page = page(&overview(3, 1, |_| {}), None).into_string();
    let path = page.split(" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(count(path, "A") >= 3, "{path}");
}

#[test]
fn a_cluster_that_has_no_map_yet_has_a_page() {
    let page = page(&Overview::default(), None).into_string();
    assert!(page.contains("none yet") && page.contains("nobody") && page.contains("0 shards"));
}
