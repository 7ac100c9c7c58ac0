//! The paths that name no object: versions, discovery, schemas, health; and the two built-in
//! kinds that clients ask for on their way, namespaces and events.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json as AsJson;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value as Json, json};

use super::failure::{About, Failure};
use super::openapi::Document;
use super::{Api, accept, discovery, openapi, warming_up};
use crate::object::Key;

type Shared = State<Arc<Api>>;

pub(super) async fn version() -> AsJson<Json> {
    AsJson(discovery::version())
}

pub(super) async fn alive() -> &'static str {
    "ok"
}

pub(super) async fn ready(State(api): Shared) -> Response {
    if api.reader.is_warm() {
        "ok".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "warming up").into_response()
    }
}

pub(super) async fn api(headers: HeaderMap) -> Response {
    match accept::aggregated_discovery(&headers) {
        Some(version) => aggregated(discovery::aggregated(None, version), version),
        None => AsJson(discovery::core_versions()).into_response(),
    }
}

pub(super) async fn core() -> AsJson<Json> {
    AsJson(discovery::core_resources())
}

pub(super) async fn apis(State(api): Shared, headers: HeaderMap) -> Response {
    let kinds = api.reader.kinds();
    match accept::aggregated_discovery(&headers) {
        Some(version) => aggregated(discovery::aggregated(Some(&kinds), version), version),
        None => AsJson(discovery::group_list(&kinds)).into_response(),
    }
}

pub(super) async fn group(
    State(api): Shared,
    Path(group): Path<String>,
) -> Result<AsJson<Json>, Failure> {
    discovery::group(&api.reader.kinds(), &group).map(AsJson).ok_or_else(Failure::no_path)
}

pub(super) async fn resources(
    State(api): Shared,
    Path((group, version)): Path<(String, String)>,
) -> Result<AsJson<Json>, Failure> {
    let list = discovery::resource_list(&api.reader.kinds(), &group, &version);
    list.map(AsJson).ok_or_else(Failure::no_path)
}

pub(super) async fn openapi(State(api): Shared) -> AsJson<Json> {
    AsJson(openapi::index(&openapi::documents(&api.reader.kinds())))
}

pub(super) async fn openapi_group(
    State(api): Shared,
    Path((group, version)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let path = format!("apis/{group}/{version}");
    let documents = openapi::documents(&api.reader.kinds());
    let found = documents.into_iter().find(|document| document.path == path);
    let Document { json, hash, .. } = found.ok_or_else(Failure::no_path)?;
    let tag = format!("\"{hash}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = match known {
        Some(known) if known.contains(&tag) => StatusCode::NOT_MODIFIED.into_response(),
        _ => json.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("hexadecimal digits fit"));
    let for_ever = uri.query().is_some_and(|query| query.contains(&format!("hash={hash}")));
    let cache = if for_ever { "public, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    Ok(response)
}

/// `/api/v1/namespaces`: those that some object is in, and `default`.
pub(super) async fn namespaces(State(api): Shared) -> Result<AsJson<Json>, Failure> {
    if !api.reader.is_warm() {
        return Err(warming_up());
    }
    let items: Vec<Json> = names(&api).iter().map(|name| namespace_object(name)).collect();
    let metadata = json!({ "resourceVersion": newest(&api).to_string() });
    Ok(AsJson(json!({
        "kind": "NamespaceList", "apiVersion": "v1", "metadata": metadata, "items": items,
    })))
}

/// `/api/v1/namespaces/N`
pub(super) async fn namespace(
    State(api): Shared,
    Path(name): Path<String>,
) -> Result<AsJson<Json>, Failure> {
    if !api.reader.is_warm() {
        return Err(warming_up());
    }
    if names(&api).contains(&name) {
        return Ok(AsJson(namespace_object(&name)));
    }
    Err(Failure::not_found(About { group: "", plural: "namespaces", name: &name }))
}

/// `kubectl describe` asks for events; there are none.
pub(super) async fn events(State(api): Shared) -> AsJson<Json> {
    let metadata = json!({ "resourceVersion": newest(&api).to_string() });
    AsJson(json!({ "kind": "EventList", "apiVersion": "v1", "metadata": metadata, "items": [] }))
}

fn names(api: &Api) -> BTreeSet<String> {
    let mut names = BTreeSet::from(["default".to_owned()]);
    for kind in api.reader.kinds().iter().filter(|kind| kind.namespaced) {
        let Some(snapshot) = api.reader.snapshot(kind) else { continue };
        let mut after: Option<Key> = None;
        loop {
            let next = snapshot.iter(after.as_ref()).next();
            let Some(name) = next.map(|object| object.namespace().to_owned()) else { break };
            // `0` is the byte after `/`: the next key is in another namespace.
            after = Some(Key::from_path(&format!("{name}0")));
            names.insert(name);
        }
    }
    names
}

fn newest(api: &Api) -> u64 {
    let kinds = api.reader.kinds();
    let versions = kinds.iter().filter_map(|kind| api.reader.version(kind));
    versions.map(|version| version.0).max().unwrap_or(1)
}

fn namespace_object(name: &str) -> Json {
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
        "spec": {},
        "status": { "phase": "Active" },
    })
}

fn aggregated(document: Json, version: &str) -> Response {
    let media =
        format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let mut response = document.to_string().into_response();
    let headers = response.headers_mut();
    let media = HeaderValue::try_from(media).expect("the version is one of two words");
    headers.insert(header::CONTENT_TYPE, media);
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
