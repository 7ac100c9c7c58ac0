//! What an agent made of a case, as text that can be compared and written down.
//!
//! One block a scrape: what was asked, how it went, and every series that is not the usual report.
//! What differs between any two runs is left out: durations, ports, and when exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use testkit::{Exemplar, FakeReceiver, FakeTarget, Histogram, LabelSet, Request, Sample, show};

use super::case::Case;
use super::run::WAKING;

/// The transcript of one case.
pub(super) type Transcript = String;

/// The report series, and how a transcript calls them.
const REPORT: [(&str, &str); 4] = [
    ("up", "up"),
    ("scrape_samples_scraped", "scraped"),
    ("scrape_samples_post_metric_relabeling", "kept"),
    ("scrape_series_added", "added"),
];

/// Durations are never the same twice.
const DURATION: &str = "scrape_duration_seconds";

/// The request headers that a transcript shows.
const HEADERS: [&str; 5] =
    ["accept-encoding", "authorization", "cookie", "x-prometheus-scrape-timeout-seconds", "x-test"];

/// A request that the transcript need not mention.
const USUAL: &str = "GET / accept-encoding=gzip scrape-timeout-seconds=2";

/// The transcripts of all cases of a run.
pub(super) fn transcripts(
    cases: &[Case],
    receiver: &FakeReceiver,
    target: &FakeTarget,
    base_ms: i64,
) -> Vec<Transcript> {
    let requests = target.requests();
    let address = target.address();
    let mut samples: Vec<Vec<Sample>> = cases.iter().map(|_| Vec::new()).collect();
    let of_cases = |sample: &Sample| sample.labels.get("job").is_none_or(|job| job != WAKING);
    for sample in receiver.samples(&[]).into_iter().filter(of_cases) {
        let case = sample.labels.get("case").and_then(|case| case.parse::<usize>().ok());
        let case = case.unwrap_or_else(|| panic!("a sample of no case: {sample:?}"));
        samples[case].push(sample);
    }
    let (histograms, exemplars) = (receiver.histograms(), receiver.exemplars());
    let write = |(at, case): (usize, &Case)| {
        let asked = requests.iter().filter(|request| {
            request.path().split('/').nth(2).is_some_and(|number| number == at.to_string())
        });
        let asked: Vec<&Request> = asked.collect();
        let is_of_case =
            |labels: &LabelSet| labels.get("case").is_some_and(|c| *c == at.to_string());
        write(&Facts {
            case,
            at,
            samples: &samples[at],
            histograms: histograms.iter().filter(|(labels, _)| is_of_case(labels)).collect(),
            exemplars: exemplars.iter().filter(|(labels, _)| is_of_case(labels)).collect(),
            asked: &asked,
            address: &address,
            base_ms,
        })
    };
    cases.iter().enumerate().map(write).collect()
}

/// What is known about one case.
struct Facts<'a> {
    case: &'a Case,
    at: usize,
    samples: &'a [Sample],
    histograms: Vec<&'a (Arc<LabelSet>, Histogram)>,
    exemplars: Vec<&'a (Arc<LabelSet>, Exemplar)>,
    asked: &'a [&'a Request],
    address: &'a str,
    base_ms: i64,
}

fn write(facts: &Facts<'_>) -> Transcript {
    let mut out = String::new();
    let name_of = |sample: &Sample| sample.labels.get("__name__").cloned().unwrap_or_default();
    let scrapes: BTreeSet<i64> = facts
        .samples
        .iter()
        .filter(|sample| name_of(sample) == DURATION)
        .map(|sample| sample.timestamp_ms)
        .collect();
    for (nth, timestamp_ms) in scrapes.iter().take(facts.case.n_scrapes()).enumerate() {
        let asked = facts.asked.get(nth).map_or("nothing".to_owned(), |r| facts.request(r));
        let asked = if asked == USUAL { String::new() } else { format!(" asked {asked}") };
        out.push_str(&format!("scrape {}{asked}\n", nth + 1));
        // Of several samples with one timestamp a receiver keeps the first.
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let mut report: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
        for sample in facts.samples.iter().filter(|s| s.timestamp_ms == *timestamp_ms) {
            let name = name_of(sample);
            let (series, value) = (facts.series(sample), show(sample.value));
            let order = REPORT.iter().position(|(known, _)| *known == name);
            match order {
                Some(order) => {
                    let labels = series.trim_start_matches(name.as_str()).to_owned();
                    let said = format!("{}={value}", REPORT[order].1);
                    report.entry(labels).or_default().push((order, said));
                }
                None if name == DURATION => {}
                None => {
                    seen.entry(series).or_insert(value);
                }
            }
        }
        for (labels, mut said) in report {
            said.sort();
            let said: Vec<String> = said.into_iter().map(|(_, said)| said).collect();
            out.push_str(&format!("  report{labels} {}\n", said.join(" ")));
        }
        for (series, value) in seen {
            out.push_str(&format!("  {series} {value}\n"));
        }
        out.push_str(&facts.histograms_at(*timestamp_ms));
        out.push_str(&facts.exemplars_at(*timestamp_ms));
    }
    out.push_str(&stamped(facts));
    out
}

