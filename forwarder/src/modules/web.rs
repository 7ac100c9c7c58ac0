//! What modules that speak HTTP share: how they call themselves, which URLs and headers they take,
//! and what they read of an answer.

mod retry_after;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use kit::config::Invalid;
use kit::http::Response;

use crate::module::SendError;

pub(super) use retry_after::{RETRY_AFTER_MAX, retry_after};

/// How we call ourselves.
pub(super) const USER_AGENT: &str = concat!("rollcall/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer's body that are kept when its first line says why.
pub(super) const BODY_BYTES_MAX: usize = 256;
/// Bytes of an answer's body that are read to keep the connection.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How long reading it may take: what it says was in its head.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Whether something can be posted there, by the module named.
pub(super) fn check_url(url: &str, module: &str) -> Result<(), Invalid> {
    let wrong = |what: &str| {
        let message = format!("{module} forwarder needs an http:// or https:// URL{what}");
        Err(Invalid::new("url", message))
    };
    let parsed = url::Url::parse(url).ok();
    if !parsed.is_some_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https")) {
        return wrong("");
    }
    match url.parse::<http::Uri>() {
        Ok(_) => Ok(()),
        Err(_) => wrong(" without spaces: write %20"),
    }
}

/// The headers of a file, as HTTP has them.
pub(super) fn check_headers(
    headers: &BTreeMap<String, String>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Invalid> {
    let checked = headers.iter().map(|(name, value)| {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(Invalid::new(format!("headers.{name}"), "not an HTTP header")),
        }
    });
    checked.collect()
}

/// A URL without its password.
pub(super) fn shown(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) => {
            let _no_password_to_hide = url.set_password(None);
            url.to_string()
        }
        Err(_) => url.to_owned(),
    }
}

/// The head of an answer to what is being sent to `url`, within `limit`.
pub(super) async fn answered(
    sent: impl Future<Output = Result<Response, kit::http::SendError>>,
    url: &str,
    limit: Duration,
) -> Result<Response, SendError> {
    match tokio::time::timeout(limit, sent).await {
        Ok(answer) => answer.map_err(|error| unsent(url, error)),
        Err(_) => Err(SendError::Timeout { endpoint: shown(url), limit }),
    }
}

/// There is no answer.
pub(super) fn unsent(
    url: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SendError {
    SendError::Send { endpoint: shown(url), source: source.into() }
}

/// The beginning of the body, `kept_bytes_max` at most. An answer that breaks off or comes to a
/// halt was an answer all the same. What follows is read and forgotten as long as that is cheaper
/// than another connection.
pub(super) async fn first_bytes(response: &mut Response, kept_bytes_max: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let read = async {
        let mut read_bytes = 0;
        while read_bytes < READ_BYTES_MAX {
            let Ok(Some(chunk)) = response.chunk().await else { break };
            read_bytes += chunk.len();
            let room = kept_bytes_max.saturating_sub(body.len());
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    };
    let _halted = tokio::time::timeout(READ_WITHIN, read).await;
    body
}

/// An answer that is no success, as the reason why a parcel did not arrive; `body` says more.
/// `unix_ms` is now, for a `Retry-After` that is a date.
pub(super) fn refusal(response: &Response, body: &str, unix_ms: i64) -> SendError {
    let status = response.status();
    SendError::Status {
        status: status.to_string(),
        code: status.as_u16(),
        body: body.lines().next().unwrap_or_default().to_owned(),
        after: retry_after(response.headers(), unix_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_nothing_can_be_posted_to_are_told() {
        for url in ["http://h/", "https://u:p@h:8123/?query=INSERT%20INTO%20x", "http://[::1]/"] {
            assert_eq!(check_url(url, "http"), Ok(()), "{url}");
        }
        for url in ["", "h:80", "ftp://h/", "httpx://h/", "http://", "http://h/?q=INSERT INTO x"] {
            assert!(check_url(url, "http").is_err(), "{url}");
        }
    }
}
