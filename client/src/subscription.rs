//! List, then watch, then go on: the level is never lost.
//!
//! States: no version (list next) → a version (watch from it) → a stream (read lines). An end of
//! the stream keeps the version; *gone* (410, in the stream or as an answer) drops it. A stream is
//! asked to end after a while, and says something before it does: silence is the end too. What the
//! subscriber believes is kept by key, so that a reset can be compared by whoever wants to.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::client::{Condition, Resource};
use crate::{Error, Object};

/// First and longest wait between two tries.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A stream that ends sooner, and has said nothing, is a failure: else a server that ends each at
/// once would be asked thousands of times a second.
const SHORT: Duration = Duration::from_secs(1);
/// Bytes of one event at most.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<S> {
    /// These are all the objects that the condition holds for now; forget what was before. The
    /// first event is always this one.
    Reset(Vec<Object<S>>),
    /// The condition holds for this object: it began to, or the object changed.
    Applied(Object<S>),
    /// The condition no longer holds for this object, or it was deleted. As it was before.
    Left(Object<S>),
}

/// A condition, registered with the status center for as long as this lives.
///
/// [`Subscription::next`] may be cancelled and called again.
#[derive(Debug)]
pub struct Subscription<S> {
    resource: Resource<S>,
    condition: Condition,
    version: Option<String>,
    stream: Option<Stream>,
    held: HashSet<(String, String)>,
    wait: Duration,
}

#[derive(Debug)]
struct Stream {
    response: reqwest::Response,
    opened: Instant,
    heard: bool,
    buffer: Vec<u8>,
    searched: usize,
}

/// How a stream came to its end.
#[derive(Debug)]
enum Broken {
    /// The connection is lost, or nothing came for too long.
    Lost,
    /// An event is too large to be one.
    TooLarge,
}

#[derive(Debug, Deserialize)]
struct WireEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Debug, Deserialize)]
struct Versioned {
    metadata: crate::Metadata,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: u16,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// What one line of a stream means.
#[derive(Debug)]
enum Line<S> {
    Event(Event<S>, String),
    Bookmark(String),
    Gone,
}

// === impl Subscription ===

impl<S: DeserializeOwned> Subscription<S> {
    pub(crate) fn new(resource: Resource<S>, condition: Condition) -> Subscription<S> {
        let (version, stream, held) = Default::default();
        Subscription { resource, condition, version, stream, held, wait: WAIT_MIN }
    }

    /// The next event. Waits out restarts, overload and lost connections.
    ///
    /// # Errors
    /// Only what waiting cannot cure: the condition is refused, the kind does not exist, an object
    /// does not fit `S`. Calling again starts over with a list.
    pub async fn next(&mut self) -> Result<Event<S>, Error> {
        loop {
            match self.step().await {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                Err(error) if error.is_passing() => self.pause().await,
                Err(error) => {
                    (self.version, self.stream) = (None, None);
                    return Err(error);
                }
            }
        }
    }

    /// Number of objects that the condition holds for, as far as events were taken.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// How long it would wait before the next try.
    #[cfg(test)]
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// Whether the condition holds for none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// One step towards the next event.
    async fn step(&mut self) -> Result<Option<Event<S>>, Error> {
        let Some(version) = &self.version else { return self.list().await.map(Some) };
        let Some(stream) = &mut self.stream else {
            let opened = self.resource.watch(&self.condition, version).await;
            match opened {
                Ok(response) => self.stream = Some(Stream::new(response)),
                Err(Error::Refused { code: 410, .. }) => self.version = None,
                Err(error) => return Err(error),
            }
            return Ok(None);
        };
        match stream.line(self.resource.patience()).await {
            Ok(Some(line)) => {
                let meaning = meaning_of(&line)?;
                let is_gone = matches!(meaning, Line::Gone);
                let event = self.take(meaning);
                if is_gone {
                    self.ended().await;
                }
                Ok(event)
            }
            Ok(None) => {
                self.ended().await;
                Ok(None)
            }
            // The next request asks another endpoint, from the same version on.
            Err(Broken::Lost) => {
                self.resource.pass_on();
                self.ended().await;
                Ok(None)
            }
            Err(Broken::TooLarge) => {
                let message = format!("an event of more than {EVENT_BYTES_MAX} bytes");
                Err(Error::Answer(serde::de::Error::custom(message)))
            }
        }
    }

    /// The stream has ended: at once on to the next, unless it was worth nothing.
    async fn ended(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if stream.heard || stream.opened.elapsed() >= SHORT {
            self.wait = WAIT_MIN;
        } else {
            self.pause().await;
        }
    }

