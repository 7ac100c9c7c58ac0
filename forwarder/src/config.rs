//! The sections `remote_write`, `forwarders`, `data_types` and `routes`: what they say, checked.
//!
//! `remote_write` is Prometheus', key by key and word by word; the others are ours.

mod delivery;
mod queue;
mod remote_write;
mod sharing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kit::config::{Invalid, RelabelSpec, no_null_items, yaml::Section};
use model::{Labels, MetricType, NameScheme, Rule, SeriesSelector};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Serialize, Serializer};

pub(crate) use delivery::{Action, DeadLetterConfig, DeliveryConfig, DiskConfig, Fsync};
pub use delivery::{DeadLetterSpec, DeliverySpec, DiskSpec};
pub use queue::{QueueConfig, QueueSpec};
pub use remote_write::{MetadataSpec, RemoteWriteSpec};

use crate::block::Encoding;
use crate::module::{Build, Checked, MetadataPlan, OwnFile, Settings, Wants};
use crate::modules::MODULES;

/// Destinations, the ones of other parts included: routes keep them as a set of bits.
pub const DESTINATIONS_MAX: usize = 64;

/// The forwarder's part of the file.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// `remote_write`.
    pub remote_write: Vec<Option<RemoteWriteSpec>>,
    /// `forwarders`.
    pub forwarders: Vec<Option<ForwarderSpec>>,
    /// `data_types`.
    pub data_types: Vec<Option<DataTypeSpec>>,
    /// `routes`.
    pub routes: Vec<Option<RouteSpec>>,
}

/// What other sections of the file mean for these.
#[derive(Debug, Clone, Copy)]
pub struct Common<'c> {
    /// `global.external_labels`: added to series that lack them.
    pub external_labels: &'c Labels,
    /// `global.metric_name_validation_scheme`: which labels relabel rules may set.
    pub names: NameScheme,
    /// Destinations that other parts provide (`status`).
    pub elsewhere: &'c [&'c str],
}

/// An entry of `forwarders`: a destination by module.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "config.Forwarder")]
pub struct ForwarderSpec {
    /// Names the destination in routes, its queue, its files and its metrics.
    pub name: String,
    /// The way of sending: a name of `rollcall modules`.
    pub module: String,
    /// The queue, as in `remote_write`.
    pub queue_config: QueueSpec,
    /// Changes or drops series on their way to this destination.
    pub write_relabel_configs: Vec<Option<RelabelSpec>>,
    /// Durability, what answers mean, thinning and shedding, as in `remote_write`.
    pub delivery: DeliverySpec,
    /// The module's own keys.
    #[serde(rename = "<inline>")]
    pub section: Section,
    /// Where paths start.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// An entry of `data_types`: a name for a set of series.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.DataType")]
pub struct DataTypeSpec {
    /// How routes call it.
    pub name: String,
    /// Series selectors as in Prometheus' `match[]`; a series is in the set if one selects it.
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<String>,
    /// Metric types: the series' type must be one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
}

/// An entry of `routes`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Route")]
pub struct RouteSpec {
    /// The route takes series of any of these data types.
    pub data_types: Vec<String>,
    /// The destinations that get them. An empty list: nobody does.
    pub to: Option<Vec<String>>,
    /// Whether later routes are asked too.
    #[serde(rename = "continue")]
    pub goes_on: bool,
}

/// Checked. Invariants: names of destinations and of data types are unique, and every name in a
/// route is one of them.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(crate) destinations: Vec<DestinationConfig>,
    pub(crate) data_types: Vec<DataType>,
    pub(crate) routes: Vec<Route>,
}

/// One destination of ours, whatever its module.
#[derive(Clone)]
pub struct DestinationConfig {
    pub(crate) name: String,
    pub(crate) module: &'static str,
    pub(crate) queue: QueueConfig,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) external_labels: Labels,
    pub(crate) relabel: Vec<Rule>,
    pub(crate) encoding: Encoding,
    /// Receivers that have the series between them.
    pub(crate) parts: usize,
    pub(crate) wants: Wants,
    pub(crate) metadata: Option<MetadataPlan>,
    /// Where it writes to, and nobody else.
    file: Option<OwnFile>,
    pub(crate) build: Build,
    /// Whether it gets what no route takes: as `remote_write` does in Prometheus.
    pub(crate) takes_rest: bool,
    settings: Arc<dyn Settings>,
}

