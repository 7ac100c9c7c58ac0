//! The proxy's keys, which stand in line with the HTTP client's and with those of `oauth2`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Invalid, Secret, serialize_url};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "config.ProxyConfig")]
pub struct ProxySpec {
    /// The proxy.
    #[serde(skip_serializing_if = "String::is_empty", serialize_with = "serialize_url")]
    pub proxy_url: String,
    /// Hosts, domains and networks that are asked without it, separated by commas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub no_proxy: String,
    /// Takes `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the process.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub proxy_from_environment: bool,
    /// Headers for the proxy itself, in `CONNECT` requests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

/// Checked. The default is: no proxy.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProxyConfig {
    pub(crate) url: Option<url::Url>,
    pub(crate) no_proxy: String,
    pub(crate) from_environment: bool,
    pub(crate) connect_headers: Vec<(http::HeaderName, Secret)>,
}

// === impl ProxySpec ===

impl ProxySpec {
    pub(super) fn check(self) -> Result<ProxyConfig, Invalid> {
        let ProxySpec { proxy_url, no_proxy, proxy_from_environment, proxy_connect_header } = self;
        let refuse = |key: &str, message: &str| Err(Invalid::new(key, message));
        if !proxy_connect_header.is_empty() && !proxy_from_environment && proxy_url.is_empty() {
            return refuse(
                "proxy_connect_header",
                "if proxy_connect_header is configured, proxy_url or proxy_from_environment must \
                 also be configured",
            );
        }
        if proxy_from_environment && !proxy_url.is_empty() {
            return refuse(
                "proxy_url",
                "if proxy_from_environment is configured, proxy_url must not be configured",
            );
        }
        if proxy_from_environment && !no_proxy.is_empty() {
            return refuse(
                "no_proxy",
                "if proxy_from_environment is configured, no_proxy must not be configured",
            );
        }
        if proxy_url.is_empty() && !no_proxy.is_empty() {
            return refuse(
                "no_proxy",
                "if no_proxy is configured, proxy_url must also be configured",
            );
        }
        let mut connect_headers = Vec::new();
        for (name, values) in proxy_connect_header {
            let key = format!("proxy_connect_header.{name}");
            let parsed = http::HeaderName::try_from(&name);
            let name = parsed.map_err(|_| Invalid::new(key, "is not a header name"))?;
            connect_headers.extend(values.into_iter().map(|value| (name.clone(), value)));
        }
        let url = match &*proxy_url {
            "" => None,
            text => Some(
                url::Url::parse(text)
                    .map_err(|error| Invalid::new("proxy_url", format!("is not a URL: {error}")))?,
            ),
        };
        Ok(ProxyConfig { url, no_proxy, from_environment: proxy_from_environment, connect_headers })
    }
}
