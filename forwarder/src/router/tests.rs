//! Routes as they are written, asked about series.

use std::sync::{Arc, Mutex};

use kit::config::yaml;
use model::{
    Batch, BatchSink, Carried, Family, Labels, Layout, LayoutBuilder, Memo, MetricType, Moment,
    NEW_SERIES, Outcome, Role, Samples, Selection, Source, Symbols,
};

use super::*;
use crate::config::{Common, Config, DataTypeSpec, RouteSpec, Spec};

/// Remembers which series it was given, by name, and how many batches this source had.
#[derive(Default)]
struct Witness(Mutex<Vec<(Vec<String>, u32)>>);

impl BatchSink for Witness {
    fn accept(&self, batch: &Batch, selected: &[Selection], memo: &mut Memo) {
        let batches = memo.get_or_insert_with(|| 0_u32);
        *batches += 1;
        let mut names = Vec::new();
        for (samples, selection) in batch.samples.iter().zip(selected) {
            let table = samples.layout.symbols().read();
            for at in selection.ranges(samples.layout.len()).flatten() {
                let name = samples.layout.label(at, "__name__", &table).unwrap_or_default();
                let host = samples.layout.label(at, "host", &table);
                names.push(host.map_or(name.to_owned(), |host| format!("{name}@{host}")));
            }
        }
        self.0.lock().unwrap().push((names, *batches));
    }
}

impl Witness {
    /// What came last: names of the series, and the how-manyeth batch of its source it was; nothing
    /// and 0 before.
    fn last(&self) -> (String, u32) {
        let seen = self.0.lock().unwrap();
        seen.last().map_or_else(Default::default, |(names, batches)| (names.join(" "), *batches))
    }
}

fn config(text: &str) -> Config {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        data_types: Vec<Option<DataTypeSpec>>,
        routes: Vec<Option<RouteSpec>>,
    }
    let File { data_types, routes } = yaml::from_str("f", text).unwrap();
    let spec = Spec { data_types, routes, ..Spec::default() };
    let elsewhere = ["status", "reports", "audit"];
    let (external_labels, names) = (&Labels::default(), Default::default());
    spec.check(&Common { external_labels, names, elsewhere: &elsewhere }).unwrap()
}

struct World {
    router: Router,
    witnesses: [Arc<Witness>; 3],
    entries: Vec<Entry>,
}

impl World {
    fn new(text: &str) -> World {
        let witnesses: [Arc<Witness>; 3] = Default::default();
        let names = ["status", "reports", "audit"];
        let entries: Vec<Entry> = names
            .into_iter()
            .zip(&witnesses)
            .map(|(name, witness)| Entry {
                id: EntryId::next(),
                names: vec![name.into()],
                sink: Arc::clone(witness) as Arc<dyn BatchSink>,
                takes_rest: name == "reports",
                hears_all: name == "status",
            })
            .collect();
        let router = Router::new(World::table(&entries, text));
        World { router, witnesses, entries }
    }

    fn table(entries: &[Entry], text: &str) -> Table {
        let config = config(text);
        Table::new(entries.to_vec(), config.data_types, &config.routes)
    }

    fn send(&self, samples: Samples, memo: &mut Memo) {
        let source = Source::new(Labels::default());
        let (outcome, sent) = (Outcome::Complete, Moment(1));
        let samples = vec![samples];
        let batch = Batch { source, sent, timestamp_ms: 1, outcome, samples };
        self.router.accept(&batch, &[Selection::All], memo);
    }

    fn check(&self, status: &str, reports: &str, audit: &str) {
        let [got_status, got_reports, got_audit] = [0, 1, 2].map(|at| self.witnesses[at].last().0);
        assert_eq!([&*got_status, &*got_reports, &*got_audit], [status, reports, audit]);
    }
}

fn layout(symbols: &Arc<Symbols>, series: &[&str]) -> Arc<Layout> {
    let mut builder = LayoutBuilder::new(symbols);
    for text in series {
        let (name, host) = text.split_once('@').unwrap_or((text, ""));
        let kind = if name.ends_with("_state") { MetricType::StateSet } else { MetricType::Gauge };
        let family = Family { name: name.into(), kind, ..Family::default() };
        let labels = [("__name__", name), ("host", host)];
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
        builder.push(labels, &Arc::new(family));
    }
    builder.build()
}

