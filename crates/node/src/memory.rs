//! How much memory the process may use, and how much it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rangekeeper_telemetry::{Family, Registry};

/// How old a measurement may be. Asking the allocator costs tens of microseconds, which a write
/// does not have.
const FRESH: Duration = Duration::from_millis(100);

/// The memory that is there when nothing can be read: small enough for any machine of today.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// What the allocator counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes in pages that hold something, which only their owners can give back.
    pub active_bytes: u64,
    /// Bytes that were asked for and not given back.
    pub allocated_bytes: u64,
    /// Bytes that the operating system counts, pages that wait to be given back included.
    pub resident_bytes: u64,
}

/// The memory of the process against the limit for writes.
///
/// The limit is held against the *active* bytes: pages that are about to be given back to the
/// operating system must not make a sender wait.
#[derive(Debug)]
pub struct Memory {
    measure: fn() -> Usage,
    limit_bytes: u64,
    started: Instant,
    /// When `active_bytes` was measured, in milliseconds since `started`, plus one; nought is
    /// never.
    measured_ms: AtomicU64,
    active_bytes: AtomicU64,
}

impl Memory {
    /// Memory measured by `measure`, that writes may fill up to `limit_bytes`.
    pub fn new(measure: fn() -> Usage, limit_bytes: u64) -> Self {
        Self {
            measure,
            limit_bytes,
            started: Instant::now(),
            measured_ms: AtomicU64::new(0),
            active_bytes: AtomicU64::new(0),
        }
    }

    /// The bytes above which writes are refused.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Bytes in use, as measured within the last tenth of a second.
    pub fn used_bytes(&self) -> u64 {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX) + 1;
        let measured_ms = self.measured_ms.load(Ordering::Relaxed);
        let fresh_ms = u64::try_from(FRESH.as_millis()).expect("a tenth of a second");
        let stale = measured_ms == 0 || now_ms.saturating_sub(measured_ms) >= fresh_ms;
        // Whoever moves the time on measures; the others take what is there for the moment.
        if stale
            && self
                .measured_ms
                .compare_exchange(measured_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.active_bytes.store((self.measure)().active_bytes, Ordering::Relaxed);
        }
        self.active_bytes.load(Ordering::Relaxed)
    }

    /// Whether a write may be taken. Says what is wrong otherwise.
    pub fn admits_writes(&self) -> Result<(), String> {
        let used_bytes = self.used_bytes();
        if used_bytes <= self.limit_bytes {
            return Ok(());
        }
        Err(format!("{used_bytes} bytes of memory in use, limit {}", self.limit_bytes))
    }

    /// Exports the usage and the limit.
    pub fn register(&self, registry: &Registry) {
        let (measure, limit_bytes) = (self.measure, self.limit_bytes);
        registry.snapshot(FAMILIES, move |readings| {
            let usage = measure();
            #[expect(clippy::cast_precision_loss, reason = "exact below 8 PiB")]
            let mut set = |name, bytes: u64| readings.set(name, &[], bytes as f64);
            set("rangekeeper_memory_active_bytes", usage.active_bytes);
            set("rangekeeper_memory_allocated_bytes", usage.allocated_bytes);
            set("rangekeeper_memory_limit_bytes", limit_bytes);
            set("rangekeeper_memory_resident_bytes", usage.resident_bytes);
        });
    }
}

const FAMILIES: &[Family] = &[
    Family::gauge(
        "rangekeeper_memory_active_bytes",
        &[],
        "Bytes of the allocator's pages that hold something; held against the limit.",
    ),
    Family::gauge(
        "rangekeeper_memory_allocated_bytes",
        &[],
        "Bytes that were asked of the allocator and not given back.",
    ),
    Family::gauge(
        "rangekeeper_memory_limit_bytes",
        &[],
        "Active bytes above which writes are refused.",
    ),
    Family::gauge(
        "rangekeeper_memory_resident_bytes",
        &[],
        "Bytes of the allocator's pages in physical memory, those to be given back included.",
    ),
];

