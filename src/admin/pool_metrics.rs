//! What pools remember of their targets, counted when somebody asks: series, and what pages say of
//! their metric families.

use std::fmt;
use std::sync::Arc;

use kit::metrics::SelfMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use scraper::{PoolView, Scraper, TargetView};

/// Registers the collector.
pub(super) fn register(metrics: &SelfMetrics, scraper: Arc<Scraper>) {
    metrics.register(|registry| registry.register_collector(Box::new(Pools { scraper })));
}

struct Pools {
    scraper: Arc<Scraper>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Job {
    scrape_job: String,
}

/// Name, help, and what of a pool is counted.
type Row = (&'static str, &'static str, fn(&PoolView) -> usize);

const OF_POOLS: [Row; 2] = [
    (
        "prometheus_target_metadata_cache_entries",
        "Metric families that the pages of the job's targets speak of",
        |pool| pool.active.iter().map(|target| target.families().count()).sum(),
    ),
    (
        "prometheus_target_metadata_cache_bytes",
        "Bytes of what the pages of the job's targets say of metric families",
        |pool| pool.active.iter().map(metadata_bytes).sum(),
    ),
];

fn metadata_bytes(target: &TargetView) -> usize {
    let families = target.families();
    families.map(|one| one.name.len() + one.help.len() + one.unit.len()).sum()
}

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let pools = self.scraper.pools();
        let series: usize =
            pools.iter().flat_map(|pool| &pool.active).map(TargetView::n_series).sum();
        let name = "prometheus_agent_active_series";
        let help = "Series that the last pages of all targets had";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(series as f64).encode(metric)?;
        for (name, help, count) in OF_POOLS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for pool in &pools {
                let job = Job { scrape_job: pool.name.to_string() };
                ConstGauge::new(count(pool) as f64).encode(metric.encode_family(&job)?)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pools")
    }
}
