//! `oauth2`: the client credentials grant.

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
    /// For the grant that we do not have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_id: String,
    /// For the grant that we do not have.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub client_certificate_key: Secret,
    /// For the grant that we do not have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_certificate_key_file: String,
    /// Empty or `client_credentials`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grant_type: String,
    /// For the grant that we do not have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub signature_algorithm: String,
    /// For the grant that we do not have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iss: String,
    /// For the grant that we do not have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audience: String,
    /// For the grant that we do not have.
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
    pub(crate) scopes: Vec<String>,
    pub(crate) token_url: url::Url,
    pub(crate) endpoint_params: Vec<(String, String)>,
    pub(crate) tls: TlsConfig,
    pub(crate) proxy: ProxyConfig,
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
        if !matches!(&*self.grant_type, "" | "client_credentials") {
            let message = format!("not supported by rollcall: grant_type {:?}", self.grant_type);
            return Err(Invalid::new("grant_type", message));
        }
        if !self.client_secret.is_empty() && !self.client_secret_file.is_empty() {
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
            scopes: self.scopes,
            token_url,
            endpoint_params: self.endpoint_params.into_iter().collect(),
            tls: self.tls_config.check().map_err(|invalid| invalid.under("tls_config"))?,
            proxy: self.proxy.check()?,
        })
    }
}
