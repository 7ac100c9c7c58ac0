//! `tls_config`: whom we trust, and who we are.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Credentials;
use crate::config::{Invalid, Secret, resolve_path};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub struct TlsSpec {
    /// Certificates of the authorities, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// The file with them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca_file: String,
    /// Our certificate chain, PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// The file with it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert_file: String,
    /// Our key, PEM.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key: Secret,
    /// The file with it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_file: String,
    /// The name that the server's certificate must be for, if not the URL's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// Trusts anyone. Default false.
    pub insecure_skip_verify: bool,
    /// The oldest protocol. We speak 1.2 and 1.3: older ones mean 1.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// The newest protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TlsVersion {
    /// 1.0
    #[serde(rename = "TLS10")]
    Tls10,
    /// 1.1
    #[serde(rename = "TLS11")]
    Tls11,
    /// 1.2
    #[serde(rename = "TLS12")]
    Tls12,
    /// 1.3
    #[serde(rename = "TLS13")]
    Tls13,
}

/// Checked: at most one source each, a certificate only with its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsConfig {
    pub(crate) ca: Option<Credentials>,
    pub(crate) cert_and_key: Option<(Credentials, Credentials)>,
    pub(crate) server_name: Option<String>,
    pub(crate) insecure_skip_verify: bool,
    pub(crate) min_version: Option<TlsVersion>,
    pub(crate) max_version: Option<TlsVersion>,
}

// === impl TlsSpec ===

impl TlsSpec {
    /// Makes its paths relative to `dir`.
    pub fn resolve_paths(&mut self, dir: &Path) {
        resolve_path(&mut self.ca_file, dir);
        resolve_path(&mut self.cert_file, dir);
        resolve_path(&mut self.key_file, dir);
    }

    /// Checks it as `TLSConfig.Validate` does, with the same words.
    ///
    /// # Errors
    /// Keys are relative to `tls_config`.
    pub fn check(self) -> Result<TlsConfig, Invalid> {
        let refuse = |key: &str, message: &str| Err(Invalid::new(key, message));
        if !self.ca.is_empty() && !self.ca_file.is_empty() {
            return refuse("ca", "at most one of ca, ca_file & ca_ref must be configured");
        }
        if !self.cert.is_empty() && !self.cert_file.is_empty() {
            return refuse("cert", "at most one of cert, cert_file & cert_ref must be configured");
        }
        if !self.key.is_empty() && !self.key_file.is_empty() {
            return refuse("key", "at most one of key and key_file must be configured");
        }
        let ca = source(&Secret::new(self.ca), &self.ca_file);
        let cert = source(&Secret::new(self.cert), &self.cert_file);
        let cert_and_key = match (cert, source(&self.key, &self.key_file)) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                return refuse(
                    "cert_file",
                    "exactly one of key or key_file must be configured when a client certificate \
                     is configured",
                );
            }
            (None, Some(_)) => {
                return refuse(
                    "key_file",
                    "exactly one of cert or cert_file must be configured when a client key is \
                     configured",
                );
            }
        };
        let newest = self.max_version.unwrap_or(TlsVersion::Tls13);
        if newest < self.min_version.unwrap_or(TlsVersion::Tls12).max(TlsVersion::Tls12) {
            return refuse(
                "max_version",
                "no version of TLS is left: rollcall speaks TLS12, TLS13",
            );
        }
        Ok(TlsConfig {
            ca,
            cert_and_key,
            server_name: Some(self.server_name).filter(|name| !name.is_empty()),
            insecure_skip_verify: self.insecure_skip_verify,
            min_version: self.min_version,
            max_version: self.max_version,
        })
    }
}

// === impl TlsConfig ===

impl TlsConfig {
    /// Where certificates and keys come from.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Credentials> {
        let own = self.cert_and_key.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(own)
    }
}

fn source(inline: &Secret, file: &str) -> Option<Credentials> {
    (!inline.is_empty() || !file.is_empty()).then(|| Credentials::of(inline, file))
}

// === impl TlsVersion ===

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TlsVersion, D::Error> {
        match &*String::deserialize(deserializer)? {
            "TLS10" => Ok(TlsVersion::Tls10),
            "TLS11" => Ok(TlsVersion::Tls11),
            "TLS12" => Ok(TlsVersion::Tls12),
            "TLS13" => Ok(TlsVersion::Tls13),
            other => Err(de::Error::custom(format!("unknown TLS version: {other}"))),
        }
    }
}
