//! A fake receiver of remote write, 1.0 and 2.0: decodes what arrives and answers as told.
//!
//! What it refuses it remembers apart, so that a test can tell what was delivered from what was
//! only tried. Whatever it accepts of 2.0 it confirms, unless the answer says something of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use tokio::time::Instant;

use crate::push::{self, Exemplar, Histogram, Push, Series, Version};
use crate::reply::Reply;
use crate::samples::{LabelSet, Sample, has};
use crate::server::{Handler, Request, Server};
use crate::wait::{DEADLINE, wait_until};

/// Chooses the answer to a push: the push, and how many came before it.
type Answers = Arc<dyn Fn(&Push, usize) -> Reply + Send + Sync>;

/// A receiver on a loopback port. Stops when dropped.
#[derive(Debug)]
pub struct FakeReceiver {
    // Taken out while the receiver is down.
    server: Option<Server>,
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    // A lock, since the server's connections and the test both look; never held while waiting.
    inner: Mutex<Inner>,
}

struct Inner {
    answers: Answers,
    accepted: Vec<Push>,
    refused: Vec<Push>,
    broken: Vec<String>,
}

// === impl FakeReceiver ===

impl FakeReceiver {
    /// Accepts everything with 204, as Prometheus does.
    pub async fn accepting() -> FakeReceiver {
        FakeReceiver::answering(|_, _| Reply::status(204)).await
    }

    /// Answers everything with this.
    pub async fn refusing(reply: Reply) -> FakeReceiver {
        FakeReceiver::answering(move |_, _| reply.clone()).await
    }

    /// Asks `answers` each time: it gets the push, and how many came before it.
    pub async fn answering<F>(answers: F) -> FakeReceiver
    where
        F: Fn(&Push, usize) -> Reply + Send + Sync + 'static,
    {
        let (accepted, refused, broken) = Default::default();
        let inner = Inner { answers: Arc::new(answers), accepted, refused, broken };
        let state = Arc::new(State { inner: Mutex::new(inner) });
        let server = Server::start(state.handler()).await;
        FakeReceiver { address: server.address(), server: Some(server), state }
    }

    /// Where to send to.
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Answers with this from now on.
    pub fn answer(&self, reply: Reply) {
        self.state.lock().answers = Arc::new(move |_, _| reply.clone());
    }

    /// Accepts everything from now on.
    pub fn accept(&self) {
        self.answer(Reply::status(204));
    }

    /// Nobody listens any more: connections are cut and new ones refused.
    pub fn go_down(&mut self) {
        self.server = None;
    }

    /// Listens again, at the same address.
    pub async fn come_back(&mut self) {
        self.server = Some(Server::bind(self.address, self.state.handler()).await);
    }

    /// The pushes that were accepted, in the order they came.
    pub fn pushes(&self) -> Vec<Push> {
        self.state.whole().accepted.clone()
    }

    /// The pushes that were refused.
    pub fn refused(&self) -> Vec<Push> {
        self.state.whole().refused.clone()
    }

    /// How many pushes came, accepted or not.
    pub fn n_pushes(&self) -> usize {
        let inner = self.state.whole();
        inner.accepted.len() + inner.refused.len()
    }

    /// The accepted samples of every series that has these labels, in the order they came.
    pub fn samples(&self, labels: &[(&str, &str)]) -> Vec<Sample> {
        let inner = self.state.whole();
        inner.accepted.iter().flat_map(|push| samples_of(&push.series, labels)).collect()
    }

    /// The accepted native histograms of every series, in the order they came.
    pub fn histograms(&self) -> Vec<(Arc<LabelSet>, Histogram)> {
        let inner = self.state.whole();
        let series = inner.accepted.iter().flat_map(|push| &push.series);
        let histograms = series.flat_map(|series| {
            series.histograms.iter().map(|histogram| (series.labels.clone(), histogram.clone()))
        });
        histograms.collect()
    }

    /// The accepted exemplars of every series, in the order they came.
    pub fn exemplars(&self) -> Vec<(Arc<LabelSet>, Exemplar)> {
        let inner = self.state.whole();
        let series = inner.accepted.iter().flat_map(|push| &push.series);
        let exemplars = series.flat_map(|series| {
            series.exemplars.iter().map(|exemplar| (series.labels.clone(), exemplar.clone()))
        });
        exemplars.collect()
    }

