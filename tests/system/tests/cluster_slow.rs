//! Nodes that are slow, stand still, have too much to do, or are of another build: whoever asks or
//! writes gets what a healthy cluster would give.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rangekeeper_system_tests::api::Api;
use rangekeeper_system_tests::faults::{
    inspect, inspect_with_each_stopped, short_or_soak, stray_request, with_environment,
    wrapped_trio,
};
use rangekeeper_system_tests::fleet::{Fleet, Pace};
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::node::free_address;
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::slow::SlowLink;
use rangekeeper_system_tests::trio::{Place, Trio};
use rangekeeper_system_tests::zookeeper::Ensemble;

/// How late everything is at the slow peer.
const LATE: Duration = Duration::from_secs(2);

/// Under which other nodes know the one that is behind the slow link.
const BEHIND_LINK: &str = "127.0.0.2";

/// The longest that a request may be refused while a quorum is there.
const REFUSAL_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait until all nodes have heard of something.
const NOTICE_LIMIT: Duration = Duration::from_mins(1);

/// What is heavy to ask, and for how many seconds, a step each.
const HEAVY: &str = "sum(rate({__name__=~\".+\"}[5m]))";
const HEAVY_SECONDS: f64 = 900.0;

/// The longest wait for the answer to it.
const HEAVY_LIMIT: Duration = Duration::from_mins(1);

/// A cluster whose third node is reached by the others through a link that can be slow.
fn with_slow_link(folder: &Folder) -> Result<Option<(Trio, SlowLink)>> {
    let Some(ensemble) = Ensemble::start(folder.path(), 1)? else { return Ok(None) };
    let place = |wrapper: Vec<OsString>| -> Result<Place> {
        Ok(Place { listen: free_address()?, peer: free_address()?, wrapper })
    };
    let advertised = [("RANGEKEEPER_CLUSTER__ADVERTISE".to_owned(), OsString::from(BEHIND_LINK))];
    let places = [place(Vec::new())?, place(Vec::new())?, place(with_environment(&advertised))?];
    let port = places[2].peer.rsplit_once(':').context("an address has a port")?.1;
    let link = SlowLink::start(&format!("{BEHIND_LINK}:{port}"), &places[2].peer)?;
    let trio = Trio::around(folder.path(), ensemble, 3, &places)?;
    Ok(Some((trio, link)))
}

#[test]
fn a_peer_to_which_all_comes_two_seconds_late_delays_nobody() {
    let folder = Folder::new("slow-peer-").expect("a folder");
    let Some((mut trio, link)) = with_slow_link(&folder).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    fleet.wait_for_requests(300).expect("writes go on");
    assert_eq!(link.late_bytes(), 0);
    link.delay(LATE);
    fleet.wait_for_requests(50).expect("writes go on");
    inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
    fleet.run_for(Duration::from_secs(short_or_soak(8, 60)));
    inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
    println!("slow: {} bytes came late; {}", link.late_bytes(), fleet.report());
    assert!(link.late_bytes() > 0, "nothing went through the link");
    link.delay(Duration::ZERO);
    fleet.wait_for_requests(200).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet).expect("none missing, none invented");
    trio.wait_settled().expect("what came late is everywhere");
    trio.kill(0).expect("it runs");
    inspect(&fleet, &[1, 2]).expect("none missing, none invented");
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

/// The epoch of the map that a node uses.
fn epoch(trio: &Trio, at: usize) -> Result<u64> {
    trio.status(at)?["epoch"].as_u64().context("no map")
}

#[test]
fn a_router_that_stood_still_while_the_map_changed_is_right_at_once() {
    let folder = Folder::new("paused-router-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    for &router in short_or_soak(&[2][..], &[2, 0, 2, 0]) {
        let other = 1;
        fleet.wait_for_requests(200).expect("writes go on");
        let before = epoch(&trio, router).expect("it has a map");
        fleet.away(router);
        trio.node(router).process.pause().expect("it runs");
        fleet.wait_for_requests(200).expect("writes go on while it stands");
        // Another one starts anew: for a moment there is no quorum, and nobody is asked.
        let third = 2 - router;
        fleet.away(other);
        fleet.away(third);
        trio.stop(other).expect("it stops in order");
        trio.begin(other).expect("it starts");
        for node in [other, third] {
            poll::until("a ready node", NOTICE_LIMIT, || trio.node(node).api.check_ready())
                .expect("two of three are there");
        }
        fleet.back(other);
        fleet.back(third);
        poll::until("a newer map", NOTICE_LIMIT, || {
            let now = epoch(&trio, third)?;
            ensure!(now >= before + 2, "the epoch is {now}, and was {before}");
            Ok(())
        })
        .expect("one went and one came");
        fleet.wait_for_requests(100).expect("writes go on while it stands");
        trio.node(router).process.resume().expect("it stands");
        fleet.back(router);
        let resumed = Instant::now();
        inspect(&fleet, &[router]).expect("none missing, none invented");
        poll::until("a write that is taken", REFUSAL_LIMIT, || {
            let answer = trio.node(router).api.write(&stray_request()?)?;
            ensure!(answer.is_success(), "{} {}", answer.status, answer.body);
            Ok(())
        })
        .expect("it routes writes");
        println!("asked and written to after {:.2} s", resumed.elapsed().as_secs_f64());
        fleet.wait_for_requests(200).expect("writes go on");
        println!("router {router}, map {before}: {}", fleet.report());
    }
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet).expect("none missing, none invented");
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

