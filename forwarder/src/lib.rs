//! Batches to destinations: the router, and for each destination a queue, its shards and a module.
//!
//! Invariants: a slow or dead receiver never delays a scrape or another destination; every sample
//! that a destination was given is delivered, queued, or counted as dropped with its reason.
//! Boundary: knows no scrape and no status object; other parts give it their sinks by name.

mod block;
pub mod config;
mod dead_letters;
mod delivery;
mod destination;
mod disk;
mod encode;
mod feed;
mod ledger;
mod metadata;
mod metrics;
mod module;
mod modules;
mod pace;
mod queue;
mod resharding;
mod router;
mod sender;
mod shard;
mod view;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::{join, join_all};
use kit::Clock;
use kit::metrics::SelfMetrics;
use model::BatchSink;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

pub use block::Counts;
pub use config::Config;
pub use ledger::{Account, Reason};
pub use metrics::LastError;
pub use module::{BuildError, ModuleKind};
pub use modules::MODULES;
pub use view::{DestinationView, DiskView};

use destination::Destination;
use feed::{Feed, Surroundings, file_name};
use metrics::{DestinationCollector, Intake, RouterCollector};
use router::{Entry, EntryId, Router, Table};

/// How long a destination that a reload removed or changed may go on to empty its queue.
const LAST_FLUSH: Duration = Duration::from_secs(60);

/// How long a batch may be under way from the router to destinations: far longer than it takes.
const BATCH_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks whether one is.
const UNUSED_TICK: Duration = Duration::from_millis(1);

/// What the forwarder is given by others.
pub struct Parts {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where it counts.
    pub metrics: SelfMetrics,
    /// Destinations of other parts by the names that routes call them (`status`).
    pub builtin: Vec<(&'static str, Arc<dyn BatchSink>)>,
    /// The folder of queues on disk, for destinations that name none. Made when it is needed.
    pub storage: PathBuf,
}

/// Why the forwarder could not start, or not take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A module could not be made.
    #[error("start destination {name}")]
    Build {
        /// The destination.
        name: String,
        /// Why.
        source: BuildError,
    },
    /// A route names a destination that another part should have given.
    #[error("no part provides the destination {name:?} that a route names")]
    Missing {
        /// The name.
        name: String,
    },
}

/// The running part.
pub struct Forwarder {
    router: Arc<Router>,
    clock: Arc<dyn Clock>,
    builtin: Vec<Entry>,
    /// What runs, in the order of the configuration.
    destinations: Arc<ArcSwap<Vec<Arc<Destination>>>>,
    /// Who feeds them, by the routes' ids. A lock, because reloads must not cross; held for a
    /// reload.
    feeds: Mutex<Vec<(EntryId, Arc<Feed>)>>,
    /// Feeds on their way out.
    leaving: TaskTracker,
    /// Their destinations, the latest last: one of the same name begins when they have ended. A
    /// lock, as that of the feeds.
    former: Mutex<Vec<Weak<Destination>>>,
    /// Told when the process has no more time for them.
    hurry: CancellationToken,
    tasks: Handle,
    storage: PathBuf,
}

// === impl Forwarder ===

impl Forwarder {
    /// Starts every destination on the current tokio runtime.
    ///
    /// # Errors
    /// When a module cannot be made, or a route names a part that is not there.
    pub fn start(config: Arc<Config>, parts: Parts) -> Result<Forwarder, StartError> {
        let Parts { clock, metrics, builtin, storage } = parts;
        let builtin = builtin.into_iter().map(|(name, sink)| Entry {
            id: EntryId::next(),
            names: vec![name.into()],
            sink,
            takes_rest: false,
            hears_all: true,
        });
        let destinations = Arc::new(ArcSwap::from_pointee(Vec::new()));
        let forwarder = Forwarder {
            router: Arc::new(Router::new(Table::new(Vec::new(), Vec::new(), &[]))),
            clock,
            builtin: builtin.collect(),
            destinations: Arc::clone(&destinations),
            feeds: Mutex::default(),
            leaving: TaskTracker::new(),
            former: Mutex::default(),
            hurry: CancellationToken::new(),
            tasks: Handle::current(),
            storage,
        };
        forwarder.apply(config)?;
        let router = Arc::clone(&forwarder.router);
        metrics.register(|registry| {
            let intake = Intake::default();
            registry.register_collector(Box::new(DestinationCollector { destinations, intake }));
            registry.register_collector(Box::new(RouterCollector { router }));
        });
        Ok(forwarder)
    }