fn page(layout: &Arc<Layout>) -> Samples {
    Samples::plain(Role::Page, Arc::clone(layout), vec![1.0; layout.len()])
}

const ROUTES: &str = r#"
data_types:
  - { name: state, types: [stateset] }
  - { name: usage, match: ['{__name__=~"vm_.+"}'] }
  - { name: h1, match: ['{host="h1"}', '{host="h9"}'] }
routes:
  - { data_types: [state], to: [status] }
  - { data_types: [h1], to: [audit], continue: true }
  - { data_types: [usage], to: [status, reports] }
"#;

const SERIES: [&str; 6] = ["up", "vm_state", "vm_cpu", "vm_cpu@h1", "load@h1", "load@h2"];

#[test]
fn the_first_route_that_matches_decides_unless_it_goes_on() {
    let world = World::new(ROUTES);
    world.send(page(&layout(&Symbols::new(), &SERIES)), &mut Memo::default());
    world.check("vm_state vm_cpu vm_cpu@h1", "up vm_cpu vm_cpu@h1 load@h2", "vm_cpu@h1 load@h1");
}

#[test]
fn without_routes_everything_goes_to_every_remote_write() {
    let world = World::new("{}");
    world.send(page(&layout(&Symbols::new(), &["up", "vm_state"])), &mut Memo::default());
    world.check("", "up vm_state", "");
    let asked = world.witnesses.each_ref().map(|witness| witness.last().1);
    assert_eq!(asked, [1, 1, 0], "but for who hears all, who gets nothing is left alone");
}

#[test]
fn decisions_by_name_are_shared_by_neighbours_and_no_one_else() {
    let routes = r#"
data_types: [{ name: cpu, match: ['{__name__=~"vm_cpu|up"}'] }]
routes: [{ data_types: [cpu], to: [status] }]
"#;
    let world = World::new(routes);
    let series = ["vm_cpu@h1", "vm_cpu@h2", "load@h1", "up", "vm_cpu@h3"];
    world.send(page(&layout(&Symbols::new(), &series)), &mut Memo::default());
    world.check("vm_cpu@h1 vm_cpu@h2 up vm_cpu@h3", "load@h1", "");
}

#[test]
fn a_new_layout_keeps_what_was_decided_for_series_that_were_there_before() {
    let world = World::new(ROUTES);
    let symbols = Symbols::new();
    let (mut memo, first) = (Memo::default(), layout(&symbols, &SERIES));
    world.send(page(&first), &mut memo);
    let second = layout(&symbols, &["load@h1", "vm_new", "vm_state", "up"]);
    let index = vec![4, NEW_SERIES, 1, 0];
    let carried = Some(Carried { from: first.id(), index });
    world.send(Samples { carried, ..page(&second) }, &mut memo);
    world.check("vm_new vm_state", "vm_new up", "load@h1");
}

#[test]
fn a_reload_routes_anew_and_keeps_the_memos_of_destinations_that_stay() {
    let world = World::new(ROUTES);
    let mut memo = Memo::default();
    let layout = layout(&Symbols::new(), &SERIES);
    world.send(page(&layout), &mut memo);
    world.router.follow(World::table(&world.entries[1..], "{}"));
    world.send(page(&layout), &mut memo);
    assert_eq!(world.witnesses[0].last().1, 1);
    assert_eq!(world.witnesses[1].last(), (SERIES.join(" "), 2));
    let entries = [Entry { id: EntryId::next(), ..world.entries[1].clone() }];
    world.router.follow(World::table(&entries, "{}"));
    world.send(page(&layout), &mut memo);
    assert_eq!(world.witnesses[1].last(), (SERIES.join(" "), 1));
}

#[test]
fn samples_that_nobody_takes_are_counted() {
    let world = World::new(ROUTES);
    let none = "routes: [{ data_types: [all], to: [] }]\n\
        data_types: [{ name: all, match: ['{__name__!=\"\"}'] }]";
    world.router.follow(World::table(&world.entries, none));
    let layout = layout(&Symbols::new(), &SERIES);
    let mut values = vec![1.0; SERIES.len()];
    values[2] = model::ABSENT;
    world.send(Samples::plain(Role::Page, layout, values), &mut Memo::default());
    world.check("", "", "");
    assert_eq!(world.router.unrouted(), 5);
}
