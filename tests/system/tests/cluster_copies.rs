//! Five copies of each shard, of which two are lost at a time, and one copy, of which none may be.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use rangekeeper_system_tests::api::Answer;
use rangekeeper_system_tests::faults::{inspect, short_or_soak};
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::ledger::{Finding, Ledger, METRIC, Place, places_in};
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::trio::Trio;

/// Series of the test with one copy, each in a request of its own. A node has a third of them.
const SERIES: u32 = 90;

/// How many of them may be refused for a dead node: it has a third of the shards, and the chance
/// to be outside of this is below one in a million.
const THIRD: Range<usize> = 10..55;

/// How long before the start the samples begin; the run may not last longer.
const HEAD_START_MS: i64 = 600_000;

/// Time in which all shards have to answer again.
const BACK_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn of_five_copies_two_may_be_lost_at_a_time() {
    let folder = Folder::new("five-copies-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 5).expect("five nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    for _ in 0..short_or_soak(1, 10) {
        for (lost, left) in [([3, 4], [0, 1, 2]), ([0, 1], [2, 3, 4])] {
            fleet.wait_for_requests(100).expect("writes go on");
            for node in lost {
                fleet.away(node);
                trio.kill(node).expect("it runs");
            }
            fleet.wait_for_requests(100).expect("writes go on while two are away");
            // The second time, two of these missed what the first had taken.
            inspect(&fleet, &left).expect("none missing, none invented");
            trio.start_all().expect("they start again");
            for node in lost {
                fleet.back(node);
            }
        }
    }
    fleet.stop_sending().expect("no sender failed");
    // What came last is at three at least, of whom two die.
    for node in [0, 2] {
        trio.kill(node).expect("it runs");
    }
    inspect(&fleet, &[1, 3]).expect("none missing, none invented");
    fleet.report().check().expect("none missing, none invented, none refused for long");
    // With three of five away nothing is promised, so nothing may be acknowledged.
    trio.kill(4).expect("it runs");
    let mut ledger = Ledger::new("too-few");
    let answer = trio.node(1).api.write(&ledger.attempt(&[(0, 1)])).expect("it answers");
    println!("a write to two of five: {} {}", answer.status, answer.body.trim());
    assert_eq!(answer.status, 503, "{}", answer.body);
    let answer = trio.node(1).api.post_form("/api/v1/query", &[("query", METRIC)]);
    let answer = answer.expect("it answers");
    println!("a query of two of five: {} {}", answer.status, answer.body.trim());
    assert!(answer.status == 503 || answer.body.contains("warnings"), "{}", answer.body);
}

/// A sender that gives each series a request of its own, which touches one shard.
struct OneByOne {
    ledger: Ledger,
    start_ms: i64,
    rounds: i64,
}

impl OneByOne {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let now_ms = i64::try_from(now.as_millis()).expect("a clock before the year 292 million");
        Self { ledger: Ledger::new("0"), start_ms: now_ms - HEAD_START_MS, rounds: 0 }
    }

    /// Sends a sample of each series to these nodes in turn, all at once, since what is refused is
    /// tried for a while before. The bodies of the refusals.
    fn write(&mut self, trio: &Trio, nodes: &[usize]) -> Result<Vec<String>> {
        self.rounds += 1;
        let place = |series: u32| -> Place { (series, self.start_ms + self.rounds * 1000) };
        let bodies: Vec<_> = (0..SERIES).map(|n| self.ledger.attempt(&[place(n)])).collect();
        let answers: Vec<Result<Answer>> = std::thread::scope(|scope| {
            let send = |(body, node): (&Vec<u8>, &usize)| {
                let (api, body) = (trio.node(*node).api.clone(), body.clone());
                scope.spawn(move || api.write(&body))
            };
            let threads: Vec<_> = bodies.iter().zip(nodes.iter().cycle()).map(send).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        let mut refusals = Vec::new();
        for (series, answer) in (0..SERIES).zip(answers) {
            let answer = answer?;
            if answer.is_success() {
                self.ledger.acknowledge(&[place(series)]);
                continue;
            }
            ensure!(answer.status == 503, "{} {}", answer.status, answer.body);
            refusals.push(answer.body);
        }
        Ok(refusals)
    }

    /// All nodes take everything, at once but for what is on its way to their first connections.
    fn write_all(&mut self, trio: &Trio) {
        let written = || {
            let refused = self.write(trio, &[0, 1, 2])?;
            ensure!(refused.is_empty(), "though all nodes are there: {refused:?}");
            Ok(())
        };
        poll::until("all shards", BACK_LIMIT, written).expect("all nodes take writes");
    }

    /// What a node finds of all that was sent.
    fn inspect(&self, trio: &Trio, node: usize) -> Result<Finding> {
        let end = Duration::from_millis((self.start_ms + HEAD_START_MS).unsigned_abs());
        let query = format!("{METRIC}[{}ms]", HEAD_START_MS + 1);
        let data = trio.node(node).api.query(&query, end.as_secs_f64())?;
        Ok(self.ledger.compare(&self.ledger.promised(), &places_in(&data)?))
    }

    /// All nodes answer everything, at once but for the first answer of each.
    fn inspect_all(&self, trio: &Trio) {
        for node in 0..3 {
            let inspect = || self.inspect(trio, node);
            let finding = poll::until("all shards", BACK_LIMIT, inspect).expect("it answers");
            finding.check().expect("none missing, none invented");
        }
    }
}

#[test]
fn with_one_copy_the_shards_of_a_dead_node_are_refused_by_name_and_lose_nothing() {
    let folder = Folder::new("one-copy-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 1).expect("three nodes start") else {
        return;
    };
    let mut sender = OneByOne::new();
    sender.write_all(&trio);
    trio.kill(2).expect("it runs");
    let refused = sender.write(&trio, &[0, 1]).expect("it answers");
    println!(
        "with one of three dead {} of {SERIES} series were refused, such as by {:?}",
        refused.len(),
        refused.first()
    );
    assert!(THIRD.contains(&refused.len()), "{} were refused, not a third", refused.len());
    let unnamed = refused.iter().find(|said| !said.contains("shard "));
    assert_eq!(unnamed, None, "the refusal does not name the shard");
    // What is not whole is refused or marked, never given as an answer.
    let answer = trio.node(0).api.post_form("/api/v1/query", &[("query", METRIC)]);
    let answer = answer.expect("it answers");
    println!("a query over all: {} {}", answer.status, answer.body.trim());
    assert!(answer.status == 503 || answer.body.contains("warnings"), "{}", answer.body);
    trio.start_all().expect("it starts again");
    sender.inspect_all(&trio);
    sender.write_all(&trio);
    (0..3).for_each(|node| trio.kill(node).expect("it runs"));
    trio.start_all().expect("they start again");
    sender.inspect_all(&trio);
}
