//! What clients send, read within limits: bytes, UTF-8, JSON (or YAML), levels.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::failure::Failure;
use super::options::Validation;
use super::{patch, strict};

/// Bytes of a request about one object (etcd's limit for one value is 1.5 MiB).
pub(crate) const OBJECT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes behind the limit that are read and thrown away, so that a client which does not listen
/// before it has sent everything hears why it is refused.
const WASTE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long that may take.
const WASTE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a body may take to arrive: a bulk of 64 MiB, at a megabyte a second.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(60);

/// A document, and what the client is warned of.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) json: Value,
    pub(crate) warnings: Vec<String>,
}

/// The whole body, which must not be compressed.
///
/// # Errors
/// 413 if it is longer than `limit_bytes`, 415 if it is compressed, 400 if it breaks off, 408 if
/// it takes too long.
pub(crate) async fn plain(
    headers: &HeaderMap,
    body: Body,
    limit_bytes: usize,
) -> Result<Bytes, Failure> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(header::HeaderValue::as_bytes);
    if encoding.is_some_and(|it| !it.is_empty() && !it.eq_ignore_ascii_case(b"identity")) {
        return Err(Failure::unsupported_encoding());
    }
    read_within(ARRIVAL_TIMEOUT, body, limit_bytes).await
}

async fn read_within(limit: Duration, body: Body, limit_bytes: usize) -> Result<Bytes, Failure> {
    let read = tokio::time::timeout(limit, read(body, limit_bytes)).await;
    read.unwrap_or_else(|_| Err(Failure::too_slow(limit)))
}

/// The object that a request carries, as JSON or YAML.
///
/// # Errors
/// Those of [`plain`] and [`object`]; 400 under `Strict` for members that are there twice.
pub(crate) async fn document(
    headers: &HeaderMap,
    body: Body,
    validation: Validation,
) -> Result<Given, Failure> {
    let bytes = plain(headers, body, OBJECT_BYTES_MAX).await?;
    let media_type = media_type(headers);
    if is_json(&media_type) {
        return checked(&bytes, validation);
    }
    Ok(Given { json: object(&media_type, &bytes)?, warnings: Vec::new() })
}

/// A JSON text whose members are not there twice, or as `validation` says.
///
/// # Errors
/// Those of [`json`]; 400 under `Strict` for members that are there twice.
pub(crate) fn checked(bytes: &[u8], validation: Validation) -> Result<Given, Failure> {
    let (value, duplicates) = strict::parse(utf8(bytes)?).map_err(no_json)?;
    let json = shallow(value)?;
    let words = duplicates.iter().map(|path| format!("duplicate field {path:?}"));
    let warnings: Vec<String> = words.collect();
    match validation {
        Validation::Strict if !warnings.is_empty() => {
            let message = format!("strict decoding error: {}", warnings.join(", "));
            Err(Failure::bad_request(message))
        }
        Validation::Ignore => Ok(Given { json, warnings: Vec::new() }),
        Validation::Strict | Validation::Warn => Ok(Given { json, warnings }),
    }
}

/// The whole body.
///
/// # Errors
/// 413 if it is longer than `limit_bytes`, 400 if it breaks off.
pub(crate) async fn read(mut body: Body, limit_bytes: usize) -> Result<Bytes, Failure> {
    match Limited::new(&mut body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let _either = tokio::time::timeout(WASTE_TIMEOUT, waste(body)).await;
            Err(Failure::too_large(limit_bytes))
        }
        Err(_) => Err(Failure::bad_request("the body of the request broke off")),
    }
}

async fn waste(mut body: Body) {
    let mut wasted = 0;
    while wasted < WASTE_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        wasted += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// The media type of the body, in lower case and without parameters; JSON if none is named.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let plain = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if plain.is_empty() { "application/json".to_owned() } else { plain.to_ascii_lowercase() }
}

