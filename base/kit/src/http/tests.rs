//! What reaches a server, for each way of configuring a client.

mod server;

use std::fs;

use bytes::Bytes;
use http::{Method, Request};

use super::*;
use crate::Chain;
use crate::config::{HttpClientSpec, yaml};
use server::{Answer, Identity, Server};

fn client(text: &str) -> Client {
    let spec: HttpClientSpec = yaml::from_str("f", text).unwrap();
    Client::new(spec.check().unwrap(), "rollcall/test")
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

/// Sends a GET and gives the status and body, or the error.
async fn ask(client: &Client, url: &str) -> String {
    match client.send(get(url)).await {
        Err(error) => Chain(&error).to_string(),
        Ok(response) => {
            let status = response.status().as_u16();
            let body = response.bytes(1000).await.unwrap();
            format!("{status} {}", String::from_utf8_lossy(&body))
        }
    }
}

/// What the server sees of a GET, with this configuration.
async fn seen(config: &str) -> String {
    let server = Server::start(|request| Answer::ok(&server::show(request))).await;
    ask(&client(config), &server.url("/p?q=1")).await
}

#[tokio::test]
async fn requests_carry_what_the_configuration_says() {
    assert_eq!(seen("{}").await, "200 GET /p?q=1 user-agent=rollcall/test");
    let basic = seen("{basic_auth: {username: user, password: pass}}").await;
    assert_eq!(basic, "200 GET /p?q=1 authorization=Basic dXNlcjpwYXNz user-agent=rollcall/test");
    let bearer = seen("{authorization: {credentials: t}}").await;
    assert_eq!(bearer, "200 GET /p?q=1 authorization=Bearer t user-agent=rollcall/test");
    let other = seen("{authorization: {type: Token, credentials: t}}").await;
    assert_eq!(other, "200 GET /p?q=1 authorization=Token t user-agent=rollcall/test");
    let headers = seen("{http_headers: {x-a: {values: [1], secrets: [2]}}}").await;
    assert_eq!(headers, "200 GET /p?q=1 user-agent=rollcall/test x-a=1 x-a=2");
}

#[tokio::test]
async fn a_user_in_the_url_is_who_asks_and_is_in_no_message() {
    let server = Server::start(|request| Answer::ok(&server::show(request))).await;
    let url = server.url_at("user:pass@localhost", "/p");
    let want = "200 GET /p authorization=Basic dXNlcjpwYXNz user-agent=rollcall/test";
    assert_eq!(ask(&client("{}"), &url).await, want);
    let configured = "{basic_auth: {username: other, password: other}}";
    assert_eq!(ask(&client(configured), &url).await, want);
    drop(server);
    let why = ask(&client("{}"), &url).await;
    assert!(why.starts_with("Get \"http://localhost:") && !why.contains("pass"), "{why}");
}

#[tokio::test]
async fn files_are_read_again_for_each_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let server = Server::start(|request| Answer::ok(&server::show(request))).await;
    let client = client(&format!("{{bearer_token_file: '{}'}}", path.display()));
    let missing = ask(&client, &server.url("/")).await;
    assert!(missing.starts_with("unable to read authorization credentials file"), "{missing}");
    fs::write(&path, " first\n").unwrap();
    assert!(ask(&client, &server.url("/")).await.contains("authorization=Bearer first "));
    fs::write(&path, "second").unwrap();
    assert!(ask(&client, &server.url("/")).await.contains("authorization=Bearer second "));
}

