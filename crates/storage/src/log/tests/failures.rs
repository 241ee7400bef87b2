//! Disks that fail.

use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, mpsc};

use super::*;

/// Fails operations of one kind while it is armed.
struct Broken {
    point: FaultPoint,
    kind: io::ErrorKind,
    /// Operations of the kind that still succeed.
    good: AtomicU32,
}

impl Faults for Broken {
    fn before(&self, point: FaultPoint, _: &Path) -> io::Result<()> {
        let good =
            || self.good.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if point == self.point && good().is_err() {
            return Err(self.kind.into());
        }
        Ok(())
    }
}

fn broken(point: FaultPoint, kind: io::ErrorKind, good: u32) -> LogOptions {
    let faults: Arc<dyn Faults> = Arc::new(Broken { point, kind, good: AtomicU32::new(good) });
    LogOptions { faults: Some(faults), ..options() }
}

/// Some records are answered until one fails; then nothing goes any more, and a new log has what
/// was answered.
fn fails_and_comes_back(options_: LogOptions, no_space: bool) {
    let dir = scratch();
    let (log, _) = open_with(dir.path(), Checkpoints::default(), options_).unwrap();
    let mut answered = 0u32;
    let answer = |value| {
        let mut flight = log.submit(record(3, value), log.current_file()).map_err(|e| match e {
            SubmitError::Log(error) => error,
            other => panic!("{other}"),
        })?;
        flight.wait_durable()
    };
    let error = loop {
        if let Err(error) = answer(f64::from(answered)) {
            break error;
        }
        answered += 1;
        if let Err(error) = log.rotate() {
            break error;
        }
    };
    assert!(matches!(error, LogError::Failed(_)), "{error}");
    assert_eq!(error.is_no_space(), no_space);
    assert!(error.class().is_retryable());
    assert_eq!(log.watermark(), Position(u64::from(answered)));
    assert!(log.failure().is_some());
    assert!(matches!(
        log.submit(record(3, 9.0), log.current_file()),
        Err(SubmitError::Log(LogError::Failed(_)))
    ));
    assert!(log.rotate().is_err());
    drop(log);
    let (log, recovery) = open(dir.path());
    let held = read(&recovery.files).unwrap();
    assert!(held.len() >= answered as usize);
    for (n, (position, samples)) in (0..answered).zip(&held) {
        assert_eq!((*position, samples[0].2), (u64::from(n) + 1, f64::from(n).to_bits()));
    }
    write(&log, 3, 5.0);
    log.close().unwrap();
    assert_eq!(reopen(dir.path(), options()).unwrap().0.len(), held.len() + 1);
}

#[test]
fn a_failed_write_fails_what_waits_and_all_that_comes_later() {
    // The header, a record, and so on: the first record, or a later one, or a mark or header in
    // between.
    for good in 2..8 {
        fails_and_comes_back(broken(FaultPoint::Write, io::ErrorKind::Other, good), false);
    }
}

#[test]
fn a_failed_sync_is_not_tried_again() {
    for good in 2..8 {
        fails_and_comes_back(broken(FaultPoint::Sync, io::ErrorKind::Other, good), false);
    }
}

#[test]
fn a_full_disk_is_told_apart() {
    fails_and_comes_back(broken(FaultPoint::Preallocate, io::ErrorKind::StorageFull, 1), true);
    fails_and_comes_back(broken(FaultPoint::Write, io::ErrorKind::StorageFull, 4), true);
}

/// Holds every write back until it is let go.
struct Gate {
    let_go: Mutex<mpsc::Receiver<()>>,
    came: Mutex<mpsc::Sender<()>>,
}

impl Faults for Gate {
    fn before(&self, point: FaultPoint, _: &Path) -> io::Result<()> {
        if point == FaultPoint::Write {
            // Both ends are gone when the test is over: then nothing is held back.
            let _ = self.came.lock().send(());
            let _ = self.let_go.lock().recv();
        }
        Ok(())
    }
}

