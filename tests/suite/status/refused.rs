//! Bad input: whatever is sent, the answer is a 4xx in the form of a `Status`, and nothing has
//! changed.

use serde_json::Value;
use testkit::{FakeTarget, Rollcall, config};

use super::vm;
use crate::kinds::{VMS, VMS_PATH, vms};
use crate::rollcall;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A request, and the codes it may be answered with.
struct Bad(&'static str, &'static str, String, &'static str, Vec<u8>, &'static [u16]);

fn bad_bodies() -> Vec<Bad> {
    let one = vm("1");
    let deep = [b"{\"a\":".repeat(5000), b"1".to_vec(), b"}".repeat(5000)].concat();
    let wide = format!("{{\"status\":{{\"state\":\"{}\"}}}}", "x".repeat(2 << 20));
    let strict = format!("{one}?fieldValidation=Strict");
    let text = |text: &str| text.as_bytes().to_vec();
    let bad = |what, method, path: &str, media, body, codes| {
        Bad(what, method, path.to_owned(), media, body, codes)
    };
    vec![
        bad("too large", "PATCH", &one, MERGE, text(&wide), &[413]),
        bad("too large", "POST", VMS_PATH, JSON, text(&wide), &[413]),
        bad("too deep", "PATCH", &one, MERGE, deep.clone(), &[400]),
        bad("too deep", "PUT", &one, JSON, deep, &[400]),
        bad("not UTF-8", "PATCH", &one, MERGE, b"{\"status\":\"\xFF\"}".to_vec(), &[400]),
        bad("not JSON", "PATCH", &one, MERGE, text("{"), &[400]),
        bad("a list", "PATCH", &one, MERGE, text("[]"), &[400, 422]),
        bad("a number for a text", "PATCH", &one, MERGE, text(r#"{"status":{"state":7}}"#), &[422]),
        bad("a text for a number", "PATCH", &one, MERGE, text(r#"{"status":{"cpu":"x"}}"#), &[422]),
        bad("status no object", "PATCH", &one, MERGE, text(r#"{"status":[1]}"#), &[400, 422]),
        bad("unknown field", "PATCH", &strict, MERGE, text(r#"{"status":{"x":1}}"#), &[400, 422]),
        bad("no such operation", "PATCH", &one, PATCH, text(r#"[{"op":"x"}]"#), &[400, 422]),
        bad(
            "a test that fails",
            "PATCH",
            &one,
            PATCH,
            text(r#"[{"op":"test","path":"/status/state","value":"x"}]"#),
            &[400, 409, 422],
        ),
        bad("no manager", "PATCH", &one, APPLY, text("{}"), &[400, 422]),
        bad(
            "strategic",
            "PATCH",
            &one,
            "application/strategic-merge-patch+json",
            text("{}"),
            &[415],
        ),
        bad(
            "protobuf",
            "POST",
            VMS_PATH,
            "application/vnd.kubernetes.protobuf",
            text("k8s"),
            &[415],
        ),
        bad("no name", "POST", VMS_PATH, JSON, text("{}"), &[422]),
        bad("another kind", "POST", VMS_PATH, JSON, text(r#"{"kind":"Pod"}"#), &[400]),
        bad("an old version", "PUT", &one, JSON, text(OLD), &[409]),
        bad("no such object", "DELETE", &vm("none"), JSON, Vec::new(), &[404]),
        bad("no such verb", "POST", &one, JSON, text("{}"), &[405]),
        bad("no samples", "POST", "/api/v1/write", JSON, text("{}"), &[415]),
    ]
}

const OLD: &str = r#"{"metadata":{"name":"1","resourceVersion":"1"},"status":{"state":"x"}}"#;

/// Queries that cannot be: selectors of all sorts, versions, limits.
fn bad_queries() -> Vec<(&'static str, String)> {
    let nested = "object.status.state.size() > 0 && ".repeat(80) + "true";
    // Each level multiplies the steps of the one inside it.
    let endless = (0..8)
        .fold("true".to_owned(), |inner, n| format!("[1,2,3,4,5,6,7,8,9,10].all(x{n}, {inner})"));
    let huge = "a".repeat(40_000);
    let field = |text: &str| format!("fieldSelector={}", escape(text));
    vec![
        ("a field that is not there", field("status.nope=1")),
        ("nothing to compare with", field("status.cpu>")),
        ("a huge selector", field(&format!("status.state={huge}"))),
        ("huge labels", format!("labelSelector={}", escape(&format!("x={huge}")))),
        ("a long expression", field(&format!("cel:{nested}"))),
        ("an expression that does not end", field(&format!("cel:{endless}"))),
        ("an unknown function", field("cel:object.status.state.explode()")),
        ("an open bracket", field("cel:((((")),
        ("a version that is none", "resourceVersion=yesterday".to_owned()),
        ("a limit that is none", "limit=-1".to_owned()),
        ("a page that is none", "limit=1&continue=bogus".to_owned()),
    ]
}

/// As it stands in a query.
pub(super) fn escape(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let escape = |byte: u8| match plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[track_caller]
fn check(what: &str, code: u16, codes: &[u16], body: &str) {
    let shown: String = body.chars().take(300).collect();
    assert!(codes.contains(&code), "{what}: {code} {shown}");
    let status: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{what}: {shown}"));
    assert_eq!(status["kind"], "Status", "{what}: {shown}");
    assert_eq!(status["code"], code, "{what}: {shown}");
    assert!(status["message"].as_str().is_some_and(|it| !it.is_empty()), "{what}: {shown}");
}

#[tokio::test]
async fn bad_input_is_refused_and_changes_nothing() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let app: Rollcall = rollcall().config(&config().scrape(&target).section(VMS)).start().await;
    let before = app.json(VMS_PATH).await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    watch.wait_for_events(2).await;
    for Bad(what, method, path, media, body, codes) in bad_bodies() {
        let request = app.client().request(method.parse().unwrap(), app.url(&path));
        let response = request.header("content-type", media).body(body).send().await.unwrap();
        let code = response.status().as_u16();
        check(what, code, codes, &response.text().await.unwrap());
    }
    for (what, query) in bad_queries() {
        for watch in ["", "watch=1&"] {
            if !watch.is_empty() && (query.contains("limit") || query.contains("Version")) {
                continue; // a watch has no pages; of versions, another test tells
            }
            let response = app.client().get(app.url(&format!("{VMS_PATH}?{watch}{query}")));
            let response = response.send().await.unwrap();
            let code = response.status().as_u16();
            let body = response.text().await.unwrap();
            // What does not fit into a request's head never reaches the API.
            if code != 414 && code != 431 {
                check(what, code, &[400], &body);
            }
        }
    }
    target.wait_for_more_requests(2).await;
    assert_eq!(app.json(VMS_PATH).await, before, "nothing has changed");
    assert_eq!(watch.events().len(), 2, "{:#?}", watch.events());
    app.stop_expecting(&["scrape failed"]).await;
}

#[tokio::test]
async fn of_many_objects_at_once_only_the_bad_ones_are_refused() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let app = rollcall().config(&config().scrape(&target).section(VMS)).start().await;
    target.hold();
    target.wait_for_more_requests(1).await;
    let lines = "{\"metadata\":{\"name\":\"1\"},\"status\":{\"state\":\"paused\"}}\n\
                 {\"metadata\":{\"name\":\"2\"},\"status\":{\"state\":[]}}\n\
                 no JSON\n\
                 {\"metadata\":{\"name\":\"9\"},\"status\":{\"state\":\"new\"}}\n";
    let request = app.client().post(app.url(&format!("{VMS_PATH}/bulk")));
    let response = request.header("content-type", "application/x-ndjson").body(lines);
    let body = response.send().await.unwrap().text().await.unwrap();
    let codes: Vec<u64> = body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["code"].as_u64().unwrap())
        .collect();
    assert_eq!(codes, [200, 422, 400, 201], "{body}");
    assert_eq!(app.json(&vm("1")).await["status"]["state"], "paused");
    assert_eq!(app.json(&vm("2")).await["status"]["state"], "stopped");
    target.release();
    app.terminate().await;
}
