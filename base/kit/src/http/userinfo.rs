//! User and password in a URL (`http://user:password@host/`). As in Go's `net/http` they become
//! basic auth; they are in no message and reach nobody else.

use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::credentials;

/// The URL without them, and the header that they become.
pub(super) fn take_off(uri: Uri) -> (Uri, Option<HeaderValue>) {
    let of = |authority: &http::uri::Authority| {
        let (userinfo, host) = authority.as_str().rsplit_once('@')?;
        let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let plain = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let header = credentials::basic(&plain(username), &plain(password)).ok()?;
        Some((host.parse().ok()?, header))
    };
    let Some((authority, header)) = uri.authority().and_then(of) else { return (uri, None) };
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority);
    match Uri::from_parts(parts) {
        Ok(clean) => (clean, Some(header)),
        Err(_) => (uri, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, want_url: &str, want_header: Option<&str>) {
        let (uri, header) = take_off(url.parse().unwrap());
        let header = header.as_ref().map(|header| header.to_str().unwrap());
        assert_eq!((uri.to_string().as_str(), header), (want_url, want_header));
    }

    #[test]
    fn userinfo_becomes_basic_auth() {
        check("http://u:p@h:90/x?y", "http://h:90/x?y", Some("Basic dTpw"));
        check("http://u@[::1]/", "http://[::1]/", Some("Basic dTo="));
        check("http://a%40b:c%3ad@h/", "http://h/", Some("Basic YUBiOmM6ZA=="));
        check("http://h/a@b", "http://h/a@b", None);
    }
}