/// The memory that this process may use, in bytes: the smallest limit of its cgroup and the groups
/// around it, or the machine's memory if none is less.
pub fn available_bytes() -> u64 {
    available_under(Path::new("/"))
}

/// [`available_bytes`] for a file system that begins at `root`.
fn available_under(root: &Path) -> u64 {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.as_deref().and_then(total_of_machine).unwrap_or(UNKNOWN_BYTES);
    cgroup_limits(root).into_iter().fold(machine, u64::min)
}

/// `MemTotal` of `/proc/meminfo`.
fn total_of_machine(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The limits of the process's cgroup and of all groups around it, of both versions.
fn cgroup_limits(root: &Path) -> Vec<u64> {
    let Ok(groups) = fs::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let mut limits = Vec::new();
    for line in groups.lines() {
        // hierarchy:controllers:path; version 2 is hierarchy 0 without controllers.
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if hierarchy == "0" && controllers.is_empty() {
            limits.extend(limits_above(&root.join("sys/fs/cgroup"), path, "memory.max"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            let mount = root.join("sys/fs/cgroup/memory");
            limits.extend(limits_above(&mount, path, "memory.limit_in_bytes"));
        }
    }
    limits
}

/// The numbers in `file` of the group `path` and of all above it, up to the mount. In a container
/// the path may be that of the host, which is not there; the mount itself then has the limit.
fn limits_above(mount: &Path, path: &str, file: &str) -> Vec<u64> {
    let group: PathBuf = mount.join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|folder| folder.starts_with(mount))
        .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A path below the root, and what the file holds.
    type File = (&'static str, &'static str);

    fn system(files: &[File]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MACHINE: File = ("proc/meminfo", "MemTotal:        4096 kB\nMemFree: 1 kB\n");

    #[test]
    fn takes_the_smallest_limit_around_the_process() {
        let cases: &[(&str, &[File], u64)] = &[
            ("nothing can be read", &[], UNKNOWN_BYTES),
            ("no cgroup", &[MACHINE], 4096 * 1024),
            (
                "version 2, limit on a group above",
                &[
                    MACHINE,
                    ("proc/self/cgroup", "0::/system.slice/a.service\n"),
                    ("sys/fs/cgroup/system.slice/memory.max", "300000\n"),
                    ("sys/fs/cgroup/system.slice/a.service/memory.max", "max\n"),
                ],
                300_000,
            ),
            (
                "version 2, the host's path inside of a container",
                &[
                    MACHINE,
                    ("proc/self/cgroup", "0::/../../pod7\n"),
                    ("sys/fs/cgroup/memory.max", "200000\n"),
                ],
                200_000,
            ),
            (
                "version 1",
                &[
                    MACHINE,
                    ("proc/self/cgroup", "5:cpu,memory:/docker/x\n3:pids:/docker/x\n"),
                    ("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "100000\n"),
                ],
                100_000,
            ),
            (
                "more than the machine has",
                &[
                    MACHINE,
                    ("proc/self/cgroup", "0::/\n"),
                    ("sys/fs/cgroup/memory.max", "9223372036854771712\n"),
                ],
                4096 * 1024,
            ),
        ];
        for (name, files, expected) in cases {
            assert_eq!(available_under(system(files).path()), *expected, "{name}");
        }
    }

    static USED: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn refuses_writes_above_the_limit() {
        let measure = || Usage { active_bytes: USED.load(Ordering::Relaxed), ..Usage::default() };
        USED.store(10, Ordering::Relaxed);
        assert_eq!(Memory::new(measure, 10).admits_writes(), Ok(()));
        USED.store(11, Ordering::Relaxed);
        let memory = Memory::new(measure, 10);
        assert_eq!(memory.admits_writes(), Err("11 bytes of memory in use, limit 10".to_owned()));
        assert_eq!(memory.used_bytes(), 11);
    }
}
