//! The HTTP client's keys, as prometheus/common `HTTPClientConfig` has them: who we are, whom we
//! trust, which proxy, which headers. Where they stand in line, see [`INLINE`](super::INLINE).
//!
//! Files named here (`password_file`, `ca_file`, …) are not read here: [`crate::http`] reads them
//! again for every request.

mod oauth2;
mod proxy;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Invalid, Secret, is_default, resolve_path};

pub use oauth2::{AssertionConfig, OAuth2Config, OAuth2Spec, SignatureAlgorithm};
pub use proxy::{ProxyConfig, ProxySpec};
pub use tls::{TlsConfig, TlsSpec, TlsVersion};

/// What the file says. `enable_http2` not given means what the section around it wants: true
/// everywhere but in `remote_write` (which sets `Some(false)` before [`HttpClientSpec::check`]).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.HTTPClientConfig")]
pub struct HttpClientSpec {
    /// User name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuthSpec>,
    /// The `Authorization` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<AuthorizationSpec>,
    /// A token from a token server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2Spec>,
    /// Old form of `authorization.credentials`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub bearer_token: Secret,
    /// Old form of `authorization.credentials_file`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bearer_token_file: String,
    /// TLS.
    #[serde(skip_serializing_if = "is_default")]
    pub tls_config: TlsSpec,
    /// Whether 3xx answers are followed. Default true.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be negotiated over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_http2: Option<bool>,
    /// Headers for every request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_headers: BTreeMap<String, HeaderSpec>,
    /// The proxy's keys.
    #[serde(rename = "<inline>")]
    pub proxy: ProxySpec,
}

/// `basic_auth`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.BasicAuth")]
pub struct BasicAuthSpec {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The file with the name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username_file: String,
    /// The password.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub password: Secret,
    /// The file with the password.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password_file: String,
}

/// `authorization`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Authorization")]
pub struct AuthorizationSpec {
    /// The scheme; `Bearer` if empty.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub scheme: String,
    /// What stands behind the scheme.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub credentials: Secret,
    /// The file with what stands behind the scheme.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub credentials_file: String,
}

/// The values of one of `http_headers`; all of them are sent.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.Header")]
pub struct HeaderSpec {
    /// Plain values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Values that are never printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Files with a value each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// Checked. Equal configurations may share a client.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpClientConfig {
    pub(crate) auth: Auth,
    pub(crate) tls: TlsConfig,
    pub(crate) proxy: ProxyConfig,
    pub(crate) headers: Vec<HeaderConfig>,
    pub(crate) follow_redirects: bool,
    pub(crate) http2: bool,
    /// Each new connection goes to the next address of a name.
    pub(crate) round_robin_dns: bool,
}

/// How requests are authorized.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    /// Not at all.
    None,
    /// HTTP basic.
    Basic {
        /// The name.
        username: Credentials,
        /// The password.
        password: Credentials,
    },
    /// `Authorization: scheme credentials`.
    Header {
        /// Such as `Bearer`.
        scheme: String,
        /// What follows.
        credentials: Credentials,
    },
    /// With a token that is asked for first.
    OAuth2(Box<OAuth2Config>),
}

/// Something secret, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// From the configuration; may be empty.
    Inline(Secret),
    /// From a file that is read for each request; blanks around it do not count.
    File(PathBuf),
}

/// One header with all its values.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderConfig {
    pub(crate) name: http::HeaderName,
    pub(crate) values: Vec<Credentials>,
}

/// Headers that are ours to set (prometheus/common `ReservedHeaders`), in lower case.
const RESERVED_HEADERS: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

// === impl HttpClientSpec ===

impl Default for HttpClientSpec {
    fn default() -> HttpClientSpec {
        HttpClientSpec {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            bearer_token: Secret::default(),
            bearer_token_file: String::new(),
            tls_config: TlsSpec::default(),
            follow_redirects: true,
            enable_http2: None,
            http_headers: BTreeMap::new(),
            proxy: ProxySpec::default(),
        }
    }
}

impl HttpClientSpec {
    /// Makes its paths relative to `dir`.
    pub fn resolve_paths(&mut self, dir: &Path) {
        resolve_path(&mut self.bearer_token_file, dir);
        if let Some(basic) = &mut self.basic_auth {
            resolve_path(&mut basic.username_file, dir);
            resolve_path(&mut basic.password_file, dir);
        }
        if let Some(authorization) = &mut self.authorization {
            resolve_path(&mut authorization.credentials_file, dir);
        }
        if let Some(oauth2) = &mut self.oauth2 {
            oauth2.resolve_paths(dir);
        }
        self.tls_config.resolve_paths(dir);
        for file in self.http_headers.values_mut().flat_map(|header| &mut header.files) {
            resolve_path(file, dir);
        }
    }