    /// Where batches go. The same object for ever; what it does follows the configuration.
    pub fn router(&self) -> Arc<dyn BatchSink> {
        Arc::clone(&self.router) as Arc<dyn BatchSink>
    }

    /// Takes a new configuration. Destinations that it does not change keep running with their
    /// queues; others end in the background, and their successors of the same name begin to send
    /// when they have. Destinations that share a log change together.
    ///
    /// # Errors
    /// As [`Forwarder::start`]; then everything goes on as before.
    pub fn apply(&self, config: Arc<Config>) -> Result<(), StartError> {
        self.check_builtin(&config)?;
        let mut feeds = self.feeds();
        let known = config.destination_names().map(file_name).collect();
        let known: Arc<BTreeSet<String>> = Arc::new(known);
        let mut next = Vec::new();
        for group in config.feeds() {
            let wanted: Vec<_> = group.iter().map(|at| config.destinations[*at].clone()).collect();
            match feeds.iter().find(|(_, running)| running.is_for(&wanted)) {
                Some(running) => next.push(running.clone()),
                None => {
                    let started = self.start_feed(&wanted, &known);
                    let started = started.inspect_err(|_| self.take_back(&next, &feeds))?;
                    next.push((EntryId::next(), started));
                }
            }
        }
        let entries = next.iter().map(|(id, feed)| Entry {
            id: *id,
            names: feed.members.iter().map(|member| member.config.name.as_str().into()).collect(),
            sink: Arc::clone(feed) as Arc<dyn BatchSink>,
            takes_rest: feed.config.takes_rest,
            hears_all: false,
        });
        let entries = self.builtin.iter().cloned().chain(entries).collect();
        let table = Table::new(entries, config.data_types.clone(), &config.routes);
        let unused = self.when_unused(self.router.follow(table));
        for (_, old) in feeds.iter().filter(|(_, old)| !contains(&next, old)) {
            self.send_away(Arc::clone(old), &unused);
        }
        self.hand_over(&config);
        let destinations = config.destination_names().filter_map(|name| {
            let mut members = next.iter().flat_map(|(_, feed)| &feed.members);
            members.find(|member| member.config.name == name).cloned()
        });
        self.destinations.store(Arc::new(destinations.collect()));
        *feeds = next;
        Ok(())
    }

    /// Every destination with its queue, as plain data.
    pub fn destinations(&self) -> Vec<DestinationView> {
        self.destinations.load().iter().map(|running| DestinationView::of(running)).collect()
    }

    /// Takes no more samples; empties the queues for `deadline` at most, also of destinations that
    /// are on their way out. What is left then is dropped and counted as stopped, or stays on disk.
    /// Call it when no more batches come.
    pub async fn drained(&self, deadline: Duration) {
        let feeds: Vec<_> = self.feeds().iter().map(|(_, feed)| Arc::clone(feed)).collect();
        let stops = feeds.iter().map(|feed| feed.stop(deadline));
        self.leaving.close();
        let leaving = async {
            if timeout(deadline, self.leaving.wait()).await.is_err() {
                self.hurry.cancel();
                self.leaving.wait().await;
            }
        };
        join(join_all(stops), leaving).await;
    }

