//! One list of objects kept equal to the server's: listed once, then changed as events say.
//!
//! The protocol is the Kubernetes API's: a list in pages at one version, then a stream of events
//! after it; when the version is gone, list again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kit::{Backoff, Chain};
use serde::Deserialize;
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::super::Tools;
use super::super::api::{Api, ApiError, push_query};
use super::objects::{Metadata, Object};

/// Objects asked for at once.
const PAGE: &str = "500";

/// How long the server may keep a stream of events open.
const STREAM: Duration = Duration::from_secs(290);

/// A stream that is open longer than the server may keep it has broken without a word.
const STREAM_MAX: Duration = Duration::from_secs(320);

/// Least time between two streams, and between two lists.
const PAUSE: Duration = Duration::from_secs(1);

/// One page of a list may take this long.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of one event: an object is at most 1.5 MB in a cluster's own store.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Objects of one kind in one scope.
const OBJECTS_MAX: usize = 1_000_000;

/// The objects of one kind.
pub(super) struct Store<T> {
    /// A lock, because a task for each scope writes; held for a change or a copy of `Arc`s.
    scopes: Mutex<Vec<Scope<T>>>,
    changed: Arc<Notify>,
}

/// The objects of one namespace, or of all, by `namespace/name`.
struct Scope<T> {
    objects: BTreeMap<String, Arc<T>>,
    is_listed: bool,
}

/// What is listed and watched for one scope of a [`Store`].
pub(super) struct Feed<T> {
    pub(super) api: Arc<Api>,
    /// Without a query.
    pub(super) url: String,
    pub(super) label_selector: String,
    pub(super) field_selector: String,
    pub(super) store: Arc<Store<T>>,
    /// Its number in the store.
    pub(super) scope: usize,
    pub(super) tools: Tools,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<T>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    rest: String,
}

/// An event; what it is about is read only when its type says what that is.
#[derive(Deserialize)]
struct Event<'b> {
    #[serde(rename = "type")]
    kind: &'b str,
    #[serde(borrow)]
    object: &'b serde_json::value::RawValue,
}

/// The part of a bookmark that matters.
#[derive(Deserialize)]
struct Bookmark {
    metadata: Metadata,
}

/// Why watching ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("read events")]
    Stream { source: kit::http::BodyError },
    #[error("event has more than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("read event")]
    Event { source: serde_json::Error },
    #[error("list has more than {OBJECTS_MAX} objects")]
    TooMany,
    /// Events are missing: list again.
    #[error("version is gone: {0}")]
    Gone(String),
}

// === impl Store ===

impl<T> Store<T> {
    pub(super) fn new(n_scopes: usize, changed: &Arc<Notify>) -> Arc<Store<T>> {
        let scope = || Scope { objects: BTreeMap::new(), is_listed: false };
        let scopes = std::iter::repeat_with(scope).take(n_scopes).collect();
        Arc::new(Store { scopes: Mutex::new(scopes), changed: Arc::clone(changed) })
    }

    /// Whether every scope has been listed.
    pub(super) fn is_listed(&self) -> bool {
        self.lock().iter().all(|scope| scope.is_listed)
    }

    /// All objects, by `namespace/name`; by name alone if they have no namespace.
    pub(super) fn all(&self) -> BTreeMap<String, Arc<T>> {
        let scopes = self.lock();
        let objects = scopes.iter().flat_map(|scope| &scope.objects);
        objects.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    }

    fn replace(&self, scope: usize, objects: BTreeMap<String, Arc<T>>) {
        self.lock()[scope] = Scope { objects, is_listed: true };
        self.changed.notify_one();
    }

