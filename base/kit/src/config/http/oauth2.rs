//! `oauth2`: the client credentials grant, and signed assertions.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Credentials, ProxyConfig, ProxySpec, TlsConfig, TlsSpec};
use crate::config::{Invalid, Secret, is_default, resolve_path};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.plain")]
pub struct OAuth2Spec {
    /// Who we are to the token server.
    pub client_id: String,
    /// Our secret.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_secret: Secret,
    /// The file with our secret.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_secret_file: String,
    /// The name of the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_id: String,
    /// The private RSA key, in PEM.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_certificate_key: Secret,
    /// The file with the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_file: String,
    /// `client_credentials` (the default) or `urn:ietf:params:oauth:grant-type:jwt-bearer`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grant_type: String,
    /// `RS256` (the default), `RS384` or `RS512`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature_algorithm: String,
    /// Who issues the assertion; `client_id` if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iss: String,
    /// Whom the assertion is for; `token_url` if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audience: String,
    /// Further claims of the assertion.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
    /// What we ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The token server.
    pub token_url: String,
    /// Further parameters of the token request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoint_params: BTreeMap<String, String>,
    /// TLS with the token server.
    #[serde(skip_serializing_if = "is_default")]
    pub tls_config: TlsSpec,
    /// The proxy to the token server.
    #[serde(rename = "<inline>")]
    pub proxy: ProxySpec,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2Config {
    pub(crate) client_id: String,
    pub(crate) client_secret: Credentials,
    /// Instead of the secret.
    pub(crate) assertion: Option<AssertionConfig>,
    pub(crate) scopes: Vec<String>,
    pub(crate) token_url: url::Url,
    pub(crate) endpoint_params: Vec<(String, String)>,
    pub(crate) tls: TlsConfig,
    pub(crate) proxy: ProxyConfig,
}

/// A JSON Web Token that we sign (RFC 7523).
#[derive(Debug, Clone, PartialEq)]
pub struct AssertionConfig {
    pub(crate) key: Credentials,
    pub(crate) key_id: String,
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) iss: String,
    pub(crate) audience: String,
    pub(crate) claims: BTreeMap<String, serde_json::Value>,
}

/// How an assertion is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// SHA-256.
    Rs256,
    /// SHA-384.
    Rs384,
    /// SHA-512.
    Rs512,
}

// === impl AssertionConfig ===

impl AssertionConfig {
    pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
}

// === impl OAuth2Spec ===

impl OAuth2Spec {
    pub(super) fn resolve_paths(&mut self, dir: &Path) {
        resolve_path(&mut self.client_secret_file, dir);
        resolve_path(&mut self.client_certificate_key_file, dir);
        self.tls_config.resolve_paths(dir);
    }

    pub(super) fn check(self) -> Result<OAuth2Config, Invalid> {
        if self.client_id.is_empty() {
            return Err(Invalid::new("client_id", "oauth2 client_id must be configured"));
        }
        if self.token_url.is_empty() {
            return Err(Invalid::new("token_url", "oauth2 token_url must be configured"));
        }
        let assertion = self.assertion()?;
        let two_secrets = !self.client_secret.is_empty() && !self.client_secret_file.is_empty();
        if assertion.is_none() && two_secrets {
            return Err(Invalid::new(
                "client_secret",
                "at most one of oauth2 client_secret, client_secret_file & client_secret_ref \
                 must be configured using grant-type=client_credentials",
            ));
        }
        let token_url = url::Url::parse(&self.token_url)
            .map_err(|error| Invalid::new("token_url", format!("is not a URL: {error}")))?;
        Ok(OAuth2Config {
            client_id: self.client_id,
            client_secret: Credentials::of(&self.client_secret, &self.client_secret_file),
            assertion,
            scopes: self.scopes,
            token_url,
            endpoint_params: self.endpoint_params.into_iter().collect(),
            tls: self.tls_config.check().map_err(|invalid| invalid.under("tls_config"))?,
            proxy: self.proxy.check()?,
        })
    }

    /// What is signed, if the grant is by assertion.
    fn assertion(&self) -> Result<Option<AssertionConfig>, Invalid> {
        if self.grant_type != AssertionConfig::GRANT_TYPE {
            return Ok(None);
        }
        let (inline, file) = (&self.client_certificate_key, &self.client_certificate_key_file);
        if !inline.is_empty() && !file.is_empty() {
            return Err(Invalid::new(
                "client_certificate_key",
                "at most one of oauth2 client_certificate_key, client_certificate_key_file & \
                 client_certificate_key_ref must be configured using \
                 grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer",
            ));
        }
        let algorithm = match &*self.signature_algorithm {
            "" | "RS256" => SignatureAlgorithm::Rs256,
            "RS384" => SignatureAlgorithm::Rs384,
            "RS512" => SignatureAlgorithm::Rs512,
            _ => {
                let message = "valid signature algorithms are RS256, RS384 and RS512";
                return Err(Invalid::new("signature_algorithm", message));
            }
        };
        Ok(Some(AssertionConfig {
            key: Credentials::of(inline, file),
            key_id: self.client_certificate_key_id.clone(),
            algorithm,
            iss: self.iss.clone(),
            audience: self.audience.clone(),
            claims: self.claims.clone(),
        }))
    }
}
