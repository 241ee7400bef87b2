//! The Prometheus HTTP API as a client sees it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Limit of one request, longer than the longest the node allows a query.
const REQUEST_LIMIT: Duration = Duration::from_secs(90);

/// Largest answer that is read.
const ANSWER_LIMIT_BYTES: u64 = 4 << 30;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    agent: ureq::Agent,
}

/// Status and body of an answer, whatever the status.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body as text.
    pub body: String,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Api {
    /// A client of `http://host:port`.
    pub fn new(base: &str) -> Self {
        Self::with_limit(base, REQUEST_LIMIT)
    }

    /// A client of `http://host:port` that waits for an answer no longer than `limit`.
    pub fn with_limit(base: &str, limit: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(limit))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self { base: base.trim_end_matches('/').to_owned(), agent: config.into() }
    }

    /// The server's URL without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// GET of a path.
    pub fn get(&self, path: &str) -> Result<Answer> {
        let response = self.agent.get(format!("{}{path}", self.base)).call();
        read(response.with_context(|| format!("failed to get {path}"))?)
    }

    /// POST of a form.
    pub fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer> {
        let response =
            self.agent.post(format!("{}{path}", self.base)).send_form(form.iter().copied());
        read(response.with_context(|| format!("failed to post to {path}"))?)
    }

    /// POST of a remote-write 1.0 body.
    pub fn write(&self, body: &[u8]) -> Result<Answer> {
        let response = self
            .agent
            .post(format!("{}/api/v1/write", self.base))
            .header("Content-Type", "application/x-protobuf")
            .header("Content-Encoding", "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .send(body);
        read(response.context("failed to write")?)
    }

    /// The `data` of an instant query at `time`, seconds since the epoch.
    pub fn query(&self, query: &str, time: f64) -> Result<Value> {
        let time = format!("{time:.3}");
        let answer = self.post_form("/api/v1/query", &[("query", query), ("time", &time)])?;
        data(query, &answer)
    }

    /// The `data` of a query over a range; times and step in seconds.
    pub fn query_range(&self, query: &str, start: f64, end: f64, step: f64) -> Result<Value> {
        let (start, end) = (format!("{start:.3}"), format!("{end:.3}"));
        let form =
            [("query", query), ("start", &start), ("end", &end), ("step", &format!("{step}"))];
        let answer = self.post_form("/api/v1/query_range", &form)?;
        data(query, &answer)
    }

    /// An error with the server's own words unless `/-/ready` says 200.
    pub fn check_ready(&self) -> Result<()> {
        let answer = self.get("/-/ready")?;
        ensure!(answer.status == 200, "not ready: {} {}", answer.status, answer.body.trim());
        Ok(())
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ANSWER_LIMIT_BYTES).read_to_string();
    Ok(Answer { status, body: body.context("failed to read an answer")? })
}

fn data(query: &str, answer: &Answer) -> Result<Value> {
    if !answer.is_success() {
        bail!("{query}: {} {}", answer.status, answer.body.trim());
    }
    let mut value: Value = serde_json::from_str(&answer.body)
        .with_context(|| format!("{query}: the answer is not JSON"))?;
    ensure!(value["status"] == "success", "{query}: {}", answer.body);
    Ok(value["data"].take())
}