/// What a client of heavy queries got.
#[derive(Default)]
struct Heavy {
    answered: u32,
    shed: u32,
    longest: Duration,
}

/// Keeps asking one query over everything, of each node in turn, until the end of the run.
fn ask_heavily(bases: &[String], from: f64, end: &AtomicBool) -> Result<Heavy> {
    let apis: Vec<_> = bases.iter().map(|base| Api::with_limit(base, HEAVY_LIMIT)).collect();
    let (start, stop) = (format!("{from:.3}"), format!("{:.3}", from + HEAVY_SECONDS));
    let form = [("query", HEAVY), ("start", &start), ("end", &stop), ("step", "1")];
    let (mut heavy, mut refused_since) = (Heavy::default(), None);
    for api in apis.iter().cycle() {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let begun = *refused_since.get_or_insert_with(Instant::now);
        let answer = api.post_form("/api/v1/query_range", &form)?;
        match answer.status {
            200 => {
                heavy.answered += 1;
                heavy.longest = heavy.longest.max(begun.elapsed());
                refused_since = None;
            }
            429 | 503 => {
                heavy.shed += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
            status => bail!("{status} {}", answer.body),
        }
    }
    Ok(heavy)
}

#[test]
fn twice_the_load_with_a_heavy_query_costs_time_and_no_sample() {
    let folder = Folder::new("heavy-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around_at(&trio, Pace::Full).expect("senders start");
    let bases = [0, 1, 2].map(|at| trio.node(at).api.base().to_owned());
    let (from, end) = (fleet.first_sample(), AtomicBool::new(false));
    let heavy = std::thread::scope(|scope| {
        let asker = || scope.spawn(|| ask_heavily(&bases, from, &end));
        let askers = [asker(), asker(), asker(), asker()];
        fleet.run_for(Duration::from_secs(short_or_soak(10, 120)));
        end.store(true, Ordering::Relaxed);
        askers.map(|asker| asker.join().expect("an asker does not panic"))
    });
    for heavy in heavy {
        let heavy = heavy.expect("a heavy query is answered or shed");
        let longest = heavy.longest.as_secs_f64();
        println!("{} answered, {} shed, one took {longest:.2} s", heavy.answered, heavy.shed);
        assert!(heavy.answered > 0, "no heavy query was ever answered");
    }
    fleet.stop_sending().expect("no sender failed");
    let report = fleet.report();
    let shed = |status: Option<u16>| matches!(status, Some(429 | 503));
    let other: Vec<_> = report.refusals.iter().filter(|refusal| !shed(refusal.status)).collect();
    assert!(other.is_empty(), "{other:#?}");
    inspect_with_each_stopped(&mut trio, &fleet).expect("none missing, none invented");
    report.check().expect("none missing, none invented, none refused for long");
}

/// Names the binary of an older build, for a test of both together.
const OLD_BINARY: &str = "RANGEKEEPER_OLD_BIN";

#[test]
fn an_older_build_is_replaced_node_by_node_under_load() {
    let Some(old) = std::env::var_os(OLD_BINARY) else {
        println!("skipped: {OLD_BINARY} names no older build");
        return;
    };
    let folder = Folder::new("older-build-").expect("a folder");
    // The words before the command line drop its first one, which is the newer build.
    let instead = |_| {
        let words = ["sh", "-c", "shift; exec \"$0\" \"$@\""].map(OsString::from);
        words.into_iter().chain([old.clone()]).collect()
    };
    let Some(mut trio) = wrapped_trio(&folder, instead).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    for node in [2, 1, 0] {
        fleet.wait_for_requests(200).expect("writes go on");
        fleet.away(node);
        trio.stop(node).expect("it stops in order");
        trio.setup(node).wrapper.clear();
        trio.start_all().expect("the newer build starts with the older one's data");
        fleet.back(node);
        fleet.wait_for_requests(100).expect("writes go on");
        inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
        println!("node {node} is of the newer build: {}", fleet.report());
    }
    fleet.stop_sending().expect("no sender failed");
    inspect_with_each_stopped(&mut trio, &fleet).expect("none missing, none invented");
    fleet.report().check_unharmed().expect("nobody noticed");
}
