//! `--web.config.file`: TLS, passwords and headers of the HTTP server, in the format that
//! Prometheus' exporters share.
//!
//! As there, a change in the file or in a certificate counts from the next connection and request
//! on. A change that cannot be used is logged, and what was in force stays.
//! Keys that would promise what we do not do (unverified client certificates) are refused. A choice
//! of ciphers is taken with a warning: the library offers none that are weak.

mod passwords;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use kit::Chain;
use kit::config::{Invalid, Secret, resolve_path, yaml};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use passwords::Passwords;
use tls::TlsSpec;

/// The file as it stands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename = "web.Config", default, deny_unknown_fields)]
struct Spec {
    /// Turns on TLS.
    tls_server_config: Option<TlsSpec>,
    /// What is added to answers.
    http_server_config: HttpSpec,
    /// Who may ask: names and bcrypt hashes of passwords. Empty: everybody.
    basic_auth_users: BTreeMap<String, Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(rename = "web.HTTPConfig", default, deny_unknown_fields)]
struct HttpSpec {
    /// Offers HTTP/2 over TLS. Default true.
    http2: bool,
    /// Headers of every answer.
    headers: BTreeMap<String, String>,
}

/// The web configuration in force. Looks at its files whenever it is asked.
pub(crate) struct WebConfig {
    path: PathBuf,
    loaded: ArcSwap<Loaded>,
    /// A lock, so that a change is read once; held while the files are read.
    reading: Mutex<()>,
    passwords: Passwords,
}

/// What the files said when they were last read well.
struct Loaded {
    tls: Option<TlsAcceptor>,
    headers: Vec<(HeaderName, HeaderValue)>,
    users: BTreeMap<String, Secret>,
    /// The files as they were then.
    stamps: Vec<(PathBuf, Stamp)>,
}

/// Tells two states of a file apart: when it was written, and its size.
type Stamp = Option<(SystemTime, u64)>;

/// Why there is no web configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebConfigError {
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Invalid(#[from] yaml::Error),
}

// === impl WebConfig ===

impl WebConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be used.
    pub(crate) fn open(path: &Path) -> Result<Arc<WebConfig>, WebConfigError> {
        Ok(Arc::new(WebConfig {
            path: path.to_owned(),
            loaded: ArcSwap::from_pointee(Loaded::read(path)?),
            reading: Mutex::new(()),
            passwords: Passwords::default(),
        }))
    }

    /// How a new connection is to be secured, if it is.
    pub(crate) fn tls(&self) -> Option<TlsAcceptor> {
        self.current().tls.clone()
    }

    /// What is in force now.
    fn current(&self) -> Arc<Loaded> {
        let loaded = self.loaded.load_full();
        if loaded.is_current() {
            return loaded;
        }
        let _one_reads = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.loaded.load_full();
        if loaded.is_current() {
            return loaded;
        }
        let read = match Loaded::read(&self.path) {
            Ok(read) => {
                info!(file = %self.path.display(), "web configuration loaded");
                read
            }
            Err(error) => {
                warn!(error = %Chain(&error), "web configuration not loaded; the old one stays");
                loaded.as_of_now()
            }
        };
        self.loaded.store(Arc::new(read));
        self.loaded.load_full()
    }

    async fn knows(&self, loaded: &Loaded, given: Option<(String, String)>) -> bool {
        let Some((user, password)) = given else {
            return false;
        };
        let hash = loaded.users.get(&user).cloned();
        self.passwords.fits(password, hash).await
    }
}

/// Lets a request pass if its sender is known, and adds the headers to the answer.
pub(crate) async fn guard(
    State(config): State<Arc<WebConfig>>,
    request: Request,
    next: Next,
) -> Response {
    let loaded = config.current();
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(passwords::basic);
    let mut response = if loaded.users.is_empty() || config.knows(&loaded, given).await {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic")], "Unauthorized\n").into_response()
    };
    for (name, value) in &loaded.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

// === impl Loaded ===

impl Loaded {
    fn read(path: &Path) -> Result<Loaded, WebConfigError> {
        // Before the reading: a write in between is seen as a change.
        let mut stamps = vec![(path.to_owned(), stamp(path))];
        let failed = |source| WebConfigError::Read { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(failed)?;
        let document = yaml::Document::parse(&path.display().to_string(), &text)?;
        let spec: Spec = if document.is_empty() { Spec::default() } else { document.decode()? };
        let locate = |invalid| WebConfigError::Invalid(document.locate(invalid));
        let Spec { tls_server_config, http_server_config, basic_auth_users } = spec;
        let headers = http_server_config.check().map_err(locate)?;
        passwords::check(&basic_auth_users).map_err(locate)?;
        let tls = match tls_server_config {
            None => None,
            Some(mut tls) => {
                tls.resolve_paths(path.parent().unwrap_or(Path::new("")));
                stamps.extend(tls.files().map(|file| (file.clone(), stamp(&file))));
                let http2 = http_server_config.http2;
                let config = tls.check(http2);
                let config = config.map_err(|error| locate(error.under("tls_server_config")))?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
        };
        Ok(Loaded { tls, headers, users: basic_auth_users, stamps })
    }

    fn is_current(&self) -> bool {
        self.stamps.iter().all(|(path, known)| stamp(path) == *known)
    }

    /// The same, until the files change once more.
    fn as_of_now(&self) -> Loaded {
        Loaded {
            tls: self.tls.clone(),
            headers: self.headers.clone(),
            users: self.users.clone(),
            stamps: self.stamps.iter().map(|(path, _)| (path.clone(), stamp(path))).collect(),
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

// === impl HttpSpec ===

impl Default for HttpSpec {
    fn default() -> HttpSpec {
        HttpSpec { http2: true, headers: BTreeMap::new() }
    }
}

impl HttpSpec {
    fn check(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Invalid> {
        let given = self.headers.iter().filter(|(_, value)| !value.is_empty());
        given
            .map(|(name, value)| {
                let key = || format!("http_server_config.headers.{name}");
                let parsed_name = HeaderName::try_from(name)
                    .map_err(|_| Invalid::new(key(), "is not the name of a header"))?;
                let value = HeaderValue::try_from(value)
                    .map_err(|_| Invalid::new(key(), "cannot be the value of a header"))?;
                Ok((parsed_name, value))
            })
            .collect()
    }
}

/// Makes a path relative to the folder of the web configuration.
fn resolve(path: &mut String, folder: &Path) {
    resolve_path(path, folder);
}

#[cfg(test)]
mod tests;
