//! Ready bytes are the bytes that would be written anew: pages by chance, with and without them.

use std::sync::Arc;

use kit::ManualClock;
use model::{
    Carried, Family, LayoutBuilder, LayoutId, MetricType, NEW_SERIES, NameScheme, Role, Rule,
    RuleFields, STALE_MARKER, Selection, Symbols,
};
use proptest::prelude::*;

use super::*;
use crate::feed::rules::LabelRules;
use crate::ledger::Ledger;
use crate::queue::{Limits, Numbers, Order, Origin, Place, Queue};
use crate::shard::Outlet;

const UNBOUNDED: Limits = Limits {
    samples_max: u64::MAX,
    bytes_max: u64::MAX,
    spill_bytes: u64::MAX,
    unwritten_for: std::time::Duration::ZERO,
};

type Text = Vec<(String, String)>;

/// A series much like the one before it, seldom a very different one.
fn any_series() -> impl Strategy<Value = Text> {
    let mode = proptest::sample::select(vec!["idle", "iowait", "user", "a longer text"]);
    let long = prop_oneof![20 => Just(0_usize), 1 => 200..400_usize, 1 => 40_000..70_000_usize];
    (0..300_u32, mode, 0..4_u32, long, 0..40_u32).prop_map(|(cpu, mode, more, long, many)| {
        let mut labels = vec![
            ("__name__".to_owned(), format!("node_{}_seconds", cpu % 3)),
            ("cpu".to_owned(), cpu.to_string()),
            ("instance".to_owned(), "127.1.0.1:9100".to_owned()),
            ("mode".to_owned(), mode.to_owned()),
        ];
        if more == 1 {
            labels.push(("rack".to_owned(), format!("r{}", cpu % 5)));
        }
        if long > 0 {
            labels.push(("text".to_owned(), "x".repeat(long)));
        }
        if many > 36 {
            labels.extend((0..many).map(|at| (format!("z{at:02}"), cpu.to_string())));
        }
        labels
    })
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => (0..100_u32).prop_map(f64::from),
        10 => Just(1.0),
        10 => any::<f64>().prop_filter("a value", |value| !is_absent(*value)),
        1 => Just(STALE_MARKER),
        1 => Just(model::ABSENT),
    ]
}

/// A series that goes, comes, or changes its place.
#[derive(Debug, Clone)]
enum Edit {
    Remove(usize),
    Insert(usize, Text),
    Swap(usize, usize),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        any::<usize>().prop_map(Edit::Remove),
        (any::<usize>(), any_series()).prop_map(|(at, series)| Edit::Insert(at, series)),
        (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Edit::Swap(one, other)),
    ]
}

fn edit(series: &mut Vec<Text>, edit: Edit) {
    let len = series.len();
    match edit {
        Edit::Remove(at) if len > 1 => drop(series.remove(at % len)),
        Edit::Insert(at, new) if !series.contains(&new) => series.insert(at % (len + 1), new),
        Edit::Swap(one, other) => series.swap(one % len, other % len),
        Edit::Remove(_) | Edit::Insert(..) => {}
    }
}

/// `write_relabel_configs`: none, those that drop series, and those that change some too.
fn any_relabelling() -> impl Strategy<Value = Vec<Rule>> {
    (0..3_usize).prop_map(|count| {
        let fields = |regex: &str, action: &str, replacement: &str| RuleFields {
            source_labels: vec!["mode".into()],
            regex: Some(regex.into()),
            action: Some(action.into()),
            target_label: if action == "replace" { "kind".into() } else { String::new() },
            replacement: (action == "replace").then(|| replacement.into()),
            ..RuleFields::default()
        };
        let all = [fields("idle", "drop", ""), fields("(u).*", "replace", "$1")];
        let rules = all.into_iter().take(count);
        rules.map(|fields| Rule::new(fields, NameScheme::default()).unwrap()).collect()
    })
}

/// What is remembered of a page when the next one comes.
struct Before {
    series: Vec<Text>,
    layout: LayoutId,
    plan: Plan,
    stencil: Option<Stencil>,
}

impl Before {
    /// Which of these series were there.
    fn carried_to(&self, series: &[Text]) -> Carried {
        let at = |series: &Text| self.series.iter().position(|known| known == series);
        let old = |series| at(series).map_or(NEW_SERIES, |at| at as u32);
        Carried { from: self.layout, index: series.iter().map(old).collect() }
    }
}

/// A destination's shard, without a destination.
struct Bench {
    shard: Shard,
    ledgers: [Arc<Ledger>; 1],
}

impl Bench {
    fn new(samples_max: u64) -> Bench {
        let ledger = Arc::new(Ledger::default());
        let clock = ManualClock::at(0);
        let queue = Queue::new(UNBOUNDED, Order::OldestFirst, Arc::clone(&ledger), clock, None);
        let outlet = Outlet::open(&Arc::new(queue), Origin::default(), 1);
        let (numbers, begun, encoding) =
            (Numbers::default(), Arc::default(), Encoding::RemoteWrite1);
        let shard = Shard::new(vec![outlet], numbers, begun, encoding, samples_max);
        Bench { shard, ledgers: [ledger] }
    }

    fn append(&self, page: &Page<'_>) {
        Appender::new(&self.shard, Encoding::RemoteWrite1, Books(&self.ledgers)).page(page);
    }

