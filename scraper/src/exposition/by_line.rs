//! Text pages as entries: where a sample is more than its line.
//!
//! Two switches ask for that: classic histograms that become native ones (the lines of one make
//! one sample), and start timestamps (a `_created` line speaks of the series before it). Every
//! line is taken apart each time, so pages cost more than with `follow.rs`.
//! The rules are those of Prometheus' `nhcbparse.go` and `StartTimestamp`.

use std::borrow::Cow;
use std::ops::Range;

use model::{MetricType, ResetHint};

use super::classic::Classic;
use super::{
    Entries, Entry, EntryValue, Grammar, Metadata, Next, RawExemplar, Sample, Says, SeriesParts,
    SyntaxError, number, unescape, unescape_help,
};
use crate::sample_rules::{Exposed, HistogramRules};

/// Reads one text page.
#[derive(Debug)]
pub(crate) struct ByLine<'e, E> {
    entries: &'e mut E,
    rules: HistogramRules,
    start_timestamps: bool,
    /// What the comments so far say.
    family: String,
    kind: MetricType,
    /// Samples since the last comment, while start timestamps are looked for.
    block: Vec<Line>,
    collected: Option<Collected>,
}

/// A line with a sample.
#[derive(Debug)]
struct Line {
    key: Vec<u8>,
    name: String,
    labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    sample: Sample,
    created_ms: Option<i64>,
}

/// The lines of a classic histogram so far.
#[derive(Debug)]
struct Collected {
    /// The metric name without suffix.
    name: String,
    /// The labels without `le`, sorted.
    labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    classic: Classic,
    timestamp_ms: Option<i64>,
    exemplars: Vec<RawExemplar>,
    created_ms: Option<i64>,
}

/// What the name of a series says about its place in a classic histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suffix {
    None,
    Bucket,
    Sum,
    Count,
}

impl<'e, E: Entries> ByLine<'e, E> {
    /// Will hand samples to `entries`.
    pub(crate) fn new(
        entries: &'e mut E,
        rules: HistogramRules,
        start_timestamps: bool,
    ) -> ByLine<'e, E> {
        let (family, kind, block, collected) = Default::default();
        ByLine { entries, rules, start_timestamps, family, kind, block, collected }
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When the page is malformed, or a sample is refused.
    pub(crate) fn read<G: Grammar>(&mut self, page: &[u8]) -> Result<(), E::Fault> {
        let read = self.read_lines::<G>(page);
        self.end_block()?;
        read?;
        self.end_histogram()
    }

    fn read_lines<G: Grammar>(&mut self, page: &[u8]) -> Result<(), E::Fault> {
        let mut parts = SeriesParts::default();
        let mut at = 0;
        loop {
            let mut metadata = Vec::new();
            let next = G::comments(page, at, &mut |found| metadata.push(found))?;
            let (Next::Series(start) | Next::End(start)) = next;
            if memchr::memchr(b'#', &page[at..start]).is_some() {
                self.end_block()?;
                self.end_histogram()?;
            }
            if !metadata.is_empty() {
                self.hear(&metadata, G::HELP_HAS_QUOTES);
            }
            if let Next::End(_) = next {
                return Ok(());
            }
            let end = G::series(page, start, &mut parts)?;
            let sample = G::sample(page, start, end)?;
            at = sample.next;
            let line = self.line(page, start..end, &parts, sample)?;
            if self.start_timestamps {
                self.block.push(line);
            } else {
                self.take(line)?;
            }
        }
    }

