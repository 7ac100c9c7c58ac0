//! Many at once: who wins, and who is left behind.

use std::sync::Arc;

use serde_json::{Value, json};
use testkit::{DEADLINE, Rollcall, config, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rollcall;

const NOTES: &str = "/apis/status.rollcall/v1/notes";
const KINDS: &str = "
status:
  warm_up: 0s
  kinds:
    - kind: Note
      fields: { text: { type: string }, nth: { type: number } }
      events_max: 1024
";

async fn start() -> Arc<Rollcall> {
    Arc::new(rollcall().config(&config().section(KINDS)).start().await)
}

async fn stop(app: Arc<Rollcall>) {
    Arc::into_inner(app).unwrap().stop().await;
}

#[tokio::test]
async fn of_those_who_change_the_same_version_exactly_one_wins() {
    let app = start().await;
    let object = json!({ "metadata": { "name": "a" }, "status": { "nth": 0 } });
    let (code, mut now) = app.send("POST", NOTES, "application/json", &object).await;
    assert_eq!(code, 201);
    for round in 1..=20 {
        let version = now["metadata"]["resourceVersion"].clone();
        let put = |who: usize| {
            let (app, version) = (Arc::clone(&app), version.clone());
            let metadata = json!({ "name": "a", "resourceVersion": version });
            let object = json!({ "metadata": metadata, "status": { "nth": round * 100 + who } });
            tokio::spawn(async move {
                app.send("PUT", &format!("{NOTES}/a"), "application/json", &object).await
            })
        };
        let puts: Vec<_> = (0..8).map(put).collect();
        let mut winners = Vec::new();
        for put in puts {
            let (code, answer) = put.await.unwrap();
            match code {
                200 => winners.push(answer),
                409 => assert_eq!(answer["reason"], "Conflict", "{answer}"),
                _ => panic!("{code}: {answer}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        now = app.json(&format!("{NOTES}/a")).await;
        assert_eq!(now, winners[0]);
    }
    stop(app).await;
}

/// Changes every one of 200 objects.
async fn change_all(app: &Rollcall, nth: usize) {
    let line = |at: usize| {
        let status = json!({ "nth": nth, "text": "x".repeat(1000) });
        json!({ "metadata": { "name": format!("n{at}") }, "status": status }).to_string() + "\n"
    };
    let lines: String = (0..200).map(line).collect();
    let request = app.client().post(app.url(&format!("{NOTES}/bulk")));
    let request = request.header("content-type", "application/x-ndjson").body(lines);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_listener_that_stops_reading_costs_no_memory_and_is_told_gone() {
    let app = start().await;
    change_all(&app, 0).await;
    let address = app.address();
    let mut victim = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {NOTES}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    victim.write_all(request.as_bytes()).await.unwrap();
    wait_until("the victim listens", DEADLINE, || async {
        let open = app.metrics().await.sum("rollcall_status_watches", &[]);
        if open == 1.0 { Ok(()) } else { Err(open.to_string()) }
    })
    .await;
    let before = app.metrics().await.sum("process_resident_memory_bytes", &[]);
    // 20 MB of events; what the sockets hold is much less.
    for nth in 1..=100 {
        change_all(&app, nth).await;
    }
    let after = app.metrics().await.sum("process_resident_memory_bytes", &[]);
    assert!(after - before < 40e6, "{before} bytes before, {after} after");
    let newest = app.watch(&format!("{NOTES}?watch=1")).await;
    newest.wait_for_events(200).await;
    change_all(&app, 101).await;
    newest.wait_for_events(400).await;

    let mut bytes = Vec::new();
    let told = tokio::time::timeout(DEADLINE, async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = victim.read(&mut buffer).await.unwrap();
            bytes.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(1000)..]);
            if let Some(at) = text.find("{\"type\":\"ERROR\"") {
                let line = text[at..].lines().next().unwrap_or_default();
                return serde_json::from_str::<Value>(line).unwrap();
            }
            assert!(n > 0, "it ended without a word: {text}");
        }
    });
    let told = told.await.expect("the victim is told");
    assert_eq!(
        (&told["object"]["code"], &told["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert_eq!(app.metrics().await.sum("rollcall_status_watch_gone_total", &[]), 1.0);
    drop((newest, victim));
    stop(app).await;
}
