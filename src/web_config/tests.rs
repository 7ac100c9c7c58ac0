//! A web configuration in force: who gets in, and what a change does.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::*;

fn folder_with(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

async fn ask(config: &Arc<WebConfig>, authorization: Option<&str>) -> Response {
    let guard = axum::middleware::from_fn_with_state(Arc::clone(config), guard);
    let router = Router::new().route("/", get(async || "hello")).layer(guard);
    let mut request = Request::new(Body::empty());
    if let Some(value) = authorization {
        request.headers_mut().insert(AUTHORIZATION, value.parse().unwrap());
    }
    router.oneshot(request).await.unwrap()
}

#[track_caller]
fn check_refused(text: &str, want: &str) {
    let (_folder, path) = folder_with(text);
    let error = WebConfig::open(&path).err().expect("it must be refused").to_string();
    let error = error.replace(&path.display().to_string(), "FILE");
    assert_eq!(error, want);
}

#[tokio::test]
async fn only_who_knows_the_password_gets_in() {
    let (_folder, path) = folder_with(&format!("basic_auth_users: {{ alice: '{}' }}", hash("a:b")));
    let config = WebConfig::open(&path).unwrap();
    let refused = ask(&config, None).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Basic");
    assert_eq!(ask(&config, Some("Basic YWxpY2U6YTpi")).await.status(), StatusCode::OK);
    let wrong = ask(&config, Some("Basic YWxpY2U6YTpj")).await;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_change_counts_from_the_next_request_and_a_broken_one_does_not() {
    let (_folder, path) = folder_with("");
    let config = WebConfig::open(&path).unwrap();
    assert_eq!(ask(&config, None).await.status(), StatusCode::OK);
    fs::write(&path, "http_server_config: { headers: { X-Frame-Options: deny } }").unwrap();
    assert_eq!(ask(&config, None).await.headers()["x-frame-options"], "deny");
    fs::write(&path, "no_such_key: 1").unwrap();
    assert_eq!(ask(&config, None).await.headers()["x-frame-options"], "deny");
}

#[test]
fn a_mistake_is_named_with_its_line() {
    check_refused(
        "basic_auth_users:\n  bob: plain\n",
        "FILE:2: basic_auth_users.bob: is not a bcrypt hash",
    );
    check_refused("tls_server_config: {}", "FILE:1: tls_server_config.cert_file: is missing");
    check_refused(
        "tls_server_config:\n  client_allowed_sans: [a]\n",
        "FILE:2: tls_server_config.client_allowed_sans: not supported by rollcall",
    );
    // A choice of ciphers is none: what is wrong here is that there is no certificate.
    check_refused(
        "tls_server_config:\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
        "FILE:1: tls_server_config.cert_file: is missing",
    );
}

#[test]
fn certificates_are_read_from_beside_the_file() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (folder, path) =
        folder_with("tls_server_config: { cert_file: server.crt, key_file: server.key }");
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("server.crt"), cert.pem()).unwrap();
    fs::write(folder.path().join("server.key"), signing_key.serialize_pem()).unwrap();
    assert!(WebConfig::open(&path).unwrap().tls().is_some());
}
