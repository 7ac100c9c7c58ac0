//! The API as clients meet it: requests into the router, over a status center with two small
//! kinds; watches over real sockets.
//!
//! `discovery`: what there is · `reads`: get, list, versions, pages, forms · `writes`: verbs and
//! their refusals · `watches`: streams · `extras`: summary and bulk · `manners`: what holds for
//! every request · `properties`: what must hold in random histories · `receive`: remote write

mod discovery;
mod extras;
mod manners;
mod properties;
mod reads;
mod receive;
mod watches;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use kit::metrics::SelfMetrics;
use kit::{Clock, ManualClock};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tower::ServiceExt;

use crate::{Parts, Spec, StatusSink};

const KINDS: &str = r#"
kinds:
  - kind: VirtualMachine
    short_names: [vm]
    name: "{vmid}"
    labels: { host: "{host}" }
    fields:
      state: { metric: hci_vm_state, from_label: state, description: What the VM is doing. }
      haEnabled: { metric: hci_vm_ha_enabled, type: bool }
      cpuUsage: { metric: hci_vm_cpu_usage_ratio }
      host: { label: host }
      note: { type: string }
      hostPhase: { mirror: { kind: Host, name: "{host}", field: phase } }
    conditions:
      Busy: { when: "status.cpuUsage>0.9", description: Hardly idle. }
      Ready: { description: Set by clients. }
    index: [host]
    columns: [state, host, cpuUsage]
    events_max: 64
  - kind: Host
    fields:
      phase: { type: string }
  - kind: Disk
    namespace: "{project}"
    name: "{disk}"
    fields:
      size: { metric: disk_bytes }
"#;

const VMS: &str = "/apis/status.rollcall/v1/virtualmachines";

/// A status center with its routes.
struct Center {
    sink: StatusSink,
    router: Router,
    clock: Arc<ManualClock>,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    code: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// A watch over a socket.
struct Watch {
    lines: Lines<BufReader<OwnedReadHalf>>,
    _write: tokio::net::tcp::OwnedWriteHalf,
}

impl Center {
    /// Warm, and without objects.
    fn new() -> Center {
        let center = Center::cold();
        center.sink.warmed_up();
        center
    }

    fn cold() -> Center {
        Center::of(KINDS)
    }

    fn of(section: &str) -> Center {
        let spec: Spec = serde_yaml::from_str(section).expect("the kinds are YAML");
        let config = Arc::new(spec.check().expect("the kinds are right"));
        let clock = ManualClock::at(1_795_460_431_000);
        let shared: Arc<dyn Clock> = clock.clone();
        let parts = Parts { clock: shared, metrics: SelfMetrics::new(), instance: 7 };
        let sink = StatusSink::start(config, parts);
        let router = sink.routes();
        Center { sink, router, clock }
    }

    /// With these virtual machines: name, state, host and load.
    async fn with(vms: &[(&str, &str, &str, f64)]) -> Center {
        let center = Center::new();
        for (name, state, host, load) in vms {
            center.create(vm(name, state, host, *load)).await;
        }
        center
    }

    async fn create(&self, object: Json) -> Json {
        let answer = self.post(VMS, object).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
        answer.json()
    }

    async fn set_state(&self, name: &str, state: &str) -> Json {
        self.merge(&format!("{VMS}/{name}"), json!({ "status": { "state": state } })).await.json()
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("routers do not fail");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("bodies do not fail").to_bytes().to_vec();
        Answer { code: head.status, headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.ask(Request::get(path).header("accept", accept).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, body: Json) -> Answer {
        self.send("POST", path, "application/json", body.to_string()).await
    }

    async fn put(&self, path: &str, body: Json) -> Answer {
        self.send("PUT", path, "application/json", body.to_string()).await
    }

    async fn merge(&self, path: &str, body: Json) -> Answer {
        self.send("PATCH", path, "application/merge-patch+json", body.to_string()).await
    }

    async fn apply(&self, path: &str, body: Json) -> Answer {
        self.send("PATCH", path, "application/apply-patch+yaml", body.to_string()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(Request::delete(path).body(Body::empty()).unwrap()).await
    }

    async fn send(&self, method: &str, path: &str, media: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        self.ask(request.body(body.into()).unwrap()).await
    }

    /// The names of a list.
    async fn names(&self, query: &str) -> String {
        let answer = self.get(&format!("{VMS}?{query}")).await;
        assert_eq!(answer.code, 200, "{query}: {}", answer.text());
        let list = answer.json();
        let names = list["items"].as_array().unwrap().iter();
        names.map(|it| it["metadata"]["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    async fn version(&self) -> String {
        let list = self.get(VMS).await.json();
        list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    }

    /// Serves on a socket, and begins a watch there.
    async fn watch(&self, query: &str) -> Watch {
        self.stream(&format!("{VMS}?watch=true&{query}"), "application/json").await
    }

    async fn stream(&self, path: &str, accept: &str) -> Watch {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let path = path.replace(' ', "%20");
        let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\naccept: {accept}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(read).lines();
        let status = lines.next_line().await.unwrap().unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
        Watch { lines, _write: write }
    }
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    #[track_caller]
    fn refused(&self, code: u16, reason: &str, message: &str) {
        let status = self.json();
        assert_eq!(self.code, code, "{status}");
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["reason"], reason, "{status}");
        let said = status["message"].as_str().unwrap();
        assert!(said.contains(message), "{said}");
        assert!(!self.body.contains(&b'\n'), "a Status is one line");
    }
}

impl Watch {
    /// The next line; none at the end of the answer.
    async fn next(&mut self) -> Option<Json> {
        loop {
            let line = tokio::time::timeout(Duration::from_secs(20), self.lines.next_line());
            let line = line.await.expect("a line comes").unwrap()?;
            // Between the lines are the lengths of chunks, and the empty lines after chunks.
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
            if line == "0" {
                return None;
            }
        }
    }

    /// The next line as `TYPE name state`.
    async fn told(&mut self) -> String {
        let Some(event) = self.next().await else { return "END".to_owned() };
        let of = |path: &str| event.pointer(path).and_then(Json::as_str).unwrap_or("-").to_owned();
        let kind = of("/type");
        match kind.as_str() {
            "ERROR" => format!("ERROR {}", event["object"]["code"]),
            "BOOKMARK" => "BOOKMARK".to_owned(),
            _ => format!("{kind} {} {}", of("/object/metadata/name"), of("/object/status/state")),
        }
    }

    async fn all_told<const N: usize>(&mut self, want: [&str; N]) {
        for want in want {
            assert_eq!(self.told().await, want);
        }
    }
}

fn vm(name: &str, state: &str, host: &str, load: f64) -> Json {
    json!({
        "apiVersion": "status.rollcall/v1",
        "kind": "VirtualMachine",
        "metadata": { "name": name, "labels": { "host": host } },
        "status": { "state": state, "host": host, "cpuUsage": load },
    })
}
