//! What is said about every scrape: `up` and its kin, with the target's labels and nothing else.

use std::sync::Arc;
use std::time::Duration;

use model::{
    Family, Labels, LabelsBuilder, Layout, LayoutBuilder, MetricType, Role, STALE_MARKER, Samples,
    Symbols,
};

use crate::cache::PageCounts;

/// Always said, in this order. `(name, help, unit)`.
const ALWAYS: [(&str, &str, &str); 5] = [
    ("up", "Whether the last scrape of the target went well", ""),
    ("scrape_duration_seconds", "How long the last scrape took", "seconds"),
    ("scrape_samples_scraped", "Samples in the last page", ""),
    ("scrape_samples_post_metric_relabeling", "Samples of the last page left by relabelling", ""),
    ("scrape_series_added", "Series of the last page that the page before did not have", ""),
];

/// Said with `extra_scrape_metrics`.
const EXTRA: [(&str, &str, &str); 3] = [
    ("scrape_timeout_seconds", "The timeout of a scrape", "seconds"),
    ("scrape_sample_limit", "The most samples a page may have; 0 for any number", ""),
    ("scrape_body_size_bytes", "Size of the last page; -1 if it was too large", "bytes"),
];

/// The series of a target's report.
pub(super) struct ReportLayout(Arc<Layout>);

/// One report.
pub(super) struct Report {
    pub(super) up: bool,
    pub(super) duration: Duration,
    pub(super) counts: PageCounts,
    pub(super) timeout: Duration,
    /// 0 for none.
    pub(super) sample_limit: u64,
    /// −1: the page was too large.
    pub(super) body_bytes: i64,
}

// === impl ReportLayout ===

impl ReportLayout {
    pub(super) fn new(symbols: &Arc<Symbols>, target: &Labels, with_extra: bool) -> ReportLayout {
        let mut layout = LayoutBuilder::new(symbols);
        let extra = if with_extra { &EXTRA[..] } else { &[] };
        for (name, help, unit) in ALWAYS.iter().chain(extra) {
            let mut labels = report_labels(target);
            labels.set("__name__", *name);
            let kind = MetricType::Gauge;
            let (name, help, unit) = ((*name).into(), (*help).into(), (*unit).into());
            layout.push(labels.iter(), &Arc::new(Family { name, kind, help, unit }));
        }
        ReportLayout(layout.build())
    }

    pub(super) fn samples(&self, report: &Report) -> Samples {
        let counts = &report.counts;
        let values = [
            f64::from(u8::from(report.up)),
            report.duration.as_secs_f64(),
            counts.scraped as f64,
            counts.kept as f64,
            counts.series_added as f64,
            report.timeout.as_secs_f64(),
            report.sample_limit as f64,
            report.body_bytes as f64,
        ];
        let values = values[..self.0.len()].to_vec();
        Samples::plain(Role::Report, Arc::clone(&self.0), values)
    }

    /// Ends the report's series.
    pub(super) fn stale(&self) -> Samples {
        let values = vec![STALE_MARKER; self.0.len()];
        Samples::plain(Role::Report, Arc::clone(&self.0), values)
    }
}

/// The labels of every report: the target's, taken in order, each of which first takes away what
/// is called after it. So a target label `exported_x` gets lost beside a target label `x` that
/// comes later, as in Prometheus (`mutateReportSampleLabels`).
fn report_labels(target: &Labels) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    for (name, value) in target.iter() {
        labels.set(format!("exported_{name}"), "");
        labels.set(name, value);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_takes_away_what_is_called_after_it() {
        let target: Labels =
            [("exported_job", "x"), ("job", "j"), ("exported_a", "kept")].into_iter().collect();
        let layout = ReportLayout::new(&Symbols::new(), &target, false);
        let want = r#"{__name__="up", exported_a="kept", job="j"}"#;
        assert_eq!(layout.0.labels(0).to_string(), want);
    }

    #[test]
    fn reports_carry_the_targets_labels_and_only_those() {
        let symbols = Symbols::new();
        let target: Labels = [("job", "j"), ("instance", "h:1")].into_iter().collect();
        let layout = ReportLayout::new(&symbols, &target, true);
        let counts = PageCounts { scraped: 9, kept: 8, series_added: 7, ..PageCounts::default() };
        let report = Report {
            up: true,
            duration: Duration::from_millis(1500),
            counts,
            timeout: Duration::from_secs(10),
            sample_limit: 100,
            body_bytes: -1,
        };
        let samples = layout.samples(&report);
        assert_eq!(samples.values, [1.0, 1.5, 9.0, 8.0, 7.0, 10.0, 100.0, -1.0]);
        assert_eq!(
            samples.layout.labels(3).to_string(),
            concat!(
                r#"{__name__="scrape_samples_post_metric_relabeling", "#,
                r#"instance="h:1", job="j"}"#
            )
        );
        let short = ReportLayout::new(&symbols, &target, false);
        assert_eq!(short.samples(&report).values.len(), 5);
        assert!(short.stale().values.iter().all(|value| model::is_stale_marker(*value)));
    }
}