#[tokio::test]
async fn redirects_are_followed_but_credentials_stay_at_home() {
    let away = Server::start(|request| Answer::ok(&server::show(request))).await;
    let elsewhere = away.url_at("localhost", "/away");
    let server = Server::start(move |request| match request.uri().path() {
        "/near" => Answer::redirect(302, "/end"),
        "/post" => Answer::redirect(302, "/end"),
        "/keep" => Answer::redirect(307, "/end"),
        "/far" => Answer::redirect(301, &elsewhere),
        "/round" => Answer::redirect(302, "/round"),
        _ => Answer::ok(&server::show(request)),
    })
    .await;
    let config = "{authorization: {credentials: t}, http_headers: {x-a: {values: [1]}}}";
    let client = client(config);
    let near = ask(&client, &server.url("/near")).await;
    assert_eq!(near, "200 GET /end authorization=Bearer t user-agent=rollcall/test x-a=1");
    let far = ask(&client, &server.url("/far")).await;
    assert_eq!(far, "200 GET /away user-agent=rollcall/test x-a=1");
    assert_eq!(ask(&client, &server.url("/round")).await, "stopped after 10 redirects");
    for (path, want) in [("/post", "GET /end"), ("/keep", "POST /end body=hello")] {
        let mut request = get(&server.url(path));
        *request.method_mut() = Method::POST;
        *request.body_mut() = Bytes::from_static(b"hello");
        let body = client.send(request).await.unwrap().bytes(1000).await.unwrap();
        assert!(body.starts_with(want.as_bytes()), "{body:?}");
    }
    for (path, want) in [("/post", 302), ("/keep", 200)] {
        let mut request = get(&server.url(path));
        *request.method_mut() = Method::POST;
        assert_eq!(client.deliver(request).await.unwrap().status(), want, "{path}");
    }
    let stubborn = self::client("{follow_redirects: false}");
    assert_eq!(ask(&stubborn, &server.url("/near")).await, "302 ");
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_ends() {
    let tokens = Server::start(|request| {
        let shown = server::show(request);
        // This server takes the secret only in the body.
        if !shown.contains("client_secret=s%26") {
            return Answer::status(401, "");
        }
        assert!(shown.contains("grant_type=client_credentials&scope=a+b&x=y"), "{shown}");
        let number = server::count();
        // The first one is within its last moments at once.
        let seconds = if number == 1 { 5 } else { 3600 };
        Answer::ok(&format!(
            r#"{{"access_token":"t{number}","token_type":"bearer","expires_in":{seconds}}}"#
        ))
    })
    .await;
    let server = Server::start(|request| Answer::ok(&server::show(request))).await;
    let client = client(&format!(
        "{{oauth2: {{client_id: id, client_secret: 's&', scopes: [a, b], \
         endpoint_params: {{x: y}}, token_url: '{}'}}}}",
        tokens.url("/token")
    ));
    let token = |text: String| {
        text.split("authorization=").nth(1).map(|rest| rest[..9].to_owned()).unwrap_or(text)
    };
    for want in ["Bearer t1", "Bearer t2", "Bearer t2"] {
        assert_eq!(token(ask(&client, &server.url("/")).await), want);
    }
}

#[tokio::test]
async fn a_token_is_given_for_a_signed_assertion() {
    let tokens = Server::start(|request| {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey";
        assert!(body.starts_with(grant) && body.ends_with("&scope=a&x=y"), "{body}");
        assert!(request.headers().get("authorization").is_none());
        Answer::ok(r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#)
    })
    .await;
    let server = Server::start(|request| Answer::ok(&server::show(request))).await;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key.pem");
    fs::write(&key, include_str!("assertion/test_key.pem")).unwrap();
    let section = |key: &str| {
        client(&format!(
            "{{oauth2: {{client_id: id, client_certificate_key_file: '{key}', scopes: [a], \
             endpoint_params: {{x: y}}, grant_type: '{}', token_url: '{}'}}}}",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            tokens.url("/token")
        ))
    };
    let seen = ask(&section(&key.display().to_string()), &server.url("/")).await;
    assert!(seen.contains("authorization=Bearer t "), "{seen}");
    let missing = ask(&section("/nowhere/key.pem"), &server.url("/")).await;
    assert!(missing.contains("unable to read oauth2 client certificate key file"), "{missing}");
}

#[tokio::test]
async fn servers_are_trusted_as_the_configuration_says() {
    let identity = Identity::new("exporter.test");
    let server = Server::start_tls(&identity, |request| Answer::ok(request.uri().path())).await;
    let url = server.url("/p");
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, &identity.cert_pem).unwrap();
    let with =
        |more: &str| client(&format!("{{tls_config: {{ca_file: '{}'{more}}}}}", ca.display()));
    assert_eq!(ask(&with(", server_name: exporter.test"), &url).await, "200 /p");
    let versions = ", server_name: exporter.test, min_version: TLS12, max_version: TLS12";
    assert_eq!(ask(&with(versions), &url).await, "200 /p");
    assert_eq!(ask(&client("{tls_config: {insecure_skip_verify: true}}"), &url).await, "200 /p");
    let unnamed = ask(&with(""), &url).await;
    assert!(unnamed.contains("not valid for name"), "{unnamed}");
    let stranger = ask(&client("{tls_config: {server_name: exporter.test}}"), &url).await;
    assert!(stranger.contains("invalid peer certificate"), "{stranger}");
}

#[tokio::test]
async fn certificates_are_read_again_and_clients_show_theirs() {
    let identity = Identity::new("localhost");
    let server = Server::start_tls(&identity, |request| Answer::ok(request.uri().path())).await;
    let url = server.url_at("localhost", "/p");
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("ca"), Identity::new("localhost").cert_pem).unwrap();
    fs::write(path("cert"), &identity.cert_pem).unwrap();
    fs::write(path("key"), &identity.key_pem).unwrap();
    let client = client(&format!(
        "{{tls_config: {{ca_file: '{}', cert_file: '{}', key_file: '{}'}}}}",
        path("ca"),
        path("cert"),
        path("key")
    ));
    let uri: Uri = url.parse().unwrap();
    let before = client.sign(&uri, &mut HeaderMap::new()).await.unwrap();
    assert!(ask(&client, &url).await.contains("invalid peer certificate"));
    fs::write(path("ca"), &identity.cert_pem).unwrap();
    assert_eq!(ask(&client, &url).await, "200 /p");
    let after = client.sign(&uri, &mut HeaderMap::new()).await.unwrap();
    assert_ne!(before, after);
    fs::write(path("key"), "none").unwrap();
    let broken = ask(&client, &url).await;
    assert_eq!(broken, "load TLS configuration: key is not a usable private key");
}

