//! A watch on the status center: one long request, its events kept in order.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::wait::{DEADLINE, wait_until};

/// One event of a watch.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: String,
    /// The object, or the `Status` of an error.
    pub object: Value,
    /// The whole line.
    pub line: Value,
}

/// An open watch. Ends when dropped.
#[derive(Debug)]
pub struct Watcher {
    url: String,
    received: Arc<Received>,
    _stops_when_dropped: DropGuard,
}

#[derive(Debug, Default)]
struct Received {
    // A lock, since the reading task and the test both look; never held while waiting.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Event>,
    ended: Option<String>,
}

// === impl Watcher ===

impl Watcher {
    /// Opens a watch, and waits until the server has answered with 200.
    pub async fn open(url: &str) -> Watcher {
        let response = reqwest::Client::new().get(url).send().await;
        let response = response.unwrap_or_else(|error| panic!("GET {url}: {error:?}"));
        let status = response.status();
        if status != 200 {
            panic!("GET {url}: {status}: {}", response.text().await.unwrap_or_default());
        }
        let stop = CancellationToken::new();
        let received = Arc::new(Received::default());
        let reader = read(response, received.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(reader));
        Watcher { url: url.to_owned(), received, _stops_when_dropped: stop.drop_guard() }
    }

    /// Every event so far, bookmarks included.
    pub fn events(&self) -> Vec<Event> {
        self.received.lock().events.clone()
    }

    /// The events about this object so far.
    pub fn events_of(&self, name: &str) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.name() == name).collect()
    }

    /// The kinds of the events about this object, in order.
    pub fn kinds_of(&self, name: &str) -> Vec<String> {
        self.events_of(name).into_iter().map(|event| event.kind).collect()
    }

    /// Forgets what came so far, so that a test can look at what follows.
    pub fn forget(&self) {
        self.received.lock().events.clear();
    }

    /// Waits for an event for which `wanted` holds.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        wait_until(&format!("the watch of {} says {what}", self.url), DEADLINE, || async {
            let events = self.events();
            let found = events.iter().find(|event| wanted(event)).cloned();
            found.ok_or_else(|| {
                let last: Vec<_> = events.iter().rev().take(5).collect();
                let ended = self.received.lock().ended.clone();
                format!("{} events, the last of them {last:#?}; ended: {ended:?}", events.len())
            })
        })
        .await
    }

    /// Waits for an event of this kind about this object.
    pub async fn wait_for_event(&self, kind: &str, name: &str) -> Event {
        self.wait_for(&format!("{kind} {name}"), |e| e.kind == kind && e.name() == name).await
    }

    /// Waits until `n` events have come.
    pub async fn wait_for_events(&self, n: usize) -> Vec<Event> {
        wait_until(&format!("{n} events came from {}", self.url), DEADLINE, || async {
            let events = self.events();
            if events.len() >= n { Ok(events) } else { Err(format!("{} events", events.len())) }
        })
        .await
    }

    /// Waits until the server ended the stream; how it did: empty for a clean end.
    pub async fn wait_for_end(&self) -> String {
        wait_until(&format!("the watch of {} ends", self.url), DEADLINE, || async {
            let inner = self.received.lock();
            inner.ended.clone().ok_or_else(|| format!("{} events", inner.events.len()))
        })
        .await
    }
}

// === impl Event ===

impl Event {
    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `metadata.resourceVersion`.
    pub fn version(&self) -> u64 {
        let version = self.object["metadata"]["resourceVersion"].as_str();
        version.and_then(|version| version.parse().ok()).unwrap_or_default()
    }

    /// A field of the status.
    pub fn field(&self, name: &str) -> &Value {
        &self.object["status"][name]
    }
}

// === impl Received ===

impl Received {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(response: reqwest::Response, received: Arc<Received>) {
    let mut body = response.bytes_stream();
    let mut rest: Vec<u8> = Vec::new();
    let mut end = String::new();
    while let Some(part) = body.next().await {
        match part {
            Ok(part) => rest.extend_from_slice(&part),
            Err(error) => {
                end = format!("{error:?}");
                break;
            }
        }
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=at).collect();
            received.lock().events.push(event(&line));
        }
    }
    if !rest.is_empty() {
        end.push_str(&format!(" with {} bytes of a line", rest.len()));
    }
    received.lock().ended = Some(end);
}

fn event(line: &[u8]) -> Event {
    let text = String::from_utf8_lossy(line);
    // Blank lines and the like are what a watch must never send: they come out as odd events.
    let line: Value = serde_json::from_str(&text).unwrap_or(Value::String(text.into_owned()));
    let kind = line["type"].as_str().unwrap_or("not an event").to_owned();
    Event { kind, object: line["object"].clone(), line }
}
