//! Where the parts register what they count about themselves.
//!
//! Names by template: `rollcall_<part>_<noun>_<unit>[_total]`; where Prometheus has the metric,
//! its name. Label values come from closed sets. A part has one `metrics.rs`, with one struct.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All self-metrics of the process. Clone freely.
#[derive(Clone, Default)]
pub struct SelfMetrics(Arc<Mutex<Registry>>);

/// What one owner adds to a gauge that many have in common. Taken away when it is dropped.
#[derive(Debug)]
pub struct Share {
    gauge: Gauge,
    amount: i64,
}

// === impl SelfMetrics ===

impl SelfMetrics {
    /// No metrics yet.
    pub fn new() -> SelfMetrics {
        SelfMetrics::default()
    }

    /// Registers metrics: `register` is called once, at once.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics as OpenMetrics text, with `# EOF`.
    ///
    /// # Errors
    /// When a custom collector fails to write its metrics.
    pub fn expose(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(32 * 1024);
        encode(&mut text, &self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
}

impl fmt::Debug for SelfMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelfMetrics")
    }
}

// === impl Share ===

impl Share {
    /// Nothing of `gauge` yet.
    pub fn of(gauge: &Gauge) -> Share {
        Share { gauge: gauge.clone(), amount: 0 }
    }

    /// The owner's part is `amount` now. Whether that is another one than before.
    pub fn set(&mut self, amount: usize) -> bool {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        let difference = amount - self.amount;
        if difference != 0 {
            self.gauge.inc_by(difference);
            self.amount = amount;
        }
        difference != 0
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gauge.dec_by(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_the_sum_of_the_shares_that_live() {
        let gauge = Gauge::default();
        let (mut one, mut other) = (Share::of(&gauge), Share::of(&gauge));
        one.set(5);
        other.set(7);
        one.set(3);
        assert_eq!(gauge.get(), 10);
        drop(other);
        assert_eq!(gauge.get(), 3);
    }
}