    fn change(&self, scope: usize, key: String, object: Option<T>) {
        let objects = &mut self.lock()[scope].objects;
        match object {
            Some(object) => drop(objects.insert(key, Arc::new(object))),
            None => drop(objects.remove(&key)),
        }
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Scope<T>>> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `namespace/name`, or the name alone.
pub(super) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn key_of<T: Object>(object: &T) -> String {
    let metadata = object.metadata();
    key(&metadata.namespace, &metadata.name)
}

// === impl Feed ===

impl<T: Object> Feed<T> {
    /// Lists and watches until dropped.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut failing = false;
        loop {
            let listed = self.list().await;
            if listed.is_ok() {
                backoff.reset();
                if std::mem::take(&mut failing) {
                    info!(url = self.url, "Kubernetes answers again");
                }
            }
            let ended = match listed {
                Ok(version) => self.watch(version).await,
                Err(failure) => failure,
            };
            if matches!(ended, WatchError::Gone(_)) {
                debug!(url = self.url, error = %Chain(&ended), "listing Kubernetes objects again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            self.tools.metrics.kubernetes_failures.inc();
            if !std::mem::replace(&mut failing, true) {
                warn!(url = self.url, error = %Chain(&ended), "Kubernetes discovery failed");
            }
            tokio::time::sleep(backoff.next_jittered(rand::random())).await;
        }
    }

    /// Lists everything; the version of the list.
    async fn list(&self) -> Result<String, WatchError> {
        let mut objects = BTreeMap::new();
        let mut rest = String::new();
        loop {
            let url = self.url_with(&[("limit", PAGE), ("continue", &rest)]);
            let list: List<T> = self.api.get_json(&url, &[], LIST_TIMEOUT).await?;
            for object in list.items.unwrap_or_default() {
                objects.insert(key_of(&object), Arc::new(object));
            }
            if objects.len() > OBJECTS_MAX {
                return Err(WatchError::TooMany);
            }
            rest = list.metadata.rest;
            if rest.is_empty() {
                self.store.replace(self.scope, objects);
                return Ok(list.metadata.resource_version);
            }
        }
    }

    /// Follows events after `version`, stream after stream; returns why it cannot go on.
    async fn watch(&self, mut version: String) -> WatchError {
        loop {
            let seconds = STREAM.as_secs().to_string();
            let url = self.url_with(&[
                ("watch", "true"),
                ("allowWatchBookmarks", "true"),
                ("timeoutSeconds", &seconds),
                ("resourceVersion", &version),
            ]);
            let next = tokio::time::Instant::now() + PAUSE;
            let streamed = tokio::time::timeout(STREAM_MAX, self.stream(&url, &mut version)).await;
            if let Ok(Err(failure)) = streamed {
                return failure;
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// Reads one stream to its end.
    async fn stream(&self, url: &str, version: &mut String) -> Result<(), WatchError> {
        let mut response = self.api.open(url, &[], LIST_TIMEOUT).await.map_err(gone)?;
        let mut buffer = Vec::new();
        let broken = |source| WatchError::Stream { source };
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            buffer.extend_from_slice(&chunk);
            let mut start = 0;
            while let Some(end) = memchr::memchr(b'\n', &buffer[start..]) {
                self.take(&buffer[start..start + end], version)?;
                start += end + 1;
            }
            buffer.drain(..start);
            if buffer.len() > EVENT_BYTES_MAX {
                return Err(WatchError::TooLarge);
            }
        }
        Ok(())
    }

    /// Applies one event.
    pub(super) fn take(&self, line: &[u8], version: &mut String) -> Result<(), WatchError> {
        let unreadable = |source| WatchError::Event { source };
        let event: Event<'_> = serde_json::from_slice(line).map_err(unreadable)?;
        let text = event.object.get();
        if event.kind == "ERROR" {
            return Err(WatchError::Gone(text.chars().take(200).collect()));
        }
        if event.kind == "BOOKMARK" {
            let bookmark: Bookmark = serde_json::from_str(text).map_err(unreadable)?;
            *version = bookmark.metadata.resource_version;
            return Ok(());
        }
        let object: T = serde_json::from_str(text).map_err(unreadable)?;
        version.clone_from(&object.metadata().resource_version);
        self.tools.metrics.kubernetes_events.inc();
        let key = key_of(&object);
        let is_deleted = event.kind == "DELETED";
        self.store.change(self.scope, key, (!is_deleted).then_some(object));
        Ok(())
    }

    fn url_with(&self, query: &[(&str, &str)]) -> String {
        let selectors =
            [("labelSelector", &*self.label_selector), ("fieldSelector", &self.field_selector)];
        let all = query.iter().copied().chain(selectors);
        let mut url = self.url.clone();
        push_query(&mut url, all.filter(|(_, value)| !value.is_empty()));
        url
    }
}

/// The server no longer knows the version.
fn gone(failure: ApiError) -> WatchError {
    match failure {
        ApiError::Status { status: http::StatusCode::GONE, url } => WatchError::Gone(url),
        failure => WatchError::Api(failure),
    }
}