/// An object as JSON or YAML.
///
/// # Errors
/// 415 for other media types, 400 for what cannot be read.
pub(crate) fn object(media_type: &str, bytes: &[u8]) -> Result<Value, Failure> {
    match media_type {
        it if is_json(it) => json(bytes),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(bytes),
        _ => Err(Failure::unsupported_media_type("application/json, application/yaml")),
    }
}

/// curl says `application/x-www-form-urlencoded` of whatever it is given.
fn is_json(media_type: &str) -> bool {
    matches!(media_type, "application/json" | "text/json" | "application/x-www-form-urlencoded")
}

/// A JSON text.
///
/// # Errors
/// 400 if it is none, or has too many levels.
pub(crate) fn json(bytes: &[u8]) -> Result<Value, Failure> {
    let text = utf8(bytes)?;
    shallow(serde_json::from_str(text).map_err(no_json)?)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn no_json(error: serde_json::Error) -> Failure {
    Failure::bad_request(format!("read the body as JSON: {error}"))
}

/// A YAML text; JSON is YAML.
///
/// # Errors
/// 400 if it is none, or has too many levels.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, Failure> {
    let text = utf8(bytes)?;
    if text.trim_start().starts_with('{') {
        return json(bytes);
    }
    let value = serde_yaml::from_str(text).map_err(|error| {
        // The first line says what and where; then comes a picture of it.
        let words = error.to_string();
        let first = words.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Failure::bad_request(format!("read the body as YAML: {first}"))
    })?;
    shallow(value)
}

fn utf8(bytes: &[u8]) -> Result<&str, Failure> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Failure::bad_request(format!("the body is not UTF-8 at byte {at}"))
    })
}

fn shallow(value: Value) -> Result<Value, Failure> {
    if patch::depth(&value) <= patch::DEPTH_MAX {
        return Ok(value);
    }
    let message = format!("the body has more than {} levels", patch::DEPTH_MAX);
    Err(Failure::bad_request(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &[u8], want: &str) {
        match object("application/json", body) {
            Ok(value) => assert_eq!(value.to_string(), want),
            Err(failure) => {
                assert_eq!(failure.code(), 400);
                assert!(failure.message().contains(want), "{}", failure.message());
            }
        }
    }

    #[test]
    fn bodies_that_are_no_json_are_refused() {
        check(br#"{"a": 1}"#, r#"{"a":1}"#);
        check(b"", "read the body as JSON: EOF");
        check(b"{\"a\": \xff}", "not UTF-8 at byte 6");
        check(b"{\"a\": 1} trailing", "trailing characters");
        check("[".repeat(100_000).as_bytes(), "recursion limit");
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        check(deep.as_bytes(), "more than 64 levels");
    }

    #[test]
    fn objects_may_be_yaml() {
        let value = object("application/yaml", b"metadata:\n  name: vm-1\nstatus: {cpu: 0.5}\n");
        assert_eq!(
            value.unwrap().to_string(),
            r#"{"metadata":{"name":"vm-1"},"status":{"cpu":0.5}}"#
        );
        assert_eq!(object("application/yaml", b"a: [").unwrap_err().code(), 400);
        assert_eq!(object("application/cbor", b"{}").unwrap_err().code(), 415);
    }

    #[tokio::test]
    async fn a_body_that_does_not_arrive_is_not_waited_for() {
        let nothing = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let limit = Duration::from_millis(20);
        let refused = read_within(limit, Body::from_stream(nothing), 100).await.unwrap_err();
        assert_eq!(refused.code(), 408);
        assert!(refused.message().contains("20ms"), "{}", refused.message());
    }

    #[tokio::test]
    async fn a_body_longer_than_the_limit_is_not_read() {
        let refused = read(Body::from("x".repeat(11)), 10).await.unwrap_err();
        assert_eq!(refused.code(), 413);
        assert_eq!(read(Body::from("0123456789"), 10).await.unwrap(), "0123456789");
    }
}
