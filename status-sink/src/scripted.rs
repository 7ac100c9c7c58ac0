//! A status center for tests, whose sources say what the test writes, when the test says.
//!
//! Layouts, carried series and stale markers are made as the scrape loop makes them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kit::metrics::SelfMetrics;
use kit::{Clock, ManualClock};
use model::{
    ABSENT, Batch, BatchSink, Carried, Family, Labels, Layout, LayoutBuilder, Memo, Moment,
    NEW_SERIES, Outcome, Role, STALE_MARKER, Samples, Selection, Source, Symbols,
};

use crate::config::Spec;
use crate::event_log::Event;
use crate::kind::Kind;
use crate::metrics::Metrics;
use crate::object::{ConditionStatus, Draft, FRESH, Key, Object, ResourceVersion};
use crate::processor::Processor;
use crate::store::{Center, Expect, Reader, WriteError, Writer, Written};
use crate::value::Value;

/// Virtual machines and the hosts that they run on.
pub(crate) const KINDS: &str = r#"
kinds:
  - kind: VirtualMachine
    short_names: [vm]
    name: "{vmid}"
    labels: { host: "{host}" }
    fields:
      state:     { metric: hci_vm_state, from_label: state }
      haEnabled: { metric: hci_vm_ha_enabled, type: bool }
      power:     { metric: hci_vm_power, map: { 0: off, 1: on } }
      cpuUsage:  { metric: hci_vm_cpu_usage_ratio, change: 0.05 }
      host:      { label: host }
      hostUp:    { mirror: { kind: Host, name: "{host}", field: up } }
      note:      { type: string }
    index: [state, host]
    columns: [state, host, cpuUsage]
    stale_after: 15s
  - kind: Host
    name: "{host}"
    fields:
      up:    { metric: up, type: bool }
      phase: { metric: hci_host_phase, from_label: phase }
    index: [up]
"#;

/// The wall clock at which scripts start.
pub(crate) const START_MS: i64 = 1_795_460_400_000;

/// A status center and the sources that feed it.
pub(crate) struct Scripted {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) center: Arc<Center>,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    processor: Processor,
    symbols: Arc<Symbols>,
    family: Arc<Family>,
    sources: HashMap<String, Scripts>,
    seen: HashMap<String, ResourceVersion>,
    /// The version at which each kind started.
    start: HashMap<String, ResourceVersion>,
    /// Every event so far, folded.
    folded: HashMap<String, (ResourceVersion, BTreeMap<Key, Arc<Object>>)>,
}

/// One source: what it printed last.
struct Scripts {
    source: Arc<Source>,
    memo: Memo,
    page: Option<(Arc<Layout>, Vec<String>)>,
    is_failing: bool,
    report: Option<Arc<Layout>>,
}

// === impl Scripted ===

impl Scripted {
    /// With the kinds of [`KINDS`].
    pub(crate) fn new() -> Scripted {
        Scripted::with_kinds(KINDS)
    }

    /// With these kinds; warm.
    pub(crate) fn with_kinds(yaml: &str) -> Scripted {
        let clock = ManualClock::at(START_MS);
        let counters = Metrics::register(&SelfMetrics::new());
        let center = Center::new(Arc::clone(&clock) as Arc<dyn Clock>, counters, 7);
        center.apply(&config(yaml));
        center.set_warm();
        let (sources, seen, start, folded) = Default::default();
        let mut scripted = Scripted {
            reader: Reader::new(Arc::clone(&center)),
            writer: Writer::new(Arc::clone(&center)),
            processor: Processor::new(Arc::clone(&center)),
            symbols: Symbols::new(),
            family: Arc::new(Family::default()),
            clock,
            center,
            sources,
            seen,
            start,
            folded,
        };
        scripted.events();
        scripted.start = scripted.seen.clone();
        scripted
    }

    /// Puts other kinds in force.
    pub(crate) fn reload(&mut self, yaml: &str) {
        self.center.apply(&config(yaml));
    }

    /// Moves the clocks on, and does what is due.
    pub(crate) fn wait(&mut self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
        self.center.change(|state, now| state.tick(now));
    }

