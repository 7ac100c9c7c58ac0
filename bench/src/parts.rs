//! What can be measured alone: inflating and reading a page, routing and encoding its samples.
//!
//! A part is prepared once and then run as often as wanted; a run is one page of [`SAMPLES`]
//! samples. Everything happens on the thread that runs it, so that instructions can be counted.

mod page;

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;

use forwarder::config::{Common, DataTypeSpec, ForwarderSpec, RouteSpec, Spec};
use forwarder::{Forwarder, Parts};
use kit::config::yaml;
use kit::metrics::SelfMetrics;
use kit::{Clock, SystemClock};
use model::{Batch, Memo, Moment, Outcome, Role, Samples, Selection, Source};
use scraper::lab::{Lab, PageFormat, Reader, inflate};
use tokio::runtime::{Builder, Runtime};

use self::page::page;

/// Samples of a page.
pub const SAMPLES: usize = 3_311;

/// Names of the parts, in the order of the way of a sample.
pub const PARTS: &[&str] = &[
    "inflate",
    "read, page like the last one",
    "read, lines in another order",
    "read, 5 % of the lines new",
    "read, labels known",
    "read, labels new",
    "route alone",
    "encode 1.0, page like the last ones",
    "encode 1.0, page new",
    "encode 2.0, page like the last ones",
    "encode NDJSON, page like the last ones",
];

/// Pages that follow each other, over and over.
const PAGES: usize = 16;
/// VMs of 200 that are others on each page: 5 % of all lines.
const CHURNED_VMS: usize = 17;
/// Pages before a destination is in its steady state.
const PAGES_BEFORE: usize = 4;

/// A part that is ready to be run: one page.
pub type Run = Box<dyn FnMut()>;

/// Prepares a part; none if there is no such part.
pub fn prepare(name: &str) -> Option<Run> {
    let steady = || (0..PAGES).map(|tick| page(tick, 0, false)).collect::<Vec<_>>();
    Some(match name {
        "inflate" => inflating(&steady()),
        "read, page like the last one" => reading(steady()),
        "read, lines in another order" => {
            reading((0..PAGES).map(|tick| page(tick, 0, tick % 2 == 1)).collect())
        }
        "read, 5 % of the lines new" => {
            reading((0..PAGES).map(|tick| page(tick, tick * CHURNED_VMS, false)).collect())
        }
        "read, labels known" => {
            let (lab, page) = (Lab::new(), page(0, 0, false));
            read(&mut target(&lab), &page);
            Box::new(move || read(&mut target(&lab), &page))
        }
        "read, labels new" => {
            let page = page(0, 0, false);
            Box::new(move || read(&mut target(&Lab::new()), &page))
        }
        "route alone" => sending("{}", true),
        "encode 1.0, page like the last ones" => sending(&blackhole("remote_write1"), true),
        "encode 1.0, page new" => sending(&blackhole("remote_write1"), false),
        "encode 2.0, page like the last ones" => sending(&blackhole("remote_write2"), true),
        "encode NDJSON, page like the last ones" => sending(&blackhole("ndjson"), true),
        _ => return None,
    })
}

fn inflating(pages: &[String]) -> Run {
    let compress = |page: &String| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder
            .write_all(page.as_bytes())
            .and_then(|()| encoder.finish())
            .expect("memory takes all")
    };
    let bodies: Vec<Vec<u8>> = pages.iter().map(compress).collect();
    let mut next = 0;
    Box::new(move || {
        black_box(inflate(&bodies[next]).expect("it was compressed here"));
        next = (next + 1) % bodies.len();
    })
}

fn reading(pages: Vec<String>) -> Run {
    let mut reader = target(&Lab::new());
    let mut next = 0;
    let mut run = move || {
        read(&mut reader, &pages[next]);
        next = (next + 1) % pages.len();
    };
    run();
    Box::new(run)
}

fn target(lab: &Lab) -> Reader {
    lab.target([("instance", "127.0.0.1:9100"), ("job", "hosts")].into_iter().collect())
}

fn read(reader: &mut Reader, page: &str) {
    let samples = reader.read(page.as_bytes(), PageFormat::Text).expect("the page is good");
    assert_eq!(samples as usize, SAMPLES);
}

fn blackhole(format: &str) -> String {
    format!(
        "forwarders: [{{ name: nowhere, module: blackhole, format: {format} }}]\n\
         data_types: [{{ name: all, match: ['{{__name__=~\".+\"}}'] }}]\n\
         routes: [{{ data_types: [all], to: [nowhere] }}]\n"
    )
}

/// What stands between the scrape and a receiver, with nobody behind it.
struct Way {
    runtime: Runtime,
    forwarder: Forwarder,
    batch: Batch,
    memo: Memo,
    values: Vec<Vec<f64>>,
    next: usize,
}

/// Pages through the router and into blocks. Not `known`: each as if it were the first.
fn sending(sections: &str, known: bool) -> Run {
    let mut way = Way::new(sections);
    (0..PAGES_BEFORE).for_each(|_| way.take());
    Box::new(move || {
        if !known {
            way.memo.clear();
        }
        way.take();
    })
}

impl Way {
    fn new(sections: &str) -> Way {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let forwarder = {
            let _inside = runtime.enter();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let (metrics, storage) = (SelfMetrics::new(), std::env::temp_dir());
            let parts = Parts { clock, metrics, builtin: Vec::new(), storage };
            Forwarder::start(config(sections), parts).expect("it starts")
        };
        let mut reader = target(&Lab::new());
        let mut values = Vec::new();
        let mut layout = None;
        for tick in 0..PAGES {
            read(&mut reader, &page(tick, 0, false));
            let samples = reader.samples().last().expect("the page has samples");
            values.push(samples.values.clone());
            layout = Some(Arc::clone(&samples.layout));
        }
        let layout = layout.expect("there are pages");
        let labels = [("instance", "127.0.0.1:9100"), ("job", "hosts")].into_iter().collect();
        let batch = Batch {
            source: Source::new(labels),
            sent: Moment(1),
            timestamp_ms: 1_767_268_800_000,
            outcome: Outcome::Complete,
            samples: vec![Samples::plain(Role::Page, layout, Vec::new())],
        };
        Way { runtime, forwarder, batch, memo: Memo::default(), values, next: 0 }
    }

    /// Takes one page, and lets the senders take what is full.
    fn take(&mut self) {
        let samples = &mut self.batch.samples[0];
        samples.values.clone_from(&self.values[self.next]);
        self.next = (self.next + 1) % self.values.len();
        self.batch.timestamp_ms += 5000;
        self.forwarder.router().accept(&self.batch, &[Selection::All], &mut self.memo);
        self.runtime.block_on(tokio::task::yield_now());
    }
}

/// Our sections of a configuration, as far as they are needed here.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Sections {
    forwarders: Vec<Option<ForwarderSpec>>,
    data_types: Vec<Option<DataTypeSpec>>,
    routes: Vec<Option<RouteSpec>>,
}

fn config(sections: &str) -> Arc<forwarder::Config> {
    let Sections { forwarders, data_types, routes } =
        yaml::from_str("parts", sections).expect("it is YAML");
    let spec = Spec { forwarders, data_types, routes, ..Spec::default() };
    let external_labels = Default::default();
    let common =
        Common { external_labels: &external_labels, names: Default::default(), elsewhere: &[] };
    Arc::new(spec.check(&common).expect("it is right"))
}
