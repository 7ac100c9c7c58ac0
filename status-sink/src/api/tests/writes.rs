//! Creating, replacing, patching, applying, deleting; and what is refused.

use super::*;

const ONE: [(&str, &str, &str, f64); 1] = [("vm-1", "running", "h1", 0.1)];

fn one() -> String {
    format!("{VMS}/vm-1")
}

#[tokio::test]
async fn a_created_object_gets_what_only_the_server_gives() {
    let center = Center::new();
    let answer = center.post(VMS, vm("vm-1", "running", "h1", 0.5)).await;
    assert_eq!(answer.code, 201);
    let object = answer.json();
    let metadata = &object["metadata"];
    assert_eq!(metadata["creationTimestamp"], "2026-11-23T19:00:31Z");
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() < 1 << 63);
    assert_eq!(object["status"]["state"], "running");
    let again = center.post(VMS, vm("vm-1", "x", "h1", 0.5)).await;
    again.refused(409, "AlreadyExists", "virtualmachines.status.rollcall \"vm-1\" already exists");
}

#[tokio::test]
async fn a_generated_name_is_the_prefix_and_five_letters() {
    let center = Center::new();
    let body = json!({ "metadata": { "generateName": "job-" } });
    let mut names = Vec::new();
    for _ in 0..20 {
        let name = center.post(VMS, body.clone()).await.json()["metadata"]["name"].clone();
        assert_eq!(name.as_str().unwrap().len(), "job-".len() + 5);
        names.push(name.to_string());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 20);
}

#[tokio::test]
async fn objects_that_cannot_be_are_refused_and_say_why() {
    let center = Center::new();
    let cases = [
        (json!([]), 400, "BadRequest", "not a JSON object"),
        (
            json!({ "kind": "Pod", "metadata": { "name": "x" } }),
            400,
            "BadRequest",
            "kind is \"Pod\"",
        ),
        (json!({ "apiVersion": "v1" }), 400, "BadRequest", "apiVersion is \"v1\""),
        (json!({}), 422, "Invalid", "name or generateName is required"),
        (json!({ "metadata": { "name": "a/b" } }), 422, "Invalid", "cannot be a name"),
        (json!({ "metadata": { "name": 7 } }), 400, "BadRequest", "metadata.name is not a string"),
        (
            json!({ "metadata": { "name": "x", "namespace": "blue" } }),
            400,
            "BadRequest",
            "namespace may not be set on cluster-scoped objects",
        ),
        (
            json!({ "metadata": { "name": "x", "labels": { "a": 1 } } }),
            422,
            "Invalid",
            "metadata.labels[a]: must be a string",
        ),
        (
            json!({ "metadata": { "name": "x" }, "status": { "cpuUsage": "much" } }),
            422,
            "Invalid",
            "status.cpuUsage: must be a number",
        ),
        (
            json!({ "metadata": { "name": "x" }, "status": { "hostPhase": "up" } }),
            422,
            "Invalid",
            "status.hostPhase: is kept equal to a field of another object",
        ),
        (
            json!({ "metadata": { "name": "x" }, "spec": 7 }),
            422,
            "Invalid",
            "spec: must be an object",
        ),
        (
            json!({ "metadata": { "name": "x", "resourceVersion": "5" } }),
            400,
            "BadRequest",
            "resourceVersion should not be set",
        ),
    ];
    for (body, code, reason, message) in cases {
        center.post(VMS, body).await.refused(code, reason, message);
    }
    assert_eq!(center.names("").await, "");
}

