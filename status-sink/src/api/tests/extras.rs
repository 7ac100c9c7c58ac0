//! Summaries, and many objects at once.

use super::*;

const FLEET: [(&str, &str, &str, f64); 3] = [
    ("vm-1", "running", "h1", 0.1),
    ("vm-2", "running", "h2", 0.1),
    ("vm-3", "stopped", "h1", 0.1),
];

fn counts(summary: &Json) -> String {
    let row = |row: &Json| {
        let values = row["values"].as_object().unwrap().values();
        let values: Vec<String> = values.map(Json::to_string).collect();
        format!("{}={}", values.join(","), row["count"])
    };
    summary["counts"].as_array().unwrap().iter().map(row).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_summary_counts_by_fields() {
    let center = Center::with(&FLEET).await;
    let of = async |query: &str| center.get(&format!("{VMS}/summary?{query}")).await.json();
    let by_state = of("by=state").await;
    assert_eq!(counts(&by_state), r#""running"=2 "stopped"=1"#);
    assert_eq!(by_state["total"], 3);
    assert_eq!(by_state["metadata"]["resourceVersion"], *center.version().await);
    let both = of("by=state,status.host").await;
    assert_eq!(counts(&both), r#""running","h1"=1 "running","h2"=1 "stopped","h1"=1"#);
    center.set_state("vm-1", "stopped").await;
    center.delete(&format!("{VMS}/vm-3")).await;
    assert_eq!(counts(&of("by=state").await), r#""running"=1 "stopped"=1"#);
    assert_eq!(counts(&of("by=state&fieldSelector=status.host%3Dh1").await), r#""stopped"=1"#);
    assert_eq!(counts(&of("by=note").await), "null=2");
    let wrong = center.get(&format!("{VMS}/summary?by=color")).await;
    wrong.refused(400, "BadRequest", "by: no field \"color\"; there are state, haEnabled");
    let object = center.get(&format!("{VMS}/summary")).await;
    object.refused(404, "NotFound", "\"summary\" not found");
}

#[tokio::test]
async fn a_summary_can_be_watched() {
    let center = Center::with(&FLEET).await;
    let path = format!("{VMS}/summary?by=state&watch=true");
    let mut watch = center.stream(&path, "application/json").await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["type"], "ADDED");
    assert_eq!(counts(&first["object"]), r#""running"=2 "stopped"=1"#);
    center.merge(&format!("{VMS}/vm-1"), json!({ "status": { "cpuUsage": 0.7 } })).await;
    center.set_state("vm-1", "crashed").await;
    let second = watch.next().await.unwrap();
    assert_eq!(second["type"], "MODIFIED");
    assert_eq!(counts(&second["object"]), r#""crashed"=1 "running"=1 "stopped"=1"#);
}

#[tokio::test]
async fn many_lines_are_many_results() {
    let center = Center::with(&FLEET).await;
    let lines = [
        json!({ "metadata": { "name": "vm-1" }, "status": { "state": "crashed" } }).to_string(),
        json!({ "metadata": { "name": "vm-9" }, "status": { "state": "new" } }).to_string(),
        json!({ "metadata": { "name": "vm-2" }, "status": { "cpuUsage": "x" } }).to_string(),
        "{broken".to_owned(),
        json!({ "status": {} }).to_string(),
        json!({ "type": "DELETED", "object": { "metadata": { "name": "vm-3" } } }).to_string(),
    ];
    let bulk = format!("{VMS}/bulk");
    let answer = center.send("POST", &bulk, "application/x-ndjson", lines.join("\n")).await;
    assert_eq!(answer.code, 200);
    let results: Vec<Json> =
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<u64> = results.iter().map(|it| it["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [200, 201, 422, 400, 400, 200]);
    assert_eq!(results[2]["reason"], "Invalid");
    assert_eq!(results[1]["name"], "vm-9");
    let made = center.get(&format!("{VMS}/vm-9")).await.json();
    assert_eq!(made["metadata"]["resourceVersion"], results[1]["resourceVersion"]);
    assert_eq!(center.names("fieldSelector=status.state%3Dcrashed").await, "vm-1");
    assert_eq!(center.names("").await, "vm-1 vm-2 vm-9");
    assert_eq!(center.get(&format!("{VMS}/vm-1")).await.json()["status"]["host"], "h1");
}

#[tokio::test]
async fn a_list_is_answered_by_a_list() {
    let center = Center::new();
    let items = [vm("a", "running", "h1", 0.1), vm("b", "running", "h1", 0.1)];
    let body = json!({ "kind": "List", "apiVersion": "v1", "items": items });
    let answer = center.post(&format!("{VMS}/bulk"), body).await.json();
    assert_eq!(answer["items"][1]["code"], 201);
    assert_eq!(center.names("").await, "a b");
    let one_line = center.post(&format!("{VMS}/bulk"), vm("c", "running", "h1", 0.1)).await;
    assert_eq!(one_line.json()["code"], 201);
    let array = json!([vm("d", "running", "h1", 0.1), 5]);
    let answer = center.post(&format!("{VMS}/bulk"), array).await.json();
    assert_eq!([&answer["items"][0]["code"], &answer["items"][1]["code"]], [201, 400]);
    let pretty = serde_json::to_string_pretty(&vm("e", "running", "h1", 0.1)).unwrap();
    let answer = center.send("POST", &format!("{VMS}/bulk"), "application/json", pretty).await;
    assert_eq!(answer.json()["code"], 201);
    assert_eq!(center.names("").await, "a b c d e");
}

#[tokio::test]
async fn an_event_of_no_known_type_writes_nothing() {
    let center = Center::with(&FLEET).await;
    let mut event = json!({ "type": "BOOKMARK", "object": vm("vm-1", "x", "h1", 0.1) });
    let answer = center.post(&format!("{VMS}/bulk"), event.clone()).await.json();
    assert_eq!((&answer["code"], &answer["reason"]), (&json!(400), &json!("BadRequest")));
    assert_eq!(center.names("fieldSelector=status.state%3Dx").await, "");
    event["type"] = "MODIFIED".into();
    assert_eq!(center.post(&format!("{VMS}/bulk"), event).await.json()["code"], 200);
    assert_eq!(center.names("fieldSelector=status.state%3Dx").await, "vm-1");
    let disk = json!({ "metadata": { "name": "d" } });
    let answer = center.post("/apis/status.rollcall/v1/disks/bulk", disk).await.json();
    assert_eq!(answer["message"], "metadata.namespace is required");
}