/// A named set of series. With neither selectors nor types it would be everything: refused.
#[derive(Debug, Clone)]
pub(crate) struct DataType {
    pub(crate) name: String,
    /// Any of them; all series if there are none.
    pub(crate) selectors: Vec<SeriesSelector>,
    /// Any of them; all types if there are none.
    pub(crate) types: Vec<MetricType>,
}

/// Data types and where they go.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) data_types: Vec<String>,
    pub(crate) to: Vec<String>,
    pub(crate) goes_on: bool,
}

// === impl Spec ===

impl Spec {
    /// Makes the paths in it relative to `dir`.
    pub fn resolve_paths(&mut self, dir: &Path) {
        self.remote_write.iter_mut().flatten().for_each(|spec| spec.resolve_paths(dir));
        self.forwarders.iter_mut().flatten().for_each(|spec| dir.clone_into(&mut spec.folder));
    }

    /// Checks it all.
    ///
    /// # Errors
    /// The first thing wrong, with its key path from the top of the file.
    pub fn check(self, common: &Common<'_>) -> Result<Config, Invalid> {
        let Spec { remote_write, forwarders, data_types, routes } = self;
        let elsewhere = common.elsewhere;
        let message = "empty or null remote write config section";
        let (mut destinations, mut keys) = (Vec::new(), Vec::new());
        for (at, spec) in
            no_null_items(remote_write, "remote_write", message)?.into_iter().enumerate()
        {
            let key = format!("remote_write[{at}]");
            let one = spec.check(common).map_err(|invalid| invalid.under(&key))?;
            if destinations.iter().any(|known: &DestinationConfig| known.name == one.name) {
                let message =
                    format!("found multiple remote write configs with job name {:?}", one.name);
                return Err(Invalid::new(format!("{key}.name"), message));
            }
            destinations.push(one);
            keys.push(key);
        }
        for (at, spec) in no_null_items(forwarders, "forwarders", "empty or null forwarder")?
            .into_iter()
            .enumerate()
        {
            let key = format!("forwarders[{at}]");
            let one = spec.check(common).map_err(|invalid| invalid.under(&key))?;
            let mut taken =
                destinations.iter().map(|known| &*known.name).chain(elsewhere.iter().copied());
            if taken.any(|name| name == one.name) {
                let message = format!("found multiple destinations with name {:?}", one.name);
                return Err(Invalid::new(format!("{key}.name"), message));
            }
            destinations.push(one);
            keys.push(key);
        }
        if destinations.len() + elsewhere.len() > DESTINATIONS_MAX {
            let message = format!("more than {DESTINATIONS_MAX} destinations in all");
            return Err(Invalid::new("forwarders", message));
        }
        let data_types = check_data_types(data_types)?;
        let names = destinations.iter().map(|known| &*known.name).chain(elsewhere.iter().copied());
        let routes = check_routes(routes, &data_types, &names.collect())?;
        let config = Config { destinations, data_types, routes };
        config.check_folders(&keys)?;
        config.check_files(&keys)?;
        Ok(config)
    }
}

fn check_data_types(specs: Vec<Option<DataTypeSpec>>) -> Result<Vec<DataType>, Invalid> {
    let mut data_types: Vec<DataType> = Vec::new();
    let specs = no_null_items(specs, "data_types", "empty or null data type")?;
    for (at, spec) in specs.into_iter().enumerate() {
        let key = format!("data_types[{at}]");
        let one = spec.check().map_err(|invalid| invalid.under(&key))?;
        if data_types.iter().any(|known| known.name == one.name) {
            let message = format!("found multiple data types with name {:?}", one.name);
            return Err(Invalid::new(format!("{key}.name"), message));
        }
        data_types.push(one);
    }
    Ok(data_types)
}

fn check_routes(
    specs: Vec<Option<RouteSpec>>,
    data_types: &[DataType],
    destinations: &BTreeSet<&str>,
) -> Result<Vec<Route>, Invalid> {
    let data_types: BTreeSet<&str> = data_types.iter().map(|known| &*known.name).collect();
    let specs = no_null_items(specs, "routes", "empty or null route")?;
    let checked = specs.into_iter().enumerate().map(|(at, spec)| {
        let checked = spec.check(&data_types, destinations);
        checked.map_err(|invalid| invalid.under(format!("routes[{at}]")))
    });
    checked.collect()
}

// === impl ForwarderSpec ===

