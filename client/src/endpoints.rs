//! The control nodes that may answer, and the one that did last.
//!
//! Every request starts with the endpoint that answered last; when that one is silent or says
//! "later", the next is tried. One round over all of them makes a try.
//!
//! A node that has lost its power says nothing at all, and one that hangs not even that: nobody is
//! waited for without an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use crate::Error;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an endpoint may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection on which nothing comes is probed after so long, so often, and so many times: a
/// node without power is known to be dead after ten seconds or so.
const PROBE_AFTER: Duration = Duration::from_secs(4);
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBES: u32 = 3;

/// Clone freely: clones agree on which endpoint answered last.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    urls: Arc<[Url]>,
    last: Arc<AtomicUsize>,
    http: reqwest::Client,
    patience: Duration,
}

/// A request, ready to be sent to any endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// What stands behind the path, however it is spelled.
    pub(crate) name: Option<String>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// `None` for streams: they end when the server ends them.
    pub(crate) timeout: Option<Duration>,
}

/// The refusal that the server sends: Kubernetes' `Status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
}

impl Endpoints {
    pub(crate) fn new(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Endpoints, Error> {
        let parse = |url: &str| {
            let parsed = Url::parse(url).ok().filter(|url| url.has_host());
            parsed.ok_or_else(|| Error::Endpoint { endpoint: url.to_owned() })
        };
        let urls: Vec<Url> =
            urls.into_iter().map(|url| parse(url.as_ref())).collect::<Result<_, _>>()?;
        if urls.is_empty() {
            return Err(Error::Endpoint { endpoint: String::new() });
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(PROBE_AFTER)
            .tcp_keepalive_interval(PROBE_EVERY)
            .tcp_keepalive_retries(PROBES);
        let http = http.build().map_err(|source| Error::Unreachable { source })?;
        Ok(Endpoints { urls: urls.into(), last: Arc::default(), http, patience: PATIENCE })
    }

    /// Waits so long for a silent endpoint from now on.
    pub(crate) fn with_patience(self, patience: Duration) -> Endpoints {
        Endpoints { patience, ..self }
    }

    /// How long an endpoint may be silent.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// Sends `request` to one endpoint after the other until one answers for good.
    pub(crate) async fn send(&self, request: &Request) -> Result<Response, Error> {
        // In a path they mean another place: everything, perhaps.
        if let Some(name) =
            request.name.as_ref().filter(|it| ["", ".", ".."].contains(&it.as_str()))
        {
            return Err(Error::Name { name: name.clone() });
        }
        let first = self.last.load(Ordering::Relaxed);
        let mut failed = None;
        for step in 0..self.urls.len() {
            let at = (first + step) % self.urls.len();
            match self.try_one(&self.urls[at], request).await {
                Err(error) if error.is_passing() => failed = Some(error),
                answer => {
                    self.last.store(at, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(failed.expect("there is at least one endpoint"))
    }

    /// Makes the next request start with another endpoint: this one broke off.
    pub(crate) fn pass_on(&self) {
        let next = (self.last.load(Ordering::Relaxed) + 1) % self.urls.len();
        self.last.store(next, Ordering::Relaxed);
    }

    async fn try_one(&self, base: &Url, request: &Request) -> Result<Response, Error> {
        let mut url = base.clone();
        url.set_path(&format!("{}{}", base.path().trim_end_matches('/'), request.path));
        if let (Some(name), Ok(mut segments)) = (&request.name, url.path_segments_mut()) {
            segments.push(name);
        }
        let mut builder = self.http.request(request.method.clone(), url);
        builder = builder.query(&request.query).header("accept", "application/json");
        if !request.body.is_empty() {
            builder = builder.header("content-type", request.content_type);
            builder = builder.body(request.body.clone());
        }
        if let Some(timeout) = request.timeout {
            builder = builder.timeout(timeout);
        }
        let sent = tokio::time::timeout(self.patience, builder.send()).await;
        let silent = |_| Error::Silent { endpoint: base.to_string(), patience: self.patience };
        let sent = sent.map_err(silent)?.map_err(|source| Error::Unreachable { source })?;
        if sent.status().is_success() {
            return Ok(sent);
        }
        let code = sent.status().as_u16();
        let text = sent.text().await.unwrap_or_default();
        let fallback = Status { reason: String::new(), message: text.clone() };
        let Status { reason, message } = serde_json::from_str(&text).unwrap_or(fallback);
        Err(Error::Refused { code, reason, message })
    }
}
