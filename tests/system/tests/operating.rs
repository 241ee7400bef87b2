//! The binary as an operator meets it: how it starts, what it refuses to start with, what it says,
//! and how it stops.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rangekeeper_system_tests::node::{Node, Setup};
use rangekeeper_system_tests::remote_write::{TimeSeries, WriteRequest};
use rangekeeper_system_tests::{poll, programs};
use serde_json::json;

/// Within this a node that has nothing to wait for has ended.
const SECONDS: Duration = Duration::from_secs(10);

fn setup(folder: &Path) -> Setup {
    Setup::new(&folder.join("data")).expect("a free port")
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292,000,000")
}

/// A write of which the head and half of the body are sent: the node has begun to answer it, and
/// cannot until it is finished.
struct HalfWrite {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl HalfWrite {
    fn begin(node: &Node) -> Result<Self> {
        let series = TimeSeries::with_sample(&[("__name__", "half")], now_ms(), 1.0);
        let mut rest = WriteRequest { timeseries: vec![series] }.to_body();
        let address = node.api.base().trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nContent-Length: {}\r\n\r\n",
            rest.len()
        )?;
        let half = rest.len() / 2;
        stream.write_all(&rest[..half])?;
        rest.drain(..half);
        // The question itself is in flight as well.
        poll::until("a write in flight", SECONDS, || {
            let metrics = node.api.get("/metrics")?.body;
            let flying = metrics.lines().any(|l| l == "rangekeeper_http_requests_in_flight 2");
            ensure!(flying, "it has not begun");
            Ok(())
        })?;
        Ok(Self { stream, rest })
    }

