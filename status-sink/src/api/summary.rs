//! How many objects there are of which values: `…/PLURAL/summary?by=state,host`.
//!
//! `{"kind":"Summary","apiVersion":"G/V","metadata":{"resourceVersion":"…"},"by":["state"],
//! "total":3,"counts":[{"values":{"state":"running"},"count":2},…]}`; a field that is not known
//! is `null`. With selectors, only objects that match are counted. With `watch=true` the summary
//! comes again, whole, when a count has changed: at once, then at most every [`SAY_EVERY`].
//!
//! Without selectors the counts are those that the store keeps: nobody counts 51,200 objects twice.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, timeout_at};

use super::accept::Form;
use super::failure::Failure;
use super::frames::{self, Lens};
use super::objects::{self, Asked, Named, json_response};
use super::walk::Walk;
use super::{Api, accept, versions, watch};
use crate::event_log::Event;
use crate::kind::{FieldId, Kind};
use crate::notifier::{Step, View, Watcher};
use crate::object::{Object, ResourceVersion};
use crate::value::Value;

/// Fields that one summary counts by.
const FIELDS_MAX: usize = 8;

/// Values of one summary. A field that is other for every object is not worth counting by.
const VALUES_MAX: usize = 100_000;

/// Least time between two lines of a watch.
const SAY_EVERY: Duration = Duration::from_millis(200);

/// Counts by values: the values of the fields as a JSON array, and how many have them.
type Counts = BTreeMap<Vec<u8>, u64>;

/// The counts of one version.
#[derive(Debug, Clone)]
struct Summary {
    fields: Vec<FieldId>,
    version: ResourceVersion,
    counts: Counts,
}

/// `GET …/PLURAL/summary`: with `by` a summary, else the object of that name.
pub(super) async fn get_or_object(
    State(api): State<Arc<Api>>,
    names: Named,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = Asked::read(&api, names, &uri, "summary")?;
    let form = accept::form(&headers)?;
    if asked.options.by.is_empty() {
        return objects::one(&api, &asked, form);
    }
    api.readable()?;
    let fields = fields(&asked.place.kind, &asked.options.by)?;
    let (lens, summary) = count(&api, &asked, fields)?;
    if !asked.options.watch {
        return Ok(json_response(
            StatusCode::OK,
            summary.json(lens.kind()).to_string().into_bytes(),
        ));
    }
    let changes =
        Changes { fields: summary.fields.clone(), identity: identity(&lens, &summary), lens };
    let lens = Arc::clone(&changes.lens);
    let view: Arc<dyn View> = Arc::new(changes);
    let watcher = objects::listen(&api, lens.kind(), summary.version.0, view)?;
    let watcher = watcher
        .ok_or_else(|| Failure::too_many_requests("events come faster than they can be counted"))?;
    let timeout = asked.options.timeout.unwrap_or_else(|| watch::default_timeout(api.chance()));
    let deadline = Instant::now() + timeout;
    Ok(lines_response(lines(lens, summary, watcher, deadline)))
}

fn fields(kind: &Kind, by: &[String]) -> Result<Vec<FieldId>, Failure> {
    if by.len() > FIELDS_MAX {
        return Err(Failure::bad_request(format!("by: more than {FIELDS_MAX} fields")));
    }
    let find = |name: &String| {
        let plain = name.strip_prefix("status.").unwrap_or(name);
        kind.field_id(plain).ok_or_else(|| {
            let known: Vec<&str> = kind.fields().map(|(_, field)| &*field.name).collect();
            Failure::bad_request(format!("by: no field {name:?}; there are {}", known.join(", ")))
        })
    };
    by.iter().map(find).collect()
}

/// The counts now: those that the store keeps, if all objects are to be counted.
fn count(api: &Api, asked: &Asked, fields: Vec<FieldId>) -> Result<(Arc<Lens>, Summary), Failure> {
    let Asked { place, options, .. } = asked;
    let snapshot = api.reader.snapshot(&place.kind).ok_or_else(Failure::no_path)?;
    let kind = Arc::clone(snapshot.kind());
    let namespace = place.namespace.as_deref();
    let clock = Arc::clone(&api.clock);
    let lens = Arc::new(Lens::new(Arc::clone(&kind), namespace, Form::Objects, options, clock)?);
    let mut summary = Summary { fields, version: snapshot.version(), counts: Counts::new() };
    if lens.is_everything() {
        let kept = api.reader.summary(&kind, &summary.fields);
        let (kept, version) = kept.ok_or_else(Failure::no_path)?;
        summary.version = version;
        for (values, count) in kept.counts() {
            summary.counts.insert(array(values.iter()), count as u64);
        }
        summary.check_size()?;
        return Ok((lens, summary));
    }
    let mut walk = Walk::new(snapshot, Arc::clone(&lens), None);
    while !walk.is_done() {
        let mut full = Ok(());
        walk.visit(|object| {
            full = summary.apply(None, Some(&key(&summary.fields, object)));
            full.is_ok()
        });
        full?;
    }
    Ok((lens, summary))
}

/// The values of some fields of an object, as a JSON array.
fn key(fields: &[FieldId], object: &Object) -> Vec<u8> {
    array(fields.iter().map(|id| object.value(*id)))
}