    fn hear(&mut self, metadata: &[Metadata<'_>], help_has_quotes: bool) {
        let helps: Vec<String> = metadata
            .iter()
            .map(|line| match line.says {
                Says::Help(help) => {
                    let help = String::from_utf8_lossy(help);
                    let plain =
                        if help_has_quotes { unescape(&help) } else { unescape_help(&help) };
                    plain.into_owned()
                }
                Says::Type(_) | Says::Unit(_) => String::new(),
            })
            .collect();
        let plain: Vec<Metadata<'_>> = metadata
            .iter()
            .zip(&helps)
            .map(|(line, help)| match line.says {
                Says::Help(_) => Metadata { says: Says::Help(help.as_bytes()), ..*line },
                Says::Type(_) | Says::Unit(_) => *line,
            })
            .collect();
        self.entries.metadata(&plain);
        for line in metadata {
            if let Says::Type(kind) = line.says {
                self.kind = kind;
                self.family = String::from_utf8_lossy(line.family).into_owned();
            }
        }
    }

    fn line(
        &self,
        page: &[u8],
        key: Range<usize>,
        parts: &SeriesParts,
        sample: Sample,
    ) -> Result<Line, SyntaxError> {
        let text = |range: &Range<usize>| match std::str::from_utf8(&page[range.clone()]) {
            Ok(text) => Ok(unescape(text).into_owned()),
            Err(_) => {
                let name = String::from_utf8_lossy(&page[range.clone()]);
                Err(SyntaxError(format!("invalid metric name or label names: {name}")))
            }
        };
        let bound = match self.kind {
            MetricType::Histogram => "le",
            MetricType::Summary => "quantile",
            _ => "",
        };
        let mut labels = Vec::with_capacity(parts.labels.len());
        for (label, value) in &parts.labels {
            let (label, value) = (text(label)?, text(value)?);
            let canonical = if label == bound { number::canonical_bound(&value) } else { None };
            labels.push((Cow::Owned(label), Cow::Owned(canonical.unwrap_or(value))));
        }
        let mut key = page[key].to_vec();
        key.push(self.kind as u8);
        Ok(Line { key, name: text(&parts.name)?, labels, sample, created_ms: None })
    }

    /// Hands on the samples since the last comment, with their start timestamps.
    fn end_block(&mut self) -> Result<(), E::Fault> {
        let mut block = std::mem::take(&mut self.block);
        if has_start(self.kind) {
            self.find_starts(&mut block);
        }
        for line in block {
            self.take(line)?;
        }
        Ok(())
    }

    /// Gives each series the value of the next `_created` line, if that is of the same labels,
    /// and takes these lines out.
    fn find_starts(&self, block: &mut Vec<Line>) {
        let mut next: Option<(Vec<(String, String)>, i64)> = None;
        for line in block.iter_mut().rev() {
            if let Some(family) = line.name.strip_suffix("_created") {
                let start_ms = (line.sample.value * 1000.0) as i64;
                next = Some((self.group(family, &line.labels), start_ms));
            } else if let Some((group, start_ms)) = &next {
                let family = line.name.get(..self.family.len()).unwrap_or(&line.name);
                let same = *group == self.group(family, &line.labels);
                line.created_ms = same.then_some(*start_ms).filter(|ms| *ms != 0);
            }
        }
        block.retain(|line| !line.name.ends_with("_created"));
    }

    /// What the series of one metric have in common.
    fn group(
        &self,
        family: &str,
        labels: &[(Cow<'static, str>, Cow<'static, str>)],
    ) -> Vec<(String, String)> {
        let own = match self.kind {
            MetricType::Histogram => "le",
            MetricType::Summary => "quantile",
            _ => "",
        };
        let labels = labels.iter().filter(|(name, _)| name != own);
        let pairs = labels.map(|(name, value)| (name.to_string(), value.to_string()));
        pairs.chain([(String::new(), family.to_owned())]).collect()
    }

    /// Takes a sample: into the histogram that is being collected, or onwards.
    fn take(&mut self, mut line: Line) -> Result<(), E::Fault> {
        if self.rules.classic_to_custom && self.collect(&mut line)? && !self.rules.always_classic {
            return Ok(());
        }
        let Line { key, name, labels, sample, created_ms } = line;
        let Sample { value, timestamp_ms, exemplar, .. } = sample;
        self.entries.entry(Entry {
            key: &key,
            exposed: Exposed { name: &name, labels: &labels },
            value: EntryValue::Float(value),
            timestamp_ms,
            exemplars: exemplar.into_iter().map(|exemplar| *exemplar).collect(),
            created_ms,
        })
    }

    /// Adds a line to the histogram it belongs to. Says whether it belongs to one.
    fn collect(&mut self, line: &mut Line) -> Result<bool, E::Fault> {
        let (suffix, base) = Suffix::of(&line.name);
        let mut labels = line.labels.clone();
        labels.retain(|(name, _)| name != "le");
        labels.sort();
        let is_histogram = self.kind == MetricType::Histogram;
        let same = |collected: &Collected| {
            is_histogram && collected.name == base && collected.labels == labels
        };
        if self.collected.as_ref().is_some_and(|collected| !same(collected)) {
            self.end_histogram()?;
        }
        if !is_histogram || base != self.family || suffix == Suffix::None {
            return Ok(false);
        }
        let le = line.labels.iter().find(|(name, _)| name == "le");
        let le = le.and_then(|(_, le)| number::parse_float(le.as_bytes()).ok());
        let le = le.filter(|le| !le.is_nan());
        if suffix == Suffix::Bucket && le.is_none() {
            return Ok(false);
        }
        let created_ms = line.created_ms;
        let collected = self.collected.get_or_insert_with(|| Collected {
            name: base.to_owned(),
            labels,
            classic: Classic::default(),
            timestamp_ms: None,
            exemplars: Vec::new(),
            created_ms,
        });
        let value = line.sample.value;
        match (suffix, le) {
            (Suffix::Bucket, Some(le)) => collected.classic.bucket(le, value),
            (Suffix::Count, _) => collected.classic.count(value),
            _ => collected.classic.sum(value),
        }
        collected.timestamp_ms = line.sample.timestamp_ms;
        collected.exemplars.extend(line.sample.exemplar.take().map(|exemplar| *exemplar));
        Ok(true)
    }

    /// Hands on the histogram that was collected, if its lines fit together.
    fn end_histogram(&mut self) -> Result<(), E::Fault> {
        let Some(collected) = self.collected.take() else { return Ok(()) };
        let Collected { name, labels, classic, timestamp_ms, mut exemplars, created_ms } =
            collected;
        let Ok(native) = classic.convert(ResetHint::Unknown) else { return Ok(()) };
        // Those of native histograms must say when.
        exemplars.retain(|exemplar| exemplar.timestamp_ms.is_some());
        let mut key = name.clone().into_bytes();
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            key.push(0xff);
            key.extend_from_slice(text.as_bytes());
        }
        self.entries.entry(Entry {
            key: &key,
            exposed: Exposed { name: &name, labels: &labels },
            value: EntryValue::Histogram(Box::new(native)),
            timestamp_ms,
            exemplars,
            created_ms,
        })
    }
}

// === impl Suffix ===

impl Suffix {
    fn of(name: &str) -> (Suffix, &str) {
        let known = [("_bucket", Suffix::Bucket), ("_sum", Suffix::Sum), ("_count", Suffix::Count)];
        let found =
            known.into_iter().find_map(|(end, suffix)| Some((suffix, name.strip_suffix(end)?)));
        found.unwrap_or((Suffix::None, name))
    }
}

/// Whether metrics of this type may have a `_created` line.
fn has_start(kind: MetricType) -> bool {
    matches!(kind, MetricType::Counter | MetricType::Summary | MetricType::Histogram)
}
