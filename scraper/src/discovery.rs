//! Where targets come from: the list of discovery mechanisms, and what they share.
//!
//! A mechanism is one file with a [`Mechanism`] constant and one row in [`MECHANISMS`]. It makes
//! a [`Provider`] of each of its sections in a job; providers whose sections are equal are the
//! same one, shared between jobs and kept over reloads.
//! A provider writes what it finds into its [`Found`]; whoever owns the pools is woken and reads.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use kit::Clock;
use model::Labels;
use tokio::sync::Notify;

use crate::config::JobConfig;
use crate::metrics::{DiscoveryMetrics, MechanismLabel};

mod api;
mod consul;
mod dns;
mod docker;
mod file;
mod fixed;
mod group_list;
mod http;
mod kubernetes;
mod nomad;
mod refresh;

/// Every mechanism, in the order in which Prometheus documents them.
pub(crate) const MECHANISMS: &[Mechanism] = &[
    fixed::MECHANISM,      // static_configs
    file::MECHANISM,       // file_sd_configs
    http::MECHANISM,       // http_sd_configs
    dns::MECHANISM,        // dns_sd_configs
    consul::MECHANISM,     // consul_sd_configs
    kubernetes::MECHANISM, // kubernetes_sd_configs
    docker::MECHANISM,     // docker_sd_configs
    nomad::MECHANISM,      // nomad_sd_configs
];

/// One way of finding targets.
pub(crate) struct Mechanism {
    /// Its name in Prometheus' metrics: `file` for `file_sd_configs`.
    pub(crate) name: &'static str,
    /// The providers that a job asks for.
    pub(crate) wanted: fn(&JobConfig) -> Vec<Arc<dyn Wanted>>,
}

/// Looks for targets, as one section of a job describes.
///
/// Sections that are equal are served by one provider.
pub(crate) trait Provider: PartialEq + Send + Sync + 'static {
    /// Writes what it finds into `found`. Ends only when the future is dropped.
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()>;
}

/// A [`Provider`] of any mechanism.
pub(crate) trait Wanted: Send + Sync + 'static {
    /// The provider itself, to compare with others.
    fn as_any(&self) -> &dyn Any;

    /// Whether `other` is the same, so that one of them serves both.
    fn same(&self, other: &dyn Wanted) -> bool;

    /// See [`Provider::run`].
    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()>;
}

/// What every provider may use.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: DiscoveryMetrics,
    /// The mechanism, and the first job that asked: the labels of its metrics.
    pub(crate) label: MechanismLabel,
}

/// Targets that have labels in common, as a discovery mechanism reports them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Group {
    /// Tells groups of one provider apart, and its errors: a path and number, a URL and number.
    pub(crate) source: Arc<str>,
    /// One label set per target.
    pub(crate) targets: Vec<Labels>,
    /// What all of them have; a target's own label of the same name wins.
    pub(crate) labels: Labels,
}

/// What one provider has found so far. The provider writes, the owner of the pools reads.
pub(crate) struct Found {
    /// A lock, because the two sides live in different tasks; held for a swap or a copy of `Arc`s.
    state: Mutex<FoundState>,
    /// Wakes the owner of the pools; all providers share it.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct FoundState {
    groups: BTreeMap<Arc<str>, Arc<Group>>,
    /// Groups changed since the last [`Found::take`].
    changed: bool,
    /// Answered, or failed, at least once.
    answered: bool,
    /// The answer, or failure, that made `answered` true has been taken.
    first_taken: bool,
}

/// What a look at [`Found`] gave.
pub(crate) struct Taken {
    /// The groups now, by source.
    pub(crate) groups: Vec<Arc<Group>>,
    /// Whether the provider has answered, or failed, yet.
    pub(crate) answered: bool,
}

// === impl Wanted ===

impl<P: Provider> Wanted for P {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn same(&self, other: &dyn Wanted) -> bool {
        other.as_any().downcast_ref::<P>().is_some_and(|other| self == other)
    }

    fn run(self: Arc<Self>, found: Arc<Found>, tools: Tools) -> BoxFuture<'static, ()> {
        Provider::run(self, found, tools)
    }
}

// === impl Found ===

impl Found {
    /// Nothing found yet; `changed` is told whenever that changes.
    pub(crate) fn new(changed: Arc<Notify>) -> Arc<Found> {
        Arc::new(Found { state: Mutex::default(), changed })
    }

    /// These are all groups there are. Groups without targets are left out.
    pub(crate) fn replace(&self, groups: Vec<Group>) {
        let groups = groups.into_iter().filter(|group| !group.targets.is_empty());
        let groups = groups.map(|group| (Arc::clone(&group.source), Arc::new(group))).collect();
        let mut state = self.lock();
        state.changed |= state.groups != groups;
        state.groups = groups;
        self.answered(state);
    }

    /// One group, new or changed; without targets it goes. For providers that hear of changes.
    pub(crate) fn update(&self, group: Group) {
        let mut state = self.lock();
        let source = Arc::clone(&group.source);
        if group.targets.is_empty() {
            state.changed |= state.groups.remove(&source).is_some();
        } else if state.groups.get(&source).is_none_or(|known| **known != group) {
            state.changed = true;
            state.groups.insert(source, Arc::new(group));
        }
        self.answered(state);
    }

    /// The group of `source` is gone.
    pub(crate) fn remove(&self, source: &str) {
        self.update(Group { source: Arc::from(source), ..Group::default() });
    }

    /// The provider tried and found nothing out: what was known stays.
    pub(crate) fn failed(&self) {
        self.answered(self.lock());
    }

    /// The groups as they are now; forgets that they changed.
    pub(crate) fn take(&self) -> Taken {
        let mut state = self.lock();
        state.changed = false;
        state.first_taken = state.answered;
        Taken { groups: state.groups.values().cloned().collect(), answered: state.answered }
    }

    /// Whether there is something that [`Found::take`] has not given yet.
    pub(crate) fn is_changed(&self) -> bool {
        let state = self.lock();
        state.changed || state.answered != state.first_taken
    }

    /// Whether the first answer, or failure, is there and has not been taken.
    pub(crate) fn has_first_answer(&self) -> bool {
        let state = self.lock();
        state.answered && !state.first_taken
    }

    /// Whether the provider has answered, or failed, at least once.
    pub(crate) fn is_answered(&self) -> bool {
        self.lock().answered
    }

    fn answered(&self, mut state: MutexGuard<'_, FoundState>) {
        let news = state.changed || !state.answered;
        state.answered = true;
        drop(state);
        if news {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, FoundState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All providers that `job` asks for, with the name of the mechanism of each.
pub(crate) fn wanted(job: &JobConfig) -> Vec<(&'static str, Arc<dyn Wanted>)> {
    let of_one = |mechanism: &Mechanism| {
        let name = mechanism.name;
        (mechanism.wanted)(job).into_iter().map(move |wanted| (name, wanted))
    };
    MECHANISMS.iter().flat_map(of_one).collect()
}

/// `host:port`, with brackets around an IPv6 address.
fn address(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `,a,b,`: with the separator at both ends, so that rules need not care for first and last.
fn between(items: &[String], separator: &str) -> String {
    format!("{separator}{}{separator}", items.join(separator))
}

/// `text` as part of a label's name: everything but letters and digits becomes `_`.
fn label_name(text: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    text.chars().map(plain).collect()
}
