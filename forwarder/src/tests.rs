//! The whole part against receivers on loopback: what goes into the router comes out there, or is
//! counted.

mod delivery;
mod durable;
mod ending;
mod policy;
mod reload;
mod remote_write;
mod sharded;
mod shared;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kit::config::yaml;
use kit::metrics::SelfMetrics;
use kit::{Clock, ManualClock};
use model::{
    Batch, BatchSink, Family, Labels, Layout, LayoutBuilder, Memo, MetricType, Outcome, Role,
    Samples, Selection, Source, Symbols,
};
use testkit::{DEADLINE, wait_until};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::block::{Compression, Counts, Encoding, Format};
use crate::config::{
    Common, Config, DataTypeSpec, ForwarderSpec, RemoteWriteSpec, RouteSpec, Spec,
};
use crate::destination::{Common as Surroundings, Destination};
use crate::disk::Keeper;
use crate::feed::Feed;
use crate::module::Module;
use crate::queue::Origin;
use crate::shard::Outlet;
use crate::{Account, DestinationView, Forwarder, Parts, Reason};

/// When all tests begin: 1 January 2026, noon.
const NOW_MS: i64 = 1_767_268_800_000;

const FORMAT: Format =
    Format { encoding: Encoding::RemoteWrite1, compression: Compression::Snappy };
const TEN: Counts = Counts { samples: 10, histograms: 0, exemplars: 0 };

/// A forwarder, and sources that send to it.
struct World {
    forwarder: Forwarder,
    metrics: SelfMetrics,
    clock: Arc<ManualClock>,
    symbols: Arc<Symbols>,
}

/// Someone who is scraped.
struct Target {
    source: Arc<Source>,
    memo: Memo,
    layout: Arc<Layout>,
}

/// The forwarder's sections of a file.
fn config(text: &str) -> Arc<Config> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        external_labels: std::collections::BTreeMap<String, String>,
        remote_write: Vec<Option<RemoteWriteSpec>>,
        forwarders: Vec<Option<ForwarderSpec>>,
        data_types: Vec<Option<DataTypeSpec>>,
        routes: Vec<Option<RouteSpec>>,
    }
    let file: File = yaml::from_str("f", text).unwrap();
    let File { external_labels, remote_write, forwarders, data_types, routes } = file;
    let external_labels: Labels =
        external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let spec = Spec { remote_write, forwarders, data_types, routes };
    let common =
        Common { external_labels: &external_labels, names: Default::default(), elsewhere: &[] };
    Arc::new(spec.check(&common).unwrap())
}

/// A destination that nobody feeds. Its log's thread is one that never answers.
fn alone(text: &str, module: Option<Box<dyn Module>>) -> Arc<Destination> {
    let config = config(text).destinations[0].clone();
    let clock: Arc<dyn Clock> = ManualClock::at(NOW_MS);
    let keeper = config.delivery.disk.as_ref().map(|_| Keeper::default());
    let (tasks, families) = (Handle::current(), Arc::default());
    let common =
        Surroundings { clock: &clock, tasks: &tasks, keeper: keeper.as_ref(), families: &families };
    let module = module.unwrap_or_else(|| (config.build)(&clock).unwrap());
    let destination = Destination::new(config, module, &common, None);
    destination.begin(None, None);
    destination
}

/// Starts a sender of another set of shards, to which nothing more comes.
fn send_set(destination: &Arc<Destination>, fill: impl FnOnce(&Outlet)) {
    let (outlet, finish) =
        (destination.outlet(&destination.queue, Origin::default()), CancellationToken::new());
    fill(&outlet);
    finish.cancel();
    destination.send_from(vec![(outlet, None)], &finish);
}

impl World {
    fn start(text: &str) -> World {
        World::start_in(text, Path::new("no-storage"))
    }

    /// With this folder for queues on disk.
    fn start_in(text: &str, storage: &Path) -> World {
        World::start_with(text, storage, Vec::new())
    }