/// A log whose writes wait, what lets one go, and what tells that one came.
fn gated(dir: &Path, options: &LogOptions) -> (Log, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (let_go, gate) = mpsc::channel();
    let (came, comes) = mpsc::channel();
    let faults: Arc<dyn Faults> =
        Arc::new(Gate { let_go: Mutex::new(gate), came: Mutex::new(came) });
    let options = LogOptions { faults: Some(faults), ..options.clone() };
    (open_with(dir, Checkpoints::default(), options).unwrap().0, let_go, comes)
}

#[test]
fn what_waits_is_bounded_and_goes_out_as_one_group() {
    let dir = scratch();
    let each = record(3, 1.0).file_bytes();
    let (log, let_go, comes) =
        gated(dir.path(), &LogOptions { queue_bytes: 3 * each, ..options() });
    let submit = || log.submit(record(3, 1.0), FileSeq(1));
    let first = submit().unwrap();
    comes.recv().unwrap();
    // The writer has the first one; three more may wait.
    let flights: Vec<_> = (0..3).map(|_| submit().unwrap()).collect();
    let full = submit();
    assert!(matches!(full, Err(SubmitError::Full { waiting_bytes }) if waiting_bytes == 3 * each));
    drop(let_go);
    for mut flight in [first].into_iter().chain(flights) {
        flight.wait_durable().unwrap();
    }
    let stats = log.stats();
    assert_eq!((stats.groups, stats.records, stats.refused), (2, 4, 1));
}

#[test]
fn a_flight_that_is_given_up_holds_the_watermark_until_it_is_durable() {
    let dir = scratch();
    let (log, let_go, comes) = gated(dir.path(), &options());
    drop(log.submit(record(3, 1.0), FileSeq(1)).unwrap());
    comes.recv().unwrap();
    assert_eq!(log.watermark(), Position(0));
    drop(let_go);
    write(&log, 3, 2.0);
    assert_eq!(log.watermark(), Position(2));
}

#[test]
fn a_group_that_was_torn_is_cut_though_whole_records_follow() {
    let dir = scratch();
    let (log, let_go, comes) = gated(dir.path(), &options());
    let submit = |value| log.submit(record(3, value), FileSeq(1)).unwrap();
    let mut flights = vec![submit(1.0)];
    comes.recv().unwrap();
    flights.extend([submit(2.0), submit(3.0)]);
    drop(let_go);
    for flight in &mut flights {
        flight.wait_durable().unwrap();
    }
    log.abandon();
    let each = record(3, 1.0).file_bytes();
    let image = Image::take(dir.path());
    let path = &image.0[0].0;
    let mut torn = image.0[0].1.clone();
    // The second record's page never came to the disk, the third one's did.
    torn[64 + each..64 + 2 * each].fill(0);
    fs::write(path, &torn).unwrap();
    let (held, recovery) = reopen(dir.path(), options()).unwrap();
    assert_eq!(positions(&held), [1]);
    let cut = recovery.cut.unwrap();
    assert_eq!((cut.offset, cut.records), (64 + each as u64, 1));
    // The first record was synced when the second was written: there it is damage.
    image.restore(dir.path());
    let mut damaged = image.0[0].1.clone();
    damaged[64 + 30] ^= 1;
    fs::write(path, &damaged).unwrap();
    let error = reopen(dir.path(), options()).unwrap_err();
    assert!(
        matches!(&error, LogError::Damaged { offset: 64, file, .. } if file == path),
        "{error}"
    );
}

#[test]
fn abandoning_answers_those_who_wait() {
    let dir = scratch();
    let (log, let_go, comes) = gated(dir.path(), &options());
    let first = log.submit(record(3, 1.0), FileSeq(1)).unwrap();
    comes.recv().unwrap();
    let mut second = log.submit(record(3, 2.0), FileSeq(1)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| log.abandon());
        while log.rotate().is_ok() {}
        drop(let_go);
        assert!(matches!(second.wait_durable(), Err(LogError::Closed)));
    });
    drop(first);
    assert_eq!(positions(&reopen(dir.path(), options()).unwrap().0), [1]);
}
