//! A watch: what there is, if asked for; then every change, one line each, until the deadline.
//!
//! Once the answer has begun, everything that goes wrong is told inside it, as an ERROR line:
//! clients recover from that, while some loop for ever on a 410 in the status line. A stale watch
//! never ends without that line.
//!
//! Nothing is kept per listener but a place in the event log and two timers; a listener that does
//! not read is not polled.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, header};
use tokio::time::{Instant, Sleep};

use super::failure::Failure;
use super::frames::{self, Lens};
use super::versions;
use super::walk::Walk;
use crate::notifier::{Step, Watcher};

/// Time between two bookmarks (the API server's).
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// A last bookmark comes so long before the deadline, so that the next watch starts there.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// A watch without `timeoutSeconds` lasts as long as this, or up to twice as long by chance, so
/// that listeners do not all come back at once. kubectl does not come back at all.
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);

/// Bytes of the lines of one go, while everything there is is sent.
const CHUNK_BYTES: usize = 128 * 1024;

/// What a watch begins with.
#[derive(Debug)]
pub(crate) struct Start {
    /// Everything there was, if it is to be sent.
    pub(crate) initial: Option<Walk>,
    /// The changes that follow.
    pub(crate) watcher: Watcher,
    /// Whether bookmarks are wanted.
    pub(crate) bookmarks: bool,
    /// The client's `timeoutSeconds`.
    pub(crate) timeout: Option<Duration>,
    /// In 0..1: chance for the default timeout.
    pub(crate) chance: f64,
}

/// The answer to a watch.
pub(crate) fn response(lens: Arc<Lens>, start: Start) -> Response {
    let Start { initial, watcher, bookmarks, timeout, chance } = start;
    let timeout = timeout.unwrap_or_else(|| default_timeout(chance));
    let deadline = Instant::now() + timeout;
    let timer = Box::pin(tokio::time::sleep_until(deadline));
    let stage = initial.map_or(Stage::Changes, |walk| Stage::Initial(Box::new(walk)));
    let mut lines =
        Lines { lens, stage, watcher, bookmarks, next_bookmark: deadline, deadline, timer };
    lines.plan_bookmark(Instant::now());
    stream(Body::from_stream(lines))
}

/// How long a watch lasts whose client does not say; `chance` is in 0..1.
pub(crate) fn default_timeout(chance: f64) -> Duration {
    TIMEOUT_MIN.mul_f64(1.0 + chance)
}

/// The answer to a watch that cannot begin: 200, and the reason as its only line.
pub(crate) fn refused(failure: &Failure) -> Response {
    let line = Ok::<_, Infallible>(Bytes::from(frames::error_line(failure)));
    stream(Body::from_stream(futures::stream::iter([line])))
}

fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// The lines of one watch.
struct Lines {
    lens: Arc<Lens>,
    stage: Stage,
    watcher: Watcher,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Wakes at the next of the two.
    timer: Pin<Box<Sleep>>,
}

enum Stage {
    /// Sending what there was.
    Initial(Box<Walk>),
    /// Sending what happens.
    Changes,
    /// Nothing more.
    Ended,
}

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Stage::Initial(walk) = &mut this.stage {
            let bytes = initial_lines(&this.lens, walk, this.bookmarks);
            if walk.is_done() {
                this.stage = Stage::Changes;
            }
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(bytes.into())));
            }
            if matches!(this.stage, Stage::Initial(_)) {
                // Nothing found yet on a long way: others first.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        match this.stage {
            Stage::Changes => this.poll_changes(cx).map(|bytes| bytes.map(Ok)),
            Stage::Initial(_) | Stage::Ended => Poll::Ready(None),
        }
    }
}

/// The next objects that were there; after the last of them, the bookmark.
fn initial_lines(lens: &Lens, walk: &mut Walk, bookmark: bool) -> Vec<u8> {
    let mut out = Vec::new();
    walk.visit(|object| {
        if out.is_empty() {
            out.reserve(CHUNK_BYTES + 4096);
        }
        lens.write_initial(object, &mut out);
        out.len() < CHUNK_BYTES
    });
    if walk.is_done() && bookmark {
        out.extend_from_slice(&lens.bookmark(walk.snapshot().version(), true));
    }
    out
}

impl Lines {
    fn poll_changes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match self.watcher.poll_next(cx) {
                Poll::Ready(Step::Frames(bytes)) => return Poll::Ready(Some(bytes)),
                Poll::Ready(Step::Ended) => {
                    self.stage = Stage::Ended;
                    return Poll::Ready(None);
                }
                Poll::Ready(Step::Gone) => {
                    self.stage = Stage::Ended;
                    let failure = versions::too_old(self.watcher.version().0);
                    return Poll::Ready(Some(frames::error_line(&failure).into()));
                }
                Poll::Pending => {}
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= self.deadline {
                self.stage = Stage::Ended;
                return Poll::Ready(None);
            }
            let is_due = now >= self.next_bookmark;
            self.plan_bookmark(now);
            if is_due {
                let version = self.watcher.version();
                return Poll::Ready(Some(self.lens.bookmark(version, false).into()));
            }
        }
    }

    /// Sets the time of the next bookmark, the last one a little before the deadline; and the
    /// timer.
    fn plan_bookmark(&mut self, now: Instant) {
        let last = self.deadline - BOOKMARK_BEFORE_END.min(self.deadline - now);
        let regular = now + BOOKMARK_EVERY;
        self.next_bookmark = match now < last {
            true => regular.min(last),
            false => self.deadline,
        };
        let next = if self.bookmarks { self.next_bookmark } else { self.deadline };
        self.timer.as_mut().reset(next);
    }
}
