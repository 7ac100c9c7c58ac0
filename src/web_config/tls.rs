//! `tls_server_config`: who we are, and which clients we believe.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kit::Chain;
use kit::config::{Invalid, Secret, TlsVersion};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use tracing::warn;

/// The section as it stands.
#[derive(Debug, Default, Deserialize)]
#[serde(rename = "web.TLSConfig", default, deny_unknown_fields)]
pub(super) struct TlsSpec {
    cert: String,
    key: Secret,
    cert_file: String,
    key_file: String,
    client_auth_type: String,
    client_ca: String,
    client_ca_file: String,
    client_allowed_sans: Vec<String>,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    min_version: Option<TlsVersion>,
    max_version: Option<TlsVersion>,
    prefer_server_cipher_suites: Option<bool>,
}

// === impl TlsSpec ===

impl TlsSpec {
    /// Makes the paths relative to the folder of the file.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        for path in [&mut self.cert_file, &mut self.key_file, &mut self.client_ca_file] {
            super::resolve(path, folder);
        }
    }

    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        let named = files.map(|file| (!file.is_empty()).then(|| PathBuf::from(file)));
        named.into_iter().flatten()
    }

    /// Reads the certificates.
    ///
    /// # Errors
    /// Keys are relative to `tls_server_config`.
    pub(super) fn check(self, http2: bool) -> Result<ServerConfig, Invalid> {
        let choices = [
            ("cipher_suites", !self.cipher_suites.is_empty()),
            ("curve_preferences", !self.curve_preferences.is_empty()),
            ("prefer_server_cipher_suites", self.prefer_server_cipher_suites == Some(false)),
        ];
        if !self.client_allowed_sans.is_empty() {
            return Err(Invalid::new("client_allowed_sans", "not supported by rollcall"));
        }
        for (key, _) in choices.into_iter().filter(|(_, given)| *given) {
            warn!(key, "key of tls_server_config has no effect: the TLS library offers safe ones");
        }
        let cert = pem("cert", self.cert.as_str(), &self.cert_file)?;
        let key = pem("key", self.key.reveal(), &self.key_file)?;
        let chain = certificates("cert_file", &cert)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| Invalid::new("key_file", format!("is no key: {}", Chain(&error))))?;
        let clients = self.clients()?;
        let versions = versions(self.min_version, self.max_version)?;
        let mut config = ServerConfig::builder_with_protocol_versions(&versions)
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(|error| Invalid::new("cert_file", Chain(&error).to_string()))?;
        config.alpn_protocols.push(b"http/1.1".to_vec());
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(config)
    }

    fn clients(&self) -> Result<Arc<dyn ClientCertVerifier>, Invalid> {
        let (required, key) = match self.client_auth_type.as_str() {
            "" | "NoClientCert" => return Ok(Arc::new(NoClientAuth)),
            "VerifyClientCertIfGiven" => (false, "client_ca_file"),
            "RequireAndVerifyClientCert" => (true, "client_ca_file"),
            "RequestClientCert" | "RequireAnyClientCert" => {
                return Err(Invalid::new("client_auth_type", "not supported by rollcall"));
            }
            other => {
                let message = format!("Invalid ClientAuth: {other}");
                return Err(Invalid::new("client_auth_type", message));
            }
        };
        let mut roots = RootCertStore::empty();
        let authorities = pem("client_ca", &self.client_ca, &self.client_ca_file)?;
        roots.add_parsable_certificates(certificates(key, &authorities)?);
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
        let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
        let verifier = verifier.build();
        verifier.map_err(|error| Invalid::new(key, Chain(&error).to_string()))
    }
}

/// What stands in line, or in the file.
fn pem(key: &str, inline: &str, file: &str) -> Result<Vec<u8>, Invalid> {
    match (inline, file) {
        ("", "") => Err(Invalid::new(format!("{key}_file"), "is missing")),
        (inline, "") => Ok(inline.as_bytes().to_vec()),
        ("", file) => fs::read(file).map_err(|error| {
            Invalid::new(format!("{key}_file"), format!("read {file}: {}", Chain(&error)))
        }),
        _ => Err(Invalid::new(key, format!("stands beside {key}_file; keep one"))),
    }
}

fn certificates(key: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| Invalid::new(key, Chain(&error).to_string()))?;
    if read.is_empty() { Err(Invalid::new(key, "has no certificate")) } else { Ok(read) }
}

/// The versions from `oldest` to `newest` that we speak: 1.2 and 1.3.
fn versions(
    oldest: Option<TlsVersion>,
    newest: Option<TlsVersion>,
) -> Result<Vec<&'static SupportedProtocolVersion>, Invalid> {
    let known = [
        (TlsVersion::Tls13, &rustls::version::TLS13),
        (TlsVersion::Tls12, &rustls::version::TLS12),
    ];
    let wanted = known.into_iter().filter(|(version, _)| {
        oldest.is_none_or(|oldest| *version >= oldest)
            && newest.is_none_or(|newest| *version <= newest)
    });
    let versions: Vec<_> = wanted.map(|(_, version)| version).collect();
    match versions.is_empty() {
        true => Err(Invalid::new("max_version", "leaves no version that rollcall speaks")),
        false => Ok(versions),
    }
}
