//! Following redirects as Go's `net/http` does, with what prometheus/common adds: credentials do
//! not follow to another host.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION,
    PROXY_AUTHORIZATION, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};

use super::{SendError, userinfo};

/// Requests in a row, at most.
const HOPS_MAX: usize = 10;

/// One request on the way to the last answer.
pub(super) struct Hop {
    pub(super) method: Method,
    /// Without user and password.
    pub(super) uri: Uri,
    /// What they become.
    pub(super) userinfo: Option<HeaderValue>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether it may carry credentials: no request before it has left the first one's domain.
    pub(super) trusted: bool,
    /// Whether a redirect to a GET without the body is the last answer.
    must_arrive: bool,
    first_host: Box<str>,
    number: usize,
}

// === impl Hop ===

impl Hop {
    pub(super) fn first(request: Request<Bytes>) -> Hop {
        let (head, body) = request.into_parts();
        let (uri, userinfo) = userinfo::take_off(head.uri);
        let first_host = uri.host().unwrap_or_default().into();
        Hop {
            method: head.method,
            uri,
            userinfo,
            headers: head.headers,
            body,
            trusted: true,
            must_arrive: false,
            first_host,
            number: 1,
        }
    }

    /// The same for a request that is nothing without its body.
    pub(super) fn first_that_must_arrive(request: Request<Bytes>) -> Hop {
        Hop { must_arrive: true, ..Hop::first(request) }
    }

    /// Where an answer leads; `None` if it is the last one.
    pub(super) fn next(
        &self,
        status: StatusCode,
        answered: &HeaderMap,
    ) -> Result<Option<Hop>, SendError> {
        let keeps_method = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => false,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            _ => return Ok(None),
        };
        let safe = matches!(self.method, Method::GET | Method::HEAD);
        let keeps_method = keeps_method || safe;
        if self.must_arrive && !keeps_method {
            return Ok(None);
        }
        let location = answered.get(LOCATION).filter(|location| !location.is_empty());
        let Some(location) = location else { return Ok(None) };
        if self.number >= HOPS_MAX {
            return Err(SendError::TooManyRedirects(HOPS_MAX));
        }
        let text = String::from_utf8_lossy(location.as_bytes()).into_owned();
        let unusable = || SendError::Url { url: text.clone() };
        let base = url::Url::parse(&self.uri.to_string()).map_err(|_| unusable())?;
        let target = base.join(&text).map_err(|_| unusable())?;
        let uri: Uri = target.as_str().parse().map_err(|_| unusable())?;
        let (uri, userinfo) = userinfo::take_off(uri);
        // A relative reference keeps what it is relative to.
        let is_relative = url::Url::parse(&text).is_err() && !text.starts_with("//");
        let userinfo = userinfo.or_else(|| self.userinfo.clone().filter(|_| is_relative));
        let mut headers = self.headers.clone();
        headers.remove(HOST);
        let (method, body) = match keeps_method {
            true => (self.method.clone(), self.body.clone()),
            false => {
                for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                    headers.remove(name);
                }
                (Method::GET, Bytes::new())
            }
        };
        let host = uri.host().unwrap_or_default();
        let trusted = self.trusted && is_same_domain(host, &self.first_host);
        if !trusted {
            strip_credentials(&mut headers);
        }
        let (first_host, number) = (self.first_host.clone(), self.number + 1);
        let must_arrive = self.must_arrive;
        let hop =
            Hop { method, uri, userinfo, headers, body, trusted, must_arrive, first_host, number };
        Ok(Some(hop))
    }
}

/// Removes what must not reach another host.
pub(super) fn strip_credentials(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, WWW_AUTHENTICATE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    headers.remove("cookie2");
    headers.remove("proxy-authenticate");
}

/// Whether `host` is `parent` or a name below it. An IP address has no names below it.
fn is_same_domain(host: &str, parent: &str) -> bool {
    let (host, parent) = (host.to_ascii_lowercase(), parent.to_ascii_lowercase());
    let below = host.strip_suffix(&parent).is_some_and(|rest| rest.ends_with('.'));
    host == parent || (below && !host.contains([':', '%']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_trusts_itself_and_what_is_below_it() {
        let check = |host: &str, parent: &str, want: bool| {
            assert_eq!(is_same_domain(host, parent), want, "{host} {parent}");
        };
        check("a.com", "a.com", true);
        check("A.com", "a.com", true);
        check("b.a.com", "a.com", true);
        check("ba.com", "a.com", false);
        check("a.com", "b.a.com", false);
        check("127.0.0.2", "127.0.0.1", false);
    }
}
