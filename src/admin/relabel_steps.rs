//! `/api/v1/targets/relabel_steps` and `/api/v1/scrape_pools/config`: what a job does with the
//! targets it finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use model::{Labels, Rule, RuleFields};
use scraper::PoolView;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Failure, Success};
use super::targets::{LabelMap, pools};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PoolQuery {
    scrape_pool: String,
    labels: String,
}

#[derive(Serialize)]
struct Steps {
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    rule: Value,
    output: LabelMap,
    keep: bool,
}

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/v1/targets/relabel_steps", get(relabel_steps))
        .route("/api/v1/scrape_pools/config", get(scrape_pool_config))
}

async fn relabel_steps(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<PoolQuery>,
) -> Answer<Steps> {
    let missing = |name: &str| Failure::BadData(format!("no {name} parameter provided"));
    if query.scrape_pool.is_empty() {
        return Err(missing("scrapePool"));
    }
    if query.labels.is_empty() {
        return Err(missing("labels"));
    }
    let labels: BTreeMap<String, String> = serde_json::from_str(&query.labels)
        .map_err(|error| Failure::BadData(format!("error parsing labels: {error}")))?;
    let pool = pool(&admin, &query.scrape_pool)?;
    let labels: Labels = labels.into_iter().collect();
    let mut done = pool.relabel_steps(&labels).into_iter();
    let rules = pool.job.relabel_configs().iter().map(rule_json);
    // Rules behind the one that dropped the target say so too.
    let steps = rules.map(|rule| match done.next() {
        Some(step) => Step { rule, output: LabelMap(step.output), keep: step.keep },
        None => Step { rule, output: LabelMap(Labels::default()), keep: false },
    });
    Ok(Success(Steps { steps: steps.collect() }))
}

async fn scrape_pool_config(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<PoolQuery>,
) -> Answer<Value> {
    if query.scrape_pool.is_empty() {
        return Err(Failure::BadData("no scrapePool parameter provided".to_owned()));
    }
    let pool = pool(&admin, &query.scrape_pool)?;
    Ok(Success(json!({ "yaml": pool.job.yaml() })))
}

fn pool(admin: &Admin, name: &str) -> Result<PoolView, Failure> {
    let unknown = || {
        let error = format!("error retrieving scrape config: scrape pool {name:?} not found");
        Failure::BadData(error)
    };
    pools(admin).into_iter().find(|pool| *pool.name == *name).ok_or_else(unknown)
}

/// The rule as Prometheus prints it: every key that has a default with its value.
fn rule_json(rule: &Rule) -> Value {
    let RuleFields { source_labels, separator, regex, modulus, target_label, replacement, action } =
        rule.fields();
    let mut json = serde_json::Map::new();
    let mut put = |key: &str, value: Value| json.insert(key.to_owned(), value);
    if !source_labels.is_empty() {
        put("source_labels", source_labels.clone().into());
    }
    put("separator", separator.as_deref().unwrap_or(";").into());
    put("regex", regex.as_deref().unwrap_or("(.*)").into());
    if *modulus != 0 {
        put("modulus", (*modulus).into());
    }
    if !target_label.is_empty() {
        put("target_label", target_label.as_str().into());
    }
    put("replacement", replacement.as_deref().unwrap_or("$1").into());
    put("action", action.as_deref().unwrap_or("replace").into());
    Value::Object(json)
}
