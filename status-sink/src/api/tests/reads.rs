//! Getting and listing: selectors, versions, pages, tables.

use super::*;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

const FLEET: [(&str, &str, &str, f64); 4] = [
    ("vm-1", "running", "h1", 0.1),
    ("vm-2", "stopped", "h1", 0.0),
    ("vm-3", "running", "h2", 0.95),
    ("vm-4", "paused", "h3", 0.5),
];

#[tokio::test]
async fn a_list_has_everything_in_order() {
    let center = Center::with(&FLEET).await;
    let answer = center.get(VMS).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let list = answer.json();
    assert_eq!(list["kind"], "VirtualMachineList");
    assert_eq!(list["apiVersion"], "status.rollcall/v1");
    assert_eq!(list["items"][2]["status"]["cpuUsage"], 0.95);
    assert_eq!(list["items"][2]["kind"], "VirtualMachine");
    assert_eq!(center.names("").await, "vm-1 vm-2 vm-3 vm-4");
    assert_eq!(center.get(&format!("{VMS}/vm-2")).await.json(), list["items"][1]);
    center.get(&format!("{VMS}/vm-9")).await.refused(404, "NotFound", "\"vm-9\" not found");
    center.get("/apis/status.rollcall/v1/nothing").await.refused(404, "NotFound", "could not find");
}

#[tokio::test]
async fn selectors_choose_by_index_or_by_looking() {
    let center = Center::with(&FLEET).await;
    for (query, want) in [
        ("fieldSelector=status.state%3Drunning", "vm-1 vm-3"),
        ("fieldSelector=status.host%3Dh1", "vm-1 vm-2"),
        ("fieldSelector=status.host%20in%20(h3,h1),status.state!%3Drunning", "vm-2 vm-4"),
        ("fieldSelector=status.host%3Dh2||status.host%3Dh3", "vm-3 vm-4"),
        ("fieldSelector=metadata.name%3Dvm-3", "vm-3"),
        ("fieldSelector=metadata.name%3Dvm-3,status.host%3Dh1", ""),
        ("fieldSelector=status.cpuUsage%3E0.4", "vm-3 vm-4"),
        ("fieldSelector=cel:object.status.cpuUsage%20%3E%200.4", "vm-3 vm-4"),
        ("fieldSelector=status.conditions.Busy%3DTrue", "vm-3"),
        ("labelSelector=host%3Dh1", "vm-1 vm-2"),
        ("labelSelector=host%20in%20(h2,h3)&fieldSelector=status.state%3Dpaused", "vm-4"),
        ("labelSelector=!host", ""),
    ] {
        assert_eq!(center.names(query).await, want, "{query}");
    }
    let wrong = format!("{VMS}?fieldSelector=status.sate%3Dx");
    center.get(&wrong).await.refused(
        400,
        "BadRequest",
        "fieldSelector \"status.sate=x\": character 1",
    );
}

#[tokio::test]
async fn versions_mean_what_the_table_says() {
    let center = Center::with(&FLEET).await;
    let before = center.version().await;
    center.set_state("vm-1", "stopped").await;
    let now = center.version().await;
    let states = async |query: String| {
        let answer = center.get(&format!("{VMS}?{query}")).await;
        let list = answer.json();
        match answer.code.as_u16() {
            200 => format!(
                "{} {}",
                list["items"][0]["status"]["state"].as_str().unwrap(),
                list["metadata"]["resourceVersion"] == *now
            ),
            code => format!("{code} {}", list["reason"].as_str().unwrap()),
        }
    };
    let future = u64::MAX >> 1;
    for (query, want) in [
        (String::new(), "stopped true"),
        ("resourceVersion=0".to_owned(), "stopped true"),
        (format!("resourceVersion={before}"), "stopped true"),
        (format!("resourceVersion={before}&resourceVersionMatch=Exact"), "running false"),
        (format!("resourceVersion={now}&resourceVersionMatch=Exact"), "stopped true"),
        (format!("resourceVersion={before}&limit=9"), "running false"),
        ("resourceVersion=12&resourceVersionMatch=Exact".to_owned(), "410 Expired"),
        (format!("resourceVersion={future}"), "410 Expired"),
        ("resourceVersionMatch=Exact".to_owned(), "422 Invalid"),
        ("resourceVersion=x".to_owned(), "400 BadRequest"),
        ("sendInitialEvents=true".to_owned(), "422 Invalid"),
    ] {
        assert_eq!(states(query.clone()).await, want, "{query}");
    }
    center.get(&format!("{VMS}/vm-1?resourceVersion={future}")).await.refused(
        410,
        "Expired",
        "too large",
    );
}

