//! The `status` section: which kinds of objects there are, and where their fields come from.
//!
//! [`Spec`] is what the file says, [`Config`] is checked: every template can be filled, every
//! index, column and mirror names a field that exists, no two kinds share a path.
//!
//! A kind is all there is to say about a resource type. No code knows what a virtual machine is.

mod absent;
mod check;
mod fields;
mod ordered;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use kit::config::{Duration, Invalid, is_default};
use serde::{Deserialize, Serialize};

pub(crate) use self::fields::parse as parse_value;
pub use self::ordered::Ordered;
pub(crate) use self::template::Template;
use crate::kind::Kind;

/// API group of a kind that names none.
pub const GROUP_DEFAULT: &str = "status.rollcall";

/// API version of a kind that names none.
pub const VERSION_DEFAULT: &str = "v1";

/// Events kept per kind. At 100 changes/s this covers a listener's absence of about 80 s; each
/// may keep the object as it was before alive (about 800 bytes). When it bites: the listener is
/// told *gone* and lists again.
pub const EVENTS_MAX_DEFAULT: usize = 8192;

/// Objects of one kind. Far above any fleet; keeps a label that should not be in a name
/// template from filling the memory. When it bites:
/// `rollcall_status_refused_objects_total`.
pub const OBJECTS_MAX_DEFAULT: usize = 2_000_000;

/// Listeners at a time, over all kinds: ten times what one process has been measured with.
pub const LISTENERS_MAX_DEFAULT: usize = 100_000;

/// How long readers wait after a start of a status center that others feed: a sender that was
/// refused tries again after 5 s at most (Prometheus' `max_backoff`), and scrapes each 5 s.
pub const WARM_UP_DEFAULT: std::time::Duration = std::time::Duration::from_secs(10);

/// Fields of one kind: a set of fields is kept in 128 bits.
pub const FIELDS_MAX: usize = 128;

/// The `status` section as the file has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "status", default, deny_unknown_fields)]
pub struct Spec {
    /// The kinds of objects. Without any, the status center is not started.
    pub kinds: Vec<KindSpec>,
    /// Listeners (open watches) at a time. More are answered 429. Default: 100000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners_max: Option<usize>,
    /// How long readers wait after a start, at least, so that those who feed us by remote write
    /// have said everything. Default: 10s where nothing is scraped and some field comes from a
    /// metric, else 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
}

/// One kind of objects, as the file has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "status.kind", default, deny_unknown_fields)]
pub struct KindSpec {
    /// The kind's name in upper camel case: `VirtualMachine`.
    pub kind: String,
    /// Its name in paths. Default: the kind in lower case, and an `s`.
    #[serde(skip_serializing_if = "is_default")]
    pub plural: String,
    /// API group. Default: `status.rollcall`.
    #[serde(skip_serializing_if = "is_default")]
    pub group: String,
    /// API version. Default: `v1`.
    #[serde(skip_serializing_if = "is_default")]
    pub version: String,
    /// What kubectl accepts in place of the plural: `[vm]`.
    #[serde(skip_serializing_if = "is_default")]
    pub short_names: Vec<String>,
    /// The groups of kinds that it is listed with (`kubectl get all`). Default: `[all]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
    /// How an object's name is made of the labels of its series: `"{host}-{device}"`. May be
    /// missing if no field comes from a metric: then only the API makes objects.
    #[serde(skip_serializing_if = "is_default")]
    pub name: String,
    /// How its namespace is made. Default: none, the kind is cluster-scoped.
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: String,
    /// Whether objects have a namespace, for a kind without `namespace`. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub namespaced: bool,
    /// Labels of the object, made of the labels of its series: `{ host: "{host}" }`.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub labels: Ordered<String>,
    /// The fields under `.status`, in the order in which they are written.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub fields: Ordered<FieldSpec>,
    /// Conditions under `.status.conditions`, beside `Fresh`.
    #[serde(skip_serializing_if = "Ordered::is_empty")]
    pub conditions: Ordered<ConditionSpec>,
    /// Fields by whose value lists are found without looking at every object.
    #[serde(skip_serializing_if = "is_default")]
    pub index: Vec<String>,
    /// Fields that a table shows, in this order.
    #[serde(skip_serializing_if = "is_default")]
    pub columns: Vec<String>,
    /// What happens to an object that a good scrape no longer has. Default: `delete`.
    #[serde(skip_serializing_if = "is_default")]
    pub absent: AbsentSpec,
    /// How long an object may be on nobody's page before that happens. For kinds whose objects
    /// move between reporters: one scrape interval. Default: 0s, at once.
    #[serde(skip_serializing_if = "is_default")]
    pub absent_after: Duration,
    /// How long the reporter of an object may fail before the object's condition `Fresh` becomes
    /// `False`. Default: 0s, the kind has no such condition.
    #[serde(skip_serializing_if = "is_default")]
    pub stale_after: Duration,
    /// How long an object that only the API knows stays after its last update. Default: 0s, until
    /// it is deleted.
    #[serde(skip_serializing_if = "is_default")]
    pub ttl: Duration,
    /// Events kept for listeners that were away a moment. Default: 8192.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_max: Option<usize>,
    /// Objects of this kind. Further ones are refused and counted. Default: 2000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects_max: Option<usize>,
}

