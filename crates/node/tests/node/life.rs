//! Start and stop: what is answered while the store opens, what becomes of requests when the node
//! ends.

use std::io::{Read, Write};
use std::net::TcpStream;

use rangekeeper_node::memory::Usage;
use rangekeeper_node::server::Drained;

use crate::harness::Harness;

#[test]
fn a_node_that_starts_says_how_far_it_is() {
    let node = Harness::starting(&[], Usage::default);
    node.node().readiness().starting("replaying the log", 1, 4);
    let ready = node.get("/-/ready");
    assert_eq!(
        (ready.status, ready.text()),
        (503, "not ready: starting: replaying the log: 25%\n")
    );
    assert!(ready.header("retry-after").is_some());
    let write = node.write(b"");
    assert_eq!(write.status, 503);
    assert_eq!(write.text(), "the node is starting: replaying the log: 25%\n");
    let read = node.get("/api/v1/query?query=1");
    assert_eq!((read.status, &read.json()["errorType"]), (503, &"unavailable".into()));
    assert_eq!(node.post("/api/v1/admin/seal", &[], b"").status, 503);
    assert_eq!(node.get("/-/healthy").status, 200);
    assert_eq!(node.get("/metrics").status, 200);
    assert_eq!(node.get("/api/v1/status/buildinfo").status, 200);
    node.open();
    assert_eq!(node.get("/-/ready").text(), "rangekeeper is ready\n");
    assert_eq!(node.write(b"").status, 204);
}

#[test]
fn a_stop_answers_what_has_begun_and_closes_the_rest() {
    let mut node = Harness::serving(&[]);
    let address = node.node().address();
    let mut never_spoke = TcpStream::connect(address).unwrap();
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut head = [0; 15];
    idle.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    node.stand_in.hold();
    let mut busy = TcpStream::connect(address).unwrap();
    busy.write_all(b"GET /api/v1/query HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    node.wait_until(|(waiting, _)| *waiting == 1);

    let drained = node.drain();
    // Idle connections end at once, although one request is still being answered.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    never_spoke.read_to_end(&mut rest).unwrap();
    assert!(!drained.is_finished());
    node.stand_in.let_go();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(node.runtime.block_on(drained).unwrap(), Drained::Whole);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut node = Harness::serving(&["server.drain=10ms"]);
    node.stand_in.hold();
    let mut busy = TcpStream::connect(node.node().address()).unwrap();
    busy.write_all(b"GET /api/v1/query HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    node.wait_until(|(waiting, _)| *waiting == 1);
    let drained = node.drain();
    assert_eq!(node.runtime.block_on(drained).unwrap(), Drained::Cut(1));
    // The request was dropped with its connection.
    node.wait_until(|counts| *counts == (0, 1));
}

#[test]
fn a_query_ends_when_its_client_goes_away() {
    let node = Harness::serving(&[]);
    node.stand_in.hold();
    let mut client = TcpStream::connect(node.node().address()).unwrap();
    client.write_all(b"GET /api/v1/query HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    node.wait_until(|(waiting, _)| *waiting == 1);
    drop(client);
    node.wait_until(|counts| *counts == (0, 1));
}

#[test]
fn connections_above_the_limit_wait_their_turn() {
    let node = Harness::serving(&["server.max_connections=1"]);
    let address = node.node().address();
    let ask = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let first = TcpStream::connect(address).unwrap();
    let mut second = TcpStream::connect(address).unwrap();
    second.write_all(ask).unwrap();
    let mut first_answer = String::new();
    (&first).write_all(ask).unwrap();
    (&first).read_to_string(&mut first_answer).unwrap();
    assert!(first_answer.starts_with("HTTP/1.1 200"));
    let mut second_answer = String::new();
    second.read_to_string(&mut second_answer).unwrap();
    assert!(second_answer.starts_with("HTTP/1.1 200"));
    drop(first);
    assert_eq!(node.metric("rangekeeper_http_connections_accepted_total"), 2.0);
}

#[test]
fn connections_that_say_nothing_are_closed() {
    let node = Harness::serving(&["server.idle_timeout=50ms"]);
    let mut silent = TcpStream::connect(node.node().address()).unwrap();
    silent.write_all(b"GET /-/healthy HT").unwrap();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}