    /// What was sealed, decompressed.
    fn plain_blocks(&self) -> Vec<(Counts, Vec<u8>)> {
        self.shard.flush();
        let mut blocks = Vec::new();
        let outlet = &self.shard.outlets[0];
        while let Some(taken) = outlet.queue.pop(outlet.lane) {
            let Place::Memory(block) = taken.place else { panic!("no disk is configured") };
            blocks.push((block.counts, block.plain_bytes().unwrap().to_vec()));
        }
        blocks
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pages_by_stencil_are_the_pages_by_label(
        series in proptest::collection::btree_set(any_series(), 1..200),
        order in any::<u64>(),
        pages in proptest::collection::vec(
            (
                proptest::collection::vec(any_value(), 260),
                proptest::collection::vec(any_edit(), 0..8),
            ),
            1..9,
        ),
        samples_max in prop_oneof![1..5_u64, 5..1000_u64],
        has_external in any::<bool>(),
        relabels in any_relabelling(),
        is_selected in any::<bool>(),
        timestamp_ms in prop_oneof![5 => Just(1_700_000_000_000_i64), 1 => Just(0), 1 => Just(77)],
    ) {
        let symbols = Symbols::new();
        let family = Arc::new(Family { kind: MetricType::Gauge, ..Family::default() });
        let mut series: Vec<Text> = series.into_iter().collect();
        let len = series.len();
        series.rotate_left(order as usize % len);
        let layout_of = |series: &[Text]| {
            let mut builder = LayoutBuilder::new(&symbols);
            for labels in series {
                builder.push(labels.iter().map(|(name, value)| (&**name, &**value)), &family);
            }
            builder.build()
        };
        let external: &[(&str, &str)] = if has_external { &[("cluster", "c1"), ("zone", "z")] } else { &[] };
        let rules = LabelRules::new(&external.iter().copied().collect(), &relabels, Vec::new());
        // A route takes what it takes by labels: on every page the same series.
        let selection = |series: &[Text]| match is_selected {
            true => Selection::of(series.len(), |at| !series[at][1].1.ends_with('3')),
            false => Selection::All,
        };
        let [ready, anew] = [Bench::new(samples_max), Bench::new(samples_max)];
        let mut shapes = Vec::new();
        let mut before: Option<Before> = None;
        for (at, (values, edits)) in pages.into_iter().enumerate() {
            edits.into_iter().for_each(|one| edit(&mut series, one));
            let values = values[..series.len()].to_vec();
            let mut samples = Samples::plain(Role::Page, layout_of(&series), values);
            samples.carried = before.as_ref().map(|before| before.carried_to(&series));
            let plan_before = before.as_ref().map(|before| &before.plan);
            let plan = Plan::make(&samples, &selection(&series), &rules, plan_before);
            let copied = before.as_ref().zip(samples.carried.as_ref()).and_then(|(before, carried)| {
                let stencil = (before.stencil.as_ref()?, &before.plan);
                stencil_after(&samples, &carried.index, &plan, rules.external(), stencil)
            });
            let made = || stencil(&samples, &plan, rules.external(), shapes.iter());
            let stencil = copied.filter(|_| at % 3 > 0).or_else(made);
            shapes.extend(stencil.iter().map(|stencil| Arc::clone(stencil.shapes())));
            let mut page = Page {
                samples: &samples,
                plan: &plan,
                external: rules.external(),
                timestamp_ms: timestamp_ms + at as i64,
                wants: Wants::default(),
                sheds: false,
                stencil: stencil.as_ref(),
            };
            ready.append(&page);
            page.stencil = None;
            anew.append(&page);
            let (series, layout) = (series.clone(), samples.layout.id());
            before = Some(Before { series, layout, plan, stencil });
        }
        prop_assert_eq!(ready.plain_blocks(), anew.plain_blocks());
    }
}

#[test]
fn a_page_that_changes_a_little_goes_on_with_its_stencil() {
    let symbols = Symbols::new();
    let family = Arc::new(Family::default());
    let page = |numbers: &[u32]| {
        let mut builder = LayoutBuilder::new(&symbols);
        for number in numbers {
            let number = number.to_string();
            let labels = [("__name__", "node_cpu_seconds_total"), ("cpu", &*number)];
            builder.push(labels.into_iter(), &family);
        }
        Samples::plain(Role::Page, builder.build(), vec![1.0; numbers.len()])
    };
    let rules = LabelRules::new(&Default::default(), &[], Vec::new());
    let numbers: Vec<u32> = (0..20).collect();
    let changed: Vec<u32> = (0..21).filter(|number| *number != 4).collect();
    let (first, second) = (page(&numbers), page(&changed));
    let plan = |samples| Plan::make(samples, &Selection::All, &rules, None);
    let before = stencil(&first, &plan(&first), &[], [].iter()).unwrap();
    let after = |index: &[u32]| {
        stencil_after(&second, index, &plan(&second), &[], (&before, &plan(&first)))
    };
    let mut index = changed.clone();
    index[19] = NEW_SERIES;
    let copied = after(&index).unwrap();
    assert!(Arc::ptr_eq(copied.shapes(), before.shapes()));
    assert_eq!((0..20).filter(|nth| copied.has(*nth)).count(), 19, "all but the first have one");
    index.reverse();
    assert!(after(&index).is_none(), "nobody follows whom they followed");
}
