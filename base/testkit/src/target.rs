//! A fake target: serves what the test says, scrape by scrape, and remembers who asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use tokio::sync::watch;

use crate::reply::Reply;
use crate::server::{Request, Server};
use crate::wait::{DEADLINE, wait_until};

/// Chooses the answer to a request: the request, and how many of its path came before.
type Answers = Arc<dyn Fn(&Request, usize) -> Reply + Send + Sync>;

/// A server of pages on a loopback port. Stops when dropped.
#[derive(Debug)]
pub struct FakeTarget {
    server: Server,
    state: Arc<State>,
    held: watch::Sender<bool>,
}

struct State {
    // A lock, since the server's connections and the test both look; never held while waiting.
    inner: Mutex<Inner>,
}

struct Inner {
    answers: Answers,
    requests: Vec<Request>,
    n_by_path: HashMap<String, usize>,
}

// === impl FakeTarget ===

impl FakeTarget {
    /// Serves the same answer to everyone, until [`FakeTarget::serve`] changes it.
    pub async fn serving(reply: impl Into<Reply>) -> FakeTarget {
        let reply = reply.into();
        FakeTarget::answering(move |_, _| reply.clone()).await
    }

    /// Asks `answers` each time: it gets the request, and how many of its path came before.
    pub async fn answering<F>(answers: F) -> FakeTarget
    where
        F: Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    {
        let inner =
            Inner { answers: Arc::new(answers), requests: Vec::new(), n_by_path: HashMap::new() };
        let state = Arc::new(State { inner: Mutex::new(inner) });
        let (held, _) = watch::channel(false);
        let (answering, gate) = (state.clone(), held.clone());
        let server = Server::start(Arc::new(move |request| {
            let (state, mut gate) = (answering.clone(), gate.subscribe());
            async move {
                let reply = state.answer(request);
                // An error means that the target was dropped, and with it this connection.
                gate.wait_for(|held| !held).await.ok();
                reply
            }
            .boxed()
        }))
        .await;
        FakeTarget { server, state, held }
    }

    /// `127.0.0.1:port`, as in `targets`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// Serves `reply` from the next request on.
    pub fn serve(&self, reply: impl Into<Reply>) {
        let reply = reply.into();
        self.state.lock().answers = Arc::new(move |_, _| reply.clone());
    }

    /// Serves these one after another from the next request on, the last one for ever.
    pub fn serve_in_turn(&self, replies: Vec<Reply>) {
        let last = replies.len() - 1;
        let turn = AtomicUsize::new(0);
        self.state.lock().answers =
            Arc::new(move |_, _| replies[turn.fetch_add(1, Ordering::Relaxed).min(last)].clone());
    }

    /// Lets requests come in, but answers none until [`FakeTarget::release`]. What they will be
    /// answered is decided when they come in.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Answers what was held.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().requests.clone()
    }

    /// How many requests came so far.
    pub fn n_requests(&self) -> usize {
        self.state.lock().requests.len()
    }

    /// Waits until `n` requests in all have come.
    pub async fn wait_for_requests(&self, n: usize) {
        wait_until(&format!("the target was asked {n} times"), DEADLINE, || async {
            match self.n_requests() {
                seen if seen >= n => Ok(()),
                seen => Err(format!("{seen} requests")),
            }
        })
        .await;
    }

    /// Waits until `n` more requests have come in: after one, everything that the answers before
    /// said has been taken by the scraper or will never be.
    pub async fn wait_for_more_requests(&self, n: usize) {
        self.wait_for_requests(self.n_requests() + n).await;
    }
}

// === impl State ===

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: Request) -> Reply {
        let mut inner = self.lock();
        let nth = inner.n_by_path.entry(request.path().to_owned()).or_insert(0);
        let before = *nth;
        *nth += 1;
        let answers = inner.answers.clone();
        inner.requests.push(request.clone());
        drop(inner);
        answers(&request, before)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests", self.lock().requests.len())
    }
}
