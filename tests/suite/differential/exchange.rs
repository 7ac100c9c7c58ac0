//! The HTTP exchange: statuses, bodies that are torn or late, compression, redirects, headers.

use std::time::Duration;

use testkit::Reply;

use super::case::{Case, page, reply};
use super::check;

/// A good page, then this answer, then a good page again.
fn between(name: &'static str, odd: Reply) -> Case {
    page(name, "a 1\n").then_reply(odd).then("a 3\n")
}

fn text(body: &str) -> Reply {
    Reply::page(body.to_owned())
}

#[tokio::test]
async fn only_a_whole_answer_of_200_is_a_scrape() {
    let body = "a 2\nb 3\n";
    check(vec![
        between("created", text(body).with_status(201)),
        between("no content", Reply::status(204)),
        between("part of the content", text(body).with_status(206)),
        between("moved to nowhere", Reply::status(302)),
        between("moved to an empty place", Reply::status(302).header("Location", "")),
        between("not modified", Reply::status(304)),
        between("unauthorized", text(body).with_status(401)),
        between("not found", text(body).with_status(404)),
        between("too many requests", text(body).with_status(429)),
        between("a server error", text(body).with_status(500)),
        between("not available", text(body).with_status(503)),
        between("an odd status", text(body).with_status(299)),
        between("an empty body", text("")),
        between("an empty body in chunks", text("").chunked(1)),
        between("an empty compressed body", text("").gzip()),
        between("a body in chunks", text(body).chunked(3)),
        between("a body in one chunk", text(body).chunked(1000)),
        between("a body that ends with the connection", text(body).until_closed()),
        between("a body in chunks without an end", text(body).unfinished()),
        between("a torn body", text(body).torn(4)),
        between("a body torn in a line", text(body).torn(6)),
        between("no body at all", text(body).torn(0)),
        between("a closed connection", Reply::closed()),
        between("no HTTP", Reply::raw("hello\r\n\r\n")),
        between("half a head", Reply::raw("HTTP/1.1 200 OK\r\nContent-Le")),
        between("a bad length", Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\na 1\n")),
        between(
            "two lengths",
            Reply::raw(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
                 Content-Length: 4\r\nContent-Length: 8\r\n\r\na 2\nb 3\n",
            ),
        ),
        between(
            "a bad chunk length",
            Reply::raw(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
                 Transfer-Encoding: chunked\r\n\r\nzz\r\na 2\n\r\n0\r\n\r\n",
            ),
        ),
        between(
            "HTTP/1.0",
            Reply::raw("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\na 2\nb 3\n"),
        ),
        between(
            "line ends without carriage returns",
            Reply::raw("HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 4\n\na 2\n"),
        ),
        between("a slow body", text(body).trickling(1, Duration::from_millis(50))),
        between("a late answer", text(body).after(Duration::from_millis(700))),
        between("an answer that is too late", text(body).after(Duration::from_secs(4)))
            .job("scrape_timeout: 1s"),
        between("a body that is too slow", text(body).trickling(1, Duration::from_millis(400)))
            .job("scrape_timeout: 1s"),
        between("no answer", Reply::never()).job("scrape_timeout: 1s"),
    ])
    .await;
}

#[tokio::test]
async fn heads_are_read_as_laxly_as_go_reads_them() {
    check(vec![
        between(
            "a space before the colon of a header",
            Reply::raw(
                "HTTP/1.1 200 OK\r\nContent-Type : text/plain\r\nContent-Length: 4\r\n\r\na 2\n",
            ),
        ),
        between(
            "a header of two lines",
            Reply::raw(
                "HTTP/1.1 200 OK\r\nX-Test: a\r\n b\r\nContent-Type: text/plain\r\n\
                 Content-Length: 4\r\n\r\na 2\n",
            ),
        ),
    ])
    .await;
}

#[tokio::test]
async fn bodies_are_inflated_when_they_say_so() {
    let body = "a 2\nb 3\n";
    let named = |name: &str| Reply::page(body).header("Content-Encoding", name);
    let cut = {
        let whole = Reply::page("x".repeat(2000) + " 1\n").gzip();
        whole.torn(30)
    };
    check(vec![
        between("gzip", text(body).gzip()),
        between("gzip in chunks", text(body).gzip().chunked(5)),
        between("gzip that is torn", cut),
        between("gzip that is none", named("gzip")),
        between("gzip that does not say so", {
            let mut packed = text(body).gzip();
            packed = packed.without("Content-Encoding");
            packed
        }),
        between("identity", named("identity")),
        between("another encoding", named("br")),
        between("deflate", named("deflate")),
        between(
            "gzip in capital letters",
            text(body).gzip().without("Content-Encoding").header("Content-Encoding", "GZIP"),
        ),
        reply("two gzip members", text("a 1\n").gzip().appended(text("b 2\n").gzip())),
        reply("gzip and then something", text("a 1\n").gzip().appended(text("xyz"))),
    ])
    .await;
}

#[tokio::test]
async fn requests_carry_what_the_job_says() {
    let moved = |status: u16, place: &str| Reply::status(status).header("Location", place);
    check(vec![
        page("a name and a password", "a 1\n").job("basic_auth: { username: me, password: 'p:w' }"),
        page("a name without a password", "a 1\n").job("basic_auth: { username: me }"),
        page("a bearer token", "a 1\n").job("authorization: { credentials: secret }"),
        page("another kind of token", "a 1\n")
            .job("authorization: { type: Token, credentials: secret }"),
        page("a bearer token as it was", "a 1\n").job("bearer_token: secret"),
        page("a timeout of its own", "a 1\n").job("scrape_timeout: 1500ms"),
        page("an interval of its own", "a 1\n").job("scrape_interval: 3s\nscrape_timeout: 3s"),
        page("a redirect", "a 1\n")
            .then_reply(moved(302, "?elsewhere"))
            .then("a 3\n")
            .then("a 4\n"),
        page("a redirect that is not followed", "a 1\n")
            .job("follow_redirects: false")
            .then_reply(moved(302, "?elsewhere"))
            .then("a 3\n"),
        page("a permanent redirect", "a 1\n")
            .then_reply(moved(308, "?elsewhere"))
            .then("a 3\n")
            .then("a 4\n"),
        reply("a redirect for ever", moved(302, "?again")),
    ])
    .await;
}

#[tokio::test]
async fn the_content_type_decides_how_a_page_is_read() {
    let typed = |name: &'static str, content_type: &str| {
        reply(name, Reply::page("a 1\nb 2\n").typed(content_type))
    };
    check(vec![
        typed("plain text", "text/plain"),
        typed("plain text with a version", "text/plain; version=0.0.4"),
        typed("plain text with a character set", "text/plain; charset=utf-8"),
        typed("plain text in capital letters", "TEXT/PLAIN"),
        typed("plain text with spaces", " text/plain ; version=0.0.4 "),
    ])
    .await;
}