/// Samples with a timestamp that the target printed: those lie ahead of the run.
fn stamped(facts: &Facts<'_>) -> String {
    let mut lines: BTreeSet<String> = BTreeSet::new();
    for sample in facts.samples.iter().filter(|sample| sample.timestamp_ms >= facts.base_ms) {
        let after_ms = sample.timestamp_ms - facts.base_ms;
        let series = facts.series(sample);
        lines.insert(format!("stamped: {series} {} @{after_ms}ms\n", show(sample.value)));
    }
    lines.into_iter().collect()
}

/// A histogram with the counts of its buckets, not their differences.
fn shown(histogram: &Histogram) -> String {
    let Histogram { schema, float, count, sum, zero_threshold, zero_count, .. } = histogram;
    let side = |spans: &[(i32, u32)], counts: &[f64]| {
        let mut sum = 0.0;
        let absolute = counts.iter().map(|count| {
            sum = if *float { *count } else { sum + count };
            sum
        });
        format!("{spans:?}{:?}", absolute.collect::<Vec<_>>())
    };
    format!(
        "schema={schema} float={float} count={count} sum={} zero={zero_count}@{zero_threshold} \
         +{} -{}",
        show(*sum),
        side(&histogram.positive_spans, &histogram.positive),
        side(&histogram.negative_spans, &histogram.negative),
    )
}

// === impl Facts ===

impl Facts<'_> {
    /// `GET /path?query header=value …`
    fn request(&self, request: &Request) -> String {
        let mut out = format!("{} {}", request.method, request.target);
        out = out.replace(&format!("/case/{}", self.at), "/");
        for name in HEADERS {
            if let Some(value) = request.header(name) {
                out.push_str(&format!(" {}={value}", name.trim_start_matches("x-prometheus-")));
            }
        }
        out
    }

    /// The native histograms of one scrape.
    fn histograms_at(&self, timestamp_ms: i64) -> String {
        let of_scrape = self.histograms.iter().filter(|(_, h)| h.timestamp_ms == timestamp_ms);
        let lines = of_scrape
            .map(|(labels, histogram)| format!("  {} {}\n", self.named(labels), shown(histogram)));
        lines.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// The exemplars that have the timestamp of one scrape.
    fn exemplars_at(&self, timestamp_ms: i64) -> String {
        let of_scrape = self.exemplars.iter().filter(|(_, e)| e.timestamp_ms == timestamp_ms);
        let lines = of_scrape.map(|(labels, exemplar)| {
            let Exemplar { labels: own, value, .. } = exemplar;
            format!("  {} # {own:?} {}\n", self.named(labels), show(*value))
        });
        lines.collect::<BTreeSet<String>>().into_iter().collect()
    }

    fn series(&self, sample: &Sample) -> String {
        self.named(&sample.labels)
    }

    /// The series, without what every series of a case has: `case`, the usual `job` and
    /// `instance`. Where one of those is missing the transcript says so.
    fn named(&self, labels: &LabelSet) -> String {
        let mut labels = labels.clone();
        let name = labels.remove("__name__").unwrap_or_default();
        labels.remove("case");
        let usual = [("job", format!("case-{}", self.at)), ("instance", self.address.to_owned())];
        let mut said = Vec::new();
        for (name, usual) in usual {
            match labels.remove(name) {
                Some(value) if value == usual => {}
                Some(value) => {
                    labels.insert(name.to_owned(), value);
                }
                None => said.push(format!("no {name}")),
            }
        }
        let host = self.address.split(':').next().unwrap_or_default();
        let shown = labels.iter().map(|(name, value)| {
            let value = value.replace(self.address, "TARGET").replace(host, "HOST");
            format!("{name}={value:?}")
        });
        said.extend(shown);
        if said.is_empty() { name } else { format!("{name}{{{}}}", said.join(",")) }
    }
}
