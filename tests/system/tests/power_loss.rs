//! Power loss: the node is killed, then every file is cut to what was synced. What was acknowledged
//! under `durability = "sync"` is there all the same.

use std::fs;
use std::path::Path;
use std::process::Command;

use rangekeeper_system_tests::ledger::Finding;
use rangekeeper_system_tests::node::Setup;
use rangekeeper_system_tests::power::{Loss, PowerSupply};
use rangekeeper_system_tests::workload::{Workload, seed};

/// How often the power fails; a soak run asks for more.
fn rounds() -> u32 {
    match std::env::var("RANGEKEEPER_SOAK") {
        Ok(_) => 60,
        Err(_) => 6,
    }
}

/// Files of the log so small that they are closed and deleted within a run.
const SMALL_LOG: &[&str] = &["log.file=1MiB", "log.bound=8MiB", "storage.disk_reserve=16MiB"];

/// Runs a node under load through power cuts and says what is found after each one.
fn through_power_cuts(folder: &Path, settings: &[&str], rounds: u32) -> Vec<(Loss, Finding)> {
    let mut random = fastrand::Rng::with_seed(seed());
    let data = folder.join("data");
    let supply = PowerSupply::new(folder).expect("a table for the library");
    let mut setup = Setup::new(&data).expect("a free port");
    setup.environment = supply.environment();
    setup.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let mut node = setup.start_ready().expect("the node starts");
    let workload = Workload::start(&node.api).expect("the senders start");
    let mut outcome = Vec::new();
    for round in 1..=rounds {
        workload.wait_for_requests(random.u64(20..500)).expect("the node takes writes");
        if round % 3 == 0 {
            node.seal().expect("sealing under load");
        }
        node.process.kill().expect("the node was running");
        let loss = supply.cut(&data).expect("every write was seen");
        node = setup.start_ready().expect("the node starts after a power cut");
        let finding = workload.inspect().expect("the node answers");
        println!(
            "cut {round}: {} bytes of {} files lost; {} acknowledged, {} found",
            loss.bytes, loss.files, finding.acknowledged, finding.found
        );
        outcome.push((loss, finding));
    }
    assert!(supply.syncs() > 0, "the library saw no sync at all");
    workload.finish().expect("no valid write was refused");
    outcome
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (_, finding) in through_power_cuts(folder.path(), &[], rounds()) {
        finding.check().expect("all that was acknowledged, nothing that was never sent");
    }
}

#[test]
fn a_power_cut_loses_nothing_while_files_of_the_log_come_and_go() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (_, finding) in through_power_cuts(folder.path(), SMALL_LOG, rounds()) {
        finding.check().expect("all that was acknowledged, nothing that was never sent");
    }
}

#[test]
fn without_syncs_a_power_cut_does_lose_samples_and_invents_none() {
    // Shows that the cut takes something away at all: the same run would not pass the test above.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let outcome = through_power_cuts(folder.path(), &["storage.durability=flush"], 2);
    assert!(outcome.iter().any(|(loss, _)| loss.bytes > 0), "no cut took a byte");
    assert!(outcome.iter().any(|(_, finding)| !finding.missing.is_empty()), "nothing was lost");
    assert!(outcome.iter().all(|(_, finding)| finding.invented.is_empty()), "invented samples");
}

#[test]
fn the_cut_takes_what_was_written_after_the_last_sync() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let supply = PowerSupply::new(folder.path()).expect("a table for the library");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder for the data");
    let write = |file: &str, arguments: &[&str]| {
        let status = Command::new("dd")
            .args(["if=/dev/urandom", "bs=1000", "status=none"])
            .arg(format!("of={}", data.join(file).display()))
            .args(arguments)
            .envs(supply.environment())
            .status()
            .expect("dd runs");
        assert!(status.success(), "dd ended with {status}");
    };
    write("synced", &["count=4", "conv=fsync"]);
    write("appended", &["count=3", "conv=fdatasync"]);
    write("appended", &["count=2", "oflag=append", "conv=notrunc"]);
    write("never", &["count=7"]);
    fs::rename(data.join("appended"), data.join("renamed")).expect("a new name");

    let loss = supply.cut(&data).expect("every write was seen");
    let length = |file: &str| fs::metadata(data.join(file)).expect("the file is there").len();
    assert_eq!((length("synced"), length("renamed"), length("never")), (4000, 3000, 0));
    assert_eq!((loss.files, loss.bytes), (2, 9000));
    assert_eq!(supply.syncs(), 2);
}
