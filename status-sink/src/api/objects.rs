//! The requests about objects: what comes in is read here, what goes out is written here; what
//! happens in between is in `list.rs`, `watch.rs` and `write.rs`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::accept::{self, Form};
use super::failure::Failure;
use super::frames::Lens;
use super::list::{self, ListOptions};
use super::options::Options;
use super::place::{Place, Segments};
use super::table::{self, Columns};
use super::versions::{self, ListAt, WatchFrom};
use super::walk::Walk;
use super::watch::{self, Start};
use super::write::{Done, Edit, Terms};
use super::{Api, body};
use crate::kind::Kind;
use crate::notifier::{View, WatchError, Watcher};
use crate::object::{Key, Object, ResourceVersion};
use crate::store::Snapshot;

/// Tries to find a snapshot whose version the event log still reaches.
const WATCH_TRIES: usize = 5;

/// Objects deleted in one go; then others get their turn.
const DELETES_MAX: usize = 256;

type Shared = State<Arc<Api>>;

/// What a path below `/apis` names.
pub(super) type Named = Result<Path<Names>, PathRejection>;

/// The segments of such a path.
#[derive(Debug, Deserialize)]
pub(super) struct Names {
    group: String,
    version: String,
    #[serde(default)]
    namespace: Option<String>,
    plural: String,
    #[serde(default)]
    name: Option<String>,
}

/// A request, with what its path and query say.
pub(super) struct Asked {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) options: Options,
}

// === impl Asked ===

impl Asked {
    /// Reads path and query; `fixed` is the name in paths that end in a word.
    pub(super) fn read(api: &Api, names: Named, uri: &Uri, fixed: &str) -> Result<Asked, Failure> {
        let Path(names) = names.map_err(|error| Failure::bad_request(error.body_text()))?;
        let Names { group, version, namespace, plural, name } = names;
        let segments = Segments { group, version, namespace, plural };
        let place = Place::find(&api.reader.kinds(), segments)?;
        let name = name.unwrap_or_else(|| fixed.to_owned());
        Ok(Asked { place, name, options: Options::of(uri)? })
    }
}

/// The last segment of a path: the name, where a route has a word in its place.
fn last_segment(uri: &Uri) -> &str {
    uri.path().rsplit('/').next().unwrap_or_default()
}

// === reading ===

pub(super) async fn list_or_watch(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Asked { place, options, .. } = Asked::read(&api, names, &uri, "")?;
    let form = accept::form(&headers)?;
    api.readable()?;
    if options.watch {
        return watch(&api, &place, form, &options);
    }
    let snapshot = api.reader.snapshot(&place.kind).ok_or_else(Failure::no_path)?;
    let (snapshot, after, skipped) = at(&api, snapshot, &options)?;
    let lens = lens(&api, &place, &snapshot, form, &options)?;
    let gzip = accept::takes_gzip(&headers);
    let now_ms = api.clock.unix_ms();
    let options = ListOptions { limit: options.limit, skipped, gzip, now_ms };
    Ok(list::response(Walk::new(snapshot, lens, after), options))
}

pub(super) async fn get(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = Asked::read(&api, names, &uri, last_segment(&uri))?;
    one(&api, &asked, accept::form(&headers)?)
}

/// One object, in the form that is asked for.
pub(super) fn one(api: &Api, asked: &Asked, form: Form) -> Result<Response, Failure> {
    let Asked { place, name, options } = asked;
    api.readable()?;
    let snapshot_version = api.reader.version(&place.kind).ok_or_else(Failure::no_path)?;
    if let Some(version) = options.version.filter(|version| *version > snapshot_version.0) {
        return Err(versions::not_reached(version, snapshot_version.0));
    }
    let key = place.key(name)?;
    let object = api.reader.get(&place.kind, &key);
    let object = object.ok_or_else(|| api.missing(place, name))?;
    let mut out = Vec::with_capacity(object.json().len() + 512);
    match form {
        Form::Objects => write_observed(api, place, &object, options.observed_at, &mut out),
        Form::Metadata => {
            let at = table::metadata_at(&place.kind);
            table::partial(table::metadata(object.json(), at), &mut out);
        }
        Form::Table => {
            let columns = Columns::new(&place.kind, options.include);
            columns.begin(&json!({ "resourceVersion": object.version.to_string() }), &mut out);
            columns.row(&object, object.json(), api.clock.unix_ms(), &mut out);
            Columns::end(&mut out);
        }
    }
    Ok(json_response(StatusCode::OK, out))
}

