//! Which HTTP client options go together.

use super::*;
use crate::config::yaml;

#[track_caller]
fn check(text: &str, want: &str) {
    let spec: HttpClientSpec = yaml::from_str("f", text).unwrap();
    let got = match spec.check() {
        Ok(_) => "ok".to_owned(),
        Err(invalid) => invalid.to_string(),
    };
    assert_eq!(got, want, "{text}");
}

#[test]
fn one_way_of_authorization_is_allowed() {
    check("{}", "ok");
    check("{basic_auth: {username: a, password: b}}", "ok");
    check("{authorization: {credentials_file: f}}", "ok");
    check(
        "{bearer_token: a, bearer_token_file: b}",
        "bearer_token: at most one of bearer_token & bearer_token_file must be configured",
    );
    check(
        "{bearer_token_file: a, basic_auth: {username: x}}",
        "bearer_token_file: at most one of basic_auth, oauth2, bearer_token & bearer_token_file \
         must be configured",
    );
    check(
        "{authorization: {credentials: x}, basic_auth: {username: x}}",
        "authorization: at most one of basic_auth, oauth2 & authorization must be configured",
    );
    check(
        "{authorization: {type: Basic}}",
        r#"authorization.type: authorization type cannot be set to "basic", use "basic_auth" instead"#,
    );
    check("{oauth2: {token_url: x}}", "oauth2.client_id: oauth2 client_id must be configured");
    check("{oauth2: {client_id: x, token_url: 'http://x/t', scopes: [a]}}", "ok");
}

#[test]
fn tls_proxy_and_headers_are_checked() {
    check(
        "{tls_config: {cert_file: x}}",
        "tls_config.cert_file: exactly one of key or key_file must be configured when a client \
         certificate is configured",
    );
    check("{tls_config: {min_version: TLS10}}", "ok");
    check(
        "{tls_config: {max_version: TLS11}}",
        "tls_config.max_version: no version of TLS is left: rollcall speaks TLS12, TLS13",
    );
    check(
        "{no_proxy: x}",
        "no_proxy: if no_proxy is configured, proxy_url must also be configured",
    );
    check("{proxy_url: 'http://p:3128', no_proxy: x}", "ok");
    check(
        "{http_headers: {accept-encoding: {values: [x]}}}",
        r#"http_headers.accept-encoding: setting header "Accept-Encoding" is not allowed"#,
    );
}

#[test]
fn paths_are_resolved_and_secrets_hidden_when_written() {
    let text = "{basic_auth: {username: a, password: b}, tls_config: {ca_file: ca.pem}, \
                proxy_url: 'http://p'}";
    let mut spec: HttpClientSpec = yaml::from_str("f", text).unwrap();
    spec.resolve_paths(std::path::Path::new("/etc"));
    spec.fill_defaults(true);
    let want = "basic_auth:\n  username: a\n  password: <secret>\ntls_config:\n  ca_file: \
                /etc/ca.pem\n  insecure_skip_verify: false\nfollow_redirects: true\n\
                enable_http2: true\nproxy_url: http://p\n";
    assert_eq!(yaml::to_string(&spec).unwrap(), want);
}