    /// With sinks of other parts.
    fn start_with(
        text: &str,
        storage: &Path,
        builtin: Vec<(&'static str, Arc<dyn BatchSink>)>,
    ) -> World {
        let clock = ManualClock::at(NOW_MS);
        let metrics = SelfMetrics::new();
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let (metrics_of, storage) = (metrics.clone(), storage.into());
        let parts = Parts { clock: shared, metrics: metrics_of, builtin, storage };
        let forwarder = Forwarder::start(config(text), parts).unwrap();
        World { forwarder, metrics, clock, symbols: Symbols::new() }
    }

    /// A target with `series` series `cpu{core="0"}`, `cpu{core="1"}` …
    fn target(&self, name: &str, series: usize) -> Target {
        let family = Arc::new(Family {
            name: "cpu".into(),
            kind: MetricType::Counter,
            help: "Seconds.".into(),
            ..Family::default()
        });
        let mut builder = LayoutBuilder::new(&self.symbols);
        for core in 0..series {
            let core = core.to_string();
            let labels = [("__name__", "cpu"), ("core", &*core), ("instance", name)];
            builder.push(labels.into_iter(), &family);
        }
        self.target_of(name, builder.build())
    }

    fn target_of(&self, name: &str, layout: Arc<Layout>) -> Target {
        let source = Source::new([("instance", name)].into_iter().collect());
        Target { source, memo: Memo::default(), layout }
    }

    /// Gives the router a page whose values are all `value`, `value` seconds after the beginning.
    fn scrape(&self, target: &mut Target, value: u32) {
        let values = vec![f64::from(value); target.layout.len()];
        let samples = Samples::plain(Role::Page, Arc::clone(&target.layout), values);
        self.send(target, vec![samples], NOW_MS + i64::from(value) * 1000);
    }

    fn send(&self, target: &mut Target, samples: Vec<Samples>, timestamp_ms: i64) {
        let selected = vec![Selection::All; samples.len()];
        let (source, outcome) = (Arc::clone(&target.source), Outcome::Complete);
        let batch = Batch { source, sent: self.clock.now(), timestamp_ms, outcome, samples };
        self.forwarder.router().accept(&batch, &selected, &mut target.memo);
    }

    fn destination(&self, name: &str) -> Arc<Destination> {
        let all = self.forwarder.destinations.load_full();
        Arc::clone(all.iter().find(|running| running.config.name == name).unwrap())
    }

    /// What feeds the destination.
    fn feed(&self, name: &str) -> Arc<Feed> {
        let feeds = self.forwarder.feeds();
        let mut feeds = feeds.iter().map(|(_, feed)| feed);
        let is_member = |feed: &&Arc<Feed>| feed.members.iter().any(|one| one.config.name == name);
        Arc::clone(feeds.find(is_member).unwrap())
    }

    fn view(&self, name: &str) -> DestinationView {
        self.forwarder.destinations().into_iter().find(|view| view.name == name).unwrap()
    }

    /// Ends as a process that is told to stop does, with this much time.
    async fn stop_within(self, deadline: Duration) -> Account {
        self.forwarder.drained(deadline).await;
        let destinations = self.forwarder.destinations.load_full();
        destinations[0].ledger.balance()
    }

    /// Waits until nothing is queued, and checks the books.
    async fn settled(&self, name: &str) -> Account {
        wait_until("nothing is queued", DEADLINE, || async {
            let account = self.balanced(name);
            let queued = account.queued.total();
            if queued == 0 { Ok(account) } else { Err(format!("{queued} queued")) }
        })
        .await
    }

    /// The account, after checking that it is balanced.
    fn balanced(&self, name: &str) -> Account {
        let account = self.view(name).account;
        let sum = account.delivered + account.queued + account.dropped_in_all();
        assert_eq!(account.accepted, sum, "the books are not balanced");
        account
    }

    async fn stop(self) {
        self.forwarder.drained(Duration::from_secs(5)).await;
    }
}

fn dropped(account: &Account, reason: Reason) -> u64 {
    account.dropped(reason).total()
}
