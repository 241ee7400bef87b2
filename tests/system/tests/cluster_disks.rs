//! The disk of a node fails it: power that goes with what was not synced, syncs that fail, no space
//! left, bytes that are not what was written. The others go on, and nothing that was acknowledged
//! is missing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rangekeeper_system_tests::faults::{
    inspect, inspect_with_each_stopped, short_or_soak, stray_request, with_environment,
    wrapped_trio,
};
use rangekeeper_system_tests::fleet::Fleet;
use rangekeeper_system_tests::folder::Folder;
use rangekeeper_system_tests::power::{Loss, PowerSupply};
use rangekeeper_system_tests::trio::{NAMES, Trio};
use rangekeeper_system_tests::workload::seed;
use rangekeeper_system_tests::{namespaces, poll};

/// Longest wait until a node notices what became of its disk.
const NOTICE_LIMIT: Duration = Duration::from_mins(1);

/// A cluster, each node on a power supply of its own.
struct Supplied {
    trio: Trio,
    supplies: [PowerSupply; 3],
}

impl Supplied {
    fn start(folder: &Folder) -> Result<Option<Self>> {
        let supply = |name: &str| -> Result<PowerSupply> {
            let beside = folder.path().join(format!("power-{name}"));
            fs::create_dir(&beside)?;
            PowerSupply::new(&beside)
        };
        let [a, b, c, ..] = NAMES;
        let supplies = [supply(a)?, supply(b)?, supply(c)?];
        let trio = wrapped_trio(folder, |at| with_environment(&supplies[at].environment()))?;
        Ok(trio.map(|trio| Self { trio, supplies }))
    }

    /// Takes the power of a dead node away: what was not synced is gone.
    fn cut(&mut self, at: usize) -> Result<Loss> {
        let data = self.trio.setup(at).data.clone();
        self.supplies[at].cut(&data).with_context(|| format!("cutting node {}", NAMES[at]))
    }
}

fn wait_ready(trio: &Trio, at: usize) -> Result<()> {
    poll::until("a ready node", NOTICE_LIMIT, || trio.node(at).api.check_ready())
}

/// Ends the run: everything is at two of three places before what was missed has arrived, and at
/// the node that had the fault and any other one afterwards.
fn finish(trio: &mut Trio, fleet: &mut Fleet) -> Result<()> {
    fleet.wait_for_requests(200)?;
    fleet.stop_sending()?;
    inspect_with_each_stopped(trio, fleet)?;
    trio.wait_settled()?;
    trio.kill(0)?;
    inspect(fleet, &[1, 2]).context("while node a is dead, after all was settled")?;
    fleet.report().check()
}

#[test]
fn power_that_fails_one_node_and_then_all_takes_nothing_that_was_acknowledged() {
    let mut random = fastrand::Rng::with_seed(seed());
    let folder = Folder::new("power-").expect("a folder");
    let Some(mut supplied) = Supplied::start(&folder).expect("three nodes start") else { return };
    let mut fleet = Fleet::around(&supplied.trio).expect("senders start");
    let mut lost_bytes = 0;
    for round in 0..short_or_soak(2, 20) {
        let one = [random.usize(0..3)];
        for cut in [&one[..], &[0, 1, 2]] {
            fleet.wait_for_requests(random.u64(50..300)).expect("writes go on");
            for node in cut {
                fleet.away(*node);
            }
            for node in cut {
                supplied.trio.kill(*node).expect("it runs");
            }
            if cut.len() == 1 {
                fleet.wait_for_requests(50).expect("writes go on while one is away");
            }
            for node in cut {
                let loss = supplied.cut(*node).expect("every write was seen");
                println!("round {round}, node {node}: {} bytes lost", loss.bytes);
                lost_bytes += loss.bytes;
            }
            supplied.trio.start_all().expect("they start after a power cut");
            inspect(&fleet, cut).expect("none missing, none invented");
            for node in cut {
                fleet.back(*node);
            }
        }
    }
    finish(&mut supplied.trio, &mut fleet).expect("none missing, none invented");
    assert!(supplied.supplies.iter().all(|supply| supply.syncs() > 0), "no sync was seen");
    println!("{lost_bytes} bytes were lost in all");
}