    /// Sends the rest and returns the answer.
    fn finish(mut self) -> Result<String> {
        self.stream.write_all(&self.rest)?;
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Waits until the log of `node` has a line with `part`.
fn wait_for_line(node: &Node, part: &str) -> Result<()> {
    poll::until(part, SECONDS, || {
        let log = fs::read_to_string(node.process.log())?;
        ensure!(log.contains(part), "the log is {log}");
        Ok(())
    })
}

/// Runs the binary to its end.
fn run(arguments: &[&str]) -> Output {
    let binary = programs::rangekeeper().expect("a built binary");
    Command::new(binary).args(arguments).output().expect("it starts")
}

fn refusal(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn either_signal_answers_what_is_in_flight_and_ends_well() {
    let ask: [fn(&Node) -> Result<()>; 2] =
        [|node| node.process.terminate(), |node| node.process.interrupt()];
    for ask in ask {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let setup = setup(folder.path());
        let mut node = setup.start_ready().expect("the node starts");
        let write = HalfWrite::begin(&node).expect("a write begins");
        ask(&node).expect("it is asked to stop");
        wait_for_line(&node, "stopping").expect("it begins to stop");
        let answer = write.finish().expect("the write is answered");
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        let answered = Instant::now();
        let status = node.process.wait().expect("it ends");
        assert!(status.success(), "it ended with {status}");
        assert!(answered.elapsed() < SECONDS, "it took {:?}", answered.elapsed());

        let node = setup.start_ready().expect("the node starts again");
        let time = f64::from(u32::try_from(now_ms() / 1000).expect("before 2106")) + 1.0;
        let found = node.api.query("half", time).expect("it answers");
        assert_eq!(found["result"][0]["value"][1], "1", "what was answered is there: {found}");
    }
}

#[test]
fn a_second_signal_ends_a_node_that_still_waits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut node = setup(folder.path()).start_ready().expect("the node starts");
    let _write = HalfWrite::begin(&node).expect("a write begins");
    node.process.terminate().expect("it is asked to stop");
    wait_for_line(&node, "stopping").expect("it begins to stop");
    let asked = Instant::now();
    node.process.terminate().expect("it is told again");
    let status = node.process.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert!(asked.elapsed() < SECONDS, "it took {:?}", asked.elapsed());
}

#[test]
fn a_signal_ends_a_node_that_is_still_opening_its_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let setup = setup(folder.path());
    fs::create_dir(&setup.data).expect("a data folder");
    // Whoever opens a pipe to write waits for a reader: the start stands still in its first step.
    let lock = setup.data.join("LOCK");
    let made = Command::new("mkfifo").arg(&lock).status().expect("mkfifo runs");
    assert!(made.success());
    let mut node = setup.start().expect("the node starts");
    poll::until("a node that tells what it does", SECONDS, || {
        let answer = node.api.get("/-/ready")?;
        ensure!(answer.status == 503 && answer.body.starts_with("not ready: starting:"));
        Ok(())
    })
    .expect("it listens while it opens");
    let asked = Instant::now();
    let status = node.process.stop().expect("it ends");
    assert!(status.success(), "it ended with {status}");
    assert!(asked.elapsed() < SECONDS, "it took {:?}", asked.elapsed());
    let log = fs::read_to_string(node.process.log()).expect("a log");
    assert!(log.contains("stopped while the store was being opened"), "{log}");
    assert!(!log.contains("remote_write"), "nothing is offered that cannot be used: {log}");
}

#[test]
fn a_data_folder_serves_one_node_at_a_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let setup = setup(folder.path());
    let first = setup.start_ready().expect("the node starts");
    let data = setup.data.to_str().expect("UTF-8");
    let (code, message) = refusal(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
    assert_eq!(code, Some(1));
    assert!(message.contains(data) && message.contains("in use by another process"), "{message}");
    first.api.check_ready().expect("the first one is not disturbed");
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_by_key_and_origin() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = folder.path().join("missing.toml");
    let wrong = folder.path().join("wrong.toml");
    fs::write(&wrong, "[query]\nseris = 5\n").expect("a file");
    let (missing, wrong) = (missing.to_str().expect("UTF-8"), wrong.to_str().expect("UTF-8"));
    for (arguments, parts) in [
        (&["--config", missing][..], &[missing, "No such file"][..]),
        (&["--config", wrong], &["query.seris", wrong]),
        (&["--set", "head.idel=1m"], &["head.idel", "--set"]),
        (&["--set", "query.depth=deep"], &["query.depth", "deep"]),
        (&["--set", "limits.body=x"], &["limits.body", "a size such as"]),
        (&["--listen", "0.0.0.0:0"], &["server.listen", "--token-file", "--no-auth"]),
    ] {
        for command in ["serve", "check-config", "print-config"] {
            let (code, message) = refusal(&[&[command], arguments].concat());
            assert_eq!(code, Some(2), "{command} {arguments:?}: {message}");
            for part in parts {
                assert!(message.contains(part), "no {part} in {message}");
            }
        }
    }
}

#[test]
fn a_guarded_node_asks_for_a_token_on_all_paths_but_health() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "# for senders\nsesame\n").expect("a file");
    let mut setup = setup(folder.path());
    setup.options = vec![OsString::from("--token-file"), tokens.clone().into()];
    let node = setup.start_ready().expect("the node starts");
    assert_eq!(node.api.get("/-/healthy").expect("an answer").status, 200);
    for path in ["/metrics", "/api/v1/query?query=1", "/api/v1/status/buildinfo", "/", "/nothing"] {
        let path = [path, &format!("/prometheus{path}")].map(str::to_owned);
        for path in path {
            assert_eq!(node.api.get(&path).expect("an answer").status, 401, "{path}");
        }
    }
    for path in ["/api/v1/write", "/api/v1/admin/seal"] {
        assert_eq!(node.api.post_form(path, &[]).expect("an answer").status, 401, "{path}");
    }
    let query = |file: &Path| {
        let file = file.to_str().expect("UTF-8");
        let output = run(&["query", "--url", node.api.base(), "--token-file", file, "1 + 1"]);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(query(&tokens), (true, "2".to_owned()));
    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "sesam\n").expect("a file");
    assert!(!query(&wrong).0);
}

