//! What HTTP alone costs a write: CPU time of a process that receives writes and drops them.
//!
//! `cargo run --release -p rangekeeper-node --example http_cost` starts itself a second time as the
//! receiver, sends over four connections, and prints the receiver's CPU time a request and, at
//! 2,000 samples a request, a sample.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rangekeeper_model::ErrorClass;
use rangekeeper_node::allocator;
use rangekeeper_node::config::{Settings, Sources};
use rangekeeper_node::node::{Node, Surroundings};
use rangekeeper_node::services::{
    Answering, Failure, Identity, Operations, ReadPath, ReadRequest, Services, WriteOutcome,
    WritePath, WriteRequest, Written,
};
use rangekeeper_telemetry::Registry;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const CONNECTIONS: usize = 4;
const REQUESTS: u32 = 20_000;
const SAMPLES: u32 = 2_000;

/// What 2,000 samples of real scrapes take, compressed.
const BODY_BYTES: usize = 40_000;

/// Takes everything and keeps nothing.
struct Sink;

impl WritePath for Sink {
    fn decoded_bytes(&self, _: &[u8]) -> u64 {
        400_000
    }

    fn receive(&self, request: WriteRequest) -> Answering<'_, WriteOutcome> {
        assert_eq!(request.body.len(), BODY_BYTES);
        let written = Written { samples: u64::from(SAMPLES), ..Written::default() };
        Box::pin(async move { WriteOutcome { result: Ok(()), written } })
    }
}

impl ReadPath for Sink {
    fn answer(&self, _: ReadRequest) -> Answering<'_, Result<Bytes, Failure>> {
        Box::pin(async { Ok(Bytes::new()) })
    }
}

impl Operations for Sink {
    fn may_write(&self) -> Result<(), String> {
        Ok(())
    }

    fn seal(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn snapshot(&self, _: &Path) -> Result<(), Failure> {
        Ok(())
    }

    fn confirm_clock(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn identity(&self) -> Result<Identity, Failure> {
        Err(Failure::new(ErrorClass::NotFound, "there is no store"))
    }
}

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("receive") { receive() } else { send() }
}

/// The receiver: prints its address, serves until its input ends, prints its CPU time in ticks.
fn receive() -> Result<()> {
    let set = vec!["server.listen=127.0.0.1:0".to_owned()];
    let config = Settings::read(&Sources { set, ..Sources::default() })?.config()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let surroundings = Surroundings {
        registry: Registry::new(),
        measure: allocator::usage,
        available_bytes: 1 << 30,
        seed: 1,
    };
    let node = runtime.block_on(Node::listen(Arc::new(config), surroundings))?;
    let sink = Arc::new(Sink);
    let (write, read, operations) = (Arc::clone(&sink), Arc::clone(&sink), sink);
    node.open(Services { write, read, operations, cluster: None });
    println!("{}", node.address());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let (user, system) = own_cpu_ticks()?;
    println!("{user} {system}");
    Ok(())
}

/// User and system time of this process, in hundredths of a second.
fn own_cpu_ticks() -> Result<(u32, u32)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(") ").context("a stat without a name")?.1;
    let mut fields = after_name.split(' ').skip(11);
    let mut ticks = || -> Result<u32> { Ok(fields.next().context("no time")?.parse()?) };
    Ok((ticks()?, ticks()?))
}

fn send() -> Result<()> {
    let mut receiver = Command::new(std::env::current_exe()?)
        .arg("receive")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = BufReader::new(receiver.stdout.take().context("no output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let address = line.trim().to_owned();
    thread::scope(|scope| {
        let senders: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| connection(&address))).collect();
        senders.into_iter().try_for_each(|sender| sender.join().expect("no panic"))
    })?;
    drop(receiver.stdin.take());
    line.clear();
    output.read_line(&mut line)?;
    receiver.wait()?;
    let (user, system) = line.trim().split_once(' ').context("not two times")?;
    println!("{REQUESTS} requests of {BODY_BYTES} bytes, CPU time of the receiver:");
    for (name, ticks) in [("user", user.parse::<f64>()?), ("system", system.parse()?)] {
        let request_us = ticks * 1e4 / f64::from(REQUESTS);
        let sample_ns = request_us * 1e3 / f64::from(SAMPLES);
        println!("{name:<7} {request_us:6.2} µs a request, {sample_ns:5.2} ns a sample");
    }
    Ok(())
}

/// Sends its part of the requests over one connection.
fn connection(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut request = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: {address}\r\nContent-Length: {BODY_BYTES}\r\n\
         Content-Type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
         Content-Encoding: snappy\r\nUser-Agent: Prometheus/3.5.3\r\n\
         X-Prometheus-Remote-Write-Version: 2.0.0\r\n\r\n"
    )
    .into_bytes();
    request.resize(request.len() + BODY_BYTES, 7);
    let mut answer = [0; 4096];
    for _ in 0..REQUESTS as usize / CONNECTIONS {
        stream.write_all(&request)?;
        let mut length = 0;
        while !answer[..length].ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut answer[length..])?;
            ensure!(read > 0, "the receiver closed the connection");
            length += read;
        }
        ensure!(answer.starts_with(b"HTTP/1.1 204"), "not a 204");
    }
    Ok(())
}
