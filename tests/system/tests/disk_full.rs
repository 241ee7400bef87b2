//! A disk that fills up and is freed again: writing stops with 503, queries go on, writing resumes
//! by itself, and nothing acknowledged is lost. The disk is a small tmpfs in a mount namespace of
//! the node's own, so nobody else sees it and it is gone with the node.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rangekeeper_system_tests::node::{Node, Setup};
use rangekeeper_system_tests::poll;
use rangekeeper_system_tests::workload::Workload;

/// Size of the disk.
const DISK_MIB: u64 = 384;

/// Longest wait until a full or freed disk is noticed.
const NOTICE_LIMIT: Duration = Duration::from_mins(1);

/// What is left free when only the reserve is to be hit.
const LEFT_MIB: u64 = 8;

/// Whether a mount namespace can be had here, as root or as the root of a user namespace.
fn can_mount() -> bool {
    let status = Command::new("unshare").args(["-Urm", "true"]).status();
    status.is_ok_and(|status| status.success())
}

/// A node whose data folder is a small disk of its own.
struct SmallDisk {
    node: Node,
    workload: Workload,
    data: PathBuf,
}

impl SmallDisk {
    fn start(folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        fs::create_dir(&data)?;
        let mut setup = Setup::new(&data)?;
        // The reserve is twice the log's bound: small ones fit a small disk.
        setup.settings = ["log.file=4MiB", "log.bound=16MiB", "storage.disk_reserve=32MiB"]
            .map(str::to_owned)
            .to_vec();
        let mount = format!("mount -t tmpfs -o size={DISK_MIB}m tmpfs \"$0\" && exec \"$@\"");
        setup.wrapper = ["unshare", "-Urm", "sh", "-c", &mount]
            .into_iter()
            .map(OsString::from)
            .chain([data.clone().into()])
            .collect();
        let node = setup.start_ready()?;
        let workload = Workload::start(&node.api)?;
        workload.wait_for_requests(100)?;
        Ok(Self { node, workload, data })
    }

    /// The folder as the node sees it.
    fn disk(&self) -> PathBuf {
        let inside = self.data.strip_prefix("/").unwrap_or(&self.data);
        Path::new("/proc").join(self.node.process.pid().to_string()).join("root").join(inside)
    }

    /// Fills the disk until `left_mib` are free, or until nothing more goes in.
    fn fill(&self, left_mib: u64) -> Result<()> {
        let mut file = File::create(self.disk().join("filler"))?;
        let chunk = vec![0x5a; 1 << 20];
        while self.free_mib()? > left_mib {
            if let Err(error) = file.write_all(&chunk) {
                ensure!(left_mib == 0, "failed to fill the disk: {error}");
                break;
            }
        }
        Ok(())
    }

    fn free(&self) -> Result<()> {
        fs::remove_file(self.disk().join("filler")).context("failed to free the disk")
    }

    fn free_mib(&self) -> Result<u64> {
        let output = Command::new("stat")
            .args(["--file-system", "--format=%a %S"])
            .arg(self.disk())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let (blocks, size) = text.trim().split_once(' ').context("stat printed no figures")?;
        Ok((blocks.parse::<u64>()? * size.parse::<u64>()?) >> 20)
    }

    /// Writing has stopped, `/-/ready` says why, and queries are answered.
    fn check_refusing(&mut self) -> Result<()> {
        self.workload.wait_for_refusal(NOTICE_LIMIT)?;
        let api = &self.node.api;
        poll::until("a node that is not ready for want of space", NOTICE_LIMIT, || {
            let answer = api.get("/-/ready")?;
            ensure!(answer.status == 503, "/-/ready says {}", answer.status);
            ensure!(answer.body.contains("disk"), "the reason is {}", answer.body.trim());
            Ok(())
        })?;
        self.workload.inspect().context("a query on a full disk")?.check()?;
        self.node.process.check_alive()
    }

    /// Writing has resumed by itself.
    fn check_resumed(&mut self) -> Result<()> {
        let api = &self.node.api;
        poll::until("a ready node", NOTICE_LIMIT, || api.check_ready())?;
        self.workload.wait_for_requests(100)?;
        self.node.process.check_alive()
    }
}

/// Whether the machine can run these tests; says so if not.
fn is_possible() -> bool {
    let possible = can_mount();
    if !possible {
        eprintln!("skipped: no mount namespace can be made here (unshare -Urm)");
    }
    possible
}

#[test]
fn a_disk_below_its_reserve_stops_writing_until_it_is_freed() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut small = SmallDisk::start(folder.path()).expect("a node on a small disk");
    for _ in 0..2 {
        small.fill(LEFT_MIB).expect("the disk fills");
        small.check_refusing().expect("writing stops, queries go on");
        small.free().expect("the disk is freed");
        small.check_resumed().expect("writing resumes by itself");
    }
    let finding = small.workload.finish().expect("only 503 was answered");
    finding.check().expect("nothing acknowledged is lost");
}

#[test]
fn a_disk_without_a_byte_left_stops_writing_until_it_is_freed() {
    if !is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut small = SmallDisk::start(folder.path()).expect("a node on a small disk");
    small.fill(0).expect("the disk fills");
    small.check_refusing().expect("writing stops, queries go on");
    small.free().expect("the disk is freed");
    small.check_resumed().expect("writing resumes by itself");
    let finding = small.workload.finish().expect("only 503 was answered");
    finding.check().expect("nothing acknowledged is lost");
}
