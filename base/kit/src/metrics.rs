//! Where the parts register what they count about themselves.
//!
//! Names by template: `rollcall_<part>_<noun>_<unit>[_total]`; where Prometheus has the metric,
//! its name. Label values come from closed sets. A part has one `metrics.rs`, with one struct.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// All self-metrics of the process. Clone freely.
#[derive(Clone, Default)]
pub struct SelfMetrics(Arc<Mutex<Registry>>);

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