impl ForwarderSpec {
    fn check(self, common: &Common<'_>) -> Result<DestinationConfig, Invalid> {
        let ForwarderSpec {
            name,
            module,
            queue_config,
            write_relabel_configs,
            mut delivery,
            section,
            folder,
        } = self;
        if name.is_empty() {
            return Err(Invalid::new("name", "forwarder has no name"));
        }
        let Some(kind) = MODULES.iter().find(|kind| kind.name == module) else {
            let known: Vec<&str> = MODULES.iter().map(|kind| kind.name).collect();
            let message = format!("unknown module {module:?}, known: {}", known.join(", "));
            return Err(Invalid::new("module", message));
        };
        let queue = queue_config.check().map_err(|invalid| invalid.under("queue_config"))?;
        delivery.resolve_paths(&folder);
        let delivery = delivery.check().map_err(|invalid| invalid.under("delivery"))?;
        let Checked { build, encoding, parts, wants, metadata, file, settings } =
            (kind.check)(&section, &queue, &folder)?;
        Ok(DestinationConfig {
            name,
            module: kind.name,
            queue,
            delivery,
            external_labels: common.external_labels.clone(),
            relabel: RelabelSpec::check_all(
                write_relabel_configs,
                "write_relabel_configs",
                "empty or null relabeling rule in forwarder",
                common.names,
            )?,
            encoding,
            parts,
            wants,
            metadata,
            file,
            build,
            takes_rest: false,
            settings,
        })
    }
}

