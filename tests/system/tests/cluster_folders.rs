//! A node comes back with another data folder than the one that the cluster knows, or two
//! processes come with one name: whatever lies there counts as no copy, and the others lose
//! nothing by it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rangekeeper_system_tests::faults::{copy_folder, inspect};
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::ledger::{Ledger, METRIC, Place};
use rangekeeper_system_tests::node::{Setup, free_address};
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::trio::{NAMES, Trio};
use serde_json::Value;

/// Time in which every node has heard of something.
const LIMIT: Duration = Duration::from_secs(30);

/// The node whose folder changes.
const C: usize = 2;

/// Series that a test sends past the fleet.
const STRAYS: u32 = 200;

fn trio(folder: &Folder) -> Option<Trio> {
    Trio::start(folder.path(), None, 1, 3).expect("three nodes start")
}

fn fleet(trio: &Trio) -> Fleet {
    Fleet::around(trio).expect("senders start")
}

/// The rows of node c, as a node sees them.
fn rows_of_c(status: &Value) -> Result<Vec<&Value>> {
    let nodes = status["nodes"].as_array().context("no list of nodes")?;
    Ok(nodes.iter().filter(|node| node["id"] == NAMES[C]).collect())
}

/// Waits until node a sees that `wanted` holds of its status.
fn wait_seen(trio: &Trio, what: &str, wanted: impl Fn(&Value) -> Result<bool>) -> Value {
    let seen = poll::until(what, LIMIT, || {
        let status = trio.status(0)?;
        ensure!(wanted(&status)?, "{} {}", status["summary"], status["nodes"]);
        Ok(status)
    });
    seen.expect("it is seen")
}

/// Waits until the process of a node does not say that it is ready but this.
fn wait_refused(trio: &Trio, node: usize, why: &str) {
    let refused = poll::until("a node that is not ready", LIMIT, || {
        let answer = trio.node(node).api.get("/-/ready")?;
        ensure!(answer.status == 503 && answer.body.contains(why), "it says {}", answer.body);
        Ok(answer.body)
    });
    println!("{}", refused.expect("it is not ready").trim());
}

/// While b is dead too, one copy of three is left: neither a nor c promises or answers anything.
fn check_nothing_is_promised(trio: &mut Trio) {
    trio.kill(1).expect("it runs");
    let (strays, _) = strays();
    for node in [0, C] {
        let api = &trio.node(node).api;
        let write = api.write(&strays).expect("it answers");
        let query = api.post_form("/api/v1/query", &[("query", METRIC)]).expect("it answers");
        for answer in [write, query] {
            let refused = answer.status == 503 || answer.body.contains("\"warnings\"");
            assert!(refused, "node {node}: {} {}", answer.status, answer.body);
        }
    }
    trio.begin(1).expect("it was dead");
    poll::until("a ready node", LIMIT, || trio.node(1).api.check_ready()).expect("it starts");
}

/// Gives c the folder `kept` in place of its own, and all that was acknowledged is found by it and
/// b alone.
fn check_its_own_folder_is_whole(trio: &mut Trio, fleet: &Fleet, kept: &PathBuf) {
    let data = trio.setup(C).data.clone();
    trio.stop(C).expect("it stops in order");
    fs::remove_dir_all(&data).expect("it is there");
    fs::rename(kept, &data).expect("it is there");
    trio.start_all().expect("it starts with its own folder");
    wait_seen(trio, "all copies", |status| Ok(status["summary"]["below_replication"] == 0));
    trio.kill(0).expect("it runs");
    inspect(fleet, &[1, C]).expect("none missing, none invented");
}