#[tokio::test]
async fn bodies_out_of_bounds_are_refused() {
    let center = Center::with(&ONE).await;
    let before = center.version().await;
    let send = async |media: &str, body: Vec<u8>| {
        let method = if media.contains("patch") { "PATCH" } else { "POST" };
        let path = if media.contains("patch") { one() } else { VMS.to_owned() };
        center.send(method, &path, media, body).await
    };
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(2 << 20)).into_bytes();
    send("application/json", large).await.refused(413, "RequestEntityTooLarge", "1048576 bytes");
    let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100)).into_bytes();
    send("application/json", deep.clone()).await.refused(400, "BadRequest", "levels");
    send("application/merge-patch+json", deep).await.refused(400, "BadRequest", "levels");
    send("application/json", b"{\"a\":\"\xff\"}".to_vec()).await.refused(
        400,
        "BadRequest",
        "UTF-8",
    );
    send("application/json", b"{".to_vec()).await.refused(400, "BadRequest", "EOF");
    let protobuf = "application/vnd.kubernetes.protobuf";
    send(protobuf, b"k8s".to_vec()).await.refused(415, "UnsupportedMediaType", "application/json");
    let strategic = "application/strategic-merge-patch+json";
    send(strategic, b"{}".to_vec()).await.refused(415, "UnsupportedMediaType", "merge-patch");
    assert_eq!(center.version().await, before);
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped() {
    let center = Center::new();
    let body = json!({ "metadata": { "name": "x", "color": "red" }, "status": { "sate": "a" } });
    let strict = center.post(&format!("{VMS}?fieldValidation=Strict"), body.clone()).await;
    let message =
        "strict decoding error: unknown field \"metadata.color\", unknown field \"status.sate\"";
    strict.refused(400, "BadRequest", message);
    let warned = center.post(&format!("{VMS}?fieldValidation=Warn&dryRun=All"), body.clone()).await;
    let warnings: Vec<&str> =
        warned.headers.get_all("warning").iter().map(|it| it.to_str().unwrap()).collect();
    let want = [
        "299 - \"unknown field \\\"metadata.color\\\"\"",
        "299 - \"unknown field \\\"status.sate\\\"\"",
    ];
    assert_eq!(warnings, want);
    let ignored = center.post(&format!("{VMS}?fieldValidation=Ignore"), body).await;
    assert!(!ignored.headers.contains_key("warning"));
    assert_eq!(ignored.json()["status"].get("sate"), None);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_shows_what_it_would() {
    let center = Center::with(&ONE).await;
    let before = center.get(&one()).await.json();
    let dry = |path: &str| format!("{path}?dryRun=All");
    assert_eq!(center.post(&dry(VMS), vm("vm-2", "new", "h1", 0.0)).await.code, 201);
    let patched = center.merge(&dry(&one()), json!({ "status": { "state": "stopped" } })).await;
    assert_eq!(patched.json()["status"]["state"], "stopped");
    assert_eq!(patched.json()["metadata"], before["metadata"]);
    assert_eq!(center.delete(&dry(&one())).await.code, 200);
    let body = json!({ "dryRun": ["All"] }).to_string();
    assert_eq!(center.send("DELETE", &one(), "application/json", body).await.code, 200);
    assert_eq!(center.get(&one()).await.json(), before);
    assert_eq!(center.names("").await, "vm-1");
}

#[tokio::test]
async fn a_replaced_object_is_what_was_sent() {
    let center = Center::with(&ONE).await;
    let mut object = center.get(&one()).await.json();
    object["status"] = json!({ "state": "stopped", "note": "by hand" });
    object["metadata"]["labels"] = json!({ "tier": "web" });
    object["spec"] = json!({ "cpus": 4 });
    let answer = center.put(&one(), object.clone()).await;
    assert_eq!(answer.code, 200, "{}", answer.text());
    let now = answer.json();
    assert_eq!(
        now["status"],
        json!({ "state": "stopped", "note": "by hand", "conditions": now["status"]["conditions"] })
    );
    assert_eq!(now["metadata"]["labels"], json!({ "tier": "web" }));
    assert_eq!(now["metadata"]["generation"], 2);
    assert_eq!(now["metadata"]["uid"], object["metadata"]["uid"]);

    center.put(&one(), object.clone()).await.refused(409, "Conflict", "has been modified");
    object["metadata"]["resourceVersion"] = Json::Null;
    assert_eq!(center.put(&one(), object.clone()).await.code, 200);
    object["metadata"]["name"] = "vm-2".into();
    center.put(&one(), object.clone()).await.refused(400, "BadRequest", "does not match the name");
    center.put(&format!("{VMS}/vm-2"), object).await.refused(404, "NotFound", "vm-2");
}

#[tokio::test]
async fn what_says_nothing_new_makes_no_version() {
    let center = Center::with(&ONE).await;
    let before = center.version().await;
    let same = center.set_state("vm-1", "running").await;
    assert_eq!(same["metadata"]["resourceVersion"], *before);
    assert_eq!(center.version().await, before);
}

#[tokio::test]
async fn patches_change_what_they_name() {
    let center = Center::with(&ONE).await;
    let merged = json!({
        "metadata": { "labels": { "host": null, "tier": "web" }, "annotations": { "a": "b" } },
        "status": { "cpuUsage": null, "state": "paused" },
    });
    let object = center.merge(&one(), merged).await.json();
    assert_eq!(object["metadata"]["labels"], json!({ "tier": "web" }));
    assert_eq!(object["metadata"]["annotations"], json!({ "a": "b" }));
    assert_eq!(object["status"]["state"], "paused");
    assert_eq!(object["status"].get("cpuUsage"), None);
    assert_eq!(object["status"]["host"], "h1");

    let operations = json!([
        { "op": "test", "path": "/status/state", "value": "paused" },
        { "op": "replace", "path": "/status/state", "value": "stopped" },
        { "op": "add", "path": "/metadata/labels/zone", "value": "z1" },
    ]);
    let media = "application/json-patch+json";
    let answer = center.send("PATCH", &one(), media, operations.to_string()).await;
    assert_eq!(answer.json()["status"]["state"], "stopped");
    let again = center.send("PATCH", &one(), media, operations.to_string()).await;
    assert_eq!(again.code, 422);

    let stale = json!({ "metadata": { "resourceVersion": "1" }, "status": { "state": "x" } });
    center.merge(&one(), stale).await.refused(409, "Conflict", "has been modified");
    center.merge(&format!("{VMS}/vm-9"), json!({})).await.refused(404, "NotFound", "vm-9");
}

#[tokio::test]
async fn the_status_subresource_changes_nothing_else() {
    let center = Center::with(&ONE).await;
    let body = json!({
        "metadata": { "labels": { "tier": "web" } },
        "spec": { "cpus": 4 },
        "status": { "state": "stopped" },
    });
    let object = center.merge(&format!("{}/status", one()), body).await.json();
    assert_eq!(object["status"]["state"], "stopped");
    assert_eq!(object["metadata"]["labels"], json!({ "host": "h1" }));
    assert_eq!(object.get("spec"), None);
    assert_eq!(center.get(&format!("{}/status", one())).await.json(), object);
    assert_eq!(center.delete(&format!("{}/status", one())).await.code, 405);
}

#[tokio::test]
async fn conditions_are_the_clients_but_those_that_are_derived() {
    let center = Center::with(&ONE).await;
    let ready = |status: &str| json!({ "type": "Ready", "status": status, "reason": "Tests" });
    let busy = json!({ "type": "Busy", "status": "True" });
    let body = json!({ "status": { "conditions": [ready("True"), busy] } });
    let object = center.merge(&one(), body).await.json();
    let find = |object: &Json, kind: &str| {
        let all = object["status"]["conditions"].as_array().unwrap();
        all.iter().find(|it| it["type"] == kind).map(|it| it["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(find(&object, "Ready").as_deref(), Some("True"));
    assert_eq!(find(&object, "Busy").as_deref(), Some("False"));
    let object = center.merge(&one(), json!({ "status": { "conditions": [] } })).await.json();
    assert_eq!(find(&object, "Ready"), None);
    for nothing in [json!({ "status": { "conditions": null } }), json!({ "status": null })] {
        center.merge(&one(), json!({ "status": { "conditions": [ready("True")] } })).await;
        let object = center.merge(&one(), nothing).await.json();
        assert_eq!((find(&object, "Ready"), find(&object, "Busy").is_some()), (None, true));
    }
    let wrong = json!({ "status": { "conditions": [ready("yes")] } });
    center.merge(&one(), wrong).await.refused(422, "Invalid", "status.conditions[0].status");
}

#[tokio::test]
async fn server_side_apply_makes_merges_and_guards() {
    let center = Center::new();
    let by = |manager: &str| format!("{}?fieldManager={manager}", one());
    let state =
        |state: &str| json!({ "metadata": { "name": "vm-1" }, "status": { "state": state } });
    let made = center.apply(&by("a"), state("running")).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(made.json()["metadata"]["managedFields"][0]["manager"], "a");
    let version = center.version().await;
    assert_eq!(center.apply(&by("a"), state("running")).await.code, 200);
    assert_eq!(center.version().await, version);
    let conflict = center.apply(&by("b"), state("stopped")).await;
    conflict.refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"a\": .status.state",
    );
    assert_eq!(conflict.json()["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = center.apply(&format!("{}&force=true", by("b")), state("stopped")).await;
    assert_eq!(forced.json()["status"]["state"], "stopped");
    center.merge(&by("c"), json!({ "status": { "state": "crashed" } })).await;
    center.apply(&by("b"), state("stopped")).await.refused(
        409,
        "Conflict",
        "conflict with \"c\" using status.rollcall/v1 at 2026-11-23T19:00:31Z: .status.state",
    );
    let mut owned = state("crashed");
    owned["metadata"]["managedFields"] = json!([{ "manager": "x" }]);
    let refused = center.apply(&by("b"), owned).await;
    refused.refused(400, "BadRequest", "metadata.managedFields must be nil");
    let strip = json!([{ "op": "replace", "path": "/metadata/managedFields", "value": [{}] }]);
    let strip = (one(), "application/json-patch+json", strip.to_string());
    let stripped = center.send("PATCH", &strip.0, strip.1, strip.2).await.json();
    assert_eq!(stripped["metadata"].get("managedFields"), None, "{stripped}");
    let yaml = "metadata: {name: vm-1}\nstatus:\n  note: from yaml\n";
    let media = "application/apply-patch+yaml";
    let answer = center.send("PATCH", &by("c"), media, yaml).await;
    assert_eq!(answer.json()["status"]["note"], "from yaml");
    center.apply(&one(), state("x")).await.refused(422, "Invalid", "fieldManager");
}

#[tokio::test]
async fn a_delete_can_have_conditions_of_its_own() {
    let center = Center::with(&ONE).await;
    let object = center.get(&one()).await.json();
    let send = async |body: Json| {
        center.send("DELETE", &one(), "application/json", body.to_string()).await
    };
    let other = json!({ "preconditions": { "uid": "00000000-0000-4000-8000-000000000000" } });
    send(other).await.refused(409, "Conflict", "UID in precondition");
    let old = json!({ "preconditions": { "resourceVersion": "1" } });
    send(old).await.refused(409, "Conflict", "modified");
    let right = json!({
        "propagationPolicy": "Background",
        "preconditions": { "uid": object["metadata"]["uid"] },
    });
    let status = send(right).await.json();
    assert_eq!(status["status"], "Success");
    assert_eq!(status["details"]["uid"], object["metadata"]["uid"]);
    assert_eq!(center.get(&one()).await.code, 404);
    center.delete(&one()).await.refused(404, "NotFound", "vm-1");
}

#[tokio::test]
async fn a_collection_is_deleted_as_far_as_it_is_selected() {
    let center = Center::new();
    for n in 0..300 {
        let state = if n % 3 == 0 { "stopped" } else { "running" };
        center.create(vm(&format!("vm-{n:03}"), state, "h1", 0.0)).await;
    }
    let stopped = format!("{VMS}?fieldSelector=status.state%3Dstopped");
    assert_eq!(center.delete(&stopped).await.json()["status"], "Success");
    let left = center.get(VMS).await.json();
    assert_eq!(left["items"].as_array().unwrap().len(), 200);
    assert_eq!(center.delete(VMS).await.code, 200);
    assert_eq!(center.names("").await, "");
}

#[tokio::test]
async fn methods_that_mean_nothing_are_405() {
    let center = Center::new();
    for (method, path) in [("PUT", VMS.to_owned()), ("PATCH", VMS.to_owned()), ("POST", one())] {
        let answer = center.send(method, &path, "application/json", "{}").await;
        answer.refused(405, "MethodNotAllowed", "does not allow this method");
    }
}