/// Which snapshot a list is of, the key it begins after, and the objects before that.
fn at(
    api: &Api,
    newest: Snapshot,
    options: &Options,
) -> Result<(Snapshot, Option<Key>, usize), Failure> {
    let (version, after, skipped) = match versions::list_at(options, newest.version().0)? {
        ListAt::Newest => return Ok((newest, None, 0)),
        ListAt::Exact(version) => (version, None, 0),
        ListAt::Page(token) => (token.version, Some(list::after(&token)), token.skipped),
    };
    if version == newest.version().0 {
        return Ok((newest, after, skipped));
    }
    let gone = |_| match after {
        Some(_) => Failure::expired(
            "The provided continue parameter is too old to display a consistent list result.",
        ),
        None => versions::too_old(version),
    };
    let old = api.reader.snapshot_at(newest.kind(), ResourceVersion(version)).map_err(gone)?;
    Ok((old, after, skipped))
}

fn lens(
    api: &Api,
    place: &Place,
    snapshot: &Snapshot,
    form: Form,
    options: &Options,
) -> Result<Arc<Lens>, Failure> {
    let kind = Arc::clone(snapshot.kind());
    let clock = Arc::clone(&api.clock);
    Lens::new(kind, place.namespace.as_deref(), form, options, clock).map(Arc::new)
}

fn watch(api: &Api, place: &Place, form: Form, options: &Options) -> Result<Response, Failure> {
    let from = versions::watch_from(options)?;
    let snapshot = api.reader.snapshot(&place.kind).ok_or_else(Failure::no_path)?;
    let lens = lens(api, place, &snapshot, form, options)?;
    let newest = snapshot.version().0;
    let listen = |version| {
        let view: Arc<dyn View> = Arc::<Lens>::clone(&lens);
        listen(api, lens.kind(), version, view)
    };
    let start = |watcher, initial| {
        let Options { bookmarks, timeout, .. } = *options;
        let start = Start { initial, watcher, bookmarks, timeout, chance: api.chance() };
        watch::response(Arc::clone(&lens), start)
    };
    match from {
        WatchFrom::After(0) => Ok(start(listen(newest)?.ok_or_else(busy)?, None)),
        WatchFrom::After(version) => Ok(match listen(version)? {
            Some(watcher) => start(watcher, None),
            None if version > newest => watch::refused(&versions::not_reached(version, newest)),
            None => watch::refused(&versions::too_old(version)),
        }),
        WatchFrom::Everything { .. } => {
            if let Some(version) = options.version.filter(|version| *version > newest) {
                return Ok(watch::refused(&versions::not_reached(version, newest)));
            }
            let mut snapshot = snapshot;
            for _ in 0..WATCH_TRIES {
                if let Some(watcher) = listen(snapshot.version().0)? {
                    let walk = Walk::new(snapshot, Arc::clone(&lens), None);
                    return Ok(start(watcher, Some(walk)));
                }
                snapshot = api.reader.snapshot(&place.kind).ok_or_else(Failure::no_path)?;
            }
            Err(busy())
        }
    }
}

/// A listener after `version`; none if events after it may be missing.
pub(super) fn listen(
    api: &Api,
    kind: &Kind,
    version: u64,
    view: Arc<dyn View>,
) -> Result<Option<Watcher>, Failure> {
    let watcher = match api.reader.watch(kind, ResourceVersion(version), view) {
        Ok(watcher) => watcher,
        Err(WatchError::Gone(_)) => return Ok(None),
        Err(WatchError::TooMany { max }) => {
            api.metrics.refused_watches.inc();
            let message = format!("there are {max} listeners already, try again");
            return Err(Failure::too_many_requests(message));
        }
        Err(WatchError::Ended) => return Err(Failure::unavailable("the status center stops")),
    };
    // A reload in between may have given the kind other fields.
    let is_same = api.reader.kinds().iter().any(|known| known.shares_objects_with(kind));
    Ok(is_same.then_some(watcher))
}

fn busy() -> Failure {
    Failure::too_many_requests("events come faster than a watch can begin, try again")
}

/// Appends the object, with the time of its last observation if that is asked for.
fn write_observed(api: &Api, place: &Place, object: &Object, wanted: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(object.json());
    let at_ms = wanted.then(|| api.reader.observed_unix_ms(&place.kind, &object.key)).flatten();
    let Some(at_ms) = at_ms else { return };
    // `status` is the last member: the text ends in its brace and the object's.
    let Some(inside) = out.strip_suffix(b"}}").map(<[u8]>::len) else { return };
    out.truncate(inside);
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    let seconds = crate::object::rfc3339_s(u32::try_from(at_ms / 1000).unwrap_or(0));
    let text = format!(
        r#""observedAt":"{}.{:03}Z"}}}}"#,
        seconds.trim_end_matches('Z'),
        at_ms.rem_euclid(1000)
    );
    out.extend_from_slice(text.as_bytes());
}

// === writing ===

pub(super) async fn create(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let Asked { place, options, .. } = Asked::read(&api, names, &uri, "")?;
    let bytes = body::read(body, body::OBJECT_BYTES_MAX).await?;
    let json = body::object(&body::media_type(&headers), &bytes)?;
    api.create(&place, &json, &options).map(done)
}