/// Where the value of one field comes from, as the file has it. With neither `metric` nor `label`
/// nor `mirror`, only the API sets the field.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "status.field", default, deny_unknown_fields)]
pub struct FieldSpec {
    /// The metric whose sample is the value.
    #[serde(skip_serializing_if = "is_default")]
    pub metric: String,
    /// The value is this label of that series of the metric whose sample is not 0: for state
    /// sets and info metrics.
    #[serde(skip_serializing_if = "is_default")]
    pub from_label: String,
    /// The value is this label of the object's series.
    #[serde(skip_serializing_if = "is_default")]
    pub label: String,
    /// The value is a field of another object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorSpec>,
    /// `bool`, `number` or `string`. Default: what the source gives (a number from a metric, a
    /// string from a label, from `from_label` and from `map`, the other field's of a mirror).
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: String,
    /// Texts for sample values: `{ 0: off, 1: on }`. A value without one is shown as its number.
    #[serde(skip_serializing_if = "is_default")]
    pub map: BTreeMap<String, String>,
    /// A number that moved by less than this since it was last told makes no event. Default: 0.
    #[serde(skip_serializing_if = "is_default")]
    pub change: f64,
    /// What the field means, for `kubectl explain`.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
}

/// The field of another object that a field is kept equal to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "status.mirror", default, deny_unknown_fields)]
pub struct MirrorSpec {
    /// The other object's kind.
    pub kind: String,
    /// The other object's name, made of fields and labels of this object: `"{host}"`.
    pub name: String,
    /// The field of the other object.
    pub field: String,
}

/// A condition of an object, as the file has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename = "status.condition", default, deny_unknown_fields)]
pub struct ConditionSpec {
    /// A field selector: the condition is `True` while the object matches it, else `False`.
    /// Without it, the API sets the condition.
    #[serde(skip_serializing_if = "is_default")]
    pub when: String,
    /// What the condition means, for `kubectl explain`.
    #[serde(skip_serializing_if = "is_default")]
    pub description: String,
}

/// What happens to an object that a good scrape no longer has: `delete`, `keep`, or
/// `{ set: { state: unknown } }`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum AbsentSpec {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays as it is, until its name is reported again or the API deletes it.
    Keep,
    /// It stays, with these values.
    Set(BTreeMap<String, String>),
}

/// The checked section. Invariant: kinds have paths of their own, and everything that a kind
/// names exists.
#[derive(Debug)]
pub struct Config {
    kinds: Vec<Arc<Kind>>,
    listeners_max: usize,
    warm_up: Option<std::time::Duration>,
}

// === impl Spec ===

impl Spec {
    /// Checks the section.
    ///
    /// # Errors
    /// The first thing that cannot be, with its key below `status` and what to do about it.
    pub fn check(self) -> Result<Config, Invalid> {
        let Spec { kinds, listeners_max, warm_up } = self;
        let listeners_max = listeners_max.unwrap_or(LISTENERS_MAX_DEFAULT);
        let warm_up = warm_up.map(|it| it.to_std());
        Ok(Config { kinds: check::kinds(kinds)?, listeners_max, warm_up })
    }
}

// === impl Config ===

impl Config {
    /// The names of the metrics that the fields of kind after kind come from: `(place of the kind
    /// in the file, kind, metric)`, so that a check can warn when no route brings one here.
    pub fn metrics(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        let kinds = self.kinds.iter().enumerate();
        kinds.flat_map(|(at, kind)| kind.metrics().map(move |metric| (at, kind.name(), metric)))
    }

    /// How long readers wait after a start, at least: those who feed us by remote write cannot be
    /// asked whether they have said everything. `is_fed` says that nothing is scraped here.
    pub fn warm_up(&self, is_fed: bool) -> std::time::Duration {
        let reads = self.metrics().next().is_some();
        let default = if is_fed && reads { WARM_UP_DEFAULT } else { std::time::Duration::ZERO };
        self.warm_up.unwrap_or(default)
    }

    /// Whether there is no kind: the status center need not be started.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The kinds, in the order of the file.
    pub(crate) fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// Listeners at a time.
    pub(crate) fn listeners_max(&self) -> usize {
        self.listeners_max
    }
}
