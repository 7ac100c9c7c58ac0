//! A crowd of bad clients: silent, slow, half-closed, gone. Good ones are served all the while,
//! and when the crowd is gone nothing of it is left.

use serde_json::json;
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
      fields: { text: { type: string } }
";

/// What each of them says before it falls silent.
const SAYINGS: [&str; 6] = [
    "",
    "PRI * HT",
    "GET /apis/status.rollcall/v1/notes HTTP/1.1\r\nhost: x\r\nx-slow: ",
    "POST /apis/status.rollcall/v1/notes HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{\"met",
    "GET /apis/status.rollcall/v1/notes?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n",
    "POST /apis/status.rollcall/v1/notes/bulk HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
     \r\n5\r\n{\"met\r\n",
];
const N_EACH: usize = 250;
const WAVES: usize = 4;

async fn sum(app: &Rollcall, name: &str) -> f64 {
    app.metrics().await.sum(name, &[])
}

async fn crowd(app: &Rollcall) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for nth in 0..N_EACH * SAYINGS.len() {
        let mut stream = TcpStream::connect(app.address()).await.unwrap();
        stream.write_all(SAYINGS[nth % SAYINGS.len()].as_bytes()).await.unwrap();
        if nth % 3 == 0 {
            // It will never say more, and says so.
            stream.shutdown().await.unwrap();
        }
        crowd.push(stream);
    }
    crowd
}

#[tokio::test]
async fn a_crowd_of_bad_clients_leaves_nothing_behind() {
    let app = rollcall().config(&config().section(KINDS)).argument("--web.max-connections=4000");
    let app = app.start().await;
    let good = app.watch(&format!("{NOTES}?watch=1")).await;
    wait_until("the good one listens", DEADLINE, || async {
        let n = sum(&app, "rollcall_status_watches").await;
        if n == 1.0 { Ok(()) } else { Err(n.to_string()) }
    })
    .await;
    let files = sum(&app, "process_open_fds").await;
    let mut resident = Vec::new();
    for wave in 0..WAVES {
        let crowd = crowd(&app).await;
        let name = format!("note-{wave}");
        let note = json!({ "metadata": { "name": name }, "status": { "text": "x" } });
        assert_eq!(app.send("POST", NOTES, "application/json", &note).await.0, 201);
        good.wait_for_event("ADDED", &name).await;
        drop(crowd);
        wait_until("the crowd is forgotten", DEADLINE, || async {
            let open = sum(&app, "process_open_fds").await;
            let watches = sum(&app, "rollcall_status_watches").await;
            let is_flat = open <= files + 10.0 && watches == 1.0;
            if is_flat { Ok(()) } else { Err(format!("{open} files, {watches} watches")) }
        })
        .await;
        resident.push(sum(&app, "process_resident_memory_bytes").await);
    }
    // The allocator keeps some of what the first wave took; the others take no more.
    let grown = resident[WAVES - 1] - resident[0];
    assert!(grown < 16e6, "{resident:?}");
    assert_eq!(app.names(NOTES).await.len(), WAVES, "what was only half said was not done");
    app.stop().await;
}

#[tokio::test]
async fn the_silent_do_not_keep_the_others_out() {
    let app = rollcall().config(&config().section(KINDS));
    let app = app.argument("--web.max-connections=8").argument("--web.read-timeout=500ms");
    let app = app.start().await;
    // The last connection is left for whoever asks how things are.
    let mut silent = Vec::new();
    for nth in 0..7 {
        let mut stream = TcpStream::connect(app.address()).await.unwrap();
        stream.write_all(SAYINGS[nth % 3].as_bytes()).await.unwrap();
        silent.push(stream);
    }
    for stream in &mut silent {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        // An answer (408, 400), an end or a reset: no more waiting.
        drop(read.expect("who says nothing is closed"));
    }
    assert_eq!(app.get(NOTES).await.0, 200);
    app.stop().await;
}
