//! Reads and everything else that is asked with GET or a form.

use rangekeeper_model::ErrorClass;
use rangekeeper_node::services::{Failure, ReadRequest};
use rangekeeper_query::Question;

use crate::harness::Harness;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");

impl Harness {
    fn last_read(&self) -> ReadRequest {
        self.stand_in.reads.lock().pop().expect("a read")
    }
}

#[test]
fn every_question_is_asked_under_both_prefixes() {
    let node = Harness::serving(&[]);
    for (path, question, has_form) in [
        ("query", Question::Query, true),
        ("query_range", Question::QueryRange, true),
        ("query_exemplars", Question::QueryExemplars, true),
        ("format_query", Question::FormatQuery, true),
        ("series", Question::Series, true),
        ("labels", Question::Labels, true),
        ("metadata", Question::Metadata, false),
        ("status/tsdb", Question::Tsdb, false),
        ("label/__name__/values", Question::LabelValues("__name__".to_owned()), false),
        ("label/U__a_2e_b/values", Question::LabelValues("U__a_2e_b".to_owned()), false),
        ("label/a%2Eb%C3%A4/values", Question::LabelValues("a.bä".to_owned()), false),
    ] {
        for prefix in ["", "/prometheus"] {
            let url = format!("{prefix}/api/v1/{path}");
            let answer = node.get_with(&format!("{url}?x=1"), &[("X-Scope-OrgID", "t")]);
            assert_eq!((answer.status, answer.text()), (200, "{\"status\":\"success\"}"), "{url}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let read = node.last_read();
            assert_eq!((&read.question, read.tenant.as_str()), (&question, "t"));
            assert_eq!(read.parameters.first("x"), Some("1"));
            let answer = node.post(&url, &[FORM], b"x=2");
            assert_eq!(answer.status, if has_form { 200 } else { 405 }, "{url}");
        }
    }
}

#[test]
fn a_form_comes_before_the_url() {
    let node = Harness::serving(&[]);
    let url = "/api/v1/series?match[]=url&limit=1";
    assert_eq!(node.post(url, &[FORM], b"match%5B%5D=%7Ba%3D%22b%22%7D&start=1.5").status, 200);
    let parameters = node.last_read().parameters;
    assert_eq!(parameters.all("match[]").collect::<Vec<_>>(), ["{a=\"b\"}", "url"]);
    assert_eq!(parameters.first("start"), Some("1.5"));
    assert_eq!(parameters.first("limit"), Some("1"));
    assert_eq!(node.post(url, &[("Content-Type", "text/plain")], b"match[]=x").status, 200);
    assert_eq!(node.last_read().parameters.all("match[]").collect::<Vec<_>>(), ["url"]);
}

#[test]
fn forms_are_bounded() {
    let node = Harness::serving(&["query.text=1KiB"]);
    let form = |bytes: usize| node.post("/api/v1/query", &[FORM], &vec![b'x'; bytes]).status;
    assert_eq!(form(1 << 20), 200);
    assert_eq!(form((1 << 20) + (4 << 10)), 413);
}

#[test]
fn failures_come_in_the_envelope() {
    let node = Harness::serving(&[]);
    for (class, status, kind) in [
        (ErrorClass::Invalid, 400, "bad_data"),
        (ErrorClass::Execution, 422, "execution"),
        (ErrorClass::Timeout, 503, "timeout"),
        (ErrorClass::Internal, 500, "internal"),
    ] {
        *node.stand_in.answer.lock() = Err(Failure::new(class, "no \"x\""));
        let answer = node.get("/api/v1/query");
        assert_eq!(answer.status, status);
        let expected =
            serde_json::json!({"status": "error", "errorType": kind, "error": "no \"x\""});
        assert_eq!(answer.json(), expected);
    }
}

#[test]
fn unknown_paths_and_methods_are_answered_in_json() {
    let node = Harness::serving(&[]);
    for path in
        ["/api/v1/status/flags", "/api/cluster/v2", "/prometheus/nothing", "/api/v1/label/x"]
    {
        let answer = node.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["errorType"], "not_found", "{path}");
    }
    for (path, allow) in [("/api/v1/write", "POST"), ("/prometheus/api/v1/admin/seal", "POST")] {
        let answer = node.get(path);
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
        assert_eq!(answer.json()["status"], "error");
    }
    let answer = node.post("/api/v1/metadata", &[], b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(node.metric("rangekeeper_http_requests_total{code=\"4xx\",path=\"other\"}"), 7.0);
}

#[test]
fn long_answers_are_compressed_for_who_can_read_that() {
    let node = Harness::serving(&[]);
    let long = format!("\"{}\"", "abc".repeat(10_000));
    *node.stand_in.answer.lock() = Ok(long.clone().into());
    let plain = node.get("/api/v1/query");
    assert_eq!((plain.text(), plain.header("content-encoding")), (long.as_str(), None));
    for path in ["/api/v1/query", "/prometheus/metrics"] {
        let answer = node.get_with(path, &[("Accept-Encoding", "gzip")]);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{path}");
        assert!(answer.header("vary").is_some_and(|v| v.eq_ignore_ascii_case("accept-encoding")));
        assert_eq!(&answer.body[..2], [0x1f, 0x8b], "{path}");
        assert!(answer.body.len() < long.len() / 4, "{path}");
    }
}

#[test]
fn everything_but_health_needs_a_token_if_there_are_tokens() {
    let node = Harness::serving(&["auth.token_file=TOKENS"]);
    let paths =
        ["/api/v1/query", "/metrics", "/api/v1/status/buildinfo", "/nothing", "/api/v1/write"];
    for prefix in ["", "/prometheus"] {
        for path in paths {
            let answer = node.get(&format!("{prefix}{path}"));
            assert_eq!(answer.status, 401, "{path}");
            assert_eq!(answer.json()["errorType"], "unauthorized");
            let schemes = answer.headers.get_all("www-authenticate").iter();
            assert_eq!(schemes.count(), 2, "{path}");
        }
        assert_eq!(node.post(&format!("{prefix}/api/v1/admin/seal"), &[], b"").status, 401);
        assert_eq!(node.write(b"").status, 401);
        assert_eq!(node.get(&format!("{prefix}/-/healthy")).status, 200);
        assert_eq!(node.get(&format!("{prefix}/-/ready")).status, 200);
    }
    assert!(node.stand_in.reads.lock().is_empty() && node.stand_in.operations.lock().is_empty());
    // user:open-sesame
    for value in ["Bearer open-sesame", "Basic dXNlcjpvcGVuLXNlc2FtZQ=="] {
        let headers = [("Authorization", value)];
        assert_eq!(node.get_with("/api/v1/query", &headers).status, 200, "{value}");
        assert_eq!(node.post("/api/v1/write", &headers, b"").status, 204, "{value}");
    }
}

#[test]
fn grafana_recognises_a_prometheus() {
    let node = Harness::serving(&[]);
    let info = node.get("/api/v1/status/buildinfo").json();
    assert_eq!(info["status"], "success");
    assert_eq!(info["data"]["version"], "3.14.0");
    assert!(info["data"]["revision"].as_str().unwrap().starts_with("rangekeeper "));
    assert_eq!(info["data"].get("features"), None);
    let empty = serde_json::json!({"status": "success", "data": {"groups": []}});
    for types in ["", "?type=", "?type=Alert", "?type=record"] {
        assert_eq!(node.get(&format!("/api/v1/rules{types}")).json(), empty);
    }
    let answer = node.get("/api/v1/rules?type=foo");
    assert_eq!(answer.status, 400);
    let reason = "invalid parameter \"type\": not supported value \"foo\"";
    assert_eq!(answer.json()["error"], reason);
    let empty = serde_json::json!({"status": "success", "data": {"alerts": []}});
    assert_eq!(node.get("/api/v1/alerts").json(), empty);
}

#[test]
fn every_answer_has_an_id_and_is_counted() {
    let node = Harness::serving(&[]);
    let ids = ["/api/v1/query", "/nothing", "/-/healthy"].map(|path| {
        let answer = node.get(path);
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert_eq!(id.len(), 16);
        id
    });
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
    node.write(&[7; 1000]);
    let metrics = node.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in [
        "rangekeeper_http_requests_total{code=\"2xx\",path=\"/api/v1/query\"} 1",
        "rangekeeper_http_request_bytes_total{path=\"/api/v1/write\"} 1000",
        "rangekeeper_http_response_bytes_total{path=\"/api/v1/query\"} 20",
        "rangekeeper_http_request_duration_seconds_count{path=\"/api/v1/write\"} 1",
        "rangekeeper_http_requests_in_flight 1",
    ] {
        assert!(metrics.text().lines().any(|l| l == line), "no {line} in\n{}", metrics.text());
    }
    assert!(metrics.text().contains("rangekeeper_build_info{"));
}

#[test]
fn operators_are_served() {
    let node = Harness::serving(&[]);
    for path in ["seal", "confirm-clock", "snapshot?dir=/backup/one"] {
        let answer = node.post(&format!("/api/v1/admin/{path}"), &[], b"");
        assert_eq!((answer.status, &answer.json()["status"]), (200, &"success".into()), "{path}");
    }
    assert_eq!(node.post("/api/v1/admin/snapshot", &[FORM], b"dir=%2Fbackup%2Ftwo").status, 200);
    let done = ["seal", "confirm-clock", "snapshot /backup/one", "snapshot /backup/two"];
    assert_eq!(*node.stand_in.operations.lock(), done);
    for form in [&b""[..], b"dir=relative/folder"] {
        let answer = node.post("/api/v1/admin/snapshot", &[FORM], form);
        assert_eq!(answer.status, 400);
        assert!(answer.json()["error"].as_str().unwrap().contains("dir"));
    }
}