#[test]
fn syncs_that_fail_at_one_node_are_no_acknowledgements() {
    let folder = Folder::new("failing-syncs-").expect("a folder");
    let Some(mut supplied) = Supplied::start(&folder).expect("three nodes start") else { return };
    let mut fleet = Fleet::around(&supplied.trio).expect("senders start");
    fleet.wait_for_requests(200).expect("writes go on");

    fleet.away(2);
    supplied.supplies[2].break_disk();
    fleet.wait_for_requests(200).expect("writes go on at the others");
    fleet.run_for(Duration::from_secs(short_or_soak(5, 60)));
    assert!(supplied.supplies[2].failed_syncs() > 0, "no sync failed");
    inspect(&fleet, &[0, 1, 2]).expect("none missing, none invented");
    supplied.supplies[2].mend_disk();
    wait_ready(&supplied.trio, 2).expect("it recovers by itself");
    fleet.back(2);
    fleet.wait_for_requests(200).expect("writes go on");
    println!("mended after {} failed syncs: {}", failed(&supplied), fleet.report());

    // With another one dead, nothing is synced at two places any more.
    (0..3).for_each(|node| fleet.away(node));
    supplied.trio.kill(1).expect("it runs");
    supplied.supplies[2].break_disk();
    let body = stray_request().expect("it is after 1970");
    for node in [0, 2, 0, 2] {
        let answer = supplied.trio.node(node).api.write(&body).expect("an answer");
        assert_eq!(answer.status, 503, "node {node} said {}", answer.body);
    }
    // What c wrote without a successful sync is gone, whatever its files hold.
    supplied.trio.kill(2).expect("it runs");
    let loss = supplied.cut(2).expect("every write was seen");
    println!("{} bytes of {} files were never synced", loss.bytes, loss.files);
    supplied.supplies[2].mend_disk();
    supplied.trio.start_all().expect("they start again");
    (0..3).for_each(|node| fleet.back(node));
    finish(&mut supplied.trio, &mut fleet).expect("none missing, none invented");
}

fn failed(supplied: &Supplied) -> u64 {
    supplied.supplies[2].failed_syncs()
}

/// Size of the small disk.
const DISK_MIB: u64 = 384;

/// Settings that fit a small disk: the reserve is twice the log's bound.
const SMALL: [(&str, &str); 3] = [
    ("RANGEKEEPER_LOG__FILE", "4MiB"),
    ("RANGEKEEPER_LOG__BOUND", "16MiB"),
    ("RANGEKEEPER_STORAGE__DISK_RESERVE", "32MiB"),
];

/// Fills a disk until nothing more goes in.
fn fill(file: &Path) -> Result<()> {
    let mut file = File::create(file).context("failed to make a file that fills the disk")?;
    let chunk = vec![0x5a; 1 << 20];
    while file.write_all(&chunk).is_ok() {}
    Ok(())
}

