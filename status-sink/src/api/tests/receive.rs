//! Remote write over HTTP: what is taken, what is refused, and with which words and headers.

use super::*;
use crate::receiver::Version;
use crate::receiver::wire::tests::message;

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
const PATH: &str = "/api/v1/write";
const VM: &str = "hci_vm_state{host=h1,instance=h1:9100,job=a,state=running,vmid=vm-1}";
const NOW_MS: i64 = 1_795_460_431_000;

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("it is short")
}

impl Center {
    async fn write(&self, media: &str, encoding: &str, body: Vec<u8>) -> Answer {
        let request = Request::post(PATH).header("content-type", media);
        let request = request.header("content-encoding", encoding).body(Body::from(body));
        self.ask(request.unwrap()).await
    }
}

fn written(answer: &Answer) -> Option<[&str; 3]> {
    let of = |what: &str| {
        let name = format!("x-prometheus-remote-write-{what}-written");
        Some(answer.headers.get(name)?.to_str().unwrap())
    };
    Some([of("samples")?, of("histograms")?, of("exemplars")?])
}

#[tokio::test]
async fn both_versions_are_taken_and_the_second_says_how_much() {
    let up = "up{instance=h1:9100,job=a}";
    for (version, media) in [(Version::One, V1), (Version::Two, V2)] {
        let center = Center::new();
        let body = message(version, &[(VM, &[(NOW_MS, 1.0)]), (up, &[(NOW_MS, 1.0)])]);
        let answer = center.write(media, "snappy", snappy(&body)).await;
        assert_eq!(answer.code, 204, "{}", answer.text());
        let want = (version == Version::Two).then_some(["2", "0", "0"]);
        assert_eq!(written(&answer), want);
        assert_eq!(center.names("").await, "vm-1");
    }
}

#[tokio::test]
async fn what_can_never_be_taken_is_a_bad_request_and_the_rest_is_there() {
    let center = Center::new();
    let late = NOW_MS + 3_600_000;
    let ahead = "hci_vm_cpu_usage_ratio{host=h1,instance=h1:9100,job=a,vmid=vm-1}";
    let body = message(Version::Two, &[(VM, &[(NOW_MS, 1.0)]), (ahead, &[(late, 0.5)])]);
    let answer = center.write(V2, "snappy", snappy(&body)).await;
    answer.refused(400, "BadRequest", "1 samples were not taken: a timestamp is too far in the");
    assert_eq!(written(&answer), Some(["1", "0", "0"]));
    assert_eq!(center.names("").await, "vm-1");
}

#[tokio::test]
async fn other_formats_and_broken_messages_change_nothing() {
    let center = Center::new();
    let body = snappy(&message(Version::One, &[(VM, &[(NOW_MS, 1.0)])]));
    for (media, encoding) in [
        ("application/json", "snappy"),
        (V1, "gzip"),
        (V1, "zstd"),
        (V2, ""),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy"),
    ] {
        let answer = center.write(media, encoding, body.clone()).await;
        answer.refused(415, "UnsupportedMediaType", "prometheus.WriteRequest");
    }
    let cases: [(Vec<u8>, u16, &str); 5] = [
        (b"not snappy at all".to_vec(), 400, "snappy"),
        (snappy(b"\x0A\x05\x0A"), 400, "read the message: a field ends behind"),
        (snappy(b"\x0A\x07\x0A\x05\x0A\x01\xFF\x12\x00"), 400, "not UTF-8"),
        // 256 MiB, it says; nothing of the sort is allocated.
        (vec![0x80, 0x80, 0x80, 0x80, 0x01, 0x00], 413, "33554432 bytes"),
        (vec![0; 9 * 1024 * 1024], 413, "8388608 bytes"),
    ];
    for (body, code, words) in cases {
        let reason = if code == 413 { "RequestEntityTooLarge" } else { "BadRequest" };
        center.write(V1, "snappy", body).await.refused(code, reason, words);
    }
    assert_eq!(center.names("").await, "");
    center.get(PATH).await.refused(405, "MethodNotAllowed", "");
}

#[tokio::test]
async fn a_center_without_kinds_takes_no_writes() {
    let center = Center::of("kinds: []");
    let body = snappy(&message(Version::One, &[(VM, &[(NOW_MS, 1.0)])]));
    center.write(V1, "snappy", body).await.refused(404, "NotFound", "");
}

#[tokio::test]
async fn writes_are_taken_while_readers_wait() {
    let center = Center::cold();
    let body = snappy(&message(Version::One, &[(VM, &[(NOW_MS, 1.0)])]));
    assert_eq!(center.write(V1, "snappy", body).await.code, 204);
    assert_eq!(center.get(VMS).await.code, 429);
    center.sink.warmed_up();
    assert_eq!(center.names("").await, "vm-1");
}
