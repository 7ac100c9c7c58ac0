//! Pages read one after the other, against what each of them says on its own.

mod entries;
mod like_fresh;
mod pages;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Labels, NameScheme, Rule, RuleFields, is_absent, is_stale_marker};

use super::*;

/// The samples of one read: per series its values, with `@` and the timestamp if it has its own.
type Said = BTreeMap<String, Vec<String>>;

/// A target under test.
struct Page {
    shared: Arc<Shared>,
    cache: PageCache,
    room: Room,
    out: Vec<Samples>,
    format: Format,
    /// The time of the next scrape.
    now_ms: i64,
}

impl Page {
    fn new(rules: SampleRules) -> Page {
        Page::sharing(&Shared::new(Symbols::new()), rules)
    }

    fn plain() -> Page {
        Page::new(SampleRules::of_target(Labels::default()))
    }

    fn sharing(shared: &Arc<Shared>, rules: SampleRules) -> Page {
        Page {
            shared: Arc::clone(shared),
            cache: PageCache::new(shared, Arc::new(rules)),
            room: Room::default(),
            out: Vec::new(),
            format: Format::Text,
            now_ms: 1_000_000,
        }
    }

    /// Reads a page, five seconds after the last one.
    fn read(&mut self, body: &[u8]) -> Result<PageCounts, PageError> {
        self.now_ms += 5000;
        let times = ScrapeTimes { timestamp_ms: self.now_ms, now_ms: self.now_ms };
        self.room.reclaim(&mut self.out);
        let Page { cache, room, out, format, .. } = self;
        cache.read(body, *format, times, room, out)
    }

    fn counts(&mut self, body: &str) -> PageCounts {
        self.read(body.as_bytes()).unwrap()
    }

    /// What the last read pushed.
    fn said(&self) -> Said {
        let mut said = Said::new();
        for samples in &self.out {
            assert_eq!(samples.values.len(), samples.layout.len());
            let series = |at: usize| samples.layout.labels(at).to_string();
            for (at, value) in samples.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
                said.entry(series(at)).or_default().push(shown(*value));
            }
            for stamped in &samples.stamped {
                let text = format!("{}@{}", shown(stamped.value), stamped.timestamp_ms);
                said.entry(series(stamped.series as usize)).or_default().push(text);
            }
            for (at, exemplar) in &samples.exemplars {
                let at_ms = exemplar.timestamp_ms.map(|ms| format!("@{ms}")).unwrap_or_default();
                let text = format!("# {} {}{at_ms}", exemplar.labels, shown(exemplar.value));
                said.entry(series(*at as usize)).or_default().push(text);
            }
        }
        said
    }

    /// Reads a page and compares what it said with lines of `series value value…`.
    #[track_caller]
    fn check(&mut self, body: &str, want: &[&str]) -> PageCounts {
        let counts = self.counts(body);
        self.check_said(want);
        counts
    }

    /// The scrape failed: compares what that ends.
    #[track_caller]
    fn check_ended(&mut self, want: &[&str]) {
        self.room.reclaim(&mut self.out);
        let Page { cache, room, out, now_ms, .. } = self;
        cache.end(*now_ms, room, out);
        self.check_said(want);
    }

    #[track_caller]
    fn check_said(&self, want: &[&str]) {
        let said =
            self.said().into_iter().map(|(name, values)| format!("{name} {}", values.join(" ")));
        assert_eq!(said.collect::<Vec<_>>(), want);
    }

    #[track_caller]
    fn check_refused(&mut self, body: &[u8], want: &str) -> PageCounts {
        let error = self.read(body).expect_err("the page is refused");
        assert_eq!(error.to_string(), want);
        assert!(self.out.is_empty());
        error.counts
    }
}

/// A rule that drops the metrics whose names match.
fn dropping(names: &str) -> Arc<[Rule]> {
    let fields = RuleFields {
        action: Some("drop".to_owned()),
        source_labels: vec!["__name__".to_owned()],
        regex: Some(names.to_owned()),
        ..RuleFields::default()
    };
    Arc::new([Rule::new(fields, NameScheme::Utf8).unwrap()])
}

fn shown(value: f64) -> String {
    if is_stale_marker(value) { "stale".to_owned() } else { format!("{value}") }
}