#[tokio::test]
async fn http2_is_spoken_where_both_sides_want_it() {
    let identity = Identity::new("localhost");
    let server =
        Server::start_tls(&identity, |request| Answer::ok(&format!("{:?}", request.version())))
            .await;
    let url = server.url_at("localhost", "/");
    let insecure = "tls_config: {insecure_skip_verify: true}";
    assert_eq!(ask(&client(&format!("{{{insecure}}}")), &url).await, "200 HTTP/2.0");
    let plain = format!("{{{insecure}, enable_http2: false}}");
    assert_eq!(ask(&client(&plain), &url).await, "200 HTTP/1.1");
}

#[tokio::test]
async fn requests_go_through_the_proxy() {
    let proxy = Server::start(|request| Answer::ok(&server::show(request))).await;
    let address = proxy.address();
    let config = format!("{{proxy_url: 'http://u:p@{address}', no_proxy: 'b.test'}}");
    let through = client(&config);
    let shown = ask(&through, "http://a.test/x").await;
    assert_eq!(
        shown,
        "200 GET http://a.test/x proxy-authorization=Basic dTpw user-agent=rollcall/test"
    );
    assert!(!through.is_direct(&"http://a.test".parse().unwrap()));
    assert!(through.is_direct(&"http://b.test".parse().unwrap()));

    let identity = Identity::new("localhost");
    let target = Server::start_tls(&identity, |request| Answer::ok(request.uri().path())).await;
    let tunnel = server::tunnel("CONNECT localhost", "x-proxy: yes").await;
    let config = format!(
        "{{proxy_url: 'http://{tunnel}', proxy_connect_header: {{x-proxy: ['yes']}}, \
         tls_config: {{insecure_skip_verify: true}}}}"
    );
    let tunnelled = ask(&client(&config), &target.url_at("localhost", "/secure")).await;
    assert_eq!(tunnelled, "200 /secure");

    let socks = server::socks5("user", "pass").await;
    let target = Server::start(|request| Answer::ok(request.uri().path())).await;
    let config = format!("{{proxy_url: 'socks5://user:pass@{socks}'}}");
    let through = ask(&client(&config), &target.url_at("localhost", "/socks")).await;
    assert_eq!(through, "200 /socks");
    let config = format!("{{proxy_url: 'socks5://user:wrong@{socks}'}}");
    let refused = ask(&client(&config), &target.url_at("localhost", "/socks")).await;
    assert!(refused.ends_with("proxy: socks: authentication failed"), "{refused}");
}

#[tokio::test]
async fn a_unix_socket_stands_for_every_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let _server = Server::start_unix(&path, |request| Answer::ok(request.uri().path())).await;
    let client = Client::over_unix_socket(HttpClientConfig::default(), "rollcall/test", &path);
    assert_eq!(ask(&client, "http://docker/containers").await, "200 /containers");
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let plain = client("{}");
    assert_eq!(
        ask(&plain, "http://127.0.0.1:1/m").await,
        "Get \"http://127.0.0.1:1/m\": dial tcp 127.0.0.1:1: Connection refused (os error 111)"
    );
    assert_eq!(ask(&plain, "ftp://x/").await, "unsupported URL \"ftp://x/\"");
    let server = Server::start(|_| Answer::ok(&"x".repeat(2000))).await;
    let response = plain.send(get(&server.url("/"))).await.unwrap();
    let error = response.bytes(1000).await.unwrap_err();
    assert_eq!(error.to_string(), "read a body of more than 1000 bytes");
}

#[tokio::test]
async fn a_connection_of_ones_own_is_opened_and_signed() {
    let server = Server::start(|request| Answer::ok(&server::show(request))).await;
    let client = client("{bearer_token: t}");
    let uri: Uri = server.url("/m").parse().unwrap();
    let stream = client.open(&uri, None).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get("/m").body(Full::new(Bytes::new())).unwrap();
    client.sign(&uri, request.headers_mut()).await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = Response::new(uri, response).bytes(1000).await.unwrap();
    assert_eq!(&body[..], b"GET /m authorization=Bearer t user-agent=rollcall/test");
}