impl Serialize for ForwarderSpec {
    /// With the module's keys as the module understands them: secrets stay secret.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = MODULES.iter().find(|kind| kind.name == self.module);
        let kind = kind.ok_or_else(|| S::Error::custom("unknown module"))?;
        let queue = self.queue_config.clone().check().map_err(S::Error::custom)?;
        let checked =
            (kind.check)(&self.section, &queue, &self.folder).map_err(S::Error::custom)?;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("module", &self.module)?;
        map.serialize_entry("queue_config", &self.queue_config)?;
        if !self.write_relabel_configs.is_empty() {
            map.serialize_entry("write_relabel_configs", &self.write_relabel_configs)?;
        }
        if self.delivery != DeliverySpec::default() {
            map.serialize_entry("delivery", &self.delivery)?;
        }
        if let serde_json::Value::Object(own) = checked.settings.shown() {
            let ours = ["name", "queue_config", "write_relabel_configs", "delivery"];
            for (key, value) in own.iter().filter(|(key, _)| !ours.contains(&&***key)) {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

// === impl DataTypeSpec ===

impl DataTypeSpec {
    fn check(self) -> Result<DataType, Invalid> {
        let DataTypeSpec { name, matches, types } = self;
        if name.is_empty() {
            return Err(Invalid::new("name", "data type has no name"));
        }
        if matches.is_empty() && types.is_empty() {
            return Err(Invalid::new("match", "data type needs `match` or `types`"));
        }
        let selectors = matches.iter().enumerate().map(|(at, text)| {
            let parsed = SeriesSelector::parse(text);
            parsed.map_err(|error| Invalid::new(format!("match[{at}]"), error.to_string()))
        });
        let types = types.iter().enumerate().map(|(at, text)| {
            MetricType::from_name(text).ok_or_else(|| {
                let known = MetricType::ALL.map(MetricType::name).join(", ");
                let message = format!("unknown metric type {text:?}, known: {known}");
                Invalid::new(format!("types[{at}]"), message)
            })
        });
        Ok(DataType {
            selectors: selectors.collect::<Result<_, _>>()?,
            types: types.collect::<Result<_, _>>()?,
            name,
        })
    }
}

// === impl RouteSpec ===

impl RouteSpec {
    fn check(
        self,
        known_types: &BTreeSet<&str>,
        known_destinations: &BTreeSet<&str>,
    ) -> Result<Route, Invalid> {
        let RouteSpec { data_types, to, goes_on } = self;
        if data_types.is_empty() {
            return Err(Invalid::new("data_types", "route takes no data type"));
        }
        let to = to.ok_or_else(|| Invalid::new("to", "route goes nowhere: needs `to`"))?;
        let unknown = data_types.iter().position(|name| !known_types.contains(&**name));
        if let Some(at) = unknown {
            let message = format!("no data type has the name {:?}", data_types[at]);
            return Err(Invalid::new(format!("data_types[{at}]"), message));
        }
        let unknown = to.iter().position(|name| !known_destinations.contains(&**name));
        if let Some(at) = unknown {
            let message = format!("no destination has the name {:?}", to[at]);
            return Err(Invalid::new(format!("to[{at}]"), message));
        }
        Ok(Route { data_types, to, goes_on })
    }
}

// === impl Config ===

impl Config {
    /// Names of the destinations of the forwarder's own.
    pub fn destination_names(&self) -> impl Iterator<Item = &str> {
        self.destinations.iter().map(|destination| &*destination.name)
    }

    /// What a person should hear about a file that is right, but perhaps not what was meant: data
    /// types that no route names, and routes behind one that takes the same without going on.
    pub fn advice(&self) -> Vec<Invalid> {
        let mut advice = Vec::new();
        for (at, data_type) in self.data_types.iter().enumerate() {
            if !self.routes.iter().any(|route| route.data_types.contains(&data_type.name)) {
                let message = format!("no route names the data type {:?}", data_type.name);
                advice.push(Invalid::new(format!("data_types[{at}]"), message));
            }
        }
        for (at, route) in self.routes.iter().enumerate() {
            let taken = |name: &String| {
                let mut before = self.routes[..at].iter();
                before.any(|before| !before.goes_on && before.data_types.contains(name))
            };
            if route.data_types.iter().all(taken) {
                let message = "earlier routes take all its data types and do not continue";
                advice.push(Invalid::new(format!("routes[{at}]"), message));
            }
        }
        advice
    }

    /// Whether a series of this family name may reach the destination: what `check config` asks
    /// about the metrics of a status kind. Only names are looked at; other labels may still differ.
    pub fn may_reach(&self, destination: &str, metric: &str) -> bool {
        let mut rest = true;
        for route in &self.routes {
            let mut types =
                self.data_types.iter().filter(|one| route.data_types.contains(&one.name));
            let (may, must) = types.by_ref().fold((false, false), |(may, must), one| {
                let (one_may, one_must) = one.takes_name(metric);
                (may || one_may, must || one_must)
            });
            if may && route.to.iter().any(|to| to == destination) {
                return true;
            }
            if must && !route.goes_on {
                return false;
            }
            rest &= !must;
        }
        let takes_rest = |known: &DestinationConfig| known.takes_rest && known.name == destination;
        rest && self.destinations.iter().any(takes_rest)
    }
}

// === impl DataType ===

impl DataType {
    /// Whether a series of this name may be in the set, and whether it surely is.
    fn takes_name(&self, metric: &str) -> (bool, bool) {
        let mut may = self.selectors.is_empty();
        let mut must = self.selectors.is_empty() && self.types.is_empty();
        for selector in &self.selectors {
            let of_name = |at: &&model::Matcher| at.name() == "__name__";
            let names = selector.matchers().iter().filter(of_name);
            if names.clone().all(|matcher| matcher.is_match(metric)) {
                may = true;
                must |= names.count() == selector.matchers().len() && self.types.is_empty();
            }
        }
        (may, must)
    }
}

// === impl DestinationConfig ===

impl DestinationConfig {
    /// Whether a destination of this configuration finds what one of `before` left on disk.
    pub(crate) fn goes_on_from_disk_of(&self, before: &DestinationConfig) -> bool {
        let folder = |one: &DestinationConfig| one.delivery.disk.clone().map(|disk| disk.folder);
        // In the daemon's folder every log of the destination is found.
        let is_found = folder(before) == Some(None) || folder(self) == folder(before);
        self.name == before.name && folder(self).is_some() && folder(before).is_some() && is_found
    }

    /// Whether a destination of this configuration, in memory, takes up what one of that one has
    /// queued there: it must be able to read it, and send it to one receiver, as it was meant.
    pub(crate) fn takes_over_from(&self, before: &DestinationConfig) -> bool {
        let in_memory = self.delivery.disk.is_none() && before.delivery.disk.is_none();
        let readable = self.encoding == before.encoding && (self.parts, before.parts) == (1, 1);
        self.name == before.name && in_memory && readable
    }

    /// Whether a destination of this configuration may go on under `other`.
    pub(crate) fn is_same(&self, other: &DestinationConfig) -> bool {
        let fields =
            |rules: &[Rule]| -> Vec<_> { rules.iter().map(|rule| rule.fields().clone()).collect() };
        self.name == other.name
            && self.module == other.module
            && self.queue == other.queue
            && self.delivery == other.delivery
            && self.external_labels == other.external_labels
            && fields(&self.relabel) == fields(&other.relabel)
            && self.takes_rest == other.takes_rest
            && self.settings.same(&*other.settings)
    }
}

impl std::fmt::Debug for DestinationConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.name, self.module)
    }
}
