//! The requests about objects: what comes in is read here, what goes out is written here; what
//! happens in between is in `list.rs`, `watch.rs` and `write.rs`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use kit::Outlet;
use serde::Deserialize;
use serde_json::json;

use super::accept::{self, Form};
use super::body::Given;
use super::deletion::{Deletion, Preconditions};
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
use super::{Api, body, observed};
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
    outlet: Option<Extension<Arc<Outlet>>>,
) -> Result<Response, Failure> {
    let Asked { place, options, .. } = Asked::read(&api, names, &uri, "")?;
    let form = accept::form(&headers)?;
    api.readable()?;
    if options.watch {
        return watch(&api, &place, form, &options, outlet.map(|Extension(outlet)| outlet));
    }
    let snapshot = api.reader.snapshot(&place.kind).ok_or_else(Failure::no_path)?;
    let (snapshot, after, skipped) = at(&api, snapshot, &options)?;
    let lens = lens(&api, &place, &snapshot, form, &options)?;
    let gzip = accept::takes_gzip(&headers);
    let now_ms = api.clock.unix_ms();
    let observed = options.observed_at.then(|| api.reader.clone());
    let options = ListOptions { limit: options.limit, skipped, gzip, now_ms, observed };
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
    if form == Form::Objects && options.observed_at {
        let mut out = Vec::with_capacity(1024);
        observed::write(&api.reader, &place.kind, &object, &mut out);
        return Ok(json_response(StatusCode::OK, out));
    }
    let out = formed(api, asked, form, &object, object.version);
    Ok(json_response(StatusCode::OK, out))
}

/// One object in a form, as if it were at `version`.
fn formed(
    api: &Api,
    asked: &Asked,
    form: Form,
    object: &Object,
    version: ResourceVersion,
) -> Vec<u8> {
    let Asked { place, options, .. } = asked;
    let mut out = Vec::with_capacity(1024);
    match form {
        Form::Objects => object.write_json_at(&place.kind, version, &mut out),
        Form::Metadata => table::partial(object, version, &mut out),
        Form::Table => {
            let columns = Columns::new(&place.kind, options.include);
            columns.begin(&json!({ "resourceVersion": version.to_string() }), &mut out);
            columns.row(object, version, api.clock.unix_ms(), &mut out);
            Columns::end(&mut out);
        }
    }
    out
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

/// `outlet` is where the answer leaves, if that is known.
fn watch(
    api: &Api,
    place: &Place,
    form: Form,
    options: &Options,
    outlet: Option<Arc<Outlet>>,
) -> Result<Response, Failure> {
    if options.observed_at {
        let message = "observedAt: a watch tells changes, and to be seen again is none; ask a \
                       list, or for ts in the envelope";
        return Err(Failure::bad_request(message));
    }
    let from = versions::watch_from(options)?;
    let snapshot = api.reader.snapshot(&place.kind).ok_or_else(Failure::no_path)?;
    let lens = lens(api, place, &snapshot, form, options)?;
    let newest = snapshot.version().0;
    let listen = |version| {
        let view: Arc<dyn View> = Arc::<Lens>::clone(&lens);
        listen(api, lens.kind(), version, view)
    };
    let start = |mut watcher: Watcher, initial| {
        if let Some(outlet) = &outlet {
            watcher.plug_in(Arc::clone(outlet));
        }
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

// === writing ===

pub(super) async fn create(
    State(api): Shared,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let asked = Asked::read(&api, names, &uri, "")?;
    let form = accept::form(&headers)?;
    let Given { json, warnings } = body::document(&headers, body, asked.options.validation).await?;
    let done = api.create(&asked.place, &json, &asked.options)?;
    Ok(answer(&api, &asked, form, warnings, done))
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
    accept::form(&headers)?;
    let Deletion { preconditions, dry_run } = deletion(&headers, body, &options).await?;
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
    accept::form(&headers)?;
    api.readable()?;
    let Deletion { dry_run, .. } = deletion(&headers, body, &options).await?;
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
            let same = Preconditions::of_uid(object.uid_text());
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
    let asked = Asked::read(api, names, uri, last_segment(uri))?;
    let form = accept::form(headers)?;
    let Given { json, warnings } = body::document(headers, body, asked.options.validation).await?;
    let terms = Terms { options: &asked.options, only_status, may_create: false };
    let done = api.edit(&asked.place, &asked.name, &Edit::Replace(json), terms)?;
    Ok(answer(api, &asked, form, warnings, done))
}

async fn edit(
    api: &Api,
    names: Named,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    only_status: bool,
) -> Result<Response, Failure> {
    let asked = Asked::read(api, names, uri, last_segment(uri))?;
    let form = accept::form(headers)?;
    let bytes = body::plain(headers, body, body::OBJECT_BYTES_MAX).await?;
    let (edit, warnings) = Edit::of_patch(headers, &bytes, asked.options.validation)?;
    let may_create = matches!(edit, Edit::Apply(_));
    let terms = Terms { options: &asked.options, only_status, may_create };
    let done = api.edit(&asked.place, &asked.name, &edit, terms)?;
    Ok(answer(api, &asked, form, warnings, done))
}

/// What the body and the query of a DELETE say.
async fn deletion(headers: &HeaderMap, body: Body, options: &Options) -> Result<Deletion, Failure> {
    let bytes = body::plain(headers, body, body::OBJECT_BYTES_MAX).await?;
    let mut deletion = match bytes.is_empty() {
        true => Deletion::default(),
        false => Deletion::read(&body::object(&body::media_type(headers), &bytes)?)?,
    };
    deletion.dry_run |= options.dry_run;
    Ok(deletion)
}

/// The answer to a write; `warnings` are of the body, those of the object are `done`'s.
fn answer(api: &Api, asked: &Asked, form: Form, mut warnings: Vec<String>, done: Done) -> Response {
    let Done { code, object, version, warnings: of_object } = done;
    warnings.extend(of_object);
    let json = formed(api, asked, form, &object, version.unwrap_or(object.version));
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