    /// Writes out what is taken when nothing is said, for the dump of the configuration.
    pub fn fill_defaults(&mut self, http2: bool) {
        self.enable_http2.get_or_insert(http2);
        if let Some(authorization) = &mut self.authorization
            && authorization.scheme.trim().is_empty()
        {
            authorization.scheme = "Bearer".to_owned();
        }
    }

    /// Whether nothing but defaults is set: Kubernetes discovery asks.
    pub fn is_default(&self) -> bool {
        *self == HttpClientSpec { enable_http2: self.enable_http2, ..HttpClientSpec::default() }
            && self.enable_http2 != Some(false)
    }

    /// Checks it as `HTTPClientConfig.Validate` does, with the same words.
    ///
    /// # Errors
    /// Keys are relative to the section in which the client's keys stand in line.
    pub fn check(self) -> Result<HttpClientConfig, Invalid> {
        let auth = self.check_auth()?;
        let proxy = self.proxy.check()?;
        let tls = self.tls_config.check().map_err(|invalid| invalid.under("tls_config"))?;
        let headers = self.http_headers.into_iter().map(|(name, header)| header.check(name));
        Ok(HttpClientConfig {
            auth,
            tls,
            proxy,
            headers: headers.collect::<Result<_, _>>()?,
            follow_redirects: self.follow_redirects,
            http2: self.enable_http2.unwrap_or(true),
            round_robin_dns: false,
        })
    }

    fn check_auth(&self) -> Result<Auth, Invalid> {
        let refuse = |key: &str, message: &str| Err(Invalid::new(key, message));
        let bearer = !self.bearer_token.is_empty() || !self.bearer_token_file.is_empty();
        let bearer_key =
            if self.bearer_token.is_empty() { "bearer_token_file" } else { "bearer_token" };
        if !self.bearer_token.is_empty() && !self.bearer_token_file.is_empty() {
            return refuse(
                "bearer_token",
                "at most one of bearer_token & bearer_token_file must be configured",
            );
        }
        if bearer && (self.basic_auth.is_some() || self.oauth2.is_some()) {
            return refuse(
                bearer_key,
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be \
                 configured",
            );
        }
        if bearer && self.authorization.is_some() {
            return refuse(
                bearer_key,
                "authorization is not compatible with bearer_token & bearer_token_file",
            );
        }
        let kinds =
            [self.basic_auth.is_some(), self.oauth2.is_some(), self.authorization.is_some()];
        let basic = self.basic_auth.as_ref().map(BasicAuthSpec::check).transpose()?;
        let header = self.authorization.as_ref().map(AuthorizationSpec::check).transpose()?;
        if kinds.into_iter().filter(|set| *set).count() > 1 {
            let message = "at most one of basic_auth, oauth2 & authorization must be configured";
            return refuse(if kinds[2] { "authorization" } else { "oauth2" }, message);
        }
        if bearer {
            let credentials = Credentials::of(&self.bearer_token, &self.bearer_token_file);
            return Ok(Auth::Header { scheme: "Bearer".to_owned(), credentials });
        }
        match self.oauth2.clone() {
            Some(oauth2) => {
                let config = oauth2.check().map_err(|invalid| invalid.under("oauth2"))?;
                Ok(Auth::OAuth2(Box::new(config)))
            }
            None => Ok(basic.or(header).unwrap_or(Auth::None)),
        }
    }
}

// === impl BasicAuthSpec ===

impl BasicAuthSpec {
    fn check(&self) -> Result<Auth, Invalid> {
        if !self.username.is_empty() && !self.username_file.is_empty() {
            return Err(Invalid::new(
                "basic_auth.username",
                "at most one of basic_auth username, username_file & username_ref must be configured",
            ));
        }
        if !self.password.is_empty() && !self.password_file.is_empty() {
            return Err(Invalid::new(
                "basic_auth.password",
                "at most one of basic_auth password, password_file & password_ref must be configured",
            ));
        }
        let username = Credentials::of(&Secret::new(&*self.username), &self.username_file);
        let password = Credentials::of(&self.password, &self.password_file);
        Ok(Auth::Basic { username, password })
    }
}

// === impl AuthorizationSpec ===

