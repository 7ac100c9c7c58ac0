//! Where the API server is, and how we prove who we are: the configuration, a kubeconfig file, or
//! the service account of the pod that we run in.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::config::{AuthorizationSpec, BasicAuthSpec, HttpClientSpec, Invalid, Secret, TlsSpec};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::config::KubernetesSdConfig;
use crate::discovery::api::Api;

/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// An API server that can be asked.
pub(super) struct Access {
    pub(super) api: Api,
    /// Its URL, without a slash at the end.
    pub(super) base: String,
}

/// Why there is no access.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    #[error(
        "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
    )]
    NotInCluster,
    #[error("read {path}")]
    Read { path: String, source: io::Error },
    #[error("parse kubeconfig")]
    Parse { source: serde_yaml::Error },
    #[error("kubeconfig has no {what} {name:?}")]
    Missing { what: &'static str, name: String },
    #[error("kubeconfig: {what} is not supported")]
    Unsupported { what: &'static str },
    #[error("kubeconfig: {what} is not base64")]
    NotBase64 { what: &'static str },
    #[error("access to the API server")]
    Invalid { source: Invalid },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct KubeConfig {
    current_context: String,
    clusters: Vec<Named>,
    contexts: Vec<Named>,
    users: Vec<Named>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
    cluster: Option<ClusterEntry>,
    context: Option<ContextEntry>,
    user: Option<UserEntry>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterEntry {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ContextEntry {
    cluster: String,
    user: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct UserEntry {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
    token: Secret,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: Secret,
    exec: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
}

// === impl Access ===

impl Access {
    pub(super) fn new(config: &KubernetesSdConfig) -> Result<Access, AccessError> {
        let spec = config.spec();
        if !spec.kubeconfig_file.is_empty() {
            let text = read(Path::new(&spec.kubeconfig_file))?;
            // Not as strict as our own configuration: other programs write other keys into it.
            let parsed: KubeConfig =
                serde_yaml::from_str(&text).map_err(|source| AccessError::Parse { source })?;
            return parsed.access(Path::new(&spec.kubeconfig_file).parent());
        }
        if spec.api_server.is_empty() {
            return Access::in_cluster();
        }
        let base = spec.api_server.trim_end_matches('/').to_owned();
        Ok(Access { api: Api::new(config.http()), base })
    }

    fn in_cluster() -> Result<Access, AccessError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (host, port) =
            (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
        let (Some(host), Some(port)) = (host, port) else { return Err(AccessError::NotInCluster) };
        let spec = HttpClientSpec {
            authorization: Some(AuthorizationSpec {
                credentials_file: format!("{ACCOUNT}/token"),
                ..AuthorizationSpec::default()
            }),
            tls_config: TlsSpec { ca_file: format!("{ACCOUNT}/ca.crt"), ..TlsSpec::default() },
            ..HttpClientSpec::default()
        };
        Access::with(spec, format!("https://{}", crate::discovery::address(&host, &port)))
    }

    fn with(spec: HttpClientSpec, base: String) -> Result<Access, AccessError> {
        let config = spec.check().map_err(|source| AccessError::Invalid { source })?;
        Ok(Access { api: Api::new(&config), base })
    }
}

/// The namespace of the pod that we run in.
pub(super) fn own_namespace() -> Result<String, AccessError> {
    Ok(read(&Path::new(ACCOUNT).join("namespace"))?.trim().to_owned())
}

fn read(path: &Path) -> Result<String, AccessError> {
    let failed = |source| AccessError::Read { path: path.display().to_string(), source };
    std::fs::read_to_string(path).map_err(failed)
}

// === impl KubeConfig ===

impl KubeConfig {
    /// The access of its current context. Paths in it start at `folder`.
    fn access(self, folder: Option<&Path>) -> Result<Access, AccessError> {
        let missing = |what, name: &str| AccessError::Missing { what, name: name.to_owned() };
        let context = self.contexts.into_iter().find(|named| named.name == self.current_context);
        let context = context.and_then(|named| named.context);
        let context = context.ok_or_else(|| missing("context", &self.current_context))?;
        let cluster = self.clusters.into_iter().find(|named| named.name == context.cluster);
        let cluster = cluster.and_then(|named| named.cluster);
        let cluster = cluster.ok_or_else(|| missing("cluster", &context.cluster))?;
        let user = self.users.into_iter().find(|named| named.name == context.user);
        let user = user.and_then(|named| named.user).unwrap_or_default();
        let base = cluster.server.trim_end_matches('/').to_owned();
        let mut spec = user.client(cluster)?;
        if let Some(folder) = folder {
            spec.resolve_paths(folder);
        }
        Access::with(spec, base)
    }
}

// === impl UserEntry ===

impl UserEntry {
    fn client(self, cluster: ClusterEntry) -> Result<HttpClientSpec, AccessError> {
        if self.exec.is_some() {
            return Err(AccessError::Unsupported { what: "exec" });
        }
        if self.auth_provider.is_some() {
            return Err(AccessError::Unsupported { what: "auth-provider" });
        }
        let tls_config = TlsSpec {
            ca: decoded(&cluster.certificate_authority_data, "certificate-authority-data")?,
            ca_file: cluster.certificate_authority,
            cert: decoded(&self.client_certificate_data, "client-certificate-data")?,
            cert_file: self.client_certificate,
            key: Secret::new(decoded(&self.client_key_data, "client-key-data")?),
            key_file: self.client_key,
            server_name: cluster.tls_server_name,
            insecure_skip_verify: cluster.insecure_skip_tls_verify,
            ..TlsSpec::default()
        };
        let has_token = !self.token.is_empty() || !self.token_file.is_empty();
        // An inline token wins, as in client-go it does unless there is a file.
        let authorization = has_token.then(|| AuthorizationSpec {
            credentials: if self.token_file.is_empty() { self.token } else { Secret::default() },
            credentials_file: self.token_file,
            ..AuthorizationSpec::default()
        });
        let basic_auth = (!has_token && !self.username.is_empty()).then(|| BasicAuthSpec {
            username: self.username,
            password: self.password,
            ..BasicAuthSpec::default()
        });
        Ok(HttpClientSpec { basic_auth, authorization, tls_config, ..HttpClientSpec::default() })
    }
}

fn decoded(data: &str, what: &'static str) -> Result<String, AccessError> {
    let bytes = STANDARD.decode(data.trim()).map_err(|_| AccessError::NotBase64 { what })?;
    String::from_utf8(bytes).map_err(|_| AccessError::NotBase64 { what })
}
