//! Talking to a node over HTTP.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use ureq::Agent;

use crate::cli::Target;

/// Sealing and copying take as long as the data are many.
const OPERATION_TIMEOUT: Duration = Duration::from_hours(24);

/// The largest answer that is read.
const ANSWER_BYTES: u64 = 256 << 20;

/// A node, and how to ask it.
pub(super) struct Client {
    agent: Agent,
    /// Without a slash at its end.
    url: String,
    authorization: Option<String>,
    tenant: Option<String>,
}

impl Client {
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        if !target.url.starts_with("http://") {
            bail!("--url {}: expected http://HOST:PORT", target.url);
        }
        let authorization = match &target.token_file {
            None => None,
            Some(path) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("failed to read the token from {}", path.display()))?;
                let mut lines = text.lines().map(str::trim);
                let token = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
                let token = token.with_context(|| format!("no token in {}", path.display()))?;
                Some(format!("Bearer {token}"))
            }
        };
        let config = Agent::config_builder().http_status_as_error(false).build();
        Ok(Self {
            agent: Agent::new_with_config(config),
            url: target.url.trim_end_matches('/').to_owned(),
            authorization,
            tenant: None,
        })
    }

    /// Asks for the data of this tenant.
    pub(super) fn of_tenant(mut self, tenant: Option<&str>) -> Self {
        self.tenant = tenant.map(str::to_owned);
        self
    }

    /// The `data` of the answer to a question of the Prometheus API, and its warnings and infos.
    pub(super) fn ask(
        &self,
        path: &str,
        form: &[(&str, &str)],
        timeout: Duration,
    ) -> anyhow::Result<(Value, Vec<String>)> {
        let mut answer = self.post(path, form, timeout)?;
        let mut notes = Vec::new();
        for kind in ["warnings", "infos"] {
            let texts = answer[kind].as_array().into_iter().flatten();
            notes.extend(texts.filter_map(|text| text.as_str().map(str::to_owned)));
        }
        Ok((answer["data"].take(), notes))
    }

    /// Has the node do what an operator wants, and waits until it is done.
    pub(super) fn operate(&self, what: &str, form: &[(&str, &str)]) -> anyhow::Result<()> {
        self.post(&format!("/api/v1/admin/{what}"), form, OPERATION_TIMEOUT).map(drop)
    }

    /// What a node says of itself: the `data` of an answer in the envelope of the API.
    pub(super) fn identity(&self, timeout: Duration) -> anyhow::Result<Value> {
        let (url, status, body) = self.get("/api/v1/admin/identity", timeout)?;
        let mut answer: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        if answer["status"] == "success" {
            return Ok(answer["data"].take());
        }
        let error = answer["error"].as_str().unwrap_or(body.trim());
        bail!("{url} answered {status}: {error}")
    }

    /// What a node says of its cluster.
    pub(super) fn cluster(&self, timeout: Duration) -> anyhow::Result<Value> {
        let (url, status, body) = self.get("/api/cluster/v1", timeout)?;
        if status.is_success() {
            return serde_json::from_str(&body).with_context(|| format!("{url} answered no JSON"));
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let error = answer["error"].as_str().unwrap_or(body.trim());
        bail!("{url} answered {status}: {error}")
    }

    fn get(
        &self,
        path: &str,
        timeout: Duration,
    ) -> anyhow::Result<(String, ureq::http::StatusCode, String)> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.get(&url).config().timeout_global(Some(timeout)).build();
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let response = request.call().with_context(|| format!("failed to ask {url}"))?;
        let status = response.status();
        Ok((url.clone(), status, read(&url, response)?))
    }

    fn post(&self, path: &str, form: &[(&str, &str)], timeout: Duration) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.post(&url).config().timeout_global(Some(timeout)).build();
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let response = request
            .send_form(form.iter().copied())
            .with_context(|| format!("failed to ask {url}"))?;
        let status = response.status();
        let body = read(&url, response)?;
        let answer: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        if answer["status"] == "success" {
            return Ok(answer);
        }
        let error = answer["error"].as_str().unwrap_or(body.trim());
        bail!("{url} answered {status}: {error}")
    }
}

fn read(url: &str, mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<String> {
    let body = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
    body.with_context(|| format!("failed to read the answer of {url}"))
}
