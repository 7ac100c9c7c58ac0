//! Against servers that misbehave: silent ones, ones that end every stream at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Client, Condition, Event};

const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct Vm {
    state: String,
}

/// What a server does with a request.
enum Does {
    /// Answers with this JSON.
    Says(String),
    /// Begins to answer, sends these lines, and then nothing, for ever.
    Hangs(String),
    /// Reads the request, and then nothing, for ever.
    Nothing,
}

/// A server that answers as told, and remembers the paths it was asked for.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Does + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (remembered, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, remembered) = (Arc::clone(&answer), Arc::clone(&remembered));
                tokio::spawn(async move { serve(stream, &*answer, &remembered).await });
            }
        });
        Server { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: &(impl Fn(&str) -> Does + Send + Sync),
    remembered: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    remembered.lock().expect("nobody panics with it").push(path.clone());
    let (text, hangs) = match answer(&path) {
        Does::Says(json) => (format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{json}"), false),
        Does::Hangs(lines) => (format!("HTTP/1.1 200 OK\r\n\r\n{lines}"), true),
        Does::Nothing => (String::new(), true),
    };
    stream.write_all(text.as_bytes()).await.ok()?;
    if hangs {
        std::future::pending::<()>().await;
    }
    Some(())
}

fn list(version: u64, state: &str) -> String {
    let metadata = format!(r#"{{"name":"a/b","resourceVersion":"{version}"}}"#);
    format!(
        r#"{{"metadata":{{"resourceVersion":"{version}"}},
            "items":[{{"metadata":{metadata},"status":{{"state":"{state}"}}}}]}}"#
    )
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it comes in time")
}

#[tokio::test]
async fn a_node_that_says_nothing_is_left_for_the_next() {
    let silent = Server::start(|_| Does::Nothing).await;
    let good = Server::start(|_| Does::Says(list(1, "up"))).await;
    let client = Client::new([&silent.url, &good.url]).unwrap();
    let vms = client.with_patience(Duration::from_millis(100)).resource::<Vm>("vms");
    let found = within(vms.list(&Condition::default())).await.unwrap();
    assert_eq!(found.items[0].status.state, "up");
    assert_eq!(silent.asked().len(), 1);
    let alone = Client::new([&silent.url]).unwrap().with_patience(Duration::from_millis(100));
    let error = within(alone.resource::<Vm>("vms").get("x")).await.unwrap_err();
    assert!(error.to_string().contains("it has said nothing for 100ms"), "{error}");
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_taken_up_elsewhere_from_the_same_version() {
    let line = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}"#;
    let answer = move |path: &str| match path.contains("watch=true") {
        true => Does::Hangs(format!("{line}\n")),
        false => Does::Says(list(1, "up")),
    };
    let hangs = Server::start(answer).await;
    let line = r#"{"type":"MODIFIED","object":{"metadata":{"name":"x","resourceVersion":"8"},
        "status":{"state":"down"}}}"#;
    let line = format!("{}\n", line.replace('\n', ""));
    let good = Server::start(move |_| Does::Hangs(line.clone())).await;
    let client = Client::new([&hangs.url, &good.url]).unwrap();
    let vms = client.with_patience(Duration::from_millis(100)).resource::<Vm>("vms");
    let mut subscription = vms.subscribe(Condition::default());
    assert!(matches!(within(subscription.next()).await.unwrap(), Event::Reset(_)));
    let Event::Applied(vm) = within(subscription.next()).await.unwrap() else {
        panic!("an object changed");
    };
    assert_eq!((vm.name(), vm.status.state.as_str()), ("x", "down"));
    assert!(good.asked()[0].contains("resourceVersion=7"), "{:?}", good.asked());
}

#[tokio::test]
async fn whoever_says_gone_each_time_is_asked_less_and_less() {
    let line = r#"{"type":"ERROR","object":{"code":410,"reason":"Expired"}}"#;
    let gone = Server::start(move |path| match path.contains("watch=true") {
        true => Does::Says(format!("{line}\n")),
        false => Does::Says(list(1, "up")),
    })
    .await;
    let vms = Client::new([&gone.url]).unwrap().resource::<Vm>("vms");
    let mut subscription = vms.subscribe(Condition::default());
    let first = subscription.wait();
    for _ in 0..4 {
        assert!(matches!(within(subscription.next()).await.unwrap(), Event::Reset(_)));
    }
    assert!(subscription.wait() >= first * 8, "{:?}", subscription.wait());
}

#[tokio::test]
async fn names_stay_what_they_are_in_a_path() {
    let server = Server::start(|_| {
        Does::Says(r#"{"metadata":{"name":"x"},"status":{"state":"up"}}"#.to_owned())
    })
    .await;
    let vms = Client::new([format!("{}/base/", server.url)]).unwrap().resource::<Vm>("vms");
    for name in ["host-1:9100", "a/b", "ü %?#"] {
        within(vms.in_namespace("blue").get(name)).await.unwrap();
    }
    for name in ["", ".", ".."] {
        let error = within(vms.delete(name)).await.unwrap_err();
        assert!(error.to_string().contains("no object can have it"), "{error}");
    }
    within(vms.get("x")).await.unwrap();
    let base = "/base/apis/status.rollcall/v1";
    let blue = format!("{base}/namespaces/blue/vms");
    let want = [
        format!("{blue}/host-1:9100"),
        format!("{blue}/a%2Fb"),
        format!("{blue}/%C3%BC%20%25%3F%23"),
        format!("{base}/vms/x"),
    ];
    assert_eq!(server.asked(), want);
}
