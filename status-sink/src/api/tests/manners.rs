//! What clients may count on with every request: the form they asked for, a `Status` when it is
//! refused, and that nothing is guessed where a guess would do harm.

use super::*;

const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const MERGE: &str = "application/merge-patch+json";

/// A request with headers of its own.
async fn ask(center: &Center, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    center.ask(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn one() -> Center {
    Center::with(&[("vm-1", "running", "h1", 0.5)]).await
}

#[tokio::test]
async fn writes_answer_in_the_form_that_was_asked_for() {
    let center = one().await;
    let path = format!("{VMS}/vm-1");
    let change = r#"{"status":{"state":"stopped"}}"#;
    for (accept, kind) in [
        (PARTIAL, "PartialObjectMetadata"),
        (TABLE, "Table"),
        ("application/vnd.kubernetes.protobuf,application/json", "VirtualMachine"),
    ] {
        let headers = [("accept", accept), ("content-type", MERGE)];
        let patched = ask(&center, &format!("PATCH {path}"), &headers, change).await;
        assert_eq!((patched.code.as_u16(), &patched.json()["kind"]), (200, &json!(kind)));
        let whole = vm("vm-1", "stopped", "h1", 0.5).to_string();
        let put = ask(&center, &format!("PUT {path}"), &[("accept", accept)], &whole).await;
        assert_eq!((put.code.as_u16(), &put.json()["kind"]), (200, &json!(kind)));
        let new = json!({ "metadata": { "generateName": "n-" } }).to_string();
        let made = ask(&center, &format!("POST {VMS}"), &[("accept", accept)], &new).await;
        assert_eq!((made.code.as_u16(), &made.json()["kind"]), (201, &json!(kind)));
    }
}

#[tokio::test]
async fn who_accepts_nothing_that_can_be_made_changes_nothing() {
    let center = one().await;
    let before = center.get(VMS).await.text();
    for accept in ["application/vnd.kubernetes.protobuf", "application/cbor", "text/html"] {
        for (line, media, body) in [
            (format!("POST {VMS}"), "application/json", r#"{"metadata":{"name":"x"}}"#),
            (format!("PUT {VMS}/vm-1"), "application/json", r#"{"status":{"state":"x"}}"#),
            (format!("PATCH {VMS}/vm-1"), MERGE, r#"{"status":{"state":"x"}}"#),
            (format!("DELETE {VMS}/vm-1"), "application/json", ""),
            (format!("DELETE {VMS}"), "application/json", ""),
        ] {
            let headers = [("accept", accept), ("content-type", media)];
            ask(&center, &line, &headers, body).await.refused(406, "NotAcceptable", "");
        }
    }
    assert_eq!(center.get(VMS).await.text(), before);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_done_is_said_in_the_form_of_a_status() {
    let center = one().await;
    for path in [
        "/api/v1/pods",
        "/api/v1/namespaces/default/pods",
        "/api/v2",
        "/apis/status.rollcall/",
        &format!("{VMS}/"),
        &format!("{VMS}/vm-1/scale"),
        &format!("{VMS}/vm-1/status/deep"),
        "/openapi/v2",
        "/openapi/v3/apis/apps/v1",
    ] {
        center.get(path).await.refused(404, "NotFound", "could not find the requested resource");
    }
    for line in [
        "POST /apis",
        "DELETE /version",
        "PUT /openapi/v3",
        "POST /api/v1/namespaces",
        "PATCH /apis/status.rollcall/v1",
        "GET /api/v1/write",
        &format!("PUT {VMS}"),
        &format!("POST {VMS}/vm-1"),
        &format!("DELETE {VMS}/vm-1/status"),
    ] {
        ask(&center, line, &[], "{}").await.refused(405, "MethodNotAllowed", "");
    }
    assert_eq!(center.get("/favicon.ico").await.body, b"", "browsers need no Status");
}

#[tokio::test]
async fn a_deletion_that_was_not_understood_deletes_nothing() {
    let center = one().await;
    for body in [
        r#"{"dryRun":["Some"]}"#,
        r#"{"dryRun":"All"}"#,
        r#"{"preconditions":{"uid":5}}"#,
        r#"{"preconditions":["x"]}"#,
        r#"{"kind":"VirtualMachine","metadata":{"name":"vm-1"}}"#,
        "[]",
    ] {
        for path in [format!("{VMS}/vm-1"), VMS.to_owned()] {
            let answer = center.send("DELETE", &path, "application/json", body).await;
            answer.refused(400, "BadRequest", "delete options");
        }
    }
    let rehearsed = r#"{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}"#;
    let answer = center.send("DELETE", &format!("{VMS}/vm-1"), "application/json", rehearsed).await;
    assert_eq!(answer.code, 200);
    assert_eq!(center.names("").await, "vm-1");
}

#[tokio::test]
async fn members_that_are_there_twice_are_refused_warned_of_or_let_pass() {
    let center = one().await;
    let twice = r#"{"status":{"state":"a","state":"b"}}"#;
    let patch = async |validation: &str| {
        let path = format!("{VMS}/vm-1?fieldValidation={validation}");
        center.send("PATCH", &path, MERGE, twice).await
    };
    let words = r#"strict decoding error: duplicate field "status.state""#;
    patch("Strict").await.refused(400, "BadRequest", words);
    assert_eq!(center.get(&format!("{VMS}/vm-1")).await.json()["status"]["state"], "running");
    let warned = patch("Warn").await;
    assert_eq!(warned.headers["warning"], r#"299 - "duplicate field \"status.state\"""#);
    assert_eq!(warned.json()["status"]["state"], "b");
    assert!(!patch("Ignore").await.headers.contains_key("warning"));
}

#[tokio::test]
async fn a_compressed_body_is_refused_by_name() {
    let center = one().await;
    let headers = [("content-encoding", "gzip"), ("content-type", MERGE)];
    let answer = ask(&center, &format!("PATCH {VMS}/vm-1"), &headers, "\u{1f}").await;
    answer.refused(415, "UnsupportedMediaType", "without Content-Encoding");
}

#[tokio::test]
async fn when_an_object_was_last_seen_is_told_in_lists_too() {
    let center = one().await;
    let seen = json!("2026-11-23T19:00:31.000Z");
    let object = center.get(&format!("{VMS}/vm-1?observedAt=true")).await.json();
    assert_eq!(object["status"]["observedAt"], seen);
    for query in ["observedAt=true", "observedAt=true&limit=1"] {
        let list = center.get(&format!("{VMS}?{query}")).await.json();
        assert_eq!(list["items"][0]["status"]["observedAt"], seen, "{query}");
    }
    assert!(!center.get(VMS).await.text().contains("observedAt"));
    let watch = center.get(&format!("{VMS}?watch=1&observedAt=true")).await;
    watch.refused(400, "BadRequest", "observedAt");
}

#[tokio::test]
async fn a_watch_may_ask_for_any_time_and_gets_a_day() {
    let center = one().await;
    let mut watch = center.watch("timeoutSeconds=18446744073709551615").await;
    assert_eq!(watch.told().await, "ADDED vm-1 running");
}

#[tokio::test]
async fn an_event_says_which_edge_it_is() {
    let center = one().await;
    let mut watch = center.watch("envelope=edge&fieldSelector=status.state%3Drunning").await;
    let mut edges = Vec::new();
    assert_eq!(watch.next().await.unwrap()["edge"], Json::Null, "what there was is no edge");
    center.merge(&format!("{VMS}/vm-1"), json!({ "status": { "note": "x" } })).await;
    center.set_state("vm-1", "stopped").await;
    center.set_state("vm-1", "running").await;
    center.delete(&format!("{VMS}/vm-1")).await;
    for _ in 0..4 {
        edges.push(watch.next().await.unwrap()["edge"].as_str().unwrap().to_owned());
    }
    assert_eq!(edges, ["change", "leave", "enter", "delete"]);
}
