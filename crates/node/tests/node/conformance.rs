//! The rules of remote write, one by one, asked of a node with a real store.

mod answers;
mod messages;
mod requests;
mod validity;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rangekeeper_node::config::{Settings, Sources};
use rangekeeper_node::memory::Usage;
use rangekeeper_node::services::{Opened, Opening};
use rangekeeper_wire::encode::{RequestV2, labels_v1, request_v1};
use rangekeeper_wire::proto::{v1, v2};

use crate::harness::{AVAILABLE_BYTES, Answer, Harness};

const V1_TYPE: &str = "application/x-protobuf";
const V2_TYPE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A node with a store of its own.
struct Real {
    harness: Harness,
    opened: Option<Opened>,
    _data: tempfile::TempDir,
}

impl Real {
    /// A node that serves; `set` as for `--set`.
    fn new(set: &[&str]) -> Self {
        let data = tempfile::tempdir().expect("a folder for the store");
        let data_dir = format!("storage.data_dir={}", data.path().display());
        let set: Vec<_> = set.iter().copied().chain([data_dir.as_str()]).collect();
        let harness = Harness::starting(&set, Usage::default);
        let set = set.iter().map(|&text| text.to_owned()).collect();
        let sources = Sources { set, ..Sources::default() };
        let config = Settings::read(&sources).and_then(|settings| settings.config());
        let opened = rangekeeper_node::open::open(Opening {
            config: Arc::new(config.expect("the configuration is good")),
            registry: harness.registry.clone(),
            readiness: Arc::default(),
            http_address: harness.node().address(),
            available_bytes: AVAILABLE_BYTES,
            accept_loss: false,
        });
        let opened = opened.expect("the store opens");
        harness.node().open(opened.services.clone());
        Self { harness, opened: Some(opened), _data: data }
    }

    /// Closes the store behind the node.
    fn close(&mut self) {
        if let Some(opened) = self.opened.take() {
            (opened.close)().expect("the store closes");
        }
    }

    fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.harness.post("/api/v1/write", headers, body)
    }

    /// Writes series of remote write 1.0.
    fn v1(&self, timeseries: Vec<v1::TimeSeries>) -> Answer {
        let request = v1::WriteRequest { timeseries, metadata: Vec::new() };
        self.post(&[("Content-Type", V1_TYPE)], &request_v1(&request))
    }

    /// Writes a request of remote write 2.0.
    fn v2(&self, request: RequestV2) -> Answer {
        self.post(&[("Content-Type", V2_TYPE)], &request.body())
    }

    /// The values of a query over samples that were just written, as text.
    fn values(&self, query: &str) -> Vec<String> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.harness.get(&format!("/api/v1/query?query={query}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        let result = json["data"]["result"].as_array().expect("a vector");
        let value = |sample: &serde_json::Value| sample["value"][1].as_str().map(str::to_owned);
        result.iter().map(|sample| value(sample).expect("a value")).collect()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.close();
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    i64::try_from(since.as_millis()).expect("not yet the year 292 million")
}

/// The counts of what was written, if all three headers are there.
fn written(answer: &Answer) -> Option<[u64; 3]> {
    let names = ["samples", "histograms", "exemplars"];
    let counts = names.map(|name| {
        let header = answer.header(&format!("x-prometheus-remote-write-{name}-written"))?;
        Some(header.parse().expect("a whole number"))
    });
    let [samples, histograms, exemplars] = counts;
    Some([samples?, histograms?, exemplars?])
}

/// Everything of a request of remote write 2.0 was written.
#[track_caller]
fn assert_all(answer: &Answer, counts: [u64; 3]) {
    assert_eq!((answer.status, answer.text()), (204, ""));
    assert_eq!(written(answer), Some(counts));
}

/// Some of a request of remote write 2.0 was not written, and the first line says `told`.
#[track_caller]
fn assert_part(answer: &Answer, counts: [u64; 3], told: &str) {
    assert_eq!(answer.status, 400, "{}", answer.text());
    let first = answer.text().lines().next().expect("a line");
    assert!(first.contains(told), "{first}");
    assert!(first.len() <= 1024, "{} bytes", first.len());
    assert_eq!(written(answer), Some(counts));
}

/// A series of remote write 1.0 with a sample now.
fn series_v1(labels: Pairs<'_>) -> v1::TimeSeries {
    let samples = vec![v1::Sample { value: 1.0, timestamp: now_ms() }];
    v1::TimeSeries { labels: labels_v1(labels), samples, ..Default::default() }
}

fn sample_v2(value: f64) -> v2::Sample {
    v2::Sample { value, timestamp: now_ms(), start_timestamp: 0 }
}