fn mount(arguments: &[&str], folder: &Path) -> Result<()> {
    let (program, arguments) = arguments.split_first().context("a program")?;
    let status = Command::new(program).args(arguments).arg(folder).status()?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

/// The third node's disk is full and is freed again.
fn fill_and_free(trio: &mut Trio, filler: &Path) -> Result<()> {
    let mut fleet = Fleet::around(trio)?;
    fleet.wait_for_requests(200)?;
    fleet.away(2);
    fill(filler)?;
    poll::until("a node that is not ready for want of space", NOTICE_LIMIT, || {
        let answer = trio.node(2).api.get("/-/ready")?;
        ensure!(answer.status == 503, "/-/ready says {}", answer.status);
        ensure!(answer.body.contains("disk"), "the reason is {}", answer.body.trim());
        Ok(())
    })?;
    let refused = trio.node(2).api.write(&stray_request()?)?;
    ensure!(refused.status == 503, "a full node said {} {}", refused.status, refused.body);
    fleet.wait_for_requests(200)?;
    fleet.run_for(Duration::from_secs(short_or_soak(4, 60)));
    inspect(&fleet, &[0, 1, 2]).context("while the disk is full")?;
    fs::remove_file(filler).context("failed to free the disk")?;
    wait_ready(trio, 2)?;
    fleet.back(2);
    println!("freed: {}", fleet.report());
    finish(trio, &mut fleet)
}

#[test]
fn a_full_disk_stops_one_node_and_harms_no_other() -> Result<()> {
    let test = "cluster_disks::a_full_disk_stops_one_node_and_harms_no_other";
    namespaces::inside(test, &["--mount"], &["true"], || {
        let folder = Folder::new("full-")?;
        let data = folder.path().join(NAMES[2]);
        fs::create_dir(&data)?;
        let size = format!("size={DISK_MIB}m");
        mount(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs"], &data)?;
        let small = SMALL.map(|(name, value)| (name.to_owned(), value.into()));
        let trio = wrapped_trio(&folder, |_| with_environment(&small))?;
        let done = match trio {
            Some(mut trio) => fill_and_free(&mut trio, &data.join("filler")),
            None => Ok(()),
        };
        if done.is_ok() {
            mount(&["umount"], &data)?;
        }
        // A panic keeps the folder.
        done.expect("none missing, none invented, none refused for long");
        Ok(())
    })
}

/// The largest of a node's tables that hold samples.
fn table_of_samples(data: &Path) -> Result<PathBuf> {
    let mut tables = Vec::new();
    for entry in fs::read_dir(data.join("db"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            // The properties behind the data name the column family.
            let bytes = fs::read(&path)?;
            let properties = &bytes[bytes.len().saturating_sub(4096)..];
            if properties.windows(10).any(|word| word == b"namechunks") {
                tables.push((bytes.len(), path));
            }
        }
    }
    tables.into_iter().max().map(|(_, path)| path).context("no table holds samples")
}

/// Changes one bit of a file.
fn flip(path: &Path, offset: usize) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let byte = bytes.get_mut(offset).with_context(|| format!("{} is short", path.display()))?;
    *byte ^= 0x10;
    fs::write(path, bytes).with_context(|| format!("failed to change {}", path.display()))
}

/// Waits until a node says of shards that a copy of them is missing.
fn wait_lacking(trio: &Trio, at: usize) -> Result<()> {
    poll::until("a status that says of the damage", NOTICE_LIMIT, || {
        let lacking = trio.status(at)?["summary"]["below_replication"].as_u64();
        ensure!(lacking.context("no figure")? > 0, "no shard lacks a copy");
        Ok(())
    })
}

#[test]
fn a_flipped_byte_in_a_table_costs_one_copy_and_no_answer() {
    let folder = Folder::new("flipped-table-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    fleet.wait_for_requests(300).expect("writes go on");
    trio.node(2).seal().expect("sealing under load");
    fleet.away(2);
    trio.stop(2).expect("it stops in order");
    let table = table_of_samples(&trio.setup(2).data).expect("samples lie in tables");
    println!("a byte flips in {}", table.display());
    flip(&table, 64).expect("a table has a first block");
    trio.start_all().expect("it starts");
    fleet.back(2);
    inspect(&fleet, &[2, 0, 1]).expect("none missing, none invented");
    wait_lacking(&trio, 2).expect("it says what it found");
    // Started again, it sets the table aside, and its copies wait for their repair.
    fleet.away(2);
    trio.stop(2).expect("it stops in order");
    trio.start_all().expect("it starts");
    fleet.back(2);
    wait_lacking(&trio, 2).expect("it says what it found");
    fleet.wait_for_requests(200).expect("writes go on");
    inspect(&fleet, &[2, 0, 1]).expect("none missing, none invented");
    fleet.stop_sending().expect("no sender failed");
    inspect(&fleet, &[2, 0, 1]).expect("none missing, none invented");
    // Nobody else has lost anything by it.
    trio.kill(2).expect("it runs");
    inspect(&fleet, &[0, 1]).expect("none missing, none invented");
    fleet.report().check().expect("none missing, none invented, none refused for long");
}

/// A byte of a log file's first record.
const FIRST_RECORD: usize = 64 + 30;

#[test]
fn a_flipped_byte_in_a_log_is_refused_by_name_and_harms_no_other() {
    let folder = Folder::new("flipped-log-").expect("a folder");
    let Some(mut trio) = Trio::start(folder.path(), None, 1, 3).expect("three nodes start") else {
        return;
    };
    let mut fleet = Fleet::around(&trio).expect("senders start");
    fleet.wait_for_requests(300).expect("writes go on");
    fleet.away(2);
    trio.kill(2).expect("it runs");
    let log = trio.setup(2).data.join("log/00000000000000000001.log");
    flip(&log, FIRST_RECORD).expect("a log file has a first record");
    let refused = trio.start_all().expect_err("a damaged log is refused").to_string();
    assert!(refused.contains(&format!("log file {} is damaged", log.display())), "{refused}");
    trio.kill(2).expect_err("it has ended");
    fleet.wait_for_requests(200).expect("writes go on");
    inspect(&fleet, &[0, 1]).expect("none missing, none invented");

    // Opened with the loss, it routes, and what it holds counts for nothing.
    trio.setup(2).options.push("--accept-loss".into());
    trio.begin(2).expect("it starts");
    poll::until("a node that says that it is not to be trusted", NOTICE_LIMIT, || {
        let answer = trio.node(2).api.get("/-/ready")?;
        ensure!(answer.body.contains("not to be trusted"), "{} {}", answer.status, answer.body);
        Ok(())
    })
    .expect("it is not ready");
    wait_lacking(&trio, 2).expect("it says that its copies count for nothing");
    inspect(&fleet, &[2, 0, 1]).expect("none missing, none invented");
    fleet.wait_for_requests(200).expect("writes go on");
    fleet.stop_sending().expect("no sender failed");
    inspect(&fleet, &[2, 0, 1]).expect("none missing, none invented");
    fleet.report().check().expect("none missing, none invented, none refused for long");
}
