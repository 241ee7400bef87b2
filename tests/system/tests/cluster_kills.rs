//! Three nodes under load, killed and restarted: whatever was acknowledged is answered by every
//! node that is there, and nothing that was never sent, during the faults and after them.

use std::time::Duration;

use rangekeeper_system_tests::faults::{self, short_or_soak};
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::trio::Trio;
use rangekeeper_system_tests::workload::seed;

fn trio(folder: &Folder, replication: u8) -> Option<Trio> {
    Trio::start(folder.path(), None, 1, replication).expect("three nodes start")
}

fn fleet(trio: &Trio) -> Fleet {
    Fleet::around(trio).expect("senders start")
}

/// Each of these nodes finds everything.
fn inspect(fleet: &Fleet, nodes: &[usize]) {
    faults::inspect(fleet, nodes).expect("none missing, none invented");
}

fn inspect_with_each_stopped(trio: &mut Trio, fleet: &Fleet) {
    faults::inspect_with_each_stopped(trio, fleet).expect("none missing, none invented");
}

#[test]
fn ten_kills_under_load_lose_nothing_and_invent_nothing() {
    let mut random = fastrand::Rng::with_seed(seed());
    let folder = Folder::new("ten-kills-").expect("a folder");
    let Some(mut trio) = trio(&folder, 3) else { return };
    let mut fleet = fleet(&trio);
    for round in 1..=short_or_soak(10, 50) {
        fleet.wait_for_requests(random.u64(20..300)).expect("writes go on");
        let node = random.usize(0..3);
        fleet.away(node);
        trio.kill(node).expect("it runs");
        fleet.wait_for_requests(random.u64(1..200)).expect("writes go on while one is away");
        trio.start_all().expect("it starts again");
        fleet.back(node);
        println!("kill {round}, of node {node}: {}", fleet.report());
    }
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet);
    trio.wait_settled().expect("what was missed arrives");
    inspect_with_each_stopped(&mut trio, &fleet);
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

#[test]
fn what_one_missed_is_answered_though_another_dies_when_it_returns() {
    for replication in [3, 2] {
        let folder = Folder::new("missed-").expect("a folder");
        let Some(mut trio) = trio(&folder, replication) else { return };
        let mut fleet = fleet(&trio);
        fleet.wait_for_requests(200).expect("writes go on");
        fleet.away(2);
        trio.kill(2).expect("it runs");
        fleet.run_for(Duration::from_secs(short_or_soak(8, 30)));
        trio.start_all().expect("it starts again");
        fleet.away(1);
        trio.kill(1).expect("it runs");
        fleet.back(2);
        inspect(&fleet, &[0, 2]);
        fleet.wait_for_requests(200).expect("writes go on");
        trio.start_all().expect("it starts again");
        fleet.back(1);
        fleet.stop_sending().expect("no sender failed");
        inspect_with_each_stopped(&mut trio, &fleet);
        let report = fleet.report();
        report.check().unwrap_or_else(|error| panic!("{replication} copies: {error:#}"));
    }
}

#[test]
fn a_router_that_dies_after_its_answer_takes_nothing_with_it() {
    let folder = Folder::new("router-").expect("a folder");
    let Some(mut trio) = trio(&folder, 3) else { return };
    let mut fleet = fleet(&trio);
    for router in (0..3).cycle().take(short_or_soak(4, 30)) {
        // Killed the moment that an answer is there: what follows an answer never happens.
        fleet.wait_for_requests(50).expect("writes go on");
        fleet.away(router);
        fleet.wait_for_requests(1).expect("writes go on");
        trio.kill(router).expect("it runs");
        inspect(&fleet, &[(router + 1) % 3, (router + 2) % 3]);
        trio.start_all().expect("it starts again");
        fleet.back(router);
    }
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet);
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

#[test]
fn a_rolling_restart_is_noticed_by_nobody_who_asks_the_others() {
    let folder = Folder::new("rolling-").expect("a folder");
    let Some(mut trio) = trio(&folder, 3) else { return };
    let mut fleet = fleet(&trio);
    for round in 1..=short_or_soak(2, 10) {
        for node in 0..3 {
            fleet.wait_for_requests(200).expect("writes go on");
            fleet.away(node);
            trio.stop(node).expect("it stops in order");
            trio.start_all().expect("it starts again");
            fleet.back(node);
        }
        println!("round {round}: {}", fleet.report());
    }
    fleet.wait_for_requests(200).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet);
    fleet.report().check_unharmed().expect("no 5xx at those that stay");
}

#[test]
fn all_killed_at_once_come_back_with_everything() {
    let folder = Folder::new("all-killed-").expect("a folder");
    let Some(mut trio) = trio(&folder, 3) else { return };
    let mut fleet = fleet(&trio);
    for _ in 0..short_or_soak(2, 10) {
        fleet.wait_for_requests(300).expect("writes go on");
        (0..3).for_each(|node| fleet.away(node));
        (0..3).for_each(|node| trio.kill(node).expect("it runs"));
        trio.start_all().expect("they start again");
        inspect(&fleet, &[0, 1, 2]);
        (0..3).for_each(|node| fleet.back(node));
    }
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet);
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

#[test]
fn a_node_that_stands_still_for_a_while_harms_nobody() {
    let folder = Folder::new("standing-").expect("a folder");
    let Some(mut trio) = trio(&folder, 3) else { return };
    let mut fleet = fleet(&trio);
    let stand = Duration::from_secs(short_or_soak(6, 60));
    let leader = || -> usize {
        poll::until("a leader", Duration::from_secs(30), || trio.leader(0)).expect("one leads")
    };
    let first = leader();
    // One that follows, then the one that leads: its session ends while it stands.
    for node in [(first + 1) % 3, first] {
        fleet.wait_for_requests(200).expect("writes go on");
        fleet.away(node);
        trio.node(node).process.pause().expect("it runs");
        fleet.run_for(stand);
        fleet.wait_for_requests(200).expect("writes go on while it stands");
        trio.node(node).process.resume().expect("it stands");
        // It answers at once, and rightly: its map may be old by now.
        inspect(&fleet, &[node]);
        poll::until("a ready node", Duration::from_secs(30), || trio.node(node).api.check_ready())
            .expect("it is ready again");
        fleet.back(node);
        println!("node {node} stood: {}", fleet.report());
    }
    let second = leader();
    println!("node {first} led, then node {second}");
    fleet.wait_for_requests(200).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet);
    fleet.report().check().expect("none missing, none invented, none refused for long");
}
