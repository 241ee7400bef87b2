//! Writes: what is handed on, what is refused, and what a sender is told.

use std::io::{Read, Write};
use std::net::TcpStream;

use rangekeeper_model::ErrorClass;
use rangekeeper_node::memory::Usage;
use rangekeeper_node::services::{Failure, WriteOutcome, Written};
use rangekeeper_wire::Version;

use crate::harness::{AVAILABLE_BYTES, Harness};

const V2: (&str, &str) =
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");
const SAMPLES: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS: &str = "x-prometheus-remote-write-histograms-written";
const EXEMPLARS: &str = "x-prometheus-remote-write-exemplars-written";

fn outcome(class: Option<ErrorClass>) -> WriteOutcome {
    WriteOutcome {
        result: class.map_or(Ok(()), |class| Err(Failure::new(class, "series x is odd\nmore"))),
        written: Written { samples: 3, histograms: 2, exemplars: 1 },
    }
}

#[test]
fn a_write_is_handed_on_whole_under_every_path() {
    let node = Harness::serving(&[]);
    let body: Vec<u8> = (0..300_000).map(|i: u32| (i % 251) as u8).collect();
    for prefix in ["", "/prometheus"] {
        for path in ["write", "push", "receive"] {
            let path = format!("{prefix}/api/v1/{path}");
            let headers = [V2, ("Content-Encoding", "snappy"), ("X-Scope-OrgID", "team-a")];
            let answer = node.post(&path, &headers, &body);
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}");
            let write = node.stand_in.writes.lock().pop().expect("a write");
            assert_eq!(write.body, body, "{path}");
            assert_eq!(write.tenant.as_str(), "team-a");
            assert_eq!(write.version, Version::V2);
        }
    }
    assert_eq!(node.write(b"").status, 204);
    let write = node.stand_in.writes.lock().pop().expect("a write");
    assert_eq!(write.tenant.as_str(), "anonymous");
    assert_eq!(write.version, Version::V1);
    assert_eq!(node.metric("rangekeeper_write_in_flight_bytes"), 0.0);
}

#[test]
fn the_second_version_is_told_what_was_written_and_the_first_is_not() {
    let node = Harness::serving(&[]);
    for (class, status) in [(None, 204), (Some(ErrorClass::Invalid), 400)] {
        *node.stand_in.outcome.lock() = outcome(class);
        let answer = node.post("/api/v1/write", &[V2], b"");
        assert_eq!(answer.status, status);
        let counts = [SAMPLES, HISTOGRAMS, EXEMPLARS].map(|name| answer.header(name));
        assert_eq!(counts, [Some("3"), Some("2"), Some("1")]);
        let answer = node.write(b"");
        assert_eq!(answer.status, status);
        assert_eq!(answer.header(SAMPLES), None);
    }
}

#[test]
fn the_first_line_of_a_refusal_is_the_reason() {
    let node = Harness::serving(&[]);
    for (class, status) in [
        (ErrorClass::Invalid, 400),
        (ErrorClass::TooLarge, 413),
        (ErrorClass::Internal, 500),
        (ErrorClass::Unavailable, 503),
    ] {
        *node.stand_in.outcome.lock() = outcome(Some(class));
        let answer = node.write(b"");
        assert_eq!(answer.status, status);
        assert_eq!(answer.text().lines().next(), Some("series x is odd"));
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
}

#[test]
fn unknown_types_and_encodings_are_refused_before_the_body_is_looked_at() {
    let node = Harness::serving(&[]);
    for headers in [
        [("Content-Type", "application/json"), ("Content-Encoding", "snappy")],
        [("Content-Type", "image/png"), ("Content-Encoding", "snappy")],
        [("Content-Type", "application/x-protobuf;proto=x"), ("Content-Encoding", "snappy")],
        [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")],
        [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "deflate")],
    ] {
        assert_eq!(node.post("/api/v1/write", &headers, b"garbage").status, 415, "{headers:?}");
    }
    assert!(node.stand_in.writes.lock().is_empty());
    let refused = "rangekeeper_write_refused_total{reason=\"content_type\"}";
    assert_eq!(node.metric(refused), 5.0);
}

#[test]
fn a_wrong_tenant_is_refused_by_name() {
    let node = Harness::serving(&[]);
    let answer = node.post("/api/v1/write", &[("X-Scope-OrgID", "a/b")], b"");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("X-Scope-OrgID") && answer.text().contains("a/b"));
}