    /// Every series that has these labels, once each, sorted.
    pub fn series(&self, labels: &[(&str, &str)]) -> Vec<Arc<LabelSet>> {
        let mut found: Vec<_> = self.samples(labels).into_iter().map(|s| s.labels).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Waits for `n` samples of series that have these labels.
    pub async fn wait_for_samples(&self, labels: &[(&str, &str)], n: usize) -> Vec<Sample> {
        wait_until(&format!("the receiver has {n} samples of {labels:?}"), DEADLINE, || async {
            let samples = self.samples(labels);
            if samples.len() >= n { Ok(samples) } else { Err(self.report(samples.len())) }
        })
        .await
    }

    /// Waits for `n` different series that have these labels.
    pub async fn wait_for_series(&self, labels: &[(&str, &str)], n: usize) -> Vec<Arc<LabelSet>> {
        wait_until(&format!("the receiver has {n} series of {labels:?}"), DEADLINE, || async {
            let series = self.series(labels);
            if series.len() >= n { Ok(series) } else { Err(self.report(series.len())) }
        })
        .await
    }

    /// Waits for a sample for which `wanted` holds.
    pub async fn wait_for_sample(
        &self,
        labels: &[(&str, &str)],
        wanted: impl Fn(&Sample) -> bool,
    ) -> Sample {
        wait_until(
            &format!("the receiver has a certain sample of {labels:?}"),
            DEADLINE,
            || async {
                let samples = self.samples(labels);
                let last = samples.last().cloned();
                samples.into_iter().find(&wanted).ok_or_else(|| format!("last: {last:?}"))
            },
        )
        .await
    }

    /// Waits until `n` pushes came, accepted or not.
    pub async fn wait_for_pushes(&self, n: usize) {
        wait_until(&format!("the receiver was sent to {n} times"), DEADLINE, || async {
            match self.n_pushes() {
                seen if seen >= n => Ok(()),
                seen => Err(format!("{seen} pushes")),
            }
        })
        .await;
    }

    fn report(&self, n_matching: usize) -> String {
        let inner = self.state.whole();
        let n: usize = inner.accepted.iter().map(Push::n_samples).sum();
        format!(
            "{n_matching} of {n} samples in {} accepted and {} refused pushes",
            inner.accepted.len(),
            inner.refused.len()
        )
    }
}

fn samples_of(series: &[Series], labels: &[(&str, &str)]) -> Vec<Sample> {
    let matching = series.iter().filter(|series| has(&series.labels, labels));
    matching
        .flat_map(|series| {
            series.samples.iter().map(|(timestamp_ms, value)| Sample {
                labels: series.labels.clone(),
                timestamp_ms: *timestamp_ms,
                value: *value,
            })
        })
        .collect()
}

// === impl State ===

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came, after making sure that all of it could be read.
    fn whole(&self) -> MutexGuard<'_, Inner> {
        let inner = self.lock();
        let broken = inner.broken.clone();
        if broken.is_empty() {
            return inner;
        }
        drop(inner);
        panic!("the receiver was sent what is not remote write: {broken:?}");
    }

    fn handler(self: &Arc<State>) -> Handler {
        let state = self.clone();
        Arc::new(move |request| {
            let state = state.clone();
            async move { state.take(request) }.boxed()
        })
    }

    fn take(&self, request: Request) -> Reply {
        let push = match push::decode(request, Instant::now()) {
            Ok(push) => push,
            Err(why) => {
                self.lock().broken.push(why.clone());
                return Reply::status(400).body(why);
            }
        };
        let (answers, before) = {
            let inner = self.lock();
            (inner.answers.clone(), inner.accepted.len() + inner.refused.len())
        };
        let reply = confirmed(answers(&push, before), &push);
        let mut inner = self.lock();
        if reply.accepts() {
            inner.accepted.push(push)
        } else {
            inner.refused.push(push)
        }
        reply
    }
}

/// The answer with what 2.0 wants it to say: how much was written.
fn confirmed(mut reply: Reply, push: &Push) -> Reply {
    if push.version == Version::Two && reply.accepts() {
        for (name, written) in push.confirmation() {
            if !reply.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                reply = reply.header(name, &written.to_string());
            }
        }
    }
    reply
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.lock();
        write!(f, "{} accepted, {} refused", inner.accepted.len(), inner.refused.len())
    }
}