impl AuthorizationSpec {
    fn check(&self) -> Result<Auth, Invalid> {
        if !self.credentials.is_empty() && !self.credentials_file.is_empty() {
            return Err(Invalid::new(
                "authorization.credentials",
                "at most one of authorization credentials & credentials_file must be configured",
            ));
        }
        let scheme = match self.scheme.trim() {
            "" => "Bearer",
            scheme if scheme.eq_ignore_ascii_case("basic") => {
                return Err(Invalid::new(
                    "authorization.type",
                    r#"authorization type cannot be set to "basic", use "basic_auth" instead"#,
                ));
            }
            scheme => scheme,
        };
        let credentials = Credentials::of(&self.credentials, &self.credentials_file);
        Ok(Auth::Header { scheme: scheme.to_owned(), credentials })
    }
}

// === impl HeaderSpec ===

impl HeaderSpec {
    fn check(self, name: String) -> Result<HeaderConfig, Invalid> {
        let key = format!("http_headers.{name}");
        if RESERVED_HEADERS.contains(&&*name.to_ascii_lowercase()) {
            let canonical = canonical_header(&name);
            return Err(Invalid::new(key, format!("setting header {canonical:?} is not allowed")));
        }
        let parsed = http::HeaderName::try_from(&name);
        let name = parsed.map_err(|_| Invalid::new(key, "is not a header name"))?;
        let HeaderSpec { values, secrets, files } = self;
        let plain = values.into_iter().map(|value| Credentials::Inline(Secret::new(value)));
        let secret = secrets.into_iter().map(Credentials::Inline);
        let from_file = files.into_iter().map(|path| Credentials::File(path.into()));
        Ok(HeaderConfig { name, values: plain.chain(secret).chain(from_file).collect() })
    }
}

// === impl HttpClientConfig ===

impl HttpClientConfig {
    /// The same, with each new connection going to the next address of a name that has several.
    pub fn with_round_robin_dns(self, round_robin_dns: bool) -> HttpClientConfig {
        HttpClientConfig { round_robin_dns, ..self }
    }

    /// Whether 3xx answers are followed.
    pub fn follows_redirects(&self) -> bool {
        self.follow_redirects
    }

    /// How requests are authorized.
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// Every file that is read for requests: credentials, certificates, headers.
    pub fn files(&self) -> Vec<&Path> {
        let mut sources: Vec<&Credentials> = Vec::new();
        match &self.auth {
            Auth::None => {}
            Auth::Basic { username, password } => sources.extend([username, password]),
            Auth::Header { credentials, .. } => sources.push(credentials),
            Auth::OAuth2(oauth2) => {
                sources.push(&oauth2.client_secret);
                sources.extend(oauth2.assertion.as_ref().map(|assertion| &assertion.key));
                sources.extend(oauth2.tls.sources());
            }
        }
        sources.extend(self.tls.sources());
        sources.extend(self.headers.iter().flat_map(|header| &header.values));
        let files = sources.into_iter().filter_map(|source| match source {
            Credentials::File(path) => Some(&**path),
            Credentials::Inline(_) => None,
        });
        files.collect()
    }
}

impl Default for HttpClientConfig {
    /// A client without any options: what an empty section gives.
    fn default() -> HttpClientConfig {
        HttpClientConfig {
            auth: Auth::None,
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            headers: Vec::new(),
            follow_redirects: true,
            http2: true,
            round_robin_dns: false,
        }
    }
}

// === impl Credentials ===

impl Credentials {
    /// From the file, if one is named.
    fn of(inline: &Secret, file: &str) -> Credentials {
        match file {
            "" => Credentials::Inline(inline.clone()),
            file => Credentials::File(file.into()),
        }
    }
}

/// Checks headers that a section sets beside the client's own, as Prometheus' `remote_write`,
/// `remote_read` and `tracing` do. `authorization` is what is said about that header.
///
/// # Errors
/// `headers.NAME: why`.
pub fn check_own_headers<'h>(
    names: impl IntoIterator<Item = &'h String>,
    authorization: &str,
) -> Result<(), Invalid> {
    for name in names {
        let key = format!("headers.{name}");
        let lower = name.to_ascii_lowercase();
        if lower == "authorization" {
            return Err(Invalid::new(key, authorization));
        }
        if RESERVED_HEADERS.contains(&&*lower) {
            let message = format!("{name} is a reserved header. It must not be changed");
            return Err(Invalid::new(key, message));
        }
    }
    Ok(())
}

/// `x-some-header` as Go prints header names: `X-Some-Header`.
fn canonical_header(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters.map(|letter| letter.to_ascii_lowercase())).collect()
    });
    words.collect::<Vec<String>>().join("-")
}

#[cfg(test)]
mod tests;