    /// `host` is asked now and answers `page` at once.
    pub(crate) fn scrape(&mut self, host: &str, page: &str) {
        self.scrape_sent(host, self.clock.now(), page);
    }

    /// `host` was asked at `sent` and its answer, `page`, is here now.
    pub(crate) fn scrape_sent(&mut self, host: &str, sent: Moment, page: &str) {
        let lines: Vec<(String, f64)> = page.lines().filter_map(line).collect();
        let (series, values): (Vec<String>, Vec<f64>) = lines.into_iter().unzip();
        let mut samples = Vec::new();
        let scripts = self.scripts(host);
        let before = scripts.page.take();
        let layout = match &before {
            Some((layout, known)) if *known == series => Arc::clone(layout),
            _ => self.layout(host, &series),
        };
        let mut page = Samples::plain(Role::Page, Arc::clone(&layout), values);
        if let Some((old, known)) = before.filter(|(old, _)| old.id() != layout.id()) {
            let gone = |it| if series.contains(it) { ABSENT } else { STALE_MARKER };
            let ends = known.iter().map(gone).collect();
            samples.push(Samples::plain(Role::Page, Arc::clone(&old), ends));
            let was = |it| known.iter().position(|known| known == it);
            let index =
                series.iter().map(|it| was(it).map_or(NEW_SERIES, |at| at as u32)).collect();
            page.carried = Some(Carried { from: old.id(), index });
        }
        samples.push(page);
        samples.push(self.report(host, 1.0));
        let scripts = self.scripts(host);
        (scripts.page, scripts.is_failing) = (Some((layout, series)), false);
        self.send(host, sent, Outcome::Complete, samples);
    }

    /// `host` is asked now and does not answer.
    pub(crate) fn fail(&mut self, host: &str, why: &str) {
        let mut samples = Vec::new();
        let scripts = self.scripts(host);
        if let (Some((layout, _)), false) = (&scripts.page, scripts.is_failing) {
            let ends = vec![STALE_MARKER; layout.len()];
            samples.push(Samples::plain(Role::Page, Arc::clone(layout), ends));
        }
        scripts.is_failing = true;
        samples.push(self.report(host, 0.0));
        self.send(host, self.clock.now(), Outcome::Failed(why.into()), samples);
    }

    /// `host` is no longer a target.
    pub(crate) fn end(&mut self, host: &str) {
        self.send(host, self.clock.now(), Outcome::Ended, Vec::new());
        self.sources.remove(host);
    }

    /// The owner of what is remembered of `host` starts afresh.
    pub(crate) fn forget_memo(&mut self, host: &str) {
        self.scripts(host).memo.clear();
    }

    /// Sets fields of an object over the API: `state=stopped note=null`.
    pub(crate) fn update(
        &self,
        kind: &str,
        key: &str,
        fields: &str,
    ) -> Result<Written, WriteError> {
        let kind = self.kind(kind);
        let key = Key::from_path(key);
        let object = self.reader.get(&kind, &key).ok_or(WriteError::NotFound)?;
        let mut draft = Draft::of(&object);
        say(&kind, &mut draft, fields);
        self.writer.update(&kind, &key, Expect::default(), &draft, false)
    }

    /// Makes an object over the API.
    pub(crate) fn create(
        &self,
        kind: &str,
        key: &str,
        fields: &str,
    ) -> Result<Written, WriteError> {
        let kind = self.kind(kind);
        let mut draft = Draft::new(&kind);
        say(&kind, &mut draft, fields);
        self.writer.create(&kind, Key::from_path(key), &draft, false)
    }

    /// Deletes an object over the API.
    pub(crate) fn delete(&self, kind: &str, key: &str) -> Result<Arc<Object>, WriteError> {
        let key = Key::from_path(key);
        self.writer.delete(&self.kind(kind), &key, Expect::default(), false)
    }

