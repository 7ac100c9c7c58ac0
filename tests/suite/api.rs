//! Endpoints that answer as Prometheus' own do, asked of both.

use reqwest::Method;
use testkit::{FakeTarget, Prometheus, config};

use crate::rollcall;

/// What is compared of an answer: its status, what it says to browsers, and its text where that
/// is no JSON.
async fn answer(method: &Method, url: &str, origin: Option<&str>) -> String {
    let mut request = reqwest::Client::new().request(method.clone(), url);
    if let Some(origin) = origin {
        request = request.header("Origin", origin);
    }
    let response = request.send().await.unwrap();
    let mut said = response.status().to_string();
    for (name, value) in response.headers() {
        if name.as_str().starts_with("access-control-") {
            said.push_str(&format!("\n{name}: {}", value.to_str().unwrap()));
        }
    }
    let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
    lines.sort();
    let text = response.text().await.unwrap();
    if !text.starts_with('{') {
        lines.push(text);
    }
    lines.join("\n")
}

#[tokio::test]
async fn browsers_and_federation_are_answered_as_by_prometheus() {
    let target = FakeTarget::serving("a 1\n").await;
    let yaml = config().scrape(&target).yaml();
    let app = rollcall().yaml(&yaml).start().await;
    let prometheus = Prometheus::agent(&yaml).await;
    let theirs = prometheus.write_url();
    let theirs = theirs.strip_suffix("/api/v1/write").unwrap();
    for (method, path, origin) in [
        (Method::GET, "/api/v1/scrape_pools", None),
        (Method::GET, "/api/v1/scrape_pools", Some("http://a.example")),
        (Method::OPTIONS, "/api/v1/targets", None),
        (Method::OPTIONS, "/api/v1/targets", Some("http://a.example")),
        (Method::GET, "/federate?match[]=up", None),
    ] {
        let (theirs, ours) = (format!("{theirs}{path}"), app.url(path));
        let theirs = answer(&method, &theirs, origin).await;
        let ours = answer(&method, &ours, origin).await;
        assert_eq!(ours, theirs, "{method} {path} {origin:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn only_pages_of_allowed_origins_may_read() {
    let launch = rollcall().argument("--web.cors.origin=https?://(a|b)\\.example");
    let app = launch.config(&config()).start().await;
    for (origin, allowed) in
        [("http://a.example", true), ("https://b.example", true), ("http://a.example.org", false)]
    {
        let url = app.url("/api/v1/status/config");
        let said = answer(&Method::GET, &url, Some(origin)).await;
        let line = format!("access-control-allow-origin: {origin}");
        assert_eq!(said.lines().any(|said| said == line), allowed, "{said}");
    }
    app.stop().await;
}

#[tokio::test]
async fn own_metrics_are_there_as_json_by_name() {
    let app = rollcall().config(&config()).start().await;
    let path = "/api/v1/status/self_metrics?metric_name_pattern=prometheus_(ready|build_.%2B)";
    let shown = app.json(path).await;
    let families = shown["data"].as_array().unwrap();
    let names: Vec<&str> = families.iter().filter_map(|family| family["name"].as_str()).collect();
    assert_eq!(names, ["prometheus_build_info", "prometheus_ready"]);
    assert_eq!(families[1]["type"], "GAUGE");
    assert_eq!(families[1]["metric"][0]["gauge"]["value"], 1.0);
    let (code, _) = app.get("/api/v1/status/self_metrics?metric_name_pattern=(").await;
    assert_eq!(code, 400);
    app.stop().await;
}
