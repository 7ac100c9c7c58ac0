//! `http_sd_configs`: targets that a server lists.
//!
//! Only status 200 with JSON counts; any failure keeps the targets of the last good answer.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use prometheus_client::metrics::counter::Counter;

use super::api::{Api, ApiError};
use super::group_list::{self, ListError};
use super::refresh::{Refresh, poll};
use super::{Found, Group, Mechanism, Provider, Tools, Wanted};
use crate::config::{HttpSdConfig, JobConfig};

pub(super) const MECHANISM: Mechanism = Mechanism { name: "http", wanted };

const INTERVAL_HEADER: &str = "x-prometheus-refresh-interval-seconds";
const URL_LABEL: &str = "__meta_url";

fn wanted(job: &JobConfig) -> Vec<Arc<dyn Wanted>> {
    job.http_sd().iter().map(|section| Arc::new(section.clone()) as Arc<dyn Wanted>).collect()
}

impl Provider for HttpSdConfig {
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()> {
        let interval = self.refresh_interval();
        let list = List {
            api: Api::new(self.http()),
            url: self.url().to_owned(),
            interval,
            failures: tools.metrics.http_failures.clone(),
        };
        Box::pin(poll(list, interval, found, tools))
    }
}

/// The list at one URL.
struct List {
    api: Api,
    url: String,
    interval: Duration,
    failures: Counter,
}

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("fetch target groups")]
    Fetch { source: ApiError },
    #[error("unsupported content type {content_type:?}")]
    ContentType { content_type: String },
    #[error("invalid target groups")]
    Groups { source: ListError },
}

impl Refresh for List {
    type Error = HttpError;

    async fn refresh(&mut self) -> Result<Vec<Group>, HttpError> {
        let groups = self.fetch().await;
        self.failures.inc_by(u64::from(groups.is_err()));
        groups
    }
}

impl List {
    async fn fetch(&self) -> Result<Vec<Group>, HttpError> {
        let seconds = self.interval.as_secs_f64().to_string();
        let headers = [("accept", "application/json"), (INTERVAL_HEADER, &seconds)];
        let fetched = self.api.get(&self.url, &headers, self.interval).await;
        let reply = fetched.map_err(|source| HttpError::Fetch { source })?;
        if !is_json(&reply.content_type) {
            return Err(HttpError::ContentType { content_type: reply.content_type });
        }
        group_list::from_json(&reply.body, &self.url, URL_LABEL)
            .map_err(|source| HttpError::Groups { source })
    }
}

/// `application/json`, with no parameter but `charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    let Some(parameters) = lower.strip_prefix("application/json") else { return false };
    let charset = parameters.strip_prefix(';').map(str::trim_start);
    parameters.is_empty() || matches!(charset, Some("charset=utf-8" | "charset=\"utf-8\""))
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::fixtures::{FakeTarget, Reply, job};

    const JSON: &str = "Content-Type: application/json; charset=utf-8";

    async fn list(server: &FakeTarget, keys: &str) -> List {
        let url = format!("http://{}/targets?q=1", server.address);
        let job = job(&format!("{{job_name: j, http_sd_configs: [{{url: '{url}'{keys}}}]}}"));
        let config = &job.http_sd()[0];
        let (api, interval) = (Api::new(config.http()), config.refresh_interval());
        List { api, url, interval, failures: Counter::default() }
    }

    /// What one answer gives: the targets, or the start of the error.
    async fn check(reply: Reply, want: Result<&[&str], &str>) {
        let server = FakeTarget::start(reply).await;
        let mut list = list(&server, "").await;
        match (list.refresh().await, want) {
            (Ok(groups), Ok(want)) => {
                let url = format!("http://{}/targets?q=1", server.address);
                assert!(groups.iter().all(|group| group.labels.get(URL_LABEL) == Some(&url)));
                let targets = groups.iter().flat_map(|group| &group.targets);
                assert_eq!(targets.map(Labels::to_string).collect::<Vec<_>>(), want);
                assert_eq!(list.failures.get(), 0);
            }
            (Err(error), Err(want)) => {
                let error = kit::Chain(&error).to_string();
                assert!(error.contains(want), "{error}");
                assert_eq!(list.failures.get(), 1);
            }
            (got, want) => panic!("{got:?} instead of {want:?}"),
        }
    }

    #[tokio::test]
    async fn a_list_of_groups_becomes_targets() {
        let body = r#"[{"targets": ["h:1"], "labels": {"a": "b"}}, {"targets": ["h:2"]}]"#;
        let want: &[&str] = &[r#"{__address__="h:1"}"#, r#"{__address__="h:2"}"#];
        check(Reply::with(&[JSON], body), Ok(want)).await;
        check(Reply::with(&["Content-Type: application/json"], "[]"), Ok(&[])).await;
    }

    #[tokio::test]
    async fn anything_but_200_and_json_is_a_failure() {
        check(Reply::status("500 Oops", &[JSON], "[]"), Err("server returned HTTP status 500"))
            .await;
        check(Reply::status("204 No Content", &[JSON], ""), Err("HTTP status 204")).await;
        check(Reply::with(&["Content-Type: text/plain"], "[]"), Err("content type \"text/plain\""))
            .await;
        check(Reply::with(&[JSON], "[null]"), Err("nil target group item found")).await;
        check(Reply::with(&[JSON], "[{\"x\": 1}]"), Err("unknown field `x`")).await;
    }

    #[tokio::test]
    async fn the_request_says_how_often_it_comes() {
        let server = FakeTarget::start(Reply::with(&[JSON], "[]")).await;
        list(&server, ", refresh_interval: 90s").await.refresh().await.unwrap();
        let request = server.requests().remove(0).to_ascii_lowercase();
        assert!(request.starts_with("get /targets?q=1 "), "{request}");
        assert!(request.contains("x-prometheus-refresh-interval-seconds: 90\r\n"), "{request}");
        assert!(request.contains("accept: application/json\r\n"), "{request}");
    }
}