    /// A kind, by its name.
    pub(crate) fn kind(&self, name: &str) -> Arc<Kind> {
        let kinds = self.reader.kinds();
        let kind = kinds.iter().find(|kind| kind.name() == name);
        Arc::clone(kind.unwrap_or_else(|| panic!("no kind {name}")))
    }

    /// An object, now.
    pub(crate) fn get(&self, kind: &str, key: &str) -> Option<Arc<Object>> {
        self.reader.get(&self.kind(kind), &Key::from_path(key))
    }

    /// What an object says, as [`words`] has it; `-` if there is none.
    pub(crate) fn show(&self, kind: &str, key: &str) -> String {
        let kind = self.kind(kind);
        let object = self.reader.get(&kind, &Key::from_path(key));
        object.map_or("-".to_owned(), |object| words(&kind, &object))
    }

    /// What has happened since it was asked last, an event a line.
    pub(crate) fn events(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for kind in self.reader.kinds().iter() {
            let path = kind.path();
            let hub = self.reader.hub(kind).expect("the kind is there");
            let head = hub.head();
            if let Some(seen) = self.seen.insert(path, head) {
                let events = hub.events_since(seen).expect("scripts are short");
                told.extend(events.iter().map(|event| (event.version, tell(kind, event))));
            }
        }
        told.sort();
        told.into_iter().map(|(_, text)| text).collect()
    }

    /// What must hold at all times: the events since the start, folded, are the objects; no event
    /// says nothing; indexes and mirrors agree with the objects.
    pub(crate) fn check_whole(&mut self) {
        for kind in self.reader.kinds().iter() {
            let hub = self.reader.hub(kind).expect("the kind is there");
            let snapshot = self.reader.snapshot(kind).expect("the kind is there");
            let folded = self.folded.entry(kind.path()).or_insert_with(|| {
                (self.start.get(&kind.path()).copied().unwrap_or_default(), BTreeMap::new())
            });
            for event in hub.events_since(folded.0).expect("scripts are short") {
                assert!(event.version > folded.0, "versions grow");
                folded.0 = event.version;
                let key =
                    event.new.as_ref().or(event.old.as_ref()).expect("of an object").key.clone();
                let before = folded.1.remove(&key);
                assert_eq!(
                    before.as_ref().map(|it: &Arc<Object>| it.version),
                    event.old.as_ref().map(|it| it.version)
                );
                if let (Some(old), Some(new)) = (&event.old, &event.new) {
                    assert!(
                        !old.says_the_same(new),
                        "an event that says nothing: {}",
                        key.as_str()
                    );
                }
                folded.1.extend(event.new.clone().map(|new| (key, new)));
            }
            let listed: Vec<_> =
                snapshot.iter(None).map(|it| (it.key.clone(), it.version)).collect();
            let known: Vec<_> =
                folded.1.iter().map(|(key, it)| (key.clone(), it.version)).collect();
            assert_eq!(listed, known, "a list is its events");
            for field in &kind.index {
                let index = snapshot.index(*field).expect("declared");
                let counted: usize = index.counts().map(|(_, n)| n).sum();
                let with = snapshot.iter(None).filter(|it| !it.value(*field).is_null());
                assert_eq!(counted, with.count(), "an index counts the objects that have a value");
                for object in snapshot.iter(None).filter(|it| !it.value(*field).is_null()) {
                    let found = snapshot.with_field(*field, object.value(*field)).expect("indexed");
                    assert!(
                        found.iter().any(|it| it.key == object.key),
                        "an index finds an object"
                    );
                }
            }
        }
    }

    fn scripts(&mut self, host: &str) -> &mut Scripts {
        self.sources.entry(host.to_owned()).or_insert_with(|| {
            let labels = [("instance", format!("{host}:9100")), ("host", host.to_owned())];
            let labels: Labels = labels.into_iter().collect();
            let (memo, page, is_failing, report) = Default::default();
            Scripts { source: Source::new(labels), memo, page, is_failing, report }
        })
    }

    fn report(&mut self, host: &str, up: f64) -> Samples {
        let layout = match self.scripts(host).report.take() {
            Some(layout) => layout,
            None => self.layout(host, &["up{}".to_owned()]),
        };
        self.scripts(host).report = Some(Arc::clone(&layout));
        Samples::plain(Role::Report, layout, vec![up])
    }

