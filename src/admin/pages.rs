//! The HTML pages: targets, service discovery, forwarders, configuration, flags, status.
//!
//! Written by the server, without scripts: what they show can be asked as JSON too.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{Html, Redirect};
use axum::routing::get;
use model::Labels;
use scraper::{PoolView, TargetView};

use super::Admin;
use super::page::{Page, Text};
use super::targets::{pools, time_text};

/// Targets of a pool that a page shows; with more it says how many there are.
const TARGETS_SHOWN_MAX: usize = 1_000;

pub(super) fn routes(prefix: &str) -> Router<Arc<Admin>> {
    let prefix: Arc<str> = prefix.into();
    let route = |page: fn(&Admin, &str) -> Html<String>| {
        let prefix = Arc::clone(&prefix);
        get(async move |State(admin): State<Arc<Admin>>| page(&admin, &prefix))
    };
    let home = format!("{prefix}/targets");
    Router::new()
        .route("/", get(async move || Redirect::to(&home)))
        .route("/targets", route(targets))
        .route("/service-discovery", route(service_discovery))
        .route("/forwarders", route(forwarders))
        .route("/config", route(config))
        .route("/flags", route(flags))
        .route("/status", route(status))
}

fn targets(admin: &Admin, prefix: &str) -> Html<String> {
    let mut page = Page::new("Targets", prefix);
    for pool in pools(admin) {
        let up = pool.active.iter().filter(|target| target.health.name() == "up").count();
        let (name, all) = (Text(&pool.name), pool.active.len());
        page.push(format_args!("<h2>{name} <small>{up} of {all} up</small></h2>"));
        let shown = pool.active.iter().take(TARGETS_SHOWN_MAX).map(target_row);
        page.table(["Endpoint", "State", "Labels", "Last scrape", "Took", "Error"], shown);
        tell_rest(&mut page, all);
    }
    page.done()
}

fn target_row(target: &TargetView) -> [String; 6] {
    let health = target.health.name();
    let url = Text(&target.url);
    [
        format!("<a href=\"{url}\">{url}</a>"),
        format!("<span class={health}>{health}</span>"),
        labels(&target.labels),
        target.last_scrape_ms.map_or("never".to_owned(), |ms| time_text(Some(ms))),
        format!("{:.1} ms", target.last_scrape_duration.as_secs_f64() * 1e3),
        Text(target.last_error.as_deref().unwrap_or_default()).to_string(),
    ]
}

fn service_discovery(admin: &Admin, prefix: &str) -> Html<String> {
    let mut page = Page::new("Service discovery", prefix);
    for PoolView { name, active, dropped, n_dropped, .. } in pools(admin) {
        let (name, n_active) = (Text(name), active.len());
        let counts = format!("{n_active} active, {n_dropped} dropped");
        page.push(format_args!("<h2>{name} <small>{counts}</small></h2>"));
        let active =
            active.iter().map(|target| [labels(&target.discovered_labels), labels(&target.labels)]);
        let dropped = dropped.iter().map(|found| [labels(found), "dropped".to_owned()]);
        let shown = active.chain(dropped).take(TARGETS_SHOWN_MAX);
        page.table(["Discovered labels", "Target labels"], shown);
        tell_rest(&mut page, n_active + n_dropped);
    }
    page.done()
}

fn tell_rest(page: &mut Page, all: usize) {
    if let Some(rest) = all.checked_sub(TARGETS_SHOWN_MAX).filter(|rest| *rest > 0) {
        page.push(format_args!("<p>… and {rest} more; see <code>/api/v1/targets</code></p>"));
    }
}

fn forwarders(admin: &Admin, prefix: &str) -> Html<String> {
    let mut page = Page::new("Forwarders", prefix);
    let rows = admin.forwarder.destinations().into_iter().map(|destination| {
        let account = destination.account;
        let state = if destination.alert { "down" } else { "up" };
        let error = destination.last_error.map(|error| error.message).unwrap_or_default();
        [
            format!("<span class={state}>{}</span>", Text(destination.name)),
            format!("{} <small>{}</small>", destination.module, Text(destination.endpoint)),
            account.accepted.total().to_string(),
            account.delivered.total().to_string(),
            account.queued.total().to_string(),
            account.dropped_in_all().total().to_string(),
            destination.shards.to_string(),
            Text(error).to_string(),
        ]
    });
    let head = ["Name", "Module", "Accepted", "Delivered", "Queued", "Dropped", "Shards", "Error"];
    page.table(head, rows);
    page.done()
}

fn config(admin: &Admin, prefix: &str) -> Html<String> {
    let mut page = Page::new("Configuration", prefix);
    page.push(format_args!("<pre>{}</pre>", Text(admin.reloader.current().yaml())));
    page.done()
}

fn flags(admin: &Admin, prefix: &str) -> Html<String> {
    let mut page = Page::new("Flags", prefix);
    let rows = admin.flags.iter();
    page.table(["Flag", "Value"], rows.map(|(f, v)| [Text(f).to_string(), Text(v).to_string()]));
    page.done()
}

fn status(admin: &Admin, prefix: &str) -> Html<String> {
    let mut page = Page::new("Status", prefix);
    let reloaded = admin.reloader.last();
    let rows = [
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Started", time_text(Some(admin.started_ms))),
        ("State", format!("{:?}", admin.readiness.get())),
        ("Last reload", if reloaded.succeeded { "succeeded" } else { "failed" }.to_owned()),
        ("Configuration from", time_text(Some(reloaded.succeeded_ms))),
        ("External address", admin.global_url.external().to_string()),
    ];
    page.table(
        ["", ""],
        rows.into_iter().map(|(name, value)| [name.to_owned(), Text(value).to_string()]),
    );
    page.done()
}

fn labels(labels: &Labels) -> String {
    let pairs = labels.iter();
    pairs
        .map(|(name, value)| format!("<code>{}</code>", Text(format!("{name}=\"{value}\""))))
        .collect()
}
