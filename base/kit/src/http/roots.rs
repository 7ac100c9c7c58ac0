//! The authorities that the system trusts, where Go looks for them too.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Bundles of the known distributions; the first that exists is taken.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The system's authorities, read once. `SSL_CERT_FILE` names another bundle.
pub(super) fn system() -> RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(read).clone()
}

fn read() -> RootCertStore {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let candidates = match named {
        Some(path) => vec![path],
        None => BUNDLES.iter().map(PathBuf::from).collect(),
    };
    let mut roots = RootCertStore::empty();
    if let Some(bundle) = candidates.into_iter().find_map(|path| std::fs::read(path).ok()) {
        let found = CertificateDer::pem_slice_iter(&bundle).filter_map(Result::ok);
        roots.add_parsable_certificates(found);
    }
    roots
}
