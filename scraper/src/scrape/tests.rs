//! One request against a target that answers well, badly, or not at all.

use std::net::SocketAddr;

use model::Labels;

use super::*;
use crate::discovery::Group;
use crate::fixtures::{FakeTarget, Reply, job};

fn fetcher(target: &FakeTarget, keys: &str) -> Fetcher {
    fetcher_of(target.address, &format!(", scrape_interval: 10s, scrape_timeout: 5s{keys}"))
}

fn fetcher_of(address: SocketAddr, keys: &str) -> Fetcher {
    let job = job(&format!("{{job_name: j{keys}}}"));
    let labels = Labels::from_iter([("__address__", address.to_string())]);
    let group = Group { targets: vec![labels], ..Group::default() };
    let target = Target::new(&job, &group, 0).unwrap().unwrap();
    let client = Client::new(job.http().clone(), crate::USER_AGENT);
    Fetcher::new(&job, &target, client, Buffers::default())
}

async fn page(fetcher: &mut Fetcher) -> Result<String, String> {
    let answer = fetcher.fetch(&kit::SystemClock).await.map_err(|error| error.text())?;
    let text = answer.with_page(|page| String::from_utf8_lossy(page).into_owned());
    text.map_err(|error| error.text())
}

/// What one scrape of a target gives; in errors, `URL` and `ADDRESS` stand for the target's.
async fn check(reply: Reply, keys: &str, want: Result<&str, &str>) {
    let target = FakeTarget::start(reply).await;
    let got = page(&mut fetcher(&target, keys)).await;
    let address = target.address.to_string();
    let got = got.map_err(|error| {
        error.replace(&format!("http://{address}/metrics"), "URL").replace(&address, "ADDRESS")
    });
    assert_eq!(got.as_deref().map_err(String::as_str), want);
}

#[tokio::test]
async fn a_page_arrives_in_every_encoding() {
    let long = "metric_with_a_name 1\n".repeat(20_000);
    check(Reply::page("up 1\n"), "", Ok("up 1\n")).await;
    check(Reply::gzip("up 1\n"), "", Ok("up 1\n")).await;
    check(Reply::chunked("up 1\n", 2), "", Ok("up 1\n")).await;
    check(Reply::page(&long), "", Ok(&long)).await;
    check(Reply::gzip(&long), "", Ok(&long)).await;
    check(Reply::chunked(&long, 1000), "", Ok(&long)).await;
    check(Reply::with(&[], ""), "", Ok("")).await;
    let until_closed = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nup 1\n";
    check(Reply::raw(until_closed).closing(), "", Ok("up 1\n")).await;
}

#[tokio::test]
async fn only_status_200_is_a_success() {
    for status in ["404 Not Found", "500 Internal Server Error", "206 Partial Content"] {
        let want = format!("server returned HTTP status {status}");
        check(Reply::status(status, &[], "up 1\n"), "", Err(&want)).await;
    }
    let empty = Reply::raw("HTTP/1.1 204 No Content\r\n\r\n");
    check(empty, "", Err("server returned HTTP status 204 No Content")).await;
}

#[tokio::test]
async fn a_page_must_be_smaller_than_its_limit_after_inflating() {
    let limit = ", body_size_limit: 10B";
    let too_large = Err("body size limit exceeded");
    check(Reply::page("123456789"), limit, Ok("123456789")).await;
    check(Reply::page("1234567890"), limit, too_large).await;
    check(Reply::gzip("123456789"), limit, Ok("123456789")).await;
    check(Reply::gzip("1234567890"), limit, too_large).await;
    check(Reply::chunked(&"1".repeat(100_000), 1000), limit, too_large).await;
    check(Reply::gzip(&"1".repeat(1_000_000)), limit, too_large).await;
}

