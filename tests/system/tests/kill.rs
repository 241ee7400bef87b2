//! `kill -9` under load: a sender that knows what was acknowledged finds all of it afterwards, and
//! nothing beside what it sent.

use rangekeeper_system_tests::node::Setup;
use rangekeeper_system_tests::workload::{Workload, seed};

/// How often the node is killed; a soak run asks for more.
fn rounds() -> u32 {
    match std::env::var("RANGEKEEPER_SOAK") {
        Ok(_) => 100,
        Err(_) => 10,
    }
}

#[test]
fn kill_nine_under_load_loses_nothing_that_was_acknowledged() {
    let mut random = fastrand::Rng::with_seed(seed());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let setup = Setup::new(&folder.path().join("data")).expect("a free port");
    let mut node = setup.start_ready().expect("the node starts");
    let workload = Workload::start(&node.api).expect("the senders start");
    for round in 1..=rounds() {
        workload.wait_for_requests(random.u64(20..600)).expect("the node takes writes");
        node.process.kill().expect("the node was running");
        node = setup.start_ready().expect("the node starts after a kill");
        let finding = workload.inspect().expect("the node answers");
        println!("kill {round}: {} acknowledged, {} found", finding.acknowledged, finding.found);
        finding.check().expect("all that was acknowledged, nothing that was never sent");
    }
    let finding = workload.finish().expect("no valid write was refused");
    finding.check().expect("all that was acknowledged, nothing that was never sent");

    // Orderly this time: what the head held has to be there as well.
    let status = node.process.stop().expect("the node drains");
    assert!(status.success(), "the node ended with {status}");
}

#[test]
fn a_stopped_node_keeps_everything_and_sealing_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let setup = Setup::new(&folder.path().join("data")).expect("a free port");
    let mut node = setup.start_ready().expect("the node starts");
    let workload = Workload::start(&node.api).expect("the senders start");
    workload.wait_for_requests(300).expect("the node takes writes");
    node.seal().expect("sealing under load");
    workload.wait_for_requests(100).expect("the node takes writes after sealing");
    let status = node.process.stop().expect("the node drains");
    assert!(status.success(), "the node ended with {status}");
    node = setup.start_ready().expect("the node starts again");
    workload.inspect().expect("the node answers").check().expect("nothing lost by a restart");
    node.seal().expect("sealing after a restart");
    let finding = workload.finish().expect("no valid write was refused");
    finding.check().expect("nothing lost by sealing");
    assert!(finding.acknowledged > 0);
}
