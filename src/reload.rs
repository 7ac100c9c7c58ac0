//! Reading the configuration again: what a new file changes, and what it leaves running.
//!
//! A file with a mistake changes nothing: the old configuration stays in force, and metrics, log
//! and the answer to whoever asked say why. Reloads happen one after the other.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use kit::metrics::SelfMetrics;
use kit::{Chain, Clock};
use prometheus_client::metrics::gauge::Gauge;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tracing::{error, info};

use crate::config::{Config, Files, LoadError};

/// The configuration in force, and how to get another one.
pub(crate) struct Reloader {
    files: Files,
    current: ArcSwap<Config>,
    parts: Parts,
    /// A lock, so that two reloads do not mix; held for a whole reload.
    one_at_a_time: Mutex<()>,
    last: Arc<LastReload>,
    clock: Arc<dyn Clock>,
}

/// The parts, which a new configuration is applied to. Clone freely.
#[derive(Clone)]
pub(crate) struct Parts {
    /// Scrapes.
    pub(crate) scraper: Arc<scraper::Scraper>,
    /// Sends.
    pub(crate) forwarder: Arc<forwarder::Forwarder>,
    /// Knows what everything is doing.
    pub(crate) status: Arc<status_sink::StatusSink>,
}

/// How the last reload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// Whether the file could be used.
    pub(crate) succeeded: bool,
    /// When the configuration in force was loaded, in milliseconds since the epoch.
    pub(crate) succeeded_ms: i64,
}

/// Why the old configuration stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("start new destinations")]
    Start(#[source] forwarder::StartError),
    #[error("read the files on a thread of their own")]
    Thread(#[source] tokio::task::JoinError),
}

#[derive(Debug)]
struct LastReload {
    succeeded: AtomicBool,
    succeeded_ms: AtomicI64,
    succeeded_gauge: Gauge,
    timestamp_gauge: Gauge,
}

// === impl Reloader ===

impl Reloader {
    /// Starts with `config`, which the parts have been started with.
    pub(crate) fn new(
        files: Files,
        config: Arc<Config>,
        parts: Parts,
        clock: Arc<dyn Clock>,
        metrics: &SelfMetrics,
    ) -> Reloader {
        let last = Arc::new(LastReload::register(metrics));
        last.set(true, clock.unix_ms());
        let one_at_a_time = Mutex::new(());
        Reloader { files, current: ArcSwap::new(config), parts, one_at_a_time, last, clock }
    }

    /// The configuration in force.
    pub(crate) fn current(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// How the last reload went.
    pub(crate) fn last(&self) -> Reloaded {
        Reloaded {
            succeeded: self.last.succeeded.load(Ordering::Relaxed),
            succeeded_ms: self.last.succeeded_ms.load(Ordering::Relaxed),
        }
    }

    /// Reads the files and applies what they say.
    ///
    /// # Errors
    /// They cannot be used. The old configuration stays in force.
    pub(crate) async fn reload(&self) -> Result<(), ReloadError> {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        let outcome = self.load_and_apply().await;
        match &outcome {
            Ok(()) => {
                self.last.set(true, self.clock.unix_ms());
                info!(file = %self.files.main.display(), "configuration loaded");
            }
            Err(error) => {
                self.last.set(false, self.clock.unix_ms());
                error!(error = %Chain(error), "reload failed; the old configuration stays");
            }
        }
        outcome
    }

    async fn load_and_apply(&self) -> Result<(), ReloadError> {
        let files = self.files.clone();
        let loaded = tokio::task::spawn_blocking(move || Config::load(&files)).await;
        let config = Arc::new(loaded.map_err(ReloadError::Thread)??);
        // First what can fail, so that a failure leaves everything as it was.
        self.parts.forwarder.apply(config.forwarder()).map_err(ReloadError::Start)?;
        self.parts.status.apply(config.status());
        self.parts.scraper.apply(config.scraper());
        self.current.store(config);
        Ok(())
    }

    /// Reloads at each SIGHUP, for ever.
    ///
    /// # Errors
    /// The operating system does not give the signal.
    pub(crate) async fn reload_on_hangup(self: Arc<Self>) -> io::Result<()> {
        let mut hangups = signal(SignalKind::hangup())?;
        while hangups.recv().await.is_some() {
            // The error was logged and counted; nobody waits for it.
            let _ = self.reload().await;
        }
        Ok(())
    }

    /// Looks at the files each `interval`, and reloads when what is in them changed.
    pub(crate) async fn reload_on_change(self: Arc<Self>, interval: Duration) {
        let mut known = self.checksum().await;
        loop {
            tokio::time::sleep(interval).await;
            let found = self.checksum().await;
            if found != known {
                known = found;
                info!("configuration files changed");
                let _ = self.reload().await;
            }
        }
    }

    /// A number that changes with the content of the files that the configuration is made of.
    async fn checksum(&self) -> u64 {
        let paths: Vec<PathBuf> = self.current().files().to_vec();
        let read = move || checksum(&paths);
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }
}

fn checksum(paths: &[PathBuf]) -> u64 {
    use std::hash::Hasher as _;

    use rapidhash::fast::RapidHasher;
    let mut hasher = RapidHasher::default();
    for path in paths {
        let content = std::fs::read(path).unwrap_or_default();
        hasher.write_usize(content.len());
        hasher.write(&content);
    }
    hasher.finish()
}

// === impl LastReload ===

impl LastReload {
    fn register(metrics: &SelfMetrics) -> LastReload {
        let (succeeded_gauge, timestamp_gauge) = (Gauge::default(), Gauge::default());
        metrics.register(|registry| {
            registry.register(
                "prometheus_config_last_reload_successful",
                "Whether the last reload of the configuration succeeded",
                succeeded_gauge.clone(),
            );
            registry.register(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "When the configuration in force was loaded, in seconds since the epoch",
                timestamp_gauge.clone(),
            );
        });
        let (succeeded, succeeded_ms) = (AtomicBool::new(false), AtomicI64::new(0));
        LastReload { succeeded, succeeded_ms, succeeded_gauge, timestamp_gauge }
    }

    fn set(&self, succeeded: bool, unix_ms: i64) {
        self.succeeded.store(succeeded, Ordering::Relaxed);
        self.succeeded_gauge.set(i64::from(succeeded));
        if succeeded {
            self.succeeded_ms.store(unix_ms, Ordering::Relaxed);
            self.timestamp_gauge.set(unix_ms / 1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_changes_with_any_file() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let checksum_with = |a: &str, b: &str| {
            std::fs::write(&paths[0], a).unwrap();
            std::fs::write(&paths[1], b).unwrap();
            checksum(&paths)
        };
        let before = checksum_with("x", "yz");
        assert_eq!(checksum_with("x", "yz"), before);
        assert_ne!(checksum_with("xy", "z"), before);
        assert_ne!(checksum_with("x", ""), before);
    }
}