    fn take(&mut self, line: Line<S>) -> Option<Event<S>> {
        if let (Some(stream), Line::Event(..) | Line::Bookmark(_)) = (&mut self.stream, &line) {
            stream.heard = true;
        }
        match line {
            Line::Gone => {
                self.version = None;
                None
            }
            Line::Bookmark(version) => {
                self.version = Some(version);
                None
            }
            Line::Event(event, version) => {
                self.version = Some(version);
                match &event {
                    Event::Applied(object) => self.held.insert(object.key()),
                    Event::Left(object) => self.held.remove(&object.key()),
                    Event::Reset(_) => false,
                };
                Some(event)
            }
        }
    }

    async fn list(&mut self) -> Result<Event<S>, Error> {
        let list = self.resource.list(&self.condition).await?;
        self.held = list.items.iter().map(Object::key).collect();
        self.version = Some(list.resource_version);
        Ok(Event::Reset(list.items))
    }

    async fn pause(&mut self) {
        let spread = rand::random_range(0.5..1.0);
        tokio::time::sleep(self.wait.mul_f64(spread)).await;
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }
}

// === impl Stream ===

impl Stream {
    fn new(response: reqwest::Response) -> Stream {
        let opened = Instant::now();
        Stream { response, opened, heard: false, buffer: Vec::new(), searched: 0 }
    }

    /// The next line, without its end; `None` when the server ended the stream. Waits `patience`
    /// for whatever comes next.
    async fn line(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, Broken> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let rest = self.buffer.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            let chunk = tokio::time::timeout(patience, self.response.chunk()).await;
            let Ok(Ok(chunk)) = chunk else { return Err(Broken::Lost) };
            match chunk {
                Some(_) if self.buffer.len() > EVENT_BYTES_MAX => return Err(Broken::TooLarge),
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

fn meaning_of<S: DeserializeOwned>(line: &[u8]) -> Result<Line<S>, Error> {
    let WireEvent { kind, object } = serde_json::from_slice(line)?;
    if kind == "ERROR" {
        let Refusal { code, reason, message } = serde_json::from_str(object.get())?;
        return match code {
            410 => Ok(Line::Gone),
            _ => Err(Error::Refused { code, reason, message }),
        };
    }
    let Versioned { metadata } = serde_json::from_str(object.get())?;
    let version = metadata.resource_version;
    match kind {
        "BOOKMARK" => Ok(Line::Bookmark(version)),
        "DELETED" => Ok(Line::Event(Event::Left(serde_json::from_str(object.get())?), version)),
        _ => Ok(Line::Event(Event::Applied(serde_json::from_str(object.get())?), version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Deserialize)]
    struct Vm {
        state: String,
    }

    fn check(line: &str, want: &str) {
        let got = match meaning_of::<Vm>(line.as_bytes()) {
            Ok(Line::Event(Event::Applied(vm), version)) => {
                format!("applied {} {} at {version}", vm.name(), vm.status.state)
            }
            Ok(Line::Event(Event::Left(vm), version)) => format!("left {} at {version}", vm.name()),
            Ok(Line::Event(Event::Reset(_), _)) => "reset".into(),
            Ok(Line::Bookmark(version)) => format!("bookmark {version}"),
            Ok(Line::Gone) => "gone".into(),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(got, want, "{line}");
    }

    #[test]
    fn each_line_of_a_stream_means_what_kubernetes_says() {
        let vm = r#"{"metadata":{"name":"vm-1","resourceVersion":"7"},"status":{"state":"up"}}"#;
        check(&format!(r#"{{"type":"ADDED","object":{vm}}}"#), "applied vm-1 up at 7");
        check(
            &format!(r#"{{"type":"MODIFIED","object":{vm},"prev":null}}"#),
            "applied vm-1 up at 7",
        );
        check(&format!(r#"{{"type":"DELETED","object":{vm}}}"#), "left vm-1 at 7");
        let bookmark = r#"{"kind":"VirtualMachine","metadata":{"resourceVersion":"9"}}"#;
        check(&format!(r#"{{"type":"BOOKMARK","object":{bookmark}}}"#), "bookmark 9");
        check(
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#,
            "gone",
        );
        let refused = r#"{"code":500,"reason":"InternalError","message":"boom"}"#;
        check(
            &format!(r#"{{"type":"ERROR","object":{refused}}}"#),
            "error: the status center answered 500: boom",
        );
        check("not json", "error: read the answer");
    }
}