#[tokio::test]
async fn pages_come_from_one_snapshot_whatever_happens() {
    let center = Center::with(&FLEET).await;
    let first = center.get(&format!("{VMS}?limit=2")).await.json();
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    let token = first["metadata"]["continue"].as_str().unwrap();
    center.set_state("vm-3", "stopped").await;
    assert_eq!(center.delete(&format!("{VMS}/vm-4")).await.code, 200);
    center.create(vm("vm-35", "new", "h1", 0.0)).await;
    let second = center.get(&format!("{VMS}?limit=2&continue={token}")).await.json();
    let metadata = &second["metadata"];
    assert_eq!(metadata["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(metadata.get("continue"), None);
    let item = |at: usize| second["items"][at]["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!((item(0), item(1)), ("vm-3".to_owned(), "vm-4".to_owned()));
    assert_eq!(second["items"][0]["status"]["state"], "running");
    for n in 0..70 {
        center.set_state("vm-1", &format!("s{n}")).await;
    }
    let late = center.get(&format!("{VMS}?limit=2&continue={token}")).await;
    late.refused(410, "Expired", "too old to display a consistent list");
}

#[tokio::test]
async fn a_limit_of_500_is_not_obeyed_when_everything_fits() {
    let center = Center::new();
    for n in 0..600 {
        center.create(vm(&format!("vm-{n}"), "running", "h1", 0.0)).await;
    }
    let list = center.get(&format!("{VMS}?limit=500")).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 600);
    let list = center.get(&format!("{VMS}?limit=499")).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 499);
    assert_eq!(list["metadata"]["remainingItemCount"], 101);
}

#[tokio::test]
async fn a_long_list_is_zipped_for_who_takes_it() {
    let center = Center::new();
    for n in 0..900 {
        center.create(vm(&format!("vm-{n}"), "running", "h1", 0.0)).await;
    }
    let plain = center.get(VMS).await;
    assert!(plain.body.len() > 256 * 1024);
    let asks = Request::get(VMS).header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let zipped = center.ask(asks).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");
    let mut text = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(&*zipped.body);
    std::io::Read::read_to_end(&mut decoder, &mut text).unwrap();
    assert_eq!(text, plain.body);
    let small = format!("{VMS}?limit=3");
    let asks = Request::get(small).header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    assert!(!center.ask(asks).await.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn a_table_is_what_kubectl_prints() {
    let center = Center::with(&FLEET).await;
    center.clock.advance(Duration::from_secs(200));
    let table = center.get_as(&format!("{VMS}?limit=500"), TABLE).await.json();
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["metadata"]["resourceVersion"], *center.version().await);
    let columns: Vec<String> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{}:{}", it["name"].as_str().unwrap(), it["priority"]))
        .collect();
    let want = "Name:0 State:0 Host:0 Cpu-Usage:0 Ha-Enabled:1 Note:1 Host-Phase:1 Age:0";
    assert_eq!(columns.join(" "), want);
    let row = &table["rows"][0];
    assert_eq!(row["cells"], json!(["vm-1", "running", "h1", 0.1, null, null, null, "3m20s"]));
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(row["object"]["metadata"]["labels"]["host"], "h1");
    assert_eq!(row["object"].get("status"), None);
    let full = center.get_as(&format!("{VMS}?includeObject=Object"), TABLE).await.json();
    assert_eq!(full["rows"][0]["object"]["status"]["state"], "running");
    let one = center.get_as(&format!("{VMS}/vm-2?includeObject=None"), TABLE).await.json();
    assert_eq!(one["rows"].as_array().unwrap().len(), 1);
    assert_eq!(one["rows"][0].get("object"), None);
}

#[tokio::test]
async fn metadata_alone_is_for_metadata_clients() {
    let center = Center::with(&FLEET).await;
    let list = center.get_as(VMS, METADATA).await.json();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(list["items"][3]["metadata"]["name"], "vm-4");
    assert_eq!(list["items"][3].get("status"), None);
    let protobuf = center.get_as(VMS, "application/vnd.kubernetes.protobuf").await;
    protobuf.refused(406, "NotAcceptable", "application/json");
}

#[tokio::test]
async fn nothing_is_read_before_everything_is_there() {
    let center = Center::cold();
    assert_eq!(center.post(VMS, vm("vm-1", "running", "h1", 0.0)).await.code, 201);
    for path in [VMS.to_owned(), format!("{VMS}/vm-1"), format!("{VMS}?watch=true")] {
        let answer = center.get(&path).await;
        answer.refused(429, "TooManyRequests", "warming up");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    let unknown = center.merge(&format!("{VMS}/vm-2"), json!({})).await;
    unknown.refused(429, "TooManyRequests", "warming up");
    assert_eq!(center.get("/readyz").await.code, 503);
    assert_eq!(center.get_as("/apis", "application/json").await.code, 200);
    center.sink.warmed_up();
    assert_eq!(center.names("").await, "vm-1");
    assert_eq!(center.get("/readyz").await.code, 200);
}

#[tokio::test]
async fn when_an_object_was_seen_last_is_told_on_request() {
    let center = Center::with(&FLEET[..1]).await;
    center.clock.advance(Duration::from_millis(1500));
    let object = center.get(&format!("{VMS}/vm-1?observedAt=true")).await.json();
    assert_eq!(object["status"]["observedAt"], "2026-11-23T19:00:31.000Z");
    assert_eq!(center.get(&format!("{VMS}/vm-1")).await.json()["status"].get("observedAt"), None);
}

#[tokio::test]
async fn a_namespace_is_a_world_of_its_own() {
    let center = Center::new();
    let disks = "/apis/status.rollcall/v1/disks";
    let inside = |namespace: &str| format!("/apis/status.rollcall/v1/namespaces/{namespace}/disks");
    for (namespace, name) in [("blue", "d1"), ("green", "d1"), ("blue", "d2")] {
        let answer = center.post(&inside(namespace), json!({ "metadata": { "name": name } })).await;
        assert_eq!(answer.json()["metadata"]["namespace"], namespace);
    }
    let count = async |path: &str| center.get(path).await.json()["items"].as_array().unwrap().len();
    assert_eq!(count(disks).await, 3);
    assert_eq!(count(&inside("blue")).await, 2);
    assert_eq!(count(&format!("{}?limit=1", inside("green"))).await, 1);
    assert_eq!(count(&format!("{disks}?fieldSelector=metadata.namespace%3Dgreen")).await, 1);
    assert_eq!(center.get(&format!("{}/d1", inside("green"))).await.code, 200);
    assert_eq!(center.get(&format!("{disks}/d1")).await.code, 404);
    let vms = "/apis/status.rollcall/v1/namespaces/blue/virtualmachines";
    assert_eq!(center.get(vms).await.code, 404);
    let elsewhere = json!({ "metadata": { "name": "d9", "namespace": "red" } });
    center.post(&inside("blue"), elsewhere.clone()).await.refused(
        400,
        "BadRequest",
        "does not match",
    );
    assert_eq!(center.post(disks, elsewhere).await.code, 201);
    center.post(disks, json!({ "metadata": { "name": "x" } })).await.refused(
        400,
        "BadRequest",
        "namespace",
    );
}
