//! ZooKeeper fails under three nodes, or forgets: writes and queries go on, a node that starts
//! meanwhile comes up from the map on its disk, and nobody takes an older map or another cluster's.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rangekeeper_system_tests::faults::{
    copy_folder, inspect, inspect_with_each_stopped, short_or_soak,
};
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::trio::Trio;
use rangekeeper_system_tests::{poll, programs};
use serde_json::Value;

/// How long a node that has a map waits for ZooKeeper when it starts: nobody is there.
const START_WAIT: &str = "cluster.start_wait=3s";

/// Time in which every node has heard of something.
const LIMIT: Duration = Duration::from_secs(30);

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
    for node in [1, 2] {
        trio.setup(node).settings.push(START_WAIT.to_owned());
    }
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
    for node in 0..3 {
        trio.setup(node).settings.push(START_WAIT.to_owned());
        trio.kill(node).expect("it runs");
    }
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

/// Runs `cluster WHAT REST`; what it printed.
fn operate(what: &str, rest: &[&str]) -> Result<String> {
    let output = Command::new(programs::rangekeeper()?).args(["cluster", what]).args(rest).output();
    let output = output.context("failed to run it")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until an operator who asks each node is told that its session is refused for this reason.
fn wait_session_refused(trio: &Trio, why: &str) {
    for node in 0..3 {
        let refused = poll::until("a session that is refused", LIMIT, || {
            let url = trio.node(node).api.base();
            let status: Value =
                serde_json::from_str(&operate("status", &["--json", "--url", url])?)?;
            let session = &status["session"];
            let error = session["error"].as_str().unwrap_or_default();
            ensure!(session["state"] == "refused" && error.contains(why), "{session}");
            Ok(error.to_owned())
        });
        println!("node {node}: {}", refused.expect("it is refused"));
    }
}

/// The epochs that a node has applied, by its log, starts from its disk left out.
fn applied(trio: &Trio, node: usize) -> Vec<u64> {
    let log = fs::read_to_string(trio.node(node).process.log()).expect("it has a log");
    let versions = log.lines().filter_map(|line| {
        let version = line.split_once("applied an assignment version=1.")?.1;
        version.split(' ').next()
    });
    versions.map(|epoch| epoch.parse().expect("a number")).collect()
}

/// No node has ever applied an older map than it had; the newest of each.
fn check_only_newer(trio: &Trio) {
    for node in 0..3 {
        let epochs = applied(trio, node);
        println!("node {node} applied {epochs:?}");
        assert!(!epochs.is_empty(), "the log of node {node} tells of none");
        assert!(epochs.is_sorted_by(|one, next| one < next), "node {node} applied {epochs:?}");
    }
}

/// Waits until all nodes have applied a map of this epoch or a later one; the lowest.
fn wait_epoch(trio: &Trio, least: u64) -> u64 {
    let seen = poll::until("a newer map at all nodes", LIMIT, || {
        let epoch =
            |node| -> Result<u64> { trio.status(node)?["epoch"].as_u64().context("it has no map") };
        let lowest = (0..3).map(epoch).collect::<Result<Vec<_>>>()?.into_iter().min();
        lowest.filter(|lowest| *lowest >= least).with_context(|| format!("it is {lowest:?}"))
    });
    seen.expect("they apply it")
}

#[test]
fn an_emptied_zookeeper_takes_nothing_from_the_nodes() {
    let folder = Folder::new("zookeeper-emptied-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    fleet.wait_for_requests(100).expect("writes go on");
    let before = wait_epoch(&trio, 1);
    let server = &mut trio.ensemble.servers()[0];
    let data = server.data();
    let kept = data.with_extension("kept");
    server.kill().expect("it runs");
    fs::rename(&data, &kept).expect("it is there");
    fs::create_dir(&data).expect("it is gone");
    trio.ensemble.start_all().expect("an empty one starts");
    wait_session_refused(&trio, "failed to find a cluster at /rangekeeper/system");
    fleet.wait_for_requests(100).expect("writes go on");
    // What looks like help: another cluster at the same place.
    operate("init", &["--zookeeper", &trio.zookeeper, "--shards", "256"]).expect("it is made");
    wait_session_refused(&trio, "this node belongs to");
    fleet.wait_for_requests(100).expect("writes go on");
    inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
    assert_eq!(wait_epoch(&trio, 0), before, "a map came from nowhere");
    trio.ensemble.servers()[0].kill().expect("it runs");
    fs::remove_dir_all(&data).expect("it is there");
    fs::rename(&kept, &data).expect("it is there");
    trio.ensemble.start_all().expect("the right one starts");
    wait_epoch(&trio, before + 1);
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
    check_only_newer(&trio);
    fleet.report().check_unharmed().expect("nobody noticed");
}

#[test]
fn a_zookeeper_restored_from_an_old_copy_brings_no_old_map_back() {
    let folder = Folder::new("zookeeper-restored-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    let server = &mut trio.ensemble.servers()[0];
    let data = server.data();
    let older = data.with_extension("older");
    server.kill().expect("it runs");
    copy_folder(&data, &older).expect("it is there");
    trio.ensemble.start_all().expect("it starts again");
    let copied = wait_epoch(&trio, 1);
    for _ in 0..2 {
        let before = wait_epoch(&trio, 1);
        fleet.away(1);
        trio.stop(1).expect("it stops in order");
        trio.start_all().expect("it starts again");
        fleet.back(1);
        // Each start brings a map: the node table has changed.
        wait_epoch(&trio, before + 1);
    }
    let newest = wait_epoch(&trio, copied + 2);
    trio.ensemble.servers()[0].kill().expect("it runs");
    fs::remove_dir_all(&data).expect("it is there");
    fs::rename(&older, &data).expect("it is there");
    trio.ensemble.start_all().expect("it starts with what it knew once");
    // Whoever leads now goes on above all that the nodes have.
    let after = wait_epoch(&trio, newest + 1);
    println!("the copy had epoch {copied} or less, the nodes {newest}, then {after}");
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.away(2);
    trio.stop(2).expect("it stops in order");
    trio.start_all().expect("it starts with what is newest");
    fleet.back(2);
    assert!(wait_epoch(&trio, after) >= after, "a node has an older map");
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
    check_only_newer(&trio);
    fleet.report().check_unharmed().expect("nobody noticed");
}

#[test]
fn beside_an_emptied_zookeeper_a_node_starts_from_its_own_map_and_says_what_is_wrong() {
    let folder = Folder::new("zookeeper-emptied-start-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let server = &mut trio.ensemble.servers()[0];
    server.kill().expect("it runs");
    fs::remove_dir_all(server.data()).expect("it is there");
    fs::create_dir(server.data()).expect("it is gone");
    trio.ensemble.start_all().expect("an empty one starts");
    wait_session_refused(&trio, "failed to find a cluster at /rangekeeper/system");
    trio.stop(1).expect("it stops in order");
    trio.begin(1).expect("it was stopped");
    let ready = poll::until("a ready node", LIMIT, || trio.node(1).api.check_ready());
    ready.expect("it starts from its own map");
    for node in 0..3 {
        let status = trio.status(node).expect("it answers");
        let alarms = status["alarms"].as_array().expect("a list");
        assert!(!alarms.is_empty(), "node {node} raises no alarm: {}", status["session"]);
    }
}
