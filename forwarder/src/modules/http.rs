//! Any HTTP endpoint: one request a block, in the format that the endpoint reads.
//!
//! Lines of JSON for ClickHouse (`FORMAT JSONEachRow`), Elastic or Vector, a JSON array, Influx
//! line protocol, or remote write's messages. 2xx is delivered; 408, 429 and 5xx are tried again,
//! `Retry-After` respected; everything else is refused. `delivery.answers` may say otherwise.

mod body;
mod influx;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, header};
use kit::Clock;
use kit::config::{self, HttpClientConfig, HttpClientSpec, Invalid, serialize_url, yaml::Section};
use kit::http::Client;
use serde::{Deserialize, Serialize};

use super::bodies::{Bodies, Body};
use super::packing::Packing;
use super::secrets;
use super::web::{
    BODY_BYTES_MAX, USER_AGENT, answered, check_headers, check_url, first_bytes, refusal, shown,
    unsent,
};
use crate::block::{Compression, Format};
use crate::config::QueueConfig;
use crate::module::{BuildError, Checked, Module, ModuleKind, Parcel, SendError, Verdict};
use body::BodyFormat;

pub(super) const KIND: ModuleKind = ModuleKind {
    name: "http",
    about: "any HTTP endpoint: lines of JSON, JSON, Influx line protocol, remote write",
    check,
};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Http")]
struct Spec {
    /// Where to send to.
    #[serde(serialize_with = "serialize_url")]
    url: String,
    /// The method. Default POST.
    method: String,
    /// Headers for every request; a `Content-Type` replaces the format's own.
    #[serde(serialize_with = "secrets::hide")]
    headers: BTreeMap<String, String>,
    /// `ndjson` (the default), `json` (an array), `influx` (line protocol), `remote_write` or
    /// `remote_write_2`.
    format: String,
    /// `none` (the default), `gzip` or `zstd`: said in `Content-Encoding`. Messages of remote
    /// write are always compressed by snappy.
    compression: String,
    /// How long a request may take. Default 30s.
    timeout: config::Duration,
    /// The HTTP client's keys.
    #[serde(rename = "<inline>")]
    http: HttpClientSpec,
}

/// One endpoint.
struct Http {
    url: String,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    format: BodyFormat,
    packing: Packing,
    bodies: Bodies,
    client: Client,
    clock: Arc<dyn Clock>,
}

/// Checked.
#[derive(Clone)]
struct HttpConfig {
    url: String,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    format: BodyFormat,
    packing: Packing,
    http: HttpClientConfig,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec {
            url: String::new(),
            method: Method::POST.to_string(),
            headers: BTreeMap::new(),
            format: "ndjson".to_owned(),
            compression: "none".to_owned(),
            timeout: config::Duration::from_secs(30),
            http: HttpClientSpec::default(),
        }
    }
}

fn check(section: &Section, _: &QueueConfig, folder: &Path) -> Result<Checked, Invalid> {
    let mut spec: Spec = section.decode()?;
    spec.http.resolve_paths(folder);
    let settings = Arc::new(spec.clone());
    let config = spec.check()?;
    let encoding = config.format.block_format().encoding;
    let build = move |clock: &Arc<dyn Clock>| -> Result<Box<dyn Module>, BuildError> {
        let HttpConfig { url, method, headers, timeout, format, packing, http } = config.clone();
        let (client, clock) = (Client::new(http, USER_AGENT), Arc::clone(clock));
        let bodies = Bodies::default();
        let http = Http { url, method, headers, timeout, format, packing, bodies, client, clock };
        Ok(Box::new(http))
    };
    Ok(Checked::new(settings, Arc::new(build), encoding))
}

// === impl Spec ===

impl Spec {
    fn check(self) -> Result<HttpConfig, Invalid> {
        let Spec { url, method, headers, format, compression, timeout, http } = self;
        check_url(&url, KIND.name)?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Invalid::new("method", format!("not an HTTP method: {method:?}")))?;
        let format = BodyFormat::named(&format)?;
        // Remote write's messages are compressed already.
        let packing = match format.block_format().compression {
            Compression::None => Packing::named(&compression)?,
            Compression::Snappy => Packing::named(&compression).map(|_| Packing::None)?,
        };
        Ok(HttpConfig {
            headers: check_headers(&headers)?,
            format,
            packing,
            timeout: timeout.to_std(),
            http: http.check()?,
            url,
            method,
        })
    }
}

impl Module for Http {
    fn format(&self) -> Format {
        self.format.block_format()
    }

    fn endpoint(&self) -> String {
        shown(&self.url)
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        let (format, packing) = (self.format, self.packing);
        let make = move |plain: Bytes| {
            let Body { bytes, not_sent } = format.make(&plain)?;
            Ok(Body { bytes: packing.pack(bytes)?, not_sent })
        };
        let send = |body| self.exchange(body);
        Box::pin(self.bodies.deliver(parcel, &self.url, make, send))
    }
}

/// Whether the endpoint may take the same request another time.
fn is_worth_another_try(why: &SendError) -> bool {
    match why.status() {
        Some(status) => matches!(status, 408 | 429 | 500..),
        None => true,
    }
}

impl Http {
    /// Sends a body, and judges the answer.
    async fn exchange(&self, Body { bytes, not_sent }: Body) -> Verdict {
        let request = match self.request(bytes) {
            Ok(request) => request,
            Err(error) => return Verdict::Refused { why: unsent(&self.url, error) },
        };
        match self.post(request).await {
            Ok(()) => Verdict::Delivered { not_written: not_sent, remark: None },
            Err(why) if is_worth_another_try(&why) => {
                Verdict::Retry { after: why.retry_after(), why }
            }
            Err(why) => Verdict::Refused { why },
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.url);
        for (name, value) in self.format.headers() {
            request = request.header(name, value);
        }
        if let Some(encoding) = self.packing.content_encoding() {
            request = request.header(header::CONTENT_ENCODING, encoding);
        }
        let mut request = request.body(body)?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    async fn post(&self, request: Request<Bytes>) -> Result<(), SendError> {
        let sent = self.client.deliver(request);
        let mut response = answered(sent, &self.url, self.timeout).await?;
        let body = first_bytes(&mut response, BODY_BYTES_MAX).await;
        if response.status().is_success() {
            return Ok(());
        }
        Err(refusal(&response, &String::from_utf8_lossy(&body), self.clock.unix_ms()))
    }
}
