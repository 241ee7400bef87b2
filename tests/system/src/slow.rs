//! A slow link: what goes through it arrives late, in both directions, and nothing is lost.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Connections at one time: each of two peers makes four, and may not know of the old ones' end.
const CONNECTIONS: usize = 64;

/// Bytes that are taken at once.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces on their way in one direction of a connection; beyond them the sender waits.
const PIECES: usize = 256;

/// A link to one address. Dropped, it takes no new connections; those that are there end with
/// either of their ends.
#[derive(Debug)]
pub struct SlowLink {
    shared: Arc<Shared>,
    listen: String,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: String,
    delay_ms: AtomicU64,
    stop: AtomicBool,
    connections: AtomicUsize,
    late_bytes: AtomicU64,
}

/// Bytes and when they are due.
type Piece = (Instant, Vec<u8>);

impl SlowLink {
    /// Takes connections at `listen` and makes one to `to` for each. It is not slow yet.
    pub fn start(listen: &str, to: &str) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .with_context(|| format!("failed to listen on {listen} for a slow link"))?;
        let shared = Arc::new(Shared {
            to: to.to_owned(),
            delay_ms: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            late_bytes: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let thread = spawn("slow link", move || of_thread.accept(&listener))?;
        Ok(Self { shared, listen: listen.to_owned(), thread: Some(thread) })
    }

    /// Whatever is sent from now on arrives this much later.
    pub fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).expect("delays are short");
        self.shared.delay_ms.store(millis, Ordering::Relaxed);
    }

    /// Bytes that arrived late so far.
    pub fn late_bytes(&self) -> u64 {
        self.shared.late_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the thread; if this fails it has ended already.
        drop(TcpStream::connect(&self.listen));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(body).context("failed to start a thread")
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for accepted in listener.incoming() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let Ok(near) = accepted else { continue };
            if self.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                eprintln!("the slow link has {CONNECTIONS} connections and takes no more");
                continue;
            }
            let shared = Arc::clone(self);
            let carried = spawn("slow connection", move || {
                // An end that is gone is no fault of the link.
                let _ = shared.carry(&near);
                shared.connections.fetch_sub(1, Ordering::Relaxed);
            });
            if let Err(error) = carried {
                eprintln!("{error:#}");
                self.connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Carries both directions until both have ended.
    fn carry(self: &Arc<Self>, near: &TcpStream) -> Result<()> {
        let far = TcpStream::connect(&self.to)?;
        let mut threads = Vec::new();
        for (from, to) in [(near, &far), (&far, near)] {
            to.set_nodelay(true)?;
            let (sender, receiver) = sync_channel(PIECES);
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            let taker = Arc::clone(self);
            threads.push(spawn("slow taker", move || taker.take(from, &sender))?);
            threads.push(spawn("slow giver", move || Self::give(&receiver, to))?);
        }
        for thread in threads {
            let _ = thread.join();
        }
        Ok(())
    }

    fn take(&self, mut from: TcpStream, pieces: &SyncSender<Piece>) {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
            if !delay.is_zero() {
                self.late_bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
            if pieces.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    }

    /// Hands pieces on when they are due; the end of a connection comes as late as its last piece.
    fn give(pieces: &Receiver<Piece>, mut to: TcpStream) {
        for (due, bytes) in pieces {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // What still comes from there has nowhere to go if this failed.
        let _ = to.shutdown(Shutdown::Write);
    }
}