pub(super) async fn replace(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    put(&api, names, &uri, &headers, body, false).await
}

pub(super) async fn replace_status(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    put(&api, names, &uri, &headers, body, true).await
}

pub(super) async fn patch(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    edit(&api, names, &uri, &headers, body, false).await
}

pub(super) async fn patch_status(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    edit(&api, names, &uri, &headers, body, true).await
}

pub(super) async fn delete(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let Asked { place, name, options } = Asked::read(&api, names, &uri, last_segment(&uri))?;
    let (preconditions, dry_run) = delete_options(&headers, body, &options).await?;
    let object = api.delete(&place, &name, &preconditions, dry_run)?;
    let names = &place.kind.names;
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": name, "group": names.group, "kind": names.plural, "uid": object.uid_text(),
        },
    });
    Ok(json_response(StatusCode::OK, status.to_string().into_bytes()))
}

pub(super) async fn delete_collection(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let Asked { place, options, .. } = Asked::read(&api, names, &uri, "")?;
    api.readable()?;
    let (_, dry_run) = delete_options(&headers, body, &options).await?;
    let snapshot = api.reader.snapshot(&place.kind).ok_or_else(Failure::no_path)?;
    let (snapshot, after, _) = at(&api, snapshot, &options)?;
    let lens = lens(&api, &place, &snapshot, Form::Objects, &options)?;
    let mut walk = Walk::new(snapshot, lens, after);
    let mut left = options.limit.unwrap_or(usize::MAX);
    while !walk.is_done() && left > 0 {
        let mut found: Vec<Arc<Object>> = Vec::new();
        walk.visit(|object| {
            found.push(Arc::clone(object));
            found.len() < DELETES_MAX.min(left)
        });
        left -= found.len();
        for object in found {
            let inside = (!object.namespace().is_empty()).then(|| object.namespace().to_owned());
            let place = Place { namespace: inside, ..place.clone() };
            let same = json!({ "uid": object.uid_text() });
            match api.delete(&place, object.name(), &same, dry_run) {
                Ok(_) => {}
                // Gone, or another one by now: not what the client meant.
                Err(failure) if matches!(failure.code().as_u16(), 404 | 409) => {}
                Err(failure) => return Err(failure),
            }
        }
        tokio::task::yield_now().await;
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": { "group": place.kind.names.group, "kind": place.kind.names.plural },
    });
    Ok(json_response(StatusCode::OK, status.to_string().into_bytes()))
}

async fn put(
    api: &Api,
    names: Named,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    only_status: bool,
) -> Result<Response, Failure> {
    let Asked { place, name, options } = Asked::read(api, names, uri, last_segment(uri))?;
    let bytes = body::read(body, body::OBJECT_BYTES_MAX).await?;
    let json = body::object(&body::media_type(headers), &bytes)?;
    let terms = Terms { options: &options, only_status, may_create: false };
    api.edit(&place, &name, &Edit::Replace(json), terms).map(done)
}

async fn edit(
    api: &Api,
    names: Named,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    only_status: bool,
) -> Result<Response, Failure> {
    let Asked { place, name, options } = Asked::read(api, names, uri, last_segment(uri))?;
    let bytes = body::read(body, body::OBJECT_BYTES_MAX).await?;
    let edit = Edit::of_patch(headers, &bytes)?;
    let may_create = matches!(edit, Edit::Apply(_));
    let terms = Terms { options: &options, only_status, may_create };
    api.edit(&place, &name, &edit, terms).map(done)
}

/// Preconditions and dry run of a DELETE, from its body and query.
async fn delete_options(
    headers: &HeaderMap,
    body: Body,
    options: &Options,
) -> Result<(Json, bool), Failure> {
    let bytes = body::read(body, body::OBJECT_BYTES_MAX).await?;
    if bytes.is_empty() {
        return Ok((Json::Null, options.dry_run));
    }
    let json = body::object(&body::media_type(headers), &bytes)?;
    let rehearsed = json.get("dryRun").and_then(Json::as_array);
    let dry_run =
        options.dry_run || rehearsed.is_some_and(|runs| runs.iter().any(|it| it == "All"));
    Ok((json.get("preconditions").cloned().unwrap_or_default(), dry_run))
}

fn done(done: Done) -> Response {
    let Done { code, object, version, warnings } = done;
    let mut json = Vec::with_capacity(object.json().len());
    object.write_json_at(version.unwrap_or(object.version), &mut json);
    let mut response = json_response(code, json);
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::try_from(format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// An answer that is JSON already.
pub(super) fn json_response(code: StatusCode, json: Vec<u8>) -> Response {
    let json_type = HeaderValue::from_static("application/json");
    (code, [(header::CONTENT_TYPE, json_type)], json).into_response()
}
