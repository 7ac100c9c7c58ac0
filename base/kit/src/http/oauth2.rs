//! Tokens for requests, from a token server, by the client credentials grant or by a signed
//! assertion.
//!
//! A token is kept until ten seconds before its end, as `golang.org/x/oauth2` does; the server is
//! asked by one request at a time.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::form_urlencoded::Serializer as Form;

use super::assertion::{self, AssertionError};
use super::{BodyError, Client, CredentialsError, SendError, credentials};
use crate::config::{AssertionConfig, Auth, HttpClientConfig, OAuth2Config};
use crate::{Clock, SystemClock};

/// A token is not used in its last moments.
const EXPIRY_DELTA: Duration = Duration::from_secs(10);

/// Bytes of a token server's answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Asking for a token may take this long.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Our secret cannot be read.
    #[error("read oauth2 client secret")]
    Secret(#[source] CredentialsError),
    /// Our assertion cannot be made.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    /// The server does not answer.
    #[error("ask the token server")]
    Send(#[source] Box<SendError>),
    /// Not in time.
    #[error("token server has not answered in {0:?}")]
    Timeout(Duration),
    /// The answer breaks off.
    #[error("read the token server's answer")]
    Body(#[source] BodyError),
    /// The server refuses.
    #[error("token server answers {status}: {body}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The start of the body.
        body: String,
    },
    /// `endpoint_params` names what only we may say.
    #[error("cannot overwrite parameter \"assertion\" or \"scope\"")]
    Parameter,
    /// The answer has no token in it.
    #[error("server response missing access_token")]
    NoToken,
}

/// The tokens of one client.
pub(super) struct Tokens {
    config: OAuth2Config,
    client: Client,
    /// A lock over the whole request: who comes meanwhile waits for the same token.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// How the server wants our secret: found out at the first request.
    in_body: Option<bool>,
}

struct Token {
    header: HeaderValue,
    /// The secret that it was asked for with.
    secret: String,
    ends: Option<Instant>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

// === impl Tokens ===

impl Tokens {
    pub(super) fn new(config: &OAuth2Config, user_agent: &str) -> Tokens {
        let transport = HttpClientConfig {
            auth: Auth::None,
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            ..HttpClientConfig::default()
        };
        let client = Client::new(transport, user_agent);
        Tokens { config: config.clone(), client, state: Mutex::default() }
    }

    /// The `Authorization` header with a token that is good now.
    pub(super) async fn authorization(&self) -> Result<HeaderValue, TokenError> {
        let (source, what) = match &self.config.assertion {
            Some(assertion) => (&assertion.key, "oauth2 client certificate key"),
            None => (&self.config.client_secret, "oauth2 client secret"),
        };
        let secret = credentials::read(source, what).await.map_err(TokenError::Secret)?;
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = &state.token
            && token.secret == secret
            && token.ends.is_none_or(|ends| now + EXPIRY_DELTA < ends)
        {
            return Ok(token.header.clone());
        }
        let asked = tokio::time::timeout(TIMEOUT, self.ask(&mut state, &secret)).await;
        let answer = asked.map_err(|_| TokenError::Timeout(TIMEOUT))??;
        let lifetime = answer.expires_in.as_ref().and_then(seconds);
        let kind = match &*answer.token_type.to_ascii_lowercase() {
            "" | "bearer" => "Bearer",
            "mac" => "MAC",
            "basic" => "Basic",
            _ => &answer.token_type,
        };
        let mut header = HeaderValue::try_from(format!("{kind} {}", answer.access_token))
            .map_err(|_| TokenError::NoToken)?;
        header.set_sensitive(true);
        let ends = lifetime.map(|lifetime| now + lifetime);
        state.token = Some(Token { header: header.clone(), secret, ends });
        Ok(header)
    }

    /// Asks with the secret in a header; if the server does not take that, in the body.
    async fn ask(&self, state: &mut State, secret: &str) -> Result<Answer, TokenError> {
        if let Some(assertion) = &self.config.assertion {
            return self.ask_with(self.asserting(assertion, secret)?, None).await;
        }
        if let Some(in_body) = state.in_body {
            return self.ask_once(secret, in_body).await;
        }
        let (in_body, answer) = match self.ask_once(secret, false).await {
            Err(TokenError::Refused { .. }) => (true, self.ask_once(secret, true).await?),
            answer => (false, answer?),
        };
        state.in_body = Some(in_body);
        Ok(answer)
    }

    /// The form with a signed assertion. Parameters may replace nothing but the grant type.
    fn asserting(&self, assertion: &AssertionConfig, key: &str) -> Result<String, TokenError> {
        let OAuth2Config { scopes, endpoint_params, .. } = &self.config;
        let now_s = SystemClock.unix_ms() / 1000;
        let assertion = assertion::sign(&self.config, assertion, key, now_s)?;
        let named = |name: &str| endpoint_params.iter().any(|(known, _)| known == name);
        if named("assertion") || named("scope") && !scopes.is_empty() {
            return Err(TokenError::Parameter);
        }
        let mut form = Form::new(String::new());
        if !named("grant_type") {
            form.append_pair("grant_type", AssertionConfig::GRANT_TYPE);
        }
        form.append_pair("assertion", &assertion);
        if !scopes.is_empty() {
            form.append_pair("scope", &scopes.join(" "));
        }
        Ok(form.extend_pairs(endpoint_params).finish())
    }

    async fn ask_once(&self, secret: &str, in_body: bool) -> Result<Answer, TokenError> {
        let OAuth2Config { client_id, scopes, endpoint_params, .. } = &self.config;
        // In a block of its own: a form must not live over an `.await`, it cannot change threads.
        let form = {
            let mut form = Form::new(String::new());
            form.append_pair("grant_type", "client_credentials");
            if !scopes.is_empty() {
                form.append_pair("scope", &scopes.join(" "));
            }
            form.extend_pairs(endpoint_params);
            if in_body {
                form.append_pair("client_id", client_id).append_pair("client_secret", secret);
            }
            form.finish()
        };
        let basic = credentials::basic(&form_encode(client_id), &form_encode(secret));
        let basic = basic.map_err(TokenError::Secret)?;
        self.ask_with(form, (!in_body).then_some(basic)).await
    }

    async fn ask_with(
        &self,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, TokenError> {
        let uri = self.config.token_url.as_str();
        let uri: Uri = uri.parse().map_err(|_| TokenError::NoToken)?;
        let mut request = Request::new(Bytes::from(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let sent = Box::pin(self.client.send(request)).await;
        let response = sent.map_err(|error| TokenError::Send(Box::new(error)))?;
        let status = response.status();
        let body = response.bytes(ANSWER_BYTES_MAX).await.map_err(TokenError::Body)?;
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(TokenError::Refused { status, body });
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| TokenError::NoToken)?;
        if answer.access_token.is_empty() { Err(TokenError::NoToken) } else { Ok(answer) }
    }
}

/// A number of seconds, which some servers write as a text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let number = match value {
        serde_json::Value::String(text) => text.parse().ok()?,
        value => value.as_f64()? as u64,
    };
    (number > 0).then(|| Duration::from_secs(number))
}

fn form_encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}
