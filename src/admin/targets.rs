//! `/api/v1/targets`, `/api/v1/targets/*`, `/api/v1/metadata` and `/api/v1/scrape_pools*`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use jiff::Timestamp;
use kit::Chain;
use model::{Family, Labels, SeriesSelector};
use scraper::{PoolView, TargetView};
use serde::{Deserialize, Serialize, Serializer};

use super::Admin;
use super::answer::{Answer, Failure, Success};
use super::global_url::GlobalUrl;

/// What Go prints for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct TargetsQuery {
    state: String,
    scrape_pool: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetDiscovery {
    active_targets: Vec<Target>,
    dropped_targets: Vec<DroppedTarget>,
    /// Null if dropped targets were not asked for.
    dropped_target_counts: Option<BTreeMap<Arc<str>, usize>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    discovered_labels: LabelMap,
    labels: LabelMap,
    scrape_pool: Arc<str>,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DroppedTarget {
    discovered_labels: LabelMap,
    scrape_pool: Arc<str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MetadataQuery {
    limit: String,
    limit_per_metric: String,
    metric: String,
    match_target: String,
}

/// What a target, or all of them, say about a family.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Metadata {
    #[serde(rename = "type")]
    kind: &'static str,
    help: Arc<str>,
    unit: Arc<str>,
}

#[derive(Serialize)]
struct TargetMetadata {
    target: LabelMap,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<Arc<str>>,
    #[serde(flatten)]
    metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScrapePools {
    scrape_pools: Vec<Arc<str>>,
}

/// A label set, as a JSON object.
pub(super) struct LabelMap(pub(super) Labels);

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/targets/metadata", get(target_metadata))
        .route("/api/v1/metadata", get(metadata))
        .route("/api/v1/scrape_pools", get(scrape_pools))
}

async fn scrape_pools(State(admin): State<Arc<Admin>>) -> Success<ScrapePools> {
    let scrape_pools = pools(&admin).into_iter().map(|pool| pool.name).collect();
    Success(ScrapePools { scrape_pools })
}

async fn targets(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<TargetsQuery>,
) -> Success<TargetDiscovery> {
    let state = query.state.to_lowercase();
    let shows = |wanted: &str| matches!(state.as_str(), "" | "any") || state == wanted;
    let mut found = TargetDiscovery {
        active_targets: Vec::new(),
        dropped_targets: Vec::new(),
        dropped_target_counts: shows("dropped").then(BTreeMap::new),
    };
    for pool in pools(&admin) {
        if let Some(counts) = &mut found.dropped_target_counts {
            counts.insert(Arc::clone(&pool.name), pool.n_dropped);
        }
        if !query.scrape_pool.is_empty() && *pool.name != query.scrape_pool {
            continue;
        }
        let name = pool.name;
        if shows("active") {
            let active = pool.active.into_iter();
            let shown = active.map(|target| Target::new(target, &name, &admin.global_url));
            found.active_targets.extend(shown);
        }
        if shows("dropped") {
            found.dropped_targets.extend(pool.dropped.into_iter().map(|labels| DroppedTarget {
                discovered_labels: LabelMap(labels),
                scrape_pool: Arc::clone(&name),
            }));
        }
    }
    Success(found)
}

async fn target_metadata(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<MetadataQuery>,
) -> Answer<Vec<TargetMetadata>> {
    let limit = number(&query.limit, "limit")?;
    let selector = match query.match_target.as_str() {
        "" => None,
        text => Some(SeriesSelector::parse(text).map_err(|error| {
            let error = Chain(&error);
            Failure::BadData(format!("invalid parameter \"match_target\": {error}"))
        })?),
    };
    let mut found = Vec::new();
    for target in pools(&admin).iter().flat_map(|pool| &pool.active) {
        if limit.is_some_and(|limit| found.len() >= limit) {
            break;
        }
        let label = |name: &str| target.labels.get(name);
        if selector.as_ref().is_some_and(|selector| !selector.is_match(label)) {
            continue;
        }
        let wanted =
            target.families().filter(|f| query.metric.is_empty() || *f.name == *query.metric);
        found.extend(wanted.map(|family| TargetMetadata {
            target: LabelMap(target.labels.clone()),
            metric: query.metric.is_empty().then(|| Arc::clone(&family.name)),
            metadata: Metadata::new(family),
        }));
    }
    Ok(Success(found))
}

async fn metadata(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<MetadataQuery>,
) -> Answer<BTreeMap<Arc<str>, BTreeSet<Metadata>>> {
    let limit = number(&query.limit, "limit")?;
    let per_metric = number(&query.limit_per_metric, "limit_per_metric")?.filter(|most| *most > 0);
    let mut found: BTreeMap<Arc<str>, BTreeSet<Metadata>> = BTreeMap::new();
    for family in pools(&admin).iter().flat_map(|pool| &pool.active).flat_map(TargetView::families)
    {
        if !query.metric.is_empty() && *family.name != *query.metric {
            continue;
        }
        let known = found.entry(Arc::clone(&family.name)).or_default();
        if per_metric.is_none_or(|most| known.len() < most) {
            known.insert(Metadata::new(family));
        }
    }
    if let Some(limit) = limit {
        found = found.into_iter().take(limit).collect();
    }
    Ok(Success(found))
}

/// All pools, by name.
pub(super) fn pools(admin: &Admin) -> Vec<PoolView> {
    let mut pools = admin.scraper.pools();
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    pools
}

/// The number in a parameter; none if it is empty or negative.
fn number(text: &str, name: &str) -> Result<Option<usize>, Failure> {
    match text.parse::<i64>() {
        _ if text.is_empty() => Ok(None),
        Ok(number) => Ok(usize::try_from(number).ok()),
        Err(_) => Err(Failure::BadData(format!("{name} must be a number"))),
    }
}

// === impl Target ===

impl Target {
    fn new(target: TargetView, pool: &Arc<str>, global_url: &GlobalUrl) -> Target {
        Target {
            global_url: global_url.of(&target.url),
            discovered_labels: LabelMap(target.discovered_labels),
            labels: LabelMap(target.labels),
            scrape_pool: Arc::clone(pool),
            scrape_url: target.url,
            last_error: target.last_error.as_deref().unwrap_or_default().to_owned(),
            last_scrape: time_text(target.last_scrape_ms),
            last_scrape_duration: target.last_scrape_duration.as_secs_f64(),
            health: target.health.name(),
            scrape_interval: target.scrape_interval.to_string(),
            scrape_timeout: target.scrape_timeout.to_string(),
        }
    }
}

/// A moment as RFC 3339; Go's zero time if there is none.
pub(super) fn time_text(unix_ms: Option<i64>) -> String {
    let time = unix_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

// === impl Metadata ===

impl Metadata {
    fn new(family: &Family) -> Metadata {
        Metadata {
            kind: family.kind.name(),
            help: Arc::clone(&family.help),
            unit: Arc::clone(&family.unit),
        }
    }
}

// === impl LabelMap ===

impl Serialize for LabelMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}