#[test]
fn an_emptied_folder_counts_as_no_copy() {
    let folder = Folder::new("emptied-").expect("a folder");
    let Some(mut trio) = trio(&folder) else { return };
    let mut fleet = fleet(&trio);
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.away(C);
    trio.stop(C).expect("it stops in order");
    let data = trio.setup(C).data.clone();
    let kept = data.with_extension("kept");
    fs::rename(&data, &kept).expect("it is there");
    trio.start_all().expect("it starts with an empty folder");
    let status = wait_seen(&trio, "a lost folder", |status| {
        let rows = rows_of_c(status)?;
        Ok(rows.len() == 2 && rows[0]["status"] == "lost" && rows[1]["status"] == "up")
    });
    let rows = rows_of_c(&status).expect("it was seen");
    assert_eq!([&rows[0]["slots"], &rows[1]["slots"]], [256, 0], "nothing moves yet");
    assert_eq!(status["summary"]["below_replication"], 256, "{}", status["summary"]);
    fleet.back(C);
    fleet.wait_for_requests(100).expect("writes go on");
    inspect(&fleet, &[0, 1, C]).expect("none missing, none invented");
    fleet.stop_sending().expect("no sender failed");
    check_nothing_is_promised(&mut trio);
    check_its_own_folder_is_whole(&mut trio, &fleet, &kept);
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

/// Starts c again after it was away, and waits until the map says that it was.
fn start_counted(trio: &mut Trio, boot: u64) {
    trio.start_all().expect("it starts again");
    wait_seen(trio, "its start", |status| {
        Ok(rows_of_c(status)?.first().is_some_and(|row| row["boot"] == boot))
    });
}

#[test]
fn a_folder_that_was_rolled_back_counts_as_no_copy() {
    let folder = Folder::new("rolled-back-").expect("a folder");
    let Some(mut trio) = trio(&folder) else { return };
    let mut fleet = fleet(&trio);
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.away(C);
    trio.stop(C).expect("it stops in order");
    let data = trio.setup(C).data.clone();
    let [older, kept] = ["older", "kept"].map(|name| data.with_extension(name));
    copy_folder(&data, &older).expect("it is there");
    start_counted(&mut trio, 2);
    trio.stop(C).expect("it stops in order");
    start_counted(&mut trio, 3);
    fleet.back(C);
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.away(C);
    roll_back(&mut trio, &older, &kept);
    wait_refused(&trio, C, "opened 2 times, and 3 times when the cluster saw it last");
    wait_seen(&trio, "a lost folder", |status| Ok(rows_of_c(status)?[0]["status"] == "lost"));
    fleet.wait_for_requests(100).expect("writes go on");
    // Whoever asks it all the same is answered by the others.
    inspect(&fleet, &[0, 1, C]).expect("none missing, none invented");
    fleet.stop_sending().expect("no sender failed");
    check_nothing_is_promised(&mut trio);
    check_its_own_folder_is_whole(&mut trio, &fleet, &kept);
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

/// Samples of no lane, now, and the time.
fn strays() -> (Vec<u8>, f64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let now_ms = i64::try_from(now.as_millis()).expect("a clock before the year 292 million");
    let places: Vec<Place> = (0..STRAYS).map(|series| (series, now_ms)).collect();
    (Ledger::new("stray").attempt(&places), now.as_secs_f64() + 1.0)
}

/// How another process of node c is started, with a folder of this name.
fn another_c(trio: &mut Trio, folder: &Folder, name: &str) -> Setup {
    let mut setup = trio.setup(C).clone();
    setup.data = folder.path().join(name);
    setup.listen = free_address().expect("a free port");
    let at = setup.options.iter().position(|option| option == "--peer-listen");
    let address = free_address().expect("a free port");
    setup.options[at.expect("it listens to peers") + 1] = address.into();
    setup
}

/// Starts it; it must say that it is refused for this reason, and what it still acknowledges must
/// be at the others.
fn check_refused(trio: &Trio, setup: &Setup, why: &str) {
    let mut process = setup.start().expect("the process starts");
    let refused = poll::until("a refusal", LIMIT, || {
        let answer = process.api.get("/-/ready")?;
        ensure!(answer.status == 503 && answer.body.contains(why), "it says {}", answer.body);
        let log = fs::read_to_string(process.process.log())?;
        ensure!(log.contains(why), "its log does not say so");
        let status = serde_json::from_str::<Value>(&process.api.get("/api/cluster/v1")?.body)?;
        ensure!(status["alarms"][0]["kind"] == "name_taken", "alarms: {}", status["alarms"]);
        Ok(answer.body)
    });
    println!("{}", refused.expect("it is refused").trim());
    let (strays, time) = strays();
    let write = process.api.write(&strays).expect("it answers");
    process.process.kill().expect("it runs");
    if !write.is_success() {
        return println!("a write to it: {} {}", write.status, write.body.trim());
    }
    let query = "count(rangekeeper_workload{lane=\"stray\"})";
    for node in 0..3 {
        let answer = trio.node(node).api.query(query, time).expect("it answers");
        let count = answer.pointer("/result/0/value/1").and_then(Value::as_str);
        assert_eq!(
            count,
            Some(STRAYS.to_string().as_str()),
            "node {node} misses acknowledged ones"
        );
    }
}

#[test]
fn a_second_process_with_the_name_of_one_that_runs_is_refused() {
    let folder = Folder::new("second-").expect("a folder");
    let Some(mut trio) = trio(&folder) else { return };
    let mut fleet = fleet(&trio);
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.away(C);
    trio.stop(C).expect("it stops in order");
    let copy = another_c(&mut trio, &folder, "copy");
    copy_folder(&trio.setup(C).data, &copy.data).expect("it is there");
    start_counted(&mut trio, 2);
    fleet.back(C);
    check_refused(&trio, &copy, "runs on the same store or a copy of it");
    let other = another_c(&mut trio, &folder, "other");
    check_refused(&trio, &other, "has that name, with store");
    fleet.wait_for_requests(100).expect("writes go on");
    let status = trio.status(0).expect("it answers");
    assert_eq!(status["summary"]["below_replication"], 0, "{}", status["summary"]);
    fleet.stop_sending().expect("no sender failed");
    inspect(&fleet, &[0, 1, C]).expect("none missing, none invented");
    trio.kill(0).expect("it runs");
    inspect(&fleet, &[1, C]).expect("none missing, none invented");
    fleet.report().check_unharmed().expect("nobody noticed");
}

/// Puts `older` in place of the folder that c stopped with, which is moved to `kept`.
fn roll_back(trio: &mut Trio, older: &PathBuf, kept: &PathBuf) {
    let data = trio.setup(C).data.clone();
    trio.stop(C).expect("it stops in order");
    fs::rename(&data, kept).expect("it is there");
    fs::rename(older, &data).expect("it is there");
    trio.begin(C).expect("it was stopped");
}

#[test]
fn a_folder_from_before_the_last_start_counts_as_no_copy_however_often_it_is_started() {
    let folder = Folder::new("rolled-back-once-").expect("a folder");
    let Some(mut trio) = trio(&folder) else { return };
    let mut fleet = fleet(&trio);
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.away(C);
    trio.stop(C).expect("it stops in order");
    let data = trio.setup(C).data.clone();
    let [older, kept] = ["older", "kept"].map(|name| data.with_extension(name));
    copy_folder(&data, &older).expect("it is there");
    start_counted(&mut trio, 2);
    fleet.wait_for_requests(100).expect("writes go on");
    roll_back(&mut trio, &older, &kept);
    for _ in 0..3 {
        wait_refused(&trio, C, "older copy");
        trio.stop(C).expect("it stops in order");
        trio.begin(C).expect("it was stopped");
    }
    fleet.stop_sending().expect("no sender failed");
    inspect(&fleet, &[0, 1, C]).expect("none missing, none invented");
    check_its_own_folder_is_whole(&mut trio, &fleet, &kept);
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

#[test]
fn a_copied_folder_is_refused_though_it_is_started_more_often_than_its_original() {
    let folder = Folder::new("copied-twice-").expect("a folder");
    let Some(mut trio) = trio(&folder) else { return };
    let mut fleet = fleet(&trio);
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.away(C);
    trio.stop(C).expect("it stops in order");
    let copy = another_c(&mut trio, &folder, "copy");
    copy_folder(&trio.setup(C).data, &copy.data).expect("it is there");
    start_counted(&mut trio, 2);
    fleet.back(C);
    for _ in 0..3 {
        fleet.wait_for_requests(100).expect("writes go on");
        check_refused(&trio, &copy, "runs on the same store or a copy of it");
    }
    fleet.stop_sending().expect("no sender failed");
    trio.kill(0).expect("it runs");
    inspect(&fleet, &[1, C]).expect("none missing, none invented");
    fleet.report().check_unharmed().expect("nobody noticed");
}
