//! Ctrl-C and SIGTERM as a flag that long waits look at, so that destructors run and every child
//! process is stopped before the program ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

/// Set once by the thread that waits for signals.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Takes over SIGINT, SIGTERM and SIGHUP for the rest of the process's life.
pub fn watch() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime that waits for signals")?;
    // Installed before the thread starts: a signal that comes early is not lost.
    let (mut interrupt, mut terminate, mut hangup) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            // Each branch only waits for a notification, which a dropped future does not consume.
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    })?;
    Ok(())
}

/// An error once the program was asked to stop.
pub fn check() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// Lets time pass for the processes under observation; an error as soon as the program is asked to
/// stop.
pub fn pass(time: Duration) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < time {
        check()?;
        std::thread::sleep(Duration::from_millis(50));
    }
    check()
}
