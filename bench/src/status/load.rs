//! Writers, listeners and what they saw, for any system that can do both.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::ears::Ears;
use crate::process::Usage;

/// How long listeners may take to hear of the last update.
const SETTLE_PATIENCE: Duration = Duration::from_secs(20);
/// Of the deliveries under saturation, one in this many is timed.
const TIMED_SHARE: u64 = 16;
/// Connections that fill the store.
const FILLERS: usize = 16;

/// A store with watches, as the load sees it.
pub(crate) trait System: Sync {
    /// A connection that writes.
    type Writer: Writer + 'static;

    /// Opens a connection that writes.
    fn writer(&self) -> impl Future<Output = anyhow::Result<Self::Writer>> + Send;

    /// Opens a listener on all objects that tells `heard` of every event from now on. Returns
    /// once it is registered; it ends when the returned handle is dropped.
    fn listen(&self, heard: Heard) -> impl Future<Output = anyhow::Result<Listener>> + Send;

    /// Reads all `objects`, to the last byte; `None` where the system has no such thing.
    fn list_all(
        &self,
        objects: usize,
    ) -> impl Future<Output = anyhow::Result<Option<Duration>>> + Send;

    /// Reads the objects of one host by index; `None` where there is no index.
    fn list_host(
        &self,
        host: usize,
    ) -> impl Future<Output = anyhow::Result<Option<Duration>>> + Send;

    /// CPU and memory of the server.
    fn usage(&self) -> anyhow::Result<Usage>;

    /// Whether tens of thousands of listeners are worth trying.
    fn takes_crowds(&self) -> bool;
}

/// One connection that writes.
pub(crate) trait Writer: Send {
    /// Makes object `number`; returns when the system has confirmed it.
    fn create(&mut self, number: usize) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Changes object `number`; `stamp` must come back in the event.
    fn update(
        &mut self,
        number: usize,
        stamp: u64,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a listener reports to, and where it can listen on a plain socket. Clone freely.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    tally: Arc<Tally>,
    ears: Arc<Ears>,
}

/// What was heard.
#[derive(Debug)]
pub(crate) struct Tally {
    start: Instant,
    events: AtomicU64,
    time_all: bool,
    latencies_ns: Mutex<Vec<u64>>,
}

/// A listener that has a task of its own; it ends when this is dropped. Others end with what they
/// report to.
#[derive(Debug)]
pub(crate) struct Listener(pub(crate) Option<tokio::task::AbortHandle>);

/// A load.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Listeners on everything.
    pub(crate) listeners: usize,
    /// Updates a second in all; `None` = as fast as answers come.
    pub(crate) rate: Option<u64>,
    /// Connections that write.
    pub(crate) writers: usize,
    /// How long.
    pub(crate) for_time: Duration,
}

/// What one scenario gave.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) updates_per_s: f64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) missing: u64,
}

/// What one system gave.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) fill: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) rss_loaded_bytes: u64,
    pub(crate) list_all: Option<Duration>,
    pub(crate) list_host: Option<Duration>,
    pub(crate) calm: Figures,
    pub(crate) saturated: Figures,
    pub(crate) wide: Figures,
    pub(crate) crowd: Option<Duration>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

// === impl Heard ===

impl Heard {
    fn start(time_all: bool) -> anyhow::Result<Heard> {
        let (events, latencies_ns) = Default::default();
        let tally = Arc::new(Tally { start: Instant::now(), events, time_all, latencies_ns });
        let ears = Ears::start(Arc::clone(&tally)).context("start to listen")?;
        Ok(Heard { tally, ears: Arc::new(ears) })
    }

    /// Listens on a socket.
    pub(crate) fn on_socket(&self, socket: std::net::TcpStream) -> anyhow::Result<Listener> {
        self.ears.add(socket)?;
        Ok(Listener(None))
    }
}

impl Deref for Heard {
    type Target = Tally;

    fn deref(&self) -> &Tally {
        &self.tally
    }
}

// === impl Tally ===

impl Tally {
    /// Nanoseconds since the load began: what an update is stamped with.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Reports events that arrived together, each with its stamp.
    pub(crate) fn events(&self, stamps: &[u64]) {
        let before = self.events.fetch_add(stamps.len() as u64, Ordering::Relaxed);
        if self.time_all || before.is_multiple_of(TIMED_SHARE) {
            let now = self.now_ns();
            let late = stamps.iter().map(|stamp| now.saturating_sub(*stamp));
            self.latencies_ns.lock().unwrap_or_else(|e| e.into_inner()).extend(late);
        }
    }

