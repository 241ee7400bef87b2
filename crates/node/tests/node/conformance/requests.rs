//! What comes before the message: paths, headers, compression, size.

use std::io::{Read, Write};
use std::net::TcpStream;

use rangekeeper_wire::encode::{RequestV2, compress, request_v1};
use rangekeeper_wire::proto::v1;

use super::{Pairs, Real, V1_TYPE, V2_TYPE, now_ms, series_v1, written};

const UP: Pairs<'_> = &[("__name__", "up")];
/// The first chunk of Snappy's framed format.
const FRAMED: &[u8] = b"\xff\x06\x00\x00sNaPpY";

fn body_v1() -> Vec<u8> {
    request_v1(&v1::WriteRequest { timeseries: vec![series_v1(UP)], metadata: Vec::new() })
}

#[test]
fn writes_are_posted_to_any_of_the_paths_that_senders_use() {
    let node = Real::new(&[]);
    for prefix in ["", "/prometheus"] {
        for path in ["write", "push", "receive"] {
            let path = format!("{prefix}/api/v1/{path}");
            let headers = [("Content-Type", V1_TYPE), ("Content-Encoding", "snappy")];
            assert_eq!(node.harness.post(&path, &headers, &body_v1()).status, 204, "{path}");
            let body = RequestV2::at(now_ms()).series(UP).body();
            let answer = node.harness.post(&path, &[("Content-Type", V2_TYPE)], &body);
            assert_eq!((answer.status, written(&answer)), (204, Some([1, 0, 0])), "{path}");
            let answer = node.harness.get(&path);
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{path}");
        }
    }
    assert_eq!(node.values("up"), ["1"]);
}

#[test]
fn the_content_type_picks_the_message() {
    let node = Real::new(&[]);
    let (first, second) = (body_v1(), RequestV2::at(now_ms()).series(UP).body());
    for (content_type, body) in [
        ("application/x-protobuf", &first),
        ("application/x-protobuf;proto=prometheus.WriteRequest", &first),
        ("Application/X-Protobuf ; PROTO = \"prometheus.WriteRequest\"", &first),
        ("application/x-protobuf;charset=utf-8", &first),
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", &second),
        ("application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"", &second),
    ] {
        let answer = node.post(&[("Content-Type", content_type)], body);
        assert_eq!(answer.status, 204, "{content_type}: {}", answer.text());
        let is_second = content_type.contains("v2");
        assert_eq!(written(&answer), is_second.then_some([1, 0, 0]), "{content_type}");
    }
    // Who says nothing sends the first version, in Snappy. The version's header decides nothing.
    let answer = node.post(&[("X-Prometheus-Remote-Write-Version", "2.0.0")], &first);
    assert_eq!((answer.status, written(&answer)), (204, None));
    let headers = [("Content-Type", V2_TYPE), ("X-Prometheus-Remote-Write-Version", "0.1.0")];
    assert_eq!(written(&node.post(&headers, &second)), Some([1, 0, 0]));
}

#[test]
fn other_types_and_encodings_are_a_415_whatever_the_body_is() {
    let node = Real::new(&[]);
    for (content_type, told) in [
        ("application/json", "expected application/x-protobuf as the first (media) part, got "),
        ("image/png", "expected application/x-protobuf as the first (media) part, got image/png"),
        ("application/x-protobuf;proto=x", "unknown type for remote write protobuf message x, "),
    ] {
        let answer = node.post(&[("Content-Type", content_type)], b"garbage");
        assert_eq!(answer.status, 415, "{content_type}");
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    for encoding in ["gzip", "deflate", "zstd"] {
        for (content_type, counts) in [(V1_TYPE, None), (V2_TYPE, Some([0, 0, 0]))] {
            let headers = [("Content-Type", content_type), ("Content-Encoding", encoding)];
            let answer = node.post(&headers, b"garbage");
            assert_eq!((answer.status, written(&answer)), (415, counts), "{encoding}");
            let told = format!("{encoding} encoding (compression) is not accepted by this server");
            assert!(answer.text().starts_with(&told), "{}", answer.text());
        }
    }
}

#[test]
fn bodies_that_are_damaged_are_a_400() {
    let node = Real::new(&[]);
    let whole = [body_v1(), RequestV2::at(now_ms()).series(UP).body()];
    for (content_type, whole) in [V1_TYPE, V2_TYPE].into_iter().zip(whole) {
        let framed = [FRAMED, &whole].concat();
        let cut = &whole[..whole.len() - 3];
        let no_protobuf = compress(&[0xff; 50]);
        for body in [&b""[..], b"garbage", &framed, cut, &no_protobuf] {
            let answer = node.post(&[("Content-Type", content_type)], body);
            assert_eq!(answer.status, 400, "{content_type}");
            assert!(!answer.text().trim().is_empty());
            let counts = (content_type == V2_TYPE).then_some([0, 0, 0]);
            assert_eq!(written(&answer), counts);
        }
    }
}

#[test]
fn a_sender_need_not_tell_its_name() {
    let node = Real::new(&[]);
    let body = body_v1();
    let mut stream = TcpStream::connect(node.harness.node().address()).expect("it listens");
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the head goes out");
    stream.write_all(&body).expect("the body goes out");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

#[test]
fn what_is_too_large_is_a_413_before_it_is_uncompressed() {
    let node = Real::new(&["limits.body=64KiB", "limits.decoded=1MiB"]);
    // A body that announces 1 GiB and has nothing of it.
    let bomb = [0x80, 0x80, 0x80, 0x80, 0x04, 0, 0];
    let long = vec![7; 65 << 10];
    for body in [&bomb[..], &compress(&vec![0; (1 << 20) + 1]), &long] {
        for (content_type, counts) in [(V1_TYPE, None), (V2_TYPE, Some([0, 0, 0]))] {
            let answer = node.post(&[("Content-Type", content_type)], body);
            assert_eq!((answer.status, written(&answer)), (413, counts), "{}", answer.text());
            assert!(answer.text().contains("larger than the limit of "), "{}", answer.text());
        }
    }
}

#[test]
fn tenants_are_told_by_a_header_and_do_not_see_each_other() {
    let node = Real::new(&[]);
    let write = |tenant| node.post(&[("X-Scope-OrgID", tenant)], &body_v1());
    assert_eq!(write("team-a").status, 204);
    let answer = write("team a");
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("header X-Scope-OrgID: "), "{}", answer.text());
    assert!(node.values("up").is_empty());
    let answer = node.harness.get_with("/api/v1/query?query=up", &[("X-Scope-OrgID", "team-a")]);
    assert!(answer.text().contains(r#""__name__":"up""#), "{}", answer.text());
}
