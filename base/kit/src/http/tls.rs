//! TLS as `tls_config` says: whom we trust, who we are, which versions.
//!
//! Files are read again each time; if what is in them changed, there is a new [`Generation`].

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::{Generation, credentials, roots};
use crate::config::{Credentials, TlsConfig, TlsVersion};

/// Why a TLS configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate where one should be.
    #[error("{what} has no usable certificate")]
    NoCertificate {
        /// `ca` or `cert`.
        what: &'static str,
    },
    /// There is no key where one should be.
    #[error("key is not a usable private key")]
    NoKey,
    /// Key and certificate, or the versions, do not fit.
    #[error("set up TLS")]
    Setup(#[source] rustls::Error),
}

/// Makes and keeps the configuration of connections.
pub(super) struct TlsSource {
    config: TlsConfig,
    /// What was made last. A lock, because a changed file replaces it; held for a copy.
    made: Mutex<Option<Made>>,
}

struct Made {
    materials: Materials,
    generation: Generation,
    tls: Tls,
}

/// What is ready to make connections with.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    /// The name that the server's certificate must be for, if not the URL's.
    server_name: Option<Arc<str>>,
}

/// TLS, and what is spoken inside of it.
#[derive(Clone)]
pub(super) struct Protocols {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: Option<Arc<str>>,
}

/// The PEM texts.
#[derive(PartialEq, Clone, Default)]
struct Materials {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

// === impl TlsSource ===

impl TlsSource {
    pub(super) fn new(config: TlsConfig) -> TlsSource {
        TlsSource { config, made: Mutex::new(None) }
    }

    /// What to make connections with now.
    pub(super) async fn current(&self) -> Result<(Generation, Tls), TlsError> {
        let known = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let fixed = self.config.sources().all(|source| matches!(source, Credentials::Inline(_)));
        if fixed && let Some(made) = &*known() {
            return Ok((made.generation, made.tls.clone()));
        }
        let materials = Materials::read(&self.config).await?;
        let mut known = known();
        let last = known.as_ref().map_or(0, |made| made.generation.0);
        if let Some(made) = &*known
            && made.materials == materials
        {
            return Ok((made.generation, made.tls.clone()));
        }
        let config = build(&self.config, &materials)?;
        let server_name = self.config.server_name.as_deref().map(Arc::from);
        let tls = Tls { config: Arc::new(config), server_name };
        let generation = Generation(last + 1);
        *known = Some(Made { materials, generation, tls: tls.clone() });
        Ok((generation, tls))
    }
}

// === impl Protocols ===

impl Protocols {
    /// HTTP/1.1, and HTTP/2 if the server wants it and it is wanted here.
    pub(super) fn new(tls: Tls, http2: bool) -> Protocols {
        let names: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        let mut config = ClientConfig::clone(&tls.config);
        config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        Protocols { config: Arc::new(config), server_name: tls.server_name }
    }
}

// === impl Materials ===

impl Materials {
    async fn read(config: &TlsConfig) -> Result<Materials, TlsError> {
        let mut materials = Materials::default();
        if let Some(ca) = &config.ca {
            materials.ca = Some(pem(ca).await?);
        }
        if let Some((cert, key)) = &config.cert_and_key {
            materials.cert = Some(pem(cert).await?);
            materials.key = Some(pem(key).await?);
        }
        Ok(materials)
    }
}

async fn pem(source: &Credentials) -> Result<Vec<u8>, TlsError> {
    match source {
        Credentials::Inline(secret) => Ok(secret.reveal().as_bytes().to_vec()),
        Credentials::File(path) => {
            let read = credentials::read_file(path).await;
            read.map_err(|source| TlsError::Read { path: path.clone(), source })
        }
    }
}

fn build(config: &TlsConfig, materials: &Materials) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (min, max) = (config.min_version, config.max_version);
    let versions: Vec<_> = [
        (TlsVersion::Tls12, &rustls::version::TLS12),
        (TlsVersion::Tls13, &rustls::version::TLS13),
    ]
    .into_iter()
    .filter(|(version, _)| min.is_none_or(|min| *version >= min))
    .filter(|(version, _)| max.is_none_or(|max| *version <= max))
    .map(|(_, protocol)| protocol)
    .collect();
    let verifier: Arc<dyn ServerCertVerifier> = if config.insecure_skip_verify {
        Arc::new(TrustAnyone { provider: Arc::clone(&provider) })
    } else {
        Arc::new(Trust::new(materials, &provider)?)
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let (Some(cert), Some(key)) = (&materials.cert, &materials.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { what: "cert" });
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
    builder.with_client_auth_cert(chain, key).map_err(TlsError::Setup)
}

/// Trusts the authorities, and servers whose own certificate is among them, as Go does: a server
/// that signed its certificate itself has often marked it as an authority's.
#[derive(Debug)]
struct Trust {
    usual: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
}

/// Trusts anyone: `insecure_skip_verify`.
#[derive(Debug)]
struct TrustAnyone {
    provider: Arc<CryptoProvider>,
}

// === impl Trust ===

impl Trust {
    fn new(materials: &Materials, provider: &Arc<CryptoProvider>) -> Result<Trust, TlsError> {
        let (store, roots) = match &materials.ca {
            None => (roots::system(), Vec::new()),
            Some(ca) => {
                let found: Vec<_> =
                    CertificateDer::pem_slice_iter(ca).filter_map(Result::ok).collect();
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(found.iter().cloned());
                if store.is_empty() {
                    return Err(TlsError::NoCertificate { what: "ca" });
                }
                (store, found)
            }
        };
        let built =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
                .build();
        let usual =
            built.map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
        Ok(Trust { usual, roots })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usual = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match usual {
            // Found out after the times of the certificate were checked.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if format!("{other:?}").contains("CaUsedAsEndEntity")
                    && self.roots.iter().any(|root| root == end_entity) =>
            {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&parsed, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

// === impl TrustAnyone ===

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
