//! Time as an argument: a monotonic moment and the wall clock, from the system or from a test.
//!
//! Waiting is tokio's (`tokio::time`), which tests can pause.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Moment;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now, on the monotonic clock of the process.
    fn now(&self) -> Moment;

    /// Now, in milliseconds since the epoch. May jump.
    fn unix_ms(&self) -> i64;
}

/// The clocks of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// Clocks that stand still until a test moves them.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
    unix_ms: AtomicI64,
}

// === impl SystemClock ===

impl SystemClock {
    /// The system's clock as parts take it.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        Moment(1 + u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX - 1))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn unix_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// Starts at `unix_ms` on the wall and at one nanosecond on the monotonic clock.
    pub fn at(unix_ms: i64) -> Arc<ManualClock> {
        let clock = ManualClock { nanos: AtomicU64::new(1), unix_ms: AtomicI64::new(unix_ms) };
        Arc::new(clock)
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
        self.unix_ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    /// Sets the wall clock, forward or back; the monotonic clock goes on as it was.
    pub fn set_wall(&self, unix_ms: i64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment(self.nanos.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> i64 {
        self.unix_ms.load(Ordering::SeqCst)
    }
}
