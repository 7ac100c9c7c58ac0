//! `http_sd_configs`: targets that a server lists.

use kit::config::{Duration, HttpClientConfig, HttpClientSpec, Invalid};
use serde::{Deserialize, Serialize};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename = "http.plain")]
pub struct HttpSdSpec {
    /// Where the list is.
    pub url: String,
    /// Time between requests. Default 60s.
    pub refresh_interval: Duration,
    /// The HTTP client's keys.
    #[serde(rename = "<inline>")]
    pub http: HttpClientSpec,
}

/// Checked.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSdConfig {
    url: String,
    refresh_interval: Duration,
    http: HttpClientConfig,
}

const REFRESH_DEFAULT: Duration = Duration::from_secs(60);

// === impl HttpSdSpec ===

impl Default for HttpSdSpec {
    fn default() -> HttpSdSpec {
        HttpSdSpec {
            url: String::new(),
            refresh_interval: REFRESH_DEFAULT,
            http: HttpClientSpec::default(),
        }
    }
}

impl HttpSdSpec {
    pub(super) fn check(&mut self) -> Result<HttpSdConfig, Invalid> {
        if self.url.is_empty() {
            return Err(Invalid::new("url", "URL is missing"));
        }
        let Some((scheme, rest)) = self.url.split_once("://") else {
            return Err(Invalid::new("url", "URL scheme must be 'http' or 'https'"));
        };
        if !matches!(&*scheme.to_ascii_lowercase(), "http" | "https") {
            return Err(Invalid::new("url", "URL scheme must be 'http' or 'https'"));
        }
        if rest.is_empty() || rest.starts_with(['/', '?', '#']) {
            return Err(Invalid::new("url", "host is missing in URL"));
        }
        url::Url::parse(&self.url).map_err(|error| Invalid::new("url", error.to_string()))?;
        let http = self.http.clone().check()?;
        self.http.fill_defaults(true);
        let refresh_interval = self.refresh_interval.or(REFRESH_DEFAULT);
        Ok(HttpSdConfig { url: self.url.clone(), refresh_interval, http })
    }
}

// === impl HttpSdConfig ===

impl HttpSdConfig {
    /// Where the list is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Time between requests, and the longest one may take.
    pub fn refresh_interval(&self) -> std::time::Duration {
        self.refresh_interval.to_std()
    }

    /// The HTTP client's options.
    pub fn http(&self) -> &HttpClientConfig {
        &self.http
    }
}
