//! What a request says about who sends it: basic and other authorization, configured headers.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};

use super::redirect::strip_credentials;
use crate::config::{Auth, Credentials, HeaderConfig};

/// Bytes of a file with a secret in it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why credentials cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("unable to read {what} file {}", path.display())]
    Read {
        /// What is in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was read cannot stand in a header.
    #[error("{what} cannot stand in a header")]
    NotAHeader {
        /// What was read.
        what: &'static str,
    },
}

/// The `Authorization` header, if there is one without asking anyone.
pub(super) async fn authorization(auth: &Auth) -> Result<Option<HeaderValue>, CredentialsError> {
    match auth {
        Auth::None | Auth::OAuth2(_) => Ok(None),
        Auth::Basic { username, password } => {
            let username = read(username, "basic auth username").await?;
            let password = read(password, "basic auth password").await?;
            basic(&username, &password).map(Some)
        }
        Auth::Header { scheme, credentials } => {
            let what = "authorization credentials";
            let credentials = read(credentials, what).await?;
            secret_header(format!("{scheme} {credentials}"), what).map(Some)
        }
    }
}

/// `Basic` with name and password.
pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue, CredentialsError> {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    secret_header(format!("Basic {encoded}"), "basic auth")
}

/// Adds the configured headers; those that are credentials only if `trusted`.
pub(super) async fn add_headers(
    configured: &[HeaderConfig],
    headers: &mut HeaderMap,
    trusted: bool,
) -> Result<(), CredentialsError> {
    if configured.is_empty() {
        return Ok(());
    }
    for header in configured {
        for value in &header.values {
            let text = read(value, "header").await?;
            headers.append(header.name.clone(), secret_header(text, "header")?);
        }
    }
    if !trusted {
        strip_credentials(headers);
    }
    Ok(())
}

/// The secret itself; blanks around what stands in a file do not count.
pub(super) async fn read(
    credentials: &Credentials,
    what: &'static str,
) -> Result<String, CredentialsError> {
    match credentials {
        Credentials::Inline(secret) => Ok(secret.reveal().to_owned()),
        Credentials::File(path) => {
            let bytes = read_file(path).await.map_err(|source| CredentialsError::Read {
                what,
                path: path.clone(),
                source,
            })?;
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        }
    }
}

/// Reads a small file.
pub(super) async fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn secret_header(text: String, what: &'static str) -> Result<HeaderValue, CredentialsError> {
    let mut value =
        HeaderValue::try_from(text).map_err(|_| CredentialsError::NotAHeader { what })?;
    value.set_sensitive(true);
    Ok(value)
}