    fn count(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies_ns.lock().unwrap_or_else(|e| e.into_inner()).clone();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        Duration::from_nanos(sorted.get(at).copied().unwrap_or(0))
    }

    async fn wait_for(&self, events: u64) -> u64 {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        while self.count() < events && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        events.saturating_sub(self.count())
    }
}

/// Creates `objects`; returns creates a second.
pub(crate) async fn fill(system: &impl System, objects: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..FILLERS {
        let mut writer = system.writer().await?;
        tasks.spawn(async move {
            for number in (first..objects).step_by(FILLERS) {
                writer.create(number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(objects as f64 / start.elapsed().as_secs_f64())
}

/// The median of `times` measurements.
pub(crate) async fn median_of<F>(
    times: usize,
    mut measure: impl FnMut() -> F,
) -> anyhow::Result<Option<Duration>>
where
    F: Future<Output = anyhow::Result<Option<Duration>>>,
{
    let mut taken = Vec::new();
    for _ in 0..times {
        match measure().await? {
            Some(time) => taken.push(time),
            None => return Ok(None),
        }
    }
    taken.sort_unstable();
    Ok(taken.get(times / 2).copied())
}

/// Runs one load to its end.
pub(crate) async fn run(system: &impl System, scenario: &Scenario) -> anyhow::Result<Figures> {
    let heard = Heard::start(scenario.rate.is_some())?;
    let mut listeners = Vec::new();
    for _ in 0..scenario.listeners {
        listeners.push(system.listen(heard.clone()).await?);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    for first in 0..scenario.writers {
        let pause = scenario
            .rate
            .map(|rate| Duration::from_secs_f64(scenario.writers as f64 / rate as f64));
        let writer = system.writer().await?;
        tasks.spawn(write(writer, first, scenario.writers, pause, heard.clone(), stop.clone()));
    }
    tokio::time::sleep(scenario.for_time).await;
    stop.store(true, Ordering::Relaxed);
    let mut updates = 0;
    while let Some(done) = tasks.join_next().await {
        updates += done??;
    }
    let took = start.elapsed().as_secs_f64();
    let missing = heard.wait_for(updates * scenario.listeners as u64).await;
    Ok(Figures {
        updates_per_s: updates as f64 / took,
        deliveries_per_s: heard.count() as f64 / took,
        p50: heard.quantile(0.5),
        p99: heard.quantile(0.99),
        missing,
    })
}

/// Updates objects in turn until told to stop; returns how many.
async fn write(
    mut writer: impl Writer,
    first: usize,
    step: usize,
    pause: Option<Duration>,
    heard: Heard,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<u64> {
    let mut updates = 0;
    // The writers take turns: updates come one by one, evenly.
    let mut ticks = pause.map(|pause| {
        let begin = tokio::time::Instant::now() + pause.mul_f64(first as f64 / step as f64);
        tokio::time::interval_at(begin, pause)
    });
    while !stop.load(Ordering::Relaxed) {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let number = (first + step * updates as usize) % 50_000;
        writer.update(number, heard.now_ns()).await?;
        updates += 1;
    }
    Ok(updates)
}

/// One update with `crowd` listeners: from sending it until the last of them has heard.
pub(crate) async fn one_event(system: &impl System, crowd: usize) -> anyhow::Result<Duration> {
    let heard = Heard::start(true)?;
    let mut listeners = Vec::new();
    for at in 0..crowd {
        let listener = system.listen(heard.clone()).await;
        listeners.push(listener.with_context(|| format!("listener {at} of {crowd}"))?);
    }
    let mut writer = system.writer().await?;
    let mut worst = Vec::new();
    for round in 1..=5 {
        let before = heard.latencies_ns.lock().unwrap_or_else(|e| e.into_inner()).len();
        writer.update(round, heard.now_ns()).await?;
        let missing = heard.wait_for((crowd * round) as u64).await;
        if missing > 0 {
            bail!("{missing} of {crowd} listeners did not hear");
        }
        let latencies = heard.latencies_ns.lock().unwrap_or_else(|e| e.into_inner());
        worst.push(latencies[before..].iter().copied().max().unwrap_or(0));
    }
    worst.sort_unstable();
    Ok(Duration::from_nanos(worst[worst.len() / 2]))
}