#[test]
fn bodies_above_the_limit_are_a_413_however_they_are_sent() {
    let node = Harness::serving(&["limits.body=64KiB"]);
    assert_eq!(node.write(&vec![7; 64 << 10]).status, 204);
    // The whole body is sent before the answer is read: it must arrive all the same.
    let answer = node.write(&vec![7; 100 << 10]);
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("limit of 65536 bytes"), "{}", answer.text());
    assert!(chunked(&node, 3, 16 << 10).starts_with("HTTP/1.1 204"));
    assert!(chunked(&node, 5, 16 << 10).starts_with("HTTP/1.1 413"));
    assert_eq!(node.metric("rangekeeper_write_refused_total{reason=\"body_size\"}"), 2.0);
    assert_eq!(node.metric("rangekeeper_write_in_flight_bytes"), 0.0);
    let writes = node.stand_in.writes.lock();
    assert_eq!(
        writes.iter().map(|write| write.body.len()).collect::<Vec<_>>(),
        [64 << 10, 48 << 10]
    );
}

/// Sends a write in chunks without a declared length, and gives the head of the answer.
fn chunked(node: &Harness, chunks: usize, chunk_bytes: usize) -> String {
    let mut stream = TcpStream::connect(node.node().address()).unwrap();
    let head = "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..chunks {
        stream.write_all(format!("{chunk_bytes:x}\r\n").as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; chunk_bytes]).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_too_large_when_decompressed_is_refused_undecoded() {
    let node = Harness::serving(&["limits.decoded=64MiB"]);
    let answer = node.write(format!("{}\n", (64 << 20) + 1).as_bytes());
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("67108865 bytes uncompressed"), "{}", answer.text());
    assert!(node.stand_in.writes.lock().is_empty());
    assert_eq!(node.write(format!("{}\n", 64 << 20).as_bytes()).status, 204);
}

#[test]
fn writes_in_flight_are_bounded_together() {
    let node = Harness::serving(&["limits.in_flight=1MiB"]);
    node.stand_in.hold();
    std::thread::scope(|scope| {
        // The first is alone, so it is taken although it is larger than the bound by what it holds
        // decompressed.
        let first = scope.spawn(|| node.write(format!("{}\n", 2 << 20).as_bytes()).status);
        node.wait_until(|(waiting, _)| *waiting == 1);
        let refused = node.write(b"0\n");
        assert_eq!(refused.status, 503);
        assert!(refused.text().contains("writes in flight, limit 1048576"), "{}", refused.text());
        assert!(refused.header("retry-after").is_some());
        node.stand_in.let_go();
        assert_eq!(first.join().expect("no panic"), 204);
    });
    assert_eq!(node.write(b"0\n").status, 204);
    assert_eq!(node.metric("rangekeeper_write_refused_total{reason=\"in_flight\"}"), 1.0);
}

#[test]
fn a_full_memory_refuses_writes_and_says_so() {
    let full = || Usage { active_bytes: AVAILABLE_BYTES, ..Usage::default() };
    let node = Harness::starting(&["limits.memory=50%"], full);
    node.open();
    let answer = node.write(b"");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("bytes of memory in use, limit 536870"), "{}", answer.text());
    let ready = node.get("/-/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("memory"), "{}", ready.text());
    assert_eq!(node.get("/api/v1/query?query=1").status, 200);
}

#[test]
fn a_store_that_takes_no_writes_still_answers() {
    let node = Harness::serving(&[]);
    *node.stand_in.refusal.lock() = Some("disk is full".to_owned());
    let answer = node.post("/api/v1/write", &[V2], b"");
    assert_eq!((answer.status, answer.text()), (503, "disk is full\n"));
    assert_eq!(answer.header(SAMPLES), Some("0"));
    assert_eq!(node.get("/-/ready").text(), "not ready: disk is full\n");
    assert_eq!(node.get("/-/healthy").status, 200);
    assert_eq!(node.get("/api/v1/query?query=1").status, 200);
    *node.stand_in.refusal.lock() = None;
    assert_eq!(node.write(b"").status, 204);
    assert_eq!(node.get("/-/ready").status, 200);
}

#[test]
fn a_body_that_does_not_come_gives_its_room_back() {
    let node = Harness::serving(&["server.body_timeout=50ms"]);
    let mut stream = TcpStream::connect(node.node().address()).unwrap();
    let head = "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    assert_eq!(node.metric("rangekeeper_write_in_flight_bytes"), 0.0);
}