#[tokio::test]
async fn a_broken_answer_is_an_error() {
    let gzip = ["Content-Type: text/plain", "Content-Encoding: gzip"];
    check(Reply::with(&gzip, "up 1\n"), "", Err("read body: gzip: invalid data")).await;
    check(Reply::with(&gzip, ""), "", Err("read body: gzip: invalid data")).await;
    let short = Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nup 1").closing();
    let target = FakeTarget::start(short).await;
    let error = page(&mut fetcher(&target, "")).await.unwrap_err();
    assert!(error.starts_with("read body: "), "{error}");
    target.reply(Reply::raw("no HTTP at all\r\n\r\n").closing());
    let error = page(&mut fetcher(&target, "")).await.unwrap_err();
    assert!(error.starts_with("Get \"http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn other_encodings_are_taken_as_they_are() {
    let headers = ["Content-Type: text/plain", "Content-Encoding: br"];
    check(Reply::with(&headers, "\u{1}\u{2}"), "", Ok("\u{1}\u{2}")).await;
}

#[tokio::test]
async fn the_timeout_covers_head_and_body() {
    let pace = ", scrape_interval: 1s, scrape_timeout: 50ms";
    let late = Reply::page("up 1\n").after(Duration::from_secs(60));
    let target = FakeTarget::start(late).await;
    let error = page(&mut fetcher_of(target.address, pace)).await.unwrap_err();
    let url = format!("http://{}/metrics", target.address);
    assert_eq!(error, format!("Get {url:?}: context deadline exceeded"));
    target.reply(Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nup 1"));
    let error = page(&mut fetcher_of(target.address, pace)).await.unwrap_err();
    assert_eq!(error, "context deadline exceeded");
}

#[tokio::test]
async fn requests_say_what_prometheus_says() {
    let target = FakeTarget::start(Reply::page("up 1\n")).await;
    page(&mut fetcher(&target, ", params: {a: ['1 2']}")).await.unwrap();
    page(&mut fetcher(&target, ", enable_compression: false")).await.unwrap();
    let requests = target.requests();
    let lines: Vec<&str> = requests[0].lines().collect();
    assert_eq!(lines[0], "GET /metrics?a=1+2 HTTP/1.1");
    let says = |line: &str| assert!(lines.contains(&line), "{line} is not in {lines:#?}");
    says(&format!("host: {}", target.address));
    says("accept-encoding: gzip");
    says("x-prometheus-scrape-timeout-seconds: 5");
    says(concat!(
        "accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,",
        "application/openmetrics-text;version=0.0.1;q=0.5,",
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,",
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    ));
    assert!(lines.iter().any(|line| line.starts_with("user-agent: Prometheus/")), "{lines:#?}");
    assert!(requests[1].contains("accept-encoding: identity\r\n"), "{}", requests[1]);
}

#[tokio::test]
async fn a_bad_status_leaves_the_connection_as_it_was() {
    let target = FakeTarget::start(Reply::page("up 1\n")).await;
    let mut fetcher = fetcher(&target, "");
    page(&mut fetcher).await.unwrap();
    target.reply(Reply::status("500 Internal Server Error", &[], "it is broken"));
    let error = page(&mut fetcher).await.unwrap_err();
    assert_eq!(error, "server returned HTTP status 500 Internal Server Error");
    target.reply(Reply::page("up 2\n"));
    page(&mut fetcher).await.unwrap();
    assert_eq!(target.n_connections(), 1);
}

#[tokio::test]
async fn half_an_answer_is_not_asked_for_again() {
    let target = FakeTarget::start(Reply::page("up 1\n")).await;
    let mut fetcher = fetcher(&target, "");
    for half in ["HTTP/1.1 200 OK\r\nContent-Le", "hello\r\n\r\n"] {
        target.reply(Reply::page("up 1\n"));
        page(&mut fetcher).await.unwrap();
        target.reply(Reply::raw(half).closing());
        let n_requests = target.requests().len();
        page(&mut fetcher).await.unwrap_err();
        assert_eq!(target.requests().len(), n_requests + 1, "{half}");
    }
}

#[tokio::test]
async fn one_connection_serves_all_scrapes() {
    let target = FakeTarget::start(Reply::gzip("up 1\n")).await;
    let mut fetcher = fetcher(&target, "");
    for _ in 0..5 {
        assert_eq!(page(&mut fetcher).await.as_deref(), Ok("up 1\n"));
    }
    target.reply(Reply::chunked("up 2\n", 3));
    assert_eq!(page(&mut fetcher).await.as_deref(), Ok("up 2\n"));
    assert_eq!(target.n_connections(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_is_replaced() {
    let target = FakeTarget::start(Reply::page("up 1\n").closing()).await;
    let mut fetcher = fetcher(&target, "");
    for _ in 0..3 {
        assert_eq!(page(&mut fetcher).await.as_deref(), Ok("up 1\n"));
    }
    assert_eq!(target.n_connections(), 3);
}

#[tokio::test]
async fn nobody_listening_is_an_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = page(&mut fetcher_of(free, "")).await.unwrap_err();
    let want = format!("Get \"http://{free}/metrics\": dial tcp {free}: Connection refused");
    assert!(error.starts_with(&want), "{error}");
}
