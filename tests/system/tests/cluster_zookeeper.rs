//! ZooKeeper fails under three nodes: writes and queries go on, and a node that starts meanwhile
//! comes up from the map on its disk. And what it is for: two processes with one name.

use std::process::Command;
use std::time::Duration;

use rangekeeper_system_tests::faults::{inspect, inspect_with_each_stopped, short_or_soak};
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::ledger::{Ledger, METRIC, Place, places_in};
use rangekeeper_system_tests::node::free_address;
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::trio::Trio;

/// Time in which a process that must not run has to say so and end.
const END_LIMIT: Duration = Duration::from_secs(30);

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

#[test]
fn a_copied_folder_is_refused_while_its_original_runs() {
    let folder = Folder::new("copied-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    fleet.wait_for_requests(200).expect("writes go on");
    fleet.away(2);
    trio.stop(2).expect("it stops in order");
    let mut second = trio.setup(2).clone();
    second.data = folder.path().join("copy");
    let copied = Command::new("cp").arg("-a").arg(&trio.setup(2).data).arg(&second.data).status();
    assert!(copied.is_ok_and(|status| status.success()), "the folder is copied");
    trio.start_all().expect("the original starts again");
    fleet.back(2);

    second.listen = free_address().expect("a free port");
    let at = second.options.iter().position(|option| option == "--peer-listen");
    second.options[at.expect("it listens to peers") + 1] =
        free_address().expect("a free port").into();
    let mut copy = second.start().expect("the process starts");
    let status = poll::until("the end of the copy", END_LIMIT, || {
        assert!(copy.api.check_ready().is_err(), "the copy of a running node is ready");
        match copy.process.check_alive() {
            Ok(()) => anyhow::bail!("it runs"),
            Err(ended) => Ok(ended),
        }
    });
    let said = status.expect("the copy refuses and ends").to_string();
    println!("the copy said: {said}");
    assert!(said.contains("exit status: 1"), "it ends in order: {said}");
    assert!(said.to_lowercase().contains("cop"), "it says why: {said}");

    fleet.wait_for_requests(200).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet).expect("none missing, none invented");
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

#[test]
fn with_one_copy_the_shards_of_a_dead_node_are_refused_by_name_and_lose_nothing() {
    let folder = Folder::new("one-copy-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 1).expect("three nodes start") else {
        return;
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let start_ms = now.expect("a clock after 1970").as_millis();
    let start_ms = i64::try_from(start_ms).expect("a clock before the year 292 million") - 600_000;
    let mut ledger = Ledger::new("0");
    let mut round = 0;
    // A request a series: each touches one shard. Returns how many were refused.
    let mut write = |trio: &Trio, ledger: &mut Ledger, nodes: &[usize]| {
        round += 1;
        let mut refused = 0;
        for series in 0..300_u32 {
            let place: [Place; 1] = [(series, start_ms + round * 1000)];
            let body = ledger.attempt(&place);
            let node = nodes[series as usize % nodes.len()];
            let answer = trio.node(node).api.write(&body).expect("it answers");
            match answer.status {
                200..300 => ledger.acknowledge(&place),
                503 => {
                    assert!(answer.body.contains("shard"), "no shard is named: {}", answer.body);
                    refused += 1;
                }
                other => panic!("{other} {}", answer.body),
            }
        }
        refused
    };
    let inspect = |trio: &Trio, ledger: &Ledger, node: usize| {
        let end = std::time::Duration::from_millis(start_ms.unsigned_abs() + 600_000).as_secs_f64();
        let data = trio.node(node).api.query(&format!("{METRIC}[600001ms]"), end)?;
        let finding = ledger.compare(&ledger.promised(), &places_in(&data)?);
        anyhow::Ok(finding)
    };
    assert_eq!(write(&trio, &mut ledger, &[0, 1, 2]), 0, "all nodes are there");
    trio.kill(2).expect("it runs");
    let refused = write(&trio, &mut ledger, &[0, 1]);
    println!("with one of three dead {refused} of 300 series were refused");
    assert!((50..150).contains(&refused), "about a third of the shards is refused: {refused}");
    // What is not whole is refused, never given as an answer.
    let answer = trio.node(0).api.post_form("/api/v1/query", &[("query", METRIC)]);
    let answer = answer.expect("it answers");
    println!("a query over all: {} {}", answer.status, answer.body.trim());
    assert!(answer.status == 503 || answer.body.contains("warnings"), "{}", answer.body);
    trio.start_all().expect("it starts again");
    poll::until("all shards", END_LIMIT, || inspect(&trio, &ledger, 0)).expect("they answer");
    assert_eq!(write(&trio, &mut ledger, &[0, 1, 2]), 0, "all nodes are there again");
    for node in 0..3 {
        let finding = inspect(&trio, &ledger, node).expect("it answers");
        finding.check().expect("none missing, none invented");
    }
    // All at once, and back.
    (0..3).for_each(|node| trio.kill(node).expect("it runs"));
    trio.start_all().expect("they start again");
    for node in 0..3 {
        let finding = poll::until("all shards", END_LIMIT, || inspect(&trio, &ledger, node));
        finding.expect("it answers").check().expect("none missing, none invented");
    }
}
