//! Many objects in one request: how a module reports a whole host.
//!
//! `POST …/PLURAL/bulk` with newline-delimited JSON or a `List`. Each line (each item) is an
//! object, merged into what is there and made if it is not; or `{"type":"DELETED","object":{…}}`,
//! which deletes. Every one is done or refused on its own, in order, and has its own result:
//!
//! `{"name":"vm-1","code":200,"resourceVersion":"…"}`
//! `{"name":"vm-2","code":409,"reason":"Conflict","message":"…"}`
//!
//! The answer has the results in the order of the request: lines for lines, a list for a list or
//! an array.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value as Json, json};

use super::deletion::Preconditions;
use super::failure::Failure;
use super::objects::{Asked, Named, json_response};
use super::place::Place;
use super::write::{Edit, Terms};
use super::{Api, body};

/// Bytes of one request. 51,200 objects of 480 bytes are 25 MB.
const BULK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Objects written in one go; then others get their turn.
const TURN_OBJECTS: usize = 256;

/// `POST …/PLURAL/bulk`
pub(super) async fn update(
    State(api): State<Arc<Api>>,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let asked = Asked::read(&api, names, &uri, "")?;
    let _permit = api.bulks.try_acquire().map_err(|_| {
        api.metrics.refused_bulks.inc();
        Failure::too_many_requests("too many bulk updates at a time, try again")
    })?;
    let bytes = body::plain(&headers, body, BULK_BYTES_MAX).await?;
    match shape(&headers, &bytes)? {
        Shape::List(items) => of_list(&api, &asked, items).await,
        Shape::Object(object) => Ok(lines(format!("{}\n", one(&api, &asked, object)).into())),
        Shape::Lines => of_lines(&api, &asked, bytes).await,
    }
}

/// What the body of a request is.
enum Shape {
    /// A `List`, or an array of objects.
    List(Vec<Json>),
    /// One object, on as many lines as it likes.
    Object(Json),
    /// Lines, each with its own result.
    Lines,
}

fn shape(headers: &HeaderMap, bytes: &[u8]) -> Result<Shape, Failure> {
    let media_type = body::media_type(headers);
    if !matches!(media_type.as_str(), "application/json" | "application/x-www-form-urlencoded") {
        return Ok(Shape::Lines);
    }
    match body::json(bytes) {
        Ok(Json::Object(mut document)) => match document.remove("items") {
            Some(Json::Array(items)) => Ok(Shape::List(items)),
            Some(_) => Err(Failure::bad_request("items is not an array")),
            None => Ok(Shape::Object(Json::Object(document))),
        },
        Ok(Json::Array(items)) => Ok(Shape::List(items)),
        _ => Ok(Shape::Lines),
    }
}

async fn of_list(api: &Api, asked: &Asked, items: Vec<Json>) -> Result<Response, Failure> {
    let mut results = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        results.push(one(api, asked, item));
        take_turns(at).await;
    }
    let list = json!({ "kind": "BulkResultList", "apiVersion": "v1", "items": results });
    Ok(json_response(StatusCode::OK, list.to_string().into_bytes()))
}

async fn of_lines(api: &Api, asked: &Asked, bytes: Bytes) -> Result<Response, Failure> {
    let mut out = Vec::with_capacity(bytes.len() / 4);
    let parts = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    for (at, line) in parts.enumerate() {
        let result = match body::json(line) {
            Ok(item) => one(api, asked, item),
            Err(failure) => result_of(Json::Null, &failure),
        };
        out.extend_from_slice(result.to_string().as_bytes());
        out.push(b'\n');
        take_turns(at).await;
    }
    Ok(lines(out))
}

fn lines(out: Vec<u8>) -> Response {
    let mut response = json_response(StatusCode::OK, out);
    let lines = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, lines);
    response
}

async fn take_turns(at: usize) {
    if at % TURN_OBJECTS == TURN_OBJECTS - 1 {
        tokio::task::yield_now().await;
    }
}

fn one(api: &Api, asked: &Asked, item: Json) -> Json {
    let (deletes, object) = match item {
        Json::Object(mut event) if event.contains_key("object") => {
            let deletes = match event.get("type").and_then(Json::as_str) {
                Some("DELETED") => true,
                Some("ADDED" | "MODIFIED") => false,
                _ => {
                    let message = "the type of an event is not ADDED, MODIFIED or DELETED";
                    return result_of(Json::Null, &Failure::bad_request(message));
                }
            };
            (deletes, event.remove("object").unwrap_or_default())
        }
        object => (false, object),
    };
    let metadata = |key: &str| object.pointer(&format!("/metadata/{key}")).cloned();
    let name = metadata("name").unwrap_or_default();
    let mut result = json!({ "name": name });
    if let Some(namespace) = metadata("namespace") {
        result["namespace"] = namespace;
    }
    match write(api, asked, object, deletes) {
        Ok((code, version)) => {
            result["code"] = code.as_u16().into();
            result["resourceVersion"] = version.into();
            result
        }
        Err(failure) => result_of(result, &failure),
    }
}

fn write(
    api: &Api,
    asked: &Asked,
    object: Json,
    deletes: bool,
) -> Result<(StatusCode, String), Failure> {
    let Asked { place, options, .. } = asked;
    let text = |key: &str| object.get("metadata")?.get(key)?.as_str().map(str::to_owned);
    let Some(name) = text("name") else {
        return Err(Failure::bad_request("metadata.name is required"));
    };
    let place = match (&place.namespace, text("namespace")) {
        (None, Some(namespace)) if place.kind.namespaced => {
            Place { namespace: Some(namespace), ..place.clone() }
        }
        _ => place.clone(),
    };
    if place.kind.namespaced && place.namespace.is_none() {
        return Err(Failure::bad_request("metadata.namespace is required"));
    }
    if !super::document::is_name(&name) {
        return Err(Failure::bad_request(format!("{name:?} cannot be a name")));
    }
    if deletes {
        let object = api.delete(&place, &name, &Preconditions::default(), options.dry_run)?;
        return Ok((StatusCode::OK, object.version.to_string()));
    }
    let terms = Terms { options, only_status: false, may_create: true };
    let done = api.edit(&place, &name, &Edit::Merge(object), terms)?;
    Ok((done.code, done.object.version.to_string()))
}

fn result_of(mut result: Json, failure: &Failure) -> Json {
    if !result.is_object() {
        result = json!({});
    }
    result["code"] = failure.code().as_u16().into();
    result["reason"] = failure.reason().into();
    result["message"] = failure.message().into();
    result
}