    fn start_feed(
        &self,
        configs: &[config::DestinationConfig],
        known: &Arc<BTreeSet<String>>,
    ) -> Result<Arc<Feed>, StartError> {
        for config in configs {
            info!(destination = %config.name, module = config.module, "starting");
        }
        let (clock, tasks, storage) = (&self.clock, &self.tasks, self.storage.as_path());
        let around = Surroundings { clock, tasks, storage, known };
        // Of one name the latest comes first.
        let mut before = self.destinations.load().to_vec();
        before.extend(self.former());
        Feed::start(configs, &before, &around).map_err(|source| {
            let names: Vec<&str> = configs.iter().map(|config| &*config.name).collect();
            StartError::Build { name: names.join(","), source }
        })
    }

    /// Ends those of `next` that were started for a configuration that failed.
    fn take_back(&self, next: &[(EntryId, Arc<Feed>)], running: &[(EntryId, Arc<Feed>)]) {
        for (_, started) in next.iter().filter(|(_, started)| !contains(running, started)) {
            let nobody_uses_it = CancellationToken::new();
            nobody_uses_it.cancel();
            // Nor does it take up what those leave that go on.
            started.members.iter().for_each(|member| member.abandoned.cancel());
            self.send_away(Arc::clone(started), &nobody_uses_it);
        }
    }

    /// Told when no batch is under way any more by what this table says.
    fn when_unused(&self, table: Arc<Table>) -> CancellationToken {
        let unused = CancellationToken::new();
        let tell = unused.clone();
        self.leaving.spawn_on(
            async move {
                let began = Instant::now();
                while Arc::strong_count(&table) > 1 && began.elapsed() < BATCH_WITHIN {
                    tokio::time::sleep(UNUSED_TICK).await;
                }
                tell.cancel();
            },
            &self.tasks,
        );
        unused
    }

    /// Destinations on their way out, the latest first.
    fn former(&self) -> Vec<Arc<Destination>> {
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.retain(|one| one.upgrade().is_some_and(|one| !one.ended.is_cancelled()));
        former.iter().rev().filter_map(Weak::upgrade).collect()
    }

    /// Destinations on their way out leave what is queued to those that take it up.
    fn hand_over(&self, config: &Config) {
        for former in self.former() {
            let mut all = config.destinations.iter();
            let takes_up = |new: &config::DestinationConfig| {
                new.goes_on_from_disk_of(&former.config) || new.takes_over_from(&former.config)
            };
            if all.any(takes_up) {
                self.leaving.spawn_on(async move { former.hand_over().await }, &self.tasks);
            }
        }
    }

    /// Ends a feed.
    fn send_away(&self, feed: Arc<Feed>, unused: &CancellationToken) {
        info!(destination = %feed.names(), "ending");
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.extend(feed.members.iter().map(Arc::downgrade));
        drop(former);
        let (unused, hurry) = (unused.clone(), self.hurry.clone());
        let ended = async move {
            let stopped = async {
                unused.cancelled().await;
                feed.stop(LAST_FLUSH).await;
            };
            let abandoned = async {
                hurry.cancelled().await;
                feed.members.iter().for_each(|member| member.abandoned.cancel());
                pending::<()>().await;
            };
            tokio::select! {
                () = stopped => {}
                () = abandoned => {}
            }
        };
        self.leaving.spawn_on(ended, &self.tasks);
    }

    fn check_builtin(&self, config: &Config) -> Result<(), StartError> {
        let known = |name: &str| {
            self.builtin.iter().any(|entry| entry.is(name))
                || config.destination_names().any(|known| known == name)
        };
        let named = config.routes.iter().flat_map(|route| &route.to);
        match named.into_iter().find(|name| !known(name)) {
            Some(name) => Err(StartError::Missing { name: name.clone() }),
            None => Ok(()),
        }
    }

    fn feeds(&self) -> MutexGuard<'_, Vec<(EntryId, Arc<Feed>)>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.destinations.load().iter()).finish()
    }
}

fn contains(feeds: &[(EntryId, Arc<Feed>)], one: &Arc<Feed>) -> bool {
    feeds.iter().any(|(_, known)| Arc::ptr_eq(known, one))
}
