//! One target: when it is scraped, and what is said about it when it answers, fails or goes.
//!
//! The loop is one task. Between waits it does everything itself, without waiting: inflate, read,
//! hand the batch on. What must hold (Prometheus' `scrape/scrape.go`): the phase of scrapes hangs
//! on the wall clock; missed turns are not made up for; a failed scrape ends every series of the
//! page; a target that goes is ended two intervals later; a shutdown ends nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use kit::Shutdown;
use kit::metrics::Share;
use model::{Memo, Moment, Source};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::error;

use crate::cache::PageCache;
use crate::context::Context;
use crate::exposition::protocol::ScrapeProtocol;
use crate::failure_log::FailureLog;
use crate::metrics::IntervalLabel;
use crate::sample_rules::SampleRules;
use crate::scrape::Fetcher;
use crate::target::Target;
use batch::Failure;
use report::ReportLayout;
pub(crate) use sources::Sources;
pub use status::Health;
pub(crate) use status::{Observation, Status};
use turns::Turns;

mod batch;
mod content_type;
mod ending;
mod report;
mod sources;
mod status;
mod turns;

/// What a loop needs to know about its target and job.
pub(crate) struct Assignment {
    pub(crate) target: Arc<Target>,
    pub(crate) rules: Arc<SampleRules>,
    pub(crate) fetcher: Fetcher,
    pub(crate) fallback: Option<ScrapeProtocol>,
    pub(crate) extra_metrics: bool,
    pub(crate) failure_log: FailureLog,
    /// Scrape at once, and only then wait for the target's turn.
    pub(crate) at_once: bool,
    /// Dropped after the first scrape.
    pub(crate) first_round: Option<TaskTrackerToken>,
}

/// A running loop, as its pool sees it.
pub(crate) struct LoopHandle {
    pub(crate) target: Arc<Target>,
    pub(crate) status: Arc<Status>,
    order: watch::Sender<Order>,
    task: JoinHandle<Option<Memory>>,
}

/// What the pool wants of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Go on.
    Scrape,
    /// Stop, and give your memory to the loop that follows.
    HandOver,
    /// The target is gone: stop, and end its series in due time.
    End,
}

/// What is remembered about a target from scrape to scrape, and handed over when only the pace or
/// the way of scraping changes.
pub(crate) struct Memory {
    source: Arc<Source>,
    cache: PageCache,
    memo: Memo,
    report: ReportLayout,
    /// Of the cache, for the metrics: its lines, its layout.
    bytes: [Share; 2],
    /// When the last scrape began.
    last: Option<Moment>,
    failing: bool,
}

struct ScrapeLoop {
    context: Arc<Context>,
    assignment: Assignment,
    status: Arc<Status>,
    memory: Memory,
    interval: IntervalLabel,
    order: watch::Receiver<Order>,
    turns: Turns,
}

// === impl LoopHandle ===

impl LoopHandle {
    /// Starts a loop. With `before` (a loop that was told to hand over) it waits until that one
    /// has stopped, and goes on with its memory.
    pub(crate) fn start(
        context: &Arc<Context>,
        assignment: Assignment,
        before: Option<LoopHandle>,
    ) -> LoopHandle {
        let (order, ordered) = watch::channel(Order::Scrape);
        let target = Arc::clone(&assignment.target);
        let status = match &before {
            Some(before) => Arc::clone(&before.status),
            None => Status::new(),
        };
        context.sources.enter(&target.labels, &status);
        let (context, known) = (Arc::clone(context), Arc::clone(&status));
        let tracker = context.loops.clone();
        let task = tracker.spawn(async move {
            let memory = match before {
                Some(before) => before.hand_over().await,
                None => None,
            };
            ScrapeLoop::new(context, assignment, known, memory, ordered).run_to_end().await
        });
        LoopHandle { target, status, order, task }
    }

    /// The target is gone.
    pub(crate) fn end(self) {
        self.order.send_replace(Order::End);
    }

    async fn hand_over(self) -> Option<Memory> {
        self.order.send_replace(Order::HandOver);
        self.task.await.ok().flatten()
    }
}

// === impl Memory ===