/// What a node printed for its operator to paste: the lines from `remote_write:` to the next empty
/// one.
fn offered(node: &Node) -> Result<String> {
    let log = fs::read_to_string(node.process.log())?;
    ensure!(log.matches("remote_write:").count() == 1, "once, and not as in {log}");
    let (_, from) = log.split_once("remote_write:").context("nothing to paste")?;
    let (lines, _) = from.split_once("\n\n").context("no end")?;
    Ok(format!("remote_write:{lines}\n"))
}

#[test]
fn what_the_greeting_offers_is_a_configuration_of_prometheus() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tokens = folder.path().join("tokens of \"all\"");
    fs::write(&tokens, "sesame\n").expect("a file");
    for options in [vec![], vec![OsString::from("--token-file"), tokens.into()]] {
        let guarded = !options.is_empty();
        let mut setup = setup(&folder.path().join(if guarded { "guarded" } else { "open" }));
        fs::create_dir(setup.data.parent().expect("a parent")).expect("a folder");
        setup.options = options;
        let node = setup.start_ready().expect("the node starts");
        wait_for_line(&node, "The data lie in").expect("it greets");
        let offered = offered(&node).expect("lines to paste");
        assert_eq!(offered.contains("authorization:"), guarded, "{offered}");
        let Ok(promtool) = programs::promtool() else {
            eprintln!("skipped: no promtool to check with");
            continue;
        };
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, &offered).expect("a file");
        let checked = Command::new(promtool).args(["check", "config"]).arg(&file).output();
        let checked = checked.expect("promtool runs");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{offered}\n{said}");
    }
}

#[test]
fn cardinality_is_told_of_the_newest_day() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = setup(folder.path()).start_ready().expect("the node starts");
    let empty = node.api.get("/api/v1/status/tsdb").expect("an answer").body;
    let empty: serde_json::Value = serde_json::from_str(&empty).expect("JSON");
    assert_eq!(
        empty["data"]["headStats"],
        json!({"numSeries": 0, "numLabelPairs": 0, "chunkCount": 0, "minTime": 0, "maxTime": 0})
    );
    let at_ms = now_ms();
    let of =
        |host, metric| TimeSeries::with_sample(&[("__name__", metric), ("host", host)], at_ms, 1.0);
    let timeseries = vec![of("a", "up"), of("bb", "up"), of("a", "down")];
    let body = WriteRequest { timeseries }.to_body();
    assert!(node.api.write(&body).expect("an answer").is_success());
    let data = poll::until("series in the index", SECONDS, || {
        let answer = node.api.get("/api/v1/status/tsdb?limit=1")?.body;
        let mut answer: serde_json::Value = serde_json::from_str(&answer)?;
        ensure!(answer["data"]["headStats"]["numSeries"] == 3, "{answer}");
        Ok(answer["data"].take())
    })
    .expect("they are registered");
    let day_ms = 24 * 60 * 60 * 1000;
    let one = |name: &str, value: u64| json!([{"name": name, "value": value}]);
    assert_eq!(
        data,
        json!({
            "headStats": {
                "numSeries": 3,
                "numLabelPairs": 4,
                "chunkCount": 3,
                "minTime": at_ms / day_ms * day_ms,
                "maxTime": at_ms,
            },
            "seriesCountByMetricName": one("up", 2),
            "labelValueCountByLabelName": one("__name__", 2),
            "memoryInBytesByLabelName": one("__name__", 8),
            "seriesCountByLabelValuePair": one("__name__=up", 2),
        })
    );
    for limit in ["0", "-1", "x"] {
        let path = format!("/api/v1/status/tsdb?limit={limit}");
        assert_eq!(node.api.get(&path).expect("an answer").status, 400, "{limit}");
    }
}
