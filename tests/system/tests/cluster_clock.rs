//! A node whose clock is a day off: nobody is sent to it, and what others give it it keeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use rangekeeper_system_tests::faults::inspect;
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::ledger::Ledger;
use rangekeeper_system_tests::trio::{NAMES, Trio};
use rangekeeper_system_tests::{poll, programs};

/// Time in which the nodes have compared their clocks.
const LIMIT: Duration = Duration::from_secs(30);

const DAY_SECONDS: i32 = 24 * 60 * 60;

/// The node whose clock is off.
const C: usize = 2;

/// Stops c and starts it with a clock that is off by so much.
fn start_shifted(trio: &mut Trio, seconds: i32) {
    trio.stop(C).expect("it stops in order");
    let library = programs::clockshift().expect("it was built");
    trio.setup(C).environment = vec![
        ("LD_PRELOAD".to_owned(), library.into()),
        ("RANGEKEEPER_CLOCK_SHIFT_SECONDS".to_owned(), seconds.to_string().into()),
    ];
    trio.begin(C).expect("it was stopped");
}

/// Waits until c says that its clock is on this side of the others', and node a sees how far.
fn wait_said(trio: &Trio, seconds: i32, side: &str) {
    let said = poll::until("a clock that is said to be off", LIMIT, || {
        let answer = trio.node(C).api.get("/-/ready")?;
        ensure!(answer.status == 503 && answer.body.contains(side), "it says {}", answer.body);
        let status = trio.status(0)?;
        let nodes = status["nodes"].as_array().into_iter().flatten();
        let row = nodes.into_iter().find(|node| node["id"] == NAMES[C]);
        let ahead = row.and_then(|row| row["clock_ahead_seconds"].as_f64()).unwrap_or_default();
        ensure!((ahead - f64::from(seconds)).abs() < 60.0, "node a sees it {ahead} s ahead");
        Ok(answer.body)
    });
    println!("{}", said.expect("it is said").trim());
}

#[test]
fn a_clock_that_is_a_day_off_loses_nothing() {
    let folder = Folder::new("clock-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.away(C);
    let sides = [(DAY_SECONDS, "ahead of those of most nodes", 1), (-DAY_SECONDS, "behind", 0)];
    for (seconds, side, other) in sides {
        start_shifted(&mut trio, seconds);
        wait_said(&trio, seconds, side);
        // Without one of the others nothing is acknowledged but by it.
        fleet.away(other);
        trio.kill(other).expect("it runs");
        fleet.wait_for_requests(100).expect("writes go on by its copies");
        inspect(&fleet, &[1 - other]).expect("none missing, none invented");
        trio.begin(other).expect("it was killed");
        let ready = || trio.node(other).api.check_ready();
        poll::until("a ready node", LIMIT, ready).expect("it starts again");
        fleet.back(other);
    }
    trio.stop(C).expect("it stops in order");
    trio.setup(C).environment.clear();
    trio.start_all().expect("it starts with a clock like the others'");
    fleet.back(C);
    fleet.wait_for_requests(100).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect(&fleet, &[0, 1, C]).expect("none missing, none invented");
    trio.kill(0).expect("it runs");
    inspect(&fleet, &[1, C]).expect("none missing, none invented");
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

#[test]
fn what_a_clock_that_is_off_would_refuse_for_good_is_refused_for_now() {
    let folder = Folder::new("clock-router-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    start_shifted(&mut trio, -DAY_SECONDS);
    wait_said(&trio, -DAY_SECONDS, "behind");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let now_ms = i64::try_from(now.as_millis()).expect("a clock before the year 292 million");
    let body = Ledger::new("now").attempt(&[(0, now_ms)]);
    // A sender gives up what is answered with 400, and comes again after a 503.
    let answer = trio.node(C).api.write(&body).expect("it answers");
    assert_eq!(answer.status, 503, "{}", answer.body);
}
