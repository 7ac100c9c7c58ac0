//! What clients learn before they do anything.

use super::*;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn kubectl_finds_the_kinds_in_two_requests() {
    let center = Center::new();
    let api = center.get_as("/api?timeout=32s", AGGREGATED).await;
    let media = api.headers["content-type"].to_str().unwrap();
    assert_eq!(media, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    assert_eq!(api.json()["items"], json!([]));
    let apis = center.get_as("/apis", AGGREGATED).await.json();
    assert_eq!(apis["apiVersion"], "apidiscovery.k8s.io/v2");
    let resources = &apis["items"][0]["versions"][0]["resources"];
    assert_eq!(
        resources[0],
        json!({
            "resource": "virtualmachines",
            "responseKind": {
                "group": "status.rollcall", "version": "v1", "kind": "VirtualMachine",
            },
            "scope": "Cluster",
            "singularResource": "virtualmachine",
            "shortNames": ["vm"],
            "categories": ["all"],
            "verbs": [
                "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
            ],
            "subresources": [{
                "subresource": "status",
                "responseKind": {
                    "group": "status.rollcall", "version": "v1", "kind": "VirtualMachine",
                },
                "verbs": ["get", "patch", "update"],
            }],
        })
    );
    assert_eq!(resources[2]["scope"], "Namespaced");
}

#[tokio::test]
async fn older_clients_find_the_same_in_the_older_form() {
    let center = Center::new();
    assert_eq!(center.get("/api").await.json()["versions"], json!(["v1"]));
    assert_eq!(center.get("/api/v1").await.json()["resources"], json!([]));
    let groups = center.get("/apis").await.json();
    assert_eq!(groups["groups"][0]["preferredVersion"]["groupVersion"], "status.rollcall/v1");
    let group = center.get("/apis/status.rollcall").await.json();
    assert_eq!(group["kind"], "APIGroup");
    let list = center.get("/apis/status.rollcall/v1").await.json();
    let names: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    let want = [
        "virtualmachines",
        "virtualmachines/status",
        "hosts",
        "hosts/status",
        "disks",
        "disks/status",
    ];
    assert_eq!(names, want);
    assert_eq!(center.get("/version").await.json()["minor"], "37");
    assert_eq!(center.get("/apis/other.group").await.code, 404);
    assert_eq!(center.get("/apis/status.rollcall/v2").await.code, 404);
}

#[tokio::test]
async fn the_schema_says_what_kubectl_must_know() {
    let center = Center::new();
    let index = center.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/status.rollcall/v1"]["serverRelativeURL"].as_str().unwrap();
    let answer = center.get(url).await;
    assert_eq!(answer.headers["cache-control"], "public, immutable");
    let document = answer.json();
    let patch = &document["paths"][format!("{VMS}/{{name}}")]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "VirtualMachine");
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|it| it["name"] == "fieldValidation" && it["in"] == "query"));
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let schema = &schemas["rollcall.status.v1.VirtualMachine"];
    let status = &schema["properties"]["status"]["properties"];
    assert_eq!(
        status["state"],
        json!({ "type": "string", "description": "What the VM is doing." })
    );
    assert_eq!(status["haEnabled"]["type"], "boolean");
    let tag = answer.headers["etag"].to_str().unwrap();
    let again = Request::get(url).header("if-none-match", tag).body(Body::empty()).unwrap();
    assert_eq!(center.ask(again).await.code, 304);
    assert_eq!(center.get("/openapi/v2").await.code, 404);
    assert_eq!(center.get("/openapi/v3/apis/other/v1").await.code, 404);
}

#[tokio::test]
async fn namespaces_and_events_are_there_for_those_who_ask() {
    let center = Center::new();
    for (namespace, name) in [("blue", "d1"), ("blue", "d2"), ("green", "d1")] {
        let path = format!("/apis/status.rollcall/v1/namespaces/{namespace}/disks");
        let answer = center.post(&path, json!({ "metadata": { "name": name } })).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
    }
    let list = center.get("/api/v1/namespaces").await.json();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["blue", "default", "green"]);
    assert_eq!(center.get("/api/v1/namespaces/blue").await.code, 200);
    center.get("/api/v1/namespaces/red").await.refused(404, "NotFound", "namespaces");
    let events = center.get("/api/v1/namespaces/blue/events?fieldSelector=x").await.json();
    assert_eq!(events["items"], json!([]));
}
