//! Links between nodes that are cut without a word, and heal: every node that still reaches a
//! quorum answers writes and queries all the while, and nothing is missing or invented.

use std::time::Duration;

use anyhow::{Context, Result};
use rangekeeper_system_tests::faults::{inspect, inspect_with_each_stopped, short_or_soak};
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::links::{End, Links, in_own_network};
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::trio::Trio;

fn fault() -> Duration {
    Duration::from_secs(short_or_soak(8, 60))
}

/// Runs a fault under load, and looks at everything during it and after it.
fn under_load(
    test: &str,
    replication: u8,
    body: impl FnOnce(&Links, &mut Trio, &Fleet) -> Result<()>,
) -> Result<()> {
    in_own_network(&format!("cluster_links::{test}"), |links| {
        let folder = Folder::new("links-")?;
        let Some(mut trio) = links.trio(&folder, replication)? else { return Ok(()) };
        let mut fleet = Fleet::around(&trio)?;
        fleet.wait_for_requests(200)?;
        let done = body(&links, &mut trio, &fleet).and_then(|()| {
            fleet.wait_for_requests(200)?;
            fleet.stop_sending()?;
            inspect(&fleet, &[0, 1, 2])?;
            trio.wait_settled()?;
            inspect_with_each_stopped(&mut trio, &fleet)
        });
        println!("{}", fleet.report());
        // A panic keeps the folder.
        done.and_then(|()| fleet.report().check()).expect("none missing, invented or refused");
        Ok(())
    })
}

#[test]
fn one_link_cut_between_two_nodes() -> Result<()> {
    under_load("one_link_cut_between_two_nodes", 3, |links, _, fleet| {
        links.cut(End::Node(0), End::Node(1))?;
        fleet.run_for(fault());
        inspect(fleet, &[0, 1, 2]).context("while the link is cut")?;
        links.heal()
    })
}

#[test]
fn one_link_cut_where_there_are_two_copies_and_a_witness() -> Result<()> {
    under_load("one_link_cut_where_there_are_two_copies_and_a_witness", 2, |links, _, fleet| {
        links.cut(End::Node(1), End::Node(2))?;
        fleet.run_for(fault());
        inspect(fleet, &[0, 1, 2]).context("while the link is cut")?;
        links.heal()
    })
}

#[test]
fn one_link_cut_in_one_direction() -> Result<()> {
    under_load("one_link_cut_in_one_direction", 3, |links, _, fleet| {
        links.cut_one_way(End::Node(2), End::Node(0))?;
        fleet.run_for(fault());
        inspect(fleet, &[0, 1, 2]).context("while nothing arrives from c at a")?;
        links.heal()
    })
}

#[test]
fn a_node_cut_off_from_all_others_but_not_from_senders() -> Result<()> {
    under_load("a_node_cut_off_from_all_others_but_not_from_senders", 3, |links, trio, fleet| {
        fleet.away(1);
        for end in [End::Node(0), End::Node(2), End::ZooKeeper] {
            links.cut(End::Node(1), end)?;
        }
        fleet.run_for(fault());
        inspect(fleet, &[0, 2]).context("while b is cut off")?;
        links.heal()?;
        poll::until("a ready node", Duration::from_secs(30), || trio.node(1).api.check_ready())?;
        // Whatever it answers from now on is whole; it may refuse until it reaches the others.
        poll::until("an answer", Duration::from_secs(10), || fleet.inspect(1))?.check()?;
        fleet.back(1);
        Ok(())
    })
}

#[test]
fn a_node_cut_off_from_zookeeper_alone_goes_on() -> Result<()> {
    under_load("a_node_cut_off_from_zookeeper_alone_goes_on", 3, |links, trio, fleet| {
        for node in [(trio.leader(0)? + 1) % 3, trio.leader(0)?] {
            links.cut(End::Node(node), End::ZooKeeper)?;
            fleet.run_for(fault());
            inspect(fleet, &[0, 1, 2]).context("while one is cut off from ZooKeeper")?;
            links.heal()?;
            fleet.run_for(Duration::from_secs(2));
        }
        Ok(())
    })
}
