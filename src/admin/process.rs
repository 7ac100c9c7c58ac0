//! What process this is: the `process_*` metrics that Prometheus' own client library has, from the
//! operating system, and `prometheus_build_info`.

use std::fmt;
use std::fs;

use kit::metrics::SelfMetrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks a second in `/proc`: fixed in the interface of Linux on all its platforms.
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the collector; it asks the operating system at each scrape of ours.
pub(super) fn register(metrics: &SelfMetrics) {
    metrics.register(|registry| registry.register_collector(Box::new(Process)));
}

/// Labels of `prometheus_build_info`. Dashboards group by them, so that all are there.
const BUILD: [(&str, &str); 7] = [
    ("branch", ""),
    ("goarch", GOARCH),
    ("goos", std::env::consts::OS),
    ("goversion", ""),
    ("revision", ""),
    ("tags", ""),
    ("version", env!("CARGO_PKG_VERSION")),
];

/// The line about virtual memory in `/proc/self/limits`.
const ADDRESS_SPACE: &str = "Max address space";

/// The processor, as Go calls it.
const GOARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

#[derive(Debug)]
struct Process;

/// What `/proc` says, as far as it says it.
#[derive(Debug, Default, PartialEq)]
struct Facts {
    cpu_seconds: Option<f64>,
    start_time_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    virtual_max_bytes: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    threads: Option<f64>,
}

// === impl Process ===

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let facts = Facts::read();
        if let Some(seconds) = facts.cpu_seconds {
            let metric = ConstCounter::new(seconds);
            let name = "process_cpu_seconds";
            let help = "User and system CPU time spent, in seconds";
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        let gauges = [
            ("process_max_fds", "Most file descriptors that may be open", facts.max_fds),
            ("process_open_fds", "File descriptors that are open", facts.open_fds),
            ("process_resident_memory_bytes", "Resident memory, in bytes", facts.resident_bytes),
            (
                "process_start_time_seconds",
                "When the process started, in seconds since the epoch",
                facts.start_time_seconds,
            ),
            ("process_threads", "Threads of the process", facts.threads),
            ("process_virtual_memory_bytes", "Virtual memory, in bytes", facts.virtual_bytes),
            (
                "process_virtual_memory_max_bytes",
                "Most virtual memory that there may be, in bytes",
                facts.virtual_max_bytes,
            ),
        ];
        let help = "A metric with a constant '1' value labeled by what was built";
        let mut build =
            encoder.encode_descriptor("prometheus_build_info", help, None, MetricType::Gauge)?;
        build.encode_family(&BUILD)?.encode_gauge(&1_i64)?;
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}

// === impl Facts ===

impl Facts {
    fn read() -> Facts {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let mut facts = Facts::parse(
            &text("/proc/self/stat"),
            &text("/proc/self/status"),
            &text("/proc/self/limits"),
            &text("/proc/stat"),
        );
        facts.open_fds = fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as f64);
        facts
    }

    fn parse(stat: &str, status: &str, limits: &str, system_stat: &str) -> Facts {
        // The second field is the program's name in parentheses: it may hold spaces.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
        let field = |number: usize| -> Option<f64> {
            fields.split_ascii_whitespace().nth(number - 3)?.parse().ok()
        };
        let after = |text: &str, name: &str| -> Option<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse().ok()
        };
        let ticks = field(14).zip(field(15)).map(|(user, system)| user + system);
        let boot = after(system_stat, "btime ");
        Facts {
            cpu_seconds: ticks.map(|ticks| ticks / TICKS_PER_SECOND),
            start_time_seconds: boot
                .zip(field(22))
                .map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND),
            resident_bytes: after(status, "VmRSS:").map(|kib| kib * 1024.0),
            virtual_bytes: after(status, "VmSize:").map(|kib| kib * 1024.0),
            virtual_max_bytes: match limits.lines().find(|line| line.starts_with(ADDRESS_SPACE)) {
                Some(line) if line[ADDRESS_SPACE.len()..].trim_start().starts_with("unlimited") => {
                    Some(u64::MAX as f64)
                }
                _ => after(limits, ADDRESS_SPACE),
            },
            threads: after(status, "Threads:"),
            max_fds: after(limits, "Max open files"),
            open_fds: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_understood() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 1000 0 0";
        let status = "Name:\tx\nVmSize:\t   2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        let limits = "Max open files            1024                 4096                 files\n\
                      Max address space         unlimited            unlimited            bytes\n";
        let facts = Facts::parse(stat, status, limits, "cpu 1 2\nbtime 1700000000\n");
        let want = Facts {
            cpu_seconds: Some(2.0),
            start_time_seconds: Some(1_700_000_010.0),
            resident_bytes: Some(1_048_576.0),
            virtual_bytes: Some(2_097_152.0),
            virtual_max_bytes: Some(u64::MAX as f64),
            open_fds: None,
            max_fds: Some(1024.0),
            threads: Some(3.0),
        };
        assert_eq!(facts, want);
    }

    #[test]
    fn this_process_has_facts() {
        let metrics = SelfMetrics::new();
        register(&metrics);
        let text = metrics.expose().unwrap();
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }
}