fn array<'v>(values: impl Iterator<Item = &'v Value>) -> Vec<u8> {
    let mut array = vec![b'['];
    for (at, value) in values.enumerate() {
        if at > 0 {
            array.push(b',');
        }
        value.write_json(&mut array);
    }
    array.push(b']');
    array
}

fn delta(fields: &[FieldId], lens: &Lens, event: &Event) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let of = |object: &Option<Arc<Object>>| {
        object.as_ref().filter(|object| lens.shows(object)).map(|object| key(fields, object))
    };
    (of(&event.old), of(&event.new))
}

// === impl Summary ===

impl Summary {
    /// One object had these values and has those.
    fn apply(&mut self, was: Option<&[u8]>, is: Option<&[u8]>) -> Result<(), Failure> {
        if let Some(was) = was
            && let Some(count) = self.counts.get_mut(was)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(was);
            }
        }
        if let Some(is) = is {
            match self.counts.get_mut(is) {
                Some(count) => *count += 1,
                None => drop(self.counts.insert(is.to_vec(), 1)),
            }
        }
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Failure> {
        if self.counts.len() > VALUES_MAX {
            let message = format!("by: these fields have more than {VALUES_MAX} values");
            return Err(Failure::bad_request(message));
        }
        Ok(())
    }

    fn json(&self, kind: &Kind) -> Json {
        let by: Vec<&str> = self.fields.iter().map(|id| &*kind.field(*id).name).collect();
        let row = |(values, count): (&Vec<u8>, &u64)| {
            let values: Vec<Json> = serde_json::from_slice(values).unwrap_or_default();
            let named: serde_json::Map<String, Json> =
                by.iter().map(|name| (*name).to_owned()).zip(values).collect();
            json!({ "values": named, "count": count })
        };
        let counts: Vec<Json> = self.counts.iter().map(row).collect();
        json!({
            "kind": "Summary",
            "apiVersion": kind.api_version(),
            "metadata": { "resourceVersion": self.version.to_string() },
            "by": by,
            "total": self.counts.values().sum::<u64>(),
            "counts": counts,
        })
    }
}

/// Tells a watching summary what an event does to its counts: a line `[was, is]`, each an array
/// of values or null.
#[derive(Debug)]
struct Changes {
    fields: Vec<FieldId>,
    lens: Arc<Lens>,
    identity: String,
}

fn identity(lens: &Lens, summary: &Summary) -> String {
    format!("summary {:?} {}", summary.fields, lens.identity())
}

impl View for Changes {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn write(&self, event: &Event, out: &mut Vec<u8>) {
        let (was, is) = delta(&self.fields, &self.lens, event);
        if was != is {
            out.push(b'[');
            out.extend_from_slice(was.as_deref().unwrap_or(b"null"));
            out.push(b',');
            out.extend_from_slice(is.as_deref().unwrap_or(b"null"));
            out.extend_from_slice(b"]\n");
        }
    }
}

/// What a watching summary is doing.
struct Watching {
    lens: Arc<Lens>,
    summary: Summary,
    watcher: Watcher,
    deadline: Instant,
    next_say: Instant,
    said: bool,
    ended: bool,
}

fn lines(
    lens: Arc<Lens>,
    summary: Summary,
    watcher: Watcher,
    deadline: Instant,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let (said, ended) = (false, false);
    let next_say = Instant::now();
    let start = Watching { lens, summary, watcher, deadline, next_say, said, ended };
    stream::unfold(start, |mut watching| async move {
        let line = watching.next_line().await?;
        Some((Ok(line), watching))
    })
}

impl Watching {
    async fn next_line(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !self.said {
            self.said = true;
            return Some(self.line("ADDED"));
        }
        let mut is_news = false;
        loop {
            let now = Instant::now();
            if is_news && now >= self.next_say {
                self.next_say = now + SAY_EVERY;
                return Some(self.line("MODIFIED"));
            }
            if now >= self.deadline {
                return None;
            }
            let until = if is_news { self.next_say.min(self.deadline) } else { self.deadline };
            match timeout_at(until, self.watcher.next()).await {
                Ok(Step::Frames(frames)) => {
                    is_news = true;
                    if let Err(failure) = self.take(&frames) {
                        self.ended = true;
                        return Some(frames::error_line(&failure).into());
                    }
                }
                Ok(Step::Gone) => {
                    self.ended = true;
                    let failure = versions::too_old(self.watcher.version().0);
                    return Some(frames::error_line(&failure).into());
                }
                Ok(Step::Ended) => return None,
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, frames: &[u8]) -> Result<(), Failure> {
        for line in frames.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let parsed: [Option<Box<serde_json::value::RawValue>>; 2] =
                serde_json::from_slice(line).expect("the line was written by us");
            let [was, is] = parsed.map(|part| part.map(|values| values.get().as_bytes().to_vec()));
            self.summary.apply(was.as_deref(), is.as_deref())?;
        }
        self.summary.version = self.watcher.version();
        Ok(())
    }

    fn line(&self, kind: &str) -> Bytes {
        let object = self.summary.json(self.lens.kind());
        let mut line = json!({ "type": kind, "object": object }).to_string().into_bytes();
        line.push(b'\n');
        line.into()
    }
}

fn lines_response(
    lines: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(lines));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
