//! A relay between one process and the servers: it can be cut, and it can lose the answer to a
//! write, which it knows by the head of a request (length, xid, kind, big-endian, four bytes each).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rangekeeper_coordination::memory::Fate;

/// The kind of request that a transaction is. All writes are.
const MULTI: i32 = 14;

/// A relay of its own for one process. It runs until the tests end.
#[derive(Clone)]
pub struct Relay {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    servers: Vec<u16>,
    next: AtomicUsize,
    is_cut: AtomicBool,
    fate: Mutex<Option<Fate>>,
    /// Connections by number, to be closed.
    open: Mutex<HashMap<usize, (TcpStream, TcpStream)>>,
}

impl Relay {
    pub fn start(servers: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            servers,
            next: AtomicUsize::new(usize::from(port)),
            is_cut: AtomicBool::new(false),
            fate: Mutex::new(None),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                accepting.serve(number, client);
            }
        });
        Self { port, state }
    }

    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        for number in self.state.numbers() {
            self.state.close(number);
        }
    }

    pub fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }

    pub fn lose_next_answer(&self, fate: Fate) {
        *self.state.fate.lock().unwrap() = Some(fate);
    }
}

impl State {
    fn numbers(&self) -> Vec<usize> {
        self.open.lock().unwrap().keys().copied().collect()
    }

    fn close(&self, number: usize) {
        if let Some((client, server)) = self.open.lock().unwrap().remove(&number) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Connects `client` to the next server that listens.
    fn serve(self: &Arc<Self>, number: usize, client: TcpStream) {
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        let server = (0..self.servers.len()).find_map(|_| {
            let index = self.next.fetch_add(1, Ordering::SeqCst) % self.servers.len();
            TcpStream::connect(("127.0.0.1", self.servers[index])).ok()
        });
        let Some(server) = server else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
        self.open.lock().unwrap().insert(number, pair);
        if self.is_cut.load(Ordering::SeqCst) {
            self.close(number);
            return;
        }
        // The xid of a write whose answer is not to arrive.
        let lost = Arc::new(Mutex::new(None));
        let (up, awaited) = (Arc::clone(self), Arc::clone(&lost));
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || {
            let _ = up.carry_up(from, to, &awaited);
            up.close(number);
        });
        let down = Arc::clone(self);
        thread::spawn(move || {
            let _ = carry_down(server, client, &lost);
            down.close(number);
        });
    }

    fn carry_up(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        lost: &Mutex<Option<i32>>,
    ) -> std::io::Result<()> {
        // The first packet opens the session and has another head.
        to.write_all(&packet(&mut from)?)?;
        loop {
            let packet = packet(&mut from)?;
            if number(&packet, 8) == Some(MULTI) {
                match self.fate.lock().unwrap().take() {
                    Some(Fate::Lost) => return Ok(()),
                    Some(Fate::Applied) => *lost.lock().unwrap() = number(&packet, 4),
                    None => {}
                }
            }
            to.write_all(&packet)?;
        }
    }
}

fn carry_down(
    mut from: TcpStream,
    mut to: TcpStream,
    lost: &Mutex<Option<i32>>,
) -> std::io::Result<()> {
    loop {
        let packet = packet(&mut from)?;
        let xid = number(&packet, 4);
        if xid.is_some() && *lost.lock().unwrap() == xid {
            return Ok(());
        }
        to.write_all(&packet)?;
    }
}

/// The next packet with its length.
fn packet(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut packet = vec![0; 4 + u32::from_be_bytes(length) as usize];
    packet[..4].copy_from_slice(&length);
    from.read_exact(&mut packet[4..])?;
    Ok(packet)
}

fn number(packet: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?))
}
