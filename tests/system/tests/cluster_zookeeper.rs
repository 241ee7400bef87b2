//! ZooKeeper fails under three nodes: writes and queries go on, and a node that starts meanwhile
//! comes up from the map on its disk.

use std::time::Duration;

use rangekeeper_system_tests::faults::{inspect, inspect_with_each_stopped, short_or_soak};
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::trio::Trio;

#[test]
fn the_leader_of_zookeeper_dies_and_nobody_notices() {
    let folder = Folder::new("zookeeper-leader-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 3, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    for _ in 0..short_or_soak(1, 5) {
        fleet.wait_for_requests(200).expect("writes go on");
        let servers = trio.ensemble.servers();
        let leader = servers.iter_mut().find(|server| server.leads()).expect("one leads");
        leader.kill().expect("it runs");
        fleet.run_for(Duration::from_secs(short_or_soak(8, 20)));
        inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
        trio.ensemble.start_all().expect("it starts again");
    }
    fleet.wait_for_requests(200).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet).expect("none missing, none invented");
    fleet.report().check_unharmed().expect("nobody noticed");
}

#[test]
fn without_zookeeper_writes_and_queries_go_on_and_a_node_starts_from_its_own_map() {
    let folder = Folder::new("zookeeper-away-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 3, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    fleet.wait_for_requests(200).expect("writes go on");
    for server in trio.ensemble.servers() {
        server.kill().expect("it runs");
    }
    let outage = Duration::from_secs(short_or_soak(8, 60));
    fleet.run_for(outage);
    // One in order and one by force, each from the map on its disk.
    fleet.away(1);
    trio.stop(1).expect("it stops in order");
    trio.start_all().expect("it starts without ZooKeeper");
    fleet.back(1);
    fleet.wait_for_requests(200).expect("writes go on");
    fleet.away(2);
    trio.kill(2).expect("it runs");
    fleet.wait_for_requests(200).expect("writes go on");
    trio.start_all().expect("it starts without ZooKeeper");
    fleet.back(2);
    inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
    fleet.run_for(outage);

    trio.ensemble.start_all().expect("ZooKeeper starts again");
    poll::until("a leader", Duration::from_mins(1), || trio.leader(0)).expect("one leads");
    fleet.wait_for_requests(200).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet).expect("none missing, none invented");
    fleet.report().check_unharmed().expect("nobody noticed");
}

#[test]
fn all_nodes_start_together_without_zookeeper() {
    let folder = Folder::new("zookeeper-never-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    fleet.wait_for_requests(200).expect("writes go on");
    (0..3).for_each(|node| fleet.away(node));
    trio.ensemble.servers()[0].kill().expect("it runs");
    (0..3).for_each(|node| trio.kill(node).expect("it runs"));
    trio.start_all().expect("they start from their own maps");
    (0..3).for_each(|node| fleet.back(node));
    fleet.wait_for_requests(200).expect("writes go on");
    inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
    trio.ensemble.start_all().expect("ZooKeeper starts again");
    poll::until("a leader", Duration::from_mins(1), || trio.leader(0)).expect("one leads");
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet).expect("none missing, none invented");
    fleet.report().check().expect("none missing, none invented, none refused for long");
}