impl Memory {
    fn new(context: &Context, assignment: &Assignment) -> Memory {
        let labels = &assignment.target.labels;
        let memory = &context.metrics.scrape.memory;
        Memory {
            bytes: [Share::of(&memory.lines), Share::of(&memory.layouts)],
            source: Source::new(labels.clone()),
            cache: PageCache::new(&context.caches, Arc::clone(&assignment.rules)),
            memo: Memo::default(),
            report: ReportLayout::new(&context.symbols, labels, assignment.extra_metrics),
            last: None,
            failing: false,
        }
    }
}

// === impl ScrapeLoop ===

impl ScrapeLoop {
    fn new(
        context: Arc<Context>,
        assignment: Assignment,
        status: Arc<Status>,
        memory: Option<Memory>,
        order: watch::Receiver<Order>,
    ) -> ScrapeLoop {
        let memory = match memory {
            Some(mut memory) => {
                memory.cache.set_rules(Arc::clone(&assignment.rules));
                memory
            }
            None => Memory::new(&context, &assignment),
        };
        let target = &assignment.target;
        let interval = IntervalLabel::new(target.interval);
        let turns = Turns::new(target, context.seed(), assignment.at_once, &*context.clock);
        ScrapeLoop { context, assignment, status, memory, interval, order, turns }
    }

    /// Scrapes until told otherwise; a panic is counted, and the loop starts afresh.
    async fn run_to_end(mut self) -> Option<Memory> {
        let shutdown = self.context.shutdown.clone();
        let order = loop {
            match AssertUnwindSafe(self.run(&shutdown)).catch_unwind().await {
                Ok(order) => break order,
                Err(_) => self.start_afresh(),
            }
        };
        match order {
            Some(Order::HandOver) => return Some(self.memory),
            Some(Order::End) => {
                let ending = AssertUnwindSafe(self.end_series(&shutdown)).catch_unwind();
                if ending.await.is_err() {
                    self.context.metrics.scrape.loop_panics.inc();
                }
            }
            Some(Order::Scrape) | None => {}
        }
        self.context.sources.leave(&self.assignment.target.labels, &self.status);
        None
    }

    /// Scrapes turn by turn. Returns the order that stopped it; `None` at shutdown.
    async fn run(&mut self, shutdown: &Shutdown) -> Option<Order> {
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return None,
                changed = self.order.wait_for(|order| *order != Order::Scrape) => {
                    return changed.ok().map(|order| *order);
                }
                () = self.turns.next() => {}
            }
            let timestamp_ms = self.turns.timestamp_ms(self.context.clock.unix_ms());
            // Only a shutdown breaks a scrape off, a new configuration does not.
            tokio::select! {
                biased;
                () = shutdown.requested() => return None,
                () = self.scrape(timestamp_ms) => {}
            }
            self.assignment.first_round = None;
        }
    }

    /// After a panic: nothing that it may have left half done is used again.
    fn start_afresh(&mut self) {
        let target = Arc::clone(&self.assignment.target);
        self.context.metrics.scrape.loop_panics.inc();
        error!(url = %target.url, "scrape loop hit a bug and starts again");
        let source = Arc::clone(&self.memory.source);
        self.memory = Memory { source, ..Memory::new(&self.context, &self.assignment) };
        self.assignment.fetcher.disconnect();
        self.assignment.first_round = None;
        self.turns = Turns::new(&target, self.context.seed(), false, &*self.context.clock);
    }

    async fn scrape(&mut self, timestamp_ms: i64) {
        let started = self.context.clock.now();
        if let Some(last) = self.memory.last {
            self.context.metrics.scrape.interval(&self.interval, started.since(last));
        }
        let answer = match self.status.forced_error() {
            Some(text) => Err(Failure::forced(text)),
            None => {
                let fetched = self.assignment.fetcher.fetch(&*self.context.clock).await;
                fetched.map_err(|error| self.failed(&error))
            }
        };
        self.memory.last = Some(started);
        if self.assignment.first_round.is_some() {
            let context = Arc::clone(&self.context);
            context.read_first(|| self.hand_on(answer, started, timestamp_ms)).await;
        } else {
            self.hand_on(answer, started, timestamp_ms);
        }
    }
}

#[cfg(test)]
mod tests;