    fn layout(&self, host: &str, series: &[String]) -> Arc<Layout> {
        let mut builder = LayoutBuilder::new(&self.symbols);
        for text in series {
            let (name, labels) = text.split_once('{').expect("a series is written name{…}");
            let mut all: BTreeMap<&str, &str> =
                BTreeMap::from([("__name__", name), ("host", host)]);
            for pair in labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').expect("a label is written name=value");
                all.insert(name, value);
            }
            builder.push(all.iter().map(|(name, value)| (*name, *value)), &self.family);
        }
        builder.build()
    }

    fn send(&mut self, host: &str, sent: Moment, outcome: Outcome, samples: Vec<Samples>) {
        let timestamp_ms = self.clock.unix_ms();
        let selected = vec![Selection::All; samples.len()];
        self.scripts(host);
        let Scripted { sources, processor, .. } = self;
        let Scripts { source, memo, .. } = sources.get_mut(host).expect("made above");
        let batch = Batch { source: Arc::clone(source), sent, timestamp_ms, outcome, samples };
        processor.accept(&batch, &selected, memo);
    }
}

/// A checked `status` section.
pub(crate) fn config(yaml: &str) -> crate::Config {
    let spec: Spec = kit::config::yaml::from_str("test.yml", yaml).expect("the kinds can be read");
    spec.check().expect("the kinds can be")
}

/// `name{label=value,…} 1`, without quotes.
fn line(text: &str) -> Option<(String, f64)> {
    let (series, value) = text.trim().rsplit_once(' ')?;
    Some((series.to_owned(), value.parse().expect("a value is a number")))
}

fn say(kind: &Kind, draft: &mut Draft, fields: &str) {
    for word in fields.split_whitespace() {
        let (name, text) = word.split_once('=').expect("a field is written name=value");
        let id = kind.field_id(name).expect("the field is declared");
        let value = match text {
            "null" => Value::Null,
            text => crate::config::parse_value(text, kind.field(id).kind).expect("of its type"),
        };
        draft.set(kind, id, value).expect("the field can be set");
    }
}

/// What an object says: `state=running host=h1 stale`.
fn words(kind: &Kind, object: &Object) -> String {
    let mut words: Vec<String> = kind
        .fields()
        .filter(|(id, _)| !object.value(*id).is_null())
        .map(|(id, field)| format!("{}={}", field.name, object.value(id).plain()))
        .collect();
    for condition in object.conditions() {
        match (condition.name.as_str(), condition.status) {
            (FRESH, ConditionStatus::True) => {}
            (FRESH, _) => words.push(format!("stale:{}", condition.reason.as_str())),
            (name, status) => words.push(format!("{name}:{}", status.word())),
        }
    }
    words.join(" ")
}

/// What an event says: `+ 1: …` (new), `- 1` (deleted), `1: …` (what is other now).
fn tell(kind: &Kind, event: &Event) -> String {
    match (&event.old, &event.new) {
        (None, Some(new)) => format!("+{}: {}", new.key.as_str(), words(kind, new)),
        (Some(old), None) => format!("-{}", old.key.as_str()),
        (Some(old), Some(new)) => {
            let before = words(kind, old);
            let after = words(kind, new);
            let known: Vec<&str> = before.split(' ').collect();
            let is: Vec<&str> = after.split(' ').filter(|word| !known.contains(word)).collect();
            let name = |word: &str| word.split(['=', ':']).next().unwrap_or(word).to_owned();
            let kept: Vec<String> = after.split(' ').map(name).collect();
            let was = known.iter().map(|word| name(word)).filter(|name| !kept.contains(name));
            let gone: Vec<String> = was.map(|name| format!("no {name}")).collect();
            let all: Vec<String> = is.iter().map(|word| (*word).to_owned()).chain(gone).collect();
            format!("{}: {}", new.key.as_str(), all.join(" "))
        }
        (None, None) => panic!("an event has an object"),
    }
}
